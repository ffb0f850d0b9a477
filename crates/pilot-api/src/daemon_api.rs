//! What a daemon offers to the API's server.

use std::future::Future;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::error::ApiError;
use crate::types::{
    AcceptInfo, AcceptInvitationRequest, AcceptRequest, AppAudit, AppAuditRequest, AppCalled,
    AppCaps, AppCapsRequest, AppInstalled, AppStatus, AppStatusRequest, AppUninstalled, AppViewed,
    ApproveRequest, Approved, Apps, AppsRequest, BenchRequest, Benched, BroadcastRequest,
    BroadcastSent, CallAppRequest, CapabilitiesSet, CatalogueListed, CatalogueRequest, Connections,
    ConnectionsRequest, CreateGroupRequest, DaemonStatus, DatagramSent, Datagrams,
    DeclineInvitationRequest, DeregisterRequest, Deregistered, DialInfo, DialRequest,
    DisconnectRequest, Disconnected, EventPublished, ExplainRequest, Explained, ExposeRequest,
    FileSent, FilesSending, FilesSendingRequest, FilterRequest, FilterState, FindRequest,
    ForwardRequest, Found, GroupCreated, GroupJoined, GroupLeft, GroupMembers, GroupMembersRequest,
    GroupPolicy, GroupPolicyRequest, Groups, GroupsRequest, HandshakeRequest, HostnameSet, Inbox,
    InboxReadRequest, InboxRequest, Info, InfoRequest, InstallAppRequest, Invitations,
    InvitationsRequest, InviteRequest, JoinGroupRequest, KeysChanged, KickRequest, Knocked,
    LeaveGroupRequest, LookedUp, LookupRequest, MemberChanged, MessageSent, NewRecoveryRequest,
    Notice, PeerApps, PeerAppsRequest, Peers, PeersRequest, Pending, PendingRequest, PingRequest,
    Pong, ProxyRequest, PublishRequest, ReceiveDatagramsRequest, Received, ReceivedRequest,
    RecoveryRequest, RecoveryShown, RejectRequest, Rejected, RestartAppRequest, RollBackAppRequest,
    RotateKeyRequest, RouteRequest, Routed, SearchFound, SearchRequest, SendDatagramRequest,
    SendFileRequest, SendMessageRequest, ServeRequest, SetCapabilitiesRequest, SetFilterRequest,
    SetHostnameRequest, SetRoleRequest, SetTagsRequest, SetVisibilityRequest, SetWebhookRequest,
    StatusRequest, StopRequest, Stopped, SubscribeRequest, Subscribed, TagsSet, TcpOpened,
    TestWebhookRequest, TicketIssued, TicketRequest, TrustRequest, Trusted, UninstallAppRequest,
    UntrustRequest, Untrusted, UseRecoveryRequest, ViewAppRequest, VisibilitySet, WatchRequest,
    Webhook, WebhookRequest, WebhookSet, WebhookTested,
};

/// The two directions of a stream in one object.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A stream of the overlay. `shutdown` ends this direction and leaves the other; dropping it unfinished breaks it off.
///
/// An I/O error whose inner error is an [`ApiError`] is told to the caller as it is, any other as `connection_failed`.
pub type BoxStream = Box<dyn ByteStream>;

