//! An upgraded connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// By which the daemon knows a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamNumber(pub(super) u64);

/// The raw bytes of a stream. `shutdown` ends this direction and leaves the other.
///
/// Its end looks the same whether the peer finished or the stream broke off: ask [`crate::Client::outcome`].
#[derive(Debug)]
pub struct ApiStream {
    io: TokioIo<Upgraded>,
    number: StreamNumber,
}

impl ApiStream {
    pub(super) fn new(upgraded: Upgraded, number: StreamNumber) -> Self {
        Self {
            io: TokioIo::new(upgraded),
            number,
        }
    }

    /// Its number, for its outcome.
    #[must_use]
    pub const fn number(&self) -> StreamNumber {
        self.number
    }
}

impl AsyncRead for ApiStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for ApiStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
