//! One port for programs that know proxies: SOCKS5 and HTTP, told apart by the first byte. Leads to agents and nowhere else.

mod http;
mod socks;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pilot_api::{ApiError, BoxStream, PeerRef};
use pilot_types::Port;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::Dial;
use crate::host::peer_of_host;
use crate::relay::{Broken, relay};
use crate::tcp::{Accepting, reset_on_drop};
use crate::traffic::{Fault, Traffic};

/// How long a client may take to say what it wants.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// Serves every connection to the listener, until `until` resolves.
pub async fn proxy<D: Dial>(
    listener: TcpListener,
    dial: Arc<D>,
    traffic: Arc<Traffic>,
    until: impl Future<Output = ()> + Send,
) {
    let handle = |(tcp, from)| {
        let client = Client {
            dial: Arc::clone(&dial),
            traffic: Arc::clone(&traffic),
            from,
        };
        async move { client.serve(tcp).await }
    };
    traffic.run(Accepting(listener), handle, until).await;
}

/// Somebody who is connected to the proxy.
struct Client<D> {
    dial: Arc<D>,
    traffic: Arc<Traffic>,
    from: SocketAddr,
}

impl<D> Clone for Client<D> {
    fn clone(&self) -> Self {
        Self {
            dial: Arc::clone(&self.dial),
            traffic: Arc::clone(&self.traffic),
            from: self.from,
        }
    }
}

impl<D: Dial> Client<D> {
    async fn serve(&self, tcp: TcpStream) {
        let mut first = [0];
        match timeout(HANDSHAKE_PATIENCE, tcp.peek(&mut first)).await {
            Ok(Ok(1)) if first[0] == socks::VERSION => self.serve_socks(tcp).await,
            Ok(Ok(1)) if first[0].is_ascii_uppercase() => self.serve_http(tcp).await,
            Ok(Ok(1)) => self.fault(
                "?",
                ApiError::invalid("a client that speaks neither SOCKS5 nor HTTP"),
            ),
            Ok(Ok(_) | Err(_)) => {}
            Err(_) => self.fault("?", too_slow()),
        }
    }

    async fn serve_socks(&self, mut tcp: TcpStream) {
        let asked = timeout(HANDSHAKE_PATIENCE, socks::read_request(&mut tcp)).await;
        let (host, port) = match asked {
            Ok(Ok(destination)) => destination,
            Ok(Err(socks::Error::Refused(refusal))) => {
                self.fault("?", ApiError::invalid(refusal.to_string()));
                socks::refuse(tcp, &refusal).await;
                return;
            }
            Ok(Err(socks::Error::Io(error))) => {
                tracing::debug!(from = %self.from, %error, "a client left within its handshake");
                return;
            }
            Err(_) => return self.fault("?", too_slow()),
        };
        match self.open(&host, port).await {
            Ok(stream) => {
                if socks::accept(&mut tcp).await.is_ok() {
                    self.carry(tcp, stream, &host, port).await;
                }
            }
            Err(error) => {
                let reply = socks::Reply::from(error.code);
                self.fault(&format!("{host}:{port}"), error);
                socks::answer(tcp, reply).await;
            }
        }
    }

    /// A stream that somebody took.
    async fn open(&self, host: &str, port: u16) -> Result<BoxStream, ApiError> {
        let peer = peer_of_host(host)?;
        self.dial.dial_confirmed(&peer, Port::new(port)).await
    }

    /// A stream whose refusal will show when its answer is read.
    async fn open_at_once(&self, peer: &PeerRef, port: u16) -> Result<BoxStream, ApiError> {
        self.dial.dial(peer, Port::new(port)).await
    }

    async fn carry(&self, tcp: TcpStream, stream: BoxStream, host: &str, port: u16) {
        reset_on_drop(&tcp, true);
        match relay(tcp, stream).await {
            Ok(()) => {}
            Err(Broken::Stream(error)) => self.fault(&format!("{host}:{port}"), error),
            Err(Broken::Tcp(error)) => {
                tracing::debug!(from = %self.from, %error, "a client broke off");
            }
        }
    }

    fn fault(&self, target: &str, error: ApiError) {
        self.traffic.fault(Fault {
            from: self.from.to_string(),
            target: target.to_owned(),
            error,
        });
    }
}

fn too_slow() -> ApiError {
    ApiError::timeout(format!(
        "a client did not say within {} s what it wants",
        HANDSHAKE_PATIENCE.as_secs()
    ))
}

#[cfg(test)]
mod tests;
