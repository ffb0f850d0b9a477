//! Reliable streams, datagrams and control frames over any path that carries datagrams, without I/O.
//!
//! One [`Transport`] per session. It knows no keys, sockets or clocks: the owner seals the packets it writes, opens
//! those it is given, drops duplicates, and says what time it is.
//!
//! ```text
//! application ── write, read ──▶ Streams ─┬─ fill ──▶ FrameWriter ──▶ TransmitBuf ──▶ owner seals and sends
//!                   layers above ──▶ ControlQueue ┤      ▲  gate: congestion window, pacer, validation
//!                                DatagramQueue ┘      │
//! owner opens ── handle_packet ──▶ frames ──▶ Streams, AckTracker, LossDetector, Paths ──▶ Event
//! ```

mod ack;
mod assembler;
mod bbr;
mod close;
mod config;
mod control;
mod controller;
mod cubic;
mod delivery_rate;
mod error;
mod event;
mod flow;
pub mod fuzz;
mod guesses;
mod loss;
mod migration;
mod pacer;
mod pair;
mod path;
mod probes;
mod range_set;
mod receive;
mod recovery;
mod rtt;
mod send_buffer;
mod sent;
mod stats;
mod streams;
#[cfg(test)]
mod tests;
mod timer;
mod transmit;
mod transport;
mod writer;

pub use config::{Config, Congestion, KeepAlive, Side};
pub use error::{ControlError, DatagramError, OpenError, PeerError, ReadError, WriteError};
pub use event::Event;
pub use stats::{ControlFrame, PathStats, Read, SentPacket, Stats, StreamStats};
pub use transport::Transport;

/// The example of the README runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
