//! What goes on and on, as the API hands it on: a stream of JSON lines.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use pilot_api::ApiError;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

/// Lines between their source and a caller that does not read: what waits beyond them waits at the source, within its bounds.
const QUEUE: usize = 16;

/// Where lines go; `Err` is the last word.
pub(crate) type Lines<T> = mpsc::Sender<Result<T, ApiError>>;

/// Lines for a caller. Shutting it down ends them; nothing that is written means anything.
pub(crate) struct JsonLines<T> {
    lines: mpsc::Receiver<Result<T, ApiError>>,
    /// What the reader has not taken of the last line.
    rest: Vec<u8>,
    taken: usize,
}

impl<T> JsonLines<T> {
    pub(crate) fn new() -> (Lines<T>, Self) {
        let (sender, lines) = mpsc::channel(QUEUE);
        let stream = Self {
            lines,
            rest: vec![],
            taken: 0,
        };
        (sender, stream)
    }
}

impl<T: Serialize> AsyncRead for JsonLines<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.taken == self.rest.len() {
            let line = match self.lines.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(io::Error::other(error))),
                Poll::Ready(Some(Ok(line))) => line,
            };
            let mut text = serde_json::to_vec(&line)?;
            text.push(b'\n');
            (self.rest, self.taken) = (text, 0);
        }
        let len = out.remaining().min(self.rest.len() - self.taken);
        out.put_slice(&self.rest[self.taken..self.taken + len]);
        self.taken += len;
        Poll::Ready(Ok(()))
    }
}

impl<T> AsyncWrite for JsonLines<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lines.close();
        Poll::Ready(Ok(()))
    }
}
