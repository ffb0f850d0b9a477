//! Bodies of signed statements (`docs/wire.md` §6).

use std::net::SocketAddr;

use pilot_types::{AgentId, Hostname, NodeId, Port, Tag, UnixTime};
use serde::{Deserialize, Serialize, Serializer};

use crate::capability::{Capability, Named, add_details, details};
use crate::cursor::DecodeError;
use crate::envelope::{Statement, decode_postcard, split_postcard};

/// Who is shown an agent's record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Visibility {
    /// Agents that it granted trust.
    #[default]
    Trusted,
    /// Everybody.
    Public,
    /// A later version's word: treated as [`Self::Trusted`].
    #[serde(other)]
    Unknown,
}

/// An agent's entry in the registry. Serial: the agent's own count.
///
/// On the wire what a capability says beside name and version stands behind all other fields, where earlier readers stop.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(from = "FirstFields")]
pub struct Record {
    /// The name that it claims.
    pub hostname: Option<Hostname>,
    /// At most [`crate::limits::MAX_TAGS`].
    pub tags: Vec<Tag>,
    /// At most [`crate::limits::MAX_CAPABILITIES`].
    pub capabilities: Vec<Capability>,
    /// Who is shown this record.
    pub visibility: Visibility,
    /// Whether the agent approves every knock by itself.
    pub auto_approves: bool,
    /// What letters to it are sealed to while it is away; none if it takes none. Behind the details of the capabilities.
    pub prekey: Option<Prekey>,
}

/// A key that an agent changes every week: who has a copy of its later secrets cannot open what was sealed to this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Prekey {
    /// X25519.
    pub public: [u8; 32],
    /// When its secret half is destroyed: nothing that is sealed to it lives longer.
    pub not_after: UnixTime,
}

impl Statement for Record {
    const CONTEXT: &'static str = "pilot/record/1";

    fn decode_body(body: &[u8]) -> Result<Self, DecodeError> {
        let (mut record, rest) = split_postcard::<Self>(body, Self::CONTEXT)?;
        if rest.is_empty() {
            return Ok(record);
        }
        let (details, rest) = split_postcard(rest, Self::CONTEXT)?;
        add_details(&mut record.capabilities, details);
        if !rest.is_empty() {
            record.prekey = decode_postcard(rest, Self::CONTEXT)?;
        }
        Ok(record)
    }
}

/// A record as its first version had it.
#[derive(Serialize, Deserialize)]
struct FirstFields {
    hostname: Option<Hostname>,
    tags: Vec<Tag>,
    capabilities: Vec<Named>,
    visibility: Visibility,
    auto_approves: bool,
}

impl From<FirstFields> for Record {
    fn from(first: FirstFields) -> Self {
        Self {
            hostname: first.hostname,
            tags: first.tags,
            capabilities: first
                .capabilities
                .into_iter()
                .map(Capability::from)
                .collect(),
            visibility: first.visibility,
            auto_approves: first.auto_approves,
            prekey: None,
        }
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let first = FirstFields {
            hostname: self.hostname.clone(),
            tags: self.tags.clone(),
            capabilities: self.capabilities.iter().map(Named::from).collect(),
            visibility: self.visibility,
            auto_approves: self.auto_approves,
        };
        (first, details(&self.capabilities), self.prekey).serialize(serializer)
    }
}

/// Where an agent is now. Ordered by (`boot_counter`, envelope serial).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Locator {
    /// Counts the agent's starts.
    pub boot_counter: u64,
    /// Where it was seen from outside, best first, at most [`crate::limits::MAX_CANDIDATES`].
    pub reflexive: Vec<SocketAddr>,
}

impl Statement for Locator {
    const CONTEXT: &'static str = "pilot/locator/1";
}

/// An inclusive range of ports.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct PortRange {
    /// The first port.
    pub first: Port,
    /// The last port, not below the first.
    pub last: Port,
}

/// What a grant allows. Empty ports and no reply: nothing, a revocation.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Scope {
    /// Ports that the grantee may dial, at most [`crate::limits::MAX_PORT_RANGES`] ranges.
    pub ports: Vec<PortRange>,
    /// Whether the grantee may answer outstanding requests and nothing else.
    pub is_reply_only: bool,
    /// Largest message or file in bytes, 0 for the receiver's own limit.
    pub max_size: u64,
    /// Requests a minute, 0 for the receiver's own limit.
    pub rate: u32,
}

/// One agent's permission for another. Among grants of a pair the highest serial wins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// Who is trusted.
    pub grantee: AgentId,
    /// With what.
    pub scope: Scope,
    /// Hash of the grant that this one narrows.
    pub parent: Option<[u8; 32]>,
    /// How many more times it may be handed on.
    pub depth: u8,
}

impl Statement for Grant {
    const CONTEXT: &'static str = "pilot/grant/1";
}

/// Whom a knock is for, as it was typed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum KnockTarget {
    /// By address or decimal id.
    Node(NodeId),
    /// By name.
    Hostname(Hostname),
    /// By key or ticket: full strength.
    Agent(AgentId),
}

/// A request for trust.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Knock {
    /// For whom.
    pub target: KnockTarget,
    /// Why, at most [`crate::limits::MAX_JUSTIFICATION`] bytes, for people.
    pub justification: String,
    /// The name that the knocker claims, not proven by this.
    pub hostname: Option<Hostname>,
}

impl Statement for Knock {
    const CONTEXT: &'static str = "pilot/knock/1";
}

/// What a rendezvous fixes for its network; pinned with its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// Leading zero bits of each inception's work.
    pub work_bits: u8,
}

impl Statement for NetworkConfig {
    const CONTEXT: &'static str = "pilot/network/1";
}

/// What a ticket hands over; its envelope names the agent and the end.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketBody {
    /// The identity log, oldest first, at most [`crate::limits::MAX_LOG_ENTRIES`].
    pub entries: Vec<Vec<u8>>,
    /// Where the agent may be reached, best first, at most [`crate::limits::MAX_CANDIDATES`].
    pub endpoints: Vec<SocketAddr>,
    /// Its rendezvous, as `pilot://KEY@HOST:PORT`.
    pub rendezvous: Option<String>,
    /// Lets one stranger knock.
    pub secret: [u8; 16],
}

impl Statement for TicketBody {
    const CONTEXT: &'static str = "pilot/ticket/1";
}
