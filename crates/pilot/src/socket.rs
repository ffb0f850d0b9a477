//! The UDP sockets: batches out with segmentation offload, batches in with receive offload (quinn-udp).

use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::task::Poll;

use pilot_types::{Ecn, PathId, Transmit};
use quinn_udp::{EcnCodepoint, RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Kernel buffer asked for in each direction; the system may give less.
const KERNEL_BUFFER: usize = 4 << 20;
/// Buffers that one call may fill; with receive offload each holds up to 64 datagrams.
const RECEIVE_BATCH: usize = 8;
/// Largest coalesced datagram (receive offload) or single one: more than UDP carries, so nothing is cut.
const RECEIVE_BUFFER: usize = 65_535;

/// What a node sends and receives with: a socket for each family, or one that is bound to one address.
pub(crate) struct Sockets {
    /// At least one, those that agents talk to first.
    all: Vec<Udp>,
    /// How many those are.
    main: usize,
    /// On the ports of the main ones, to receive only ([`Self::bind_lanes`]).
    lanes: Vec<Udp>,
    /// For guesses of ports, as long as they are wanted (`pilot_node::Event::SocketsWanted`).
    extra: RwLock<Vec<Udp>>,
}

impl Sockets {
    /// Binds to `addr`. An unspecified address means all of both families: IPv6 joins on the same port if it is free,
    /// else on another one, and is left out where the system has none.
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let first = Udp::bind(addr)?;
        if !addr.ip().is_unspecified() {
            return Ok(Self::of(vec![first]));
        }
        let other: IpAddr = if addr.is_ipv4() {
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        let port = first.local().port();
        let second = Udp::bind(SocketAddr::new(other, port))
            .or_else(|_| Udp::bind(SocketAddr::new(other, 0)))
            .inspect_err(|error| tracing::info!(%error, %other, "one family of addresses only"));
        let all: Vec<Udp> = std::iter::once(first).chain(second.ok()).collect();
        Ok(Self::of(all))
    }

    fn of(all: Vec<Udp>) -> Self {
        Self {
            main: all.len(),
            all,
            lanes: vec![],
            extra: RwLock::default(),
        }
    }

    /// Opens so many more sockets of IPv4, or as many as the system allows; gives what they are bound to.
    pub(crate) fn open_extra(&self, count: usize) -> Vec<SocketAddr> {
        let mut extra = self.extra.write().unwrap_or_else(PoisonError::into_inner);
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        // They carry little, mostly nothing.
        let opened = (0..count).map_while(|_| Udp::bind_small(any).ok());
        let before = extra.len();
        extra.extend(opened);
        extra[before..].iter().map(|udp| udp.local).collect()
    }

    /// Closes sockets that [`Self::open_extra`] opened.
    pub(crate) fn close_extra(&self, locals: &[SocketAddr]) {
        let mut extra = self.extra.write().unwrap_or_else(PoisonError::into_inner);
        extra.retain(|udp| !locals.contains(&udp.local));
    }

    fn extra(&self) -> RwLockReadGuard<'_, Vec<Udp>> {
        self.extra.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a socket beside each main one, on the port that is `distance` above its or on any; gives what they are bound to.
    pub(crate) fn bind_beside(&mut self, distance: u16) -> Vec<SocketAddr> {
        let beside: Vec<Udp> = self.all[..self.main]
            .iter()
            .filter_map(|udp| {
                let port = udp.local.port().checked_add(distance).unwrap_or(0);
                let at = |port| Udp::bind(SocketAddr::new(udp.local.ip(), port));
                at(port).or_else(|_| at(0)).ok()
            })
            .collect();
        let locals = beside.iter().map(|udp| udp.local).collect();
        self.all.extend(beside);
        locals
    }

    /// Lets the system spread what comes to each main socket over so many, by its source and destination: who floods the port fills one
    /// buffer, and all are read in turn (stochastic fair queueing, McKenney 1990). Where the system has no such thing there is one.
    pub(crate) fn bind_lanes(&mut self, count: usize) {
        if !cfg!(target_os = "linux") {
            return;
        }
        for udp in &self.all[..self.main] {
            // Only now: so the first bind failed if somebody else had the port, and theirs fails from now on.
            let lanes = SockRef::from(&udp.io)
                .set_reuse_port(true)
                .and_then(|()| (1..count).map(|_| Udp::bind_lane(udp.local)).collect());
            match lanes {
                Ok(lanes) => self.lanes.extend::<Vec<_>>(lanes),
                Err(error) => tracing::info!(%error, "one receive buffer for all"),
            }
        }
    }

    /// What the first socket is bound to.
    pub(crate) fn local(&self) -> SocketAddr {
        self.all[0].local
    }

    /// What the sockets that agents talk to are bound to.
    pub(crate) fn locals(&self) -> Vec<SocketAddr> {
        let main = self.all[..self.main].iter();
        main.map(|udp| udp.local).collect()
    }

    /// Calls `visit` with each socket.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Udp)) {
        self.all.iter().chain(&self.lanes).for_each(&mut visit);
        self.extra().iter().for_each(&mut visit);
    }

    /// Datagrams that one call may take.
    pub(crate) fn max_segments(&self) -> usize {
        let each = self.all.iter().map(Udp::max_segments);
        each.min().unwrap_or(1)
    }

    /// Resolves when a socket has something.
    pub(crate) async fn readable(&self) {
        poll_fn(|cx| {
            let mut result = Poll::Pending;
            // Each is asked, so that each wakes the task.
            self.for_each(|udp| {
                if udp.io.poll_recv_ready(cx).is_ready() {
                    result = Poll::Ready(());
                }
            });
            result
        })
        .await;
    }

    /// Resolves when the socket of a path takes something, or is gone; never for no path.
    pub(crate) async fn writable(&self, path: Option<PathId>) {
        poll_fn(|cx| {
            let Some(path) = path else {
                return Poll::Pending;
            };
            let polled = self.with(&path, |udp, _| udp.io.poll_send_ready(cx).map(drop));
            polled.unwrap_or(Poll::Ready(()))
        })
        .await;
    }

    /// Sends a batch by the socket of its path.
    pub(crate) fn send(&self, transmit: &Transmit, bytes: &[u8]) -> Sent {
        let sent = self.with(&transmit.path, |udp, to| udp.send(to, transmit, bytes));
        sent.unwrap_or(Sent::WrongPath)
    }

    /// Calls with the socket that a path's datagrams leave by, and where they go.
    fn with<T>(&self, path: &PathId, call: impl FnOnce(&Udp, SocketAddr) -> T) -> Option<T> {
        let destination = path.destination()?;
        let is_its = |udp: &&Udp| match path {
            PathId::Udp(tuple) => udp.local == tuple.local,
            PathId::Relay { .. } | PathId::Stream(_) => {
                udp.local.is_ipv4() == destination.is_ipv4()
            }
        };
        if let Some(udp) = self.all.iter().find(is_its) {
            return Some(call(udp, destination));
        }
        let extra = self.extra();
        let udp = extra.iter().find(is_its)?;
        Some(call(udp, destination))
    }
}

