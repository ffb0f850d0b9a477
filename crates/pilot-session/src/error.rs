//! Misuse by the caller, one type for each operation.

use thiserror::Error;

/// Why a handshake was not started.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The peer is this node.
    #[error("cannot dial oneself")]
    Oneself,
    /// The bytes are not an encoded hello.
    #[error("hello does not decode")]
    Hello(#[source] pilot_wire::DecodeError),
    /// Message 1 would not fit into a datagram that every path carries.
    #[error("hello of {len} bytes is too long by {excess}")]
    HelloTooLong {
        /// Bytes of the hello.
        len: usize,
        /// Bytes that do not fit.
        excess: usize,
    },
    /// The peer's public key gives no secret (a point of small order).
    #[error("peer's key is not acceptable")]
    WeakKey,
}

/// Why a handshake was not answered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The token is too old, or its place was needed for newer ones.
    #[error("handshake has expired")]
    Expired,
    /// Message 2 would be longer than message 1: it could amplify traffic to a forged address.
    #[error("answer is longer than the question")]
    TooLong,
    /// There are as many sessions as the configuration allows.
    #[error("too many sessions")]
    TableFull,
    /// A key in message 1 gives no secret (a point of small order).
    #[error("peer's key is not acceptable")]
    WeakKey,
}

/// Why a packet was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SealError {
    /// There is no session with that peer.
    #[error("no session")]
    NoSession,
    /// The epoch is past its age or number of packets; a new handshake is needed.
    #[error("keys have expired")]
    Expired,
    /// The packet number is not above all that were sealed before.
    #[error("packet number out of order")]
    NumberOutOfOrder,
}

/// Why no key was exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// There is no session with that peer.
    #[error("no session")]
    NoSession,
    /// The label is longer than 255 bytes, or the output than 8160.
    #[error("label or output too long")]
    TooLong,
}
