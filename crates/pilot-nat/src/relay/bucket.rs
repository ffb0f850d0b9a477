//! What one client may send.

use std::time::{Duration, Instant};

use super::RelayLimits;

/// Two token buckets, of bytes and of datagrams, that hold a second's worth each.
pub(super) struct Bucket {
    bytes: u64,
    datagrams: u64,
    filled_at: Instant,
}

impl Bucket {
    pub(super) const fn new(now: Instant, limits: &RelayLimits) -> Self {
        Self {
            bytes: limits.bytes_per_second,
            datagrams: limits.datagrams_per_second,
            filled_at: now,
        }
    }

    /// Takes a datagram's worth out; `false` if there is not that much.
    pub(super) fn take(&mut self, now: Instant, size: u64, limits: &RelayLimits) -> bool {
        self.fill(now, limits);
        if self.bytes < size || self.datagrams == 0 {
            return false;
        }
        self.bytes -= size;
        self.datagrams -= 1;
        true
    }

    /// Fills up in steps of a millisecond, so that nothing is lost by rounding at the rates of a relay.
    fn fill(&mut self, now: Instant, limits: &RelayLimits) {
        let passed = now.saturating_duration_since(self.filled_at);
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return;
        }
        let add = |have: u64, rate: u64| {
            let more = rate.saturating_mul(millis.min(1000)) / 1000;
            have.saturating_add(more).min(rate)
        };
        self.bytes = add(self.bytes, limits.bytes_per_second);
        self.datagrams = add(self.datagrams, limits.datagrams_per_second);
        self.filled_at += Duration::from_millis(millis);
    }
}
