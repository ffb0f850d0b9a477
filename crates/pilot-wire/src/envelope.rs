//! Signed statements: one envelope for records, locators, grants and knocks (`docs/wire.md` §6).

use pilot_types::{AgentId, UnixTime};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cursor::{DecodeError, Reader};
use crate::limits::MAX_ENVELOPE;
use crate::varint::put_varint;

/// The body of a signed statement.
pub trait Statement: Serialize + DeserializeOwned {
    /// Context string, `pilot/TYPE/1`: a signature for one type is none for another.
    const CONTEXT: &'static str;

    /// The body from its bytes. A type that grew reads here what its later versions added.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] with the context.
    fn decode_body(body: &[u8]) -> Result<Self, DecodeError> {
        decode_postcard(body, Self::CONTEXT)
    }
}

/// Everything that is signed beside the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EnvelopeHead {
    /// Who signs.
    pub agent: AgentId,
    /// Generation of the signing key in the signer's identity log.
    pub generation: u32,
    /// Sequence of the signing key in the signer's identity log.
    pub sequence: u32,
    /// Among statements of one type about one thing, the highest wins.
    pub serial: u64,
    /// When it was made.
    pub issued: UnixTime,
    /// When it ends.
    pub not_after: UnixTime,
}

/// A signed statement as received: the bytes that were signed and the signature over them, never re-encoded.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SignedBytes(Vec<u8>);

impl SignedBytes {
    /// Bytes of the signature at the end.
    pub const SIGNATURE: usize = 64;

    /// The bytes to sign for a statement.
    #[must_use]
    pub fn to_sign<S: Statement>(head: &EnvelopeHead, body: &S) -> Vec<u8> {
        let mut out = vec![];
        put_varint(&mut out, S::CONTEXT.len() as u64);
        out.extend_from_slice(S::CONTEXT.as_bytes());
        out.extend_from_slice(head.agent.as_bytes());
        out.extend_from_slice(&head.generation.to_be_bytes());
        out.extend_from_slice(&head.sequence.to_be_bytes());
        out.extend_from_slice(&head.serial.to_be_bytes());
        out.extend_from_slice(&head.issued.as_millis().to_be_bytes());
        out.extend_from_slice(&head.not_after.as_millis().to_be_bytes());
        out.extend_from_slice(&encode_postcard(body));
        out
    }

    /// Joins the signed bytes and their signature.
    #[must_use]
    pub fn new(mut signed: Vec<u8>, signature: &[u8; Self::SIGNATURE]) -> Self {
        signed.extend_from_slice(signature);
        Self(signed)
    }

    /// Bytes from disk or the wire.
    #[must_use]
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// All bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads the envelope; the signature is not checked here.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no envelope or longer than [`MAX_ENVELOPE`].
    pub fn envelope(&self) -> Result<Envelope<'_>, DecodeError> {
        Envelope::decode(&self.0)
    }
}

/// A view of a signed statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope<'a> {
    /// The type's context string.
    pub context: &'a str,
    /// Everything that is signed beside the body.
    pub head: EnvelopeHead,
    /// Postcard of the type, then bytes that later versions add.
    pub body: &'a [u8],
    /// What the signature covers.
    pub signed: &'a [u8],
    /// Ed25519, 64 bytes.
    pub signature: &'a [u8; SignedBytes::SIGNATURE],
}

impl<'a> Envelope<'a> {
    /// Reads an envelope; the signature is not checked here.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are no envelope or longer than [`MAX_ENVELOPE`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(DecodeError::Range("envelope length"));
        }
        let (signed, signature) = bytes.split_last_chunk().ok_or(DecodeError::Truncated)?;
        let mut reader = Reader::new(signed);
        let context = std::str::from_utf8(reader.prefixed()?)
            .map_err(|_| DecodeError::Malformed("context"))?;
        let head = EnvelopeHead {
            agent: AgentId::new(reader.array()?),
            generation: reader.u32()?,
            sequence: reader.u32()?,
            serial: u64::from_be_bytes(reader.array()?),
            issued: UnixTime::from_millis(u64::from_be_bytes(reader.array()?)),
            not_after: UnixTime::from_millis(u64::from_be_bytes(reader.array()?)),
        };
        Ok(Self {
            context,
            head,
            body: reader.rest(),
            signed,
            signature,
        })
    }

    /// The body as statement `S`.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] if the context is another type's or the body does not decode.
    pub fn statement<S: Statement>(&self) -> Result<S, DecodeError> {
        if self.context != S::CONTEXT {
            return Err(DecodeError::Malformed("context"));
        }
        S::decode_body(self.body)
    }
}

/// Postcard bytes of a value.
///
/// # Panics
/// Never for our types: they have known lengths and no failing serialisers.
pub fn encode_postcard<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("our types serialise into memory")
}

/// A value from postcard bytes; bytes after it are legal, so that later versions can add fields.
///
/// # Errors
/// [`DecodeError::Malformed`] with `what`.
pub fn decode_postcard<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<T, DecodeError> {
    split_postcard(bytes, what).map(|(value, _)| value)
}

/// A value from postcard bytes, and the bytes after it.
pub(crate) fn split_postcard<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<(T, &'a [u8]), DecodeError> {
    postcard::take_from_bytes(bytes).map_err(|_| DecodeError::Malformed(what))
}
