//! Groups: creating, joining, keeping and addressing them.

use pilot_types::{Address, Hostname, NetworkId, NodeId, UnixTime};
use pilot_wire::MessageId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent::AgentSummary;
use super::message::{MessageKind, MessageReply};
use super::{field, schema};
use crate::payload::{self, Payload};
use crate::peer_ref::PeerRef;

/// Who becomes a member by asking.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JoinRule {
    /// Everybody who was not removed.
    Open,
    /// Who knows the token.
    Token,
    /// Who is invited.
    #[default]
    Invite,
}

/// What a member may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupRole {
    /// Keeps the group's key.
    Owner,
    /// Adds and removes plain members.
    Admin,
    /// A plain member.
    Member,
}

/// `POST /v1/groups/create`: create a group that this agent owns.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateGroupRequest {
    /// Its name, as hostnames are.
    pub name: Hostname,
    /// Who becomes a member by asking.
    #[serde(default)]
    pub join: JoinRule,
    /// Whether members trust each other without asking.
    #[serde(default)]
    pub auto_trust: bool,
    /// The deadline in milliseconds, 0 for none; 30 s by default.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// A group that was created.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct GroupCreated {
    /// The group's number.
    pub network_id: NetworkId,
    /// Its name.
    pub name: Hostname,
    /// What this agent is in it.
    pub role: GroupRole,
    /// The hash of its inception, in hex.
    pub group_id: String,
    /// What lets others join, where the rule is `token`: shown this once, and never stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// `POST /v1/groups/join`: become a member; waits until this agent is one.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinGroupRequest {
    /// The group's name.
    pub name: Hostname,
    /// Its token, where it is joined with one.
    #[serde(default)]
    pub token: Option<String>,
    /// The deadline in milliseconds, 0 for none; 30 s by default.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// `POST /v1/groups/accept`: take an invitation; waits until this agent is a member.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptInvitationRequest {
    /// The group's name.
    pub name: Hostname,
    /// The deadline in milliseconds, 0 for none; 30 s by default.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// This agent is a member.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct GroupJoined {
    /// The group's number.
    pub network_id: NetworkId,
    /// Its name.
    pub name: Hostname,
    /// What this agent is in it.
    pub role: GroupRole,
}

/// `GET /v1/groups`: groups that this agent is in.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupsRequest {}

/// Groups that this agent is in.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Groups {
    /// By name.
    pub networks: Vec<GroupSummary>,
}

/// A group in short.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct GroupSummary {
    /// Its number.
    pub network_id: NetworkId,
    /// Its name.
    pub name: Hostname,
    /// Who becomes a member by asking.
    pub join_rule: JoinRule,
    /// What this agent is in it; null while its certificate has ended and the owner's daemon did not renew it.
    pub role: Option<GroupRole>,
    /// How many members it has.
    pub members: u64,
    /// Whether members trust each other without asking.
    pub auto_trust: bool,
}

/// `POST /v1/groups/leave`: be a member no more.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveGroupRequest {
    /// Name or number; may be left out by who is in one group.
    #[serde(default)]
    pub group: Option<String>,
}

/// This agent is a member no more, or an invitation was declined.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct GroupLeft {
    /// The group's number.
    pub network_id: NetworkId,
    /// Its name.
    pub name: Hostname,
}

/// `POST /v1/groups/members`: members of a group.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupMembersRequest {
    /// Name or number; may be left out by who is in one group.
    #[serde(default)]
    pub group: Option<String>,
    /// The deadline in milliseconds, 0 for none; 30 s by default.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// Members of a group.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct GroupMembers {
    /// The group's number.
    pub network_id: NetworkId,
    /// Its name.
    pub name: Hostname,
    /// Owner first, then admins, then by name.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct GroupMember {
    /// Who.
    #[serde(flatten)]
    pub agent: AgentSummary,
    /// As what.
    pub role: GroupRole,
    /// Whether it is connected, to the rendezvous or to us.
    pub online: bool,
}

/// `POST /v1/groups/invite`: let an agent join.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InviteRequest {
    /// Whom.
    pub peer: PeerRef,
    /// Name or number; may be left out by who is in one group.
    #[serde(default)]
    pub group: Option<String>,
    /// The deadline in milliseconds, 0 for none; 30 s by default.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// What was done about a member.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct MemberChanged {
    /// `invited`, `kicked`, or the new role.
    pub status: String,
    /// The group's number.
    pub network_id: NetworkId,
    /// Its name.
    pub name: Hostname,
    /// The agent's 48 bits.
    pub node_id: NodeId,
    /// Its address.
    pub address: Address,
}

/// `GET /v1/groups/invitations`: invitations that wait for an answer.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvitationsRequest {}

/// Invitations that wait for an answer.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Invitations {
    /// By name.
    pub invites: Vec<Invitation>,
}

/// An invitation.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Invitation {
    /// The group's number.
    pub network_id: NetworkId,
    /// Its name.
    pub name: Hostname,
    /// Who invites.
    pub from: NodeId,
    /// Its address.
    pub from_address: Address,
    /// Its name, if it is known.
    pub from_hostname: Option<Hostname>,
    /// Until when it may be accepted.
    #[serde(with = "field::rfc3339")]
    #[schemars(with = "schema::TimeText")]
    pub expires_at: UnixTime,
}

