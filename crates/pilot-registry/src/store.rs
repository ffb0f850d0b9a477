//! The store behind a trait: reads by key, and one atomic batch of writes.

use pilot_types::{AgentId, GroupId, Hostname, NetworkId, NodeId, UnixTime};
use pilot_wire::MessageId;
use thiserror::Error;

use crate::rows::{
    AgentRow, GrantRow, GroupRow, LetterAccount, LetterKey, LetterRow, LetterSum, PushKey,
    PushKind, PushRow, Totals,
};

/// Why the store did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("registry store: {0}")]
pub struct StoreError(String);

impl StoreError {
    /// With words for the operator's log; the agent that asked learns only that the store failed.
    #[must_use]
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

/// One change; the indexes are the service's, stores only keep them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// Inserts or replaces an agent's row.
    PutAgent(Box<AgentRow>),
    /// Removes an agent's row.
    DeleteAgent(AgentId),
    /// Leads a name to an agent.
    PutHostname(Hostname, AgentId),
    /// Frees a name.
    DeleteHostname(Hostname),
    /// Leads 48 bits to an agent.
    PutNode(NodeId, AgentId),
    /// Frees 48 bits.
    DeleteNode(NodeId),
    /// Leads a signing key to an agent.
    PutKey([u8; 32], AgentId),
    /// Forgets a signing key.
    DeleteKey([u8; 32]),
    /// Expiry must look at the agent at this time.
    PutDue(UnixTime, AgentId),
    /// It need not.
    DeleteDue(UnixTime, AgentId),
    /// Inserts or replaces a pair's grant.
    PutGrant(GrantRow),
    /// Removes a pair's grant: grantor, grantee.
    DeleteGrant(AgentId, AgentId),
    /// Removes every grant by an agent.
    DeleteGrantsBy(AgentId),
    /// Inserts or replaces a push.
    PutPush(PushRow),
    /// Removes a push.
    DeletePush(PushKey),
    /// Removes every push to an agent.
    DeletePushesTo(AgentId),
    /// Inserts or replaces a group.
    PutGroup(Box<GroupRow>),
    /// Removes a group.
    DeleteGroup(GroupId),
    /// Leads a name to a group.
    PutGroupName(Hostname, GroupId),
    /// Leads a number to a group.
    PutGroupNumber(NetworkId, GroupId),
    /// Leads a member to its group.
    PutMember(AgentId, GroupId),
    /// It is no member any more.
    DeleteMember(AgentId, GroupId),
    /// Inserts a letter: its row, its bytes, and what leads to it by message and by time.
    PutLetter(LetterRow, Vec<u8>),
    /// Removes a letter and all that leads to it.
    DeleteLetter(LetterRow),
    /// Replaces a sum; one without letters and numbers is removed.
    PutLetterSum(LetterAccount, LetterSum),
    /// Replaces the sums.
    Totals(Totals),
}

/// Changes that happen together or not at all, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    /// The changes.
    pub writes: Vec<Write>,
}

/// Where the registry's state lives.
///
/// A batch is durable when `apply` returns `Ok`; after an error the store is as it was before.
pub trait Store {
    /// The sums, loaded when the store was opened.
    fn totals(&self) -> Totals;

    /// An agent's row.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails or the row is damaged.
    fn agent(&self, agent: &AgentId) -> Result<Option<AgentRow>, StoreError>;

    /// Who holds a name.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn hostname(&self, hostname: &Hostname) -> Result<Option<AgentId>, StoreError>;

    /// Who has these 48 bits.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn node(&self, node: NodeId) -> Result<Option<AgentId>, StoreError>;

    /// Whose current signing key this is.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn key(&self, key: &[u8; 32]) -> Result<Option<AgentId>, StoreError>;

    /// The pair's latest grant.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails or the row is damaged.
    fn grant(&self, grantor: &AgentId, grantee: &AgentId) -> Result<Option<GrantRow>, StoreError>;

    /// How many grants an agent has given.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn grant_count(&self, grantor: &AgentId) -> Result<u64, StoreError>;

    /// Every grant by an agent, by grantee.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails or a row is damaged.
    fn grants_by(&self, grantor: &AgentId) -> Result<Vec<GrantRow>, StoreError>;

    /// Up to `limit` agents that have a grant or a revocation for this one, by id.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn grantors_to(&self, grantee: &AgentId, limit: usize) -> Result<Vec<AgentId>, StoreError>;

    /// Up to `limit` agents' rows by id, after `after`.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails or a row is damaged.
    fn agents(&self, after: Option<&AgentId>, limit: usize) -> Result<Vec<AgentRow>, StoreError>;

    /// A group.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails or the row is damaged.
    fn group(&self, group: &GroupId) -> Result<Option<GroupRow>, StoreError>;

    /// Which group has a name.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn group_name(&self, name: &Hostname) -> Result<Option<GroupId>, StoreError>;

    /// Which group has a number.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn group_number(&self, number: NetworkId) -> Result<Option<GroupId>, StoreError>;

    /// Up to `limit` groups of which an agent is said to be a member, by id.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn groups_of(&self, agent: &AgentId, limit: usize) -> Result<Vec<GroupId>, StoreError>;

    /// One waiting push.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails or the row is damaged.
    fn push(&self, key: &PushKey) -> Result<Option<PushRow>, StoreError>;

    /// Every waiting push of a kind to an agent, by sender.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails or a row is damaged.
    fn pushes(&self, to: &AgentId, kind: PushKind) -> Result<Vec<PushRow>, StoreError>;

    /// Up to `limit` agents that expiry must look at, earliest first, whatever their time.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn due(&self, limit: usize) -> Result<Vec<(UnixTime, AgentId)>, StoreError>;

    /// A letter's row.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails or the row is damaged.
    fn letter(&self, key: &LetterKey) -> Result<Option<LetterRow>, StoreError>;

    /// A letter's bytes.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn letter_bytes(&self, key: &LetterKey) -> Result<Option<Vec<u8>>, StoreError>;

    /// Up to `limit` rows of an agent's letters after a number, in order.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails or a row is damaged.
    fn letters(&self, to: &AgentId, after: u64, limit: usize)
    -> Result<Vec<LetterRow>, StoreError>;

    /// Which letter is this message from the second to the first.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn letter_number(
        &self,
        to: &AgentId,
        from: &AgentId,
        id: &MessageId,
    ) -> Result<Option<u64>, StoreError>;

    /// How many letters there are.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails or the row is damaged.
    fn letter_sum(&self, account: &LetterAccount) -> Result<LetterSum, StoreError>;

    /// Up to `limit` letters that end, earliest first, whatever their time.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails.
    fn letters_due(&self, limit: usize) -> Result<Vec<(UnixTime, LetterKey)>, StoreError>;

    /// Applies all changes, durably, or none.
    ///
    /// # Errors
    /// [`StoreError`] if the store fails; nothing is changed then.
    fn apply(&mut self, batch: Batch) -> Result<(), StoreError>;
}
