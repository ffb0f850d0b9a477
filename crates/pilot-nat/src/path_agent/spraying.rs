//! When ports are guessed.

use std::time::{Duration, Instant};

use pilot_wire::{CandidateKind, Mapping};

use super::pair::Pair;
use super::{PathAction, PathAgent};
use crate::spray::SpraySide;

/// However often networks change, or a peer says that they did.
const MIN_PAUSE: Duration = Duration::from_secs(60);

/// What is known of our NAT, and whether guesses were made since networks changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Spraying {
    pub(super) own: Mapping,
    is_done: bool,
    last: Option<Instant>,
}

impl Spraying {
    pub(super) const fn network_changed(&mut self) {
        self.is_done = false;
    }

    fn is_allowed(&self, now: Instant) -> bool {
        !self.is_done && self.last.is_none_or(|last| now >= last + MIN_PAUSE)
    }
}

impl PathAgent {
    /// Asks for guesses if no path that the peer named is left to be tried and they have a chance.
    pub(super) fn spray(&mut self, now: Instant) {
        let is_last_resort = !self.has_direct() && !self.pairs.values().any(Pair::is_probing);
        if !is_last_resort || !self.spraying.is_allowed(now) {
            return;
        }
        if let Some(side) = self.spray_side() {
            self.spraying.is_done = true;
            self.spraying.last = Some(now);
            self.actions.push_back(PathAction::Spray(side));
        }
    }

    /// Our part, if one of the two NATs gives each destination another port and the other does not.
    fn spray_side(&self) -> Option<SpraySide> {
        let seen = self.remote.iter().filter(|it| it.addr.is_ipv4());
        // Where it is seen from outside; one that is seen at an interface's address names no other.
        let outer = seen.max_by_key(|it| (it.kind == CandidateKind::Reflexive, it.kind))?;
        match (is_hard(self.spraying.own)?, is_hard(self.remote.mapping())?) {
            (true, false) => Some(SpraySide::Hard(outer.addr)),
            (false, true) => Some(SpraySide::Easy(outer.addr.ip())),
            (true, true) | (false, false) => None,
        }
    }
}

const fn is_hard(mapping: Mapping) -> Option<bool> {
    match mapping {
        Mapping::EndpointIndependent => Some(false),
        Mapping::AddressDependent | Mapping::AddressAndPortDependent => Some(true),
        Mapping::Unknown => None,
    }
}