/// `POST /v1/groups/decline`: forget an invitation.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclineInvitationRequest {
    /// The group's name.
    pub name: Hostname,
}

/// `POST /v1/groups/kick`: remove a member.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KickRequest {
    /// Whom.
    pub peer: PeerRef,
    /// Name or number; may be left out by who is in one group.
    #[serde(default)]
    pub group: Option<String>,
    /// The deadline in milliseconds, 0 for none; 30 s by default.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// `POST /v1/groups/role`: make a member an admin, or a plain member again.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetRoleRequest {
    /// Whom.
    pub peer: PeerRef,
    /// What it is to be: `admin` or `member`.
    pub role: GroupRole,
    /// Name or number; may be left out by who is in one group.
    #[serde(default)]
    pub group: Option<String>,
    /// The deadline in milliseconds, 0 for none; 30 s by default.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// Who may broadcast.
#[derive(Clone, Copy, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speakers {
    /// Every member.
    Members,
    /// Owner and admins.
    Admins,
    /// The owner.
    Owner,
    /// Nobody.
    Nobody,
}

/// `POST /v1/groups/policy`: what holds in a group; the owner changes it.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupPolicyRequest {
    /// Name or number; may be left out by who is in one group.
    #[serde(default)]
    pub group: Option<String>,
    /// Who becomes a member by asking.
    #[serde(default)]
    pub join: Option<JoinRule>,
    /// Whether members trust each other without asking.
    #[serde(default)]
    pub auto_trust: Option<bool>,
    /// Ports with which they do: `7,1000-1002` or `all`.
    #[serde(default)]
    pub ports: Option<String>,
    /// Who may broadcast.
    #[serde(default)]
    pub broadcast: Option<Speakers>,
    /// Whether what is said to all is left in the mailboxes of members that are away.
    #[serde(default)]
    pub mailbox: Option<bool>,
    /// A new token: the one before lets nobody in any more.
    #[serde(default)]
    pub new_token: bool,
}

/// What holds in a group.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct GroupPolicy {
    /// The group's number.
    pub network_id: NetworkId,
    /// Its name.
    pub name: Hostname,
    /// Who becomes a member by asking.
    pub join_rule: JoinRule,
    /// Whether members trust each other without asking.
    pub auto_trust: bool,
    /// Ports with which they do.
    pub ports: String,
    /// Who may broadcast.
    pub broadcast: Speakers,
    /// Whether what is said to all is left in the mailboxes of members that are away.
    pub mailbox: bool,
    /// The token, where a new one was asked for: shown this once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// `POST /v1/broadcast`: put a message into the inbox of every member that is online, and into the mailboxes of those who are away where the
/// group's policy says so.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub struct BroadcastRequest {
    /// Name or number of the group.
    pub group: String,
    /// How the body is to be read.
    #[serde(default, rename = "type")]
    pub kind: MessageKind,
    /// The body: `data`, or `data_b64` where it is no text. At most 40 KiB.
    #[serde(flatten, deserialize_with = "payload::closed")]
    pub body: Payload,
    /// The deadline in milliseconds, 0 for none; 30 s by default.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// `POST /v1/groups/route`: put a message into the inbox of the member that does it best, or of the next one.
///
/// A member fits that is online and says that it has the capability. Of those, one without failures in the last minute goes first, then the one with fewer
/// open requests of ours, with shorter answers or round trips, with the higher version, and the one that was asked longest ago. Where a member fails, or does not answer within
/// its share of the time, the next one is asked too, up to 8; the first answer counts. No member gets the message twice.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
pub struct RouteRequest {
    /// Name or number of the group.
    pub group: String,
    /// `NAME`, or `NAME@VERSION` for that version and later compatible ones.
    pub capability: String,
    /// How the body is to be read.
    #[serde(default, rename = "type")]
    pub kind: MessageKind,
    /// The body: `data`, or `data_b64` where it is no text. At most 64 MiB.
    #[serde(flatten, deserialize_with = "payload::closed")]
    pub body: Payload,
    /// Wait so long for a reply; zero for without end. None: a member's inbox is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// The deadline in milliseconds, not shorter than the wait: none for 30 s, zero for without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// A message that a member took.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Routed {
    /// The group's number.
    pub network_id: NetworkId,
    /// The member.
    pub target: Address,
    /// Its 48 bits.
    pub node_id: NodeId,
    /// The message's name.
    #[serde(with = "field::text")]
    #[schemars(with = "schema::MessageIdText")]
    pub id: MessageId,
    /// Every member that was asked, in order.
    pub attempts: Vec<RouteAttempt>,
    /// The answer, if it was waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<MessageReply>,
}

/// A member that was asked.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct RouteAttempt {
    /// Who.
    #[serde(flatten)]
    pub agent: AgentSummary,
    /// How it went.
    pub outcome: RouteOutcome,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How asking a member went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteOutcome {
    /// Its answer counts.
    Answered,
    /// The message is in its inbox.
    Delivered,
    /// It was not reached, or refused.
    Failed,
    /// It had not answered when another one did, or when the time was over.
    Unanswered,
}

/// A message that was sent to all members.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct BroadcastSent {
    /// The group's number.
    pub network_id: NetworkId,
    /// Members that it was sent to straight: those that are online.
    pub sent: u64,
    /// Members that have it in their inbox.
    pub delivered: u64,
    /// Members that find it in their mailbox.
    pub deposited: u64,
}
