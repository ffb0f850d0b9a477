//! Being a relay: for all clients of a rendezvous, or for agents that we trust. What they ask, and the frames that are passed on.

use std::net::SocketAddr;

use pilot_nat::{BindError, RelayDrop, RelayLimits, RelayServer, RelayStats};
use pilot_registry::{RefusalCode, Request, RequestKind, Response};
use pilot_session::{NameLimit, Rate};
use pilot_types::{AgentId, Deadline, Ecn, PathId, Seed};
use pilot_wire::Forwards;
use rand_core::Rng;

use crate::event::SessionKey;
use crate::forwarded::NotQueued;
use crate::node::{Follows, Node};
use crate::now::Now;
use crate::paths::FORWARDS_FRAME;
use crate::peer_session::{Class, PeerSession};

/// Who finds no channel free tries again after this: idle ones are forgotten.
const FULL_REST_MS: u64 = 10_000;

/// What an agent may ask of another that is a relay for it: a channel for each of its own peers at once, and some changes
/// of its permits.
pub(crate) const REQUESTS_PER_PEER: Rate = Rate {
    burst: 256,
    per_second: 4,
};
/// What a client may ask of a relay alone.
pub(crate) const REQUESTS_PER_CLIENT: Rate = Rate {
    burst: 512,
    per_second: 16,
};
/// Who asks too much tries again after this.
const ASKED_REST_MS: u64 = 1000;

/// The relay of this node.
pub(crate) struct RelayRole {
    server: RelayServer,
    /// What peers ask, and clients of a relay alone; those of a rendezvous are held back by its registry.
    requests: NameLimit,
}

impl RelayRole {
    pub(crate) fn new(
        (limits, requests): (RelayLimits, Rate),
        seed: Seed,
        key: &[u8; 32],
        now: Now,
    ) -> Self {
        Self {
            server: RelayServer::new(limits, seed),
            requests: NameLimit::new(requests, key, now.instant),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        self.server.handle_timeout(now.instant);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        self.server.poll_timeout()
    }
}

impl Node {
    /// Figures of the relay, if this node is one.
    #[must_use]
    pub fn relay_stats(&self) -> Option<RelayStats> {
        Some(self.relay.as_ref()?.server.stats())
    }

    /// A frame of a relay: one that we pass on, or one that was passed on to us.
    pub(crate) fn handle_relay(
        &mut self,
        now: Now,
        path: PathId,
        ecn: Option<Ecn>,
        data: &mut [u8],
    ) -> Follows {
        let PathId::Udp(tuple) = path else {
            self.output.drops.count("relay_payload");
            return Follows::Nothing;
        };
        let from = tuple.remote.0;
        let Some(relay) = &mut self.relay else {
            return self.handle_relayed(now, tuple, ecn, data);
        };
        match relay.server.handle_frame(now.instant, from, data) {
            Ok(to) => self.forward(to, ecn, data),
            // An agent that is a relay has relays of its own.
            Err(RelayDrop::UnknownChannel) if self.is_relay(&from) => {
                return self.handle_relayed(now, tuple, ecn, data);
            }
            Err(reason) => self.output.drops.count(reason.name()),
        }
        Follows::Nothing
    }

    fn forward(&mut self, to: SocketAddr, ecn: Option<Ecn>, frame: &[u8]) {
        let Some(path) = self.place.path_to(to) else {
            self.output.drops.count("wrong_path");
            return;
        };
        match self.output.forwarded.push(path, ecn, frame) {
            Ok(()) => {}
            Err(NotQueued::Full) => self.output.drops.count("relay_queue_full"),
            Err(NotQueued::TooLong) => self.output.drops.count("relay_too_long"),
        }
    }

    /// Answers what is asked of the relay, and gives back what is for the registry.
    pub(crate) fn serve_relay(
        &mut self,
        now: Now,
        key: SessionKey,
        request: Request,
    ) -> Result<Response, Request> {
        let asked = match request {
            Request::Permit { is_open, permits } => Asked::Permit(is_open, permits),
            Request::Bind { to, permit } => Asked::Bind(to, permit),
            Request::Register { .. }
            | Request::Locate { .. }
            | Request::Lookup { .. }
            | Request::Knock { .. }
            | Request::PutGrant { .. }
            | Request::Deregister
            | Request::Observe
            | Request::Search { .. }
            | Request::CreateGroup { .. }
            | Request::FindGroup { .. }
            | Request::AskGroup { .. }
            | Request::PutGroup { .. }
            | Request::GroupState { .. }
            | Request::GroupMembers { .. }
            | Request::Invite { .. }
            | Request::Deposit { .. }
            | Request::FetchLetters { .. }
            | Request::TakeLetters { .. }
            | Request::Unknown => return Err(request),
        };
        let Some((from, refusal)) = self.admit_to_relay(now, key, asked.kind()) else {
            return Ok(Response::NotFound);
        };
        if let Some(refusal) = refusal {
            return Ok(refusal);
        }
        let Some(relay) = &mut self.relay else {
            return Ok(Response::NotFound);
        };
        Ok(match asked {
            Asked::Bind(to, permit) => bound(relay.server.bind(now.instant, &from, &to, permit)),
            Asked::Permit(is_open, permits) => {
                relay.server.set_permits(&from, is_open, permits);
                Response::Permitted
            }
        })
    }

