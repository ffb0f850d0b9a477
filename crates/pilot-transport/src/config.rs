//! What the owner of a transport chooses, and what it announces to the peer.

use std::time::Duration;

use pilot_wire::TransportParams;
use pilot_wire::limits::BASE_DATAGRAM;

/// Limits and times of one end; shared by all its sessions.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our limits, as the handshake announced them to the peer.
    pub params: TransportParams,
    /// How often an otherwise idle session sends a PING. Without it a session pings only while streams are open.
    pub keep_alive: Option<Duration>,
    /// Round trip that a fresh path is taken to have before its first sample.
    pub initial_rtt: Duration,
    /// What holds a sender back on a path.
    pub congestion: Congestion,
    /// Largest datagram on a fresh path, in bytes, the session's overhead included; less than [`BASE_DATAGRAM`] counts
    /// as that.
    pub max_datagram: usize,
    /// Bytes to which `params.max_stream_data` grows for a reader that keeps up with its peer.
    pub max_stream_window: u64,
    /// Bytes to which `params.max_data` grows likewise.
    pub max_window: u64,
    /// Bytes that one stream keeps until they are acknowledged; at least a stream header's worth.
    pub send_buffer: usize,
    /// Bytes that all streams together keep beyond that, where the congestion window asks for them.
    pub max_send_buffer: usize,
    /// Runs of received packet numbers that are remembered for ACK frames.
    pub max_ack_ranges: usize,
    /// Extension and index frames that wait to be sent or acknowledged.
    pub control_queue: usize,
    /// Unreliable datagrams that wait to be sent.
    pub datagram_queue: usize,
}

/// When an otherwise idle session sends a PING.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeepAlive {
    /// After so long.
    Always(Duration),
    /// While streams are open, after so long and never more seldom than three times in the idle timeout.
    WithStreams(Duration),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            params: TransportParams {
                // Received bytes that wait for the application take at most this much memory per session.
                max_data: 4 * 1024 * 1024,
                max_stream_data: 1024 * 1024,
                max_streams: 256,
                max_datagram: BASE_DATAGRAM as u64,
                idle_timeout_ms: 60_000,
                max_ack_delay_us: 10_000,
            },
            keep_alive: None,
            // Half of what RFC 9002 §6.2.2 recommends for lack of knowledge: the handshake that came before bounds
            // the round trip well below its own timeout.
            initial_rtt: Duration::from_millis(166),
            congestion: Congestion::Bbr,
            max_datagram: BASE_DATAGRAM,
            // Four round trips of 200 Mbit/s over 80 ms; the session has room for other streams beside such a one.
            max_stream_window: 8 * 1024 * 1024,
            max_window: 12 * 1024 * 1024,
            send_buffer: 1024 * 1024,
            max_send_buffer: 8 * 1024 * 1024,
            max_ack_ranges: 64,
            control_queue: 256,
            datagram_queue: 64,
        }
    }
}

/// A congestion controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Congestion {
    /// Sends at the rate at which the path was seen to deliver; random loss does not slow it down.
    Bbr,
    /// RFC 9438: grows until something is lost.
    Cubic,
}

/// Which stream ids an end opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Even ids: the end with the smaller `AgentId`.
    Even,
    /// Odd ids: the other.
    Odd,
}

impl Side {
    /// The lowest bit of the ids that this end opens.
    pub(crate) const fn parity(self) -> u64 {
        match self {
            Self::Even => 0,
            Self::Odd => 1,
        }
    }
}
