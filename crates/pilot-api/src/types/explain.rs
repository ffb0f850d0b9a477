//! Why packets to an agent travel as they do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent::{AgentSummary, PathKind};
use super::daemon::{NatInfo, RendezvousInfo};
use crate::peer_ref::PeerRef;

/// `POST /v1/explain`: why packets to an agent travel as they do. Nothing is sent to the agent.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The agent.
    pub peer: PeerRef,
    /// The deadline in milliseconds: none for 30 s, zero for without end.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// The paths to an agent, and what to do for a better one.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Explained {
    /// The agent.
    #[serde(flatten)]
    pub agent: AgentSummary,
    /// How packets travel; `none` without a session.
    pub chosen: PathKind,
    /// What was tried, direct ones first; empty without a session.
    pub candidates: Vec<PathCandidate>,
    /// The NAT of this agent.
    pub nat: NatInfo,
    /// What the other agent says of its own; it says nothing of its filtering.
    pub peer_nat: NatInfo,
    /// The address of the relay in use, if one is.
    pub relay: Option<String>,
    /// Smoothed round trip, once measured.
    pub rtt_ms: Option<f64>,
    /// Whether the agent's grant to this one holds.
    pub trusted: bool,
    /// Each rendezvous.
    pub rendezvous: Vec<RendezvousInfo>,
    /// What to do next, in words; none if nothing gets better.
    pub next_step: Option<String>,
}

/// One way to an agent.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct PathCandidate {
    /// `host`, `reflexive`, `mapped`, `last_known`, `seen`, `other` or `relay`.
    pub kind: String,
    /// `host:port` of the agent, or of the relay.
    pub addr: Option<String>,
    /// `untried`, `probing`, `answered`, `failed` or `in_use`.
    pub state: String,
    /// The last round trip, once measured.
    pub rtt_ms: Option<f64>,
    /// Why it is used, or why not.
    pub why: String,
}
