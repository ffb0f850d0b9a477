//! The end of a session (RFC 9000 §10.2).

use pilot_wire::ErrorCode;
use pilot_wire::limits::MAX_CLOSE_REASON;

/// Where a transport is in its life.
///
/// ```text
/// Open ──close()──▶ Closing ──3 PTO──▶ Drained
///   └──CLOSE came──▶ Draining ──3 PTO──▶ Drained
/// ```
#[derive(Debug)]
pub(crate) enum State {
    Open,
    /// We closed: packets are answered with CLOSE.
    Closing(Closing),
    /// The peer closed: nothing is sent.
    Draining,
    Drained,
}

/// The CLOSE that we repeat.
#[derive(Debug)]
pub(crate) struct Closing {
    pub(crate) code: ErrorCode,
    pub(crate) reason: String,
    pub(crate) is_due: bool,
    received: u32,
}

impl Closing {
    pub(crate) fn new(code: ErrorCode, reason: &str) -> Self {
        let mut end = reason.len().min(MAX_CLOSE_REASON);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        Self {
            code,
            reason: reason[..end].to_owned(),
            is_due: true,
            received: 0,
        }
    }

    /// RFC 9000 §10.2.1: "limit the rate at which it generates packets": the 1st, 2nd, 4th, 8th … is answered.
    pub(crate) const fn on_packet(&mut self) {
        self.received = self.received.saturating_add(1);
        self.is_due = self.is_due || self.received.is_power_of_two();
    }
}
