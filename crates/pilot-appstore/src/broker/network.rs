//! What all brokers of a home share: names, the overlay, the audit log.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::audit::Audit;
use crate::publishers::Publishers;
use crate::sandbox::Protection;
use crate::store::Installed;

/// Look-ups in the air at a time, of all apps: each holds a thread until the system's resolver gives up, some 30 s at worst.
const MAX_LOOK_UPS: usize = 16;

/// A stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What a name of a host means. Blocks.
pub type Names = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// The overlay, as an app reaches it: whoever embeds a [`crate::Host`] has it.
pub trait Overlay: Send + Sync {
    /// Opens a stream to an agent, by its hostname or address, or says why not.
    fn dial(&self, peer: String, port: u16) -> Dialling<'_>;
}

/// A stream that is being opened, or in words why there is none.
pub type Dialling<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn Duplex>, String>> + Send + 'a>>;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Network {
    home: PathBuf,
    pub(super) audit: Arc<Audit>,
    names: Names,
    overlay: Arc<OnceLock<Arc<dyn Overlay>>>,
    look_ups: Arc<Semaphore>,
    without: BTreeSet<Protection>,
}

impl Network {
    /// The network as the system sees it; `without` are rules that tests leave off.
    pub(crate) fn new(home: &Path, audit: Arc<Audit>, without: BTreeSet<Protection>) -> Self {
        Self {
            home: home.to_owned(),
            audit,
            names: Arc::new(of_the_system),
            overlay: Arc::default(),
            look_ups: Arc::new(Semaphore::new(MAX_LOOK_UPS)),
            without,
        }
    }

    /// The same with other names.
    pub(crate) fn with_names(self, names: Names) -> Self {
        Self { names, ..self }
    }

    /// The way to other agents, once.
    pub(crate) fn set_overlay(&self, overlay: Arc<dyn Overlay>) {
        // The first one counts.
        drop(self.overlay.set(overlay));
    }

    pub(super) fn publishers(&self) -> Publishers {
        Publishers::new(&self.home)
    }

    pub(super) fn has(&self, protection: Protection) -> bool {
        !self.without.contains(&protection)
    }

    pub(super) fn most_connections(&self, app: &Installed) -> usize {
        if self.has(Protection::Connections) {
            app.bundle.manifest().limits.connections
        } else {
            usize::MAX
        }
    }

    pub(super) async fn look_up(&self, name: String) -> io::Result<Vec<IpAddr>> {
        let place = Arc::clone(&self.look_ups).acquire_owned().await;
        let place = place.map_err(io::Error::other)?;
        let names = Arc::clone(&self.names);
        let looked = spawn_blocking(move || {
            // Held until the resolver is done, also if nobody waits for it any more.
            let _place = place;
            names(&name)
        });
        let addresses = looked.await.map_err(io::Error::other)??;
        Ok(addresses.iter().map(IpAddr::to_canonical).collect())
    }

    pub(super) async fn dial(&self, peer: String, port: u16) -> Result<Box<dyn Duplex>, String> {
        match self.overlay.get() {
            Some(overlay) => overlay.dial(peer, port).await,
            None => Err("this program has no overlay".to_owned()),
        }
    }
}

/// The port does not matter.
fn of_the_system(name: &str) -> io::Result<Vec<IpAddr>> {
    let addresses = (name, 1).to_socket_addrs()?;
    Ok(addresses.map(|address| address.ip()).collect())
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network")
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}
