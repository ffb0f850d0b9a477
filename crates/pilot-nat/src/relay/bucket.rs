//! What may be sent.

use std::time::{Duration, Instant};

use super::RelayRate;

/// Two token buckets, of bytes and of datagrams, that hold a second's worth each.
pub(super) struct Bucket {
    rate: RelayRate,
    left: RelayRate,
    filled_at: Instant,
}

impl Bucket {
    pub(super) const fn new(now: Instant, rate: RelayRate) -> Self {
        Self {
            rate,
            left: rate,
            filled_at: now,
        }
    }

    /// Takes a datagram's worth out; `false` if there is not that much.
    pub(super) fn take(&mut self, now: Instant, size: u64) -> bool {
        self.fill(now);
        if self.left.bytes < size || self.left.datagrams == 0 {
            return false;
        }
        self.left.bytes -= size;
        self.left.datagrams -= 1;
        true
    }

    /// Fills up in steps of a millisecond, so that little is lost by rounding at the rates of a relay.
    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled_at);
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return;
        }
        let add = |left: u64, rate: u64| {
            let more = rate.saturating_mul(millis.min(1000)) / 1000;
            left.saturating_add(more).min(rate)
        };
        self.left.bytes = add(self.left.bytes, self.rate.bytes);
        self.left.datagrams = add(self.left.datagrams, self.rate.datagrams);
        self.filled_at += Duration::from_millis(millis);
    }
}
