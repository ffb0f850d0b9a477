//! A daemon of fixed answers: what is asked for by certain names fails in certain ways.

mod apps;
mod groups;
mod notices;

use std::sync::Arc;
use std::time::Duration;

use pilot_api::types::*;
use pilot_api::{ApiError, BoxStream, DaemonApi, ErrorCode, Load, Payload, PeerRef, Server};
use pilot_types::{Hostname, NetworkId, NodeId, Port, UnixTime};
use pilot_wire::{MessageId, Scope};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Mutex, Notify};

/// The fake's own id: `0:A91F.0000.7C2E`.
pub(crate) const OWN: u64 = 0xA91F_0000_7C2E;
/// Its one peer, `planner`: `0:4B2E.0000.1A3D`.
pub(crate) const PEER: u64 = 0x4B2E_0000_1A3D;
/// When everything happened.
pub(crate) const THEN: UnixTime = UnixTime::from_secs(1_767_225_600);

/// The daemon.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) stopped: Arc<Notify>,
    /// Streams that `accept` hands out: the test holds their other ends.
    pub(crate) inbound: Mutex<Vec<DuplexStream>>,
}

/// A running server with a fake behind it.
pub(crate) struct Running {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) fake: Arc<Fake>,
    pub(crate) load: Load,
}

impl Running {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let fake = Arc::new(Fake::default());
        let server = Server::bind(&directory.path().join("pilot.sock")).unwrap();
        let load = server.load();
        let (api, stopped) = (Arc::clone(&fake), Arc::clone(&fake.stopped));
        tokio::spawn(async move {
            server
                .serve(api, async move { stopped.notified().await })
                .await;
        });
        Self {
            directory,
            fake,
            load,
        }
    }

    pub(crate) fn socket(&self) -> std::path::PathBuf {
        self.directory.path().join("pilot.sock")
    }
}

fn check_commitment(text: &str) -> Result<(), ApiError> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(ApiError::invalid("commitment: expected 64 hex digits"))
}

fn node(id: u64) -> NodeId {
    NodeId::new(id).unwrap()
}

fn summary(id: u64, hostname: &str) -> AgentSummary {
    AgentSummary {
        node_id: node(id),
        address: pilot_types::Address::new(NetworkId::BACKBONE, node(id)),
        hostname: Some(hostname.parse().unwrap()),
    }
}

fn peer() -> AgentSummary {
    summary(PEER, "planner")
}

fn own() -> AgentSummary {
    summary(OWN, "worker")
}

fn keys_changed(generation: u32, seq: u32) -> KeysChanged {
    KeysChanged {
        agent: own(),
        public_key: PublicKey([0xBC; 32]),
        fingerprint: "bcbc-bcbc".into(),
        generation,
        seq,
        log: vec!["00".into()],
    }
}

/// `planner` is known; `stranger` is not trusted, `flood` is limited, `away` cannot be reached, `slow` never answers.
async fn resolve(target: &PeerRef) -> Result<AgentSummary, ApiError> {
    let name = match target {
        PeerRef::Hostname(name) => name.as_str().to_owned(),
        PeerRef::Address(address) if address.node() == node(PEER) => return Ok(peer()),
        PeerRef::Node(id) if *id == node(PEER) => return Ok(peer()),
        PeerRef::Ticket(_) | PeerRef::Address(_) | PeerRef::Key(_) | PeerRef::Node(_) => {
            "nobody".to_owned()
        }
    };
    match name.as_str() {
        "planner" => Ok(peer()),
        "stranger" => Err(ApiError::new(
            ErrorCode::NotTrusted,
            "stranger has not granted you trust",
        )
        .with_hint("pilotctl handshake stranger")),
        "flood" => {
            Err(ApiError::new(ErrorCode::RateLimited, "too many knocks").with_retry_after_ms(1500))
        }
        "away" => Err(ApiError::new(
            ErrorCode::ConnectionFailed,
            "away cannot be reached",
        )),
        "slow" => std::future::pending().await,
        other => Err(ApiError::new(
            ErrorCode::NotFound,
            format!("no agent {other} is visible to you"),
        )),
    }
}

