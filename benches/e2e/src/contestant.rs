//! Who is measured: each behind the same two traits, with streams that are `AsyncRead + AsyncWrite`.

pub(crate) mod daemon;
pub(crate) mod iroh;
pub(crate) mod pilot;
pub(crate) mod quinn;
pub(crate) mod tcp;
pub(crate) mod udp;
pub(crate) mod unix;

use std::future::Future;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, Join};

use crate::setup::{Result, Setup};

/// A stream of any of them.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Ends our direction, without waiting for the peer where that is possible.
    fn finish(&mut self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(self.shutdown().await?) }
    }
}

impl Duplex for tokio::net::TcpStream {}
impl Duplex for tokio::net::UnixStream {}
impl<R, W> Duplex for Join<R, W>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
}

/// The side that listens.
pub(crate) trait Server: Sized + Send {
    type Stream: Duplex;

    /// Listens; gives with it what the other side has to know.
    fn listen(setup: &Setup) -> impl Future<Output = Result<(Self, String)>> + Send;

    /// Gives every stream that comes to `take`.
    fn serve<F>(self, take: F) -> impl Future<Output = Result<()>> + Send
    where
        F: Fn(Self::Stream) + Clone + Send + Sync + 'static;
}

/// The side that dials.
pub(crate) trait Client: Sized + Send + Sync + 'static {
    type Stream: Duplex;

    /// An end that can dial and has no session.
    fn bind(setup: &Setup) -> impl Future<Output = Result<Self>> + Send;

    /// Makes a session, where that is another thing than the first stream.
    fn connect(&mut self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Resolves when the session's path is the one that it stays on.
    fn settle(&mut self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// A fresh stream.
    fn open(&self) -> impl Future<Output = Result<Self::Stream>> + Send;

    /// Ends the session, so that the next end on the same home starts cold.
    fn close(self) -> impl Future<Output = ()> + Send {
        async {}
    }
}
