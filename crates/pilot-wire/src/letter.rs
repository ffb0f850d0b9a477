//! Messages to agents that are away, as their mailbox holds them (`docs/wire.md` §6, `docs/crypto.md`).

use pilot_types::{AgentId, GroupId};
use serde::{Deserialize, Serialize};

use crate::cursor::DecodeError;
use crate::envelope::{SignedBytes, Statement, decode_postcard, encode_postcard};
use crate::limits::{MAX_LETTER_BODY, MAX_LETTER_LOG, MAX_LOG_ENTRY};
use crate::message::Message;

/// What the sender of a letter signs: for whom it is, which message, and what it says. The envelope says who sent it, when, and until when
/// it may be delivered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Letter {
    /// For whom: nobody else may be shown it as sent to them.
    pub to: AgentId,
    /// The group to all of which it is said.
    pub group: Option<GroupId>,
    /// The message's head, as on port 1001.
    pub head: Message,
    /// SHA-256 of the body.
    pub body_hash: [u8; 32],
}

impl Statement for Letter {
    const CONTEXT: &'static str = "pilot/letter/1";
}

/// What is sealed: all that the recipient needs to check it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LetterBox {
    /// The sender's identity log, oldest entry first.
    pub log: Vec<Vec<u8>>,
    /// Envelope of a [`Letter`].
    pub letter: SignedBytes,
    /// The body.
    pub body: Vec<u8>,
}

impl LetterBox {
    /// Postcard bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode_postcard(self)
    }

    /// From what was sealed; trailing bytes are legal.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes do not decode or a part is longer than its bound.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let letter: Self = decode_postcard(bytes, "letter")?;
        letter.check().map(|()| letter)
    }

    /// Whether every part is within its bound.
    ///
    /// # Errors
    /// [`DecodeError::Range`] with the first that is not.
    pub fn check(&self) -> Result<(), DecodeError> {
        if self.body.len() > MAX_LETTER_BODY {
            return Err(DecodeError::Range("body of a letter"));
        }
        let len: usize = self.log.iter().map(|entry| entry.len() + 4).sum();
        if len > MAX_LETTER_LOG || self.log.iter().any(|entry| entry.len() > MAX_LOG_ENTRY) {
            return Err(DecodeError::Range("log in a letter"));
        }
        Ok(())
    }
}
