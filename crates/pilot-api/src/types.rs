//! Every request and answer of the API. A request's type names its path ([`Call`]); fields are as `docs/cli.md` has them.
//!
//! Fields are added, never renamed. A request with an unknown field is refused, so that a misspelt limit limits all the same.

mod agent;
mod app;
mod bench;
mod daemon;
mod datagram;
mod discovery;
mod event;
mod explain;
mod field;
mod file;
mod filter;
mod group;
mod keys;
mod message;
mod notice;
mod schema;
mod search;
mod stream;
mod tcp;
mod trust;

use pilot_wire::limits::MAX_MESSAGE;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use agent::{AgentSummary, PathKind, PublicKey};
pub use app::{
    AppAudit, AppAuditRequest, AppCalled, AppCaps, AppCapsRequest, AppInstalled, AppMethod,
    AppStatus, AppStatusRequest, AppSummary, AppUninstalled, AppViewed, Apps, AppsRequest,
    AskedGrant, AuditedEvent, CallAppRequest, CatalogueApp, CatalogueListed, CatalogueRequest,
    GrantHeld, InstallAppRequest, PeerApp, PeerApps, PeerAppsRequest, RestartAppRequest,
    RollBackAppRequest, RuleHeld, UninstallAppRequest, ViewAppRequest,
};
pub use bench::{BenchRequest, Benched};
pub use daemon::{
    ApiLoad, DaemonStatus, DeregisterRequest, Deregistered, HostnameSet, Info, InfoRequest,
    NatInfo, PortMappingInfo, RelayInfo, RelayLink, RendezvousInfo, SetHostnameRequest,
    SetTagsRequest, SetVisibilityRequest, Started, StatusRequest, StopRequest, Stopped, TagsSet,
    TicketIssued, TicketRequest, VisibilitySet,
};
pub use datagram::{
    Datagram, DatagramSent, Datagrams, ReceiveDatagramsRequest, SendDatagramRequest,
};
pub use discovery::{
    ConnectionSummary, Connections, ConnectionsRequest, DisconnectRequest, Disconnected,
    FindRequest, Found, LookedUp, LookupRequest, PeerSummary, Peers, PeersRequest, PingRequest,
    Pong,
};
pub use event::{
    Event, EventLine, EventPublished, MembersReached, PublishRequest, SubscribeRequest, Subscribed,
};
pub use explain::{ExplainRequest, Explained, PathCandidate};
pub use file::{
    FileSending, FileSent, FilesSending, FilesSendingRequest, Received, ReceivedFile,
    ReceivedRequest, SendFileRequest,
};
pub use filter::{
    FilterCounts, FilterOnFailure, FilterRequest, FilterStage, FilterState, Filtered,
    FilteredVerdict, SetFilterRequest,
};
pub use group::{
    AcceptInvitationRequest, BroadcastRequest, BroadcastSent, CreateGroupRequest,
    DeclineInvitationRequest, GroupCreated, GroupJoined, GroupLeft, GroupMember, GroupMembers,
    GroupMembersRequest, GroupPolicy, GroupPolicyRequest, GroupRole, GroupSummary, Groups,
    GroupsRequest, Invitation, Invitations, InvitationsRequest, InviteRequest, JoinGroupRequest,
    JoinRule, KickRequest, LeaveGroupRequest, MemberChanged, RouteAttempt, RouteOutcome,
    RouteRequest, Routed, SetRoleRequest, Speakers,
};
pub use keys::{
    KeyState, KeysChanged, NewRecoveryRequest, RecoveryRequest, RecoveryShown, RotateKeyRequest,
    UseRecoveryRequest,
};
pub use message::{
    Inbox, InboxMessage, InboxReadRequest, InboxRequest, MessageKind, MessageReply, MessageSent,
    SendMessageRequest,
};
pub use notice::{
    Notice, NoticeKind, SetWebhookRequest, TestWebhookRequest, WatchRequest, Webhook,
    WebhookRequest, WebhookSet, WebhookTested, What,
};
pub use search::{
    AgentFound, CapabilitiesSet, Capability, SearchFound, SearchRequest, SetCapabilitiesRequest,
};
pub use stream::{
    AcceptInfo, AcceptRequest, DialInfo, DialRequest, StreamEnded, StreamOutcomeRequest,
};
pub use tcp::{ExposeRequest, ForwardRequest, ProxyRequest, ServeRequest, TcpFault, TcpOpened};
pub use trust::{
    ApproveRequest, Approved, AppsGranted, HandshakeRequest, HandshakeStatus, Knocked, Pending,
    PendingKnock, PendingRequest, RejectRequest, Rejected, TrustRequest, Trusted, TrustedAgent,
    UntrustRequest, Untrusted,
};

