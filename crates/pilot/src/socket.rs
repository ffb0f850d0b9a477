//! The UDP socket: batches out with segmentation offload, batches in with receive offload (quinn-udp).

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

use pilot_types::{Ecn, Transmit};
use quinn_udp::{EcnCodepoint, RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Kernel buffer asked for in each direction; the system may give less.
const KERNEL_BUFFER: usize = 4 << 20;
/// Buffers that one call may fill; with receive offload each holds up to 64 datagrams.
const RECEIVE_BATCH: usize = 8;
/// Largest coalesced datagram (receive offload) or single one: more than UDP carries, so nothing is cut.
const RECEIVE_BUFFER: usize = 65_535;

/// One bound socket.
pub(crate) struct Udp {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

impl Udp {
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        // Best effort: the system's limits hold, and less only costs speed.
        let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
        let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
        socket.bind(&addr.into())?;
        let io = UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new((&io).into())?;
        let local = io.local_addr()?;
        Ok(Self { io, state, local })
    }

    pub(crate) const fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn max_segments(&self) -> usize {
        self.state.max_gso_segments().max(1)
    }

    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.io.readable().await
    }

    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.io.writable().await
    }

    /// Sends a batch. An unreachable destination is the network's loss.
    pub(crate) fn send(&self, transmit: &Transmit, bytes: &[u8]) -> Sent {
        let Some(destination) = transmit.path.destination() else {
            return Sent::WrongPath;
        };
        let contents = quinn_udp::Transmit {
            destination,
            ecn: transmit.ecn.map(to_codepoint),
            contents: bytes,
            segment_size: transmit.segment_size,
            src_ip: None,
        };
        match self.io.try_io(Interest::WRITABLE, || {
            self.state.try_send((&self.io).into(), &contents)
        }) {
            Ok(()) => Sent::Done,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Sent::Blocked,
            Err(error) => {
                tracing::debug!(%destination, %error, "datagram not sent");
                Sent::Failed
            }
        }
    }

    /// Receives a batch into `buffers`; the number of buffers filled, 0 if there is nothing now.
    pub(crate) fn receive(&self, buffers: &mut ReceiveBuffers) -> io::Result<usize> {
        let mut slices: Vec<IoSliceMut<'_>> = buffers
            .bytes
            .chunks_mut(RECEIVE_BUFFER)
            .map(IoSliceMut::new)
            .collect();
        let metas = &mut buffers.metas;
        match self.io.try_io(Interest::READABLE, || {
            self.state.recv((&self.io).into(), &mut slices, metas)
        }) {
            Ok(count) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            // An ICMP error of an earlier datagram (RFC 1122 §4.1.3.3): not this socket's end.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(0),
            Err(error) => Err(error),
        }
    }
}

/// What became of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    /// The system has it.
    Done,
    /// The socket takes nothing now.
    Blocked,
    /// The system refused it.
    Failed,
    /// No socket sends on such a path.
    WrongPath,
}

/// Memory for one receive call.
pub(crate) struct ReceiveBuffers {
    bytes: Vec<u8>,
    metas: Vec<RecvMeta>,
}

impl ReceiveBuffers {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; RECEIVE_BATCH * RECEIVE_BUFFER],
            metas: vec![RecvMeta::default(); RECEIVE_BATCH],
        }
    }

    /// Each datagram of the first `count` buffers, with its source and mark.
    pub(crate) fn datagrams(
        &mut self,
        count: usize,
    ) -> impl Iterator<Item = (SocketAddr, Option<Ecn>, &mut [u8])> {
        let filled = self
            .bytes
            .chunks_mut(RECEIVE_BUFFER)
            .zip(&self.metas)
            .take(count);
        filled.flat_map(|(buffer, meta)| {
            let stride = meta.stride.max(1);
            let ecn = meta.ecn.map(from_codepoint);
            buffer[..meta.len]
                .chunks_mut(stride)
                .map(move |datagram| (meta.addr, ecn, datagram))
        })
    }
}

const fn to_codepoint(ecn: Ecn) -> EcnCodepoint {
    match ecn {
        Ecn::Ect0 => EcnCodepoint::Ect0,
        Ecn::Ect1 => EcnCodepoint::Ect1,
        Ecn::Ce => EcnCodepoint::Ce,
    }
}

const fn from_codepoint(ecn: EcnCodepoint) -> Ecn {
    match ecn {
        EcnCodepoint::Ect0 => Ecn::Ect0,
        EcnCodepoint::Ect1 => Ecn::Ect1,
        EcnCodepoint::Ce => Ecn::Ce,
    }
}
