//! When which part of the endpoint has work to do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use pilot_types::{AgentId, Deadline};

/// What a timer is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Timer {
    /// Message 1 is sent again, or its handshake given up.
    Retransmit(AgentId),
    /// The oldest half-open handshake is forgotten.
    HalfOpen,
    /// A secret makes no cookie any longer that is taken.
    Secrets,
    /// A cookie that this node was given is too old to be shown.
    Cookies,
    /// An epoch of a session is due for replacement, at its end, or its replay window idle.
    Session(AgentId),
}

impl Timer {
    const fn name(self) -> &'static str {
        match self {
            Self::Retransmit(_) => "retransmit",
            Self::HalfOpen => "half_open",
            Self::Secrets => "cookie_secrets",
            Self::Cookies => "cookies",
            Self::Session(_) => "session",
        }
    }
}

/// Timers, of which each is set once at most.
#[derive(Default)]
pub(crate) struct Schedule {
    by_time: BTreeSet<(Instant, Timer)>,
    by_timer: BTreeMap<Timer, Instant>,
}

impl Schedule {
    /// Sets, moves or stops a timer.
    pub(crate) fn set(&mut self, timer: Timer, at: Option<Instant>) {
        let before = match at {
            Some(at) => self.by_timer.insert(timer, at),
            None => self.by_timer.remove(&timer),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.by_time.remove(&(before, timer));
        }
        if let Some(at) = at {
            self.by_time.insert((at, timer));
        }
    }

    /// Stops a timer that is due, and gives it.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let (_, timer) = *self.by_time.first().filter(|(at, _)| *at <= now)?;
        self.set(timer, None);
        Some(timer)
    }

    pub(crate) fn next(&self) -> Option<Deadline> {
        self.by_time.first().map(|(at, timer)| Deadline {
            at: *at,
            timer: timer.name(),
        })
    }
}
