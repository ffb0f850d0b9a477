//! The identity log: an agent's keys from its inception to now.

use pilot_types::{AgentId, UnixTime};
use pilot_wire::limits::{MAX_LOG_ENTRIES, RECOVERY_ENTRIES};
use pilot_wire::{
    Authority, DecodeError, EntrySignatures, Inception, LogEntry, Rotation, SignedEntry,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::hash::{Hash, hash};
use crate::keys::{KeyError, PublicKeys, check_sign_key, is_signed_by};
use crate::work::{agent_of, work_of};

/// The raw entries of an identity log, oldest first; nothing is verified yet.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct IdentityLog(Vec<Vec<u8>>);

/// Why a log, or an entry that is to extend it, is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LogError {
    /// There is no entry.
    #[error("empty identity log")]
    Empty,
    /// More than [`MAX_LOG_ENTRIES`], or a rotation by the current key in the last [`RECOVERY_ENTRIES`] of them.
    #[error(
        "identity log of more than {MAX_LOG_ENTRIES} entries, the last {RECOVERY_ENTRIES} of which are for recoveries"
    )]
    TooLong,
    /// An entry does not decode.
    #[error("malformed log entry")]
    Malformed(#[source] DecodeError),
    /// The inception is of a later format.
    #[error("identity log of version {0}")]
    Version(u8),
    /// The first entry is no inception, or another entry is one.
    #[error("an inception belongs at the beginning of a log, and only there")]
    Inception,
    /// The inception's work has too few zero bits.
    #[error("inception with {found} bits of work, the network asks for {needed}")]
    Work {
        /// Zero bits that it has.
        found: u8,
        /// Zero bits that the network asks for.
        needed: u8,
    },
    /// The first 48 bits of the agent are an alias or broadcast.
    #[error("the agent's address is reserved")]
    ReservedAddress,
    /// A key is missing, malformed or weak.
    #[error("key of a log entry")]
    Key(#[source] KeyError),
    /// A signature is not the key's.
    #[error("signature of a log entry")]
    Signature,
    /// An entry speaks of another agent.
    #[error("log entry of another agent")]
    Agent,
    /// (generation, sequence) is not the next one: entries between are missing.
    #[error("log entries before ({generation}, {sequence}) are missing")]
    Gap {
        /// Of the entry that has no predecessor here.
        generation: u32,
        /// Of the entry that has no predecessor here.
        sequence: u32,
    },
    /// An entry does not name the hash of the entry that it follows.
    #[error("log entry after another predecessor")]
    Chain,
    /// A rotation by the current key changes or removes a recovery commitment.
    #[error("only the recovery key changes the recovery commitment")]
    Commitment,
    /// A recovery by a key that nobody committed to, or a rotation with the wrong authority for its place.
    #[error("log entry without the authority for its place")]
    Authority,
    /// Two different entries at one place, both signed by the current key: it is compromised.
    #[error("two different log entries at ({generation}, {sequence}): the key is compromised")]
    Fork {
        /// Of both entries.
        generation: u32,
        /// Of both entries.
        sequence: u32,
    },
}

impl IdentityLog {
    /// Wraps entries, oldest first.
    #[must_use]
    pub const fn from_entries(entries: Vec<Vec<u8>>) -> Self {
        Self(entries)
    }

    /// The entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// At most `n` of the newest entries, oldest first.
    #[must_use]
    pub fn newest(&self, n: usize) -> &[Vec<u8>] {
        &self.0[self.0.len().saturating_sub(n)..]
    }

    /// Checks every entry from the inception on, whose work must have `min_work_bits` zero bits.
    ///
    /// # Errors
    /// [`LogError`] for the first entry that breaks a rule.
    pub fn verify(&self, min_work_bits: u8) -> Result<VerifiedLog, LogError> {
        let (first, later) = self.0.split_first().ok_or(LogError::Empty)?;
        if self.0.len() > MAX_LOG_ENTRIES {
            return Err(LogError::TooLong);
        }
        let mut log = VerifiedLog::begin(first, min_work_bits)?;
        for raw in later {
            let entry = decode(raw)?;
            log.append(raw, &entry)?;
        }
        Ok(log)
    }
}

/// A place in a log: (generation, sequence), in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    generation: u32,
    sequence: u32,
}

/// What one entry leaves for the next.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Head {
    place: Place,
    hash: Hash,
    keys: PublicKeys,
    /// What the key is hashed to that may start the next generation.
    recovery_commitment: Option<Hash>,
}

/// Where a generation got its recovery commitment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Anchor {
    /// What the recovery key is hashed to.
    pub commitment: [u8; 32],
    /// Of the entry that holds it first.
    pub generation: u32,
    /// Of the entry that holds it first.
    pub sequence: u32,
    /// When that entry was made; `None` for an inception, which does not say.
    pub issued: Option<UnixTime>,
}

