//! Starting a node: home, key, state, socket, rendezvous.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use pilot_node::{KnownPeer, LastSession, Pin, Profile, RendezvousTarget, Restored};
use pilot_store::{Home, HomeLock, RendezvousPin, StateDb};
use pilot_trust::Identity;
use pilot_types::{Hostname, Tag};
use pilot_wire::{Capability, decode_postcard, limits};
use tokio::sync::mpsc;

use crate::clock;
use crate::driver::drive;
use crate::error::StartError;
use crate::interfaces::Surroundings;
use crate::keys::Unwritten;
use crate::names;
use crate::node::{Facts, Node};
use crate::persist::{Notice, Persister};
use crate::port_mapping::{PortMapper, Want};
use crate::socket::Sockets;
use crate::state::Shared;
use crate::url::{ParseUrlError, RendezvousUrl};

/// Settings of a node to start; [`Builder::start`] starts it.
#[derive(Clone, Debug)]
pub struct Builder {
    home: Option<PathBuf>,
    rendezvous: Vec<String>,
    relays: Vec<String>,
    hostname: Option<Hostname>,
    tags: Vec<Tag>,
    capabilities: Vec<Capability>,
    is_public: bool,
    auto_approve: bool,
    listen: SocketAddr,
    port_mapping: bool,
    relay_for_trusted: bool,
    work_bits: u8,
    min_work_bits: u8,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            home: None,
            rendezvous: vec![],
            relays: vec![],
            hostname: None,
            tags: vec![],
            capabilities: vec![],
            is_public: false,
            auto_approve: false,
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            port_mapping: true,
            relay_for_trusted: false,
            work_bits: limits::DEFAULT_WORK_BITS,
            min_work_bits: limits::MIN_WORK_BITS,
        }
    }
}

/// What a home holds, read at the start.
pub(crate) struct Opened {
    pub(crate) home: Home,
    pub(crate) lock: HomeLock,
    pub(crate) identity: Identity,
}

/// Opens a home for one process and makes its key if it has none.
pub(crate) fn open_home(dir: PathBuf, work_bits: u8) -> Result<Opened, StartError> {
    let home = Home::open(dir)?;
    let lock = home.lock()?;
    let identity = match home.load_identity()? {
        Some(identity) => identity,
        None => {
            let identity = Identity::generate(clock::seed(), work_bits);
            home.save_new_identity(&identity)?;
            identity
        }
    };
    Ok(Opened {
        home,
        lock,
        identity,
    })
}

impl Builder {
    /// The directory of key and state; it is made if it does not exist. Required.
    #[must_use]
    pub fn home(mut self, dir: impl Into<PathBuf>) -> Self {
        self.home = Some(dir.into());
        self
    }

    /// A rendezvous to register with, `pilot://KEY@host:port` or `host:port`; may be called several times.
    #[must_use]
    pub fn rendezvous(mut self, url: impl Into<String>) -> Self {
        self.rendezvous.push(url.into());
        self
    }

    /// A relay beside the rendezvous, which are relays too, `pilot://KEY@host:port` or `host:port`; may be called several times. It is
    /// asked for channels to peers, and told nothing but who may reach us by it. At most eight of both are used.
    #[must_use]
    pub fn relay(mut self, url: impl Into<String>) -> Self {
        self.relays.push(url.into());
        self
    }

    /// The name to claim.
    #[must_use]
    pub fn hostname(mut self, name: Hostname) -> Self {
        self.hostname = Some(name);
        self
    }

    /// Words to be found by, at most 16.
    #[must_use]
    pub fn tags(mut self, tags: Vec<Tag>) -> Self {
        self.tags = tags;
        self
    }

    /// What we can do, within the bounds of [`pilot_wire::check_capabilities`].
    #[must_use]
    pub fn capabilities(mut self, capabilities: Vec<Capability>) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Whether everybody is shown our record. Default: trusted agents only.
    #[must_use]
    pub const fn public(mut self, is_public: bool) -> Self {
        self.is_public = is_public;
        self
    }

