//! The rendezvous' part: registry requests, pushes to agents, key answers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pilot_registry::{
    GroupFacts, GroupPart, LogFacts, OutgoingPush, PushAck, PushId, RefusalCode, Request,
    RequestKind, Response, Service, Stats, Store, Verify,
};
use pilot_session::{NameLimit, Rate, source_name};
use pilot_trust::IdentityLog;
use pilot_types::{AgentId, PathId, Port, UnixTime};
use pilot_wire::{
    EnvelopeHead, GroupBundle, KeyAnswer, KeyQuery, NetworkConfig, SignedBytes, StreamHeader,
    decode_postcard, encode_postcard,
};
use serde::{Deserialize, Serialize};

use crate::config::RendezvousConfig;
use crate::event::SessionKey;
use crate::exchange::{Exchange, Purpose};
use crate::group_verify;
use crate::node::Node;
use crate::now::Now;
use crate::peer_session::{Class, StreamUse};
use crate::stun::StunSockets;

/// Key answers a second, to all askers together: each costs one packet no longer than the query.
const KEY_ANSWERS_PER_SECOND: u32 = 1000;

/// Key answers and STUN answers to one source: 500 agents behind one NAT ask once each at once, and again each second. An
/// address that others forge gets at most 256 answers a second, none longer than what was sent in its name but for STUN's 12 bytes
/// more.
const ANSWERS_PER_SOURCE: Rate = Rate {
    burst: 1024,
    per_second: 256,
};

/// Body of a key answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyAnswerBody {
    /// The rendezvous' identity log.
    pub entries: Vec<Vec<u8>>,
    /// Its network's configuration: a signed `pilot/network/1`.
    pub network: SignedBytes,
}

/// A registry's service core, whatever store is behind it.
pub trait RegistryHost: Send {
    /// An agent's session opened.
    fn session_opened(&mut self, now: UnixTime, agent: AgentId, observed: SocketAddr);
    /// An agent's session ended.
    fn session_closed(&mut self, now: UnixTime, agent: &AgentId);
    /// An agent's packets come from another address.
    fn observed_changed(&mut self, agent: &AgentId, observed: SocketAddr);
    /// Whether [`Self::admit`] bounds what is asked of the relay; else the relay does so itself.
    fn counts_requests(&self) -> bool {
        true
    }
    /// Counts a request that is answered beside the registry; an error is the refusal to answer with.
    ///
    /// # Errors
    /// The refusal, if the agent asks too much.
    fn admit(&mut self, now: UnixTime, from: AgentId, kind: RequestKind) -> Result<(), Response>;
    /// Answers a request.
    fn handle_request(&mut self, now: UnixTime, from: AgentId, request: Request) -> Response;
    /// The identity log that an agent registered with last.
    fn log(&mut self, agent: &AgentId) -> Option<Vec<Vec<u8>>>;
    /// The next push for an agent with a session.
    fn poll_push(&mut self) -> Option<OutgoingPush>;
    /// The agent took a push.
    fn push_acked(&mut self, now: UnixTime, to: &AgentId, id: PushId);
    /// The agent did not take a push: it comes again.
    fn push_failed(&mut self, now: UnixTime, to: &AgentId, id: PushId);
    /// Expires what is over and brings failed pushes again.
    fn handle_time(&mut self, now: UnixTime);
    /// When `handle_time` has work.
    fn poll_timeout_unix(&self) -> Option<UnixTime>;
    /// Counters.
    fn stats(&self) -> Stats;
}

impl<S: Store + Send, V: Verify + Send> RegistryHost for Service<S, V> {
    fn session_opened(&mut self, now: UnixTime, agent: AgentId, observed: SocketAddr) {
        Self::session_opened(self, now, agent, observed);
    }

    fn session_closed(&mut self, now: UnixTime, agent: &AgentId) {
        Self::session_closed(self, now, agent);
    }

    fn observed_changed(&mut self, agent: &AgentId, observed: SocketAddr) {
        Self::observed_changed(self, agent, observed);
    }

    fn admit(&mut self, now: UnixTime, from: AgentId, kind: RequestKind) -> Result<(), Response> {
        Self::admit(self, now, from, kind)
    }

    fn handle_request(&mut self, now: UnixTime, from: AgentId, request: Request) -> Response {
        Self::handle_request(self, now, from, request)
    }

    fn log(&mut self, agent: &AgentId) -> Option<Vec<Vec<u8>>> {
        Self::log(self, agent)
    }

    fn poll_push(&mut self) -> Option<OutgoingPush> {
        Self::poll_push(self)
    }

    fn push_acked(&mut self, now: UnixTime, to: &AgentId, id: PushId) {
        Self::push_acked(self, now, to, id);
    }

