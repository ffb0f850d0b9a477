//! What is stored: raw statements as received, and beside them the few facts that lookups need.

use pilot_types::{AgentId, GroupId, Hostname, NetworkId, UnixTime};
use pilot_wire::{MessageId, Role, SignedBytes, Visibility};
use serde::{Deserialize, Serialize};

use crate::verify::{GroupMember, LogFacts};

/// All that is known of one agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AgentRow {
    /// Its identity log, verified.
    pub log: Vec<Vec<u8>>,
    /// What the log says.
    pub facts: LogFacts,
    /// Whether the index by signing key leads here: of two agents with one key, the first.
    pub is_key_indexed: bool,
    /// Highest serial of its records ever stored; stays when the record goes.
    pub serial: u64,
    /// Its record; none once it ended or was removed.
    pub record: Option<RecordRow>,
    /// Its locator.
    pub locator: Option<LocatorRow>,
    /// When expiry has to look at this row again.
    pub due: UnixTime,
}

impl AgentRow {
    /// Whose row.
    #[must_use]
    pub const fn agent(&self) -> AgentId {
        self.facts.agent
    }

    /// The record, if it has not ended.
    #[must_use]
    pub fn live_record(&self, now: UnixTime) -> Option<&RecordRow> {
        self.record.as_ref().filter(|record| now < record.not_after)
    }

    /// The locator, if it has not ended.
    #[must_use]
    pub fn live_locator(&self, now: UnixTime) -> Option<&LocatorRow> {
        self.locator
            .as_ref()
            .filter(|locator| now < locator.not_after)
    }
}

/// A stored record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecordRow {
    /// As received.
    pub raw: SignedBytes,
    /// When it ends.
    pub not_after: UnixTime,
    /// The name that it claims.
    pub hostname: Option<Hostname>,
    /// Who is shown the entry.
    pub visibility: Visibility,
}

/// A stored locator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LocatorRow {
    /// As received.
    pub raw: SignedBytes,
    /// Its order: boot counter, then serial.
    pub order: (u64, u64),
    /// When it ends.
    pub not_after: UnixTime,
}

/// The latest grant or revocation of a pair.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GrantRow {
    /// Who signed it.
    pub grantor: AgentId,
    /// For whom.
    pub grantee: AgentId,
    /// As received.
    pub raw: SignedBytes,
    /// Its serial.
    pub serial: u64,
    /// Generation of the key that signed it.
    pub generation: u32,
    /// When it ends.
    pub not_after: UnixTime,
    /// Whether it allows nothing.
    pub is_revocation: bool,
    /// Latest end of all that the pair ever had: until then the row stays, so that an old grant cannot come back.
    pub remember_until: UnixTime,
}

impl GrantRow {
    /// Whether the grantee may see the grantor by it.
    #[must_use]
    pub fn is_live(&self, now: UnixTime) -> bool {
        !self.is_revocation && now < self.not_after
    }
}

/// All that is known of one group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupRow {
    /// Which.
    pub group: GroupId,
    /// Its name.
    pub name: Hostname,
    /// Its number.
    pub network: NetworkId,
    /// Its statements, in the verifier's bytes: 2 MiB at worst, 200 bytes a member mostly.
    pub state: Vec<u8>,
    /// Who they say are members, by agent.
    pub members: Vec<GroupMember>,
    /// Who was removed lately.
    pub removed: Vec<AgentId>,
}

impl GroupRow {
    /// Whether an agent is a member now.
    #[must_use]
    pub fn is_member(&self, agent: &AgentId, now: UnixTime) -> bool {
        let member = self.members.iter().find(|member| member.agent == *agent);
        member.is_some_and(|member| now <= member.until)
    }

    /// Who may certify members.
    pub fn signers(&self, now: UnixTime) -> impl Iterator<Item = AgentId> {
        let may = move |member: &&GroupMember| {
            matches!(member.role, Role::Owner | Role::Admin) && now <= member.until
        };
        self.members.iter().filter(may).map(|member| member.agent)
    }

    /// When its last certificate ends.
    #[must_use]
    pub fn ends_at(&self) -> UnixTime {
        let ends = self.members.iter().map(|member| member.until);
        ends.max().unwrap_or_default()
    }
}

/// What kind of push waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum PushKind {
    /// A knock.
    Knock,
    /// A grant or a revocation.
    Grant,
    /// A group has new statements; "from" is the group.
    Group,
    /// Somebody wants to join or leave a group.
    GroupRequest,
    /// Somebody invites to a group.
    Invitation,
    /// There are letters; "from" is the recipient.
    Letters,
}

impl PushKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Knock,
        Self::Grant,
        Self::Group,
        Self::GroupRequest,
        Self::Invitation,
        Self::Letters,
    ];
}

/// A push's place: a later one of the same kind between the same two takes the place of the earlier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct PushKey {
    /// For whom.
    pub to: AgentId,
    /// What.
    pub kind: PushKind,
    /// From whom.
    pub from: AgentId,
}

/// Names one push: an acknowledgement of a push that was replaced meanwhile does not delete its successor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct PushId(u64);

impl PushId {
    /// From its number.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The number.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0
    }
}

/// A push that waits for its recipient.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PushRow {
    /// Its place.
    pub key: PushKey,
    /// Its name, random.
    pub id: PushId,
    /// When it came.
    pub made: UnixTime,
    /// When it is no longer worth bringing.
    pub not_after: UnixTime,
    /// The knock or grant.
    pub raw: SignedBytes,
}

/// A letter's place: numbers grow in the order in which letters came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct LetterKey {
    /// For whom.
    pub to: AgentId,
    /// Its number, from 1.
    pub number: u64,
}

/// A letter that waits for its recipient, without its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LetterRow {
    /// Its place.
    pub key: LetterKey,
    /// From whom.
    pub from: AgentId,
    /// Which message.
    pub id: MessageId,
    /// Until when it is kept.
    pub not_after: UnixTime,
    /// Its bytes, with what a row costs beside them.
    pub size: u64,
}

/// Whose letters are counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum LetterAccount {
    /// All.
    All,
    /// Those in an agent's mailbox.
    To(AgentId),
    /// Those that an agent left, in all mailboxes.
    From(AgentId),
    /// Those that the second left for the first.
    Between(AgentId, AgentId),
}

/// How many letters, and how large.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LetterSum {
    /// Letters.
    pub count: u64,
    /// The sum of their [`LetterRow::size`].
    pub bytes: u64,
    /// The highest number ever given; only of [`LetterAccount::All`].
    pub last_number: u64,
}

impl LetterSum {
    /// No letter, and no number given.
    pub const EMPTY: Self = Self {
        count: 0,
        bytes: 0,
        last_number: 0,
    };
}

/// Sums over the whole store, written with every batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Agent rows.
    pub agents: u64,
    /// Agent rows with a record.
    pub registered: u64,
    /// Latest wall time ever acted upon: expiry never goes back behind it, whatever the clock does.
    pub floor: UnixTime,
}
