//! A connection's bytes, watched: whether a client that is to go has begun a request, and whether it reads its answers.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::places::{Place, Refusal};

/// How long a client may take none of its answer's bytes.
const READER_PATIENCE: Duration = Duration::from_secs(30);

/// What a client speaks over: a Unix socket, but for tests.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for T {}

/// A connection's two directions. Clones are the same connection; only one of them is in use at a time.
pub(super) struct Line<W>(Arc<Mutex<Watched<W>>>);

struct Watched<W> {
    wire: W,
    place: Arc<Place>,
    has_begun: bool,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<W> Clone for Line<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W> Line<W> {
    pub(super) fn new(wire: W, place: Arc<Place>) -> Self {
        Self(Arc::new(Mutex::new(Watched {
            wire,
            place,
            has_begun: false,
            stalled: None,
        })))
    }

    /// All that was read belongs to a request that is known.
    pub(super) fn settle(&self) {
        self.lock().has_begun = false;
    }

    /// Whether the client has sent something of a request that is not known yet.
    pub(super) fn has_begun(&self) -> bool {
        self.lock().has_begun
    }

    fn lock(&self) -> MutexGuard<'_, Watched<W>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W> Watched<W> {
    /// What became of a write, or the end of patience with a client that does not read. A stream may stand still for ever.
    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.place.is_stream() {
            return written;
        }
        if written.is_ready() {
            self.stalled = None;
            self.place.touch();
            return written;
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(READER_PATIENCE)));
        ready!(stalled.as_mut().poll(cx));
        self.place.count(Refusal::SlowReader);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<W: Wire> AsyncRead for Line<W> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut watched = self.lock();
        let before = buf.filled().len();
        let read = Pin::new(&mut watched.wire).poll_read(cx, buf);
        watched.has_begun |= buf.filled().len() > before;
        read
    }
}

impl<W: Wire> AsyncWrite for Line<W> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut watched = self.lock();
        let written = Pin::new(&mut watched.wire).poll_write(cx, bytes);
        watched.watch(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut watched = self.lock();
        let written = Pin::new(&mut watched.wire).poll_write_vectored(cx, slices);
        watched.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().wire.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().wire).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().wire).poll_shutdown(cx)
    }
}
