//! The way of an app to the network: the daemon connects for it, by its grants, each time anew.
//!
//! ```text
//! app ── {"host","port"} ──▶ broker ── granted? ── looked up ── public, or granted by address? ── connected
//!     ◀── {} and a socket ──          (one request at a time)                                        │
//!     ◀════════ bytes ══════════════ a socket pair ═════════════ carried by the daemon ══════════════╛
//! ```
//!
//! What the app holds is one end of a socket pair. The TCP connection is the daemon's, so that it ends when the daemon says so: with
//! the app's process, with what is installed, or with its publisher.

mod addresses;
mod carry;
mod control;
mod dial;
mod error;
mod ledger;
mod network;
mod reach;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::{Duration, Instant};

use pilot_trust::DocumentKey;
use tokio::net::UnixStream;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::sleep;

use control::{Control, Request};
use dial::{Connection, Target};
use error::ConnectError;
use ledger::Ledger;
use reach::Reach;

use crate::publishers::PublishersError;
use crate::sandbox::Protection;
use crate::store::Installed;

pub(crate) use control::hand_over;
pub(crate) use network::Network;
pub use network::{Dialling, Duplex, Names, Overlay};

/// How often the broker looks whether the app's publisher may still run apps here.
const PUBLISHER_LOOK: Duration = Duration::from_secs(1);

/// The broker of one process. Its end is that of all its connections.
#[derive(Debug)]
pub(crate) struct Broker(JoinHandle<()>);

impl Broker {
    /// Begins to answer an app at the daemon's end of its control channel. Must be called within a tokio runtime.
    pub(crate) fn start(control: OwnedFd, app: &Installed, network: &Network) -> io::Result<Self> {
        let serving = Serving {
            control: Control::new(control)?,
            reach: Reach::new(app, network),
            ledger: Ledger::new(app, network),
            network: network.clone(),
            publisher: app.bundle.manifest().publisher,
            most: network.most_connections(app),
            open: JoinSet::new(),
        };
        Ok(Self(tokio::spawn(serving.run())))
    }

    /// Ends every connection, and waits until they have ended.
    pub(crate) async fn end(mut self) {
        self.0.abort();
        // What it was doing does not matter any more.
        drop((&mut self.0).await);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Serving {
    control: Control,
    reach: Reach,
    ledger: Ledger,
    network: Network,
    publisher: DocumentKey,
    most: usize,
    open: JoinSet<()>,
}

impl Serving {
    /// Until the app closes its end, or its publisher is revoked. With this its connections are dropped.
    async fn run(mut self) {
        let (network, publisher) = (self.network.clone(), self.publisher);
        tokio::select! {
            () = self.answer_requests() => {}
            () = until_revoked(network, publisher) => {}
        }
    }

    async fn answer_requests(&mut self) {
        loop {
            tokio::select! {
                request = self.control.receive() => match request {
                    Ok(Some(request)) => {
                        if self.answer(&request).await.is_err() {
                            return;
                        }
                    }
                    // Its end, or an error after which nothing comes: the process says by its own end why.
                    Ok(None) | Err(_) => return,
                },
                Some(_) = self.open.join_next() => {}
            }
        }
    }

    async fn answer(&mut self, request: &[u8]) -> io::Result<()> {
        let begun = Instant::now();
        let request = Request::parse(request);
        let target = request.as_ref().map(ToString::to_string);
        let target = target.unwrap_or_else(|_| "?".to_owned());
        let connected = match request {
            Ok(request) => self.connect(&request).await,
            Err(error) => Err(error),
        };
        let told = connected.as_ref().map(|connected| connected.to.as_str());
        let wait = self.ledger.record(&target, told, begun.elapsed());
        match connected {
            Ok(connected) => self.hand(connected).await,
            Err(error) => {
                // An app that goes on asking for what it does not get takes no more of the daemon than this.
                sleep(wait).await;
                self.control.refuse(&error).await
            }
        }
    }

    async fn connect(&mut self, request: &Request) -> Result<Connection, ConnectError> {
        while self.open.try_join_next().is_some() {}
        if self.open.len() >= self.most {
            return Err(ConnectError::TooMany(self.most));
        }
        match request.target()? {
            Target::Tcp { host, port } => {
                self.reach.check_host(&host, port)?;
                dial::tcp(&self.reach, &self.network, host, port).await
            }
            Target::Agent { peer, port } => {
                self.reach.check_peer(&peer, port)?;
                dial::overlay(&self.network, peer, port).await
            }
        }
    }

    async fn hand(&mut self, connection: Connection) -> io::Result<()> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let probe = OwnedFd::from(ours.try_clone()?);
        let ours = UnixStream::from_std(ours)?;
        self.control.give(theirs.into()).await?;
        self.open
            .spawn(carry::carry(ours, probe, connection.stream));
        Ok(())
    }
}

/// The publishers of a home are a file that the owner's commands change, not the daemon.
async fn until_revoked(network: Network, publisher: DocumentKey) {
    if !network.has(Protection::Revocation) {
        return std::future::pending().await;
    }
    loop {
        sleep(PUBLISHER_LOOK).await;
        let publishers = network.publishers();
        let looked = spawn_blocking(move || publishers.check(&publisher)).await;
        if let Ok(Err(PublishersError::Revoked(_) | PublishersError::NotTrusted(_))) = looked {
            return;
        }
    }
}
