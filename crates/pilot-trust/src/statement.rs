//! Signed statements: who may have made one, and when it counts.

use std::time::Duration;

use pilot_types::UnixTime;
use pilot_wire::{DecodeError, Envelope, EnvelopeHead, SignedBytes, Statement};
use thiserror::Error;

use crate::keys::is_signed_by;
use crate::log::VerifiedLog;

/// How far in the future a statement may have been made: a clock that was set in the wrong time zone is off by 14 hours at
/// most, and must not lock anyone out. What counts is decided by serials; a knock or a ticket lives a day longer at most.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(24 * 3600);

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
    #[error("statement made at {0}, which is in the future: check the clocks of both machines")]
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

#[cfg(test)]
mod tests {
    use pilot_wire::{Locator, NetworkConfig, Record};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{NOW, agent, rotated};

    const HOUR: Duration = Duration::from_secs(3600);

    fn config() -> NetworkConfig {
        NetworkConfig { work_bits: 20 }
    }

    #[test]
    fn a_statement_of_the_current_key_is_read_back() {
        let identity = agent(1);
        let raw = identity.sign(5, NOW, NOW.plus(HOUR), &config());
        let verified = identity
            .verified()
            .verify::<NetworkConfig>(&raw, NOW)
            .unwrap();
        assert_eq!(verified.statement, config());
        assert_eq!(
            (verified.head.serial, verified.head.agent),
            (5, identity.agent())
        );
    }

    #[test]
    fn a_statement_counts_from_a_little_before_it_was_made_to_its_end() {
        let log = agent(1).verified().clone();
        let raw = agent(1).sign(1, NOW, NOW.plus(HOUR), &config());
        let at = |now| log.verify::<NetworkConfig>(&raw, now).map(|_| ());
        let millisecond = Duration::from_millis(1);
        assert_eq!(at(NOW.plus(HOUR)), Ok(()));
        let end = NOW.plus(HOUR);
        assert_eq!(at(end.plus(millisecond)), Err(EnvelopeError::Expired(end)));
        let early = UnixTime::from_secs(NOW.as_secs() - MAX_CLOCK_SKEW.as_secs());
        assert_eq!(at(early), Ok(()));
        let too_early = UnixTime::from_millis(early.as_millis() - 1);
        assert_eq!(at(too_early), Err(EnvelopeError::Future(NOW)));
    }

    #[test]
    fn a_signature_for_one_type_is_none_for_another() {
        let identity = agent(1);
        let raw = identity.sign(1, NOW, NOW.plus(HOUR), &Record::default());
        let other = identity.verified().verify::<Locator>(&raw, NOW);
        assert!(matches!(other, Err(EnvelopeError::Malformed(_))));
    }

    #[test]
    fn another_agent_or_a_replaced_key_signs_for_nobody() {
        let (one, two) = (agent(1), agent(2));
        let raw = one.sign(1, NOW, NOW.plus(HOUR), &config());
        let verify = |log: &VerifiedLog| log.verify::<NetworkConfig>(&raw, NOW).map(|_| ());
        assert_eq!(verify(two.verified()), Err(EnvelopeError::Agent));
        let key = EnvelopeError::Key {
            generation: 0,
            sequence: 0,
        };
        assert_eq!(verify(rotated(&one, 50).verified()), Err(key));
    }

    #[test]
    fn a_body_of_a_later_version_is_read_and_its_end_is_signed() {
        let identity = agent(1);
        let head = identity.sign(1, NOW, NOW.plus(HOUR), &config());
        let head = head.envelope().unwrap().head;
        let mut signed = SignedBytes::to_sign(&head, &config());
        signed.extend_from_slice(b"later");
        let signature = identity.secrets().sign(&signed);
        let raw = SignedBytes::new(signed.clone(), &signature);
        let verified = identity.verified().verify::<NetworkConfig>(&raw, NOW);
        assert_eq!(verified.unwrap().statement, config());
        *signed.last_mut().unwrap() ^= 1;
        let changed = SignedBytes::new(signed, &signature);
        let refused = identity.verified().verify::<NetworkConfig>(&changed, NOW);
        assert_eq!(refused, Err(EnvelopeError::Signature));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_changed_bit_is_noticed(at: prop::sample::Index, bit in 0u8..8) {
            let identity = agent(1);
            let raw = identity.sign(1, NOW, NOW.plus(HOUR), &config());
            let mut bytes = raw.as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let changed = SignedBytes::from_bytes(bytes);
            prop_assert!(identity.verified().verify::<NetworkConfig>(&changed, NOW).is_err());
        }
    }
}
