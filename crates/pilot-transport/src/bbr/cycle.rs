//! Probing for more rate, once in a while (draft §5.3.3).

use std::time::{Duration, Instant};

use super::{Bbr, State};
use crate::delivery_rate::RateSample;

/// draft §5.3.3.8: a probe comes two to three seconds after the last one, ...
const PROBE_WAIT: Duration = Duration::from_secs(2);
const PROBE_WAIT_SPREAD_MS: u64 = 1000;
/// ... or after as many rounds as a Reno sender would need to grow by what the probe takes, at most 63.
const MAX_PROBE_ROUNDS: u64 = 63;
/// A probe goes on while a round brings as much more.
const UP_GROWTH: f64 = 1.1;
/// Where less is in flight than a probe needs, for want of data or of windows, it ends after as many rounds without.
const MAX_FLAT_ROUNDS: u32 = 3;
/// Doublings of the growth of the bound on a flight (draft §5.3.3.6).
const MAX_UP_ROUNDS: u32 = 30;

/// Where the cycle stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cycle {
    /// When Down began.
    start: Option<Instant>,
    wait: Duration,
    /// Rounds since then.
    rounds: u64,
    /// The rate at the start of this round of Up; `None` before its first one.
    up_rate: Option<u64>,
    /// Rounds of Up in a row that found no more.
    flat_rounds: u32,
    /// Whether losses are of packets that a probe sent.
    is_sampling: bool,
    /// Whether the last packets of a probe are being acknowledged.
    is_stopping: bool,
    /// Whether the probe found too much and ends with the next ACK.
    is_over: bool,
    /// Rounds of Up until now.
    up_rounds: u32,
    /// Bytes acknowledged since the bound on a flight grew last.
    up_acked: u64,
}

impl Cycle {
    pub(super) const fn is_sampling(&self) -> bool {
        self.is_sampling
    }

    pub(super) const fn stop_sampling(&mut self) {
        self.is_sampling = false;
    }
}

impl Bbr {
    /// Begins a cycle.
    pub(super) fn start_down(&mut self, now: Instant, sample: &RateSample) {
        self.state = State::Down;
        // The count of delivered bytes is a die good enough to keep flows from probing at the same time.
        let spread = Duration::from_millis(sample.total / self.mss % PROBE_WAIT_SPREAD_MS);
        self.cycle = Cycle {
            start: Some(now),
            wait: PROBE_WAIT + spread,
            is_sampling: self.cycle.is_sampling,
            is_stopping: true,
            ..Cycle::default()
        };
        self.round.restart(sample);
    }

    pub(super) fn start_cruise(&mut self) {
        self.state = State::Cruise;
    }

    fn start_refill(&mut self, sample: &RateSample) {
        self.state = State::Refill;
        self.bounds.lift();
        self.cycle.up_rounds = 0;
        self.cycle.up_acked = 0;
        self.round.restart(sample);
    }

    fn start_up(&mut self, sample: &RateSample) {
        self.state = State::Up;
        self.cycle.up_rate = None;
        self.cycle.flat_rounds = 0;
        self.cycle.is_sampling = true;
        self.cycle.is_over = false;
        self.losses.reset();
        self.round.restart(sample);
    }

    pub(super) fn advance_cycle(
        &mut self,
        now: Instant,
        sample: &RateSample,
        is_round_start: bool,
    ) {
        if is_round_start {
            self.cycle.rounds += 1;
            self.end_feedback(sample);
        }
        self.raise_long_term(sample, is_round_start);
        match self.state {
            State::Down => {
                if self.is_time_to_probe(now) {
                    self.start_refill(sample);
                } else if self.is_drained(sample) {
                    self.start_cruise();
                }
            }
            State::Cruise => {
                if self.is_time_to_probe(now) {
                    self.start_refill(sample);
                }
            }
            State::Refill => {
                if is_round_start {
                    self.start_up(sample);
                }
            }
            State::Up => {
                if self.cycle.is_over || self.is_probe_done(sample, is_round_start) {
                    self.start_down(now, sample);
                }
            }
            State::Startup | State::Drain | State::ProbeRtt => {}
        }
    }

