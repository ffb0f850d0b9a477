//! What the agent tried and why it uses what it uses, for people.

use std::time::Duration;

use pilot_types::PathId;
use pilot_wire::CandidateKind;

use super::PathAgent;
use super::pair::{Pair, Status};

/// How far a path got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathState {
    /// No probe was sent.
    Untried,
    /// Probes are out.
    Probing,
    /// It works and is not used.
    Answered,
    /// No probe was answered.
    Failed,
    /// Data go this way.
    InUse,
}

/// One path of a [`PathAgent`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathReport {
    /// The path.
    pub path: PathId,
    /// How the peer knows its address; `None` for a relay, or if it only was heard from there.
    pub kind: Option<CandidateKind>,
    /// How far it got.
    pub state: PathState,
    /// The last round trip.
    pub rtt: Option<Duration>,
    /// Why it is not used, or why it is.
    pub why: &'static str,
}

impl PathAgent {
    /// All paths, direct ones first.
    #[must_use]
    pub fn report(&self) -> Vec<PathReport> {
        let direct = self
            .pairs
            .iter()
            .map(|(path, pair)| self.direct(*path, pair));
        let relayed = self.relays.iter().map(|path| self.relayed(*path));
        direct.chain(relayed).collect()
    }

    fn direct(&self, path: PathId, pair: &Pair) -> PathReport {
        let (state, why) = if path == self.current {
            (PathState::InUse, "the best that answers")
        } else if pair.is_probing() && !pair.is_validated() {
            (PathState::Probing, "no answer yet")
        } else {
            match pair.status {
                Status::Untried => (PathState::Untried, "not probed yet"),
                Status::Answered => (PathState::Answered, self.why_not(path, pair)),
                Status::Failed => (
                    PathState::Failed,
                    "no probe was answered: a NAT or firewall drops them, or nobody is there",
                ),
            }
        };
        PathReport {
            path,
            kind: pair.kind,
            state,
            rtt: pair.rtt,
            why,
        }
    }

    fn why_not(&self, path: PathId, pair: &Pair) -> &'static str {
        let current = self.rank(self.current).standing;
        if self.rank(path).standing < current {
            "the path in use leads to an interface of the peer, past its NAT"
        } else if pair.faster > 0 {
            "faster than the path in use, but seen only once"
        } else {
            "not enough faster than the path in use"
        }
    }

    fn relayed(&self, path: PathId) -> PathReport {
        let (state, why) = if path == self.current {
            (PathState::InUse, "no direct path answers")
        } else {
            (PathState::Answered, "a standby: a direct path answers")
        };
        PathReport {
            path,
            kind: None,
            state,
            rtt: None,
            why,
        }
    }
}