    /// Whether every knock is approved with the default scope. Default: none is.
    #[must_use]
    pub const fn auto_approve(mut self, auto_approve: bool) -> Self {
        self.auto_approve = auto_approve;
        self
    }

    /// Where to listen; an unspecified address means all of both families. Default: all, a port of the system's choice.
    #[must_use]
    pub const fn listen(mut self, addr: SocketAddr) -> Self {
        self.listen = addr;
        self
    }

    /// Whether a router in front of us is asked to hold our port open (PCP, NAT-PMP, UPnP); only a router with a private address
    /// on a link of ours is. Default: it is.
    #[must_use]
    pub const fn port_mapping(mut self, is_wanted: bool) -> Self {
        self.port_mapping = is_wanted;
        self
    }

    /// Whether we pass sealed packets on for agents that we trust and have a session with, so that they reach each other where NATs
    /// let no straight path through and no rendezvous is there. Default: we do not.
    #[must_use]
    pub const fn relay_for_trusted(mut self, is_on: bool) -> Self {
        self.relay_for_trusted = is_on;
        self
    }

    /// Zero bits of work of a key to be made, for networks of one's own. Default: 20.
    #[must_use]
    pub const fn work_bits(mut self, bits: u8) -> Self {
        self.work_bits = bits;
        self
    }

    /// Zero bits of work that others' keys must have, for networks of one's own. Default: 16.
    #[must_use]
    pub const fn min_work_bits(mut self, bits: u8) -> Self {
        self.min_work_bits = bits;
        self
    }

    /// Opens the home, binds the socket and begins to register; [`Node::registered`] waits for that. Needs a tokio
    /// runtime with I/O and time.
    ///
    /// # Errors
    /// [`StartError`]. A damaged or foreign file in the home is never overwritten.
    pub async fn start(self) -> Result<Node, StartError> {
        let dir = self.home.clone().ok_or(StartError::NoHome)?;
        let urls = |texts: &[String]| -> Result<Vec<RendezvousUrl>, ParseUrlError> {
            texts.iter().map(|url| url.parse()).collect()
        };
        let (urls, relays) = (urls(&self.rendezvous)?, urls(&self.relays)?);
        let work_bits = self.work_bits;
        let opening = tokio::task::spawn_blocking(move || load(dir, work_bits));
        let (opened, db, restored) = opening.await.expect("opening a home does not panic")?;
        let sockets = Sockets::bind(self.listen).map_err(|source| StartError::Bind {
            addr: self.listen,
            source,
        })?;
        let (persister, notices) =
            Persister::start(Arc::clone(&db), opened.home.clone()).map_err(|source| {
                StartError::Thread {
                    home: opened.home.dir().to_owned(),
                    source,
                }
            })?;

        let facts = Facts {
            agent: opened.identity.agent(),
            min_work_bits: self.min_work_bits,
        };
        let config = pilot_node::Config {
            min_work_bits: self.min_work_bits,
            ..pilot_node::Config::default()
        };
        let mut node = pilot_node::Node::new(
            Arc::new(config),
            opened.identity,
            restored,
            &clock::seed(),
            clock::now(),
        );
        node.init_profile(self.profile());
        node.relay_for_trusted(clock::now(), self.relay_for_trusted);
        node.set_interfaces(clock::now(), Surroundings::look().prefixes);
        node.set_sockets(clock::now(), sockets.locals());
        let shared = Shared::new(node, sockets, Some(persister));
        let (silent, wanted) = mpsc::channel(names::MAX_WAITING);
        shared.lock().silent = Some(silent);
        tokio::spawn(names::resolve_again(Arc::downgrade(&shared), wanted));
        let mut rendezvous = vec![];
        for url in &urls {
            rendezvous.extend(add_rendezvous(&shared, &db, url, false).await?);
        }
        for url in &relays {
            add_rendezvous(&shared, &db, url, true).await?;
        }
        let mapper = PortMapper::start(&shared, self.port_mapping_for(&rendezvous));
        let node = Node {
            shared: Arc::clone(&shared),
            home: Arc::new(opened.home),
            facts: Arc::new(facts),
            unwritten: Unwritten::default(),
        };
        tokio::spawn(run(shared, notices, opened.lock, mapper));
        Ok(node)
    }

