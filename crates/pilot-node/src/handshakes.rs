//! Handshakes: who is answered, what a hello says, and when a session begins.

use std::sync::Arc;

use pilot_session::{Endpoint, HelloToken, PeerKeys, Received};
use pilot_transport::{Side, Transport};
use pilot_trust::VerifiedLog;
use pilot_types::{AgentId, BootId, Ecn, PathId};
use pilot_wire::{ErrorCode, Hello, HelloAnswer, KeyStanding, TransportParams, VERSION};

use crate::event::{Event, Persist, SessionKey};
use crate::hello_judge::Unanswered;
use crate::node::{Follows, Node};
use crate::now::Now;
use crate::peer_session::{Class, Established, PeerSession};
use crate::streams::Lost;

/// A handshake that we started.
pub(crate) struct Connecting {
    pub(crate) log: VerifiedLog,
    pub(crate) class: Class,
}

/// A session that is gone.
struct Ended {
    agent: AgentId,
    /// Whether we show the peer another boot id already.
    is_life_over: bool,
}

/// What a completed handshake says of the peer.
struct Arrival {
    log: VerifiedLog,
    class: Class,
    boot: BootId,
    params: TransportParams,
    freshness: u64,
    path: PathId,
}

impl Node {
    /// Dials an agent whose key is known, on all `paths` at once.
    pub(crate) fn start_handshake(
        &mut self,
        now: Now,
        log: &VerifiedLog,
        class: Class,
        paths: &[PathId],
    ) {
        let agent = log.agent();
        let hello = self.hello(now, &agent).encode();
        let keys = PeerKeys {
            agent,
            dh_public: log.dh_key(),
        };
        match self.endpoint.connect(now.instant, keys, &hello, paths) {
            Ok(()) => {
                self.hellos.connecting.insert(
                    agent,
                    Connecting {
                        log: log.clone(),
                        class,
                    },
                );
            }
            Err(error) => {
                tracing::debug!(%agent, %error, "handshake not started");
                self.handshake_failed(now, agent);
            }
        }
    }

    fn hello(&mut self, now: Now, agent: &AgentId) -> Hello {
        let log = self.identity.verified();
        let mut hello = Hello {
            agent: log.agent(),
            generation: log.generation(),
            sequence: log.sequence(),
            head: log.head(),
            entries: vec![],
            boot: self.hellos.lives.boot(agent),
            freshness: self.hellos.own.stamp(now.unix),
            params: self.config.transport.params,
            versions: vec![VERSION],
            ticket: self.hellos.tickets.get(agent).copied(),
        };
        let room = Endpoint::MAX_HELLO.saturating_sub(hello.encode().len());
        hello.entries = self.hello_entries(agent, room);
        hello
    }

    /// A handshake or data packet.
    pub(crate) fn handle_session_packet(
        &mut self,
        now: Now,
        path: PathId,
        ecn: Option<Ecn>,
        data: &mut [u8],
    ) -> Follows {
        let size = data.len();
        match self.endpoint.handle_datagram(now.instant, path, data) {
            Ok(Received::Hello {
                peer_static,
                hello,
                token,
            }) => self.answer_hello(now, peer_static, &hello, token),
            Ok(Received::Answered { peer, answer }) => {
                self.handshake_answered(now, path, peer, &answer);
            }
            Ok(Received::Data {
                peer,
                number,
                payload,
                confirmed,
            }) => {
                let mut follows = Follows::Later;
                if let Some(hello) = confirmed {
                    // It may take the place of a session that has more to say.
                    self.drain(now);
                    follows = Follows::Now;
                    if !self.hello_confirmed(now, path, &hello) {
                        self.output.drops.count("hello_unconfirmed");
                        return follows;
                    }
                }
                let Some(key) = self.table.key_of(&peer) else {
                    self.output.drops.count("no_transport");
                    return follows;
                };
                self.output.dirty.insert(key);
                let Some(session) = self.table.get_mut(key) else {
                    return follows;
                };
                if let Some(paths) = &mut session.paths
                    && path != session.transport.path()
                {
                    paths.handle_heard(now.instant, path);
                }
                if let Err(error) =
                    session
                        .transport
                        .handle_packet(now.instant, path, number, ecn, size, payload)
                {
                    tracing::debug!(%peer, %error, "peer broke the protocol");
                    self.output.drops.count("protocol_violation");
                }
                return follows;
            }
            Ok(Received::Handled) => {}
            Err(reason) => self.output.drops.count(reason.name()),
        }
        Follows::Now
    }

