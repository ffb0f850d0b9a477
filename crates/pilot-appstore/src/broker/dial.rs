//! Connecting to what was granted.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::error::ConnectError;
use super::network::{Duplex, Network};
use super::reach::Reach;
use crate::net_grant::{Host, is_local_name};

/// How long a look-up and all attempts to connect take together.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest one attempt takes while there are other addresses to try.
const ATTEMPT: Duration = Duration::from_secs(4);
/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;
/// How long an agent may take to be reached: a path to it may have to be found first.
const OVERLAY_PATIENCE: Duration = Duration::from_secs(30);

/// What an app wants to reach.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Target {
    Tcp { host: Host, port: u16 },
    Agent { peer: String, port: u16 },
}

/// A connection, and where it leads.
pub(super) struct Connection {
    pub(super) stream: Box<dyn Duplex>,
    pub(super) to: String,
}

/// Connects to a host that was granted. What its name means is asked once: the addresses that were looked at are those that are used.
pub(super) async fn tcp(
    reach: &Reach,
    network: &Network,
    host: Host,
    port: u16,
) -> Result<Connection, ConnectError> {
    let deadline = Instant::now() + PATIENCE;
    let target = format!("{host}:{port}");
    let late = || ConnectError::Timeout {
        target: target.clone(),
        seconds: PATIENCE.as_secs(),
    };
    let looked = timeout_at(deadline, addresses(network, &host)).await;
    let addresses = looked.map_err(|_| late())??;
    let inside = addresses.first().copied();
    let allowed = addresses
        .into_iter()
        .filter(|address| reach.may_lead_to(*address, port))
        .take(MAX_ADDRESSES);
    let mut failed = match inside {
        Some(address) => ConnectError::Inside {
            host: host.to_string(),
            address,
            port,
        },
        None => not_found(&host, io::ErrorKind::NotFound.into()),
    };
    for address in allowed {
        let until = deadline.min(Instant::now() + ATTEMPT);
        let address = SocketAddr::new(address, port);
        match timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return connected(stream, address),
            Ok(Err(source)) => {
                failed = ConnectError::Failed {
                    target: target.clone(),
                    source,
                }
            }
            Err(_) => failed = late(),
        }
    }
    Err(failed)
}

fn connected(stream: TcpStream, address: SocketAddr) -> Result<Connection, ConnectError> {
    let to = address.to_string();
    // The app cannot set it, and writes whole requests.
    stream
        .set_nodelay(true)
        .map_err(|source| ConnectError::Failed {
            target: to.clone(),
            source,
        })?;
    Ok(Connection {
        stream: Box::new(stream),
        to,
    })
}

async fn addresses(network: &Network, host: &Host) -> Result<Vec<IpAddr>, ConnectError> {
    match host {
        Host::Address(address) => Ok(vec![*address]),
        Host::Name(name) if is_local_name(name) => {
            Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
        }
        Host::Name(name) => {
            let looked = network.look_up(name.clone()).await;
            looked.map_err(|source| not_found(host, source))
        }
    }
}

fn not_found(host: &Host, source: io::Error) -> ConnectError {
    ConnectError::NotFound {
        host: host.to_string(),
        source,
    }
}

/// Opens a stream to an agent that was granted.
pub(super) async fn overlay(
    network: &Network,
    peer: String,
    port: u16,
) -> Result<Connection, ConnectError> {
    let target = format!("{peer}:{port}");
    let dialling = network.dial(peer, port);
    let dialled = timeout_at(Instant::now() + OVERLAY_PATIENCE, dialling).await;
    let stream = dialled
        .map_err(|_| ConnectError::Timeout {
            target: target.clone(),
            seconds: OVERLAY_PATIENCE.as_secs(),
        })?
        .map_err(|words| ConnectError::NoStream {
            target: target.clone(),
            words,
        })?;
    Ok(Connection { stream, to: target })
}