    /// A round after a probe its packets are all acknowledged: what they showed is the newest half of the filter.
    fn end_feedback(&mut self, sample: &RateSample) {
        if self.cycle.is_stopping {
            self.cycle.is_stopping = false;
            self.cycle.is_sampling = false;
            if !sample.is_app_limited {
                self.bandwidth.advance();
            }
        }
    }

    fn is_time_to_probe(&self, now: Instant) -> bool {
        let is_late = self
            .cycle
            .start
            .is_some_and(|start| now.saturating_duration_since(start) > self.cycle.wait);
        let target = self.flight(self.bandwidth.max(), 1.0).min(self.window);
        is_late || self.cycle.rounds >= (target / self.mss).min(MAX_PROBE_ROUNDS)
    }

    /// draft §5.3.3.3: the queue is gone, and there is room for others.
    fn is_drained(&self, sample: &RateSample) -> bool {
        sample.in_flight <= self.bounds.with_headroom(self.mss)
            && sample.in_flight <= self.flight(self.bandwidth.max(), 1.0)
    }

    /// A round was probed with as much in flight as the faster rate needs, and the rate does not grow. A small flow
    /// beside a large one finds more each round: that is how they come to equal shares.
    fn is_probe_done(&mut self, sample: &RateSample, is_round_start: bool) -> bool {
        if !is_round_start {
            return false;
        }
        let max = self.bandwidth.max();
        let before = self.cycle.up_rate.replace(max);
        let has_grown = before.is_none_or(|before| max as f64 > before as f64 * UP_GROWTH);
        self.cycle.flat_rounds = if has_grown {
            0
        } else {
            self.cycle.flat_rounds + 1
        };
        // A bound that holds the flight down is raised first.
        let is_bounded = self.window >= self.bounds.long_term && self.is_window_full(sample);
        let flight = self.flight(max, State::Up.pacing_gain());
        let is_enough =
            sample.in_flight_before >= flight || self.cycle.flat_rounds >= MAX_FLAT_ROUNDS;
        !has_grown && !is_bounded && is_enough
    }

    const fn is_window_full(&self, sample: &RateSample) -> bool {
        sample.in_flight_before + self.mss > self.window
    }

    /// draft §5.3.3.6, §5.5.10.2: a flight without congestion shows what the path carries; in Up the bound on it grows
    /// by one packet in the first round, two in the second, and so on doubling.
    fn raise_long_term(&mut self, sample: &RateSample, is_round_start: bool) {
        if self.bounds.long_term == u64::MAX || self.losses.are_congestion(self.mss) {
            return;
        }
        self.bounds.long_term = self.bounds.long_term.max(sample.sent_in_flight);
        if self.state != State::Up
            || !self.is_window_full(sample)
            || self.window < self.bounds.long_term
        {
            return;
        }
        self.cycle.up_acked += sample.acked;
        let growth = self.mss << self.cycle.up_rounds.min(MAX_UP_ROUNDS);
        let step = (self.window / (growth / self.mss)).max(self.mss);
        let steps = self.cycle.up_acked / step;
        self.cycle.up_acked -= steps * step;
        self.bounds.long_term += steps * self.mss;
        if is_round_start {
            self.cycle.up_rounds += 1;
        }
    }

    /// draft §5.5.10.2: what a probe had in flight was too much; answered once a probe.
    pub(super) fn probed_too_much(&mut self, in_flight: u64) {
        self.cycle.is_sampling = false;
        self.cycle.is_over = true;
        let target = self.flight(self.bandwidth.max(), 1.0).min(self.window);
        self.bounds.set_long_term(in_flight, target);
    }
}
