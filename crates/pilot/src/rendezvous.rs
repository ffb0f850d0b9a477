//! A rendezvous to embed: registry, names, knocks and STUN on one UDP port.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use pilot_node::{
    LogVerifier, RegistryHost, RelayOnly, RelayStats, RendezvousConfig, RendezvousRole, Restored,
};
use pilot_registry::{Request, Response, Service, Stats};
use pilot_store::RegistryDb;
use pilot_types::{AgentId, Port, UnixTime, encode_hex};
use pilot_wire::{NetworkConfig, limits};
use tokio::sync::mpsc;

use crate::builder::{Opened, open_home, run};
use crate::clock;
use crate::error::{ListenError, StartError};
use crate::listener::Listener;
use crate::socket::Sockets;
use crate::state::Shared;

/// Receive buffers of each port: one who floods shares theirs with a sixteenth of the others. Each may hold 4 MiB while it is full.
const LANES: usize = 16;

/// Settings of a rendezvous to start.
#[derive(Clone, Debug)]
pub struct RendezvousBuilder {
    home: Option<PathBuf>,
    listen: SocketAddr,
    advertise: Option<String>,
    work_bits: u8,
    is_relay: bool,
}

/// A running rendezvous.
#[derive(Clone)]
pub struct Rendezvous {
    shared: Arc<Shared>,
    agent: AgentId,
    public_key: [u8; 32],
    advertise: Option<String>,
}

impl Default for RendezvousBuilder {
    fn default() -> Self {
        Self {
            home: None,
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9000)),
            advertise: None,
            work_bits: limits::DEFAULT_WORK_BITS,
            is_relay: false,
        }
    }
}

impl RendezvousBuilder {
    /// The directory of key and registry; it is made if it does not exist. Required.
    #[must_use]
    pub fn home(mut self, dir: impl Into<PathBuf>) -> Self {
        self.home = Some(dir.into());
        self
    }

    /// Where to listen; an unspecified address means all of both families. Default: all, port 9000.
    #[must_use]
    pub const fn listen(mut self, addr: SocketAddr) -> Self {
        self.listen = addr;
        self
    }

    /// `host:port` for the URL, where agents reach it by another address than it listens on.
    #[must_use]
    pub fn advertise(mut self, host_port: Option<String>) -> Self {
        self.advertise = host_port;
        self
    }

    /// Zero bits of work of its network. Default: 20; fewer are for networks of one's own, such as tests.
    #[must_use]
    pub const fn work_bits(mut self, bits: u8) -> Self {
        self.work_bits = bits;
        self
    }

    /// Whether it is a relay alone, without a registry. Default: it is both.
    #[must_use]
    pub const fn relay_only(mut self, is_relay: bool) -> Self {
        self.is_relay = is_relay;
        self
    }

    /// Opens the home, binds the socket and serves. Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// [`StartError`]. A damaged file in the home is never overwritten.
    pub async fn start(self) -> Result<Rendezvous, StartError> {
        let dir = self.home.clone().ok_or(StartError::NoHome)?;
        let (work_bits, is_relay) = (self.work_bits, self.is_relay);
        let opening = tokio::task::spawn_blocking(move || load(dir, work_bits, is_relay));
        let (opened, host) = opening.await.expect("opening a home does not panic")?;
        let mut sockets = Sockets::bind(self.listen).map_err(|source| StartError::Bind {
            addr: self.listen,
            source,
        })?;
        sockets.bind_lanes(LANES);
        let Opened { lock, identity, .. } = opened;
        let (agent, public_key) = (identity.agent(), identity.sign_public());
        let network = NetworkConfig { work_bits };
        let signed_network = identity.sign(1, UnixTime::default(), UnixTime::FAR_FUTURE, &network);
        let role = RendezvousRole::new(
            RendezvousConfig {
                network,
                signed_network,
            },
            host,
        );
        let now_ns = clock::unix().as_millis().saturating_mul(1_000_000);
        // A rendezvous dials nobody: its stamps are never compared, so they need no disk.
        let restored = Restored {
            stamps: now_ns..u64::MAX,
            ..Restored::default()
        };
        let config = pilot_node::Config {
            min_work_bits: work_bits,
            ..pilot_node::Config::default()
        };
        let mut node = pilot_node::Node::new(
            Arc::new(config),
            identity,
            restored,
            &clock::seed(),
            clock::now(),
        )
        .with_role(role);
        node.set_sockets(clock::now(), sockets.locals());
        // Nobody is behind a NAT on loopback.
        if !self.listen.ip().is_loopback() {
            let [asked, answering] = [1, 2].map(|distance| sockets.bind_beside(distance));
            node.set_stun_sockets(asked, answering);
        }
        let shared = Shared::new(node, sockets, None);
        let rendezvous = Rendezvous {
            shared: Arc::clone(&shared),
            agent,
            public_key,
            advertise: self.advertise,
        };
        // Nothing is written by way of the event loop: the registry writes before it answers.
        let (_, notices) = mpsc::unbounded_channel();
        tokio::spawn(run(shared, notices, lock, None));
        Ok(rendezvous)
    }
}