impl DaemonApi for Fake {
    async fn status(&self, _: StatusRequest) -> Result<DaemonStatus, ApiError> {
        let own = own();
        Ok(DaemonStatus {
            running: true,
            responsive: true,
            pid: Some(std::process::id()),
            socket: "/home/worker/.pilot/pilot.sock".into(),
            node_id: Some(own.node_id),
            address: Some(own.address),
            hostname: own.hostname,
            uptime_secs: Some(61),
            peers: Some(1),
            connections: Some(1),
        })
    }

    async fn stop(&self, _: StopRequest) -> Result<Stopped, ApiError> {
        self.stopped.notify_one();
        Ok(Stopped {
            pid: std::process::id(),
            forced: false,
            undelivered_bytes: Some(0),
        })
    }

    async fn info(&self, _: InfoRequest) -> Result<Info, ApiError> {
        Ok(Info {
            agent: own(),
            public_key: PublicKey([0xAB; 32]),
            key_state: KeyState::Current,
            version: "0.1.0".into(),
            uptime_secs: 61,
            public: false,
            tags: vec!["gpu".parse().unwrap()],
            capabilities: vec!["plan@1.0.0".into()],
            peers: 1,
            connections: 1,
            ports: vec![Port::ECHO, Port::DATA_EXCHANGE],
            rendezvous: vec![RendezvousInfo {
                url: "pilot://abcd@127.0.0.1:9000".into(),
                state: "connected".into(),
                embedded: true,
            }],
            embedded: true,
            nat: NatInfo::unknown(),
            keep_alive_secs: Some(20),
            relay: None,
            relays: vec![],
            endpoints: vec!["127.0.0.1:4711".into()],
            port_mapping: PortMappingInfo {
                state: "not_needed".into(),
                ..PortMappingInfo::default()
            },
            bytes_sent: 1000,
            bytes_recv: 2000,
            drops: [("bad_mac".into(), 3)].into(),
            api: ApiLoad {
                connections: 2,
                streams: 1,
                refusals: [("slow_head".into(), 1)].into(),
            },
        })
    }

    async fn set_hostname(&self, request: SetHostnameRequest) -> Result<HostnameSet, ApiError> {
        match request.hostname {
            Some(name) if name.as_str() == "planner" => Err(ApiError::new(
                ErrorCode::AlreadyExists,
                "the hostname planner is taken",
            )),
            hostname => Ok(HostnameSet {
                node_id: node(OWN),
                hostname,
            }),
        }
    }

    async fn set_tags(&self, request: SetTagsRequest) -> Result<TagsSet, ApiError> {
        Ok(TagsSet {
            node_id: node(OWN),
            tags: request.tags,
        })
    }

    async fn set_capabilities(
        &self,
        request: SetCapabilitiesRequest,
    ) -> Result<CapabilitiesSet, ApiError> {
        let named = |c: &Capability| format!("{}@{}", c.name, c.version);
        Ok(CapabilitiesSet {
            node_id: node(OWN),
            capabilities: request.capabilities.iter().map(named).collect(),
        })
    }

    async fn set_visibility(
        &self,
        request: SetVisibilityRequest,
    ) -> Result<VisibilitySet, ApiError> {
        Ok(VisibilitySet {
            node_id: node(OWN),
            public: request.public,
        })
    }

    async fn rotate_key(&self, _: RotateKeyRequest) -> Result<KeysChanged, ApiError> {
        Ok(keys_changed(0, 1))
    }

    async fn recovery(&self, _: RecoveryRequest) -> Result<RecoveryShown, ApiError> {
        Ok(RecoveryShown {
            agent: own(),
            agent_id: "ab".repeat(32),
            public_key: PublicKey([0xAB; 32]),
            generation: 0,
            seq: 1,
            state: KeyState::Current,
            refused_by: None,
            recoverable: true,
            commitment: Some("ef".repeat(32)),
            set_in_generation: Some(0),
            set_in_seq: Some(1),
            set_at: Some(THEN),
        })
    }

