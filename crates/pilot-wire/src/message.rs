//! Messages of the data exchange, port 1001 (`docs/wire.md` §7).

use std::fmt;
use std::str::FromStr;

use pilot_types::{decode_hex, encode_hex};
use serde::{Deserialize, Serialize};

use crate::traceparent::TraceParent;

/// A message's name, random, unique between its sender and receiver. Text: 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId([u8; 16]);

impl MessageId {
    /// Wraps 16 random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_hex(&self.0))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

impl FromStr for MessageId {
    type Err = pilot_types::DecodeHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        decode_hex(text).map(Self)
    }
}

/// How a message's body is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MessageType {
    /// UTF-8 text.
    Text,
    /// A JSON document.
    Json,
    /// Bytes.
    Binary,
    /// A later version's type: handed on as bytes.
    #[serde(other)]
    Unknown,
}

/// Head of a message: a varint length, at most [`crate::limits::MAX_MESSAGE_HEAD`], and this in postcard start the
/// stream, `len` bytes of body follow.
///
/// A sender that leaves its direction open after the body takes one answer on the same stream: head and body with
/// `reply_to` set, which it acknowledges likewise. So an agent is answered that lets the other open no stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Message {
    /// Its name.
    pub id: MessageId,
    /// How the body is to be read.
    pub kind: MessageType,
    /// Bytes of the body, at most [`crate::limits::MAX_MESSAGE`].
    pub len: u64,
    /// The message that this one answers.
    pub reply_to: Option<MessageId>,
    /// The application's trace.
    pub trace: Option<TraceParent>,
}

/// The receiver's answer on the same stream: the message is stored, or why it is not.
///
/// A varint length, at most [`crate::limits::MAX_MESSAGE_HEAD`], and this in postcard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MessageAck {
    /// It is in the inbox.
    Stored,
    /// It was there before.
    Duplicate,
    /// It was refused, in words.
    Refused(String),
    /// A later version's word.
    #[serde(other)]
    Unknown,
}
