//! A port of this machine that leads to a port of an agent.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use pilot_api::PeerRef;
use pilot_types::Port;
use tokio::net::{TcpListener, TcpStream};

use crate::Dial;
use crate::relay::{Broken, relay};
use crate::tcp::{Accepting, reset_on_drop};
use crate::traffic::{Fault, Traffic};

/// Leads every connection to the listener to the agent's port, until `until` resolves.
pub async fn forward<D: Dial>(
    listener: TcpListener,
    dial: Arc<D>,
    (peer, port): (PeerRef, Port),
    traffic: Arc<Traffic>,
    until: impl Future<Output = ()> + Send,
) {
    let route = Arc::new(Route {
        dial,
        peer,
        port,
        traffic: Arc::clone(&traffic),
    });
    let handle = |(tcp, from)| {
        let route = Arc::clone(&route);
        async move { route.take(tcp, from).await }
    };
    traffic.run(Accepting(listener), handle, until).await;
}

struct Route<D> {
    dial: Arc<D>,
    peer: PeerRef,
    port: Port,
    traffic: Arc<Traffic>,
}

impl<D: Dial> Route<D> {
    async fn take(&self, tcp: TcpStream, from: SocketAddr) {
        reset_on_drop(&tcp, true);
        let broken = match self.dial.dial(&self.peer, self.port).await {
            Ok(stream) => relay(tcp, stream).await.err(),
            Err(error) => Some(Broken::Stream(error)),
        };
        match broken {
            None => {}
            Some(Broken::Stream(error)) => self.traffic.fault(Fault {
                from: from.to_string(),
                target: format!("{}:{}", self.peer, self.port),
                error,
            }),
            Some(Broken::Tcp(error)) => tracing::debug!(%from, %error, "a client broke off"),
        }
    }
}
