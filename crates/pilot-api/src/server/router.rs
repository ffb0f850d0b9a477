//! Paths and deadlines.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::routing::{MethodRouter, get, post};
use bytes::Bytes;
use schemars::JsonSchema;
use tokio::sync::watch;

use super::answer;
use super::body::{self, LargeBodies};
use super::document::{self, Document};
use super::outcomes::Outcomes;
use super::places::{Places, Refusal};
use super::{feed, upgrade};
use crate::daemon_api::DaemonApi;
use crate::error::{ApiError, ErrorCode};
use crate::types::{
    AcceptInvitationRequest, AcceptRequest, AppAuditRequest, AppCapsRequest, AppStatusRequest,
    ApproveRequest, AppsRequest, BenchRequest, BroadcastRequest, Call, CallAppRequest,
    CatalogueRequest, ConnectionsRequest, CreateGroupRequest, DeclineInvitationRequest,
    DeregisterRequest, DialRequest, DisconnectRequest, EventLine, ExplainRequest, ExposeRequest,
    FilesSendingRequest, FilterRequest, FindRequest, ForwardRequest, GroupMembersRequest,
    GroupPolicyRequest, GroupsRequest, HandshakeRequest, InboxReadRequest, InboxRequest,
    InfoRequest, InstallAppRequest, InvitationsRequest, InviteRequest, JoinGroupRequest,
    KickRequest, LeaveGroupRequest, LookupRequest, NewRecoveryRequest, PeerAppsRequest,
    PeersRequest, PendingRequest, PingRequest, ProxyRequest, PublishRequest,
    ReceiveDatagramsRequest, ReceivedRequest, RecoveryRequest, RejectRequest, RestartAppRequest,
    RollBackAppRequest, RotateKeyRequest, RouteRequest, SearchRequest, SendDatagramRequest,
    SendFileRequest, SendMessageRequest, ServeRequest, SetCapabilitiesRequest, SetFilterRequest,
    SetHostnameRequest, SetRoleRequest, SetTagsRequest, SetVisibilityRequest, SetWebhookRequest,
    StatusRequest, StopRequest, StreamOutcomeRequest, SubscribeRequest, TcpFault,
    TestWebhookRequest, TicketRequest, TrustRequest, UninstallAppRequest, UntrustRequest,
    UseRecoveryRequest, Verb, ViewAppRequest, WatchRequest, WebhookRequest,
};

/// The deadline of a request that names none.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);
/// What all requests share.
pub(crate) struct Shared<D> {
    api: Arc<D>,
    closed: watch::Receiver<bool>,
    pub(super) places: Arc<Places>,
    pub(super) large_bodies: LargeBodies,
    pub(super) outcomes: Outcomes,
}

impl<D> Shared<D> {
    pub(crate) fn new(api: Arc<D>, places: Arc<Places>, closed: watch::Receiver<bool>) -> Self {
        Self {
            api,
            closed,
            places,
            large_bodies: LargeBodies::new(),
            outcomes: Outcomes::default(),
        }
    }

    pub(super) fn api(&self) -> Arc<D> {
        Arc::clone(&self.api)
    }

    /// Tells when the server ends.
    pub(crate) fn closed(&self) -> Closed {
        Closed::new(self.closed.clone())
    }
}

/// Resolves once the server ends.
pub(crate) struct Closed(watch::Receiver<bool>);

impl Closed {
    pub(super) fn new(closed: watch::Receiver<bool>) -> Self {
        Self(closed)
    }

    pub(super) async fn wait(&mut self) {
        // A sender that is gone means the same as one that said so.
        drop(self.0.wait_for(|closed| *closed).await);
    }
}

macro_rules! routes {
    ($routes:expr; $($method:ident: $request:ty;)+) => {
        $routes$(.call(stringify!($method), |shared: Arc<Shared<D>>, request: $request| async move {
            shared.api().$method(request).await
        }))+
    };
}

