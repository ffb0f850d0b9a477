//! Streams: the two requests that turn their connection into one.

use pilot_types::{Address, Hostname, NodeId, Port};
use pilot_wire::TraceParent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent::AgentSummary;
use super::{field, schema};
use crate::peer_ref::PeerRef;

/// `POST /v1/dial`: open a stream to a port of an agent.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DialRequest {
    /// The agent.
    pub peer: PeerRef,
    /// Its port.
    pub port: Port,
    /// The deadline for opening it, in milliseconds: none for 30 s, zero for without end. The stream itself has none.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// The application's trace.
    #[serde(default, with = "field::text_option")]
    #[schemars(with = "Option<schema::TraceParentText>")]
    pub traceparent: Option<TraceParent>,
}

/// The stream that was opened.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct DialInfo {
    /// The agent.
    #[serde(flatten)]
    pub agent: AgentSummary,
    /// Its port.
    pub port: Port,
}

/// `POST /v1/accept`: take the next stream that comes, or waits, for a port of this agent.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptRequest {
    /// The port.
    pub port: Port,
    /// The deadline for one to come, in milliseconds: none for 30 s, zero for without end. The stream itself has none.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// The stream that was taken.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct AcceptInfo {
    /// Who opened it.
    pub from: NodeId,
    /// The opener's address.
    pub from_address: Address,
    /// The opener's name.
    pub from_hostname: Option<Hostname>,
    /// This agent's port.
    pub port: Port,
    /// The opener's port.
    pub remote_port: Port,
    /// The application's trace.
    #[serde(default, with = "field::text_option")]
    #[schemars(with = "Option<schema::TraceParentText>")]
    pub traceparent: Option<TraceParent>,
}

/// `POST /v1/streams/outcome`: wait until a stream has ended, and say how.
///
/// The bytes of an upgraded connection end in the same way whether the stream was finished or broken off.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamOutcomeRequest {
    /// The number from the header `pilot-stream-id` of the answer that opened it.
    pub stream: u64,
    /// The deadline in milliseconds: none for 30 s, zero for without end.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// A stream that both ends finished. One that broke off is an error instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct StreamEnded {
    /// Bytes from the caller to the peer.
    pub sent: u64,
    /// Bytes from the peer to the caller.
    pub received: u64,
}
