//! Any TCP program through the overlay: ports of agents as ports of this machine, and the other way round.
//!
//! It knows neither sessions nor trust: [`Dial`] opens streams, [`Source`] brings those that came. Its bytes touch no disk but
//! in [`Directory`], which reads only.
//!
//! ```text
//! forward   TCP listener ──▶ Dial: one peer, one port
//! proxy     TCP listener ──▶ SOCKS5 or HTTP ──▶ Dial: NAME.pilot
//! expose    Source ──▶ TCP: one host, one port
//! serve     Source ──▶ HTTP ──▶ files of a directory
//! ```

mod confirm;
mod expose;
mod forward;
mod host;
mod proxy;
mod relay;
mod serve;
mod tcp;
mod traffic;

use std::future::Future;

use pilot_api::{ApiError, BoxStream, ByteStream, PeerRef};
use pilot_types::Port;

pub use confirm::{CONFIRM_REQUEST, Confirming, confirm};
pub use expose::{Target, expose};
pub use forward::forward;
pub use host::{NotOverlay, peer_of_host};
pub use proxy::proxy;
pub use serve::{Directory, serve};
pub use tcp::bind;
pub use traffic::{Counts, Fault, MAX_CONNECTIONS, Source, Traffic};

/// The README's text is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Opens streams to agents. I/O errors of a stream that the peer broke off carry an [`ApiError`].
pub trait Dial: Send + Sync + 'static {
    /// A stream to a port of an agent; whether somebody takes it there shows later.
    fn dial(
        &self,
        peer: &PeerRef,
        port: Port,
    ) -> impl Future<Output = Result<BoxStream, ApiError>> + Send;

    /// A stream that somebody has taken, as far as the other end tells.
    fn dial_confirmed(
        &self,
        peer: &PeerRef,
        port: Port,
    ) -> impl Future<Output = Result<BoxStream, ApiError>> + Send;
}

/// A stream that a peer opened. Dropping it unfinished breaks it off.
pub trait Inbound: ByteStream + 'static {
    /// Who opened it, for people.
    fn opener(&self) -> String;

    /// Whether its opener asked to be told that it was taken ([`CONFIRM_REQUEST`]).
    fn wants_confirmation(&self) -> bool;

    /// Tells the opener that nobody takes it.
    fn refuse(self);
}