    async fn new_recovery(&self, request: NewRecoveryRequest) -> Result<KeysChanged, ApiError> {
        check_commitment(&request.commitment)?;
        Ok(keys_changed(0, 2))
    }

    async fn use_recovery(&self, request: UseRecoveryRequest) -> Result<KeysChanged, ApiError> {
        if request.key.is_empty() {
            return Err(ApiError::invalid("key: not a recovery file"));
        }
        if let Some(commitment) = &request.commitment {
            check_commitment(commitment)?;
        }
        Ok(keys_changed(1, 0))
    }

    async fn ticket(&self, request: TicketRequest) -> Result<TicketIssued, ApiError> {
        let lifetime = request.expires_ms.unwrap_or(0);
        Ok(TicketIssued {
            ticket: format!("pilot-ticket:{lifetime}"),
        })
    }

    async fn find(&self, request: FindRequest) -> Result<Found, ApiError> {
        Ok(Found {
            agent: resolve(&PeerRef::Hostname(request.name)).await?,
            public: true,
            public_key: PublicKey([0xCD; 32]),
            tags: vec!["gpu".parse().unwrap()],
        })
    }

    async fn lookup(&self, request: LookupRequest) -> Result<LookedUp, ApiError> {
        Ok(LookedUp {
            found: Found {
                agent: resolve(&request.peer).await?,
                public: true,
                public_key: PublicKey([0xCD; 32]),
                tags: vec![],
            },
            capabilities: vec!["translate@1.0.0".into()],
            capability_details: vec![Capability {
                name: "translate".into(),
                version: "1.0.0".into(),
                description: Some("translates".into()),
                input: Some(serde_json::json!({"type": "string"})),
                output: None,
            }],
            networks: vec![NetworkId::BACKBONE],
            last_seen_unix: Some(THEN.as_secs()),
            frozen: false,
        })
    }

    async fn search(&self, request: SearchRequest) -> Result<SearchFound, ApiError> {
        let is_wanted = request.text.is_none_or(|text| "planner".contains(&text));
        let agent = || AgentFound {
            found: Found {
                agent: peer(),
                public: true,
                public_key: PublicKey([0xCD; 32]),
                tags: request.tags.clone(),
            },
            capabilities: request.capability.iter().cloned().collect(),
            description: Some("plans".into()),
        };
        let agents: Vec<_> = is_wanted.then(agent).into_iter().collect();
        let total = agents.len() as u64 + request.limit.unwrap_or(0);
        Ok(SearchFound { agents, total })
    }

    async fn create_group(&self, request: CreateGroupRequest) -> Result<GroupCreated, ApiError> {
        groups::create_group(&request)
    }

    async fn groups(&self, request: GroupsRequest) -> Result<Groups, ApiError> {
        groups::groups(&request)
    }

    async fn join_group(&self, request: JoinGroupRequest) -> Result<GroupJoined, ApiError> {
        groups::join_group(&request)
    }

    async fn leave_group(&self, request: LeaveGroupRequest) -> Result<GroupLeft, ApiError> {
        groups::leave_group(&request)
    }

    async fn group_members(&self, request: GroupMembersRequest) -> Result<GroupMembers, ApiError> {
        groups::group_members(&request)
    }

    async fn invite(&self, request: InviteRequest) -> Result<MemberChanged, ApiError> {
        resolve(&request.peer).await?;
        groups::invite(&request)
    }

    async fn invitations(&self, request: InvitationsRequest) -> Result<Invitations, ApiError> {
        groups::invitations(&request)
    }

    async fn accept_invitation(
        &self,
        request: AcceptInvitationRequest,
    ) -> Result<GroupJoined, ApiError> {
        groups::accept_invitation(&request)
    }

    async fn decline_invitation(
        &self,
        request: DeclineInvitationRequest,
    ) -> Result<GroupLeft, ApiError> {
        groups::decline_invitation(&request)
    }

    async fn kick(&self, request: KickRequest) -> Result<MemberChanged, ApiError> {
        resolve(&request.peer).await?;
        groups::kick(&request)
    }

