//! A model of the path instead of a reaction to loss: BBR.
//!
//! The sender measures the rate at which the path delivers and the round trip without a queue, and keeps a little more
//! than their product in flight. States, gains and bounds are those of draft-ietf-ccwg-bbr-05 (version 3); what is
//! taken for congestion is not (see `bounds`), since a version 3 sender gives up at two lost packets of a hundred and
//! version 1 never does. `docs/transport.md` has the figures of both.
//!
//! ```text
//! Startup ─ the rate stops growing ─▶ Drain ─ the queue is gone ─▶ Down ─▶ Cruise ─ seconds ─▶ Refill ─▶ Up ─┐
//!    (2.77)                          (0.5)                        (0.9) ◀──────(1)──────────── (1) ── (1.25) ┘
//! any, after ten seconds without a round trip as short as the shortest ─▶ ProbeRtt (half a window) ─▶ Cruise
//! ```

mod bounds;
mod cycle;
mod model;
mod probe_rtt;

use std::time::{Duration, Instant};

use crate::controller::{Controller, LostPackets};
use crate::delivery_rate::RateSample;
use crate::pacer::pacing_rate;
use bounds::{Bounds, RoundLosses};
use cycle::Cycle;
use model::{Aggregation, FullPipe, MaxBandwidth, MinRtt, Round};
use probe_rtt::ProbeRtt;

/// draft §5.6.2: paces a hundredth below the estimate, so that no queue is built by its rounding.
const PACING_MARGIN: f64 = 0.99;
/// draft §5.6.4.2: packets that a path with delayed acknowledgements needs in flight.
const MIN_PACKETS: u64 = 4;
/// Packets of the first window (RFC 9002 §7.2).
const INITIAL_PACKETS: u64 = 10;
/// draft §5.6.3: what leaves at once is a millisecond's worth.
const QUANTUM: Duration = Duration::from_millis(1);
/// draft §5.6.4.2: quanta that both ends and the path between them have in hand.
const QUANTA: u64 = 3;
/// Losses in a round of Startup before it counts as congested (draft §5.3.1.3: "at least 6 loss events").
const STARTUP_LOSSES: u32 = 6;

/// What the sender is doing (draft §5.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Doubles its rate each round until the path delivers no faster.
    Startup,
    /// Lets the queue of Startup drain.
    Drain,
    /// Lets the queue of Up drain, and leaves room for others.
    Down,
    /// Sends at the rate that it knows.
    Cruise,
    /// Fills the pipe for a round, so that Up finds losses that are its own.
    Refill,
    /// Sends faster, to see whether the path delivers faster.
    Up,
    /// Sends little for a moment, to see the round trip without a queue.
    ProbeRtt,
}

impl State {
    /// draft §2.4, §5.3: "pacing_gain".
    const fn pacing_gain(self) -> f64 {
        match self {
            // 4 ln 2: the slowest that doubles the rate each round.
            Self::Startup => 2.77,
            Self::Drain => 0.5,
            Self::Down => 0.9,
            Self::Cruise | Self::Refill | Self::ProbeRtt => 1.0,
            Self::Up => 1.25,
        }
    }

    /// draft §2.4, §5.3: "cwnd_gain".
    const fn window_gain(self) -> f64 {
        match self {
            Self::Startup | Self::Drain | Self::Down | Self::Cruise | Self::Refill => 2.0,
            Self::Up => 2.25,
            Self::ProbeRtt => 0.5,
        }
    }

    const fn is_probe_bw(self) -> bool {
        matches!(self, Self::Down | Self::Cruise | Self::Refill | Self::Up)
    }

    /// Whether it sends more than it knows to be delivered, so that losses are what it looks for.
    const fn is_accelerating(self) -> bool {
        matches!(self, Self::Startup | Self::Refill | Self::Up)
    }
}

/// A sender's model of one path, and what follows from it.
#[derive(Clone, Debug)]
pub(crate) struct Bbr {
    /// Bytes of one full packet.
    mss: u64,
    state: State,
    round: Round,
    bandwidth: MaxBandwidth,
    min_rtt: MinRtt,
    aggregation: Aggregation,
    pipe: FullPipe,
    bounds: Bounds,
    losses: RoundLosses,
    cycle: Cycle,
    probe_rtt: ProbeRtt,
    window: u64,
    /// Bytes per second; `None` before the first sample.
    pacing_rate: Option<u64>,
    /// Whether the flight began after a pause: the round trip that it shows needs no probe.
    is_restarting: bool,
    /// Whether the ACK that is dealt with showed persistent congestion: the window does not grow by it.
    has_collapsed: bool,
}

impl Bbr {
    pub(crate) fn new(mss: usize) -> Self {
        let mss = mss as u64;
        Self {
            mss,
            state: State::Startup,
            round: Round::default(),
            bandwidth: MaxBandwidth::default(),
            min_rtt: MinRtt::default(),
            aggregation: Aggregation::default(),
            pipe: FullPipe::default(),
            bounds: Bounds::default(),
            losses: RoundLosses::default(),
            cycle: Cycle::default(),
            probe_rtt: ProbeRtt::default(),
            window: INITIAL_PACKETS * mss,
            pacing_rate: None,
            is_restarting: false,
            has_collapsed: false,
        }
    }

    /// Bytes per second that the path is taken to deliver now.
    fn rate(&self) -> u64 {
        self.bandwidth.max().min(self.bounds.rate)
    }

    /// Bytes that fill the path `gain` times at `rate`.
    fn product(&self, rate: u64, gain: f64) -> u64 {
        self.min_rtt
            .value()
            .map_or(INITIAL_PACKETS * self.mss, |rtt| {
                (rate as f64 * rtt.as_secs_f64() * gain) as u64
            })
    }

