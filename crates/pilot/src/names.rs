//! Names of rendezvous in the DNS, which may lead elsewhere tomorrow.

use std::io;
use std::net::SocketAddr;
use std::sync::Weak;

use tokio::sync::mpsc;

use crate::clock;
use crate::state::Shared;

/// Names that wait to be resolved again; one that finds no room is asked for again later.
pub(crate) const MAX_WAITING: usize = 8;

/// All addresses of a name, in the system's order of preference (RFC 6724), IPv4 and IPv6.
pub(crate) async fn resolve(host_port: &str) -> io::Result<Vec<SocketAddr>> {
    let addrs: Vec<SocketAddr> = tokio::net::lookup_host(host_port).await?.collect();
    if addrs.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            "the name has no address",
        ));
    }
    Ok(addrs)
}

/// Resolves names of rendezvous that went silent and tells the node, until it is gone.
pub(crate) async fn resolve_again(shared: Weak<Shared>, mut silent: mpsc::Receiver<String>) {
    while let Some(host_port) = silent.recv().await {
        let addrs = resolve(&host_port).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        match addrs {
            Ok(addrs) => shared.with(|state| {
                let node = &mut state.node;
                node.set_rendezvous_addrs(clock::now(), &host_port, &addrs);
            }),
            Err(error) => tracing::debug!(host_port, %error, "name not resolved"),
        }
    }
}
