//! Why something about a group was not done or not believed.

use pilot_wire::DecodeError;
use pilot_wire::limits::{MAX_GROUP_ADMINS, MAX_GROUP_MEMBERS, MAX_GROUPS};
use thiserror::Error;

use crate::log::LogError;
use crate::statement::EnvelopeError;

/// Why something about a group was not done or not believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GroupError {
    /// A part is longer than its bound.
    #[error("malformed group")]
    Malformed(#[from] DecodeError),
    /// The group's log, or an admin's, is not valid or contradicts the one that is known.
    #[error("log of a group")]
    Log(#[from] LogError),
    /// A statement's signature, key or time is wrong.
    #[error("statement of a group")]
    Envelope(#[from] EnvelopeError),
    /// A statement is about another group.
    #[error("statement about another group")]
    OtherGroup,
    /// Its signer may not say that: only the group's key makes owners, admins and policies, and only it and admins add and remove.
    #[error("signed by somebody who may not say that")]
    Unauthorised,
    /// A serial is not the time at which it was made, or the end is too late.
    #[error("serial or end of a group's statement")]
    Times,
    /// Too many members or admins.
    #[error("a group has at most {MAX_GROUP_MEMBERS} members and {MAX_GROUP_ADMINS} admins")]
    Full,
    /// Too many groups.
    #[error("an agent is in at most {MAX_GROUPS} groups")]
    TooMany,
    /// We are in it already.
    #[error("a member of this group already")]
    AlreadyMember,
    /// We are not in this group.
    #[error("not a member of this group")]
    NotMember,
    /// Our role does not allow it.
    #[error("only the group's owner, or an admin for plain members, may do that")]
    NotAllowed,
    /// The agent is no member.
    #[error("no such member")]
    NoSuchMember,
    /// The owner neither leaves nor is removed: its daemon keeps the key.
    #[error("the owner stays in its group")]
    OwnerStays,
    /// The token is not the group's.
    #[error("wrong token")]
    WrongToken,
    /// The group is joined with a token, and there was none.
    #[error("this group is joined with a token")]
    TokenNeeded,
    /// The group is joined by invitation, and there was none that holds.
    #[error("this group is joined by invitation")]
    NotInvited,
    /// The agent was removed after it was invited, or without a new invitation.
    #[error("the agent was removed: only a new invitation lets it back")]
    Removed,
    /// A policy that contradicts itself.
    #[error("a policy has well-formed ports, and a token where it is joined with one")]
    Policy,
}
