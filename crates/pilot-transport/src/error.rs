//! One error for each operation, and what a peer can do wrong.

use pilot_wire::{DecodeError, ErrorCode};
use thiserror::Error;

/// The peer broke the protocol; the transport closes with [`PeerError::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerError {
    /// Bytes that are no frame.
    #[error("malformed frame")]
    Frame(#[source] DecodeError),
    /// A packet without a single frame.
    #[error("packet without frames")]
    Empty,
    /// An ACK for a number that was never used.
    #[error("acknowledgement of packet {0}, which was never sent")]
    UnsentAcked(u64),
    /// More bytes than the stream's or the session's limit.
    #[error("more bytes than were allowed")]
    FlowControl,
    /// More streams than the limit.
    #[error("more streams than were allowed")]
    StreamLimit,
    /// A frame for a stream of ours that we never opened.
    #[error("frame for a stream that was never opened")]
    UnopenedStream,
    /// A stream's final size changed, or bytes lie beyond it.
    #[error("final size of a stream changed")]
    FinalSize,
    /// A datagram larger than we announced to take.
    #[error("datagram larger than was allowed")]
    DatagramTooLarge,
    /// A number of streams that no stream id can reach.
    #[error("stream limit beyond the largest id")]
    StreamCount,
}

impl PeerError {
    /// What the CLOSE frame says.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Frame(_)
            | Self::Empty
            | Self::UnsentAcked(_)
            | Self::DatagramTooLarge
            | Self::StreamCount => ErrorCode::PROTOCOL_VIOLATION,
            Self::FlowControl => ErrorCode::FLOW_CONTROL,
            Self::StreamLimit => ErrorCode::STREAM_LIMIT,
            Self::UnopenedStream => ErrorCode::STREAM_STATE,
            Self::FinalSize => ErrorCode::FINAL_SIZE,
        }
    }
}

/// Why no stream was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The peer allows no more for now; `Event::StreamsAvailable` follows.
    #[error("the peer allows no more streams for now")]
    Limit,
    /// The session is closing.
    #[error("session closed")]
    Closed,
}

/// Why bytes were not taken, or a stream not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The peer wants no more of the stream.
    #[error("the peer stopped the stream: {0}")]
    Stopped(ErrorCode),
    /// The stream was finished before.
    #[error("stream already finished")]
    Finished,
    /// The stream was reset by us.
    #[error("stream reset")]
    Reset,
    /// No such stream, or one that is over in both directions.
    #[error("unknown stream")]
    Unknown,
    /// The session is closing.
    #[error("session closed")]
    Closed,
}

/// Why nothing can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The peer gave the stream up.
    #[error("the peer reset the stream: {0}")]
    Reset(ErrorCode),
    /// No such stream, one that we stopped, or one that is over in both directions.
    #[error("unknown stream")]
    Unknown,
    /// The session is closing.
    #[error("session closed")]
    Closed,
}

/// Why a control frame was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Too many wait for the peer's acknowledgement.
    #[error("control queue full")]
    Full,
    /// The frame does not fit into one packet.
    #[error("control frame larger than a packet")]
    TooLarge,
    /// Extension types begin at 0x40.
    #[error("extension type {0:#x} is not one of the extensions'")]
    Kind(u64),
    /// The session is closing.
    #[error("session closed")]
    Closed,
}

/// Why a datagram was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DatagramError {
    /// Larger than a packet, or than the peer takes.
    #[error("datagram larger than {max} bytes")]
    TooLarge {
        /// What fits now.
        max: usize,
    },
    /// Too many wait to be sent.
    #[error("datagram queue full")]
    Full,
    /// The session is closing.
    #[error("session closed")]
    Closed,
}