/// How a request is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// It changes nothing and says nothing: no body.
    Get,
    /// Its body is JSON; an empty one is `{}`.
    Post,
}

/// A request, which names its path and its answer.
///
/// The comment of its type begins with "`VERB PATH`: " and describes the operation in the API's document.
pub trait Call: JsonSchema + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// How it is made.
    const VERB: Verb;
    /// Where.
    const PATH: &'static str;
    /// Longest body that the server reads: names, reasons and a ticket fit many times.
    const MAX_BODY: usize = 64 * 1024;
    /// What comes back in the envelope's `data`.
    type Answer: JsonSchema + Serialize + DeserializeOwned + Send + 'static;

    /// The deadline that the caller asks for: `None` for the default of 30 s, zero for none.
    fn timeout_ms(&self) -> Option<u64> {
        None
    }
}

macro_rules! calls {
    ($($verb:ident $path:literal $request:ty => $answer:ty;)+) => {
        $(impl Call for $request {
            const VERB: Verb = Verb::$verb;
            const PATH: &'static str = $path;
            type Answer = $answer;
        })+
    };
}

calls! {
    Get "/v1/status" StatusRequest => DaemonStatus;
    Post "/v1/stop" StopRequest => Stopped;
    Get "/v1/info" InfoRequest => Info;
    Post "/v1/hostname" SetHostnameRequest => HostnameSet;
    Post "/v1/tags" SetTagsRequest => TagsSet;
    Post "/v1/capabilities" SetCapabilitiesRequest => CapabilitiesSet;
    Post "/v1/visibility" SetVisibilityRequest => VisibilitySet;
    Post "/v1/keys/rotate" RotateKeyRequest => KeysChanged;
    Get "/v1/recovery" RecoveryRequest => RecoveryShown;
    Post "/v1/recovery/new" NewRecoveryRequest => KeysChanged;
    Post "/v1/recovery/use" UseRecoveryRequest => KeysChanged;
    Post "/v1/ticket" TicketRequest => TicketIssued;
    Post "/v1/deregister" DeregisterRequest => Deregistered;
    Post "/v1/peers" PeersRequest => Peers;
    Get "/v1/pending" PendingRequest => Pending;
    Post "/v1/approve" ApproveRequest => Approved;
    Post "/v1/reject" RejectRequest => Rejected;
    Post "/v1/untrust" UntrustRequest => Untrusted;
    Post "/v1/trust" TrustRequest => Trusted;
    Post "/v1/inbox" InboxRequest => Inbox;
    Post "/v1/inbox/read" InboxReadRequest => Inbox;
    Get "/v1/files/sending" FilesSendingRequest => FilesSending;
    Post "/v1/files/received" ReceivedRequest => Received;
    Get "/v1/connections" ConnectionsRequest => Connections;
    Post "/v1/disconnect" DisconnectRequest => Disconnected;
    Get "/v1/apps" AppsRequest => Apps;
    Get "/v1/apps/filter" FilterRequest => FilterState;
    Get "/v1/groups" GroupsRequest => Groups;
    Post "/v1/groups/leave" LeaveGroupRequest => GroupLeft;
    Get "/v1/groups/invitations" InvitationsRequest => Invitations;
    Post "/v1/groups/decline" DeclineInvitationRequest => GroupLeft;
    Post "/v1/groups/policy" GroupPolicyRequest => GroupPolicy;
    Post "/v1/apps/catalogue" CatalogueRequest => CatalogueListed;
    Post "/v1/apps/view" ViewAppRequest => AppViewed;
    Post "/v1/apps/rollback" RollBackAppRequest => AppInstalled;
    Post "/v1/apps/uninstall" UninstallAppRequest => AppUninstalled;
    Post "/v1/apps/status" AppStatusRequest => AppStatus;
    Post "/v1/apps/restart" RestartAppRequest => AppStatus;
    Post "/v1/apps/caps" AppCapsRequest => AppCaps;
    Post "/v1/apps/audit" AppAuditRequest => AppAudit;
    Post "/v1/apps/filter/set" SetFilterRequest => FilterState;
    Get "/v1/watch" WatchRequest => Notice;
    Get "/v1/webhook" WebhookRequest => Webhook;
    Post "/v1/webhook/set" SetWebhookRequest => WebhookSet;
    Post "/v1/tcp/forward" ForwardRequest => TcpOpened;
    Post "/v1/tcp/expose" ExposeRequest => TcpOpened;
    Post "/v1/tcp/serve" ServeRequest => TcpOpened;
    Post "/v1/tcp/proxy" ProxyRequest => TcpOpened;
}

