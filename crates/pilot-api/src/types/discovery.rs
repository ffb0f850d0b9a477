//! Who is there, and how far away.

use pilot_types::{Address, Hostname, NetworkId, NodeId, Port, Tag};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent::{AgentSummary, PathKind, PublicKey};
use super::search::Capability;
use crate::peer_ref::PeerRef;

/// `POST /v1/find`: an agent by its name. Unknown and invisible are one `not_found`.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindRequest {
    /// The name.
    pub name: Hostname,
    /// The deadline in milliseconds: none for 30 s, zero for without end.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// An agent that is visible to this one.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Found {
    /// The agent.
    #[serde(flatten)]
    pub agent: AgentSummary,
    /// Whether everybody is shown its record.
    pub public: bool,
    /// Its signing key.
    pub public_key: PublicKey,
    /// The words that it is found by.
    pub tags: Vec<Tag>,
}

/// `POST /v1/lookup`: an agent by any of its names. Unknown and invisible are one `not_found`.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookupRequest {
    /// The agent.
    pub peer: PeerRef,
    /// The deadline in milliseconds: none for 30 s, zero for without end.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// An agent as far as it is visible to this one.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct LookedUp {
    /// What `find` says of it.
    #[serde(flatten)]
    pub found: Found,
    /// `NAME@VERSION` each.
    pub capabilities: Vec<String>,
    /// The same with descriptions and schemas.
    #[serde(default)]
    pub capability_details: Vec<Capability>,
    /// The networks that both are in; 0 is the backbone.
    pub networks: Vec<NetworkId>,
    /// When the rendezvous last heard of it.
    pub last_seen_unix: Option<u64>,
    /// Whether two keys claim to be its: nothing holds between it and us until it recovers.
    #[serde(default)]
    pub frozen: bool,
}

/// `POST /v1/peers`: agents with a live session.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeersRequest {
    /// Only those whose name or address contains it.
    #[serde(default)]
    pub search: Option<String>,
}

/// Agents with a live session.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Peers {
    /// By name, then address.
    pub peers: Vec<PeerSummary>,
    /// How many.
    pub total: u64,
}

/// An agent with a live session.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct PeerSummary {
    /// The agent.
    #[serde(flatten)]
    pub agent: AgentSummary,
    /// How packets travel.
    pub path: PathKind,
    /// The relay in use, if one is.
    pub relay: Option<String>,
    /// Smoothed round trip.
    pub rtt_ms: Option<f64>,
    /// Always `true`: there is no other mode.
    pub encrypted: bool,
    /// Always `true`: a session holds the agent's proven key.
    pub authenticated: bool,
}

/// `POST /v1/ping`: one round trip to port 0 of an agent.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PingRequest {
    /// The agent.
    pub peer: PeerRef,
    /// The deadline in milliseconds: none for 30 s, zero for without end.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// The answer to one ping.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Pong {
    /// The agent.
    #[serde(flatten)]
    pub agent: AgentSummary,
    /// Bytes that went there and back.
    pub bytes: u64,
    /// The round trip.
    pub rtt_ms: f64,
    /// How the answer came.
    pub path: PathKind,
}

/// `GET /v1/connections`: open streams.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionsRequest {}

/// Open streams.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Connections {
    /// By id.
    pub connections: Vec<ConnectionSummary>,
}

/// One open stream. Congestion window and round trip are its session's.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct ConnectionSummary {
    /// Its number in this daemon.
    pub id: u64,
    /// This end's port.
    pub local_port: Port,
    /// The other agent.
    pub remote_addr: Address,
    /// The other agent's 48 bits.
    pub remote_node_id: NodeId,
    /// The other end's port.
    pub remote_port: Port,
    /// `established` or `closing`.
    pub state: String,
    /// Congestion window in bytes.
    pub cong_win: u64,
    /// Bytes sent and not yet acknowledged.
    pub in_flight: u64,
    /// Smoothed round trip.
    pub srtt_ms: Option<f64>,
    /// Bytes of the stream sent.
    pub bytes_sent: u64,
    /// Bytes of the stream received.
    pub bytes_recv: u64,
    /// Packets of the session sent again.
    pub retransmits: u64,
}

/// `POST /v1/disconnect`: give an open stream up, in both directions.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisconnectRequest {
    /// Its number, as in `connections`.
    pub id: u64,
}

/// A stream that was given up.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Disconnected {
    /// Its number.
    pub id: u64,
    /// Always `disconnected`.
    pub status: String,
    /// The other agent.
    pub remote_addr: Address,
    /// The other agent's 48 bits.
    pub remote_node_id: NodeId,
}
