//! One method a command.

use std::time::Duration;

use pilot::{DialOptions, Knocked, ProfileChange, Target};
use pilot_api::types::{
    self, AcceptInfo, AcceptRequest, ApproveRequest, Approved, BenchRequest, Benched,
    CapabilitiesSet, Connections, ConnectionsRequest, DaemonStatus, DatagramSent, Datagrams,
    DeregisterRequest, Deregistered, DialInfo, DialRequest, DisconnectRequest, Disconnected,
    EventPublished, ExplainRequest, Explained, FileSent, FilesSending, FilesSendingRequest,
    FindRequest, Found, HandshakeRequest, HandshakeStatus, HostnameSet, Inbox, InboxReadRequest,
    InboxRequest, Info, InfoRequest, LookedUp, LookupRequest, MessageSent, Notice, Peers,
    PeersRequest, Pending, PendingRequest, PingRequest, Pong, PublicKey, PublishRequest,
    ReceiveDatagramsRequest, Received, ReceivedRequest, RejectRequest, Rejected, RouteRequest,
    Routed, SearchFound, SearchRequest, SendDatagramRequest, SendFileRequest, SendMessageRequest,
    SetCapabilitiesRequest, SetHostnameRequest, SetTagsRequest, SetVisibilityRequest,
    SetWebhookRequest, StatusRequest, StopRequest, Stopped, SubscribeRequest, Subscribed, TagsSet,
    TestWebhookRequest, TicketIssued, TicketRequest, TrustRequest, Trusted, UntrustRequest,
    Untrusted, VisibilitySet, WatchRequest, Webhook, WebhookRequest, WebhookSet, WebhookTested,
};
use pilot_api::{ApiError, BoxStream, DaemonApi, PeerRef};
use pilot_types::{NetworkId, Port, UnixTime};
use pilot_wire::limits;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{Daemon, target, view};
use crate::error;
use crate::inbox::Wanted;
use crate::peer_stream::PeerStream;

impl DaemonApi for Daemon {
    async fn status(&self, _: StatusRequest) -> Result<DaemonStatus, ApiError> {
        let status = self.node.status();
        Ok(DaemonStatus {
            running: true,
            responsive: true,
            pid: Some(std::process::id()),
            socket: self.socket.clone(),
            node_id: Some(self.node.agent().node()),
            address: Some(self.node.address()),
            hostname: self.node.hostname(),
            uptime_secs: Some(status.uptime.as_secs()),
            peers: Some(status.peers as u64),
            connections: Some(status.connections as u64),
        })
    }

    async fn stop(&self, _: StopRequest) -> Result<Stopped, ApiError> {
        // Said before the end: afterwards there is nobody to ask.
        let undelivered = self.drain().await;
        self.stop.send_replace(true);
        Ok(Stopped {
            pid: std::process::id(),
            forced: false,
            undelivered_bytes: Some(undelivered),
        })
    }

