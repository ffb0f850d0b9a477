//! What the two handshake messages carry, encrypted (`docs/wire.md` §3).

use pilot_types::{AgentId, BootId};
use serde::{Deserialize, Serialize};

use crate::cursor::DecodeError;
use crate::envelope::{decode_postcard, encode_postcard, split_postcard};
use crate::limits::{MAX_HELLO_ENTRIES, MAX_LOG_ENTRY};

/// Limits that one end sets for the other, in force for a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TransportParams {
    /// Bytes on all streams together before a MAX_DATA.
    pub max_data: u64,
    /// Bytes on each stream before a MAX_STREAM_DATA.
    pub max_stream_data: u64,
    /// Streams that the other end may open before a MAX_STREAMS.
    pub max_streams: u64,
    /// Largest DATAGRAM body, 0 for none.
    pub max_datagram: u64,
    /// Silence after which this end forgets the session, in milliseconds, 0 for never.
    pub idle_timeout_ms: u64,
    /// Longest delay of an ACK in microseconds.
    pub max_ack_delay_us: u64,
}

/// Payload of message 1.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Who dials.
    pub agent: AgentId,
    /// Generation of its current key.
    pub generation: u32,
    /// Sequence of its current key.
    pub sequence: u32,
    /// Hash of the newest entry of its identity log.
    pub head: [u8; 32],
    /// The newest entries, oldest first, at most [`MAX_HELLO_ENTRIES`].
    pub entries: Vec<Vec<u8>>,
    /// Its boot.
    pub boot: BootId,
    /// Nanoseconds, larger in each hello of an agent.
    pub freshness: u64,
    /// Its limits.
    pub params: TransportParams,
    /// Versions that it speaks, best first.
    pub versions: Vec<u8>,
    /// One-time secret of a ticket, where it dials by one.
    pub ticket: Option<[u8; 16]>,
}

/// Payload of message 2.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HelloAnswer {
    /// Generation of the responder's current key.
    pub generation: u32,
    /// Sequence of the responder's current key.
    pub sequence: u32,
    /// Hash of the newest entry of its identity log.
    pub head: [u8; 32],
    /// Its boot.
    pub boot: BootId,
    /// Its limits.
    pub params: TransportParams,
    /// The versions that message 1 offered, as received.
    pub versions: Vec<u8>,
    /// What the responder makes of the initiator's key: one byte after all others, left out where it is 0 and nothing follows.
    #[serde(skip)]
    pub standing: KeyStanding,
}

/// What one end makes of the key that the other dials with. Anything but [`Self::CURRENT`] is a refusal: no session begins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct KeyStanding(pub u8);

impl KeyStanding {
    /// The newest one that is known.
    pub const CURRENT: Self = Self(0);
    /// It was replaced: a newer log of the same agent is known.
    pub const SUPERSEDED: Self = Self(1);
    /// Two entries at one place of the agent's log contradict each other: whoever has its key, it is refused until a recovery.
    pub const FORKED: Self = Self(2);
}

impl Hello {
    /// Postcard bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode_postcard(self)
    }

    /// From decrypted bytes; trailing bytes are legal.
    ///
    /// # Errors
    /// [`DecodeError`] if they do not decode, or entries are too many or too long.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let hello: Self = decode_postcard(bytes, "hello")?;
        let is_bounded = hello.entries.len() <= MAX_HELLO_ENTRIES
            && hello.entries.iter().all(|e| e.len() <= MAX_LOG_ENTRY);
        if is_bounded {
            Ok(hello)
        } else {
            Err(DecodeError::Range("hello entries"))
        }
    }
}

impl HelloAnswer {
    /// Postcard bytes, and the standing where it is not 0.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = encode_postcard(self);
        if self.standing != KeyStanding::CURRENT {
            bytes.push(self.standing.0);
        }
        bytes
    }

    /// From decrypted bytes; bytes after the standing are legal.
    ///
    /// # Errors
    /// [`DecodeError`] if they do not decode.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (mut answer, rest): (Self, _) = split_postcard(bytes, "hello answer")?;
        answer.standing = KeyStanding(rest.first().copied().unwrap_or_default());
        Ok(answer)
    }
}
