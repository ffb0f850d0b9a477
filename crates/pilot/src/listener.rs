//! Accepting streams.

use std::sync::Arc;

use pilot_node::StreamHandle;
use pilot_types::{AgentId, GroupId, Hostname, Port};
use pilot_wire::{Realm, StreamHeader, TraceParent};
use tokio::sync::mpsc;

use crate::error::AcceptError;
use crate::state::Shared;
use crate::stream::Stream;

/// The other end of a stream.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Who, proven by its key.
    pub agent: AgentId,
    /// The name that it is known by here.
    pub hostname: Option<Hostname>,
    /// Our port.
    pub local_port: Port,
    /// The peer's port.
    pub remote_port: Port,
    /// The application's trace, as the opener said.
    pub trace: Option<TraceParent>,
    /// What the opener attached.
    pub metadata: Vec<u8>,
    /// The group to all of which it was opened, if the opener says so; that it may is checked.
    pub group: Option<GroupId>,
}

/// A stream that a peer opened.
pub(crate) struct Incoming {
    pub(crate) stream: StreamHandle,
    pub(crate) agent: AgentId,
    pub(crate) header: StreamHeader,
}

/// Streams that peers open to one port, or to all that nobody else takes. At most 64 wait for `accept`; dropping it closes the port.
pub struct Listener {
    shared: Arc<Shared>,
    port: Option<Port>,
    incoming: mpsc::Receiver<Incoming>,
}

impl Listener {
    pub(crate) const fn new(
        shared: Arc<Shared>,
        port: Option<Port>,
        incoming: mpsc::Receiver<Incoming>,
    ) -> Self {
        Self {
            shared,
            port,
            incoming,
        }
    }

    /// The port; `None` for all that nobody else takes.
    #[must_use]
    pub const fn port(&self) -> Option<Port> {
        self.port
    }

    /// The next stream. Cancel safe.
    ///
    /// # Errors
    /// [`AcceptError`] once the node was shut down.
    pub async fn accept(&mut self) -> Result<(Stream, Peer), AcceptError> {
        let Incoming {
            stream,
            agent,
            header,
        } = self.incoming.recv().await.ok_or(AcceptError)?;
        let hostname = self.shared.lock().node.hostname_of(&agent);
        let peer = Peer {
            agent,
            hostname,
            local_port: header.destination,
            remote_port: header.source,
            trace: header.trace,
            metadata: header.metadata,
            group: match header.realm {
                Realm::Group(group) => Some(GroupId::new(group)),
                Realm::Network(_) => None,
            },
        };
        Ok((
            Stream::new(Arc::clone(&self.shared), stream, peer.clone()),
            peer,
        ))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Self {
            shared,
            port,
            incoming,
        } = self;
        shared.with(|state| state.unlisten(*port, incoming));
    }
}
