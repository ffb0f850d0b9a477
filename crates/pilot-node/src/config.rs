//! Settings and bounds of a node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pilot_types::{AgentId, Hostname, Tag};
use pilot_wire::{Capability, NetworkConfig, Record, Scope, SignedBytes, Visibility, limits};

use crate::links::KEEP_ALIVE;

/// Everything that a node is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// Handshakes and sealing.
    pub session: Arc<pilot_session::Config>,
    /// Streams to other agents.
    pub transport: Arc<pilot_transport::Config>,
    /// Streams to a rendezvous and from its clients: these sessions are kept alive.
    pub link_transport: Arc<pilot_transport::Config>,
    /// Knocks and grants.
    pub trust: Arc<pilot_trust::Config>,
    /// Networks with fewer zero bits of work are not joined.
    pub min_work_bits: u8,
    /// Sessions with strangers at a time (public agents and ticket holders): each is at most an idle session of 8 KiB.
    pub max_strangers: usize,
    /// Sessions in all; a rendezvous has one for each agent that is connected.
    pub max_sessions: usize,
    /// How long a dial may take before it fails.
    pub dial_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let link = pilot_transport::Config {
            keep_alive: Some(KEEP_ALIVE),
            ..pilot_transport::Config::default()
        };
        Self {
            session: Arc::default(),
            transport: Arc::default(),
            link_transport: Arc::new(link),
            trust: Arc::default(),
            min_work_bits: limits::MIN_WORK_BITS,
            max_strangers: 256,
            max_sessions: 16_384,
            dial_timeout: Duration::from_secs(10),
        }
    }
}

/// What an agent tells the registry of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The name that it claims.
    pub hostname: Option<Hostname>,
    /// Words to be found by.
    pub tags: Vec<Tag>,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Whether everybody is shown its record.
    pub is_public: bool,
    /// Whether it approves every knock with this scope.
    pub auto_approve: Option<Scope>,
}

impl Profile {
    pub(crate) fn record(&self) -> Record {
        Record {
            hostname: self.hostname.clone(),
            tags: self.tags.clone(),
            capabilities: self.capabilities.clone(),
            visibility: if self.is_public {
                Visibility::Public
            } else {
                Visibility::Trusted
            },
            auto_approves: self.auto_approve.is_some(),
            prekey: None,
        }
    }
}

/// How a rendezvous is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Whoever answers first is pinned.
    FirstUse,
    /// An `AgentId` or a signing key, as in `pilot://KEY@host:port`.
    Key([u8; 32]),
    /// Known from before.
    Agent(AgentId),
}

/// A rendezvous to register with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RendezvousTarget {
    /// For people and events.
    pub url: String,
    /// Where it is, resolved by the shell; the first [`MAX_ADDRS`](Self::MAX_ADDRS) of our sockets' families are tried. May be empty until the
    /// shell knows, see [`Node::set_rendezvous_addrs`](crate::Node::set_rendezvous_addrs).
    pub addrs: Vec<SocketAddr>,
    /// How it is recognised.
    pub pin: Pin,
    /// Whether it is a relay alone: it is asked for channels, and told nothing but who may reach us by it.
    pub is_relay: bool,
}

impl RendezvousTarget {
    /// Addresses of one rendezvous that are tried.
    pub const MAX_ADDRS: usize = 4;
}

/// What a rendezvous needs beside its registry.
#[derive(Clone, Debug)]
pub struct RendezvousConfig {
    /// The network that it serves.
    pub network: NetworkConfig,
    /// The same, signed by its key.
    pub signed_network: SignedBytes,
}
