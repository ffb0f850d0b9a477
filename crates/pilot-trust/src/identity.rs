//! The keys of this agent.

use ed25519_dalek::{Signer, SigningKey};
use pilot_types::{AgentId, Seed, UnixTime};
use pilot_wire::{EnvelopeHead, Inception, LogEntry, SignedBytes, Statement};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use zeroize::Zeroizing;

use crate::keys::PublicKeys;
use crate::log::{IdentityLog, VerifiedLog};
use crate::work::grind;

/// The secret keys and the log of this agent. Never printed, wiped when dropped.
///
/// ```
/// use pilot_trust::Identity;
/// use pilot_types::Seed;
///
/// let identity = Identity::generate(Seed::new([7; 32]), 4);
/// let again = Identity::from_json(&identity.to_json())?;
/// assert_eq!(again.agent(), identity.agent());
/// # Ok::<(), pilot_trust::IdentityFileError>(())
/// ```
pub struct Identity {
    secrets: Secrets,
    log: VerifiedLog,
}

/// Both secret keys; the signing key wipes itself.
pub(crate) struct Secrets {
    pub(crate) sign: SigningKey,
    pub(crate) dh: Zeroizing<[u8; 32]>,
}

impl Secrets {
    pub(crate) fn public(&self) -> PublicKeys {
        PublicKeys {
            sign: self.sign.verifying_key().to_bytes(),
            dh: x25519_dalek::x25519(*self.dh, x25519_dalek::X25519_BASEPOINT_BYTES),
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; SignedBytes::SIGNATURE] {
        self.sign.sign(message).to_bytes()
    }
}

impl Identity {
    /// Makes an agent from 32 random bytes: its keys, and an inception whose work has `work_bits` zero bits.
    ///
    /// Takes about 2^`work_bits` hashes; 20 bits are some tenths of a second. No key can recover it once its own is lost.
    #[must_use]
    pub fn generate(seed: Seed, work_bits: u8) -> Self {
        Self::generate_with_recovery(seed, work_bits, None)
    }

    /// As [`Self::generate`]; the key behind `commitment` ([`crate::recovery_commitment`]) can replace all others.
    ///
    /// # Panics
    /// Never: a log that was just made verifies.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the seed is used up: its owner must not draw other keys from it"
    )]
    pub fn generate_with_recovery(seed: Seed, work_bits: u8, commitment: Option<[u8; 32]>) -> Self {
        let mut rng = ChaCha20Rng::from_seed(*seed.expose());
        let (mut sign, mut dh) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        let mut modifier = [0; 16];
        rng.fill_bytes(&mut *sign);
        rng.fill_bytes(&mut *dh);
        rng.fill_bytes(&mut modifier);
        let secrets = Secrets {
            sign: SigningKey::from_bytes(&sign),
            dh,
        };
        let inception = Inception {
            version: Inception::VERSION,
            keys: secrets.public().to_log_keys(),
            recovery_commitment: commitment,
            modifier,
        };
        let mut entry = grind(inception, work_bits);
        let message = LogEntry::to_sign(LogEntry::INCEPTION_CONTEXT, &entry);
        entry.extend_from_slice(&secrets.sign(&message));
        let log = IdentityLog::from_entries(vec![entry]);
        let log = log.verify(work_bits).expect("a log that was just made");
        Self { secrets, log }
    }

    /// `None` if the secrets are not those of the log's current keys.
    pub(crate) fn from_parts(secrets: Secrets, log: VerifiedLog) -> Option<Self> {
        let public = secrets.public();
        let is_match = (public.sign, public.dh) == (log.sign_key(), log.dh_key());
        is_match.then_some(Self { secrets, log })
    }

    pub(crate) const fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Who this is.
    #[must_use]
    pub const fn agent(&self) -> AgentId {
        self.log.agent()
    }

    /// The raw entries, to hand out.
    #[must_use]
    pub const fn log(&self) -> &IdentityLog {
        self.log.log()
    }

    /// The log, verified.
    #[must_use]
    pub const fn verified(&self) -> &VerifiedLog {
        &self.log
    }

    /// The static public key of sessions.
    #[must_use]
    pub fn dh_public(&self) -> [u8; 32] {
        self.log.dh_key()
    }

    /// The static secret key of sessions.
    #[must_use]
    pub fn dh_secret(&self) -> Zeroizing<[u8; 32]> {
        self.secrets.dh.clone()
    }

    /// The key that signs.
    #[must_use]
    pub fn sign_public(&self) -> [u8; 32] {
        self.log.sign_key()
    }

    /// Signs a statement with the current key. Among statements of one type about one thing, the highest `serial` wins.
    #[must_use]
    pub fn sign<S: Statement>(
        &self,
        serial: u64,
        issued: UnixTime,
        not_after: UnixTime,
        body: &S,
    ) -> SignedBytes {
        let head = EnvelopeHead {
            agent: self.agent(),
            generation: self.log.generation(),
            sequence: self.log.sequence(),
            serial,
            issued,
            not_after,
        };
        let message = SignedBytes::to_sign(&head, body);
        let signature = self.secrets.sign(&message);
        SignedBytes::new(message, &signature)
    }
}