    /// Message 1: answered if its sender is who it says, is fresh, and may talk to us at all. Who shows a key that an agent had is told why not.
    fn answer_hello(&mut self, now: Now, peer_static: [u8; 32], hello: &Hello, token: HelloToken) {
        let answered = match self.judge_hello(now, peer_static, hello) {
            Ok(()) => {
                let answer = self.hello_answer(hello, KeyStanding::CURRENT).encode();
                self.endpoint.accept(now.instant, token, &answer)
            }
            Err(Unanswered { standing, reason }) => {
                self.output.drops.count(reason);
                if standing == KeyStanding::CURRENT {
                    self.endpoint.ignore(token);
                    return;
                }
                let answer = self.hello_answer(hello, standing).encode();
                self.endpoint.decline(now.instant, token, &answer)
            }
        };
        if let Err(error) = answered {
            tracing::debug!(agent = %hello.agent, %error, "handshake not answered");
            self.output.drops.count("accept_failed");
        }
    }

    /// What the sender of a hello is to us; an error is silence.
    pub(crate) fn classify(&mut self, now: Now, hello: &Hello) -> Result<Class, &'static str> {
        let agent = &hello.agent;
        let is_live = self.table.by_agent(agent).is_some();
        if !is_live && self.table.len() >= self.config.max_sessions {
            return Err("sessions_full");
        }
        if self.role.is_some() {
            return Ok(Class::Client);
        }
        if let Some(link) = self.links.find(agent) {
            return Ok(Class::Rendezvous(link));
        }
        if self.trust.has_granted(now.unix, agent) || self.trust.is_fellow(now.unix, agent) {
            return Ok(Class::Peer);
        }
        let has_ticket = hello
            .ticket
            .is_some_and(|secret| self.trust.check_ticket_secret(now.unix, &secret));
        if !has_ticket && !self.profile.current.is_public {
            return Err("hello_stranger");
        }
        let strangers = self
            .table
            .iter()
            .filter(|session| session.class == Class::Stranger)
            .count();
        if is_live || strangers < self.config.max_strangers {
            Ok(Class::Stranger)
        } else {
            Err("strangers_full")
        }
    }

    fn hello_answer(&self, hello: &Hello, standing: KeyStanding) -> HelloAnswer {
        let log = self.identity.verified();
        HelloAnswer {
            generation: log.generation(),
            sequence: log.sequence(),
            head: log.head(),
            boot: self.hellos.lives.boot(&hello.agent),
            params: self.config.transport.params,
            versions: hello.versions.clone(),
            standing,
        }
    }

    /// The first packet under an epoch that we answered: only now its hello takes effect.
    fn hello_confirmed(&mut self, now: Now, path: PathId, hello: &Hello) -> bool {
        let Ok(class) = self.classify(now, hello) else {
            return false;
        };
        let known = self.known_log(&hello.agent);
        let log = known
            .filter(|log| log.head() == hello.head)
            .or_else(|| self.hellos.logs.get(&hello.agent, &hello.head));
        let Some(log) = log.cloned() else {
            return false;
        };
        // Our own handshake with it, if one was under way, is settled by this one.
        if !self.endpoint.is_connecting(&hello.agent) {
            self.hellos.connecting.remove(&hello.agent);
        }
        self.arrived(
            now,
            Arrival {
                log,
                class,
                boot: hello.boot,
                params: hello.params,
                freshness: hello.freshness,
                path,
            },
        );
        if let Some(session) = self
            .table
            .key_of(&hello.agent)
            .and_then(|key| self.table.get_mut(key))
        {
            session.ticket = hello.ticket;
        }
        true
    }

    /// Message 2: the peer holds the key that we dialled.
    fn handshake_answered(&mut self, now: Now, path: PathId, peer: AgentId, answer: &HelloAnswer) {
        let Some(connecting) = self.hellos.connecting.remove(&peer) else {
            self.output.drops.count("answer_unexpected");
            return;
        };
        if answer.standing != KeyStanding::CURRENT {
            return self.key_refused(now, peer, answer.standing);
        }
        self.log_is_known_to(&peer);
        let Connecting { log, class } = connecting;
        self.arrived(
            now,
            Arrival {
                log,
                class,
                boot: answer.boot,
                params: answer.params,
                freshness: 0,
                path,
            },
        );
        if let Some(key) = self.table.key_of(&peer)
            && let Some(session) = self.session_mut(key)
        {
            // The packet that confirms our epoch to the peer.
            session.transport.ping(now.instant);
        }
        if let Some(addr) = path.remote()
            && let Some(known) = self.directory.reached(&peer, addr)
        {
            let known = Box::new(known.clone());
            self.output.event(Event::Persist(Persist::Peer(known)));
        }
    }

    /// A handshake took effect: the session goes on, or a new one begins.
    fn arrived(&mut self, now: Now, arrival: Arrival) {
        let agent = arrival.log.agent();
        self.reconnects.remove(&agent);
        self.take_log(&arrival.log);
        if arrival.freshness > 0 && self.trust.has_granted(now.unix, &agent) {
            self.hellos.seen.record(agent, arrival.freshness);
            self.output.event(Event::Persist(Persist::Freshness {
                agent,
                stamp: arrival.freshness,
            }));
        }
        if let Some(key) = self.table.key_of(&agent)
            && let Some(session) = self.session_mut(key)
        {
            if session.boot == arrival.boot && !session.transport.is_closing() {
                session.freshness = session.freshness.max(arrival.freshness);
                session.silent_since = None;
                session.class = arrival.class;
                if session.transport.path() != arrival.path {
                    self.session_switched(now, key, arrival.path);
                }
                return;
            }
            // The keys and our boot id belong to the session that begins: only the old streams go.
            self.remove_session(now, key, ErrorCode::PEER_RESTARTED);
        }
        self.begin_session(now, arrival);
    }

    fn begin_session(&mut self, now: Now, arrival: Arrival) {
        let agent = arrival.log.agent();
        let side = if self.agent() < agent {
            Side::Even
        } else {
            Side::Odd
        };
        let config = match arrival.class {
            Class::Rendezvous(_) | Class::Client => &self.config.link_transport,
            Class::Peer | Class::Stranger => &self.config.transport,
        };
        let config = Arc::clone(config);
        let seed = self.child_seed();
        let transport = Transport::new(
            config,
            side,
            arrival.params,
            arrival.path,
            seed,
            now.instant,
        );
        let key = self.table.next_key();
        let parts = Established {
            key,
            log: arrival.log,
            boot: arrival.boot,
            class: arrival.class,
            transport,
            freshness: arrival.freshness,
        };
        self.table.insert(PeerSession::new(parts));
        self.reconnects.sessions_changed();
        self.output.dirty.insert(key);
        tracing::debug!(%agent, class = ?arrival.class, path = %arrival.path, "session began");
        self.session_began(now, key);
    }

    fn session_began(&mut self, now: Now, key: SessionKey) {
        let Some(session) = self.table.get(key) else {
            return;
        };
        let (agent, class) = (session.agent, session.class);
        match class {
            Class::Rendezvous(link) => {
                self.link_connected(now, link);
                self.keep_link_alive(now, link);
                self.dials_connected(now, key, agent);
            }
            Class::Client => {
                let observed = session.transport.path().remote();
                if let (Some(role), Some(observed)) = (&mut self.role, observed) {
                    role.host.session_opened(now.unix, agent, observed);
                    self.relay_client_opened(now, agent, observed);
                }
                self.tell_observed(now, key);
            }
            Class::Peer | Class::Stranger => {
                self.begin_paths(now, key);
                self.tell_identity_if_changed(now, key);
                self.greet_fellow(now, agent);
                self.dials_connected(now, key, agent);
            }
        }
    }

    /// No candidate answered.
    pub(crate) fn handshake_failed(&mut self, now: Now, agent: AgentId) {
        self.hellos.connecting.remove(&agent);
        if let Some(link) = self.links.find(&agent) {
            self.links.retry_later(now.instant, link);
        }
        // A trusted peer is dialled again, and its streams wait for a while.
        if !self.reconnects.contains(&agent)
            && let Some(session) = self.table.by_agent(&agent)
            && session.silent_since.is_some()
        {
            let key = session.key;
            self.forget_session(now, key, ErrorCode::IDLE_TIMEOUT);
        }
        self.dials_unreachable(&agent);
    }

    pub(crate) fn handle_endpoint_event(&mut self, now: Now, event: &pilot_session::Event) {
        match event {
            pilot_session::Event::RekeyDue { peer } => self.rehandshake(now, *peer),
            pilot_session::Event::HandshakeFailed { peer } => self.handshake_failed(now, *peer),
            // A hint that anybody can forge: the handshake goes on.
            pilot_session::Event::VersionRefused { .. } => {
                self.output.drops.count("version_refused");
            }
            pilot_session::Event::SessionExpired { peer } => {
                if let Some(key) = self.table.key_of(peer) {
                    self.forget_session(now, key, ErrorCode::IDLE_TIMEOUT);
                }
            }
            _ => {}
        }
    }

    /// A fresh handshake with an agent that we have a session with, on its path and its known addresses.
    pub(crate) fn rehandshake(&mut self, now: Now, agent: AgentId) {
        let Some(session) = self.table.by_agent(&agent) else {
            return;
        };
        if self.endpoint.is_connecting(&agent) {
            return;
        }
        let (log, class) = (session.log.clone(), session.class);
        let paths = self.paths_to(&agent);
        self.start_handshake(now, &log, class, &paths);
    }

    /// The log of an agent that we knew before this packet.
    pub(crate) fn known_log(&self, agent: &AgentId) -> Option<&VerifiedLog> {
        let live = self.table.by_agent(agent).map(|session| &session.log);
        live.or_else(|| self.trust.peer_log(agent))
            .or_else(|| self.directory.log(agent))
    }

    /// Closes a session in order: the peer is told. From now on we show another boot id, so that a peer that
    /// misses the CLOSE does not go on with streams that we forgot.
    pub(crate) fn close_session(
        &mut self,
        now: Now,
        key: SessionKey,
        code: ErrorCode,
        reason: &str,
    ) {
        let Some(session) = self.session_mut(key) else {
            return;
        };
        if session.transport.is_closing() {
            return;
        }
        session.transport.close(now.instant, code, reason);
        session.is_life_over = true;
        let agent = session.agent;
        self.reconnects.remove(&agent);
        self.reconnects.sessions_changed();
        self.hellos.lives.end(agent);
    }

    /// Ends a session and its keys at once.
    pub(crate) fn forget_session(&mut self, now: Now, key: SessionKey, code: ErrorCode) {
        let Some(session) = self.remove_session(now, key, code) else {
            return;
        };
        // The peer may have the session still: what it says in it is for a life of ours that is over.
        if !session.is_life_over {
            self.hellos.lives.end(session.agent);
        }
        self.endpoint.close(&session.agent);
    }

    /// Takes a session out of the table; its streams end for the shell.
    fn remove_session(&mut self, now: Now, key: SessionKey, code: ErrorCode) -> Option<Ended> {
        let session = self.table.remove(key, code)?;
        let PeerSession {
            agent,
            class,
            streams,
            waiting,
            closed,
            is_life_over,
            ..
        } = session;
        self.output.dirty.remove(&key);
        self.reconnects.sessions_changed();
        if !self.trust.has_granted(now.unix, &agent) {
            self.relaying.untrusted_session_ended(&agent);
        }
        tracing::debug!(%agent, %code, "session ended");
        self.streams_lost(
            now,
            Lost {
                agent,
                streams,
                waiting,
            },
            code,
        );
        self.relay_client_closed(&agent);
        self.relaying.relay_lost(&agent);
        match class {
            Class::Rendezvous(link) => self.link_lost(now, link),
            Class::Client => {
                if let Some(role) = &mut self.role {
                    role.host.session_closed(now.unix, &agent);
                }
            }
            Class::Peer | Class::Stranger => {}
        }
        if closed.is_none() {
            self.output.event(Event::SessionClosed {
                session: key,
                agent,
                code,
            });
        }
        Some(Ended {
            agent,
            is_life_over,
        })
    }
}