    async fn set_role(&self, request: SetRoleRequest) -> Result<MemberChanged, ApiError> {
        resolve(&request.peer).await?;
        groups::set_role(&request)
    }

    async fn group_policy(&self, request: GroupPolicyRequest) -> Result<GroupPolicy, ApiError> {
        groups::group_policy(&request)
    }

    async fn route(&self, request: RouteRequest) -> Result<Routed, ApiError> {
        groups::route(request)
    }

    async fn broadcast(&self, request: BroadcastRequest) -> Result<BroadcastSent, ApiError> {
        groups::broadcast(&request)
    }

    async fn peers(&self, request: PeersRequest) -> Result<Peers, ApiError> {
        let is_wanted = request.search.is_none_or(|text| "planner".contains(&text));
        let peers: Vec<PeerSummary> = is_wanted
            .then(|| PeerSummary {
                agent: peer(),
                path: PathKind::Direct,
                relay: None,
                rtt_ms: Some(0.42),
                encrypted: true,
                authenticated: true,
            })
            .into_iter()
            .collect();
        Ok(Peers {
            total: peers.len() as u64,
            peers,
        })
    }

    async fn handshake(&self, request: HandshakeRequest) -> Result<Knocked, ApiError> {
        match resolve(&request.peer).await {
            Ok(peer) => Ok(Knocked {
                status: HandshakeStatus::Trusted,
                node_id: Some(peer.node_id),
            }),
            Err(error) if error.code == ErrorCode::RateLimited => Err(error),
            Err(_) if request.wait_ms.is_some() => {
                let wait = Duration::from_millis(request.wait_ms.unwrap_or(0));
                tokio::time::sleep(wait).await;
                Err(ApiError::timeout("sent, and not approved yet"))
            }
            Err(_) => Ok(Knocked {
                status: HandshakeStatus::Sent,
                node_id: None,
            }),
        }
    }

    async fn pending(&self, _: PendingRequest) -> Result<Pending, ApiError> {
        Ok(Pending {
            pending: vec![PendingKnock {
                agent: peer(),
                justification: "let us plan\u{1b}[31m".into(),
                fingerprint: "cdcd-cdcd".into(),
                received_at: THEN,
            }],
        })
    }

    async fn approve(&self, request: ApproveRequest) -> Result<Approved, ApiError> {
        let scope = request
            .ports
            .map_or_else(Scope::default_scope, Scope::of_ports);
        Ok(Approved {
            status: "approved".into(),
            agent: resolve(&request.peer).await?,
            fingerprint: "cdcd-cdcd".into(),
            scope: scope.ports_text(),
            apps: None,
        })
    }

    async fn reject(&self, request: RejectRequest) -> Result<Rejected, ApiError> {
        Ok(Rejected {
            status: "rejected".into(),
            agent: resolve(&request.peer).await?,
        })
    }

    async fn untrust(&self, request: UntrustRequest) -> Result<Untrusted, ApiError> {
        Ok(Untrusted {
            status: "untrusted".into(),
            agent: resolve(&request.peer).await?,
        })
    }

    async fn trust(&self, _: TrustRequest) -> Result<Trusted, ApiError> {
        Ok(Trusted {
            trusted: vec![TrustedAgent {
                agent: peer(),
                fingerprint: "cdcd-cdcd".into(),
                learnt_by: "name".into(),
                mutual: true,
                frozen: false,
                network: NetworkId::BACKBONE,
                scope: "7,1000-1002".into(),
                apps: Some(AppsGranted {
                    ids: vec!["org.example.aegis".into()],
                    catalogue: true,
                    per_minute: 60,
                    budget: Some(100),
                    used: 3,
                }),
                approved_at: THEN,
                expires_at: None,
            }],
        })
    }

    async fn ping(&self, request: PingRequest) -> Result<Pong, ApiError> {
        Ok(Pong {
            agent: resolve(&request.peer).await?,
            bytes: 32,
            rtt_ms: 22.4,
            path: PathKind::Direct,
        })
    }

