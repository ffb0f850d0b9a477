//! Entries of an identity log (`docs/wire.md` §6).

use pilot_types::{AgentId, UnixTime};
use serde::{Deserialize, Serialize};

use crate::cursor::DecodeError;
use crate::envelope::{decode_postcard, encode_postcard};
use crate::limits::{MAX_LOG_ENTRY, MAX_LOG_KEYS};
use crate::varint::put_varint;

/// Bytes of an Ed25519 signature.
const SIGNATURE: usize = 64;

/// A public key and what it is for. Keys of unknown algorithms are kept and ignored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogKey {
    /// Which algorithm: [`Self::ED25519`], [`Self::X25519`] or a later one.
    pub algorithm: u16,
    /// The key, in the algorithm's own form.
    pub bytes: Vec<u8>,
}

impl LogKey {
    /// Signs statements and log entries (RFC 8032), 32 bytes.
    pub const ED25519: u16 = 1;
    /// Static key of sessions (RFC 7748), 32 bytes.
    pub const X25519: u16 = 2;
}

/// The first entry: its hash is the agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Inception {
    /// Version of the log's format, 1.
    pub version: u8,
    /// At most [`MAX_LOG_KEYS`].
    pub keys: Vec<LogKey>,
    /// Hash of the key that may start the next generation.
    pub recovery_commitment: Option<[u8; 32]>,
    /// Chosen so that the entry's work has enough zero bits; last, so that trying another hashes few bytes.
    pub modifier: [u8; 16],
}

impl Inception {
    /// The one version of the log's format.
    pub const VERSION: u8 = 1;
}

/// By whose right keys are replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Authority {
    /// The key that is replaced.
    Current,
    /// The Ed25519 key that the generation's anchor committed to: its first entry with a commitment.
    Recovery([u8; 32]),
}

/// A later entry: new keys for the same agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rotation {
    /// Whose.
    pub agent: AgentId,
    /// Counts recoveries.
    pub generation: u32,
    /// Counts rotations within the generation; 0 for its first entry.
    pub sequence: u32,
    /// Hash of the entry before; for a recovery, of the anchor of the generation that it ends.
    pub previous: [u8; 32],
    /// At most [`MAX_LOG_KEYS`].
    pub keys: Vec<LogKey>,
    /// As before, unless there was none, or the recovery key signs.
    pub recovery_commitment: Option<[u8; 32]>,
    /// When it was made, for people.
    pub issued: UnixTime,
    /// Who replaces the keys.
    pub authority: Authority,
}

/// An entry of an identity log.
///
/// `| 1: type | postcard of the type | unknown bytes | 64: signature | 64: possession (rotations) |`
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LogEntry {
    /// Type 0.
    Inception(Inception),
    /// Type 1.
    Rotation(Rotation),
}

impl LogEntry {
    /// What an inception's own key signs begins with this.
    pub const INCEPTION_CONTEXT: &'static str = "pilot/inception/1";
    /// What the authority of a rotation signs begins with this.
    pub const ROTATION_CONTEXT: &'static str = "pilot/rotation/1";
    /// What the new key of a rotation signs begins with this.
    pub const POSSESSION_CONTEXT: &'static str = "pilot/possession/1";

    /// The bytes that are hashed and, behind a context, signed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode_postcard(self)
    }

    /// The message that a key signs: `| varint: length, context | encoded entry |`.
    #[must_use]
    pub fn to_sign(context: &str, encoded: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(1 + context.len() + encoded.len());
        put_varint(&mut message, context.len() as u64);
        message.extend_from_slice(context.as_bytes());
        message.extend_from_slice(encoded);
        message
    }
}

/// The signatures at the end of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntrySignatures<'a> {
    /// Of an inception, by its own key.
    Own(&'a [u8; SIGNATURE]),
    /// Of a rotation.
    Rotation {
        /// By the key that it names as authority.
        authority: &'a [u8; SIGNATURE],
        /// By the new key, which shows that its secret is there.
        possession: &'a [u8; SIGNATURE],
    },
}

/// A view of an entry; its signatures are not checked here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedEntry<'a> {
    /// The entry.
    pub entry: LogEntry,
    /// What is hashed and signed: the encoded entry, then bytes that later versions add.
    pub encoded: &'a [u8],
    /// Over `encoded`.
    pub signatures: EntrySignatures<'a>,
}

impl<'a> SignedEntry<'a> {
    /// Reads an entry.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no entry, longer than [`MAX_LOG_ENTRY`], or have too many keys.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_LOG_ENTRY {
            return Err(DecodeError::Range("log entry length"));
        }
        let (front, last) = split_signature(bytes)?;
        let (encoded, signatures) = match front.first() {
            Some(0) => (front, EntrySignatures::Own(last)),
            Some(1) => {
                let (encoded, authority) = split_signature(front)?;
                let signatures = EntrySignatures::Rotation {
                    authority,
                    possession: last,
                };
                (encoded, signatures)
            }
            Some(other) => return Err(DecodeError::UnknownType((*other).into())),
            None => return Err(DecodeError::Truncated),
        };
        let entry: LogEntry = decode_postcard(encoded, "log entry")?;
        let (LogEntry::Inception(Inception { keys, .. })
        | LogEntry::Rotation(Rotation { keys, .. })) = &entry;
        if keys.len() > MAX_LOG_KEYS {
            return Err(DecodeError::Range("log entry keys"));
        }
        Ok(Self {
            entry,
            encoded,
            signatures,
        })
    }
}

fn split_signature(bytes: &[u8]) -> Result<(&[u8], &[u8; SIGNATURE]), DecodeError> {
    bytes.split_last_chunk().ok_or(DecodeError::Truncated)
}
