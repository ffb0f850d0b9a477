//! Paths in words.

use pilot::{Explanation, NextStep, PathState};
use pilot_api::types::{self, ExplainRequest, Explained, PathCandidate};
use pilot_api::{ApiError, PeerRef};
use pilot_types::Port;

use super::{Daemon, target, view};
use crate::error;

impl Daemon {
    /// What this node knows of its paths; one that it does not know is asked for at the rendezvous first.
    pub(super) async fn explain_paths(
        &self,
        request: ExplainRequest,
    ) -> Result<Explained, ApiError> {
        let ExplainRequest { peer, .. } = request;
        let to = target(&peer)?;
        let failed = |error| error::dial(&error, &peer, Port::LIVENESS);
        let known = self.node.explain(to.clone()).map_err(failed)?;
        let explanation = match known {
            Some(explanation) => explanation,
            None => {
                let found = self.node.lookup(to).await;
                let found = found.map_err(|error| error::lookup(&error, &peer))?;
                let now_known = self.node.explain(pilot::Target::Agent(found.agent));
                now_known
                    .map_err(failed)?
                    .ok_or_else(|| error::not_found(&peer))?
            }
        };
        if explanation.agent == self.node.agent() {
            return Err(ApiError::invalid("that is this agent itself"));
        }
        Ok(self.explained(explanation, &peer))
    }

    fn explained(&self, explanation: Explanation, peer: &PeerRef) -> Explained {
        let name = explanation
            .hostname
            .as_ref()
            .map_or_else(|| error::name_of(peer), ToString::to_string);
        Explained {
            chosen: explanation.chosen.map_or(types::PathKind::None, view::path),
            candidates: explanation.candidates.iter().map(candidate).collect(),
            nat: view::nat(explanation.nat),
            peer_nat: view::nat(explanation.peer_nat),
            relay: explanation.relay.map(|addr| addr.to_string()),
            rtt_ms: explanation.rtt.map(view::millis),
            trusted: explanation.is_granted,
            rendezvous: self.rendezvous(),
            next_step: step_words(explanation.next_step, &name),
            agent: view::summary(explanation.agent, explanation.hostname),
        }
    }
}

fn candidate(path: &pilot::PathCandidate) -> PathCandidate {
    let state = match path.state {
        PathState::Untried => "untried",
        PathState::Probing => "probing",
        PathState::Answered => "answered",
        PathState::Failed => "failed",
        PathState::InUse => "in_use",
    };
    PathCandidate {
        kind: path.kind.to_owned(),
        addr: path.addr.map(|addr| addr.to_string()),
        state: state.to_owned(),
        rtt_ms: path.rtt.map(view::millis),
        why: path.why.to_owned(),
    }
}

fn step_words(step: NextStep, name: &str) -> Option<String> {
    let words = match step {
        NextStep::Nothing => return None,
        NextStep::Knock => format!("{name} has not granted trust: pilotctl handshake {name}"),
        NextStep::Rendezvous => {
            "no rendezvous answers: pilotctl info shows how it stands with each; check that it runs and that UDP to it passes"
                .to_owned()
        }
        NextStep::Connect => format!("not connected: pilotctl ping {name}"),
        NextStep::Wait => format!(
            "direct paths are being looked for: in a few seconds, pilotctl explain {name}"
        ),
        NextStep::HardNats => format!(
            "the NATs of this agent and of {name} give each destination another port, so that neither can be found: forward a UDP port to one of them (daemon start --listen ADDR)"
        ),
        NextStep::OpenUdp => format!(
            "no probe was answered: a firewall drops UDP, or a NAT gives each destination another port: let UDP to and from this agent or {name} pass, or forward a port to one of them (daemon start --listen ADDR)"
        ),
        NextStep::NoAddress => format!(
            "{name} named no address that may be probed from here: it is on another private network, or has not named any yet"
        ),
    };
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_names_what_to_do() {
        let words = |step| step_words(step, "planner").unwrap();
        assert!(words(NextStep::Knock).ends_with("pilotctl handshake planner"));
        assert!(words(NextStep::Connect).ends_with("pilotctl ping planner"));
        assert!(words(NextStep::Wait).ends_with("pilotctl explain planner"));
        assert!(words(NextStep::HardNats).contains("forward a UDP port"));
        assert!(words(NextStep::OpenUdp).contains("firewall drops UDP"));
        assert_eq!(step_words(NextStep::Nothing, "planner"), None);
    }
}
