//! Knocks, grants and who holds them.

use pilot_types::{NetworkId, NodeId, UnixTime};
use pilot_wire::PortRange;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent::AgentSummary;
use super::{field, schema};
use crate::peer_ref::PeerRef;

/// `POST /v1/handshake`: ask an agent for trust. The answer does not tell whether it exists.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandshakeRequest {
    /// The agent, as it was typed.
    pub peer: PeerRef,
    /// Why, for the people on the other side.
    #[serde(default)]
    pub reason: Option<String>,
    /// Wait so long until trust holds both ways, and end with `timeout` if it does not. Zero: without end.
    #[serde(default)]
    pub wait_ms: Option<u64>,
    /// The deadline in milliseconds, not shorter than the wait: none for 30 s, zero for without end.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// How far a handshake is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandshakeStatus {
    /// The knock is on its way, if there is anybody to knock at.
    Sent,
    /// Trust holds both ways.
    Trusted,
}

/// The answer to a handshake.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Knocked {
    /// How far it is.
    pub status: HandshakeStatus,
    /// The agent, once trust holds.
    pub node_id: Option<NodeId>,
}

/// `GET /v1/pending`: knocks that wait for an answer.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PendingRequest {}

/// Knocks that wait for an answer.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Pending {
    /// The oldest first.
    pub pending: Vec<PendingKnock>,
}

/// A knock.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct PendingKnock {
    /// Who knocks; the name is what it claims.
    #[serde(flatten)]
    pub agent: AgentSummary,
    /// Why.
    pub justification: String,
    /// The fingerprint of its key.
    pub fingerprint: String,
    /// When it came.
    #[serde(with = "field::rfc3339")]
    #[schemars(with = "schema::TimeText")]
    pub received_at: UnixTime,
}

/// `POST /v1/approve`: grant trust to an agent that knocked, or change what one is granted.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    /// The agent.
    pub peer: PeerRef,
    /// Ports that it may dial, as `7,1000-1002` or `all`; none for the default.
    #[serde(default, with = "field::ports_option")]
    #[schemars(with = "Option<schema::PortsText>")]
    pub ports: Option<Vec<PortRange>>,
    /// How long; none for without end.
    #[serde(default)]
    pub expires_ms: Option<u64>,
    /// Grant only, and take nothing in return.
    #[serde(default)]
    pub one_way: bool,
    /// Apps that it may call, by their ids or the last parts of them: they take the place of those it was granted before.
    #[serde(default)]
    pub apps: Vec<String>,
    /// Whether it may read the catalogue of apps that this agent has.
    #[serde(default)]
    pub catalogue: bool,
    /// How many questions about apps it may ask a minute, at most 6,000; none for 60.
    #[serde(default)]
    pub app_rate: Option<u32>,
    /// How many calls of apps it may make in all; none for any number.
    #[serde(default)]
    pub app_budget: Option<u64>,
}

/// Apps that an agent may call here.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct AppsGranted {
    /// Their ids.
    pub ids: Vec<String>,
    /// Whether it may read the catalogue of apps.
    #[serde(default)]
    pub catalogue: bool,
    /// How many questions it may ask a minute.
    pub per_minute: u32,
    /// How many calls it may make in all; null for any number.
    pub budget: Option<u64>,
    /// How many it has made, where there is a budget.
    pub used: u64,
}

/// Trust as it was granted.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Approved {
    /// `approved`.
    pub status: String,
    /// To whom.
    #[serde(flatten)]
    pub agent: AgentSummary,
    /// The fingerprint of the key that is pinned now.
    pub fingerprint: String,
    /// Ports that it may dial, as `7,1000-1002` or `all`.
    pub scope: String,
    /// Apps that it may call.
    #[serde(default)]
    pub apps: Option<AppsGranted>,
}

/// `POST /v1/reject`: drop a knock.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RejectRequest {
    /// Who knocked.
    pub peer: PeerRef,
    /// Why, for the log.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A knock is gone.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Rejected {
    /// `rejected`.
    pub status: String,
    /// Who knocked.
    #[serde(flatten)]
    pub agent: AgentSummary,
}

/// `POST /v1/untrust`: revoke what was granted; live sessions end at once.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UntrustRequest {
    /// The agent.
    pub peer: PeerRef,
}

/// Trust is gone.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Untrusted {
    /// `untrusted`.
    pub status: String,
    /// Whose.
    #[serde(flatten)]
    pub agent: AgentSummary,
}

/// `POST /v1/trust`: agents with which there is trust in either direction.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustRequest {
    /// Only those whose name or address contains it.
    #[serde(default)]
    pub search: Option<String>,
}

/// Agents with which there is trust.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Trusted {
    /// By name, then address.
    pub trusted: Vec<TrustedAgent>,
}

/// An agent with which there is trust.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct TrustedAgent {
    /// The agent.
    #[serde(flatten)]
    pub agent: AgentSummary,
    /// The fingerprint of the pinned key.
    pub fingerprint: String,
    /// `ticket`, `key`, `address` or `name`: how strong the pin was at first.
    pub learnt_by: String,
    /// Whether both granted.
    pub mutual: bool,
    /// Whether two keys claim to be the agent's: nothing holds between it and us until it recovers.
    #[serde(default)]
    pub frozen: bool,
    /// The network in which trust was granted.
    pub network: NetworkId,
    /// What it may do here: ports as `7,1000-1002`, `all`, `reply-only` or `none`.
    pub scope: String,
    /// Apps that it may call here.
    #[serde(default)]
    pub apps: Option<AppsGranted>,
    /// Since when.
    #[serde(with = "field::rfc3339")]
    #[schemars(with = "schema::TimeText")]
    pub approved_at: UnixTime,
    /// Until when; null for without end.
    #[serde(with = "field::rfc3339_option")]
    #[schemars(with = "Option<schema::TimeText>")]
    pub expires_at: Option<UnixTime>,
}
