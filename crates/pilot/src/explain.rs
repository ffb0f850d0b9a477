//! Why packets to an agent travel as they do.

use std::net::SocketAddr;
use std::time::Duration;

use pilot_node::{Filtering, PathReport, PathState};
use pilot_types::{AgentId, Hostname, PathId, RelayAddr};
use pilot_wire::CandidateKind;

use crate::clock;
use crate::error::DialError;
use crate::node::Node;
use crate::peers::{NatStatus, NodeStatus, PathKind, RendezvousStatus};
use crate::target::Target;

/// One way to an agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathCandidate {
    /// `host`, `reflexive`, `mapped`, `last_known`, `other`; `seen` if the agent only was heard from there; `relay`.
    pub kind: &'static str,
    /// The agent's address, or the relay's; `None` for a path without one.
    pub addr: Option<SocketAddr>,
    /// How far it got.
    pub state: PathState,
    /// The last round trip.
    pub rtt: Option<Duration>,
    /// Why it is used, or why not.
    pub why: &'static str,
}

/// What would bring a better path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NextStep {
    /// Nothing: the path is direct.
    Nothing,
    /// The agent has to grant us trust.
    Knock,
    /// No rendezvous answers, and there is no session.
    Rendezvous,
    /// There is no session, and nothing stands against one.
    Connect,
    /// Direct paths are being probed.
    Wait,
    /// Direct paths were probed in vain, and each NAT gives each destination another port.
    HardNats,
    /// Direct paths were probed in vain.
    OpenUdp,
    /// No address of the agent may be probed.
    NoAddress,
}

/// Why packets to an agent travel as they do.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Who.
    pub agent: AgentId,
    /// The name that it is known by here.
    pub hostname: Option<Hostname>,
    /// Whether its grant to us holds.
    pub is_granted: bool,
    /// How packets travel; `None` without a session.
    pub chosen: Option<PathKind>,
    /// The relay in use.
    pub relay: Option<SocketAddr>,
    /// Smoothed round trip, once measured.
    pub rtt: Option<Duration>,
    /// What our NAT does.
    pub nat: NatStatus,
    /// What the agent says of its NAT.
    pub peer_nat: NatStatus,
    /// What was tried, direct ones first.
    pub candidates: Vec<PathCandidate>,
    /// Each rendezvous.
    pub rendezvous: Vec<RendezvousStatus>,
    /// What would bring a better path.
    pub next_step: NextStep,
}

impl Node {
    /// Why packets to an agent travel as they do; `None` if the agent is not known here. It sends nothing.
    ///
    /// # Errors
    /// [`DialError::Ticket`] if the ticket is not good.
    pub fn explain(&self, target: Target) -> Result<Option<Explanation>, DialError> {
        let target = self.node_target(target)?;
        let NodeStatus {
            rendezvous, nat, ..
        } = self.status();
        let state = self.shared.lock();
        let Some(agent) = state.node.resolve(&target) else {
            return Ok(None);
        };
        let session = state
            .node
            .peers()
            .into_iter()
            .find(|peer| peer.agent == agent);
        let is_granted = state.node.trust().is_granted_by(clock::unix(), &agent);
        let hostname = state.node.hostname_of(&agent);
        let report = state.node.path_report(&agent);
        let peer_nat = NatStatus::new(state.node.mapping_of(&agent), Filtering::Unknown);
        drop(state);
        let current = session.as_ref().map(|session| session.path);
        let rtt = session.and_then(|session| session.rtt);
        let mut candidates: Vec<_> = report.iter().map(|path| candidate(path, rtt)).collect();
        if let Some(path) = current
            && candidates.is_empty()
        {
            candidates.push(only(path, rtt));
        }
        let chosen = current.as_ref().map(PathKind::from);
        let are_hard = nat.is_hard() && peer_nat.is_hard();
        let has_rendezvous = rendezvous
            .iter()
            .any(|link| matches!(link.state, "connected" | "registered"));
        let mut next_step = next_step(chosen, is_granted, has_rendezvous, &candidates);
        if next_step == NextStep::OpenUdp && are_hard {
            next_step = NextStep::HardNats;
        }
        Ok(Some(Explanation {
            agent,
            hostname,
            is_granted,
            chosen,
            relay: current.and_then(relay_of),
            rtt,
            nat,
            peer_nat,
            next_step,
            candidates,
            rendezvous,
        }))
    }
}

