//! The daemon as the API sees it: each command in terms of the node and its services.

mod apps;
mod broadcast;
mod commands;
mod each;
mod events;
mod explain;
mod files;
mod filter;
mod groups;
mod keys;
mod messages;
mod notices;
mod peer_apps;
mod profile;
mod route;
mod search;
mod tcp;
mod traffic;
mod view;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pilot::{Node, NodeStatus, Target};
use pilot_api::{ApiError, Load, PeerRef, Server};
use pilot_appstore::Host;
use pilot_types::UnixTime;
use tokio::sync::watch;

use crate::catalogues::Fetcher;
use crate::filter::Filter;
use crate::peer_apps::PeerApps;
use crate::routing::Memory;
use crate::services::Services;
use crate::webhook::Webhooks;

pub(crate) use self::commands::blocking;
pub(crate) use self::events::event;
pub(crate) use self::view::{millis, summary};

/// How long a daemon that is to end waits for acknowledgements.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// What clients wrote and ended a moment ago is on its way through their sockets, where nobody can ask for it.
const SETTLE: Duration = Duration::from_millis(100);

/// Where the agent's rendezvous are, and whether it is the embedded one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Links {
    /// As configured.
    pub(crate) urls: Vec<String>,
    /// Whether the only one is the embedded one.
    pub(crate) is_embedded: bool,
}

/// The apps of the home, and what is kept about them.
pub(crate) struct Apps {
    pub(crate) host: Arc<Host>,
    pub(crate) peers: Arc<PeerApps>,
    pub(crate) filter: Arc<Filter>,
}

/// A running daemon.
pub(crate) struct Daemon {
    node: Node,
    services: Services,
    apps: Arc<Host>,
    peer_apps: Arc<PeerApps>,
    filter: Arc<Filter>,
    fetcher: Fetcher,
    webhooks: Webhooks,
    /// How members of groups did whom requests were routed to.
    memory: Arc<Mutex<Memory>>,
    links: Links,
    socket: PathBuf,
    load: Load,
    /// Held while `config.json` is changed.
    config_file: Arc<Mutex<()>>,
    stop: watch::Sender<bool>,
    /// Whether what was written has been delivered as far as it can be.
    is_drained: AtomicBool,
}

impl Daemon {
    /// A daemon over the services of a started node, for a server.
    pub(crate) fn new(
        services: Services,
        apps: Apps,
        webhooks: Webhooks,
        links: Links,
        server: &Server,
    ) -> Self {
        Self {
            node: services.node().clone(),
            fetcher: Fetcher::new(services.node().clone()),
            services,
            apps: apps.host,
            peer_apps: apps.peers,
            filter: apps.filter,
            webhooks,
            memory: Arc::default(),
            links,
            socket: server.socket().to_owned(),
            load: server.load(),
            config_file: Arc::default(),
            stop: watch::Sender::new(false),
            is_drained: AtomicBool::new(false),
        }
    }

    /// The node as a whole.
    pub(crate) fn node_status(&self) -> NodeStatus {
        self.node.status()
    }

    /// How busy the API is.
    pub(crate) fn load(&self) -> &Load {
        &self.load
    }

    /// Messages in the inbox. Blocks on the disk.
    pub(crate) fn inbox_total(&self) -> Result<u64, ApiError> {
        self.services.exchange().inbox().total()
    }

    /// Delivers what was written to streams that are finished, unless that was done; gives the bytes that no peer
    /// acknowledged.
    pub(crate) async fn drain(&self) -> u64 {
        if self.is_drained.swap(true, Ordering::Relaxed) {
            return self.node.drain(Duration::ZERO).await;
        }
        tokio::time::sleep(SETTLE).await;
        self.node.drain(DRAIN_LIMIT).await
    }

    /// Ends every app.
    pub(crate) async fn end_apps(&self) {
        self.apps.end().await;
    }

    /// Resolves when a command asked the daemon to end.
    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // The sender lives as long as this borrow.
        let _ = stop.wait_for(|is_stopped| *is_stopped).await;
    }
}

/// What the node calls an agent.
pub(crate) fn target(peer: &PeerRef) -> Result<Target, ApiError> {
    Ok(match peer {
        PeerRef::Ticket(text) => {
            let ticket = text.parse();
            Target::Ticket(Box::new(ticket.map_err(
                |error: pilot_trust::ParseTicketError| {
                    ApiError::invalid(format!("invalid ticket: {error}"))
                },
            )?))
        }
        PeerRef::Address(address) => Target::Node(address.node()),
        PeerRef::Key(key) => Target::Key(*key),
        PeerRef::Node(node) => Target::Node(*node),
        PeerRef::Hostname(name) => Target::Hostname(name.clone()),
    })
}

/// A moment that is never reached is no moment.
fn end(time: UnixTime) -> Option<UnixTime> {
    (time != UnixTime::FAR_FUTURE).then_some(time)
}
