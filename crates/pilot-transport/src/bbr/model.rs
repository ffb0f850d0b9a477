//! What the path is taken to be: its rate, its round trip, how it aggregates acknowledgements.

use std::time::{Duration, Instant};

use crate::delivery_rate::RateSample;

/// draft §5.5.7: "MinRTTFilterLen".
const MIN_RTT_WINDOW: Duration = Duration::from_secs(10);
/// draft §5.3.1.2: a pipe is full if the rate grew by less than a quarter ...
const FULL_GROWTH: f64 = 1.25;
/// ... in as many rounds.
const FULL_ROUNDS: u32 = 3;
/// draft §5.5.9: "ExtraAckedFilterLen", in rounds; held in two halves.
const AGGREGATION_ROUNDS: u64 = 10;

/// Rounds by packets: one is over when something is acknowledged that left after it began (draft §5.5.1).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    ends_at: u64,
    count: u64,
}

impl Round {
    /// Whether a round begins with this ACK.
    pub(super) const fn update(&mut self, sample: &RateSample) -> bool {
        let is_start = sample.total_before >= self.ends_at;
        if is_start {
            self.restart(sample);
            self.count += 1;
        }
        is_start
    }

    /// The next round begins a round trip from now.
    pub(super) const fn restart(&mut self, sample: &RateSample) {
        self.ends_at = sample.total;
    }

    pub(super) const fn count(&self) -> u64 {
        self.count
    }
}

/// The highest rate in this cycle and the one before (draft §5.5.5).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MaxBandwidth {
    before: u64,
    current: u64,
}

impl MaxBandwidth {
    /// Bytes per second; 0 before the first sample.
    pub(super) const fn max(&self) -> u64 {
        if self.before > self.current {
            self.before
        } else {
            self.current
        }
    }

    pub(super) fn update(&mut self, sample: &RateSample) {
        let Some(rate) = sample.rate else {
            return;
        };
        // draft §5.5.3: a rate that the application limited is news only if it is higher.
        if !sample.is_app_limited || rate >= self.max() {
            self.current = self.current.max(rate);
        }
    }

    /// A cycle begins; one that measured nothing forgets nothing.
    pub(super) const fn advance(&mut self) {
        if self.current > 0 {
            self.before = self.current;
            self.current = 0;
        }
    }
}

/// The shortest round trip of the last ten seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MinRtt {
    value: Option<(Duration, Instant)>,
    is_expired: bool,
}

impl MinRtt {
    pub(super) fn value(&self) -> Option<Duration> {
        self.value.map(|(value, _)| value)
    }

    pub(super) fn update(&mut self, now: Instant, rtt: Duration) {
        let lasts =
            |(_, at): (Duration, Instant)| now.saturating_duration_since(at) <= MIN_RTT_WINDOW;
        self.is_expired = self.value.is_some_and(|value| !lasts(value));
        if self.is_expired || self.value.is_none_or(|(value, _)| rtt <= value) {
            self.value = Some((rtt, now));
        }
    }

    /// Whether the last update replaced a value that nothing had confirmed for ten seconds.
    pub(super) const fn is_expired(&self) -> bool {
        self.is_expired
    }

    /// The value was just looked for.
    pub(super) fn confirm(&mut self, now: Instant) {
        if let Some((_, at)) = &mut self.value {
            *at = now;
        }
    }
}

/// Whether the rate has stopped growing (draft §5.3.1.2).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FullPipe {
    rate: u64,
    rounds: u32,
    is_full: bool,
}

impl FullPipe {
    pub(super) const fn is_full(&self) -> bool {
        self.is_full
    }

    pub(super) const fn fill(&mut self) {
        self.is_full = true;
    }

    /// A round is over; `max` is the highest rate up to now.
    pub(super) fn update(&mut self, sample: &RateSample, max: u64) {
        if self.is_full || sample.is_app_limited {
            return;
        }
        if max as f64 >= self.rate as f64 * FULL_GROWTH {
            self.rate = max;
            self.rounds = 0;
        } else {
            self.rounds += 1;
            self.is_full = self.rounds >= FULL_ROUNDS;
        }
    }
}

/// How many bytes more than the rate explains are acknowledged at once (draft §5.5.9): as much more has to be in flight
/// for the path not to run dry meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Aggregation {
    start: Option<Instant>,
    acked: u64,
    /// Highest in the current half of the filter, and in the one before.
    halves: [u64; 2],
    half: u64,
}

impl Aggregation {
    pub(super) fn extra(&self) -> u64 {
        self.halves[0].max(self.halves[1])
    }

    /// After a pause nothing is expected.
    pub(super) const fn restart(&mut self, now: Instant) {
        self.start = Some(now);
        self.acked = 0;
    }

    /// `rate` and `window` are the sender's; before the pipe is full a maximum is kept for a `round` only.
    pub(super) fn update(
        &mut self,
        now: Instant,
        sample: &RateSample,
        (rate, window): (u64, u64),
        (round, keeps): (u64, bool),
    ) {
        let start = *self.start.get_or_insert(now);
        let elapsed = now.saturating_duration_since(start).as_secs_f64();
        let mut expected = (rate as f64 * elapsed) as u64;
        if self.acked <= expected {
            self.restart(now);
            expected = 0;
        }
        self.acked += sample.acked;
        let extra = self.acked.saturating_sub(expected).min(window);
        let half = if keeps {
            round * 2 / AGGREGATION_ROUNDS
        } else {
            round
        };
        if half != self.half {
            let before = if half == self.half + 1 {
                self.halves[0]
            } else {
                0
            };
            self.halves = [0, before];
            self.half = half;
        }
        self.halves[0] = self.halves[0].max(extra);
    }
}
