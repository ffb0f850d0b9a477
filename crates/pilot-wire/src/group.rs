//! Statements about groups, and how they travel together (`docs/wire.md` §6).

use pilot_types::{AgentId, GroupId, Hostname};
use serde::{Deserialize, Deserializer, Serialize};

use crate::cursor::DecodeError;
use crate::envelope::{SignedBytes, Statement};
use crate::limits::{
    MAX_GROUP_ADMINS, MAX_GROUP_LOG, MAX_GROUP_PART, MAX_GROUP_POLICY, MAX_GROUP_STATEMENT,
};
use crate::statement::Scope;

/// What a member may do in its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Role {
    /// Whose daemon keeps the group's key.
    Owner,
    /// Adds and removes plain members with its own key.
    Admin,
    /// A plain member.
    Member,
    /// A later version's role: treated as [`Self::Member`].
    #[serde(other)]
    Unknown,
}

/// Who becomes a member by asking.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum JoinRule {
    /// Everybody who was not removed.
    Open,
    /// Who proves to know the token.
    Token,
    /// Who is invited.
    Invite,
    /// A later version's rule: nobody joins by it.
    #[serde(other)]
    Unknown,
}

/// Who may send to all members at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Speakers {
    /// Every member.
    Members,
    /// Owner and admins.
    Admins,
    /// The owner.
    Owner,
    /// Nobody; and a later version's word.
    #[serde(other)]
    Nobody,
}

/// What holds in a group. Signed with the group's own key; the highest serial counts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupPolicy {
    /// The group.
    pub group: GroupId,
    /// The name under which rendezvous know it.
    pub name: Hostname,
    /// Who becomes a member by asking.
    pub join: JoinRule,
    /// The Ed25519 key that follows from the token, if there is one: who signs with it knows the token.
    pub token_key: Option<[u8; 32]>,
    /// Whether members trust each other without asking.
    pub auto_trust: bool,
    /// With what they do.
    pub scope: Scope,
    /// Who may broadcast.
    pub speakers: Speakers,
    /// Whether what is said to all is left in the mailboxes of members that are away. Policies of earlier versions end before it.
    #[serde(deserialize_with = "trailing")]
    pub mailbox: bool,
}

/// The last field, where there is one.
fn trailing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(bool::deserialize(deserializer).unwrap_or_default())
}

impl Statement for GroupPolicy {
    const CONTEXT: &'static str = "pilot/policy/1";
}

/// An agent is a member. Signed with the group's key, or by an admin for a plain member.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Membership {
    /// Of which group.
    pub group: GroupId,
    /// Who.
    pub member: AgentId,
    /// As what.
    pub role: Role,
}

impl Statement for Membership {
    const CONTEXT: &'static str = "pilot/member/1";
}

/// Why an agent is no member any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RemovalCause {
    /// It was sent away: it comes back only if it is invited again.
    Kicked,
    /// It left.
    Left,
    /// A later version's word: treated as [`Self::Kicked`].
    #[serde(other)]
    Unknown,
}

/// An agent is a member no more: beats every certificate with the same or a lower serial.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Removal {
    /// Of which group.
    pub group: GroupId,
    /// Who.
    pub member: AgentId,
    /// Why.
    pub cause: RemovalCause,
}

impl Statement for Removal {
    const CONTEXT: &'static str = "pilot/removal/1";
}

/// An agent may become a member by asking. Signed with the group's key or by an admin.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Invitation {
    /// To which group.
    pub group: GroupId,
    /// Who.
    pub invitee: AgentId,
    /// The group's name.
    pub name: Hostname,
}

impl Statement for Invitation {
    const CONTEXT: &'static str = "pilot/invitation/1";
}

/// What is asked of those who may sign for a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum GroupAsk {
    /// To become a member.
    Join {
        /// The token key's signature, which names group and asker.
        token: Option<Vec<u8>>,
        /// Envelope of an [`Invitation`] for the asker.
        invitation: Option<SignedBytes>,
    },
    /// To be a member no more.
    Leave,
    /// A later version's request: not answered.
    #[serde(other)]
    Unknown,
}

/// Asks those who may sign for a group. Signed by the agent that asks, with its own key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupRequest {
    /// Which group.
    pub group: GroupId,
    /// For what.
    pub ask: GroupAsk,
}

impl Statement for GroupRequest {
    const CONTEXT: &'static str = "pilot/group-request/1";
}

/// Why an admin's statements count: its log, and the certificate that made it one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AdminProof {
    /// The admin's identity log, oldest entry first.
    pub log: Vec<Vec<u8>>,
    /// Envelope of a [`Membership`] as admin, signed with the group's key; it counts here also after its end.
    pub certificate: SignedBytes,
}

/// A group or a part of it, with all that is needed to check it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupBundle {
    /// The group's own log, whose first entry the group's id is the hash of.
    pub log: Vec<Vec<u8>>,
    /// Envelope of a [`GroupPolicy`].
    pub policy: SignedBytes,
    /// At most [`MAX_GROUP_ADMINS`].
    pub admins: Vec<AdminProof>,
    /// Envelopes of [`Membership`]s and [`Removal`]s, at most [`MAX_GROUP_PART`].
    pub statements: Vec<SignedBytes>,
}

impl GroupBundle {
    /// Whether every part is within its bound.
    ///
    /// # Errors
    /// [`DecodeError::Range`] with the first that is not.
    pub fn check(&self) -> Result<(), DecodeError> {
        let is_long = |raw: &SignedBytes, max| raw.as_bytes().len() > max;
        if is_long_log(&self.log) || self.admins.iter().any(|admin| is_long_log(&admin.log)) {
            return Err(DecodeError::Range("log of a group"));
        }
        if is_long(&self.policy, MAX_GROUP_POLICY) {
            return Err(DecodeError::Range("policy of a group"));
        }
        if self.admins.len() > MAX_GROUP_ADMINS {
            return Err(DecodeError::Range("admins of a group"));
        }
        let certificates = self.admins.iter().map(|admin| &admin.certificate);
        let mut all = certificates.chain(&self.statements);
        if self.statements.len() > MAX_GROUP_PART
            || all.any(|raw| is_long(raw, MAX_GROUP_STATEMENT))
        {
            return Err(DecodeError::Range("statements of a group"));
        }
        Ok(())
    }
}

fn is_long_log(log: &[Vec<u8>]) -> bool {
    log.iter().map(|entry| entry.len() + 4).sum::<usize>() > MAX_GROUP_LOG
}