    async fn info(&self, _: InfoRequest) -> Result<Info, ApiError> {
        let status = self.node.status();
        Ok(Info {
            agent: self.own_summary(),
            public_key: PublicKey(self.node.public_key()),
            key_state: self.key_state(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_secs: status.uptime.as_secs(),
            public: status.public,
            tags: status.tags,
            capabilities: status
                .capabilities
                .iter()
                .map(ToString::to_string)
                .collect(),
            peers: status.peers as u64,
            connections: status.connections as u64,
            ports: status.ports,
            rendezvous: self.rendezvous(),
            embedded: self.links.is_embedded,
            nat: view::nat(status.nat),
            keep_alive_secs: status.keep_alive_secs,
            relay: status.relay.map(view::relay),
            relays: status.relays.into_iter().map(view::relay_link).collect(),
            endpoints: status.endpoints.iter().map(ToString::to_string).collect(),
            port_mapping: view::port_mapping(status.port_mapping.state),
            bytes_sent: status.bytes_sent,
            bytes_recv: status.bytes_recv,
            drops: status
                .drops
                .into_iter()
                .map(|(reason, count)| (reason.to_owned(), count))
                .collect(),
            api: view::load(&self.load),
        })
    }

    async fn set_hostname(&self, request: SetHostnameRequest) -> Result<HostnameSet, ApiError> {
        let hostname = request.hostname;
        let change = ProfileChange {
            hostname: Some(hostname.clone()),
            ..ProfileChange::default()
        };
        let kept = hostname.clone();
        self.change_profile(change, move |file| file.hostname = kept)
            .await?;
        Ok(HostnameSet {
            node_id: self.node.agent().node(),
            hostname,
        })
    }

    async fn rotate_key(&self, _: types::RotateKeyRequest) -> Result<types::KeysChanged, ApiError> {
        self.rotate_keys().await
    }

    async fn recovery(&self, _: types::RecoveryRequest) -> Result<types::RecoveryShown, ApiError> {
        Ok(self.recovery_shown())
    }

    async fn new_recovery(
        &self,
        request: types::NewRecoveryRequest,
    ) -> Result<types::KeysChanged, ApiError> {
        self.set_recovery(request).await
    }

    async fn use_recovery(
        &self,
        request: types::UseRecoveryRequest,
    ) -> Result<types::KeysChanged, ApiError> {
        self.recover(request).await
    }

    async fn set_tags(&self, request: SetTagsRequest) -> Result<TagsSet, ApiError> {
        let tags = request.tags;
        let change = ProfileChange {
            tags: Some(tags.clone()),
            ..ProfileChange::default()
        };
        let kept = tags.clone();
        self.change_profile(change, move |file| file.tags = kept)
            .await?;
        Ok(TagsSet {
            node_id: self.node.agent().node(),
            tags,
        })
    }

    async fn set_capabilities(
        &self,
        request: SetCapabilitiesRequest,
    ) -> Result<CapabilitiesSet, ApiError> {
        self.say_capabilities(request.capabilities).await
    }

    async fn set_visibility(
        &self,
        request: SetVisibilityRequest,
    ) -> Result<VisibilitySet, ApiError> {
        let public = request.public;
        let change = ProfileChange {
            public: Some(public),
            ..ProfileChange::default()
        };
        self.change_profile(change, move |file| file.public = public)
            .await?;
        Ok(VisibilitySet {
            node_id: self.node.agent().node(),
            public,
        })
    }

    async fn ticket(&self, request: TicketRequest) -> Result<TicketIssued, ApiError> {
        let lifetime = request.expires_ms.map(Duration::from_millis);
        let ticket = self.node.ticket(lifetime).await;
        let ticket = ticket.map_err(|error| ApiError::invalid(error.to_string()))?;
        Ok(TicketIssued { ticket })
    }

    async fn find(&self, request: FindRequest) -> Result<Found, ApiError> {
        let peer = PeerRef::Hostname(request.name.clone());
        let found = self.node.lookup(Target::Hostname(request.name)).await;
        let found = found.map_err(|error| error::lookup(&error, &peer))?;
        Ok(view::found(&found))
    }

    async fn lookup(&self, request: LookupRequest) -> Result<LookedUp, ApiError> {
        let found = self.node.lookup(target(&request.peer)?).await;
        let found = found.map_err(|error| error::lookup(&error, &request.peer))?;
        Ok(LookedUp {
            found: view::found(&found),
            capabilities: found.capabilities.iter().map(ToString::to_string).collect(),
            capability_details: found
                .capabilities
                .iter()
                .map(types::Capability::from)
                .collect(),
            networks: vec![NetworkId::BACKBONE],
            last_seen_unix: found.last_seen.map(UnixTime::as_secs),
            frozen: self.node.frozen().iter().any(|it| it.agent == found.agent),
        })
    }

    async fn search(&self, request: SearchRequest) -> Result<SearchFound, ApiError> {
        self.search_agents(request).await
    }

    async fn create_group(
        &self,
        request: types::CreateGroupRequest,
    ) -> Result<types::GroupCreated, ApiError> {
        self.make_group(request).await
    }

    async fn groups(&self, _: types::GroupsRequest) -> Result<types::Groups, ApiError> {
        Ok(self.all_groups())
    }

    async fn join_group(
        &self,
        request: types::JoinGroupRequest,
    ) -> Result<types::GroupJoined, ApiError> {
        self.join(request).await
    }

    async fn leave_group(
        &self,
        request: types::LeaveGroupRequest,
    ) -> Result<types::GroupLeft, ApiError> {
        self.leave(request.group.as_deref()).await
    }

    async fn group_members(
        &self,
        request: types::GroupMembersRequest,
    ) -> Result<types::GroupMembers, ApiError> {
        self.members(request).await
    }

    async fn invite(
        &self,
        request: types::InviteRequest,
    ) -> Result<types::MemberChanged, ApiError> {
        self.invite_agent(request).await
    }

    async fn invitations(
        &self,
        _: types::InvitationsRequest,
    ) -> Result<types::Invitations, ApiError> {
        Ok(self.all_invitations())
    }

    async fn accept_invitation(
        &self,
        request: types::AcceptInvitationRequest,
    ) -> Result<types::GroupJoined, ApiError> {
        self.invitation(&request.name)?;
        self.join(types::JoinGroupRequest {
            name: request.name,
            token: None,
            timeout_ms: request.timeout_ms,
        })
        .await
    }

    async fn decline_invitation(
        &self,
        request: types::DeclineInvitationRequest,
    ) -> Result<types::GroupLeft, ApiError> {
        self.decline(request.name).await
    }

    async fn kick(&self, request: types::KickRequest) -> Result<types::MemberChanged, ApiError> {
        self.kick_member(request).await
    }

    async fn set_role(
        &self,
        request: types::SetRoleRequest,
    ) -> Result<types::MemberChanged, ApiError> {
        self.change_role(request).await
    }

    async fn group_policy(
        &self,
        request: types::GroupPolicyRequest,
    ) -> Result<types::GroupPolicy, ApiError> {
        self.change_policy(request).await
    }

    async fn broadcast(
        &self,
        request: types::BroadcastRequest,
    ) -> Result<types::BroadcastSent, ApiError> {
        self.broadcast_to(request).await
    }

    async fn peers(&self, request: PeersRequest) -> Result<Peers, ApiError> {
        let search = request.search.as_deref();
        let mut peers: Vec<_> = self.node.peers().into_iter().map(view::peer).collect();
        peers.retain(|peer| view::matches(&peer.agent, search));
        peers.sort_by_cached_key(|peer| view::order(&peer.agent));
        Ok(Peers {
            total: peers.len() as u64,
            peers,
        })
    }

    async fn handshake(&self, request: HandshakeRequest) -> Result<types::Knocked, ApiError> {
        let to = target(&request.peer)?;
        let failed = |error| error::trust(&error, &request.peer);
        let reason = request.reason.unwrap_or_default();
        let knocked = self.node.knock(to.clone(), &reason).await.map_err(failed)?;
        let agent = match (knocked, request.wait_ms) {
            (Knocked::Trusted(agent), _) => Some(agent),
            (Knocked::Sent, None) => None,
            (Knocked::Sent, Some(0)) => Some(self.node.trusted_with(&to).await.map_err(failed)?),
            (Knocked::Sent, Some(wait_ms)) => {
                let trusted =
                    timeout(Duration::from_millis(wait_ms), self.node.trusted_with(&to)).await;
                Some(
                    trusted
                        .map_err(|_| not_approved(&request.peer, wait_ms))?
                        .map_err(failed)?,
                )
            }
        };
        Ok(types::Knocked {
            status: if agent.is_some() {
                HandshakeStatus::Trusted
            } else {
                HandshakeStatus::Sent
            },
            node_id: agent.map(|agent| agent.node()),
        })
    }

    async fn pending(&self, _: PendingRequest) -> Result<Pending, ApiError> {
        let mut pending: Vec<_> = self.node.pending().into_iter().map(view::pending).collect();
        pending.sort_by_key(|knock| (knock.received_at, knock.agent.address));
        Ok(Pending { pending })
    }

    async fn approve(&self, request: ApproveRequest) -> Result<Approved, ApiError> {
        self.approve_one(request).await
    }

    async fn reject(&self, request: RejectRequest) -> Result<Rejected, ApiError> {
        let claimed = self.claimed_names();
        let reason = request.reason.unwrap_or_default();
        let agent = self.node.reject(&target(&request.peer)?, &reason).await;
        let agent = agent.map_err(|error| error::trust(&error, &request.peer))?;
        Ok(Rejected {
            status: "rejected".to_owned(),
            agent: self.summary_or_claimed(agent, &claimed),
        })
    }

    async fn untrust(&self, request: UntrustRequest) -> Result<Untrusted, ApiError> {
        let agent = self.node.untrust(&target(&request.peer)?).await;
        let agent = agent.map_err(|error| error::trust(&error, &request.peer))?;
        // They ended with the grant; this keeps the file clean.
        if let Err(error) = self.set_peer_apps(agent, None).await {
            tracing::warn!(%error, "what an agent could call is still in the file");
        }
        Ok(Untrusted {
            status: "untrusted".to_owned(),
            agent: self.summary(agent),
        })
    }

    async fn trust(&self, request: TrustRequest) -> Result<Trusted, ApiError> {
        let search = request.search.as_deref();
        let frozen = self.node.frozen().into_iter().map(view::frozen);
        let trusted = self.node.trusted().into_iter();
        let mut trusted: Vec<_> = trusted
            .map(|peer| {
                let apps = self.granted_apps(&peer.agent, peer.approved_at);
                types::TrustedAgent {
                    apps,
                    ..view::trusted(peer)
                }
            })
            .collect();
        trusted.extend(frozen);
        trusted.retain(|peer| view::matches(&peer.agent, search));
        trusted.sort_by_cached_key(|peer| view::order(&peer.agent));
        Ok(Trusted { trusted })
    }

    async fn ping(&self, request: PingRequest) -> Result<Pong, ApiError> {
        let pong = self.node.ping(target(&request.peer)?).await;
        let pong = pong.map_err(|error| error::dial(&error, &request.peer, Port::LIVENESS))?;
        Ok(Pong {
            agent: self.summary(pong.agent),
            bytes: pong.bytes as u64,
            rtt_ms: pong.rtt.as_secs_f64() * 1000.0,
            path: view::path(pong.path),
        })
    }

    async fn explain(&self, request: ExplainRequest) -> Result<Explained, ApiError> {
        self.explain_paths(request).await
    }

    async fn send_message(&self, request: SendMessageRequest) -> Result<MessageSent, ApiError> {
        let limit = limits::MAX_MESSAGE;
        let bytes = request.body.as_bytes().len();
        if bytes > limit {
            return Err(ApiError::invalid(format!(
                "message of {bytes} bytes, at most {limit} are allowed"
            )));
        }
        self.send(request).await
    }

    async fn inbox(&self, request: InboxRequest) -> Result<Inbox, ApiError> {
        let inbox = self.services.exchange().inbox().clone();
        let wanted = Wanted::new(&request, |target| self.known_agent(target))?;
        blocking(move || inbox.list(&request, &wanted)).await
    }

    async fn inbox_read(&self, request: InboxReadRequest) -> Result<Inbox, ApiError> {
        let inbox = self.services.exchange().inbox().clone();
        blocking(move || inbox.read(&request)).await
    }

    async fn connections(&self, _: ConnectionsRequest) -> Result<Connections, ApiError> {
        let mut connections: Vec<_> = self
            .node
            .connections()
            .iter()
            .map(view::connection)
            .collect();
        connections.sort_by_key(|connection| connection.id);
        Ok(Connections { connections })
    }

    async fn route(&self, request: RouteRequest) -> Result<Routed, ApiError> {
        self.route_to_best(request).await
    }

    async fn watch(&self, request: WatchRequest) -> Result<mpsc::Receiver<Notice>, ApiError> {
        self.watch_notices(&request)
    }

    async fn webhook(&self, _: WebhookRequest) -> Result<Webhook, ApiError> {
        Ok(self.webhook_status())
    }

    async fn set_webhook(&self, request: SetWebhookRequest) -> Result<WebhookSet, ApiError> {
        self.change_webhook(request).await
    }

    async fn test_webhook(&self, _: TestWebhookRequest) -> Result<WebhookTested, ApiError> {
        self.post_test().await
    }

    async fn publish(&self, request: PublishRequest) -> Result<EventPublished, ApiError> {
        self.publish_one(request).await
    }

    async fn subscribe(
        &self,
        request: SubscribeRequest,
    ) -> Result<(Subscribed, BoxStream), ApiError> {
        self.open_subscription(request).await
    }

    async fn send_file(&self, request: SendFileRequest) -> Result<FileSent, ApiError> {
        self.send_one_file(request).await
    }

    async fn files_sending(&self, _: FilesSendingRequest) -> Result<FilesSending, ApiError> {
        Ok(self.list_sending())
    }

    async fn received(&self, request: ReceivedRequest) -> Result<Received, ApiError> {
        self.list_received(request).await
    }

    async fn disconnect(&self, request: DisconnectRequest) -> Result<Disconnected, ApiError> {
        self.give_up(&request)
    }

    async fn deregister(&self, _: DeregisterRequest) -> Result<Deregistered, ApiError> {
        let gone = self.node.deregister().await;
        gone.map_err(|error| error::profile(&error))?;
        Ok(Deregistered {
            node_id: self.node.agent().node(),
            registered: false,
        })
    }

    async fn send_datagram(&self, request: SendDatagramRequest) -> Result<DatagramSent, ApiError> {
        self.send_one(request).await
    }

    async fn receive_datagrams(
        &self,
        request: ReceiveDatagramsRequest,
    ) -> Result<Datagrams, ApiError> {
        self.receive(request).await
    }

    async fn bench(&self, request: BenchRequest) -> Result<Benched, ApiError> {
        self.measure(request).await
    }

    async fn dial(&self, request: DialRequest) -> Result<(DialInfo, BoxStream), ApiError> {
        let DialRequest {
            peer,
            port,
            traceparent,
            ..
        } = request;
        let options = DialOptions {
            trace: traceparent,
            ..DialOptions::default()
        };
        let stream = self.node.dial_peer(target(&peer)?, port, options).await;
        let stream = stream.map_err(|error| error::dial(&error, &peer, port))?;
        let agent = view::summary(stream.peer().agent, stream.peer().hostname.clone());
        let stream = PeerStream::new(self.node.clone(), stream, error::name_of(&peer), port);
        Ok((DialInfo { agent, port }, Box::new(stream)))
    }

    async fn filter(&self, _: types::FilterRequest) -> Result<types::FilterState, ApiError> {
        Ok(self.filter_state())
    }

    async fn set_filter(
        &self,
        request: types::SetFilterRequest,
    ) -> Result<types::FilterState, ApiError> {
        self.change_filter(request).await
    }

    async fn peer_apps(
        &self,
        request: types::PeerAppsRequest,
    ) -> Result<types::PeerApps, ApiError> {
        self.apps_of_peer(request).await
    }

    async fn apps(&self, _: types::AppsRequest) -> Result<types::Apps, ApiError> {
        self.list_apps().await
    }

    async fn catalogue(
        &self,
        request: types::CatalogueRequest,
    ) -> Result<types::CatalogueListed, ApiError> {
        self.list_catalogue(request.catalogue).await
    }

    async fn view_app(&self, request: types::ViewAppRequest) -> Result<types::AppViewed, ApiError> {
        self.view_one_app(request).await
    }

    async fn install_app(
        &self,
        request: types::InstallAppRequest,
    ) -> Result<types::AppInstalled, ApiError> {
        self.install_one_app(request).await
    }

    async fn roll_back_app(
        &self,
        request: types::RollBackAppRequest,
    ) -> Result<types::AppInstalled, ApiError> {
        self.roll_back(request.app).await
    }

    async fn uninstall_app(
        &self,
        request: types::UninstallAppRequest,
    ) -> Result<types::AppUninstalled, ApiError> {
        self.uninstall(request).await
    }

    async fn app_status(
        &self,
        request: types::AppStatusRequest,
    ) -> Result<types::AppStatus, ApiError> {
        self.status_by_name(request.app).await
    }

    async fn restart_app(
        &self,
        request: types::RestartAppRequest,
    ) -> Result<types::AppStatus, ApiError> {
        self.restart(request.app).await
    }

    async fn app_caps(&self, request: types::AppCapsRequest) -> Result<types::AppCaps, ApiError> {
        self.caps(request.app).await
    }

    async fn call_app(&self, request: types::CallAppRequest) -> Result<types::AppCalled, ApiError> {
        self.call(request).await
    }

    async fn app_audit(
        &self,
        request: types::AppAuditRequest,
    ) -> Result<types::AppAudit, ApiError> {
        self.audit(request).await
    }

    async fn accept(&self, request: AcceptRequest) -> Result<(AcceptInfo, BoxStream), ApiError> {
        let taken = self.services.accept(request.port).await?;
        let info = AcceptInfo {
            from: taken.peer.agent.node(),
            from_address: taken.peer.agent.address(),
            from_hostname: taken.peer.hostname,
            port: request.port,
            remote_port: taken.peer.remote_port,
            traceparent: taken.peer.trace,
        };
        let name = info
            .from_hostname
            .as_ref()
            .map_or_else(|| info.from_address.to_string(), ToString::to_string);
        let stream = PeerStream::new(self.node.clone(), taken.stream, name, request.port);
        Ok((info, Box::new(stream)))
    }

    async fn forward(
        &self,
        request: types::ForwardRequest,
    ) -> Result<(types::TcpOpened, BoxStream), ApiError> {
        self.open_forward(request).await
    }

    async fn expose(
        &self,
        request: types::ExposeRequest,
    ) -> Result<(types::TcpOpened, BoxStream), ApiError> {
        self.open_expose(&request).await
    }

    async fn serve(
        &self,
        request: types::ServeRequest,
    ) -> Result<(types::TcpOpened, BoxStream), ApiError> {
        self.open_serve(request).await
    }

    async fn proxy(
        &self,
        request: types::ProxyRequest,
    ) -> Result<(types::TcpOpened, BoxStream), ApiError> {
        self.open_proxy(&request).await
    }
}

fn not_approved(peer: &PeerRef, wait_ms: u64) -> ApiError {
    let words = format!(
        "{} did not approve within {wait_ms} ms",
        error::name_of(peer)
    );
    ApiError::timeout(words)
        .with_hint("the knock stays open for 7 days: trust holds as soon as it is approved")
}

pub(crate) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    spawn_blocking(call)
        .await
        .unwrap_or_else(|error| Err(ApiError::internal(error.to_string())))
}