fn load(
    dir: PathBuf,
    work_bits: u8,
    is_relay: bool,
) -> Result<(Opened, Box<dyn RegistryHost>), StartError> {
    let opened = open_home(dir, work_bits)?;
    if is_relay {
        return Ok((opened, Box::new(RelayOnly)));
    }
    let db = RegistryDb::open(&opened.home.path("registry.redb"))?;
    let service = Service::new(Arc::default(), db, LogVerifier { work_bits }, clock::seed());
    Ok((opened, Box::new(service)))
}

impl Rendezvous {
    /// Settings of a rendezvous to start.
    #[must_use]
    pub fn builder() -> RendezvousBuilder {
        RendezvousBuilder::default()
    }

    /// Its id.
    #[must_use]
    pub const fn agent(&self) -> AgentId {
        self.agent
    }

    /// Its current signing key.
    #[must_use]
    pub const fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    /// The first socket's address.
    #[must_use]
    pub fn listen(&self) -> SocketAddr {
        self.shared.sockets.local()
    }

    /// `pilot://KEY@host:port` for agents; the host is a loopback address where neither an advertised nor a listening
    /// one is known.
    #[must_use]
    pub fn url(&self) -> String {
        let local = self.listen();
        let host_port = self.advertise.clone().unwrap_or_else(|| {
            let host = if local.ip().is_unspecified() {
                SocketAddr::from((Ipv4Addr::LOCALHOST, local.port()))
            } else {
                local
            };
            host.to_string()
        });
        format!("pilot://{}@{host_port}", encode_hex(self.agent.as_bytes()))
    }

    /// Agents that are connected now.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.shared.lock().node.sessions()
    }

    /// Counters of the registry.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let state = self.shared.lock();
        state
            .node
            .role()
            .map(RendezvousRole::stats)
            .expect("a rendezvous has its role")
    }

    /// Figures of the relay since the start.
    #[must_use]
    pub fn relay(&self) -> RelayStats {
        self.shared.lock().node.relay_stats().unwrap_or_default()
    }

    /// Packets dropped, by reason.
    #[must_use]
    pub fn drops(&self) -> Vec<(&'static str, u64)> {
        self.shared.lock().node.status().drops
    }

    /// Takes a port for streams of the agents that are registered here. Only port 1001 can be reached.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn listen_on(&self, port: Port) -> Result<Listener, ListenError> {
        let incoming = self.shared.with(|state| state.listen(port));
        let incoming = incoming.ok_or(ListenError::InUse(port))?;
        Ok(Listener::new(
            Arc::clone(&self.shared),
            Some(port),
            incoming,
        ))
    }

    /// Answers a request in the name of an agent that asked in another way than on the registry's port: by its quota, and with what it
    /// may see.
    #[must_use]
    pub fn ask(&self, from: AgentId, request: Request) -> Response {
        self.shared.with(|state| {
            let role = state.node.role_mut().expect("a rendezvous has its role");
            role.answer(clock::unix(), from, request)
        })
    }

    /// Tells the agents, and stops serving.
    pub async fn shutdown(&self) {
        self.shared.with(crate::state::State::shutdown);
        self.shared.wait_ended().await;
    }
}