    /// Nobody outside learns of an agent whose rendezvous only this machine reaches.
    fn port_mapping_for(&self, rendezvous: &[SocketAddr]) -> Want {
        let is_local = rendezvous.iter().all(|addr| addr.ip().is_loopback());
        match self.port_mapping {
            false => Want::No,
            true if is_local && !rendezvous.is_empty() => Want::NotNeeded,
            true => Want::Yes,
        }
    }

    fn profile(&self) -> Profile {
        Profile {
            hostname: self.hostname.clone(),
            tags: self.tags.clone(),
            capabilities: self.capabilities.clone(),
            is_public: self.is_public,
            auto_approve: self.auto_approve.then(pilot_node::Node::default_scope),
        }
    }
}

/// The event loop, and then the home given back.
pub(crate) async fn run(
    shared: Arc<Shared>,
    notices: mpsc::UnboundedReceiver<Notice>,
    lock: HomeLock,
    mapper: Option<PortMapper>,
) {
    drive(Arc::clone(&shared), notices, mapper.as_ref()).await;
    if let Some(mapper) = mapper {
        mapper.stop().await;
    }
    if let Some(persister) = &shared.persister {
        persister.stop().await;
    }
    // Held until here: a second process on this home is refused.
    drop(lock);
    shared.ended.send_replace(true);
}

fn load(dir: PathBuf, work_bits: u8) -> Result<(Opened, Arc<StateDb>, Restored), StartError> {
    let opened = open_home(dir, work_bits)?;
    let db = opened.home.open_state()?;
    let now_ns = clock::unix().as_millis().saturating_mul(1_000_000);
    let peers = db.peers()?;
    let restored = Restored {
        trust: db.trust_items()?,
        peers: peers
            .iter()
            .filter_map(|bytes| decode_postcard::<KnownPeer>(bytes, "a known peer").ok())
            .collect(),
        freshness: db.peer_freshness()?,
        sessions: last_sessions(&db)?,
        stamps: db.reserve_freshness(now_ns)?,
        boot_counter: db.next_boot()?,
        group_keys: opened.home.load_group_keys()?,
    };
    Ok((opened, Arc::new(db), restored))
}

/// The peers of the last run.
fn last_sessions(db: &StateDb) -> Result<Vec<LastSession>, StartError> {
    let sessions = db.last_sessions()?;
    let kept = sessions.into_iter().map(|session| LastSession {
        agent: session.agent,
        address: session.address,
    });
    Ok(kept.collect())
}

/// Resolves a rendezvous' name and adds it. A name that does not resolve now may do so later: only one that was never
/// met is refused.
async fn add_rendezvous(
    shared: &Shared,
    db: &StateDb,
    url: &RendezvousUrl,
    is_relay: bool,
) -> Result<Vec<SocketAddr>, StartError> {
    let host_port = url.host_port();
    let pinned = db.pin(&host_port)?;
    let addrs = match names::resolve(&host_port).await {
        Ok(addrs) => addrs,
        Err(error) if pinned.is_some() || is_relay => {
            tracing::warn!(host_port, %error, "the rendezvous' name does not resolve");
            vec![]
        }
        Err(source) => return Err(StartError::Resolve { host_port, source }),
    };
    let (pin, known) = choose_pin(url, pinned);
    let target = RendezvousTarget {
        url: host_port,
        addrs: addrs.clone(),
        pin,
        is_relay,
    };
    shared.with(|state| state.node.add_rendezvous(clock::now(), target, known));
    Ok(addrs)
}

/// A key in the URL is what the user says now; without one, what was pinned before holds.
fn choose_pin(url: &RendezvousUrl, pinned: Option<RendezvousPin>) -> (Pin, Option<Vec<Vec<u8>>>) {
    match (url.key(), pinned) {
        (Some(key), pinned) => (Pin::Key(key), pinned.map(|pinned| pinned.log)),
        (None, Some(pinned)) => (Pin::Agent(pinned.agent), Some(pinned.log)),
        (None, None) => (Pin::FirstUse, None),
    }
}
