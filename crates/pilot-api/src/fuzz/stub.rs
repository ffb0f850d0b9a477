//! A daemon without agents: what needs one is refused, streams are echoes.

use pilot_types::{Address, NetworkId, NodeId};

use crate::daemon_api::{BoxStream, DaemonApi};
use crate::error::{ApiError, ErrorCode};
use crate::types::*;

pub(super) struct Stub;

/// All calls that are answered by an envelope.
macro_rules! calls {
    ($then:ident) => {
        $then! {
            status: StatusRequest => DaemonStatus;
            stop: StopRequest => Stopped;
            info: InfoRequest => Info;
            set_hostname: SetHostnameRequest => HostnameSet;
            set_visibility: SetVisibilityRequest => VisibilitySet;
            ticket: TicketRequest => TicketIssued;
            find: FindRequest => Found;
            lookup: LookupRequest => LookedUp;
            peers: PeersRequest => Peers;
            handshake: HandshakeRequest => Knocked;
            pending: PendingRequest => Pending;
            approve: ApproveRequest => Approved;
            reject: RejectRequest => Rejected;
            untrust: UntrustRequest => Untrusted;
            trust: TrustRequest => Trusted;
            ping: PingRequest => Pong;
            explain: ExplainRequest => Explained;
            send_message: SendMessageRequest => MessageSent;
            inbox: InboxRequest => Inbox;
            inbox_read: InboxReadRequest => Inbox;
            send_file: SendFileRequest => FileSent;
            received: ReceivedRequest => Received;
            connections: ConnectionsRequest => Connections;
            disconnect: DisconnectRequest => Disconnected;
            deregister: DeregisterRequest => Deregistered;
            send_datagram: SendDatagramRequest => DatagramSent;
            receive_datagrams: ReceiveDatagramsRequest => Datagrams;
            bench: BenchRequest => Benched;
            publish: PublishRequest => EventPublished;
            apps: AppsRequest => Apps;
            catalogue: CatalogueRequest => CatalogueListed;
            view_app: ViewAppRequest => AppViewed;
            install_app: InstallAppRequest => AppInstalled;
            roll_back_app: RollBackAppRequest => AppInstalled;
            uninstall_app: UninstallAppRequest => AppUninstalled;
            app_status: AppStatusRequest => AppStatus;
            restart_app: RestartAppRequest => AppStatus;
            app_caps: AppCapsRequest => AppCaps;
            call_app: CallAppRequest => AppCalled;
            app_audit: AppAuditRequest => AppAudit;
        }
    };
}
pub(super) use calls;

/// The id of whoever opened a stream here.
fn node() -> NodeId {
    NodeId::new(0x4B2E_0000_1A3D).expect("48 bits")
}

fn address() -> Address {
    Address::new(NetworkId::BACKBONE, node())
}

/// Gives back what it is given.
fn echo() -> BoxStream {
    let (near, far) = tokio::io::duplex(256);
    tokio::spawn(async move {
        let (mut reader, mut writer) = tokio::io::split(far);
        drop(tokio::io::copy(&mut reader, &mut writer).await);
        drop(tokio::io::AsyncWriteExt::shutdown(&mut writer).await);
    });
    Box::new(near)
}

macro_rules! refusals {
    ($($name:ident: $request:ty => $answer:ty;)+) => {
        $(async fn $name(&self, _: $request) -> Result<$answer, ApiError> {
            Err(ApiError::new(ErrorCode::NotFound, "no such agent").with_hint("pilotctl peers"))
        })+
    };
}

impl DaemonApi for Stub {
    calls!(refusals);

    async fn set_tags(&self, request: SetTagsRequest) -> Result<TagsSet, ApiError> {
        Ok(TagsSet {
            node_id: node(),
            tags: request.tags,
        })
    }

    async fn dial(&self, request: DialRequest) -> Result<(DialInfo, BoxStream), ApiError> {
        let info = DialInfo {
            agent: AgentSummary {
                node_id: node(),
                address: address(),
                hostname: None,
            },
            port: request.port,
        };
        Ok((info, echo()))
    }

    async fn accept(&self, request: AcceptRequest) -> Result<(AcceptInfo, BoxStream), ApiError> {
        let info = AcceptInfo {
            from: node(),
            from_address: address(),
            from_hostname: None,
            port: request.port,
            remote_port: request.port,
            traceparent: None,
        };
        Ok((info, echo()))
    }

    async fn subscribe(
        &self,
        request: SubscribeRequest,
    ) -> Result<(Subscribed, BoxStream), ApiError> {
        let info = Subscribed {
            target: address(),
            node_id: node(),
            topic: request.topic,
        };
        Ok((info, echo()))
    }
}
