//! A stream to another agent: an ordinary `AsyncRead + AsyncWrite` with half-close.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pilot_node::{Read, StreamHandle};
use pilot_wire::ErrorCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock;
use crate::error::StreamError;
use crate::listener::Peer;
use crate::state::Shared;

/// A reliable, ordered, encrypted stream.
///
/// `shutdown` ends our direction, the other stays open. Dropping a stream gives up what was not shut down before: the
/// peer sees an error rather than a short stream that looks whole.
pub struct Stream {
    shared: Arc<Shared>,
    handle: StreamHandle,
    peer: Peer,
    is_finished: bool,
    /// Whether the end of the peer's direction was read.
    is_read: bool,
}

impl Stream {
    pub(crate) const fn new(shared: Arc<Shared>, handle: StreamHandle, peer: Peer) -> Self {
        Self {
            shared,
            handle,
            peer,
            is_finished: false,
            is_read: false,
        }
    }

    /// The other end.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Ends our direction at once, without waiting as `shutdown` does until the peer has everything.
    ///
    /// # Errors
    /// An I/O error around a [`StreamError`] if the direction is over already.
    pub fn finish(&mut self) -> io::Result<()> {
        if self.is_finished {
            return Ok(());
        }
        let result = self
            .shared
            .with(|state| state.node.finish(clock::now(), self.handle));
        self.is_finished = result.is_ok();
        result.map_err(|error| StreamError { code: error.code }.into())
    }

    /// Gives both directions up; the peer sees `code`.
    pub fn reset(self, code: ErrorCode) {
        self.shared.with(|state| {
            state
                .node
                .release_stream(clock::now(), self.handle, false, code);
        });
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // A stream that is over in both directions is forgotten below.
        if out.remaining() == 0 || self.is_read {
            return Poll::Ready(Ok(()));
        }
        let mut state = self.shared.lock();
        let result = state
            .node
            .read(clock::now(), self.handle, out.initialize_unfilled());
        match result {
            Ok(Read::Bytes(len)) => {
                self.shared.send_output(state);
                out.advance(len);
                Poll::Ready(Ok(()))
            }
            Ok(Read::End) => {
                drop(state);
                self.is_read = true;
                Poll::Ready(Ok(()))
            }
            Ok(Read::Blocked) => {
                state.waiters.wait_read(self.handle, context.waker());
                // A fresh stream's header waits for its first bytes; without any the peer is to learn of it now.
                self.shared.send_output(state);
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(StreamError { code: error.code }.into())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut state = self.shared.lock();
        match state.node.write(clock::now(), self.handle, data) {
            Ok(0) => {
                state.waiters.wait_write(self.handle, context.waker());
                Poll::Pending
            }
            Ok(len) => {
                self.shared.send_soon(state);
                Poll::Ready(Ok(len))
            }
            Err(error) => Poll::Ready(Err(StreamError { code: error.code }.into())),
        }
    }

    /// Written bytes are on their way already.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ends our direction, and is ready when the peer's machine has everything that was written and the end; an error says
    /// that it will not have. The stream goes on delivering if nobody waits.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish()?;
        let mut state = self.shared.lock();
        match state.node.is_delivered(self.handle) {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => {
                state.waiters.wait_write(self.handle, context.waker());
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(StreamError { code: error.code }.into())),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.with(|state| {
            state.waiters.forget(self.handle);
            state.node.release_stream(
                clock::now(),
                self.handle,
                self.is_finished,
                ErrorCode::CANCELLED,
            );
        });
    }
}
