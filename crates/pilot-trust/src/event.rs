//! What the trust machine tells its driver.

use pilot_types::{AgentId, GroupId};
use pilot_wire::SignedBytes;

use crate::group::Origin;

/// What happened. Act on it only when all that [`crate::Trust::poll_persist`] gives is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustEvent {
    /// A grant or revocation of ours is to be brought to its grantee, straight and through the registry.
    GrantIssued {
        /// The grantee.
        to: AgentId,
        /// A signed `pilot/grant/1`.
        raw: SignedBytes,
    },
    /// Both sides have granted.
    Trusted {
        /// The other side.
        agent: AgentId,
    },
    /// A grant ended: revoked, expired, or void because the agent's key is compromised or was recovered.
    Untrusted {
        /// The other side.
        agent: AgentId,
        /// Whether it was its grant to us that ended; else ours to it.
        by_peer: bool,
    },
    /// Somebody knocked, and a person has to decide.
    KnockPending {
        /// Who.
        agent: AgentId,
    },
    /// A grant that holds on was replaced by one with another scope or end.
    ScopeChanged {
        /// The other side.
        agent: AgentId,
        /// Whether it was its grant to us; else ours to it.
        by_peer: bool,
    },
    /// A group has new statements: other members are told, and the rendezvous what it does not know.
    GroupChanged {
        /// Which.
        group: GroupId,
        /// Who told us.
        origin: Origin,
        /// Certificates and removals that were not known.
        fresh: Vec<SignedBytes>,
    },
    /// We were removed from a group: it is to be forgotten.
    GroupEnded {
        /// Which.
        group: GroupId,
    },
    /// A group was forgotten.
    GroupLeft {
        /// Which.
        group: GroupId,
    },
    /// Somebody invites us.
    Invited {
        /// To which group.
        group: GroupId,
    },
}