    async fn explain(&self, request: ExplainRequest) -> Result<Explained, ApiError> {
        Ok(Explained {
            agent: resolve(&request.peer).await?,
            chosen: PathKind::Relay,
            candidates: vec![PathCandidate {
                kind: "relay".into(),
                addr: Some("192.0.2.1:9000".into()),
                state: "in_use".into(),
                rtt_ms: Some(22.4),
                why: "no direct path answers".into(),
            }],
            nat: NatInfo::unknown(),
            peer_nat: NatInfo::unknown(),
            relay: Some("192.0.2.1:9000".into()),
            rtt_ms: Some(22.4),
            trusted: true,
            rendezvous: vec![],
            next_step: Some("wait".into()),
        })
    }

    async fn send_message(&self, request: SendMessageRequest) -> Result<MessageSent, ApiError> {
        let peer = resolve(&request.peer).await?;
        let reply = request.wait_ms.map(|_| MessageReply {
            from: peer.node_id,
            from_address: peer.address,
            from_hostname: peer.hostname.clone(),
            kind: MessageKind::Text,
            id: MessageId::new([2; 16]),
            body: Payload::new(b"pong".to_vec()),
            filter: None,
        });
        Ok(MessageSent {
            target: peer.address,
            node_id: peer.node_id,
            kind: request.kind,
            bytes: request.body.as_bytes().len() as u64,
            id: request.id.unwrap_or(MessageId::new([1; 16])),
            ack: "stored".into(),
            kept_until: None,
            reply,
            filter: None,
        })
    }

    async fn inbox(&self, request: InboxRequest) -> Result<Inbox, ApiError> {
        let bodies = [&b"hello"[..], b"\xff\xfe"];
        let messages = bodies
            .iter()
            .zip(1..)
            .map(|(body, number)| inbox_message(number, body));
        Ok(Inbox {
            messages: messages
                .filter(|it| {
                    let body = it.body.as_ref().unwrap().as_bytes();
                    let words = request.search.as_deref().unwrap_or_default();
                    String::from_utf8_lossy(body).contains(words)
                })
                .take(usize::try_from(request.limit.unwrap_or(100)).unwrap())
                .collect(),
            total: 2,
        })
    }

    async fn inbox_read(&self, request: InboxReadRequest) -> Result<Inbox, ApiError> {
        if request.id != MessageId::new([1; 16]) {
            return Err(ApiError::new(
                ErrorCode::NotFound,
                format!("no message {}", request.id),
            ));
        }
        Ok(Inbox {
            messages: vec![inbox_message(1, b"hello")],
            total: 1,
        })
    }

    async fn connections(&self, _: ConnectionsRequest) -> Result<Connections, ApiError> {
        Ok(Connections {
            connections: vec![ConnectionSummary {
                id: 3,
                local_port: Port::new(49152),
                remote_addr: peer().address,
                remote_node_id: node(PEER),
                remote_port: Port::STDIO,
                state: "open".into(),
                cong_win: 14_720,
                in_flight: 0,
                srtt_ms: Some(22.4),
                bytes_sent: 5,
                bytes_recv: 6,
                retransmits: 0,
            }],
        })
    }

    async fn publish(&self, request: PublishRequest) -> Result<EventPublished, ApiError> {
        let agent = resolve(&request.peer).await?;
        Ok(EventPublished {
            target: agent.address,
            node_id: agent.node_id,
            topic: request.topic,
            bytes: request.body.as_bytes().len() as u64,
            subscribers: 2,
            members: None,
        })
    }

