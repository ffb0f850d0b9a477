#![doc = include_str!("../README.md")]
//!
//! ## States
//!
//! One [`Endpoint`] holds all sessions of a node. A session belongs to one boot of one peer; each completed handshake is an
//! epoch of it, with keys of its own.
//!
//! ```text
//!  connect ──► message 1 sent ──► message 2 opened ──────────────┐
//!              (repeated; 10 s)     = Received::Answered         ▼
//!                                                             epoch usable ──► replaced ──► wiped
//!  Received::Hello ──► accept ──► message 2 sent ──────────────▲  RekeyDue      opens late
//!  (or ignore)                     (half-open; 5 s)            │  after 2 min    packets 10 s
//!                                   first data packet opens ───┘
//!                                   = Received::Data { confirmed }
//! ```
//!
//! ## The loop that drives it
//!
//! ```
//! use std::time::Instant;
//! use pilot_session::{Endpoint, Event};
//! use pilot_types::TransmitBuf;
//!
//! /// After each call into the endpoint: sends what it has to say, gives what it has to tell, and when to come back.
//! fn drain(endpoint: &mut Endpoint, now: Instant, mut send: impl FnMut(&TransmitBuf)) -> (Vec<Event>, Option<Instant>) {
//!     let mut out = TransmitBuf::new(1, 1500);
//!     while endpoint.poll_transmit(now, &mut out).is_some() {
//!         send(&out);
//!         out.clear();
//!     }
//!     let events = std::iter::from_fn(|| endpoint.poll_event()).collect();
//!     (events, endpoint.poll_timeout().map(|deadline| deadline.at))
//! }
//! ```

mod config;
mod cookie;
mod drop_reason;
mod endpoint;
mod entropy;
mod epoch;
mod error;
mod event;
pub mod fuzz;
mod gate;
mod index;
mod initiator;
mod keys;
mod mac;
mod mask;
mod noise;
mod outbox;
mod rate;
mod received_cookies;
mod replay;
mod resolver;
mod responder;
mod schedule;
mod seal;
mod session;

pub use config::Config;
pub use drop_reason::DropReason;
pub use endpoint::Endpoint;
pub use error::{AcceptError, ConnectError, ExportError, SealError};
pub use event::{Event, HandshakeStats, HelloToken, Received};
pub use keys::{LocalKeys, PeerKeys};
pub use rate::{NameLimit, Rate, RateLimit, source_name};
