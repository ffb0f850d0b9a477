//! Virtual time.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pilot_types::UnixTime;

/// What a machine is told about time: the steady clock and the wall clock of its host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// The steady clock, the same on all hosts.
    pub instant: Instant,
    /// The host's wall clock, which may be wrong and may jump.
    pub unix: UnixTime,
}

/// 2026-01-01T00:00:00Z: where the wall clocks of a simulation start.
const WALL_START: UnixTime = UnixTime::from_secs(1_767_225_600);

/// The steady clock of a simulation. It moves only when it is told to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    now: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let start = base();
        Self { start, now: start }
    }

    pub(crate) const fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    pub(crate) fn advance_to(&mut self, at: Instant) {
        assert!(at >= self.now, "virtual time does not run backwards");
        self.now = at;
    }
}

/// The wall clock of one host: the steady clock and an error that a test can set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock {
    shown: UnixTime,
    at: Duration,
}

impl WallClock {
    pub(crate) const fn new() -> Self {
        Self {
            shown: WALL_START,
            at: Duration::ZERO,
        }
    }

    pub(crate) fn read(&self, elapsed: Duration) -> UnixTime {
        self.shown.plus(elapsed - self.at)
    }

    pub(crate) fn set(&mut self, elapsed: Duration, to: UnixTime) {
        *self = Self {
            shown: to,
            at: elapsed,
        };
    }
}

/// The moment from which every simulation of this process counts.
///
/// `Instant` has no other constructor than reading a clock. This is the only place of the crate that does, once; all
/// that a simulation sees are differences to it, so that runs of one seed are equal.
fn base() -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    *BASE.get_or_init(Instant::now)
}
