//! The daemon's own state and its agent's profile.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pilot_types::{Hostname, NodeId, Port, Tag};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent::{AgentSummary, PublicKey};
use super::keys::KeyState;

/// `GET /v1/status`: whether the daemon answers, and for whom.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusRequest {}

/// The daemon in short. One that does not run has no agent.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Whether there is a daemon.
    pub running: bool,
    /// Whether it answers.
    pub responsive: bool,
    /// Its process.
    pub pid: Option<u32>,
    /// Where it listens.
    pub socket: PathBuf,
    /// Its agent's 48 bits.
    pub node_id: Option<NodeId>,
    /// Its agent's address.
    pub address: Option<pilot_types::Address>,
    /// Its agent's name.
    pub hostname: Option<Hostname>,
    /// Since it started.
    pub uptime_secs: Option<u64>,
    /// Agents with a live session.
    pub peers: Option<u64>,
    /// Open streams.
    pub connections: Option<u64>,
}

/// `POST /v1/stop`: answer, then end as on SIGTERM.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopRequest {}

/// The daemon that ends or has ended.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Stopped {
    /// Its process.
    pub pid: u32,
    /// Whether it had to be killed. A daemon that answers says `false`.
    pub forced: bool,
    /// Bytes of finished streams that no peer acknowledged; null where nobody could say.
    pub undelivered_bytes: Option<u64>,
}

/// What a daemon says once it is ready: the `data` of the ready line and of `daemon start`.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Started {
    /// Its agent.
    #[serde(flatten)]
    pub agent: AgentSummary,
    /// Its process.
    pub pid: u32,
    /// Where its API listens.
    pub socket: PathBuf,
    /// Where it logs; none if that is its standard error.
    pub log_file: Option<PathBuf>,
    /// The rendezvous that it uses.
    pub rendezvous: Vec<RendezvousInfo>,
}

/// `GET /v1/info`: everything about this agent.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfoRequest {}

/// Everything about this agent.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Info {
    /// Itself.
    #[serde(flatten)]
    pub agent: AgentSummary,
    /// Its signing key.
    pub public_key: PublicKey,
    /// What others make of that key.
    #[serde(default)]
    pub key_state: KeyState,
    /// The daemon's version.
    pub version: String,
    /// Since it started.
    pub uptime_secs: u64,
    /// Whether everybody is shown its record.
    pub public: bool,
    /// The words that it is found by.
    pub tags: Vec<Tag>,
    /// What it says that it can do, `NAME@VERSION` each.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Agents with a live session.
    pub peers: u64,
    /// Open streams.
    pub connections: u64,
    /// Ports that somebody listens on.
    pub ports: Vec<Port>,
    /// The rendezvous that it uses.
    pub rendezvous: Vec<RendezvousInfo>,
    /// Whether one of them is the embedded one, which only this machine reaches.
    pub embedded: bool,
    /// What is known of the NAT in front of it.
    pub nat: NatInfo,
    /// Relays that it uses beside the rendezvous.
    #[serde(default)]
    pub relays: Vec<RelayLink>,
    /// What this agent passed on as a relay for agents that it trusts; null where it is none.
    pub relay: Option<RelayInfo>,
    /// Seconds of silence that the NAT bears as far as is known, and after which a rendezvous and this agent say a word; null without a
    /// rendezvous.
    pub keep_alive_secs: Option<u16>,
    /// Where it is reached, `host:port`.
    pub endpoints: Vec<String>,
    /// The port that a router in front of it holds open, or why none does.
    #[serde(default)]
    pub port_mapping: PortMappingInfo,
    /// UDP payload sent, in bytes.
    pub bytes_sent: u64,
    /// UDP payload received, in bytes.
    pub bytes_recv: u64,
    /// Packets dropped since the start, by reason; reasons that never applied are left out.
    #[serde(default)]
    pub drops: BTreeMap<String, u64>,
    /// Who speaks to the daemon.
    #[serde(default)]
    pub api: ApiLoad,
}

/// How busy the local API is.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct ApiLoad {
    /// Open connections, but for those of streams.
    pub connections: u64,
    /// Connections that carry a stream, or wait for one.
    pub streams: u64,
    /// What was refused or broken off since the start, by reason; reasons that never applied are left out.
    pub refusals: BTreeMap<String, u64>,
}

/// A rendezvous and how it stands with it.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct RendezvousInfo {
    /// `pilot://KEY@host:port`.
    pub url: String,
    /// `connecting`, `connected` or `refused`.
    pub state: String,
    /// Whether it is the embedded one.
    pub embedded: bool,
}

/// How the search for a port mapping went.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct PortMappingInfo {
    /// `off`, `not_needed`, `searching`, `no_gateway`, `refused`, `behind_nat`, `mapped` or `expiring`.
    pub state: String,
    /// By what it was granted: `pcp`, `nat_pmp` or `upnp`.
    pub protocol: Option<String>,
    /// The router that was asked.
    pub gateway: Option<String>,
    /// Where the router says that it takes packets for the agent, `host:port`.
    pub outer: Option<String>,
}

/// A relay that is no registry, and how it stands with it.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct RelayLink {
    /// `host:port`.
    pub url: String,
    /// `connecting`, `connected` or `refused`.
    pub state: String,
    /// Round trip to it in milliseconds, once measured.
    pub rtt_ms: Option<f64>,
}

/// What a relay did since its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct RelayInfo {
    /// Channels now.
    pub channels: usize,
    /// Packets passed on.
    pub datagrams: u64,
    /// Bytes passed on.
    pub bytes: u64,
}

/// NAT behaviour in the words of RFC 4787; `unknown` where nothing is known.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct NatInfo {
    /// How it maps.
    pub mapping: String,
    /// What it lets in.
    pub filtering: String,
}

impl NatInfo {
    /// Nothing is known.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            mapping: "unknown".to_owned(),
            filtering: "unknown".to_owned(),
        }
    }
}

/// `POST /v1/hostname`: claim a name, or give it up.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetHostnameRequest {
    /// The name; none to have none.
    pub hostname: Option<Hostname>,
}

/// The name as it is now.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct HostnameSet {
    /// This agent.
    pub node_id: NodeId,
    /// Its name.
    pub hostname: Option<Hostname>,
}

/// `POST /v1/tags`: replace the tags.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetTagsRequest {
    /// At most 16.
    pub tags: Vec<Tag>,
}

/// The tags as they are now.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct TagsSet {
    /// This agent.
    pub node_id: NodeId,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// `POST /v1/visibility`: show the record to everybody, or to trusted agents and fellow members only.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetVisibilityRequest {
    /// Whether everybody is shown it.
    pub public: bool,
}

/// The visibility as it is now.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct VisibilitySet {
    /// This agent.
    pub node_id: NodeId,
    /// Whether everybody is shown its record.
    pub public: bool,
}

/// `POST /v1/ticket`: a ticket that connects its holder to this agent without a registry.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicketRequest {
    /// How long it is good for; none for the default.
    #[serde(default)]
    pub expires_ms: Option<u64>,
}

/// A ticket.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct TicketIssued {
    /// `pilot-ticket:…`; whoever has it can knock once with it.
    pub ticket: String,
}

/// `POST /v1/deregister`: take record, name and address out of the registry.
///
/// They stay out until the daemon starts again or a command changes the profile.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeregisterRequest {}

/// The registry knows this agent no more.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Deregistered {
    /// This agent.
    pub node_id: NodeId,
    /// Always `false`: whether the registry knows it.
    pub registered: bool,
}
