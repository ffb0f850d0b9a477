//! Events: published to an agent's broker, and brought from there to whoever subscribed.

use pilot_types::{Address, Hostname, NodeId};
use pilot_wire::{Topic, TopicFilter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;
use crate::payload::{self, Payload};
use crate::peer_ref::PeerRef;

/// `POST /v1/events/publish`: hand an event to the broker of an agent, or to one's own.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub struct PublishRequest {
    /// Whose broker; the name of a group that this agent is in stands for those of all its members.
    pub peer: PeerRef,
    /// What it is about.
    #[schemars(with = "schema::TopicText")]
    pub topic: Topic,
    /// What it says: `data`, or `data_b64` where it is no text. At most 64 KiB.
    #[serde(flatten, deserialize_with = "payload::closed")]
    pub body: Payload,
    /// The deadline in milliseconds: none for 30 s, zero for without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// An event that its broker has.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct EventPublished {
    /// Whose broker.
    pub target: Address,
    /// The same, by its 48 bits.
    pub node_id: NodeId,
    /// What it is about.
    #[schemars(with = "schema::TopicText")]
    pub topic: Topic,
    /// Bytes of data.
    pub bytes: u64,
    /// Subscribers that it was queued for.
    pub subscribers: u64,
    /// Of an event for a group: the other members that are online. Then `target` stands for all of the group.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub members: Option<MembersReached>,
}

/// Members that an event was sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct MembersReached {
    /// Those that are online.
    pub sent: u64,
    /// Those whose agents have it.
    pub delivered: u64,
}

/// `POST /v1/events/subscribe`: events as they are published at the broker of an agent, or at one's own.
///
/// The connection is upgraded: from then on it brings an `EventLine` in JSON a line, until the caller ends its direction.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscribeRequest {
    /// Whose broker; with the name of a group that this agent is in, what any member publishes for all.
    pub peer: PeerRef,
    /// Which topics; `*` is one level, `#` the rest.
    #[schemars(with = "schema::TopicFilterText")]
    pub topic: TopicFilter,
    /// First at most so many of the last events that the broker still has: 256, and 1 MiB, in all. A broker of an earlier version refuses it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replay: u32,
    /// The deadline for subscribing, in milliseconds: none for 30 s, zero for without end. The subscription itself has none.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The subscription that was opened.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Subscribed {
    /// Whose broker.
    pub target: Address,
    /// The same, by its 48 bits.
    pub node_id: NodeId,
    /// Which topics.
    #[schemars(with = "schema::TopicFilterText")]
    pub topic: TopicFilter,
}

/// One line of a subscription.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EventLine {
    /// Something was published.
    Event(Event),
    /// Events are missing here: the subscriber was too slow for them.
    Dropped {
        /// How many.
        dropped: u64,
    },
}

/// Something that was published.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Event {
    /// What it is about.
    #[schemars(with = "schema::TopicText")]
    pub topic: Topic,
    /// Who published it, proven by its key to the broker.
    pub from: NodeId,
    /// The publisher's address.
    pub from_address: Address,
    /// The publisher's name as it is known here.
    pub from_hostname: Option<Hostname>,
    /// What it says.
    #[serde(flatten)]
    pub body: Payload,
    /// Bytes of data.
    pub bytes: u64,
}
