//! What a client does of its own accord.

use std::time::Duration;

use super::{ClientConfig, Timer};
use crate::stats::RequestKind;

/// The chores, most urgent first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ChoreKind {
    /// Say who the agent is.
    Register,
    /// Ask where it is seen.
    Observe,
    /// Say where it is.
    Locate,
    /// Say who may reach it through the rendezvous.
    Permit,
}

impl ChoreKind {
    pub(super) const ALL: [Self; 4] = [Self::Register, Self::Observe, Self::Locate, Self::Permit];

    pub(super) const fn timer(self) -> Timer {
        match self {
            Self::Register => Timer::Register,
            Self::Observe => Timer::Observe,
            Self::Locate => Timer::Locate,
            Self::Permit => Timer::Permit,
        }
    }

    pub(super) const fn request(self) -> RequestKind {
        match self {
            Self::Register => RequestKind::Register,
            Self::Observe => RequestKind::Observe,
            Self::Locate => RequestKind::Locate,
            Self::Permit => RequestKind::Permit,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    /// Nothing to do.
    #[default]
    Idle,
    /// To be sent as soon as it can.
    Wanted,
    /// Sent.
    UnderWay,
    /// Failed; its timer says when it is wanted again.
    Resting,
}

/// One chore's state and how often in a row it failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Chore {
    state: State,
    failures: u32,
}

impl Chore {
    pub(super) fn is_wanted(&self) -> bool {
        self.state == State::Wanted
    }

    pub(super) const fn want(&mut self) {
        self.state = State::Wanted;
    }

    pub(super) const fn start(&mut self) {
        self.state = State::UnderWay;
    }

    /// Begins a rest; `spread` from 0 to 1 makes it up to a half longer, so that agents do not come back all at once.
    pub(super) fn rest(&mut self, config: &ClientConfig, spread: f64) -> Duration {
        self.state = State::Resting;
        let doubled = config.min_rest.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        doubled.min(config.max_rest).mul_f64(1.0 + spread / 2.0)
    }
}
