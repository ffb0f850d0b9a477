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
//!
//! A drive loop over any pipe for datagrams; here a vector, and time that stands still:
//!
//! ```
//! use std::net::{Ipv4Addr, SocketAddr};
//! use std::sync::Arc;
//! use std::time::Instant;
//!
//! use pilot_transport::{Config, Event, Read, Side, Transport};
//! use pilot_types::{PacketNumber, PathId, RelayAddr, Seed, TransmitBuf};
//!
//! let now = Instant::now();
//! let relay = RelayAddr(SocketAddr::from((Ipv4Addr::LOCALHOST, 9000)));
//! let path = PathId::Relay { relay, channel: 1 };
//! let config = Arc::new(Config::default());
//! let new = |side, seed| Transport::new(config.clone(), side, config.params, path, Seed::new([seed; 32]), now);
//! let (mut alice, mut bob) = (new(Side::Even, 1), new(Side::Odd, 2));
//!
//! let id = alice.open_stream(now)?;
//! alice.write(now, id, b"hello")?;
//! alice.finish(now, id)?;
//!
//! let mut pipe: Vec<(PacketNumber, Vec<u8>)> = vec![];
//! let mut out = TransmitBuf::new(1, 1200);
//! while let Some(packet) = alice.poll_transmit(now, &mut out) {
//!     pipe.push((packet.number, out.payload().to_vec())); // a session seals it under its number here
//!     out.clear();
//! }
//! for (number, payload) in pipe {
//!     bob.handle_packet(now, path, number, None, payload.len(), &payload)?;
//! }
//! assert_eq!(bob.poll_event(), Some(Event::StreamOpened(id)));
//! let mut bytes = [0; 16];
//! assert_eq!(bob.read(now, id, &mut bytes)?, Read::Bytes(5));
//! assert_eq!(bob.read(now, id, &mut bytes)?, Read::End);
//! assert!(bob.poll_timeout().is_some(), "when to call handle_timeout");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ack;
mod assembler;
mod close;
mod config;
mod control;
mod controller;
mod cubic;
mod error;
mod event;
mod flow;
pub mod fuzz;
mod loss;
mod migration;
mod pacer;
mod pair;
mod path;
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

pub use config::{Config, Side};
pub use controller::{AckedPacket, Controller};
pub use error::{ControlError, DatagramError, OpenError, PeerError, ReadError, WriteError};
pub use event::Event;
pub use stats::{ControlFrame, Read, SentPacket, Stats, StreamStats};
pub use transport::Transport;
