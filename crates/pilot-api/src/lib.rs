//! Pilot's local HTTP API: every request and answer, the server that a daemon runs on its Unix socket, and the client.
//!
//! HTTP/1.1 with JSON under `/v1/…`; `/v1/dial` and `/v1/accept` upgrade their connection to a raw byte stream.
//!
//! ```text
//! pilotctl ──► Client ──► pilot.sock ──► Server ──► DaemonApi ──► the daemon's node
//! ```

mod client;
mod daemon_api;
mod error;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod html;
pub mod metrics;
mod payload;
mod peer_ref;
mod server;
pub mod types;

pub use client::{ApiStream, Client, StreamNumber, Watching};
pub use daemon_api::{BoxStream, ByteStream, DaemonApi};
pub use error::{ApiError, Envelope, ErrorCode};
pub use payload::Payload;
pub use peer_ref::{ParsePeerError, PeerRef};
pub use server::{BindError, Load, Server};

/// The example of the README runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