    /// Three lines: an event, a gap, another event.
    async fn subscribe(
        &self,
        request: SubscribeRequest,
    ) -> Result<(Subscribed, BoxStream), ApiError> {
        let agent = resolve(&request.peer).await?;
        let event = EventLine::Event(Event {
            topic: "jobs/done".parse().unwrap(),
            from: agent.node_id,
            from_address: agent.address,
            from_hostname: agent.hostname.clone(),
            body: Payload::new(b"7\x1b[31m".to_vec()),
            bytes: 6,
        });
        let (ours, mut theirs) = tokio::io::duplex(4096);
        tokio::spawn(async move {
            for line in [event.clone(), EventLine::Dropped { dropped: 3 }, event] {
                let mut text = serde_json::to_vec(&line).unwrap();
                text.push(b'\n');
                theirs.write_all(&text).await.unwrap();
            }
            let mut rest = vec![];
            let _ = theirs.read_to_end(&mut rest).await;
        });
        let info = Subscribed {
            target: agent.address,
            node_id: agent.node_id,
            topic: request.topic,
        };
        Ok((info, Box::new(ours)))
    }

    async fn watch(
        &self,
        request: WatchRequest,
    ) -> Result<tokio::sync::mpsc::Receiver<Notice>, ApiError> {
        notices::watch(&request)
    }

    async fn webhook(&self, _: WebhookRequest) -> Result<Webhook, ApiError> {
        Ok(notices::webhook())
    }

    async fn set_webhook(&self, request: SetWebhookRequest) -> Result<WebhookSet, ApiError> {
        notices::set_webhook(request)
    }

    async fn test_webhook(&self, _: TestWebhookRequest) -> Result<WebhookTested, ApiError> {
        Ok(notices::tested())
    }

    async fn forward(&self, request: ForwardRequest) -> Result<(TcpOpened, BoxStream), ApiError> {
        let agent = resolve(&request.peer).await?;
        let target = format!("{}:{}", agent.address, request.port);
        Ok(one_fault(request.listen, target))
    }

    async fn expose(&self, request: ExposeRequest) -> Result<(TcpOpened, BoxStream), ApiError> {
        let listen = format!("{}:{}", own().address, request.port);
        Ok(one_fault(listen, request.target))
    }

    async fn serve(&self, request: ServeRequest) -> Result<(TcpOpened, BoxStream), ApiError> {
        let listen = format!("{}:{}", own().address, request.port);
        Ok(one_fault(listen, request.directory.display().to_string()))
    }

    async fn proxy(&self, request: ProxyRequest) -> Result<(TcpOpened, BoxStream), ApiError> {
        Ok(one_fault(request.listen, "*.pilot".to_owned()))
    }

    async fn send_file(&self, request: SendFileRequest) -> Result<FileSent, ApiError> {
        let agent = resolve(&request.peer).await?;
        let name = request.path.file_name().unwrap_or_default();
        if name == "missing" {
            return Err(ApiError::new(
                ErrorCode::NotFound,
                "there is no file missing",
            ));
        }
        Ok(FileSent {
            target: agent.address,
            node_id: agent.node_id,
            filename: request
                .name
                .clone()
                .unwrap_or_else(|| name.to_string_lossy().into_owned()),
            bytes: 4,
            sha256: "ef".repeat(32),
            verified: true,
            resumed_from: 0,
            bytes_sent: 4,
            tries: 1,
            throughput_mbps: 1.5,
        })
    }

    async fn files_sending(&self, _: FilesSendingRequest) -> Result<FilesSending, ApiError> {
        let file = FileSending {
            transfer: Some(7),
            path: "/tmp/a.bin".into(),
            filename: "a.bin".into(),
            bytes: 4096,
            done: 1024,
            resumed_from: 0,
            bytes_sent: 1024,
        };
        Ok(FilesSending { files: vec![file] })
    }

    async fn received(&self, _: ReceivedRequest) -> Result<Received, ApiError> {
        Ok(Received {
            files: vec![ReceivedFile {
                name: "a.txt".into(),
                bytes: 4,
                from: node(PEER),
                from_address: peer().address,
                from_hostname: peer().hostname,
                sha256: "ef".repeat(32),
                path: "/home/worker/.pilot/received/a.txt".into(),
                received_at: THEN,
            }],
            total: 1,
            dir: "/home/worker/.pilot/received".into(),
        })
    }