/// A log whose every entry was checked: who the agent is and which keys it has now.
///
/// A generation's *anchor* is its first entry with a recovery commitment. A recovery follows the anchor and ends whatever came after it:
/// those entries are dropped, so that everybody who knows the recovery has the same log, whatever was signed with the lost key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedLog {
    agent: AgentId,
    work: u8,
    log: IdentityLog,
    /// After each entry of `log`.
    heads: Vec<Head>,
}

impl VerifiedLog {
    fn begin(raw: &[u8], min_work_bits: u8) -> Result<Self, LogError> {
        let signed = decode(raw)?;
        let (LogEntry::Inception(inception), EntrySignatures::Own(signature)) =
            (&signed.entry, signed.signatures)
        else {
            return Err(LogError::Inception);
        };
        if inception.version != Inception::VERSION {
            return Err(LogError::Version(inception.version));
        }
        let agent = agent_of(signed.encoded);
        let work = work_of(signed.encoded);
        if work < min_work_bits {
            return Err(LogError::Work {
                found: work,
                needed: min_work_bits,
            });
        }
        check_address(agent)?;
        let keys = PublicKeys::of(&inception.keys).map_err(LogError::Key)?;
        check_signature(
            &keys.sign,
            LogEntry::INCEPTION_CONTEXT,
            signed.encoded,
            signature,
        )?;
        let head = Head {
            place: Place {
                generation: 0,
                sequence: 0,
            },
            hash: entry_hash(signed.encoded),
            keys,
            recovery_commitment: inception.recovery_commitment,
        };
        Ok(Self {
            agent,
            work,
            log: IdentityLog(vec![raw.to_vec()]),
            heads: vec![head],
        })
    }

    /// Who.
    #[must_use]
    pub const fn agent(&self) -> AgentId {
        self.agent
    }

    /// Zero bits of the inception's work.
    #[must_use]
    pub const fn work_bits(&self) -> u8 {
        self.work
    }