/// All paths of the API.
pub(crate) fn router<D: DaemonApi>(shared: Arc<Shared<D>>) -> Router {
    let routes = routes! { Routes::new();
        status: StatusRequest;
        stop: StopRequest;
        info: InfoRequest;
        set_hostname: SetHostnameRequest;
        set_tags: SetTagsRequest;
        set_capabilities: SetCapabilitiesRequest;
        set_visibility: SetVisibilityRequest;
        rotate_key: RotateKeyRequest;
        recovery: RecoveryRequest;
        new_recovery: NewRecoveryRequest;
        use_recovery: UseRecoveryRequest;
        ticket: TicketRequest;
        find: FindRequest;
        lookup: LookupRequest;
        search: SearchRequest;
        create_group: CreateGroupRequest;
        groups: GroupsRequest;
        join_group: JoinGroupRequest;
        leave_group: LeaveGroupRequest;
        group_members: GroupMembersRequest;
        invite: InviteRequest;
        invitations: InvitationsRequest;
        accept_invitation: AcceptInvitationRequest;
        decline_invitation: DeclineInvitationRequest;
        kick: KickRequest;
        set_role: SetRoleRequest;
        group_policy: GroupPolicyRequest;
        broadcast: BroadcastRequest;
        route: RouteRequest;
        peers: PeersRequest;
        handshake: HandshakeRequest;
        pending: PendingRequest;
        approve: ApproveRequest;
        reject: RejectRequest;
        untrust: UntrustRequest;
        trust: TrustRequest;
        ping: PingRequest;
        explain: ExplainRequest;
        send_message: SendMessageRequest;
        inbox: InboxRequest;
        inbox_read: InboxReadRequest;
        send_file: SendFileRequest;
        files_sending: FilesSendingRequest;
        received: ReceivedRequest;
        publish: PublishRequest;
        connections: ConnectionsRequest;
        disconnect: DisconnectRequest;
        deregister: DeregisterRequest;
        send_datagram: SendDatagramRequest;
        receive_datagrams: ReceiveDatagramsRequest;
        bench: BenchRequest;
        apps: AppsRequest;
        peer_apps: PeerAppsRequest;
        catalogue: CatalogueRequest;
        view_app: ViewAppRequest;
        install_app: InstallAppRequest;
        roll_back_app: RollBackAppRequest;
        uninstall_app: UninstallAppRequest;
        app_status: AppStatusRequest;
        restart_app: RestartAppRequest;
        app_caps: AppCapsRequest;
        call_app: CallAppRequest;
        app_audit: AppAuditRequest;
        filter: FilterRequest;
        set_filter: SetFilterRequest;
        webhook: WebhookRequest;
        set_webhook: SetWebhookRequest;
        test_webhook: TestWebhookRequest;
    };
    routes
        .call(
            "stream_outcome",
            |shared: Arc<Shared<D>>, request: StreamOutcomeRequest| async move {
                shared.outcomes.wait(request.stream).await
            },
        )
        .upgrade::<DialRequest, _, _>("dial", upgrade::dial::<D>)
        .upgrade::<AcceptRequest, _, _>("accept", upgrade::accept::<D>)
        .upgrade_to_lines::<SubscribeRequest, EventLine, _, _>("subscribe", upgrade::subscribe::<D>)
        .upgrade_to_lines::<ForwardRequest, TcpFault, _, _>("forward", upgrade::forward::<D>)
        .upgrade_to_lines::<ExposeRequest, TcpFault, _, _>("expose", upgrade::expose::<D>)
        .upgrade_to_lines::<ServeRequest, TcpFault, _, _>("serve", upgrade::serve::<D>)
        .upgrade_to_lines::<ProxyRequest, TcpFault, _, _>("proxy", upgrade::proxy::<D>)
        .feed::<WatchRequest, _, _>("watch", feed::watch::<D>)
        .finish()
        .fallback(|| std::future::ready(answer::failure(&no_such_path())))
        .method_not_allowed_fallback(|| std::future::ready(answer::failure(&wrong_method())))
        .with_state(shared)
}

/// Routes and their document. A path gets into both or into neither.
struct Routes<D> {
    router: Router<Arc<Shared<D>>>,
    document: Document,
}

impl<D: DaemonApi> Routes<D> {
    fn new() -> Self {
        Self {
            router: Router::new(),
            document: Document::new(),
        }
    }