    async fn disconnect(&self, request: DisconnectRequest) -> Result<Disconnected, ApiError> {
        if request.id != 1 {
            return Err(ApiError::new(ErrorCode::NotFound, "no such connection")
                .with_hint("pilotctl connections"));
        }
        Ok(Disconnected {
            id: 1,
            status: "disconnected".into(),
            remote_addr: peer().address,
            remote_node_id: peer().node_id,
        })
    }

    async fn deregister(&self, _: DeregisterRequest) -> Result<Deregistered, ApiError> {
        Ok(Deregistered {
            node_id: node(OWN),
            registered: false,
        })
    }

    async fn send_datagram(&self, request: SendDatagramRequest) -> Result<DatagramSent, ApiError> {
        let agent = resolve(&request.peer).await?;
        Ok(DatagramSent {
            target: agent.address,
            node_id: agent.node_id,
            port: request.port,
            bytes: request.body.as_bytes().len() as u64,
        })
    }

    /// One comes to port 5000, none to others.
    async fn receive_datagrams(
        &self,
        request: ReceiveDatagramsRequest,
    ) -> Result<Datagrams, ApiError> {
        if request.port != Port::new(5000) {
            return std::future::pending().await;
        }
        let agent = peer();
        Ok(Datagrams {
            messages: vec![Datagram {
                src_addr: agent.address,
                src_port: Port::new(50_000),
                src_node_id: agent.node_id,
                src_hostname: agent.hostname,
                port: request.port,
                body: Payload::new(b"tick\x1b[31m".to_vec()),
                bytes: 9,
            }],
        })
    }

    async fn bench(&self, request: BenchRequest) -> Result<Benched, ApiError> {
        let agent = resolve(&request.peer).await?;
        Ok(Benched {
            target: agent.address,
            node_id: agent.node_id,
            bytes: request.bytes,
            duration_ms: 8.0,
            gbit_per_s: request.bytes as f64 / 1e6,
            intact: true,
            reverse: request.reverse,
            path: PathKind::Direct,
            rtt_ms: Some(0.42),
        })
    }

    /// Port 7 echoes; port 9 is reset at once; port 1000 answers "hello, " and what it got once that ended.
    async fn dial(&self, request: DialRequest) -> Result<(DialInfo, BoxStream), ApiError> {
        let agent = resolve(&request.peer).await?;
        let port = request.port;
        let stream: BoxStream = match port.to_u16() {
            9 => Box::new(broken::Broken),
            7 | 1000 => {
                let (near, far) = tokio::io::duplex(4096);
                tokio::spawn(serve_stream(port, far));
                Box::new(near)
            }
            _ => {
                return Err(ApiError::new(
                    ErrorCode::ConnectionFailed,
                    format!("planner refused port {port}"),
                )
                .with_hint(format!("pilotctl recv {port}")));
            }
        };
        Ok((DialInfo { agent, port }, stream))
    }

    async fn apps(&self, request: AppsRequest) -> Result<Apps, ApiError> {
        apps::apps(&request)
    }

    async fn peer_apps(&self, request: PeerAppsRequest) -> Result<PeerApps, ApiError> {
        resolve(&request.peer).await?;
        apps::peer_apps(&request)
    }

    async fn catalogue(&self, request: CatalogueRequest) -> Result<CatalogueListed, ApiError> {
        apps::catalogue(&request)
    }

    async fn view_app(&self, request: ViewAppRequest) -> Result<AppViewed, ApiError> {
        apps::view_app(&request)
    }

    async fn install_app(&self, request: InstallAppRequest) -> Result<AppInstalled, ApiError> {
        apps::install_app(&request)
    }

    async fn roll_back_app(&self, request: RollBackAppRequest) -> Result<AppInstalled, ApiError> {
        apps::roll_back_app(&request)
    }

    async fn uninstall_app(
        &self,
        request: UninstallAppRequest,
    ) -> Result<AppUninstalled, ApiError> {
        apps::uninstall_app(&request)
    }

    async fn app_status(&self, request: AppStatusRequest) -> Result<AppStatus, ApiError> {
        apps::app_status(&request)
    }

