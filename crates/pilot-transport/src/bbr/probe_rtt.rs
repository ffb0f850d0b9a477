//! A look at the round trip without our own queue (draft §5.3.4).

use std::time::{Duration, Instant};

use super::{Bbr, State};
use crate::delivery_rate::RateSample;

/// draft §5.3.4.3: "ProbeRTTDuration".
const DURATION: Duration = Duration::from_millis(200);

/// How far the look is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProbeRtt {
    /// When it has lasted long enough; `None` until little is in flight.
    ends_at: Option<Instant>,
    /// Whether a round with little in flight is over.
    is_round_over: bool,
    /// The window before.
    saved: u64,
}

impl Bbr {
    pub(super) fn check_probe_rtt(
        &mut self,
        now: Instant,
        sample: &RateSample,
        is_round_start: bool,
    ) {
        if self.state == State::ProbeRtt {
            self.advance_probe_rtt(now, sample, is_round_start);
        } else if self.min_rtt.is_expired() && !self.is_restarting {
            self.state = State::ProbeRtt;
            self.cycle.stop_sampling();
            self.probe_rtt = ProbeRtt {
                saved: self.window,
                ..ProbeRtt::default()
            };
            self.round.restart(sample);
        }
    }

    fn advance_probe_rtt(&mut self, now: Instant, sample: &RateSample, is_round_start: bool) {
        match self.probe_rtt.ends_at {
            None => {
                if sample.in_flight <= self.flight_cap().max(self.minimum()) {
                    self.probe_rtt.ends_at = Some(now + DURATION);
                    self.round.restart(sample);
                }
            }
            Some(ends_at) => {
                self.probe_rtt.is_round_over |= is_round_start;
                if self.probe_rtt.is_round_over && now >= ends_at {
                    self.end_probe_rtt(now, sample);
                }
            }
        }
    }

    fn end_probe_rtt(&mut self, now: Instant, sample: &RateSample) {
        self.min_rtt.confirm(now);
        self.window = self.window.max(self.probe_rtt.saved);
        if self.pipe.is_full() {
            self.bounds.lift();
            self.start_down(now, sample);
            self.start_cruise();
        } else {
            self.state = State::Startup;
        }
    }
}