/// The calls that an envelope answers, and others of the same form, for a macro that takes them.
macro_rules! calls {
    ($then:ident; $($more:tt)*) => {
        $then! {
            /// The daemon in short.
            status: StatusRequest => DaemonStatus;
            /// Ends the daemon: the method returns at once, the end comes after the answer.
            stop: StopRequest => Stopped;
            /// Everything about this agent.
            info: InfoRequest => Info;
            /// Claims a name or gives it up.
            set_hostname: SetHostnameRequest => HostnameSet;
            /// Replaces the tags.
            set_tags: SetTagsRequest => TagsSet;
            /// Replaces what this agent says that it can do.
            set_capabilities: SetCapabilitiesRequest => CapabilitiesSet;
            /// Shows the record to everybody, or to trusted agents only.
            set_visibility: SetVisibilityRequest => VisibilitySet;
            /// New keys for this agent.
            rotate_key: RotateKeyRequest => KeysChanged;
            /// Whether there is a recovery key.
            recovery: RecoveryRequest => RecoveryShown;
            /// Lets a key recover this agent.
            new_recovery: NewRecoveryRequest => KeysChanged;
            /// New keys by right of the recovery key.
            use_recovery: UseRecoveryRequest => KeysChanged;
            /// Issues a ticket.
            ticket: TicketRequest => TicketIssued;
            /// An agent by its name.
            find: FindRequest => Found;
            /// An agent by any of its names.
            lookup: LookupRequest => LookedUp;
            /// Agents that fit.
            search: SearchRequest => SearchFound;
            /// Creates a group.
            create_group: CreateGroupRequest => GroupCreated;
            /// Groups that this agent is in.
            groups: GroupsRequest => Groups;
            /// Becomes a member of a group.
            join_group: JoinGroupRequest => GroupJoined;
            /// Leaves a group.
            leave_group: LeaveGroupRequest => GroupLeft;
            /// Members of a group.
            group_members: GroupMembersRequest => GroupMembers;
            /// Lets an agent join a group.
            invite: InviteRequest => MemberChanged;
            /// Invitations that wait for an answer.
            invitations: InvitationsRequest => Invitations;
            /// Takes an invitation.
            accept_invitation: AcceptInvitationRequest => GroupJoined;
            /// Forgets an invitation.
            decline_invitation: DeclineInvitationRequest => GroupLeft;
            /// Removes a member of a group.
            kick: KickRequest => MemberChanged;
            /// Makes a member an admin, or a plain member.
            set_role: SetRoleRequest => MemberChanged;
            /// What holds in a group.
            group_policy: GroupPolicyRequest => GroupPolicy;
            /// Sends a message to all members of a group that are online.
            broadcast: BroadcastRequest => BroadcastSent;
            /// Asks the best member of a group, and the next one where that does not answer.
            route: RouteRequest => Routed;
            /// Agents with a live session.
            peers: PeersRequest => Peers;
            /// Asks an agent for trust.
            handshake: HandshakeRequest => Knocked;
            /// Knocks that wait for an answer.
            pending: PendingRequest => Pending;
            /// Grants trust.
            approve: ApproveRequest => Approved;
            /// Drops a knock.
            reject: RejectRequest => Rejected;
            /// Revokes what was granted.
            untrust: UntrustRequest => Untrusted;
            /// Agents with which there is trust.
            trust: TrustRequest => Trusted;
            /// One round trip.
            ping: PingRequest => Pong;
            /// Why packets to an agent travel as they do.
            explain: ExplainRequest => Explained;
            /// Puts a message into an agent's inbox.
            send_message: SendMessageRequest => MessageSent;
            /// Messages that came.
            inbox: InboxRequest => Inbox;
            /// One message, whole, as the only one of the answer; `not_found` if there is none of that name.
            inbox_read: InboxReadRequest => Inbox;
            /// Sends a file.
            send_file: SendFileRequest => FileSent;
            /// Files that are being sent.
            files_sending: FilesSendingRequest => FilesSending;
            /// Files that came.
            received: ReceivedRequest => Received;
            /// Open streams.
            connections: ConnectionsRequest => Connections;
            /// Gives an open stream up.
            disconnect: DisconnectRequest => Disconnected;
            /// Takes this agent out of the registry.
            deregister: DeregisterRequest => Deregistered;
            /// Sends a datagram.
            send_datagram: SendDatagramRequest => DatagramSent;
            /// Waits for datagrams to a port.
            receive_datagrams: ReceiveDatagramsRequest => Datagrams;
            /// Measures how fast bytes go to an agent.
            bench: BenchRequest => Benched;
            /// Installed apps.
            apps: AppsRequest => Apps;
            /// Apps of another agent.
            peer_apps: PeerAppsRequest => PeerApps;
            /// What the catalogues have.
            catalogue: CatalogueRequest => CatalogueListed;
            /// What an app of a catalogue is.
            view_app: ViewAppRequest => AppViewed;
            /// Installs an app, or upgrades to it.
            install_app: InstallAppRequest => AppInstalled;
            /// Goes back to the version before.
            roll_back_app: RollBackAppRequest => AppInstalled;
            /// Removes an app.
            uninstall_app: UninstallAppRequest => AppUninstalled;
            /// How an app stands.
            app_status: AppStatusRequest => AppStatus;
            /// Ends an app's process; the next call starts it.
            restart_app: RestartAppRequest => AppStatus;
            /// What an app may do.
            app_caps: AppCapsRequest => AppCaps;
            /// Calls a method of an app.
            call_app: CallAppRequest => AppCalled;
            /// What apps were asked.
            app_audit: AppAuditRequest => AppAudit;
            /// The owner's filter.
            filter: FilterRequest => FilterState;
            /// Sets the owner's filter, or none.
            set_filter: SetFilterRequest => FilterState;
            /// Hands an event to a broker.
            publish: PublishRequest => EventPublished;
            /// How the webhook does.
            webhook: WebhookRequest => Webhook;
            /// Posts notices to a URL, or no longer.
            set_webhook: SetWebhookRequest => WebhookSet;
            /// Posts a notice to see whether it arrives.
            test_webhook: TestWebhookRequest => WebhookTested;
            $($more)*
        }
    };
}
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use calls;

macro_rules! daemon_api {
    ($($(#[doc = $doc:literal])+ $name:ident: $request:ty => $answer:ty;)+) => {
        /// A daemon, as the API's server sees it: one method a command.
        ///
        /// The server keeps the deadlines: at a request's deadline it drops the future, which must leave nothing half done.
        ///
        /// # Errors
        /// Every method gives an [`ApiError`] with the code that `docs/cli.md` has for the case.
        pub trait DaemonApi: Send + Sync + 'static {
            $(
                $(#[doc = $doc])+
                fn $name(
                    &self,
                    request: $request,
                ) -> impl Future<Output = Result<$answer, ApiError>> + Send;
            )+
        }
    };
}

calls! { daemon_api;
    /// What happens from now on, and what of the past is asked for and kept.
    watch: WatchRequest => mpsc::Receiver<Notice>;
    /// Opens a stream to an agent.
    dial: DialRequest => (DialInfo, BoxStream);
    /// Subscribes at a broker; the stream brings an event a line.
    subscribe: SubscribeRequest => (Subscribed, BoxStream);
    /// Takes a stream that came.
    accept: AcceptRequest => (AcceptInfo, BoxStream);
    /// Leads a TCP port to a port of an agent; the stream brings a fault a line.
    forward: ForwardRequest => (TcpOpened, BoxStream);
    /// Leads a port of this agent to a TCP port; the stream brings a fault a line.
    expose: ExposeRequest => (TcpOpened, BoxStream);
    /// Serves files on a port of this agent; the stream brings a fault a line.
    serve: ServeRequest => (TcpOpened, BoxStream);
    /// Opens a proxy to agents; the stream brings a fault a line.
    proxy: ProxyRequest => (TcpOpened, BoxStream);
}
