//! Datagrams: unreliable messages of one packet.

use std::sync::Arc;

use pilot_types::{AgentId, Port};
use pilot_wire::DatagramHeader;
use tokio::sync::mpsc;

use crate::clock;
use crate::error::{AcceptError, DialError, ListenError};
use crate::listener::Peer;
use crate::node::Node;
use crate::state::Shared;
use crate::target::{Target, parse_target_port};

/// Datagrams that wait for one listener: 256 of at most a packet, 300 KiB.
pub(crate) const MAX_WAITING: usize = 256;

/// A datagram that a peer sent.
pub(crate) struct IncomingDatagram {
    pub(crate) agent: AgentId,
    pub(crate) header: DatagramHeader,
    pub(crate) data: Vec<u8>,
}

/// Datagrams that peers send to one port. At most 256 wait for `recv`, further ones are dropped and counted; dropping the
/// listener closes the port.
pub struct DatagramListener {
    shared: Arc<Shared>,
    port: Port,
    incoming: mpsc::Receiver<IncomingDatagram>,
}

impl DatagramListener {
    /// The port.
    #[must_use]
    pub const fn port(&self) -> Port {
        self.port
    }

    /// The next datagram and who sent it. Cancel safe.
    ///
    /// # Errors
    /// [`AcceptError`] once the node was shut down.
    pub async fn recv(&mut self) -> Result<(Vec<u8>, Peer), AcceptError> {
        let incoming = self.incoming.recv().await.ok_or(AcceptError)?;
        Ok(self.read(incoming))
    }

    /// The next datagram if one waits.
    pub fn try_recv(&mut self) -> Option<(Vec<u8>, Peer)> {
        let incoming = self.incoming.try_recv().ok()?;
        Some(self.read(incoming))
    }

    fn read(&self, incoming: IncomingDatagram) -> (Vec<u8>, Peer) {
        let IncomingDatagram {
            agent,
            header,
            data,
        } = incoming;
        let peer = Peer {
            agent,
            hostname: self.shared.lock().node.hostname_of(&agent),
            local_port: header.destination,
            remote_port: header.source,
            trace: None,
            metadata: vec![],
            group: None,
        };
        (data, peer)
    }
}

impl Drop for DatagramListener {
    fn drop(&mut self) {
        self.shared
            .with(|state| state.unlisten_datagrams(self.port));
    }
}

impl Node {
    /// Sends a datagram to `PEER:PORT`, as in `planner:5000`; see [`Node::send_datagram`].
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn send_to(&self, target: &str, data: &[u8]) -> Result<(), DialError> {
        let (target, port) = parse_target_port(target)?;
        self.send_datagram(target, port, data).await.map(drop)
    }

    /// Sends a datagram to a port of an agent, after a handshake if there is no session; gives who it went to. Whether it
    /// arrives, and whether anybody listens, is not told.
    ///
    /// # Errors
    /// [`DialError`]; [`DialError::TooLarge`] names what fits.
    pub async fn send_datagram(
        &self,
        target: Target,
        port: Port,
        data: &[u8],
    ) -> Result<AgentId, DialError> {
        let target = self.node_target(target)?;
        let sent =
            |node: &mut pilot_node::Node| node.send_datagram(clock::now(), target, port, data);
        self.run_delivery(sent).await
    }

    /// Most bytes that a datagram carries.
    #[must_use]
    pub fn max_datagram(&self) -> usize {
        self.shared.lock().node.max_datagram()
    }

    /// Takes datagrams to a port, as far as their senders' grants name it.
    ///
    /// # Errors
    /// [`ListenError::InUse`].
    pub async fn listen_datagrams(&self, port: Port) -> Result<DatagramListener, ListenError> {
        let incoming = self
            .shared
            .with(|state| state.listen_datagrams(port))
            .ok_or(ListenError::InUse(port))?;
        Ok(DatagramListener {
            shared: Arc::clone(&self.shared),
            port,
            incoming,
        })
    }
}
