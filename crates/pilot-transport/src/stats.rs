//! Figures for people and metrics.

use std::time::{Duration, Instant};

use pilot_types::{Ecn, PacketNumber, PathId};
use pilot_wire::ErrorCode;

/// What `poll_transmit` wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SentPacket {
    /// The number to seal the packet under.
    pub number: PacketNumber,
    /// Where it goes.
    pub path: PathId,
    /// The mark to set.
    pub ecn: Option<Ecn>,
}

/// What a read gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// As many bytes.
    Bytes(usize),
    /// Nothing yet; `Event::Readable` follows.
    Blocked,
    /// The peer finished, and everything was read.
    End,
}

/// A reliable frame that a layer above sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControlFrame {
    /// A spare receiver index.
    NewIndex {
        /// Counts up from 0 in each epoch.
        sequence: u64,
        /// The index.
        index: u32,
    },
    /// An index that will not be used again.
    RetireIndex {
        /// Its sequence.
        sequence: u64,
    },
}

/// Figures of a session's transport. Bytes are those of datagrams, the session's overhead included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Smoothed round trip of the path in use.
    pub srtt: Duration,
    /// Smallest round trip of the path in use; zero before a sample.
    pub min_rtt: Duration,
    /// Congestion window in bytes.
    pub cwnd: u64,
    /// Bytes sent on the path in use and neither acknowledged nor lost.
    pub in_flight: u64,
    /// Largest datagram of the path in use.
    pub mtu: usize,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets received.
    pub packets_received: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Packets declared lost.
    pub packets_lost: u64,
    /// Bytes of streams sent more than once.
    pub bytes_retransmitted: u64,
    /// Probe timeouts.
    pub probe_timeouts: u64,
}

/// What is known of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathStats {
    /// The path.
    pub path: PathId,
    /// Whether the session sends on it.
    pub is_in_use: bool,
    /// Whether it carries everything at once: the path in use once the peer answered on it, another one for 30 s after
    /// the answer to a probe.
    pub is_validated: bool,
    /// The smoothed round trip of the path in use, that of the last answer of another one; `None` before a sample.
    pub rtt: Option<Duration>,
    /// When a probe on it was answered last.
    pub answered_at: Option<Instant>,
}

/// Figures of one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamStats {
    /// Bytes that were sent, each counted once.
    pub sent: u64,
    /// Bytes that the peer has.
    pub acked: u64,
    /// Bytes written and not acknowledged yet.
    pub buffered: u64,
    /// Bytes sent again.
    pub retransmitted: u64,
    /// Bytes that were read.
    pub read: u64,
    /// Bytes in order that wait to be read.
    pub readable: u64,
    /// Why the peer stopped us, if it did.
    pub stopped: Option<ErrorCode>,
}
