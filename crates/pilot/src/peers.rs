//! Facts about agents, sessions and streams, for people and programs.

use std::net::SocketAddr;
use std::time::Duration;

use pilot_node::{Filtering, Mapping, PeerEntry, RelayStats};
use pilot_types::{AgentId, Hostname, PathId, Port, Tag, UnixTime};
use pilot_wire::{Capability, Visibility};

use crate::port_mapping::PortMappingStatus;

/// How packets travel to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathKind {
    /// Straight.
    Direct,
    /// Through a third party.
    Relay,
}

impl From<&PathId> for PathKind {
    fn from(path: &PathId) -> Self {
        if path.is_direct() {
            Self::Direct
        } else {
            Self::Relay
        }
    }
}

/// An answered ping.
#[derive(Clone, Copy, Debug)]
pub struct Pong {
    /// Who answered.
    pub agent: AgentId,
    /// Between sending and the answer.
    pub rtt: Duration,
    /// Bytes of payload.
    pub bytes: usize,
    /// How it travelled.
    pub path: PathKind,
}

/// A verified entry of the registry.
#[derive(Clone, Debug)]
pub struct Found {
    /// Who.
    pub agent: AgentId,
    /// The name that its record claims.
    pub hostname: Option<Hostname>,
    /// Whether everybody is shown the record.
    pub public: bool,
    /// Its current signing key.
    pub public_key: [u8; 32],
    /// Words to be found by.
    pub tags: Vec<Tag>,
    /// What it can do, as it says.
    pub capabilities: Vec<Capability>,
    /// When the rendezvous last heard of it.
    pub last_seen: Option<UnixTime>,
    /// Whether it is connected to the rendezvous now.
    pub online: bool,
    /// Whether it approves every knock.
    pub auto_approves: bool,
}

impl From<PeerEntry> for Found {
    fn from(entry: PeerEntry) -> Self {
        Self {
            agent: entry.agent,
            hostname: entry.record.hostname,
            public: entry.record.visibility == Visibility::Public,
            public_key: entry.log.sign_key(),
            tags: entry.record.tags,
            capabilities: entry.record.capabilities,
            last_seen: entry.last_seen,
            online: entry.is_online,
            auto_approves: entry.record.auto_approves,
        }
    }
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Searched {
    /// Verified entries, the best first.
    pub agents: Vec<Found>,
    /// How many fit in all, of those that we may see.
    pub total: u64,
}

/// What a knock led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Knocked {
    /// It was sent, whether or not the target exists.
    Sent,
    /// Trust holds.
    Trusted(AgentId),
}

/// One live session.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Who.
    pub agent: AgentId,
    /// The name that it is known by here.
    pub hostname: Option<Hostname>,
    /// How packets travel.
    pub path: PathKind,
    /// The relay, if one forwards.
    pub relay: Option<String>,
    /// Smoothed round trip, once measured.
    pub rtt: Option<Duration>,
    /// The peer's address on a direct path.
    pub remote: Option<SocketAddr>,
}

/// One open stream.
#[derive(Clone, Debug)]
pub struct ConnectionStatus {
    /// Unique while the node runs.
    pub id: u64,
    /// The other end.
    pub agent: AgentId,
    /// Our port.
    pub local_port: Port,
    /// The peer's port.
    pub remote_port: Port,
    /// `established` or `closing`.
    pub state: &'static str,
    /// The session's congestion window in bytes.
    pub cong_win: u64,
    /// Bytes on their way in the session.
    pub in_flight: u64,
    /// The session's smoothed round trip.
    pub srtt: Duration,
    /// Bytes written.
    pub bytes_sent: u64,
    /// Bytes read.
    pub bytes_recv: u64,
    /// Packets of the session that were lost and sent again.
    pub retransmits: u64,
}

/// One rendezvous.
#[derive(Clone, Debug)]
pub struct RendezvousStatus {
    /// Its URL.
    pub url: String,
    /// `connecting`, `connected`, `registered` or `refused`.
    pub state: &'static str,
}