    fn call<R, F, Fut>(mut self, id: &str, run: F) -> Self
    where
        R: Call,
        F: Fn(Arc<Shared<D>>, R) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<R::Answer, ApiError>> + Send + 'static,
    {
        self.document.call::<R>(id);
        self.router = self.router.route(R::PATH, route::<D, R, F, Fut>(run));
        self
    }

    fn upgrade<R, F, Fut>(mut self, id: &str, handler: F) -> Self
    where
        R: Call,
        F: Fn(State<Arc<Shared<D>>>, Request) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<Body>> + Send + 'static,
    {
        self.document.upgrade::<R>(id);
        self.router = self.router.route(R::PATH, post(handler));
        self
    }

    fn upgrade_to_lines<R, L, F, Fut>(mut self, id: &str, handler: F) -> Self
    where
        R: Call,
        L: JsonSchema,
        F: Fn(State<Arc<Shared<D>>>, Request) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<Body>> + Send + 'static,
    {
        self.document.upgrade_to_lines::<R, L>(id);
        self.router = self.router.route(R::PATH, post(handler));
        self
    }

    fn feed<R, F, Fut>(mut self, id: &str, handler: F) -> Self
    where
        R: Call,
        F: Fn(State<Arc<Shared<D>>>, Request) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<Body>> + Send + 'static,
    {
        self.document.feed::<R>(id);
        self.router = self.router.route(R::PATH, get(handler));
        self
    }

    fn finish(self) -> Router<Arc<Shared<D>>> {
        let document = Bytes::from(self.document.finish().to_string());
        let handler = move || std::future::ready(answer::document(document.clone()));
        self.router.route(document::PATH, get(handler))
    }
}

fn route<D, R, F, Fut>(run: F) -> MethodRouter<Arc<Shared<D>>>
where
    D: DaemonApi,
    R: Call,
    F: Fn(Arc<Shared<D>>, R) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<R::Answer, ApiError>> + Send + 'static,
{
    let handler = move |State(shared): State<Arc<Shared<D>>>, request: Request| async move {
        handle::<D, R, F, Fut>(shared, request, run).await
    };
    match R::VERB {
        Verb::Get => get(handler),
        Verb::Post => post(handler),
    }
}

async fn handle<D, R, F, Fut>(shared: Arc<Shared<D>>, request: Request, run: F) -> Response<Body>
where
    D: DaemonApi,
    R: Call,
    F: Fn(Arc<Shared<D>>, R) -> Fut,
    Fut: Future<Output = Result<R::Answer, ApiError>>,
{
    let _large = match shared.large_bodies.permit::<R>(request.headers()).await {
        Ok(permit) => permit,
        Err(error) => {
            shared.places.count(Refusal::LargeBodies);
            return answer::last(&error);
        }
    };
    let bytes = match body::receive::<R>(request.into_body(), &shared.places).await {
        Ok(bytes) => bytes,
        Err(error) => return answer::last(&error),
    };
    match body::read::<R>(&bytes) {
        Ok(call) => {
            drop(bytes);
            let deadline = deadline(&call);
            answer::answer(within(deadline, run(Arc::clone(&shared), call)).await)
        }
        Err(error) => answer::failure(&error),
    }
}

/// How long a request may take; `None` for without end.
pub(super) fn deadline<R: Call>(call: &R) -> Option<Duration> {
    match call.timeout_ms() {
        None => Some(DEFAULT_DEADLINE),
        Some(0) => None,
        Some(millis) => Some(Duration::from_millis(millis)),
    }
}

/// The future's result, or `timeout` at the deadline.
pub(super) async fn within<T>(
    deadline: Option<Duration>,
    future: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    let Some(deadline) = deadline else {
        return future.await;
    };
    tokio::time::timeout(deadline, future)
        .await
        .unwrap_or_else(|_| {
            Err(ApiError::timeout(format!(
                "the deadline of {} ms passed",
                deadline.as_millis()
            )))
        })
}

fn no_such_path() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "the API has no such path")
}

fn wrong_method() -> ApiError {
    ApiError::invalid("the path has another method: GET for questions, POST for all with a body")
}
