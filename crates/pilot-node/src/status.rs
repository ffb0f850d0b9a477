//! What a node tells people of itself.

use std::net::SocketAddr;
use std::time::Duration;

use pilot_types::{AgentId, Hostname, PathId, Port};

use crate::event::{LinkState, StreamHandle};
use crate::node::Node;
use crate::peer_session::{Class, StreamUse};

/// The node as a whole.
#[derive(Clone, Debug)]
pub struct Status {
    /// Each rendezvous, how far it is, and where it sees us.
    pub rendezvous: Vec<(String, LinkState, Option<SocketAddr>)>,
    /// Each relay that is no registry, how far it is, and the round trip to it, once measured.
    pub relays: Vec<(String, LinkState, Option<Duration>)>,
    /// Live sessions with agents.
    pub peers: usize,
    /// Streams in the shell's hands.
    pub connections: usize,
    /// Bytes of packets sent in live sessions.
    pub bytes_sent: u64,
    /// Bytes of packets received in live sessions.
    pub bytes_received: u64,
    /// Live sessions of all kinds.
    pub sessions: usize,
    /// Packets sent in live sessions.
    pub packets_sent: u64,
    /// Packets received in live sessions.
    pub packets_received: u64,
    /// Packets of live sessions that were declared lost.
    pub packets_lost: u64,
    /// Handshakes since the start.
    pub handshakes: pilot_session::HandshakeStats,
    /// Packets dropped, by reason.
    pub drops: Vec<(&'static str, u64)>,
    /// Ports that are listened on.
    pub ports: Vec<Port>,
}

/// One live session with an agent.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Who.
    pub agent: AgentId,
    /// The name that it is known by here.
    pub hostname: Option<Hostname>,
    /// The path in use.
    pub path: PathId,
    /// Smoothed round trip, once measured.
    pub rtt: Option<Duration>,
}

/// One stream in the shell's hands.
#[derive(Clone, Debug)]
pub struct ConnectionStatus {
    /// The stream.
    pub stream: StreamHandle,
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
    /// Bytes written to the stream.
    pub bytes_sent: u64,
    /// Bytes read from the stream.
    pub bytes_recv: u64,
    /// Packets of the session that were sent again.
    pub retransmits: u64,
}

impl Node {
    /// The node as a whole.
    #[must_use]
    pub fn status(&self) -> Status {
        let peers = self
            .table
            .iter()
            .filter(|session| session.class == Class::Peer)
            .count();
        let is_application = |stream: &&StreamUse| matches!(stream, StreamUse::Application(_));
        let handshakes = self.endpoint.handshake_stats();
        let mut totals = pilot_transport::Stats::default();
        for stats in self.table.iter().map(|session| session.transport.stats()) {
            totals.bytes_sent += stats.bytes_sent;
            totals.bytes_received += stats.bytes_received;
            totals.packets_sent += stats.packets_sent;
            totals.packets_received += stats.packets_received;
            totals.packets_lost += stats.packets_lost;
        }
        Status {
            rendezvous: self
                .links
                .states()
                .map(|(url, state, seen)| (url.to_owned(), state, seen))
                .collect(),
            relays: self.relay_links(),
            peers,
            connections: self
                .table
                .iter()
                .map(|session| session.streams.values().filter(is_application).count())
                .sum(),
            bytes_sent: totals.bytes_sent,
            bytes_received: totals.bytes_received,
            drops: self.output.drops.counts(handshakes.output_lost),
            handshakes,
            packets_sent: totals.packets_sent,
            packets_received: totals.packets_received,
            packets_lost: totals.packets_lost,
            sessions: self.table.len(),
            ports: self.ports.listened.iter().copied().collect(),
        }
    }

    fn relay_links(&self) -> Vec<(String, LinkState, Option<Duration>)> {
        let rtt = |index| {
            let session = self.table.get(self.link_session(index)?)?;
            measured(&session.transport.stats())
        };
        let relays = self.links.relays();
        relays
            .map(|(index, url, state)| (url.to_owned(), state, rtt(index)))
            .collect()
    }

    /// Live sessions with agents.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        let agents = self
            .table
            .iter()
            .filter(|session| matches!(session.class, Class::Peer | Class::Stranger));
        agents
            .filter(|session| !session.transport.is_closing())
            .map(|session| PeerStatus {
                agent: session.agent,
                hostname: self.hostname_of(&session.agent),
                path: session.transport.path(),
                rtt: measured(&session.transport.stats()),
            })
            .collect()
    }

    /// Whether there is a session with an agent that neither closes nor waits for the peer to show a sign of life.
    #[must_use]
    pub fn has_live_session(&self, agent: &AgentId) -> bool {
        let session = self.table.by_agent(agent);
        session.is_some_and(|it| !it.transport.is_closing() && it.silent_since.is_none())
    }

    /// The name that an agent is known by here.
    #[must_use]
    pub fn hostname_of(&self, agent: &AgentId) -> Option<Hostname> {
        self.trust
            .peer_hostname(agent)
            .cloned()
            .or_else(|| self.directory.peer(agent)?.hostname.clone())
            .or_else(|| self.directory_name(agent))
    }

    /// Streams in the shell's hands.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionStatus> {
        let mut connections = vec![];
        for session in self.table.iter() {
            let stats = session.transport.stats();
            for (id, stream) in &session.streams {
                let StreamUse::Application(ports) = stream else {
                    continue;
                };
                let stream = session.transport.stream_stats(*id).unwrap_or_default();
                connections.push(ConnectionStatus {
                    stream: StreamHandle {
                        session: session.key,
                        id: *id,
                    },
                    agent: session.agent,
                    local_port: ports.local,
                    remote_port: ports.remote,
                    state: if session.transport.is_closing() {
                        "closing"
                    } else {
                        "established"
                    },
                    cong_win: stats.cwnd,
                    in_flight: stats.in_flight,
                    srtt: measured(&stats).unwrap_or_default(),
                    bytes_sent: stream.sent,
                    bytes_recv: stream.read,
                    retransmits: stats.packets_lost,
                });
            }
        }
        connections
    }

    /// Sessions in all: of a rendezvous, the agents that are connected.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.table.len()
    }
}

/// The smoothed round trip, once there was a sample.
fn measured(stats: &pilot_transport::Stats) -> Option<Duration> {
    (!stats.min_rtt.is_zero()).then_some(stats.srtt)
}