    /// The same in whole bursts (draft §5.6.4.2).
    fn flight(&self, rate: u64, gain: f64) -> u64 {
        let probe = if self.state == State::Up {
            2 * self.mss
        } else {
            0
        };
        let product = self.product(rate, gain);
        product.max(QUANTA * self.quantum()).max(self.minimum()) + probe
    }

    /// Bytes that leave at once.
    fn quantum(&self) -> u64 {
        let rate = self.pacing_rate.unwrap_or_default() as f64;
        ((rate * QUANTUM.as_secs_f64()) as u64).max(2 * self.mss)
    }

    const fn minimum(&self) -> u64 {
        MIN_PACKETS * self.mss
    }

    /// What the ACK adds to the model (draft §5.5).
    fn learn(&mut self, now: Instant, sample: &RateSample, is_round_start: bool) {
        if is_round_start && !self.state.is_accelerating() && self.losses.are_congestion(self.mss) {
            let max = self.bandwidth.max();
            self.bounds.lower(max, self.window);
        }
        self.bandwidth.update(sample);
        let (rate, keeps) = (self.rate(), self.pipe.is_full());
        self.aggregation.update(
            now,
            sample,
            (rate, self.window),
            (self.round.count(), keeps),
        );
        self.min_rtt.update(now, sample.rtt);
        if is_round_start {
            self.bounds.begin_round();
        }
        self.bounds.update(sample);
    }

    /// Whether the state is over, and which one follows (draft §5.3).
    fn advance(&mut self, now: Instant, sample: &RateSample, is_round_start: bool) {
        if self.state == State::Startup {
            self.check_startup(sample, is_round_start);
        }
        if self.state == State::Drain && sample.in_flight <= self.flight(self.bandwidth.max(), 1.0)
        {
            self.start_down(now, sample);
        }
        if self.state.is_probe_bw() {
            self.advance_cycle(now, sample, is_round_start);
        }
        self.check_probe_rtt(now, sample, is_round_start);
    }

    /// draft §5.3.1.2, §5.3.1.3: the rate does not grow, or too much is lost.
    fn check_startup(&mut self, sample: &RateSample, is_round_start: bool) {
        if is_round_start {
            self.pipe.update(sample, self.bandwidth.max());
            let is_congested =
                self.losses.events() >= STARTUP_LOSSES && self.losses.are_congestion(self.mss);
            if is_congested {
                self.pipe.fill();
                let product = self.flight(self.bandwidth.max(), 1.0);
                self.bounds.long_term = product.max(self.bounds.latest_delivered());
            }
        }
        if self.pipe.is_full() {
            self.state = State::Drain;
        }
    }

    /// What follows from the model (draft §5.6).
    fn control(&mut self, sample: &RateSample) {
        if self.bandwidth.max() > 0 {
            let rate = self.rate() as f64 * self.state.pacing_gain() * PACING_MARGIN;
            let rate = (rate as u64).max(1);
            // Until the pipe is full the rate only rises, but for the guess before the first sample.
            if self.pipe.is_full() || self.pacing_rate.is_none_or(|before| rate > before) {
                self.pacing_rate = Some(rate);
            }
        }
        let target = self.flight(self.rate(), self.state.window_gain()) + self.aggregation.extra();
        let acked = if std::mem::take(&mut self.has_collapsed) {
            0
        } else {
            sample.acked
        };
        if self.pipe.is_full() {
            self.window = (self.window + acked).min(target);
        } else if self.window < target || sample.total < INITIAL_PACKETS * self.mss {
            self.window += acked;
        }
        let cap = self.flight_cap();
        self.window = self.window.min(cap).max(self.minimum());
    }

    /// draft §5.6.4.7: the bounds that the state respects.
    fn flight_cap(&self) -> u64 {
        let long_term = match self.state {
            State::Down | State::Refill | State::Up => self.bounds.long_term,
            State::Cruise | State::ProbeRtt => self.bounds.with_headroom(self.mss),
            State::Startup | State::Drain => u64::MAX,
        };
        let cap = long_term.min(self.bounds.flight);
        if self.state == State::ProbeRtt {
            cap.min(self.product(self.bandwidth.max(), self.state.window_gain()))
        } else {
            cap
        }
    }
}

impl Controller for Bbr {
    fn on_sent(&mut self, now: Instant, in_flight: u64) {
        // draft §5.4: after a pause it starts at the known rate, whatever it was doing.
        if in_flight > 0 || self.pacing_rate.is_none() {
            return;
        }
        self.is_restarting = true;
        self.aggregation.restart(now);
        if self.state.is_probe_bw() {
            self.pacing_rate = Some(((self.rate() as f64 * PACING_MARGIN) as u64).max(1));
        }
    }

    fn on_sample(&mut self, now: Instant, sample: &RateSample) {
        let is_round_start = self.round.update(sample);
        self.learn(now, sample, is_round_start);
        self.advance(now, sample, is_round_start);
        self.control(sample);
        if is_round_start {
            self.losses.end_round(sample.total - sample.total_before);
        }
        self.is_restarting = false;
    }

    fn on_lost(&mut self, _now: Instant, lost: &LostPackets) {
        let min_rtt = self.min_rtt.value();
        self.losses.add(lost, min_rtt);
        if self.cycle.is_sampling() && self.losses.are_congestion(self.mss) {
            self.probed_too_much(lost.newest_in_flight);
        }
    }

    fn on_persistent_congestion(&mut self) {
        // RFC 9002 §7.6.2: the minimum window. It grows to what the model says with the acknowledgements of what it sends.
        self.window = self.minimum();
        self.has_collapsed = true;
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn pacing_rate(&self, srtt: Duration) -> u64 {
        self.pacing_rate
            .unwrap_or_else(|| pacing_rate(self.window, srtt, true))
    }
}