    async fn restart_app(&self, request: RestartAppRequest) -> Result<AppStatus, ApiError> {
        apps::restart_app(&request)
    }

    async fn app_caps(&self, request: AppCapsRequest) -> Result<AppCaps, ApiError> {
        apps::app_caps(&request)
    }

    async fn call_app(&self, request: CallAppRequest) -> Result<AppCalled, ApiError> {
        apps::call_app(&request)
    }

    async fn filter(&self, _: FilterRequest) -> Result<FilterState, ApiError> {
        Ok(apps::filter())
    }

    async fn set_filter(&self, _: SetFilterRequest) -> Result<FilterState, ApiError> {
        Ok(apps::filter())
    }

    async fn app_audit(&self, request: AppAuditRequest) -> Result<AppAudit, ApiError> {
        apps::app_audit(&request)
    }

    async fn accept(&self, request: AcceptRequest) -> Result<(AcceptInfo, BoxStream), ApiError> {
        let Some(stream) = self.inbound.lock().await.pop() else {
            std::future::pending().await
        };
        let info = AcceptInfo {
            from: node(PEER),
            from_address: peer().address,
            from_hostname: Some("planner".parse::<Hostname>().unwrap()),
            port: request.port,
            remote_port: Port::new(50_000),
            traceparent: None,
        };
        Ok((info, Box::new(stream)))
    }
}

fn inbox_message(number: u8, body: &[u8]) -> InboxMessage {
    InboxMessage {
        id: MessageId::new([number; 16]),
        from: node(PEER),
        from_address: peer().address,
        from_hostname: peer().hostname,
        kind: MessageKind::Text,
        body: Some(Payload::new(body.to_vec())),
        bytes: body.len() as u64,
        received_at: THEN,
        reply_to: (number == 2).then_some(MessageId::new([1; 16])),
        trust: "trusted".into(),
        network_id: (number == 3).then(|| NetworkId::new(7).unwrap()),
        via: if number == 2 { "mailbox" } else { "direct" }.into(),
        sent_at: (number == 2).then_some(THEN),
        filter: (number == 2).then(|| Filtered {
            app: "org.example.aegis".into(),
            verdict: FilteredVerdict::Flag,
            reason: "injection: override".into(),
            findings: serde_json::json!([{"rule": "override"}]),
        }),
    }
}

async fn serve_stream(port: Port, mut far: DuplexStream) {
    if port == Port::ECHO {
        let (mut reader, mut writer) = tokio::io::split(far);
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
        let _ = writer.shutdown().await;
        return;
    }
    let mut got = vec![];
    if far.read_to_end(&mut got).await.is_ok() {
        let _ = far.write_all(&[b"hello, ".to_vec(), got].concat()).await;
    }
    let _ = far.shutdown().await;
}

/// A stream that the peer resets.
mod broken {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use pilot_api::{ApiError, ErrorCode};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    pub(super) struct Broken;

    fn reset() -> io::Error {
        io::Error::other(ApiError::new(
            ErrorCode::ConnectionFailed,
            "the peer reset the stream: peer_restarted",
        ))
    }

    impl AsyncRead for Broken {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Ready(Err(reset()))
        }
    }

    impl AsyncWrite for Broken {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(reset()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
}

/// A port to which one connection came, and failed. It is open until its caller ends it.
fn one_fault(listen: String, target: String) -> (TcpOpened, BoxStream) {
    let fault = TcpFault {
        from: "127.0.0.1:4000".to_owned(),
        target: target.clone(),
        error: ApiError::new(
            ErrorCode::NotTrusted,
            "planner has not granted\u{1b}[31m it",
        )
        .with_hint("pilotctl handshake planner"),
        connections: 1,
        failed: 1,
    };
    let (ours, mut theirs) = tokio::io::duplex(4096);
    tokio::spawn(async move {
        let mut text = serde_json::to_vec(&fault).unwrap();
        text.push(b'\n');
        theirs.write_all(&text).await.unwrap();
        let _ = theirs.read_to_end(&mut vec![]).await;
    });
    (TcpOpened { listen, target }, Box::new(ours))
}