    fn push_failed(&mut self, now: UnixTime, to: &AgentId, id: PushId) {
        Self::push_failed(self, now, to, id);
    }

    fn handle_time(&mut self, now: UnixTime) {
        Self::handle_time(self, now);
    }

    fn poll_timeout_unix(&self) -> Option<UnixTime> {
        Self::poll_timeout_unix(self)
    }

    fn stats(&self) -> Stats {
        Self::stats(self)
    }
}

/// Checks what agents send to a registry with their own keys.
#[derive(Clone, Copy, Debug)]
pub struct LogVerifier {
    /// Zero bits of work that each inception needs.
    pub work_bits: u8,
}

impl Verify for LogVerifier {
    fn log(&self, entries: &[Vec<u8>]) -> Result<LogFacts, String> {
        let log = IdentityLog::from_entries(entries.to_vec())
            .verify(self.work_bits)
            .map_err(|error| error.to_string())?;
        Ok(LogFacts {
            agent: log.agent(),
            sign_key: log.sign_key(),
            generation: log.generation(),
            sequence: log.sequence(),
            head: log.head(),
        })
    }

    fn follows(&self, known: &[Vec<u8>], log: &[Vec<u8>]) -> bool {
        let verified = |entries: &[Vec<u8>]| {
            let log = IdentityLog::from_entries(entries.to_vec());
            log.verify(self.work_bits)
        };
        match (verified(known), verified(log)) {
            (Ok(known), Ok(log)) => known.is_followed_by(&log),
            (Err(_), _) | (_, Err(_)) => false,
        }
    }

    fn signed(
        &self,
        log: &[Vec<u8>],
        raw: &SignedBytes,
        now: UnixTime,
    ) -> Result<EnvelopeHead, String> {
        let log = IdentityLog::from_entries(log.to_vec())
            .verify(self.work_bits)
            .map_err(|error| error.to_string())?;
        log.verify_envelope(raw, now)
            .map(|envelope| envelope.head)
            .map_err(|error| error.to_string())
    }

    fn group(
        &self,
        state: Option<&[u8]>,
        bundle: &GroupBundle,
        now: UnixTime,
    ) -> Result<GroupFacts, String> {
        group_verify::merge(state, bundle, now)
    }

    fn group_part(&self, state: &[u8], part: GroupPart) -> Option<(GroupBundle, Option<AgentId>)> {
        group_verify::part(state, part)
    }
}

/// What makes a node a rendezvous.
pub struct RendezvousRole {
    config: RendezvousConfig,
    pub(crate) host: Box<dyn RegistryHost>,
    bucket: KeyBucket,
    sources: Option<NameLimit>,
    pub(crate) stun: StunSockets,
}

/// Tokens for key answers, refilled each second.
struct KeyBucket {
    left: u32,
    refilled: Option<Instant>,
}

impl KeyBucket {
    fn take(&mut self, now: Instant) -> bool {
        if self
            .refilled
            .is_none_or(|at| now.saturating_duration_since(at) >= Duration::from_secs(1))
        {
            self.left = KEY_ANSWERS_PER_SECOND;
            self.refilled = Some(now);
        }
        let has_token = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has_token
    }
}

impl RendezvousRole {
    /// A rendezvous for one network over one registry.
    #[must_use]
    pub fn new(config: RendezvousConfig, host: Box<dyn RegistryHost>) -> Self {
        Self {
            config,
            host,
            bucket: KeyBucket {
                left: 0,
                refilled: None,
            },
            sources: None,
            stun: StunSockets::default(),
        }
    }

    /// Bounds what one source may ask outside of sessions; which sources share a bucket follows from `key`.
    pub(crate) fn start(&mut self, key: &[u8; 32], now: Instant) {
        self.sources = Some(NameLimit::new(ANSWERS_PER_SOURCE, key, now));
    }

    pub(crate) fn may_answer(&mut self, now: Instant, path: &PathId) -> bool {
        let sources = self.sources.as_mut();
        sources.is_none_or(|sources| sources.take(now, &source_name(path)))
    }

    /// The network that it serves.
    #[must_use]
    pub const fn network(&self) -> NetworkConfig {
        self.config.network
    }

    /// Counters of the registry.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.host.stats()
    }

    /// The registry's answer to a request that an agent made in another way than on the registry's port.
    pub fn answer(&mut self, now: UnixTime, from: AgentId, request: Request) -> Response {
        self.host.handle_request(now, from, request)
    }

    pub(crate) fn poll_timeout_unix(&self) -> Option<UnixTime> {
        self.host.poll_timeout_unix()
    }
}