    /// Generation of the current key: how many recoveries there were.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.head_entry().place.generation
    }

    /// Sequence of the current key in its generation.
    #[must_use]
    pub fn sequence(&self) -> u32 {
        self.head_entry().place.sequence
    }

    /// Hash of the newest entry.
    #[must_use]
    pub fn head(&self) -> [u8; 32] {
        self.head_entry().hash
    }

    /// The current Ed25519 key.
    #[must_use]
    pub fn sign_key(&self) -> [u8; 32] {
        self.head_entry().keys.sign
    }

    /// The current X25519 key.
    #[must_use]
    pub fn dh_key(&self) -> [u8; 32] {
        self.head_entry().keys.dh
    }

    /// The entries.
    #[must_use]
    pub const fn log(&self) -> &IdentityLog {
        &self.log
    }

    fn head_entry(&self) -> &Head {
        self.heads.last().expect("a log begins with its inception")
    }

    /// Who may recover the agent, and since when; `None` while nobody may.
    #[must_use]
    pub fn anchor(&self) -> Option<Anchor> {
        let at = self.anchor_index()?;
        let head = &self.heads[at];
        let issued = match decode(&self.log.0[at]).ok()?.entry {
            LogEntry::Inception(_) => None,
            LogEntry::Rotation(rotation) => Some(rotation.issued),
        };
        Some(Anchor {
            commitment: head.recovery_commitment?,
            generation: head.place.generation,
            sequence: head.place.sequence,
            issued,
        })
    }

    /// The X25519 key that the agent had when its newest entry was one of this log with this hash.
    #[must_use]
    pub fn dh_key_at(&self, head: &[u8; 32]) -> Option<[u8; 32]> {
        let head = self.heads.iter().find(|known| known.hash == *head);
        head.map(|head| head.keys.dh)
    }

    /// What is left of the generations up to this one, whose later entries a recovery may have ended.
    #[must_use]
    pub fn up_to_generation(&self, generation: u32) -> Option<Self> {
        let is_in = |head: &Head| head.place.generation <= generation;
        let len = self.heads.iter().take_while(|head| is_in(head)).count();
        (len > 0).then(|| Self {
            heads: self.heads[..len].to_vec(),
            log: IdentityLog(self.log.0[..len].to_vec()),
            ..*self
        })
    }

    /// Whether this is an earlier or the same state of `other`, or one that a recovery in `other` ended.
    #[must_use]
    pub fn is_followed_by(&self, other: &Self) -> bool {
        self.agent == other.agent && self.merged(other).is_ok_and(|merged| merged == *other)
    }

    /// This log with newer entries, oldest first. Entries that it has already, or that a recovery ended, are passed over; so are two at one
    /// place if a recovery among the entries ends both.
    ///
    /// # Errors
    /// [`LogError::Fork`] if an entry is validly signed and differs from the one that is known at its place,
    /// [`LogError::Gap`] if entries between are missing, any other if one breaks a rule.
    pub fn extend(&self, newer: &[Vec<u8>]) -> Result<Self, LogError> {
        let mut log = self.clone();
        let mut fork: Option<(u32, LogError)> = None;
        for raw in newer {
            match log.take(raw, fork.as_ref().map(|(generation, _)| *generation)) {
                Ok(()) => {}
                Err(error @ LogError::Fork { generation, .. }) if fork.is_none() => {
                    fork = Some((generation, error));
                }
                Err(error) => return Err(fork.map_or(error, |(_, fork)| fork)),
            }
        }
        match fork {
            Some((generation, error)) if log.generation() <= generation => Err(error),
            Some(_) | None => Ok(log),
        }
    }

    /// Takes one entry; those of a generation that forked are passed over, because only a recovery can say more.
    fn take(&mut self, raw: &[u8], forked: Option<u32>) -> Result<(), LogError> {
        let entry = decode(raw)?;
        match &entry.entry {
            LogEntry::Inception(_) => self.check_inception(&entry),
            LogEntry::Rotation(rotation) if forked == Some(rotation.generation) => Ok(()),
            LogEntry::Rotation(rotation) => self.merge(raw, &entry, rotation),
        }
    }

    /// This log and what another log of the same agent adds to it.
    ///
    /// # Errors
    /// As [`Self::extend`].
    pub fn merged(&self, other: &Self) -> Result<Self, LogError> {
        if self == other {
            Ok(self.clone())
        } else {
            self.extend(other.log.entries())
        }
    }

    fn check_inception(&self, entry: &SignedEntry<'_>) -> Result<(), LogError> {
        if agent_of(entry.encoded) == self.agent {
            Ok(())
        } else {
            Err(LogError::Agent)
        }
    }

    fn merge(
        &mut self,
        raw: &[u8],
        entry: &SignedEntry<'_>,
        rotation: &Rotation,
    ) -> Result<(), LogError> {
        let place = place_of(rotation);
        if place > self.head_entry().place {
            return self.append(raw, entry);
        }
        let known = self.heads.iter().position(|head| head.place == place);
        match known {
            Some(0) => Err(LogError::Inception),
            Some(at) if self.heads[at].hash == entry_hash(entry.encoded) => Ok(()),
            Some(at) if place.generation == self.generation() => {
                Err(self.conflict(at, entry, rotation))
            }
            // A recovery ended that generation: whatever its lost key signed counts no more.
            Some(_) | None => Ok(()),
        }
    }

    /// Why an entry that differs from the known one at its place is refused: a fork if it would have been valid there.
    fn conflict(&self, at: usize, entry: &SignedEntry<'_>, rotation: &Rotation) -> LogError {
        let before = Self {
            log: IdentityLog::default(),
            heads: self.heads[..at].to_vec(),
            ..*self
        };
        match before.check(entry, rotation) {
            Ok(_) => LogError::Fork {
                generation: rotation.generation,
                sequence: rotation.sequence,
            },
            Err(error) => error,
        }
    }

    /// Checks the next entry and takes it.
    fn append(&mut self, raw: &[u8], entry: &SignedEntry<'_>) -> Result<(), LogError> {
        let LogEntry::Rotation(rotation) = &entry.entry else {
            return Err(LogError::Inception);
        };
        let head = self.check(entry, rotation)?;
        let mut room = MAX_LOG_ENTRIES - RECOVERY_ENTRIES;
        if head.place.generation > self.generation() {
            let kept = self.anchor_index().map_or(0, |anchor| anchor + 1);
            self.heads.truncate(kept);
            self.log.0.truncate(kept);
            room = MAX_LOG_ENTRIES;
        }
        if self.heads.len() >= room {
            return Err(LogError::TooLong);
        }
        self.heads.push(head);
        self.log.0.push(raw.to_vec());
        Ok(())
    }

    /// Index of the current generation's first entry with a recovery commitment.
    fn anchor_index(&self) -> Option<usize> {
        let generation = self.generation();
        self.heads.iter().position(|head| {
            head.place.generation == generation && head.recovery_commitment.is_some()
        })
    }

    /// Whether the entry may follow the head.
    fn check(&self, entry: &SignedEntry<'_>, rotation: &Rotation) -> Result<Head, LogError> {
        if rotation.agent != self.agent {
            return Err(LogError::Agent);
        }
        let authority_key = match rotation.authority {
            Authority::Current => self.check_rotation(rotation)?,
            Authority::Recovery(key) => self.check_recovery(rotation, key)?,
        };
        let keys = PublicKeys::of(&rotation.keys).map_err(LogError::Key)?;
        let EntrySignatures::Rotation {
            authority,
            possession,
        } = entry.signatures
        else {
            return Err(LogError::Signature);
        };
        let encoded = entry.encoded;
        check_signature(
            &authority_key,
            LogEntry::ROTATION_CONTEXT,
            encoded,
            authority,
        )?;
        check_signature(
            &keys.sign,
            LogEntry::POSSESSION_CONTEXT,
            encoded,
            possession,
        )?;
        Ok(Head {
            place: place_of(rotation),
            hash: entry_hash(encoded),
            keys,
            recovery_commitment: rotation.recovery_commitment,
        })
    }

    /// The current key replaces itself: the next sequence, after the head. It may set a commitment where there is none, and change none.
    fn check_rotation(&self, rotation: &Rotation) -> Result<[u8; 32], LogError> {
        let head = self.head_entry();
        if rotation.sequence == 0 {
            return Err(LogError::Authority);
        }
        if rotation.generation != head.place.generation {
            return Err(gap(rotation));
        }
        if Some(rotation.sequence) != head.place.sequence.checked_add(1) {
            return Err(gap(rotation));
        }
        if rotation.previous != head.hash {
            return Err(LogError::Chain);
        }
        if head.recovery_commitment.is_some()
            && rotation.recovery_commitment != head.recovery_commitment
        {
            return Err(LogError::Commitment);
        }
        Ok(head.keys.sign)
    }

    /// The recovery key starts the next generation: after the anchor of the current one, whatever followed it.
    fn check_recovery(&self, rotation: &Rotation, key: [u8; 32]) -> Result<[u8; 32], LogError> {
        if rotation.sequence != 0 {
            return Err(LogError::Authority);
        }
        if Some(rotation.generation) != self.generation().checked_add(1) {
            return Err(gap(rotation));
        }
        // Without an anchor here, the entry that sets it may be among those that are missing.
        let anchor = self.anchor_index().ok_or_else(|| gap(rotation))?;
        let anchor = &self.heads[anchor];
        if rotation.previous != anchor.hash {
            return Err(LogError::Chain);
        }
        if anchor.recovery_commitment != Some(recovery_commitment(&key)) {
            return Err(LogError::Authority);
        }
        check_sign_key(&key).map_err(LogError::Key)?;
        Ok(key)
    }

    /// The entries that a recovery keeps; without an anchor, all.
    pub(crate) fn up_to_anchor(&self) -> &[Vec<u8>] {
        let end = self.anchor_index().map_or(self.log.0.len(), |at| at + 1);
        &self.log.0[..end]
    }

    /// Hash of the entry that a recovery follows, and who may sign it.
    pub(crate) fn recovery_point(&self) -> Option<(Hash, Hash)> {
        let head = &self.heads[self.anchor_index()?];
        Some((head.hash, head.recovery_commitment?))
    }

    /// The recovery commitment in force.
    pub(crate) fn recovery_commitment(&self) -> Option<Hash> {
        self.head_entry().recovery_commitment
    }
}