/// The relay of a path.
pub(crate) const fn relay_of(path: PathId) -> Option<SocketAddr> {
    match path {
        PathId::Relay {
            relay: RelayAddr(addr),
            ..
        } => Some(addr),
        PathId::Udp(_) | PathId::Stream(_) => None,
    }
}

fn candidate(report: &PathReport, session: Option<Duration>) -> PathCandidate {
    let is_used = report.state == PathState::InUse;
    PathCandidate {
        kind: kind_of(report.path, report.kind),
        addr: report.path.remote().or_else(|| relay_of(report.path)),
        state: report.state,
        rtt: report.rtt.or_else(|| session.filter(|_| is_used)),
        why: report.why,
    }
}

/// The path of a session in which no others are looked for.
fn only(path: PathId, rtt: Option<Duration>) -> PathCandidate {
    PathCandidate {
        kind: kind_of(path, None),
        addr: path.remote().or_else(|| relay_of(path)),
        state: PathState::InUse,
        rtt,
        why: "the handshake came this way; no other is looked for in this session",
    }
}

const fn kind_of(path: PathId, kind: Option<CandidateKind>) -> &'static str {
    match (path, kind) {
        (PathId::Relay { .. }, _) => "relay",
        (PathId::Udp(_) | PathId::Stream(_), None) => "seen",
        (_, Some(CandidateKind::Host)) => "host",
        (_, Some(CandidateKind::Reflexive)) => "reflexive",
        (_, Some(CandidateKind::Mapped)) => "mapped",
        (_, Some(CandidateKind::LastKnown)) => "last_known",
        (_, Some(CandidateKind::Unknown)) => "other",
    }
}

fn next_step(
    chosen: Option<PathKind>,
    is_granted: bool,
    has_rendezvous: bool,
    candidates: &[PathCandidate],
) -> NextStep {
    let mut direct = candidates
        .iter()
        .filter(|candidate| candidate.kind != "relay");
    match chosen {
        Some(PathKind::Direct) => NextStep::Nothing,
        None | Some(PathKind::Relay) if !is_granted => NextStep::Knock,
        None if !has_rendezvous => NextStep::Rendezvous,
        None => NextStep::Connect,
        Some(PathKind::Relay) if direct.clone().next().is_none() => NextStep::NoAddress,
        Some(PathKind::Relay) if direct.all(|it| it.state == PathState::Failed) => {
            NextStep::OpenUdp
        }
        Some(PathKind::Relay) => NextStep::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(kind: &'static str, state: PathState) -> PathCandidate {
        PathCandidate {
            kind,
            addr: None,
            state,
            rtt: None,
            why: "",
        }
    }

    #[test]
    fn without_a_session_trust_comes_first_then_a_rendezvous() {
        assert_eq!(next_step(None, false, false, &[]), NextStep::Knock);
        assert_eq!(next_step(None, true, false, &[]), NextStep::Rendezvous);
        assert_eq!(next_step(None, true, true, &[]), NextStep::Connect);
    }

    #[test]
    fn a_relay_is_explained_by_what_became_of_direct_paths() {
        let relay = path("relay", PathState::InUse);
        let step = |direct: &[PathCandidate]| {
            let all: Vec<_> = direct.iter().cloned().chain([relay.clone()]).collect();
            next_step(Some(PathKind::Relay), true, true, &all)
        };
        let failed = path("host", PathState::Failed);
        let probing = path("reflexive", PathState::Probing);
        assert_eq!(step(&[]), NextStep::NoAddress);
        assert_eq!(step(std::slice::from_ref(&failed)), NextStep::OpenUdp);
        assert_eq!(step(&[failed, probing]), NextStep::Wait);
    }

    #[test]
    fn a_direct_path_needs_nothing() {
        let direct = Some(PathKind::Direct);
        assert_eq!(next_step(direct, true, true, &[]), NextStep::Nothing);
    }
}
