//! One agent's whole protocol state, without I/O: sessions, streams, trust, registry and admission in one machine.
//!
//! A rendezvous is a node with a [`RendezvousRole`]. The driver calls a `handle_…` or a verb, then drains
//! [`Node::poll_transmit`] and [`Node::poll_event`], then re-arms its timer with [`Node::poll_timeout`].
//!
//! ```text
//!            Node ── drains ──► Endpoint (sessions)   Transport (one a session)
//!   datagrams ▲ ▼ events        Trust                 Client (one a rendezvous)   RegistryHost (a rendezvous)
//! ```
//!
//! ```no_run
//! # fn drive(node: &mut pilot_node::Node, now: pilot_node::Now, socket: std::net::UdpSocket) -> std::io::Result<()> {
//! let mut out = pilot_types::TransmitBuf::new(10, 1500);
//! while let Some(transmit) = node.poll_transmit(now, &mut out) {
//!     let segment = transmit.segment_size.unwrap_or(transmit.size);
//!     if let Some(to) = transmit.path.destination() {
//!         for datagram in out.as_slice().chunks(segment) {
//!             socket.send_to(datagram, to)?;
//!         }
//!     }
//! }
//! while let Some(event) = node.poll_event() {
//!     println!("{event:?}");
//! }
//! let wake = node.poll_timeout();
//! # let _ = wake; Ok(()) }
//! ```

mod config;
mod datagrams;
mod dialing;
mod dials;
mod directory;
mod drops;
mod event;
mod exchange;
mod forwarded;
mod freshness;
mod group_queries;
mod group_verify;
mod group_work;
mod grouping;
mod handshakes;
mod hello_judge;
mod keep_alive;
mod key_change;
mod left;
mod links;
mod lives;
mod log_cache;
mod mailing;
mod node;
mod now;
mod paths;
mod peer_session;
mod port_mapping;
mod reconnects;
mod recovery;
mod relay_only;
mod relay_role;
mod relaying;
mod rendezvous;
mod searching;
mod session_table;
mod sprays;
mod status;
mod streams;
mod stun;
mod trust_port;
mod trusting;
mod written;

pub use config::{Config, Pin, Profile, RendezvousConfig, RendezvousTarget};
pub use dialing::DialOptions;
pub use dials::Target;
pub use directory::{KnownPeer, PeerEntry};
pub use drops::drop_reasons;
pub use event::{
    Answer, DialError, DialId, Event, LinkState, Persist, PrekeyChange, QueryError, QueryId,
    SearchPage, SessionKey, StreamError, StreamHandle, Undelivered,
};
pub use key_change::KeysRefused;
pub use mailing::{LetterReceipt, ReceivedLetter};
pub use node::{Node, Restored};
pub use now::Now;
pub use pilot_nat::{Filtering, Mapping, PathReport, PathState, Prefix, Refusal, RelayStats};
pub use pilot_transport::Read;
pub use reconnects::LastSession;
pub use relay_only::RelayOnly;
pub use rendezvous::{KeyAnswerBody, LogVerifier, RegistryHost, RendezvousRole};
pub use status::{ConnectionStatus, PeerStatus, Status};
pub use trust_port::{TrustAck, TrustMessage};
pub use trusting::Knocked;

/// The example of the README runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
