//! Bodies of answers: bytes at hand, or a part of a file, read ahead of what is sent by one chunk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::body::{Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

/// What is read at a time; a connection holds two of them.
const CHUNK: usize = 128 * 1024;

pub(super) struct Body(Kind);

enum Kind {
    Bytes(Option<Bytes>),
    File(Part),
}

/// Bytes of a file that are still to be sent.
struct Part {
    file: Arc<File>,
    /// Where the next read begins.
    next: u64,
    left: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Body {
    pub(super) fn bytes(bytes: Bytes) -> Self {
        Self(Kind::Bytes(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    /// So many bytes of a file from the first of these on. A file that ends before breaks the answer off.
    pub(super) fn file(file: File, first: u64, left: u64) -> Self {
        Self(Kind::File(Part {
            file: Arc::new(file),
            next: first,
            left,
            reading: None,
        }))
    }
}

impl Part {
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut reading = match self.reading.take() {
            Some(reading) => reading,
            None => self.read(self.left),
        };
        let Poll::Ready(read) = Pin::new(&mut reading).poll(context) else {
            self.reading = Some(reading);
            return Poll::Pending;
        };
        let chunk = read.map_err(io::Error::other)??;
        self.next += chunk.len() as u64;
        self.left -= chunk.len() as u64;
        if self.left > 0 {
            self.reading = Some(self.read(self.left));
        }
        Poll::Ready(Ok(chunk))
    }

    fn read(&self, left: u64) -> JoinHandle<io::Result<Bytes>> {
        let (file, at) = (Arc::clone(&self.file), self.next);
        let len = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        spawn_blocking(move || {
            let mut chunk = BytesMut::zeroed(len);
            file.read_exact_at(&mut chunk, at)?;
            Ok(chunk.freeze())
        })
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut self.0 {
            Kind::Bytes(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::File(Part { left: 0, .. }) => Poll::Ready(None),
            Kind::File(part) => {
                let chunk = ready!(part.poll_chunk(context));
                Poll::Ready(Some(chunk.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(
            &self.0,
            Kind::Bytes(None) | Kind::File(Part { left: 0, .. })
        )
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.0 {
            Kind::Bytes(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Kind::File(part) => part.left,
        })
    }
}