/// A relay that is no registry, and how it stands with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelayLink {
    /// `host:port`.
    pub url: String,
    /// `connecting`, `connected` or `refused`.
    pub state: &'static str,
    /// Round trip to it, once measured.
    pub rtt: Option<Duration>,
}

/// How a NAT behaves, in the words of RFC 4787.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NatStatus {
    /// `endpoint_independent`, `address_dependent`, `address_and_port_dependent` or `unknown`.
    pub mapping: &'static str,
    /// `address_dependent`, also if it lets in more than that, `address_and_port_dependent` or `unknown`.
    pub filtering: &'static str,
}

impl NatStatus {
    pub(crate) const fn new(mapping: Mapping, filtering: Filtering) -> Self {
        let mapping = match mapping {
            Mapping::EndpointIndependent => "endpoint_independent",
            Mapping::AddressDependent => "address_dependent",
            Mapping::AddressAndPortDependent => "address_and_port_dependent",
            Mapping::Unknown => "unknown",
        };
        let filtering = match filtering {
            Filtering::AddressDependent => "address_dependent",
            Filtering::AddressAndPortDependent => "address_and_port_dependent",
            Filtering::Unknown => "unknown",
        };
        Self { mapping, filtering }
    }

    /// Whether each destination sees another port of ours.
    pub(crate) fn is_hard(&self) -> bool {
        self.mapping == "address_and_port_dependent"
    }
}

/// The node as a whole.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Since the start.
    pub uptime: Duration,
    /// Each rendezvous.
    pub rendezvous: Vec<RendezvousStatus>,
    /// Each relay that is no registry.
    pub relays: Vec<RelayLink>,
    /// Where we are seen from outside, and the port mapping.
    pub endpoints: Vec<SocketAddr>,
    /// Seconds of silence that our NAT bears as far as is known, and after which a rendezvous or we say a word; `None` without
    /// a rendezvous.
    pub keep_alive_secs: Option<u16>,
    /// What we passed on, if we are a relay for agents that we trust.
    pub relay: Option<RelayStats>,
    /// What our NAT does with IPv4.
    pub nat: NatStatus,
    /// The search for a port mapping.
    pub port_mapping: PortMappingStatus,
    /// Live sessions with agents.
    pub peers: usize,
    /// Open streams.
    pub connections: usize,
    /// Ports that are listened on.
    pub ports: Vec<Port>,
    /// Bytes of packets sent.
    pub bytes_sent: u64,
    /// Bytes of packets received.
    pub bytes_recv: u64,
    /// Live sessions of all kinds.
    pub sessions: usize,
    /// Packets sent in live sessions.
    pub packets_sent: u64,
    /// Packets received in live sessions.
    pub packets_recv: u64,
    /// Packets of live sessions that were declared lost.
    pub packets_lost: u64,
    /// Handshakes that this node started, since its start.
    pub handshakes_started: u64,
    /// Those of them that were answered.
    pub handshakes_completed: u64,
    /// Handshakes of others that cost a key exchange.
    pub handshakes_opened: u64,
    /// Those of them that were answered.
    pub handshakes_accepted: u64,
    /// Cookies that others were asked for under load.
    pub cookies_sent: u64,
    /// Packets dropped, by reason.
    pub drops: Vec<(&'static str, u64)>,
    /// Whether everybody is shown our record.
    pub public: bool,
    /// Words to be found by.
    pub tags: Vec<Tag>,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Whether every knock is approved.
    pub auto_approve: bool,
}

/// What to change of what the registry says of us; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// The name to claim, or none.
    pub hostname: Option<Option<Hostname>>,
    /// Words to be found by.
    pub tags: Option<Vec<Tag>>,
    /// What it can do.
    pub capabilities: Option<Vec<Capability>>,
    /// Whether everybody is shown our record.
    pub public: Option<bool>,
    /// Whether every knock is approved.
    pub auto_approve: Option<bool>,
}
