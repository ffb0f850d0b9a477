//! Signed statements: who may have made one, and when it counts.

use std::time::Duration;

use pilot_types::UnixTime;
use pilot_wire::{DecodeError, Envelope, EnvelopeHead, SignedBytes, Statement};
use thiserror::Error;

use crate::keys::is_signed_by;
use crate::log::VerifiedLog;

/// How far in the future a statement may have been made: clocks of agents differ.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// A statement that was checked against its signer's current key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<S> {
    /// Everything that is signed beside the statement.
    pub head: EnvelopeHead,
    /// The statement.
    pub statement: S,
}

/// Why a signed statement is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The bytes are no envelope, or the body is not of the type.
    #[error("malformed statement")]
    Malformed(#[source] DecodeError),
    /// Another agent signed it.
    #[error("statement of another agent")]
    Agent,
    /// Another key of the agent signed it than the current one.
    #[error("statement of key ({generation}, {sequence}), which is not the current one")]
    Key {
        /// Of the key that the statement names.
        generation: u32,
        /// Of the key that the statement names.
        sequence: u32,
    },
    /// The signature is not the key's.
    #[error("signature of a statement")]
    Signature,
    /// Its time is over.
    #[error("statement ended at {0}")]
    Expired(UnixTime),
    /// It was made later than now, by more than clocks may differ.
    #[error("statement of the future, {0}")]
    Future(UnixTime),
}

impl VerifiedLog {
    /// Checks a statement of this agent: its type, the current key, the signature, and that `now` is in its time.
    ///
    /// # Errors
    /// [`EnvelopeError`] for the first rule that it breaks.
    pub fn verify<S: Statement>(
        &self,
        raw: &SignedBytes,
        now: UnixTime,
    ) -> Result<Verified<S>, EnvelopeError> {
        let envelope = self.verify_envelope(raw, now)?;
        let statement = envelope.statement().map_err(EnvelopeError::Malformed)?;
        Ok(Verified {
            head: envelope.head,
            statement,
        })
    }

    /// All of [`Self::verify`] but the type, for who keeps statements without reading them.
    ///
    /// # Errors
    /// [`EnvelopeError`] for the first rule that it breaks.
    pub fn verify_envelope<'a>(
        &self,
        raw: &'a SignedBytes,
        now: UnixTime,
    ) -> Result<Envelope<'a>, EnvelopeError> {
        let envelope = self.verify_signer(raw)?;
        if envelope.head.not_after < now {
            return Err(EnvelopeError::Expired(envelope.head.not_after));
        }
        if envelope.head.issued > now.plus(MAX_CLOCK_SKEW) {
            return Err(EnvelopeError::Future(envelope.head.issued));
        }
        Ok(envelope)
    }

    /// All of [`Self::verify`] but the time.
    pub(crate) fn verify_timeless<S: Statement>(
        &self,
        raw: &SignedBytes,
    ) -> Result<Verified<S>, EnvelopeError> {
        let envelope = self.verify_signer(raw)?;
        let statement = envelope.statement().map_err(EnvelopeError::Malformed)?;
        Ok(Verified {
            head: envelope.head,
            statement,
        })
    }

    /// The envelope, if this agent's current key signed it.
    fn verify_signer<'a>(&self, raw: &'a SignedBytes) -> Result<Envelope<'a>, EnvelopeError> {
        let envelope = raw.envelope().map_err(EnvelopeError::Malformed)?;
        let head = envelope.head;
        if head.agent != self.agent() {
            return Err(EnvelopeError::Agent);
        }
        if (head.generation, head.sequence) != (self.generation(), self.sequence()) {
            return Err(EnvelopeError::Key {
                generation: head.generation,
                sequence: head.sequence,
            });
        }
        if !self.has_signed(&envelope) {
            return Err(EnvelopeError::Signature);
        }
        Ok(envelope)
    }

    fn has_signed(&self, envelope: &Envelope<'_>) -> bool {
        is_signed_by(&self.sign_key(), envelope.signed, envelope.signature)
    }
}
