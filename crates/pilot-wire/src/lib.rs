//! Pilot's wire formats: packet headers and frames (hand-coded, zero-copy), hellos, statements and envelopes (postcard).
//!
//! Every format has its byte table in `docs/wire.md`. No I/O, no keys: a decoder takes bytes and gives a typed value or a
//! [`DecodeError`]; it never panics and never allocates more than its input is long.
//!
//! ```
//! use pilot_wire::{Frame, Frames};
//!
//! let payload = [0x01, 0x10, 0x44, 0x00]; // PING, MAX_DATA 1024
//! let frames: Result<Vec<_>, _> = Frames::new(&payload).collect();
//! assert_eq!(frames?, [Frame::Ping, Frame::MaxData(1024)]);
//! # Ok::<(), pilot_wire::DecodeError>(())
//! ```

mod ack;
mod candidates;
mod capability;
mod cursor;
mod datagram_header;
mod envelope;
mod error_code;
mod event;
mod file;
mod frame;
pub mod fuzz;
mod group;
mod header;
mod hello;
mod identity;
mod letter;
pub mod limits;
mod message;
mod relay_frame;
mod scope;
mod statement;
mod stream_header;
mod traceparent;
mod varint;

pub use ack::{Ack, AckRanges, EcnCounts, encode_ack};
pub use candidates::{
    Candidate, CandidateKind, Candidates, Forwards, KeepAlive, Mapping, ObservedAddress,
};
pub use capability::{Capability, CapabilityError, check_capabilities, describe};
pub use cursor::{DecodeError, Reader};
pub use datagram_header::DatagramHeader;
pub use envelope::{
    Envelope, EnvelopeHead, SignedBytes, Statement, decode_postcard, encode_postcard,
};
pub use error_code::ErrorCode;
pub use event::{EventAnswer, EventFrame, EventRequest, ParseTopicError, Topic, TopicFilter};
pub use file::{
    FILE_CHUNK_BYTES, FILE_CHUNK_HELD, FILE_STREAM, FILE_STREAM_1, FileAnswer, FileHead, FileId,
    FileName, FilePath, FileRefusal, FileRefusalReason, FileVerdict, ParseFileNameError,
    ParseFilePathError, refuse_file_1,
};
pub use frame::{Frame, Frames, StreamFrame, StreamPrefix, put_frame};
pub use group::{
    AdminProof, GroupAsk, GroupBundle, GroupPolicy, GroupRequest, Invitation, JoinRule, Membership,
    Removal, RemovalCause, Role, Speakers,
};
pub use header::{
    DataHeader, HandshakeHeader, KeyAnswer, KeyQuery, PacketKind, VERSION, decode_data_header,
    decode_handshake_header,
};
pub use hello::{Hello, HelloAnswer, KeyStanding, TransportParams};
pub use identity::{
    Authority, EntrySignatures, Inception, LogEntry, LogKey, Rotation, SignedEntry,
};
pub use letter::{Letter, LetterBox};
pub use message::{Message, MessageAck, MessageId, MessageType};
pub use relay_frame::RelayFrame;
pub use scope::ParsePortsError;
pub use statement::{
    Grant, Knock, KnockTarget, Locator, NetworkConfig, PortRange, Prekey, Record, Scope,
    TicketBody, Visibility,
};
pub use stream_header::{Realm, StreamHeader};
pub use traceparent::{ParseTraceParentError, TraceParent};
pub use varint::{put_varint, varint_len};

/// The example of the README runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