/// What an entry commits to, for the Ed25519 key that may start the next generation.
#[must_use]
pub fn recovery_commitment(recovery_key: &[u8; 32]) -> [u8; 32] {
    hash("pilot/recovery/1", recovery_key)
}

fn check_address(agent: AgentId) -> Result<(), LogError> {
    if agent.node().is_reserved() {
        Err(LogError::ReservedAddress)
    } else {
        Ok(())
    }
}

fn decode(raw: &[u8]) -> Result<SignedEntry<'_>, LogError> {
    SignedEntry::decode(raw).map_err(LogError::Malformed)
}

fn entry_hash(encoded: &[u8]) -> Hash {
    hash("pilot/entry/1", encoded)
}

const fn place_of(rotation: &Rotation) -> Place {
    Place {
        generation: rotation.generation,
        sequence: rotation.sequence,
    }
}

const fn gap(rotation: &Rotation) -> LogError {
    LogError::Gap {
        generation: rotation.generation,
        sequence: rotation.sequence,
    }
}

fn check_signature(
    key: &[u8; 32],
    context: &str,
    encoded: &[u8],
    signature: &[u8; 64],
) -> Result<(), LogError> {
    if is_signed_by(key, &LogEntry::to_sign(context, encoded), signature) {
        Ok(())
    } else {
        Err(LogError::Signature)
    }
}

/// Keeps a verified log as its entries; reading verifies them again (the work was judged when it came in).
pub(crate) mod stored {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use super::{IdentityLog, VerifiedLog};

    pub(crate) fn serialize<S: Serializer>(
        log: &VerifiedLog,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        log.log.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<VerifiedLog, D::Error> {
        let log = IdentityLog::deserialize(deserializer)?;
        log.verify(0).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod anchors;
#[cfg(test)]
mod tests;
