//! Congestion, and what it makes of the model.
//!
//! A packet that is lost while the round trip is as short as ever was not lost by a full queue. So losses are counted
//! apart: those next to a packet that had to queue, and all. What is lost without a queue is expected with one, too: twice
//! that share, and a fiftieth, which is version 3's threshold, make a round congested, or a fifth of losses of any kind,
//! which holds where a queue is too short to be seen.

use std::time::Duration;

use crate::controller::LostPackets;
use crate::delivery_rate::RateSample;

/// draft §2.6: "LossThresh", of losses next to a queue.
const QUEUED_LOSS: f64 = 0.02;
/// Of all losses: beyond what a link that loses at random is bearable with.
const ANY_LOSS: f64 = 0.2;
/// Random loss is an average of as many rounds, ...
const BASELINE_ROUNDS: f64 = 8.0;
/// ... and more of it is not taken for random.
const MAX_BASELINE: f64 = 0.1;
/// Fewer packets lost in a round say nothing of a share.
const MIN_LOST_PACKETS: u64 = 3;
/// A round trip with a queue is longer than the shortest one by an eighth of it, and by what machines blur.
const QUEUE_SHARE: u32 = 8;
const QUEUE_FLOOR: Duration = Duration::from_millis(1);
/// draft §2.6: "Beta".
const BETA: f64 = 0.7;
/// What a congested probe leaves of the bytes that it had in flight.
const PROBE_BETA: f64 = 0.85;
/// draft §2.6: "Headroom".
const HEADROOM: f64 = 0.15;

/// What was lost in a round.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RoundLosses {
    queued: u64,
    all: u64,
    events: u32,
    /// Bytes in flight when the newest lost packet had left.
    in_flight: u64,
    /// Share of what is lost without a queue, over some rounds.
    baseline: f64,
}

impl RoundLosses {
    pub(super) fn add(&mut self, lost: &LostPackets, min_rtt: Option<Duration>) {
        self.all += lost.bytes;
        self.events += 1;
        self.in_flight = lost.newest_in_flight;
        let is_queued =
            min_rtt.is_some_and(|min| lost.latest_rtt > min + (min / QUEUE_SHARE).max(QUEUE_FLOOR));
        if is_queued {
            self.queued += lost.bytes;
        }
    }

    /// Times at which something was found lost.
    pub(super) const fn events(&self) -> u32 {
        self.events
    }

    /// Whether a queue ran over.
    pub(super) fn are_congestion(&self, mss: u64) -> bool {
        let exceeds = |bytes: u64, share: f64| {
            bytes >= MIN_LOST_PACKETS * mss && bytes as f64 > self.in_flight as f64 * share
        };
        exceeds(self.queued, QUEUED_LOSS + 2.0 * self.baseline) || exceeds(self.all, ANY_LOSS)
    }

    /// A round that delivered as many bytes is over.
    pub(super) fn end_round(&mut self, delivered: u64) {
        if self.queued == 0 && delivered > 0 {
            let share = self.all as f64 / (self.all + delivered) as f64;
            let change = (share - self.baseline) / BASELINE_ROUNDS;
            self.baseline = (self.baseline + change).min(MAX_BASELINE);
        }
        self.reset();
    }

    /// What was lost until now was not sent by what is looked at.
    pub(super) fn reset(&mut self) {
        *self = Self {
            baseline: self.baseline,
            ..Self::default()
        };
    }
}

/// Upper bounds of the model; `u64::MAX` where there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes per second, until the next probe.
    pub(super) rate: u64,
    /// Bytes in flight, until the next probe.
    pub(super) flight: u64,
    /// Bytes in flight that the path was seen to carry without congestion.
    pub(super) long_term: u64,
    /// The highest of this round.
    latest_rate: u64,
    latest_delivered: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            rate: u64::MAX,
            flight: u64::MAX,
            long_term: u64::MAX,
            latest_rate: 0,
            latest_delivered: 0,
        }
    }
}

impl Bounds {
    /// Bytes that were delivered in a round trip of this round.
    pub(super) const fn latest_delivered(&self) -> u64 {
        self.latest_delivered
    }

    pub(super) fn update(&mut self, sample: &RateSample) {
        self.latest_rate = self.latest_rate.max(sample.rate.unwrap_or_default());
        self.latest_delivered = self
            .latest_delivered
            .max(sample.total - sample.total_before);
    }

    pub(super) const fn begin_round(&mut self) {
        self.latest_rate = 0;
        self.latest_delivered = 0;
    }

    /// draft §5.5.10.3: a round was congested: down to what it delivered, but not by more than 3/10.
    pub(super) fn lower(&mut self, max_rate: u64, window: u64) {
        let scaled = |bound: u64, start: u64| (bound.min(start) as f64 * BETA) as u64;
        self.rate = scaled(self.rate, max_rate).max(self.latest_rate);
        self.flight = scaled(self.flight, window).max(self.latest_delivered);
    }

    /// draft §5.3.3.5: a probe begins.
    pub(super) const fn lift(&mut self) {
        self.rate = u64::MAX;
        self.flight = u64::MAX;
    }

    /// draft §5.3.3.3: what leaves room for a flow that comes.
    pub(super) fn with_headroom(&self, mss: u64) -> u64 {
        if self.long_term == u64::MAX {
            return u64::MAX;
        }
        let headroom = ((self.long_term as f64 * HEADROOM) as u64).max(mss);
        self.long_term.saturating_sub(headroom)
    }

    /// A probe that had `in_flight` bytes on the path was congested; `target` bytes fill it without a queue.
    ///
    /// draft §5.5.10.2 keeps what was in flight: of two flows the larger one stays so. Here it gives up a share, as long
    /// as that with headroom fills the path, while the smaller one finds more with each probe.
    pub(super) fn set_long_term(&mut self, in_flight: u64, target: u64) {
        let kept = in_flight as f64 * PROBE_BETA;
        let floor = target as f64 / (1.0 - HEADROOM);
        self.long_term = kept.max(floor) as u64;
    }
}
