//! Round-trip estimation (RFC 9002 §5).

use std::time::Duration;

/// Timer granularity (RFC 9002 §6.1.2: "the RECOMMENDED value of the timer granularity is 1 millisecond").
pub(crate) const GRANULARITY: Duration = Duration::from_millis(1);

/// What one path's samples say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rtt {
    latest: Duration,
    smoothed: Duration,
    variance: Duration,
    /// `None` before the first sample.
    min: Option<Duration>,
}

impl Rtt {
    /// RFC 9002 §5.3: before a sample, `rttvar = kInitialRtt / 2`.
    pub(crate) fn new(initial: Duration) -> Self {
        Self {
            latest: initial,
            smoothed: initial,
            variance: initial / 2,
            min: None,
        }
    }

    pub(crate) const fn smoothed(&self) -> Duration {
        self.smoothed
    }

    pub(crate) const fn latest(&self) -> Duration {
        self.latest
    }

    pub(crate) const fn min(&self) -> Option<Duration> {
        self.min
    }

    /// Takes a sample; `ack_delay` is what the peer says it waited, bounded by what it promised.
    pub(crate) fn update(&mut self, sample: Duration, ack_delay: Duration) {
        self.latest = sample;
        let Some(min) = self.min else {
            self.min = Some(sample);
            self.smoothed = sample;
            self.variance = sample / 2;
            return;
        };
        let min = min.min(sample);
        self.min = Some(min);
        // RFC 9002 §5.3: the delay is not subtracted if the result would be below min_rtt.
        let adjusted = if sample >= min + ack_delay {
            sample - ack_delay
        } else {
            sample
        };
        let deviation = self.smoothed.abs_diff(adjusted);
        self.variance = (self.variance * 3 + deviation) / 4;
        self.smoothed = (self.smoothed * 7 + adjusted) / 8;
    }

    /// RFC 9002 §6.2.1: `smoothed_rtt + max(4*rttvar, kGranularity) + max_ack_delay`.
    pub(crate) fn probe_timeout(&self, max_ack_delay: Duration) -> Duration {
        self.smoothed + (self.variance * 4).max(GRANULARITY) + max_ack_delay
    }

    /// RFC 9002 §6.1.2: `max(kTimeThreshold * max(smoothed_rtt, latest_rtt), kGranularity)`, with 9/8.
    pub(crate) fn loss_delay(&self) -> Duration {
        (self.smoothed.max(self.latest) * 9 / 8).max(GRANULARITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_first_sample_replaces_the_guess() {
        let mut rtt = Rtt::new(ms(333));
        rtt.update(ms(20), ms(5));
        assert_eq!(rtt.smoothed(), ms(20));
        assert_eq!(rtt.probe_timeout(ms(10)), ms(20 + 40 + 10));
    }

    #[test]
    fn the_peers_delay_counts_only_above_the_minimum() {
        let mut rtt = Rtt::new(ms(333));
        rtt.update(ms(100), ms(0));
        rtt.update(ms(108), ms(8));
        assert_eq!(rtt.smoothed(), ms(100), "the delay explains all of it");
        rtt.update(ms(104), ms(8));
        assert!(rtt.smoothed() > ms(100), "less than min_rtt is impossible");
    }
}
