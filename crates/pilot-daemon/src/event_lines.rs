//! A subscription as the API hands it on: a stream of lines.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use pilot_api::ApiError;
use pilot_api::types::EventLine;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

/// Lines between the subscription and a caller that does not read: what waits beyond them waits at the broker, within its
/// bounds.
const QUEUE: usize = 16;

/// Where a subscription's lines go; `Err` is its last word.
pub(crate) type Lines = mpsc::Sender<Result<EventLine, ApiError>>;

/// Lines of a subscription. Shutting it down ends it; nothing that is written means anything.
pub(crate) struct EventLines {
    lines: mpsc::Receiver<Result<EventLine, ApiError>>,
    /// What the reader has not taken of the last line.
    rest: Vec<u8>,
    taken: usize,
}

impl EventLines {
    pub(crate) fn new() -> (Lines, Self) {
        let (sender, lines) = mpsc::channel(QUEUE);
        let stream = Self {
            lines,
            rest: vec![],
            taken: 0,
        };
        (sender, stream)
    }
}

impl AsyncRead for EventLines {
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

impl AsyncWrite for EventLines {
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
