//! Measurements between two daemons.

use pilot_types::{Address, NodeId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent::PathKind;
use crate::peer_ref::PeerRef;

/// `POST /v1/bench`: send a pattern to an agent, or have it send one, and say how fast it arrived.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchRequest {
    /// The agent.
    pub peer: PeerRef,
    /// Bytes to send, at most 64 GiB.
    pub bytes: u64,
    /// Whether the agent sends and this one counts.
    #[serde(default)]
    pub reverse: bool,
    /// The deadline in milliseconds: none for 30 s, zero for without end.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// What the receiver counted.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Benched {
    /// The agent.
    pub target: Address,
    /// The same, by its 48 bits.
    pub node_id: NodeId,
    /// Bytes that arrived.
    pub bytes: u64,
    /// From the first byte to the last.
    pub duration_ms: f64,
    /// Bytes over duration.
    pub gbit_per_s: f64,
    /// Whether every byte was the one that was sent.
    pub intact: bool,
    /// Whether the agent sent.
    pub reverse: bool,
    /// How packets travelled.
    pub path: PathKind,
    /// Smoothed round trip of the session at the end.
    pub rtt_ms: Option<f64>,
}
