//! What the service asks of whoever knows signatures.

use pilot_types::{AgentId, GroupId, Hostname, UnixTime};
use pilot_wire::{EnvelopeHead, GroupBundle, Role, SignedBytes};
use serde::{Deserialize, Serialize};

/// What a verified identity log says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogFacts {
    /// Whose log it is.
    pub agent: AgentId,
    /// The current signing key.
    pub sign_key: [u8; 32],
    /// The current key's generation.
    pub generation: u32,
    /// The current key's sequence.
    pub sequence: u32,
    /// Hash of the newest entry.
    pub head: [u8; 32],
}

/// A member of a group as its statements have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupMember {
    /// Who.
    pub agent: AgentId,
    /// As what.
    pub role: Role,
    /// Until when, unless it is certified anew.
    pub until: UnixTime,
}

/// What a group's statements say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupFacts {
    /// Which group.
    pub group: GroupId,
    /// The name in its policy.
    pub name: Hostname,
    /// All statements that count, in the verifier's own bytes.
    pub state: Vec<u8>,
    /// By agent.
    pub members: Vec<GroupMember>,
    /// Agents that were removed lately.
    pub removed: Vec<AgentId>,
}

impl GroupFacts {
    /// What an agent is.
    #[must_use]
    pub fn role(&self, agent: &AgentId) -> Option<Role> {
        let member = self.members.iter().find(|member| member.agent == *agent);
        member.map(|member| member.role)
    }
}

/// Which part of a group is to be handed out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupPart {
    /// Log and policy alone.
    Policy,
    /// What is said of one agent.
    About(AgentId),
    /// The members after an agent.
    After(Option<AgentId>),
}

/// Checks of signatures, which the composition brings in: this crate holds no keys.
pub trait Verify {
    /// Verifies a whole identity log, its work included.
    ///
    /// # Errors
    /// Words for the agent that sent it.
    fn log(&self, entries: &[Vec<u8>]) -> Result<LogFacts, String>;

    /// Whether a verified log goes on where a known one of the same agent ends, or is a recovery that ends it.
    fn follows(&self, known: &[Vec<u8>], log: &[Vec<u8>]) -> bool;

    /// Verifies a statement of any type against the current key of an already verified log: signer, key, signature, times.
    ///
    /// The caller reads the body and holds its context string against the type that it expects.
    ///
    /// # Errors
    /// Words for the agent that sent it.
    fn signed(
        &self,
        log: &[Vec<u8>],
        raw: &SignedBytes,
        now: UnixTime,
    ) -> Result<EnvelopeHead, String>;

    /// Merges a group's stored state, if there is one, with what somebody brings; only the latter's signatures are checked.
    ///
    /// # Errors
    /// Words for the agent that sent it.
    fn group(
        &self,
        state: Option<&[u8]>,
        bundle: &GroupBundle,
        now: UnixTime,
    ) -> Result<GroupFacts, String> {
        let _ = (state, bundle, now);
        Err("this rendezvous keeps no groups".to_owned())
    }

    /// A part of a stored group, and after whom the next one begins; `None` if the state is damaged.
    fn group_part(&self, state: &[u8], part: GroupPart) -> Option<(GroupBundle, Option<AgentId>)> {
        let _ = (state, part);
        None
    }
}
