//! What a machine is told instead of a socket address.

use std::fmt;
use std::net::SocketAddr;

use crate::StreamId;

/// Where a peer's datagrams come from and go to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerAddr(pub SocketAddr);

/// Where a relay's datagrams come from and go to: never to be taken for a peer's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RelayAddr(pub SocketAddr);

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for RelayAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One of our sockets and a remote address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FourTuple {
    /// The address that our socket is bound to (may be unspecified).
    pub local: SocketAddr,
    /// The other end.
    pub remote: PeerAddr,
}

/// A way on which datagrams travel to one peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PathId {
    /// Straight over UDP.
    Udp(FourTuple),
    /// Through a channel of a relay.
    Relay {
        /// The relay.
        relay: RelayAddr,
        /// The channel's number there.
        channel: u32,
    },
    /// Inside a stream of another session.
    Stream(StreamId),
}

impl PathId {
    /// The remote address of a direct path.
    #[must_use]
    pub const fn remote(&self) -> Option<SocketAddr> {
        match self {
            Self::Udp(tuple) => Some(tuple.remote.0),
            Self::Relay { .. } | Self::Stream(_) => None,
        }
    }

    /// Where datagrams on this path are sent: to the peer, or to the relay; `None` inside a stream.
    #[must_use]
    pub const fn destination(&self) -> Option<SocketAddr> {
        match self {
            Self::Udp(tuple) => Some(tuple.remote.0),
            Self::Relay { relay, .. } => Some(relay.0),
            Self::Stream(_) => None,
        }
    }

    /// Whether no third party forwards the datagrams.
    #[must_use]
    pub const fn is_direct(&self) -> bool {
        matches!(self, Self::Udp(_))
    }
}

impl fmt::Display for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(tuple) => write!(f, "{}", tuple.remote),
            Self::Relay { relay, channel } => write!(f, "relay {relay} channel {channel:08x}"),
            Self::Stream(stream) => write!(f, "stream {}", stream.to_u64()),
        }
    }
}
