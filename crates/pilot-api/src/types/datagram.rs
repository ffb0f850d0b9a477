//! Datagrams: one packet each, without a promise.

use pilot_types::{Address, Hostname, NodeId, Port};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::payload::{self, Payload};
use crate::peer_ref::PeerRef;

/// `POST /v1/datagrams`: send a datagram to a port of an agent.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub struct SendDatagramRequest {
    /// The agent.
    pub peer: PeerRef,
    /// Its port.
    pub port: Port,
    /// What to send: `data`, or `data_b64` where it is no text. It must fit into a packet.
    #[serde(flatten, deserialize_with = "payload::closed")]
    pub body: Payload,
    /// The deadline for reaching the agent, in milliseconds: none for 30 s, zero for without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// A datagram that left.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct DatagramSent {
    /// To whom.
    pub target: Address,
    /// The same, by its 48 bits.
    pub node_id: NodeId,
    /// Its port.
    pub port: Port,
    /// Bytes of data.
    pub bytes: u64,
}

/// `POST /v1/datagrams/receive`: wait for a datagram to a port of this agent.
///
/// From the first request on, and for 30 s after the last, the port keeps up to 256 datagrams.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiveDatagramsRequest {
    /// The port.
    pub port: Port,
    /// At most so many of those that wait, from 1 to 256; none for 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
    /// The deadline for the first, in milliseconds: none for 30 s, zero for without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// Datagrams that came, at least one.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Datagrams {
    /// In the order in which they came.
    pub messages: Vec<Datagram>,
}

/// A datagram that came.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Datagram {
    /// Who sent it, proven by its key.
    pub src_addr: Address,
    /// The sender's port.
    pub src_port: Port,
    /// The sender's 48 bits.
    pub src_node_id: NodeId,
    /// The sender's name.
    pub src_hostname: Option<Hostname>,
    /// This agent's port.
    pub port: Port,
    /// What it carries.
    #[serde(flatten)]
    pub body: Payload,
    /// Bytes of data.
    pub bytes: u64,
}
