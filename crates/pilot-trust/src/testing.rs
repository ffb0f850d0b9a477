//! Agents and logs for this crate's tests.

use ed25519_dalek::{Signer, SigningKey};
use pilot_types::{AgentId, Seed, UnixTime};
use pilot_wire::{Authority, LogEntry, Rotation};

use crate::identity::{Identity, Secrets};
use crate::keys::PublicKeys;
use crate::log::{VerifiedLog, recovery_commitment};

/// The time at which tests begin.
pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// An agent that its recovery key, made of the same number, can recover.
pub(crate) fn agent(number: u8) -> Identity {
    let commitment = recovery_commitment(&recovery_key(number).verifying_key().to_bytes());
    Identity::generate_with_recovery(Seed::new([number; 32]), 0, Some(commitment))
}

pub(crate) fn recovery_key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number ^ 0xA5; 32])
}

/// Keys of another number than any agent's.
pub(crate) fn new_secrets(number: u8) -> Secrets {
    Secrets {
        sign: SigningKey::from_bytes(&[number; 32]),
        dh: zeroize::Zeroizing::new([number.wrapping_add(1); 32]),
    }
}

/// A good rotation that follows the log, to be spoilt by a test.
pub(crate) fn rotation(
    log: &VerifiedLog,
    commitment: Option<[u8; 32]>,
    keys: PublicKeys,
) -> Rotation {
    Rotation {
        agent: log.agent(),
        generation: log.generation(),
        sequence: log.sequence() + 1,
        previous: log.head(),
        keys: keys.to_log_keys(),
        recovery_commitment: commitment,
        issued: NOW,
        authority: Authority::Current,
    }
}

/// A good recovery of a log whose newest entry is the anchor of its generation.
pub(crate) fn recovery(log: &VerifiedLog, key: &SigningKey, keys: PublicKeys) -> Rotation {
    Rotation {
        generation: log.generation() + 1,
        sequence: 0,
        recovery_commitment: Some(recovery_commitment(&key.verifying_key().to_bytes())),
        authority: Authority::Recovery(key.verifying_key().to_bytes()),
        ..rotation(log, None, keys)
    }
}

/// Signs a rotation as the key given as authority and the new key.
pub(crate) fn signed(rotation: Rotation, authority: &SigningKey, new: &SigningKey) -> Vec<u8> {
    signed_with_tail(rotation, &[], authority, new)
}

/// As [`signed`], with bytes of a later version after the entry.
pub(crate) fn signed_with_tail(
    rotation: Rotation,
    tail: &[u8],
    authority: &SigningKey,
    new: &SigningKey,
) -> Vec<u8> {
    let mut entry = LogEntry::Rotation(rotation).encode();
    entry.extend_from_slice(tail);
    let message = |context| LogEntry::to_sign(context, &entry);
    let by_authority = authority.sign(&message(LogEntry::ROTATION_CONTEXT));
    let by_new = new.sign(&message(LogEntry::POSSESSION_CONTEXT));
    [&*entry, &by_authority.to_bytes(), &by_new.to_bytes()].concat()
}

/// The identity after a rotation by its current key.
pub(crate) fn rotated(identity: &Identity, number: u8) -> Identity {
    let new = new_secrets(number);
    let commitment = recovery_commitment(&recovery_key(0).verifying_key().to_bytes());
    let commitment = identity
        .verified()
        .recovery_commitment()
        .or(Some(commitment));
    let rotation = rotation(identity.verified(), commitment, new.public());
    let entry = signed(rotation, &identity.secrets().sign, &new.sign);
    let log = identity.verified().extend(&[entry]).unwrap();
    Identity::from_parts(new, log).unwrap()
}

/// The identity after a recovery by the key made of `recovery_number`.
pub(crate) fn recovered(identity: &Identity, recovery_number: u8, number: u8) -> Identity {
    let new = new_secrets(number);
    let key = recovery_key(recovery_number);
    let root = identity.verified().at_anchor();
    let entry = signed(recovery(&root, &key, new.public()), &key, &new.sign);
    let log = identity.verified().extend(&[entry]).unwrap();
    Identity::from_parts(new, log).unwrap()
}

/// Any id that no test's agent has.
pub(crate) fn nobody() -> AgentId {
    AgentId::new([0x77; 32])
}