/// One bound socket.
pub(crate) struct Udp {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

impl Udp {
    fn bind(addr: SocketAddr) -> io::Result<Self> {
        Self::bind_with(addr, Some(KERNEL_BUFFER), false)
    }

    /// On a port that another socket of ours has.
    fn bind_lane(addr: SocketAddr) -> io::Result<Self> {
        Self::bind_with(addr, Some(KERNEL_BUFFER), true)
    }

    /// With the system's own buffers.
    fn bind_small(addr: SocketAddr) -> io::Result<Self> {
        Self::bind_with(addr, None, false)
    }

    fn bind_with(addr: SocketAddr, buffer: Option<usize>, is_shared: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if addr.is_ipv6() {
            // IPv4 has a socket of its own.
            socket.set_only_v6(true)?;
        }
        if let Some(buffer) = buffer {
            // Best effort: the system's limits hold, and less only costs speed.
            let _ = socket.set_recv_buffer_size(buffer);
            let _ = socket.set_send_buffer_size(buffer);
        }
        #[cfg(target_os = "linux")]
        socket.set_reuse_port(is_shared)?;
        socket.bind(&addr.into())?;
        let io = UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new((&io).into())?;
        let local = io.local_addr()?;
        Ok(Self { io, state, local })
    }

    pub(crate) const fn local(&self) -> SocketAddr {
        self.local
    }

    fn max_segments(&self) -> usize {
        self.state.max_gso_segments().max(1)
    }

    /// Sends a batch. An unreachable destination is the network's loss.
    fn send(&self, destination: SocketAddr, transmit: &Transmit, bytes: &[u8]) -> Sent {
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

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::collections::BTreeSet;
    use std::net::UdpSocket as StdSocket;

    use super::*;

    #[tokio::test]
    async fn lanes_share_what_comes_to_one_port_and_nobody_else_gets_it() {
        let mut sockets = Sockets::bind(([127, 0, 0, 1], 0).into()).unwrap();
        sockets.bind_lanes(8);
        let addr = sockets.local();
        assert_eq!(sockets.locals(), [addr]);
        let clients: Vec<StdSocket> = (0..64)
            .map(|_| StdSocket::bind("127.0.0.1:0").unwrap())
            .collect();
        for client in &clients {
            client.send_to(b"x", addr).unwrap();
        }
        let mut buffers = ReceiveBuffers::new();
        let mut by_lane: Vec<BTreeSet<SocketAddr>> = vec![];
        while by_lane.iter().map(BTreeSet::len).sum::<usize>() < clients.len() {
            sockets.readable().await;
            let mut lane = 0;
            sockets.for_each(|udp| {
                let count = udp.receive(&mut buffers).unwrap();
                let sources = buffers.datagrams(count).map(|(source, ..)| source);
                by_lane.resize(by_lane.len().max(lane + 1), BTreeSet::new());
                by_lane[lane].extend(sources);
                lane += 1;
            });
        }
        let used = by_lane.iter().filter(|sources| !sources.is_empty()).count();
        assert!(used > 1, "{by_lane:?}");
        let taken = Sockets::bind(addr).map(drop);
        assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
