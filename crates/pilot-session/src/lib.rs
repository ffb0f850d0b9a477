//! Noise handshakes and sealed packets between two agents, without I/O.

mod config;
mod drop_reason;
mod endpoint;
mod entropy;
mod epoch;
mod error;
mod event;
mod index;
mod initiator;
mod keys;
mod mac;
mod mask;
mod noise;
mod outbox;
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
pub use event::{Event, HelloToken, Received};
pub use keys::{LocalKeys, PeerKeys};
