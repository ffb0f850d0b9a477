//! TCP sockets as this crate wants them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use pilot_api::{ApiError, ErrorCode};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};

use crate::traffic::Source;

/// After a failed accept, as when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A peer whose machine is gone holds its place no longer than some of these.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// A listener there.
///
/// # Errors
/// `already_exists` if another program has the port, `permission_denied` if it may not be had, `invalid_argument` if the address
/// is not this machine's.
pub async fn bind(addr: SocketAddr) -> Result<TcpListener, ApiError> {
    TcpListener::bind(addr)
        .await
        .map_err(|error| refused(addr, &error))
}

fn refused(addr: SocketAddr, error: &io::Error) -> ApiError {
    let words = format!("cannot listen on {addr}: {error}");
    let kind = error.kind();
    if kind == io::ErrorKind::AddrInUse {
        ApiError::new(ErrorCode::AlreadyExists, words)
            .with_hint("choose another port, or 0 for any that is free")
    } else if kind == io::ErrorKind::PermissionDenied {
        ApiError::new(ErrorCode::PermissionDenied, words)
            .with_hint("choose a port from 1024 on, or 0 for any that is free")
    } else if kind == io::ErrorKind::AddrNotAvailable {
        ApiError::invalid(words).with_hint("choose an address of this machine")
    } else {
        ApiError::internal(words)
    }
}

/// Connections that come to a listener.
pub(crate) struct Accepting(pub(crate) TcpListener);

impl Source for Accepting {
    type Item = (TcpStream, SocketAddr);

    async fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.0.accept().await {
                Ok((tcp, from)) => {
                    prepare(&tcp);
                    return Some((tcp, from));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a TCP connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Small writes go out at once, and a peer that is gone is noticed.
pub(crate) fn prepare(tcp: &TcpStream) {
    let keep_alive = TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE / 6);
    let socket = SockRef::from(tcp);
    let set = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keep_alive));
    if let Err(error) = set {
        tracing::debug!(%error, "a TCP connection keeps its own options");
    }
}

/// Whether dropping the connection resets it: so its peer cannot take what was broken off for whole.
pub(crate) fn reset_on_drop(tcp: &TcpStream, resets: bool) {
    let linger = resets.then_some(Duration::ZERO);
    if let Err(error) = SockRef::from(tcp).set_linger(linger) {
        tracing::debug!(%error, "a TCP connection ends in its own way");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_is_named_with_what_to_do() {
        let first = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let taken = first.local_addr().unwrap();
        let error = bind(taken).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::AlreadyExists);
        assert!(error.message.contains(&taken.to_string()), "{error}");
        assert!(error.hint.unwrap().contains("another port"));
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused() {
        let error = bind("192.0.2.1:0".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument);
    }
}