    /// Who asks, and the refusal if it asks too much; `None` if we are no relay for it.
    fn admit_to_relay(
        &mut self,
        now: Now,
        key: SessionKey,
        kind: RequestKind,
    ) -> Option<(AgentId, Option<Response>)> {
        let session = self.table.get(key)?;
        let (from, class, addr) = (session.agent, session.class, client_addr(session));
        let relay = self.relay.as_mut()?;
        if let (Class::Client, Some(role)) = (class, &mut self.role)
            && role.host.counts_requests()
        {
            return Some((from, role.host.admit(now.unix, from, kind).err()));
        }
        if !relay.requests.take(now.instant, from.as_bytes()) {
            return Some((from, Some(too_much("too many requests", ASKED_REST_MS))));
        }
        if !relay.server.has_client(&from) {
            relay.server.client_opened(now.instant, from, addr?);
        }
        Some((from, None))
    }

    /// A client of the rendezvous is there.
    pub(crate) fn relay_client_opened(&mut self, now: Now, agent: AgentId, addr: SocketAddr) {
        if let Some(relay) = &mut self.relay {
            relay.server.client_opened(now.instant, agent, addr);
        }
    }

    /// The packets of a client or peer come from elsewhere, and it answered there.
    pub(crate) fn relay_client_moved(&mut self, key: SessionKey) {
        let (Some(session), Some(relay)) = (self.table.get(key), &mut self.relay) else {
            return;
        };
        match client_addr(session) {
            Some(addr) => relay.server.client_moved(&session.agent, addr),
            // It is behind a relay itself now.
            None if !session.transport.path().is_direct() => {
                relay.server.client_closed(&session.agent);
            }
            None => {}
        }
    }

    /// Something was learnt of the paths to an agent that we may be a relay for.
    pub(crate) fn relay_peer_moved(&mut self, key: SessionKey) {
        let session = self.table.get(key);
        if self.relay.is_some() && session.is_some_and(|session| session.paths.is_some()) {
            self.relay_client_moved(key);
        }
    }

    pub(crate) fn relay_client_closed(&mut self, agent: &AgentId) {
        if let Some(relay) = &mut self.relay {
            relay.server.client_closed(agent);
        }
    }

    /// Passes sealed packets on for agents that we trust and have a session with, to others that permit it, or stops doing so.
    /// A rendezvous does for all its clients, whatever is said here.
    pub fn relay_for_trusted(&mut self, now: Now, is_on: bool) {
        if self.role.is_some() || is_on == self.relay.is_some() {
            return;
        }
        self.relay = is_on.then(|| {
            let mut key = [0; 32];
            self.rng.fill_bytes(&mut key);
            let bounds = (RelayLimits::of_an_agent(), REQUESTS_PER_PEER);
            RelayRole::new(bounds, self.child_seed(), &key, now)
        });
        for key in self.table.keys() {
            self.tell_forwarding(now, key, is_on);
        }
        self.drain(now);
    }

    /// Whether we are a relay for an agent.
    pub(crate) fn forwards_for(&self, now: Now, agent: &AgentId) -> bool {
        let is_agent = self.role.is_none() && self.relay.is_some();
        is_agent && self.trust.admits_any(now.unix, agent)
    }

    /// Tells an agent that we are a relay for it, if we are.
    pub(crate) fn offer_forwarding(&mut self, now: Now, agent: &AgentId) {
        if let Some(key) = self.table.key_of(agent)
            && self.forwards_for(now, agent)
        {
            self.tell_forwarding(now, key, true);
        }
    }

    fn tell_forwarding(&mut self, now: Now, key: SessionKey, is_on: bool) {
        let agent = self.table.get(key).map(|session| session.agent);
        let is_trusted = |agent| self.trust.admits_any(now.unix, &agent);
        if !agent.is_some_and(is_trusted) {
            return;
        }
        let body = Forwards { is_on }.encode();
        if let Some(session) = self.session_mut(key).filter(|it| it.class == Class::Peer)
            && let Err(error) = session
                .transport
                .send_extension(now.instant, FORWARDS_FRAME, body)
        {
            tracing::debug!(agent = %session.agent, %error, "forwarding not told");
        }
    }
}

/// Where the frames of a client of ours come from: where its packets do, once it answered there. That of a rendezvous' client is asked
/// for when its path is validated.
fn client_addr(session: &PeerSession) -> Option<SocketAddr> {
    let transport = &session.transport;
    let Some(paths) = &session.paths else {
        return transport.path().remote();
    };
    let at = [transport.peer_path(), transport.path()];
    at.into_iter()
        .find(|path| paths.has_answered(path))?
        .remote()
}

/// What a relay can be asked.
enum Asked {
    Permit(bool, Vec<[u8; 16]>),
    Bind(AgentId, Option<[u8; 16]>),
}

impl Asked {
    const fn kind(&self) -> RequestKind {
        match self {
            Self::Permit(..) => RequestKind::Permit,
            Self::Bind(..) => RequestKind::Bind,
        }
    }
}

fn bound(result: Result<u32, BindError>) -> Response {
    match result {
        Ok(channel) => Response::Bound(channel),
        Err(BindError::Full) => too_much("too many channels", FULL_REST_MS),
        Err(BindError::NotFound | _) => Response::NotFound,
    }
}

fn too_much(message: &str, retry_after_ms: u64) -> Response {
    Response::Refused {
        code: RefusalCode::RateLimited,
        message: message.to_owned(),
        retry_after_ms,
    }
}
