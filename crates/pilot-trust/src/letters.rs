//! Letters: messages sealed to a key that their recipient changes every week (`docs/crypto.md`).
//!
//! Outside, a rendezvous sees a key's public half and bytes. Inside, the sender has signed for whom the letter is, which message it is,
//! and until when it may be delivered. Sender and recipient are bound to the sealing too: a rendezvous that hands a letter out as
//! another agent's, or to another, hands out bytes that do not open.

use pilot_types::{AgentId, GroupId, Seed, UnixTime};
use pilot_wire::limits::{LETTER_LIFETIME, MAX_SEALED_LETTER};
use pilot_wire::{Letter, LetterBox, Message, Prekey};
use ring::digest::{SHA256, digest};
use thiserror::Error;

use crate::hpke;
use crate::identity::Identity;
use crate::keys::check_dh_key;
use crate::log::IdentityLog;
use crate::log::VerifiedLog;
use crate::prekeys::Prekeys;

const INFO: &[u8] = b"pilot/letter/1";
/// Bytes of the prekey before what is sealed to it.
const PREKEY: usize = 32;

/// A message for a mailbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    /// Its head, as on port 1001.
    pub head: Message,
    /// Its body, at most [`pilot_wire::limits::MAX_LETTER_BODY`] bytes.
    pub body: Vec<u8>,
    /// The group to all of which it is said.
    pub group: Option<GroupId>,
}

/// A letter that was opened and is what its sender signed for us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenedLetter {
    /// The sender's log, as it came with the letter.
    pub log: VerifiedLog,
    /// The message's head.
    pub head: Message,
    /// Its body.
    pub body: Vec<u8>,
    /// The group to all of which it is said.
    pub group: Option<GroupId>,
    /// When it was sealed, by the sender's clock.
    pub sent_at: UnixTime,
    /// Until when it may be delivered.
    pub not_after: UnixTime,
}

/// Why a letter cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SealError {
    /// Longer than a mailbox takes.
    #[error(
        "a message in a mailbox has at most {} bytes",
        pilot_wire::limits::MAX_LETTER_BODY
    )]
    TooLarge,
    /// The recipient's key has ended or is none.
    #[error("the recipient has no key for letters that is still valid")]
    Prekey,
}

/// Why a letter is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Sealed to a key that is not there, or not any more.
    #[error("sealed to a key that is destroyed or another's")]
    Prekey,
    /// Changed on its way, or another agent's than it is said to be.
    #[error("does not open")]
    Sealed,
    /// What was sealed is no letter.
    #[error("malformed letter")]
    Malformed,
    /// Not signed by the agent that it is said to be from.
    #[error("not signed by its sender")]
    Signature,
    /// Signed for another agent.
    #[error("for another agent")]
    Recipient,
    /// Its time is over, or its clock is another's by far.
    #[error("its time is over")]
    Time,
    /// Another body than the one that was signed.
    #[error("another body than was signed")]
    Body,
}

/// Seals a message of ours to an agent's prekey; gives the bytes and until when they may be delivered.
///
/// # Errors
/// [`SealError`].
pub fn seal_letter(
    identity: &Identity,
    to: AgentId,
    prekey: &Prekey,
    draft: Draft,
    (now, seed): (UnixTime, Seed),
) -> Result<(Vec<u8>, UnixTime), SealError> {
    let not_after = now.plus(LETTER_LIFETIME).min(prekey.not_after);
    if not_after <= now || check_dh_key(&prekey.public).is_err() {
        return Err(SealError::Prekey);
    }
    let letter = Letter {
        to,
        group: draft.group,
        body_hash: hash(&draft.body),
        head: Message {
            len: draft.body.len() as u64,
            ..draft.head
        },
    };
    let inside = LetterBox {
        log: identity.log().entries().to_vec(),
        letter: identity.sign(0, now, not_after, &letter),
        body: draft.body,
    };
    inside.check().map_err(|_| SealError::TooLarge)?;
    let mut bytes = *seed.expose();
    let ephemeral = hpke::secret_from(&mut bytes);
    let aad = bound(&identity.agent(), &to);
    let sealed = hpke::seal(&prekey.public, &ephemeral, (INFO, &aad), &inside.encode());
    let sealed = sealed.ok_or(SealError::Prekey)?;
    let sealed = [&prekey.public[..], &sealed].concat();
    if sealed.len() > MAX_SEALED_LETTER {
        return Err(SealError::TooLarge);
    }
    Ok((sealed, not_after))
}

/// Opens a letter that a rendezvous says is from `from`, and checks all that its sender signed. Whether the sender is trusted is not looked
/// at here.
///
/// # Errors
/// [`OpenError`] for the first rule that it breaks.
pub fn open_letter(
    us: AgentId,
    from: AgentId,
    prekeys: &Prekeys,
    sealed: &[u8],
    (now, work_bits): (UnixTime, u8),
) -> Result<OpenedLetter, OpenError> {
    let (public, sealed) = sealed
        .split_first_chunk::<PREKEY>()
        .ok_or(OpenError::Malformed)?;
    let secret = prekeys.secret(public).ok_or(OpenError::Prekey)?;
    let opened = hpke::open(secret, (INFO, &bound(&from, &us)), sealed);
    let opened = opened.ok_or(OpenError::Sealed)?;
    let LetterBox { log, letter, body } =
        LetterBox::decode(&opened).map_err(|_| OpenError::Malformed)?;
    let log = IdentityLog::from_entries(log).verify(work_bits);
    let log = log.map_err(|_| OpenError::Signature)?;
    if log.agent() != from {
        return Err(OpenError::Signature);
    }
    let verified = log.verify::<Letter>(&letter, now).map_err(|error| {
        if matches!(
            error,
            crate::EnvelopeError::Expired(_) | crate::EnvelopeError::Future(_)
        ) {
            OpenError::Time
        } else {
            OpenError::Signature
        }
    })?;
    let (head, letter) = (verified.head, verified.statement);
    if letter.to != us {
        return Err(OpenError::Recipient);
    }
    if head.not_after > head.issued.plus(LETTER_LIFETIME) {
        return Err(OpenError::Time);
    }
    if letter.head.len != body.len() as u64 || letter.body_hash != hash(&body) {
        return Err(OpenError::Body);
    }
    Ok(OpenedLetter {
        log,
        head: letter.head,
        body,
        group: letter.group,
        sent_at: head.issued,
        not_after: head.not_after,
    })
}

fn bound(from: &AgentId, to: &AgentId) -> [u8; 64] {
    let mut bound = [0; 64];
    bound[..32].copy_from_slice(from.as_bytes());
    bound[32..].copy_from_slice(to.as_bytes());
    bound
}

fn hash(body: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, body).as_ref());
    hash
}

#[cfg(test)]
mod tests;
