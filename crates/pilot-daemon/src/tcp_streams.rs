//! The node as `pilot-tcp` sees it: streams that it opens and streams that come.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pilot::{DialOptions, Listener, Node};
use pilot_api::{ApiError, BoxStream, PeerRef};
use pilot_tcp::{CONFIRM_REQUEST, Confirming, Dial, Inbound, Source};
use pilot_types::Port;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use crate::daemon::target;
use crate::error;
use crate::named;
use crate::peer_stream::PeerStream;

/// How long an agent may take to be reached.
const DIAL_PATIENCE: Duration = Duration::from_secs(30);

/// Opens streams to other agents.
pub(crate) struct Overlay(pub(crate) Node);

impl Overlay {
    async fn open(
        &self,
        peer: &PeerRef,
        port: Port,
        metadata: &[u8],
    ) -> Result<PeerStream, ApiError> {
        let options = DialOptions {
            metadata: metadata.to_vec(),
            ..DialOptions::default()
        };
        let name = error::name_of(peer);
        let dialling = self.0.dial_peer(target(peer)?, port, options);
        let Ok(dialled) = timeout(DIAL_PATIENCE, dialling).await else {
            let words = format!("{name} did not answer within {} s", DIAL_PATIENCE.as_secs());
            return Err(ApiError::timeout(words));
        };
        let stream = dialled.map_err(|error| error::dial(&error, peer, port))?;
        Ok(PeerStream::new(self.0.clone(), stream, name, port))
    }
}

impl Dial for Overlay {
    async fn dial(&self, peer: &PeerRef, port: Port) -> Result<BoxStream, ApiError> {
        Ok(Box::new(self.open(peer, port, &[]).await?))
    }

    async fn dial_confirmed(&self, peer: &PeerRef, port: Port) -> Result<BoxStream, ApiError> {
        let stream = self.open(peer, port, CONFIRM_REQUEST).await?;
        let mut stream = Confirming::new(stream);
        stream.confirmed().await?;
        Ok(Box::new(stream))
    }
}

/// Streams that agents open to a port.
pub(crate) struct Arriving {
    pub(crate) node: Node,
    pub(crate) listener: Listener,
}

impl Source for Arriving {
    type Item = Arrived;

    async fn next(&mut self) -> Option<Arrived> {
        let (stream, peer) = self.listener.accept().await.ok()?;
        let opener = named::agent(peer.hostname.as_ref(), peer.agent.address());
        Some(Arrived {
            stream: PeerStream::new(self.node.clone(), stream, opener.clone(), peer.local_port),
            opener,
            wants_confirmation: peer.metadata == CONFIRM_REQUEST,
        })
    }
}

/// A stream that an agent opened.
pub(crate) struct Arrived {
    stream: PeerStream,
    opener: String,
    wants_confirmation: bool,
}

impl Inbound for Arrived {
    fn opener(&self) -> String {
        self.opener.clone()
    }

    fn wants_confirmation(&self) -> bool {
        self.wants_confirmation
    }

    fn refuse(self) {
        self.stream.refuse();
    }
}

impl AsyncRead for Arrived {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, out)
    }
}

impl AsyncWrite for Arrived {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
