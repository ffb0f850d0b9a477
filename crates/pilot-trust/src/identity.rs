//! The keys of this agent.

use ed25519_dalek::{Signer, SigningKey};
use pilot_types::{AgentId, Seed, UnixTime};
use pilot_wire::{Authority, EnvelopeHead, Inception, LogEntry, Rotation, SignedBytes, Statement};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::keys::PublicKeys;
use crate::log::{IdentityLog, LogError, VerifiedLog};
use crate::recovery::RecoveryKey;
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

/// Why an identity gets no other keys.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyChangeError {
    /// There is a recovery key, and only it sets another one.
    #[error("this identity has a recovery key already; only that key sets another one")]
    HasRecovery,
    /// Nobody may recover the agent.
    #[error("this identity has no recovery key")]
    NoRecovery,
    /// The recovery key is another agent's.
    #[error("the recovery key is for agent {0}, not for this one")]
    OtherAgent(AgentId),
    /// The recovery key is one of this agent's, but not the one that its log names now.
    #[error("this recovery key was replaced by another one")]
    OtherKey,
    /// The log has no room for another entry.
    #[error("the identity log is full")]
    Full,
    /// The new entry does not follow the log: a bug.
    #[error("the new entry does not follow the log")]
    Log(#[source] LogError),
}

impl KeyChangeError {
    /// What the user can do next.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::HasRecovery => Some("pilotctl recovery new FILE --with OLD_FILE"),
            Self::NoRecovery => Some("pilotctl recovery new FILE"),
            Self::OtherAgent(_) => Some("take the file that `recovery new` wrote for this agent"),
            Self::OtherKey => Some("take the file that the last `recovery new` wrote"),
            Self::Full => {
                Some("pilotctl recovery use FILE, which drops the rotations since it was made")
            }
            Self::Log(_) => None,
        }
    }
}

impl From<LogError> for KeyChangeError {
    fn from(error: LogError) -> Self {
        if error == LogError::TooLong {
            Self::Full
        } else {
            Self::Log(error)
        }
    }
}

/// Both secret keys; the signing key wipes itself.
pub(crate) struct Secrets {
    pub(crate) sign: SigningKey,
    pub(crate) dh: Zeroizing<[u8; 32]>,
}

impl Secrets {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the seed is used up: its owner must not draw other keys from it"
    )]
    fn draw(seed: Seed) -> (Self, ChaCha20Rng) {
        let mut rng = ChaCha20Rng::from_seed(*seed.expose());
        let (mut sign, mut dh) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        rng.fill_bytes(&mut *sign);
        rng.fill_bytes(&mut *dh);
        let sign = SigningKey::from_bytes(&sign);
        (Self { sign, dh }, rng)
    }

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
    pub fn generate_with_recovery(seed: Seed, work_bits: u8, commitment: Option<[u8; 32]>) -> Self {
        let (secrets, mut rng) = Secrets::draw(seed);
        let mut modifier = [0; 16];
        rng.fill_bytes(&mut modifier);
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

    /// The same agent with new keys of both kinds, drawn from 32 random bytes: a rotation, signed by the current key.
    ///
    /// ```
    /// use pilot_trust::Identity;
    /// use pilot_types::{Seed, UnixTime};
    ///
    /// let old = Identity::generate(Seed::new([7; 32]), 0);
    /// let new = old.rotated(Seed::new([8; 32]), UnixTime::from_secs(1_800_000_000))?;
    /// assert_eq!(new.agent(), old.agent());
    /// assert_ne!(new.sign_public(), old.sign_public());
    /// # Ok::<(), pilot_trust::KeyChangeError>(())
    /// ```
    ///
    /// # Errors
    /// [`KeyChangeError::Full`] if only recoveries have room in the log.
    pub fn rotated(&self, seed: Seed, now: UnixTime) -> Result<Self, KeyChangeError> {
        self.next(seed, now, self.log.recovery_commitment())
    }

    /// As [`Self::rotated`]; the key behind `commitment` may recover the agent from now on.
    ///
    /// # Errors
    /// [`KeyChangeError::HasRecovery`] if one may already, [`KeyChangeError::Full`] as above.
    pub fn with_recovery(
        &self,
        seed: Seed,
        now: UnixTime,
        commitment: [u8; 32],
    ) -> Result<Self, KeyChangeError> {
        if self.log.recovery_commitment().is_some() {
            return Err(KeyChangeError::HasRecovery);
        }
        self.next(seed, now, Some(commitment))
    }

    fn next(
        &self,
        seed: Seed,
        now: UnixTime,
        recovery_commitment: Option<[u8; 32]>,
    ) -> Result<Self, KeyChangeError> {
        let (secrets, _) = Secrets::draw(seed);
        let rotation = Rotation {
            agent: self.agent(),
            generation: self.log.generation(),
            sequence: self.log.sequence().saturating_add(1),
            previous: self.log.head(),
            keys: secrets.public().to_log_keys(),
            recovery_commitment,
            issued: now,
            authority: Authority::Current,
        };
        Self::signed_by(&self.secrets.sign, secrets, &self.log, rotation)
    }

    /// The agent of a log with new keys, by right of its recovery key: whatever was signed with keys since that was set is void. `next` is
    /// what the new recovery key is hashed to; without it the same one goes on. The newest log that can be had must be given: a
    /// recovery that others know makes this one a fork.
    ///
    /// # Errors
    /// [`KeyChangeError`] if the key is not the one that the log names.
    pub fn recovered(
        log: &VerifiedLog,
        key: &RecoveryKey,
        seed: Seed,
        now: UnixTime,
        next: Option<[u8; 32]>,
    ) -> Result<Self, KeyChangeError> {
        if key.agent() != log.agent() {
            return Err(KeyChangeError::OtherAgent(key.agent()));
        }
        let (previous, commitment) = log.recovery_point().ok_or(KeyChangeError::NoRecovery)?;
        if commitment != key.commitment() {
            return Err(KeyChangeError::OtherKey);
        }
        let (secrets, _) = Secrets::draw(seed);
        let rotation = Rotation {
            agent: log.agent(),
            generation: log.generation().saturating_add(1),
            sequence: 0,
            previous,
            keys: secrets.public().to_log_keys(),
            recovery_commitment: Some(next.unwrap_or(commitment)),
            issued: now,
            authority: Authority::Recovery(key.public()),
        };
        Self::signed_by(key.signing_key(), secrets, log, rotation)
    }

    fn signed_by(
        authority: &SigningKey,
        secrets: Secrets,
        log: &VerifiedLog,
        rotation: Rotation,
    ) -> Result<Self, KeyChangeError> {
        let entry = LogEntry::Rotation(rotation).encode();
        let by =
            |key: &SigningKey, context| key.sign(&LogEntry::to_sign(context, &entry)).to_bytes();
        let by_authority = by(authority, LogEntry::ROTATION_CONTEXT);
        let by_new = by(&secrets.sign, LogEntry::POSSESSION_CONTEXT);
        let log = log.extend(&[[&*entry, &by_authority, &by_new].concat()])?;
        Ok(Self { secrets, log })
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
