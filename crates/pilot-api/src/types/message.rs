//! Messages of the data exchange and the inbox.

use std::fmt;

use pilot_types::{Address, Hostname, NetworkId, NodeId, UnixTime};
use pilot_wire::{MessageId, TraceParent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::filter::Filtered;
use super::{field, schema};
use crate::payload::{self, Payload};
use crate::peer_ref::PeerRef;

/// How a message's body is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageKind {
    /// UTF-8 text.
    #[default]
    Text,
    /// A JSON document.
    Json,
    /// Bytes.
    Binary,
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Binary => "binary",
        })
    }
}

/// `POST /v1/messages`: put a message into an agent's inbox, and wait for a reply if asked to.
///
/// An untrusted public agent that approves by itself is knocked at first, with scope `reply-only` in return.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub struct SendMessageRequest {
    /// To whom.
    pub peer: PeerRef,
    /// The body: `data`, or `data_b64` where it is no text. At most 64 MiB.
    #[serde(flatten, deserialize_with = "payload::closed")]
    pub body: Payload,
    /// How it is to be read.
    #[serde(default, rename = "type")]
    pub kind: MessageKind,
    /// Its name: none for a new one. The same name twice is one message, so that what is not known to have arrived may be sent again.
    #[serde(
        default,
        with = "field::text_option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::MessageIdText>")]
    pub id: Option<MessageId>,
    /// The message that this one answers.
    #[serde(
        default,
        with = "field::text_option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::MessageIdText>")]
    pub reply_to: Option<MessageId>,
    /// Wait so long for a reply, and end with `timeout` if none comes. Zero: without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// The deadline in milliseconds, not shorter than the wait: none for 30 s, zero for without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The application's trace.
    #[serde(
        default,
        with = "field::text_option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::TraceParentText>")]
    pub traceparent: Option<TraceParent>,
}

/// A message that is in the receiver's inbox, or in its mailbox while it is away.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct MessageSent {
    /// The receiver.
    pub target: Address,
    /// The receiver's 48 bits.
    pub node_id: NodeId,
    /// How the body is to be read.
    #[serde(rename = "type")]
    pub kind: MessageKind,
    /// Length of the body.
    pub bytes: u64,
    /// Its name, for `reply_to`.
    #[serde(with = "field::text")]
    #[schemars(with = "schema::MessageIdText")]
    pub id: MessageId,
    /// `stored` or `duplicate`: it is in the inbox. `mailbox`: the agent is away, and finds it when it is back.
    pub ack: String,
    /// Until when the mailbox keeps it, where it is there.
    #[serde(
        default,
        with = "field::rfc3339_option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::TimeText>")]
    pub kept_until: Option<UnixTime>,
    /// The answer, if it was waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<MessageReply>,
    /// What the owner's filter found, where it did not just let it pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filtered>,
}

/// The answer to a message.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct MessageReply {
    /// Who answers.
    pub from: NodeId,
    /// Its address.
    pub from_address: Address,
    /// Its name.
    pub from_hostname: Option<Hostname>,
    /// How the body is to be read.
    #[serde(rename = "type")]
    pub kind: MessageKind,
    /// The answer's own name.
    #[serde(with = "field::text")]
    #[schemars(with = "schema::MessageIdText")]
    pub id: MessageId,
    /// The body.
    #[serde(flatten)]
    pub body: Payload,
    /// What the owner's filter found, where it did not just let it pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filtered>,
}

/// `POST /v1/inbox`: messages that came.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboxRequest {
    /// At most so many, the newest; none for 100.
    #[serde(default)]
    pub limit: Option<u64>,
    /// Only those that came since.
    #[serde(default, with = "field::rfc3339_option")]
    #[schemars(with = "Option<schema::TimeText>")]
    pub since: Option<UnixTime>,
    /// Only those of this sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PeerRef>,
    /// Only those whose text has these words, in small or capital letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// Delete those that are returned.
    #[serde(default)]
    pub clear: bool,
}

/// `POST /v1/inbox/read`: one message, whole.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboxReadRequest {
    /// Its name.
    #[serde(with = "field::text")]
    #[schemars(with = "schema::MessageIdText")]
    pub id: MessageId,
    /// Also if the owner's filter put it into quarantine.
    #[serde(default)]
    pub quarantined: bool,
}

/// Messages that came.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Inbox {
    /// The newest last.
    pub messages: Vec<InboxMessage>,
    /// How many the inbox holds, those that were left out counted.
    pub total: u64,
}

/// A message that came.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct InboxMessage {
    /// Its name.
    #[serde(with = "field::text")]
    #[schemars(with = "schema::MessageIdText")]
    pub id: MessageId,
    /// Who sent it.
    pub from: NodeId,
    /// The sender's address.
    pub from_address: Address,
    /// The sender's name when it came.
    pub from_hostname: Option<Hostname>,
    /// How the body is to be read.
    #[serde(rename = "type")]
    pub kind: MessageKind,
    /// The body; left out of a list that would grow beyond 16 MiB, then `inbox read` has it.
    #[serde(flatten)]
    pub body: Option<Payload>,
    /// Length of the body.
    pub bytes: u64,
    /// When it came.
    #[serde(with = "field::rfc3339")]
    #[schemars(with = "schema::TimeText")]
    pub received_at: UnixTime,
    /// The message that it answers.
    #[serde(default, with = "field::text_option")]
    #[schemars(with = "Option<schema::MessageIdText>")]
    pub reply_to: Option<MessageId>,
    /// How far the sender was trusted when it came: `trusted`, `reply-only` or `none`.
    pub trust: String,
    /// The group to all of which it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_id: Option<NetworkId>,
    /// `direct`: straight from its sender. `mailbox`: left at a rendezvous while this agent was away, sealed and signed by its sender.
    pub via: String,
    /// When it was left in the mailbox, by its sender's clock.
    #[serde(
        default,
        with = "field::rfc3339_option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<schema::TimeText>")]
    pub sent_at: Option<UnixTime>,
    /// What the owner's filter found, where it did not just let it pass. With `block` the message is in quarantine: it is shown without its
    /// body, which `inbox read` has on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filtered>,
}