impl Node {
    /// The rendezvous' part of this node, if it is one.
    #[must_use]
    pub const fn role(&self) -> Option<&RendezvousRole> {
        self.role.as_ref()
    }

    /// The same, to ask it.
    pub const fn role_mut(&mut self) -> Option<&mut RendezvousRole> {
        self.role.as_mut()
    }

    /// A rendezvous, never an agent, says who it is; the answer is no longer than the padded query.
    pub(crate) fn handle_key_query(&mut self, now: Now, path: PathId, data: &[u8]) {
        let Some(role) = &mut self.role else {
            self.output.drops.count("key_query_to_agent");
            return;
        };
        let Ok(query) = KeyQuery::decode(data) else {
            self.output.drops.count("key_query_malformed");
            return;
        };
        if !role.may_answer(now.instant, &path) || !role.bucket.take(now.instant) {
            self.output.drops.count("key_query_limited");
            return;
        }
        let entries = self.identity.log().entries().to_vec();
        let body = encode_postcard(&KeyAnswerBody {
            entries,
            network: role.config.signed_network.clone(),
        });
        match (KeyAnswer {
            receiver: query.sender,
            token: query.token,
            body: &body,
        })
        .encode()
        {
            Some(answer) => self.output.datagram(path, answer),
            None => self.output.drops.count("key_answer_too_long"),
        }
    }

    pub(crate) fn serve_registry(
        &mut self,
        now: Now,
        key: SessionKey,
        body: &[u8],
    ) -> Option<Vec<u8>> {
        let from = self.table.get(key)?.agent;
        let mut registered = None;
        let response = match Request::decode(body) {
            Ok(request) => match (self.serve_relay(now, key, request), &mut self.role) {
                (Ok(response), _) => response,
                (Err(request), Some(role)) => {
                    if let Request::Register { log, .. } = &request {
                        registered = Some(log.clone());
                    }
                    role.host.handle_request(now.unix, from, request)
                }
                (Err(_), None) => refused("an agent that is a relay keeps no registry"),
            },
            Err(error) => refused(&format!("malformed request: {error}")),
        };
        if let (Some(log), Response::Registered { .. }) = (registered, &response) {
            self.client_log(key, &log);
        }
        Some(response.encode())
    }

    /// A client has other keys, which the registry took: its next handshake is judged by them.
    fn client_log(&mut self, key: SessionKey, entries: &[Vec<u8>]) {
        let session = self.table.get(key);
        let known = session.filter(|session| session.log.log().entries() != entries);
        if let Some(log) = known.and_then(|session| session.log.extend(entries).ok()) {
            self.take_log(&log);
        }
    }

    /// Hands the registry's pushes to the sessions of their agents.
    pub(crate) fn drain_role(&mut self, now: Now) -> bool {
        let mut has_work = false;
        while let Some(OutgoingPush { to, id, push }) =
            self.role.as_mut().and_then(|role| role.host.poll_push())
        {
            has_work = true;
            if !self.send_push(now, &to, id, push.encode()) {
                self.push_lost(now, &to, id);
            }
        }
        has_work
    }

    fn send_push(&mut self, now: Now, to: &AgentId, push: PushId, body: Vec<u8>) -> bool {
        let Some(key) = self.table.key_of(to) else {
            return false;
        };
        let Some(session) = self
            .session_mut(key)
            .filter(|session| session.class == Class::Client)
        else {
            return false;
        };
        let header = StreamHeader::new(session.ephemeral_port(), Port::REGISTRY);
        let Some(stream) = session.open(now, &header) else {
            return false;
        };
        session.streams.insert(
            stream,
            StreamUse::Internal(Exchange::asking(Purpose::PushSend { push }, body)),
        );
        self.advance_stream(now, key, stream);
        true
    }

    pub(crate) fn push_answered(
        &mut self,
        now: Now,
        agent: &AgentId,
        push: PushId,
        answer: Option<Vec<u8>>,
    ) {
        let ack = answer.and_then(|bytes| decode_postcard::<PushAck>(&bytes, "push ack").ok());
        match (ack, &mut self.role) {
            (Some(PushAck::Taken), Some(role)) => role.host.push_acked(now.unix, agent, push),
            _ => self.push_lost(now, agent, push),
        }
    }

    pub(crate) fn push_lost(&mut self, now: Now, agent: &AgentId, push: PushId) {
        if let Some(role) = &mut self.role {
            role.host.push_failed(now.unix, agent, push);
        }
    }
}

pub(crate) fn refused(message: &str) -> Response {
    Response::Refused {
        code: RefusalCode::Invalid,
        message: message.to_owned(),
        retry_after_ms: 0,
    }
}
