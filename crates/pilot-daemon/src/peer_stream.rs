//! A stream of the node as the API hands it on: its errors say what the user can do.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use pilot::{ErrorCode, Node, Stream};
use pilot_api::ApiError;
use pilot_types::Port;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error;
use crate::named;

/// A stream whose I/O errors carry an [`pilot_api::ApiError`].
pub(crate) struct PeerStream {
    node: Node,
    stream: Stream,
    peer: String,
    port: Port,
}

impl PeerStream {
    /// `peer` as the user calls it; `port` is the one that was dialled.
    pub(crate) const fn new(node: Node, stream: Stream, peer: String, port: Port) -> Self {
        Self {
            node,
            stream,
            peer,
            port,
        }
    }

    /// Tells the peer that nobody takes it.
    pub(crate) fn refuse(self) {
        self.stream.reset(ErrorCode::REFUSED);
    }

    fn translated<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        polled.map_err(|error| match error::code_of(&error) {
            Some(code) => io::Error::new(error.kind(), self.reason(code)),
            None => error,
        })
    }

    /// A session is open only to who was granted something: what then is not trusted is the port.
    fn reason(&self, code: ErrorCode) -> ApiError {
        let granted = self.node.granted_by(&self.stream.peer().agent);
        match granted {
            Some(scope) if code == ErrorCode::NOT_TRUSTED && !scope.allows_port(self.port) => {
                let own = named::own(&self.node);
                error::port_not_granted(&self.peer, self.port, &scope, &own)
            }
            Some(_) | None => error::stream_code(code, &self.peer, self.port),
        }
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, out);
        self.translated(polled)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, data);
        self.translated(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.translated(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.translated(polled)
    }
}