impl Call for SendMessageRequest {
    const VERB: Verb = Verb::Post;
    const PATH: &'static str = "/v1/messages";
    /// A message in base64 takes four thirds of its length.
    const MAX_BODY: usize = MAX_MESSAGE / 3 * 4 + 64 * 1024;
    type Answer = MessageSent;

    fn timeout_ms(&self) -> Option<u64> {
        self.timeout_ms
    }
}

impl Call for RouteRequest {
    const VERB: Verb = Verb::Post;
    const PATH: &'static str = "/v1/groups/route";
    /// A message in base64 takes four thirds of its length.
    const MAX_BODY: usize = MAX_MESSAGE / 3 * 4 + 64 * 1024;
    type Answer = Routed;

    fn timeout_ms(&self) -> Option<u64> {
        self.timeout_ms
    }
}

impl Call for CallAppRequest {
    const VERB: Verb = Verb::Post;
    const PATH: &'static str = "/v1/apps/call";
    /// Arguments of 1 MiB, and the rest.
    const MAX_BODY: usize = 1024 * 1024 + 64 * 1024;
    type Answer = AppCalled;

    fn timeout_ms(&self) -> Option<u64> {
        self.timeout_ms
    }
}

macro_rules! calls_with_deadline {
    ($($path:literal $request:ty => $answer:ty;)+) => {
        $(impl Call for $request {
            const VERB: Verb = Verb::Post;
            const PATH: &'static str = $path;
            type Answer = $answer;

            fn timeout_ms(&self) -> Option<u64> {
                self.timeout_ms
            }
        })+
    };
}

calls_with_deadline! {
    "/v1/find" FindRequest => Found;
    "/v1/lookup" LookupRequest => LookedUp;
    "/v1/search" SearchRequest => SearchFound;
    "/v1/groups/create" CreateGroupRequest => GroupCreated;
    "/v1/groups/join" JoinGroupRequest => GroupJoined;
    "/v1/groups/accept" AcceptInvitationRequest => GroupJoined;
    "/v1/groups/members" GroupMembersRequest => GroupMembers;
    "/v1/groups/invite" InviteRequest => MemberChanged;
    "/v1/groups/kick" KickRequest => MemberChanged;
    "/v1/groups/role" SetRoleRequest => MemberChanged;
    "/v1/broadcast" BroadcastRequest => BroadcastSent;
    "/v1/handshake" HandshakeRequest => Knocked;
    "/v1/ping" PingRequest => Pong;
    "/v1/explain" ExplainRequest => Explained;
    "/v1/bench" BenchRequest => Benched;
    "/v1/datagrams" SendDatagramRequest => DatagramSent;
    "/v1/datagrams/receive" ReceiveDatagramsRequest => Datagrams;
    "/v1/events/publish" PublishRequest => EventPublished;
    "/v1/events/subscribe" SubscribeRequest => Subscribed;
    "/v1/files" SendFileRequest => FileSent;
    "/v1/apps/install" InstallAppRequest => AppInstalled;
    "/v1/apps/peer" PeerAppsRequest => PeerApps;
    "/v1/webhook/test" TestWebhookRequest => WebhookTested;
    "/v1/dial" DialRequest => DialInfo;
    "/v1/accept" AcceptRequest => AcceptInfo;
    "/v1/streams/outcome" StreamOutcomeRequest => StreamEnded;
}
