//! A leaky bucket that spreads a window over its round trip (RFC 9002 §7.7).

use std::time::{Duration, Instant};

/// Packets that may leave at once; RFC 9002 §7.7 bounds bursts by the initial window, which is ten.
const BURST_PACKETS: u64 = 10;
/// Timers of real machines fire up to a millisecond late, and again as much until they are served: at high rates the
/// bucket holds what the rate brings in this time, or the path would starve between two wakings.
const BURST_TIME: Duration = Duration::from_millis(2);
/// Who is held back waits for this much of the rate: finer timers are late anyway, and packets that leave together
/// share a system call.
const QUANTUM_TIME: Duration = Duration::from_millis(1);

/// Holds packets back so that a window does not leave in one burst.
#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    /// Bytes that may leave now.
    tokens: u64,
    /// When `tokens` was right.
    updated: Instant,
    mss: u64,
}

impl Pacer {
    pub(crate) const fn new(mss: usize, now: Instant) -> Self {
        let mss = mss as u64;
        Self {
            tokens: BURST_PACKETS * mss,
            updated: now,
            mss,
        }
    }

    /// When a packet of `size` bytes may leave; `None`: now. `rate` is in bytes per second.
    pub(crate) fn delay(&mut self, now: Instant, size: u64, rate: u64) -> Option<Instant> {
        let rate = rate.max(1);
        let capacity = bytes_in(BURST_TIME, rate).max(BURST_PACKETS * self.mss);
        let elapsed = now.saturating_duration_since(self.updated);
        let refill = bytes_in(elapsed, rate);
        // A refill of nothing keeps `updated`, so that many early calls do not lose fractions.
        if refill > 0 {
            self.tokens = self.tokens.saturating_add(refill).min(capacity);
            self.updated = now;
        }
        if self.tokens >= size {
            return None;
        }
        let quantum = bytes_in(QUANTUM_TIME, rate).max(size);
        let missing = u128::from(quantum - self.tokens);
        let nanos = (missing * 1_000_000_000).div_ceil(u128::from(rate));
        Some(self.updated + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// A packet left.
    pub(crate) const fn on_sent(&mut self, size: u64) {
        self.tokens = self.tokens.saturating_sub(size);
    }
}

/// Bytes that `rate` brings in `time`.
fn bytes_in(time: Duration, rate: u64) -> u64 {
    let bytes = u128::from(rate) * time.as_nanos() / 1_000_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Bytes per second: RFC 9002 §7.7, `N * congestion_window / smoothed_rtt`, N 1.25, or 2 while slow start doubles.
pub(crate) fn pacing_rate(window: u64, srtt: Duration, is_in_slow_start: bool) -> u64 {
    let quarters = if is_in_slow_start { 8 } else { 5 };
    let nanos = srtt.as_nanos().max(1);
    let rate = u128::from(window) * quarters * 1_000_000_000 / 4 / nanos;
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_packets_leave_at_the_rate() {
        let start = Instant::now();
        let (mut pacer, mut now, mut left) = (Pacer::new(1000, start), start, 0u64);
        while now < start + Duration::from_secs(1) {
            match pacer.delay(now, 1000, 100_000) {
                None => {
                    pacer.on_sent(1000);
                    left += 1;
                }
                Some(at) => {
                    assert!(at > now, "a deadline that does not move");
                    now = at;
                }
            }
        }
        assert!((109..=111).contains(&left), "{left} packets");
    }

    #[test]
    fn at_a_high_rate_it_wakes_once_a_millisecond() {
        let start = Instant::now();
        let (mut pacer, mut now, mut wakes, mut left) = (Pacer::new(1000, start), start, 0, 0u64);
        while now < start + Duration::from_secs(1) {
            match pacer.delay(now, 1000, 100_000_000) {
                None => {
                    pacer.on_sent(1000);
                    left += 1000;
                }
                Some(at) => {
                    wakes += 1;
                    now = at;
                }
            }
        }
        assert!(wakes <= 1_001, "{wakes} wakes");
        assert!((99_900_000..=100_200_000).contains(&left), "{left} bytes");
    }

    #[test]
    fn idle_time_is_not_saved_up_beyond_a_burst() {
        let start = Instant::now();
        let mut pacer = Pacer::new(1000, start);
        let now = start + Duration::from_secs(3600);
        let mut burst = 0;
        while pacer.delay(now, 1000, 100_000).is_none() {
            pacer.on_sent(1000);
            burst += 1;
        }
        assert_eq!(burst, 10);
    }

    #[test]
    fn the_rate_is_a_window_and_a_quarter_per_round_trip() {
        let rtt = Duration::from_millis(100);
        assert_eq!(pacing_rate(10_000, rtt, false), 125_000);
        assert_eq!(pacing_rate(10_000, rtt, true), 200_000);
    }
}
