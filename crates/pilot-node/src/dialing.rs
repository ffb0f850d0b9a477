//! Dials: from a name to a stream.

use std::time::Duration;

use pilot_registry::LookupTarget;
use pilot_trust::VerifiedLog;
use pilot_types::{AgentId, GroupId, Hostname, PathId, Port};
use pilot_wire::{Realm, StreamHeader, TraceParent, limits};

use crate::dials::{Dial, DialPurpose, Stage, Target};
use crate::directory::PeerEntry;
use crate::event::{DialError, DialId, Event, Persist, QueryError, SessionKey, StreamHandle};
use crate::exchange::{Exchange, Purpose};
use crate::links::QueryUse;
use crate::node::Node;
use crate::now::Now;
use crate::peer_session::{Application, Class, StreamUse};

/// Between questions to the registry while a dial waits for a handshake: ten in all, within a dial's deadline.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Longest payload of a ping.
const MAX_PING: usize = 1024;

/// What a dialler may say beside whom it dials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialOptions {
    /// The application's trace.
    pub trace: Option<TraceParent>,
    /// For the service on the port, at most [`limits::MAX_STREAM_METADATA`] bytes.
    pub metadata: Vec<u8>,
    /// The group on whose behalf: to speak to a member as to all of them.
    pub group: Option<GroupId>,
}

impl Node {
    /// Opens a stream to a port of an agent; [`Event::Dialed`] or [`Event::DialFailed`] follows.
    ///
    /// # Errors
    /// [`DialError::Busy`] if too many dials are under way or the metadata is too long.
    pub fn dial(
        &mut self,
        now: Now,
        target: Target,
        port: Port,
        options: DialOptions,
    ) -> Result<DialId, DialError> {
        if options.metadata.len() > limits::MAX_STREAM_METADATA {
            return Err(DialError::Busy);
        }
        self.start_dial(
            now,
            target,
            DialPurpose::Stream {
                port,
                trace: options.trace,
                metadata: options.metadata,
                group: options.group,
            },
        )
    }

    /// Asks an agent for an answer on port 0 to `len` bytes (at most 1024); [`Event::Pong`] or [`Event::DialFailed`] follows.
    ///
    /// # Errors
    /// [`DialError::Busy`] if too many dials are under way.
    pub fn ping(&mut self, now: Now, target: Target, len: usize) -> Result<DialId, DialError> {
        self.start_dial(
            now,
            target,
            DialPurpose::Ping {
                len: len.min(MAX_PING),
            },
        )
    }

    pub(crate) fn start_dial(
        &mut self,
        now: Now,
        target: Target,
        purpose: DialPurpose,
    ) -> Result<DialId, DialError> {
        let deadline = now.instant + self.config.dial_timeout;
        let id = self
            .dials
            .add(target, purpose, deadline)
            .ok_or(DialError::Busy)?;
        self.begin_dial(now, id);
        self.drain(now);
        Ok(id)
    }

    /// Gives a dial up; no event follows. An open stream stays.
    pub fn cancel_dial(&mut self, id: DialId) {
        self.dials.remove(id);
    }

    fn begin_dial(&mut self, now: Now, id: DialId) {
        let Some(dial) = self.dials.get(id) else {
            return;
        };
        if Self::is_directory(&dial.target) {
            self.dial_directory(now, id);
            return;
        }
        match self.resolve(&dial.target) {
            Some(agent) => self.dial_agent(now, id, agent),
            None => self.ask_for_dial(now, id, lookup_target(&dial.target.clone())),
        }
    }

    /// An agent that we know by this name: what was pinned comes before what a rendezvous says.
    #[must_use]
    pub fn resolve(&self, target: &Target) -> Option<AgentId> {
        match target {
            Target::Agent(agent) => Some(*agent),
            Target::Node(node) if self.agent().node() == *node => Some(self.agent()),
            Target::Node(node) => self
                .trust
                .find_node(*node)
                .or_else(|| self.directory.find_node(*node)),
            Target::Hostname(name) if self.profile.current.hostname.as_ref() == Some(name) => {
                Some(self.agent())
            }
            Target::Hostname(name) => {
                let known = self.trust.find_hostname(name);
                known.or_else(|| self.fellow_named(name))
            }
            Target::Key(key) if self.is_own_key(key) => Some(self.agent()),
            Target::Key(key) => self.directory.find_key(key),
        }
    }

    /// A fellow member whose record had this name when it was read last.
    fn fellow_named(&self, name: &Hostname) -> Option<AgentId> {
        let now = self.output.latest?.unix;
        let mut named = self.directory.named(name);
        let is_fellow = |agent: &AgentId| self.trust.is_fellow(now, agent);
        named.find(is_fellow)
    }

    fn is_own_key(&self, key: &[u8; 32]) -> bool {
        self.agent().as_bytes() == key || self.identity.sign_public() == *key
    }

    /// The agent is known: use its session, or find it.
    fn dial_agent(&mut self, now: Now, id: DialId, agent: AgentId) {
        if agent == self.agent() {
            self.fail_dial(id, DialError::Own);
            return;
        }
        if let Some(key) = self.live_session(&agent)
            && self.may_dial(now, id, &agent)
        {
            self.open_for_dial(now, key, id);
            return;
        }
        if !self.may_dial(now, id, &agent)
            && self
                .directory
                .peer(&agent)
                .is_some_and(|peer| peer.is_public)
        {
            self.fail_dial(id, DialError::NotTrusted { agent });
            return;
        }
        if let Some(dial) = self.dials.get_mut(id) {
            dial.stage = Stage::Connecting(agent);
        }
        if self.may_dial(now, id, &agent) {
            // Where it was last is tried while the registry is asked where it is now.
            self.connect_known(now, &agent);
        }
        self.ask_where(now, id, agent);
    }

    /// Asks the registry where an agent is, now and again while the dial waits: it may be moving or starting.
    pub(crate) fn ask_where(&mut self, now: Now, id: DialId, agent: AgentId) {
        self.dials.ask_again_at(id, now.instant + ASK_AGAIN);
        self.ask_for_dial(now, id, LookupTarget::Agent(agent));
    }

    pub(crate) fn live_session(&self, agent: &AgentId) -> Option<SessionKey> {
        let session = self.table.by_agent(agent)?;
        (!session.transport.is_closing()).then_some(session.key)
    }

    /// Whether the peer would take the dial: it granted us trust, or the dial is a trust message.
    fn may_dial(&self, now: Now, id: DialId, agent: &AgentId) -> bool {
        let is_trust_message = self
            .dials
            .get(id)
            .is_some_and(|dial| matches!(dial.purpose, DialPurpose::Trust { .. }));
        is_trust_message
            || self.trust.is_granted_by(now.unix, agent)
            || self.may_speak(now, id, agent)
    }

    /// Shakes hands with an agent at its cached addresses, and asks for a channel to it; `false` if there is neither.
    fn connect_known(&mut self, now: Now, agent: &AgentId) -> bool {
        let Some(log) = self.known_log(agent).cloned() else {
            return false;
        };
        self.ask_for_channels(now, &log);
        let paths = self.candidate_paths(agent);
        if paths.is_empty() {
            return self.is_asking_for_channel(agent);
        }
        if self.is_connecting_to(&log) {
            paths
                .into_iter()
                .for_each(|path| self.endpoint.add_path(now.instant, agent, path));
        } else {
            self.start_handshake(now, &log, Class::Peer, &paths);
        }
        true
    }

    /// Whether a handshake with the agent is under way under the key that this log says; one under a key of before finds nobody.
    pub(crate) fn is_connecting_to(&self, log: &VerifiedLog) -> bool {
        let agent = log.agent();
        let dialled = self.hellos.connecting.get(&agent);
        self.endpoint.is_connecting(&agent)
            && dialled.is_none_or(|dialled| dialled.log.dh_key() == log.dh_key())
    }

    /// Where an agent may be, as far as we have a socket for it.
    pub(crate) fn candidate_paths(&self, agent: &AgentId) -> Vec<PathId> {
        let candidates = self
            .directory
            .peer(agent)
            .map(|peer| peer.candidates.as_slice())
            .unwrap_or_default();
        let usable = candidates.iter().filter(|addr| self.is_acceptable(addr));
        let paths = usable.filter_map(|addr| self.place.path_to(*addr));
        paths.take(limits::MAX_CANDIDATES).collect()
    }

    fn ask_for_dial(&mut self, now: Now, id: DialId, target: LookupTarget) {
        if !self.links.ask(
            now.instant,
            pilot_registry::Request::Lookup { target },
            QueryUse::Dial(id),
        ) {
            self.dial_unanswered(id, &QueryError::Unreachable);
        }
    }

    /// The registry answered a dial's question.
    pub(crate) fn dial_answered(
        &mut self,
        now: Now,
        id: DialId,
        result: Result<PeerEntry, QueryError>,
    ) {
        let Some(dial) = self.dials.get(id) else {
            return;
        };
        if dial.stage == Stage::Open {
            return;
        }
        let is_asked_for = |entry: &PeerEntry| names(&dial.target, entry);
        match result {
            Ok(entry) if is_asked_for(&entry) => {
                let agent = entry.agent;
                self.learn(now, &entry);
                self.dial_found(now, id, agent);
            }
            Ok(_) => self.dial_unanswered(id, &QueryError::NotFound),
            Err(error) => self.dial_unanswered(id, &error),
        }
    }

    fn dial_found(&mut self, now: Now, id: DialId, agent: AgentId) {
        if agent == self.agent() {
            self.fail_dial(id, DialError::Own);
            return;
        }
        if !self.may_dial(now, id, &agent) {
            self.fail_dial(id, DialError::NotTrusted { agent });
            return;
        }
        if let Some(key) = self.live_session(&agent) {
            self.open_for_dial(now, key, id);
            return;
        }
        if let Some(dial) = self.dials.get_mut(id) {
            dial.stage = Stage::Connecting(agent);
        }
        if !self.connect_known(now, &agent) {
            self.fail_dial(id, DialError::Unreachable);
        }
    }

    /// No help from the registry: go on with what is cached, or fail.
    fn dial_unanswered(&mut self, id: DialId, error: &QueryError) {
        let Some(dial) = self.dials.get(id) else {
            return;
        };
        if let Stage::Connecting(agent) = dial.stage
            && (self.endpoint.is_connecting(&agent) || self.is_asking_for_channel(&agent))
        {
            return;
        }
        let error = match error {
            QueryError::NotFound => DialError::NotFound,
            QueryError::Unreachable
            | QueryError::Invalid(_)
            | QueryError::Group(_)
            | QueryError::NoPrekey
            | QueryError::LetterTooLarge
            | QueryError::Refused { .. } => DialError::NoRendezvous,
        };
        self.fail_dial(id, error);
    }

    /// Remembers a verified entry; a trusted peer's is persisted.
    pub(crate) fn learn(&mut self, now: Now, entry: &PeerEntry) {
        let known = self.directory.learn(entry);
        self.take_log(&entry.log);
        if self.trust.has_granted(now.unix, &entry.agent)
            || self.trust.is_fellow(now.unix, &entry.agent)
            || self.trust.is_granted_by(now.unix, &entry.agent)
        {
            self.output
                .event(Event::Persist(Persist::Peer(Box::new(known))));
        }
    }

    /// A session with an agent began: its dials open their streams.
    pub(crate) fn dials_connected(&mut self, now: Now, key: SessionKey, agent: AgentId) {
        for id in self.dials.connecting_to(&agent) {
            self.open_for_dial(now, key, id);
        }
    }

    pub(crate) fn dials_unreachable(&mut self, agent: &AgentId) {
        for id in self.dials.connecting_to(agent) {
            self.fail_dial(id, DialError::Unreachable);
        }
    }

    /// Opens the dial's stream, now or when the peer allows another one.
    pub(crate) fn open_for_dial(&mut self, now: Now, key: SessionKey, id: DialId) {
        let Some(Dial { purpose, .. }) = self.dials.get(id).cloned() else {
            return;
        };
        let (port, trace, metadata, group) = match &purpose {
            DialPurpose::Stream {
                port,
                trace,
                metadata,
                group,
            } => (*port, *trace, metadata.clone(), *group),
            DialPurpose::Ping { .. } => (Port::LIVENESS, None, vec![], None),
            DialPurpose::Trust { .. } => (Port::TRUST, None, vec![], None),
            DialPurpose::Datagram { port, data } => {
                self.datagram_for_dial(now, key, id, (*port, data));
                return;
            }
        };
        let Some(session) = self.session_mut(key) else {
            return;
        };
        let local = session.ephemeral_port();
        let mut header = StreamHeader {
            trace,
            metadata,
            ..StreamHeader::new(local, port)
        };
        if let Some(group) = group {
            header.realm = Realm::Group(*group.as_bytes());
        }
        let Some(stream) = session.open(now, &header) else {
            session.waiting.push(id);
            return;
        };
        let agent = session.agent;
        match purpose {
            DialPurpose::Stream { .. } => {
                session.streams.insert(
                    stream,
                    StreamUse::Application(Application::new(local, port)),
                );
                self.dials.remove(id);
                self.output.event(Event::Dialed {
                    dial: id,
                    stream: StreamHandle {
                        session: key,
                        id: stream,
                    },
                    agent,
                    local,
                });
            }
            DialPurpose::Ping { len } => {
                let purpose = Purpose::PingSend {
                    dial: id,
                    sent: now.instant,
                };
                session.streams.insert(
                    stream,
                    StreamUse::Internal(Exchange::asking(purpose, vec![0x50; len])),
                );
                self.dial_open(now, key, id, stream);
            }
            DialPurpose::Trust { body } => {
                let purpose = Purpose::TrustSend { dial: Some(id) };
                session
                    .streams
                    .insert(stream, StreamUse::Internal(Exchange::asking(purpose, body)));
                self.dial_open(now, key, id, stream);
            }
            DialPurpose::Datagram { .. } => {}
        }
    }

    fn dial_open(&mut self, now: Now, key: SessionKey, id: DialId, stream: pilot_types::StreamId) {
        if let Some(dial) = self.dials.get_mut(id) {
            dial.stage = Stage::Open;
        }
        self.advance_stream(now, key, stream);
    }

    pub(crate) fn fail_dial(&mut self, id: DialId, error: DialError) {
        if self.dials.remove(id).is_some() {
            self.output.event(Event::DialFailed { dial: id, error });
        }
    }

    pub(crate) fn dial_expired(&mut self, id: DialId, dial: &Dial) {
        let error = match dial.stage {
            Stage::Asking => DialError::NoRendezvous,
            Stage::Connecting(_) => DialError::Unreachable,
            Stage::Open => DialError::Timeout,
        };
        self.output.event(Event::DialFailed { dial: id, error });
    }
}

/// Whether an entry is the one that was asked for: a rendezvous may not hand out another agent's.
pub(crate) fn names(target: &Target, entry: &PeerEntry) -> bool {
    match target {
        Target::Hostname(name) => entry.record.hostname.as_ref() == Some(name),
        Target::Node(node) => entry.agent.node() == *node,
        Target::Agent(agent) => entry.agent == *agent,
        Target::Key(key) => entry.agent.as_bytes() == key || entry.log.sign_key() == *key,
    }
}

pub(crate) fn lookup_target(target: &Target) -> LookupTarget {
    match target {
        Target::Hostname(name) => LookupTarget::Hostname(name.clone()),
        Target::Node(node) => LookupTarget::Node(*node),
        Target::Agent(agent) => LookupTarget::Agent(*agent),
        Target::Key(key) => LookupTarget::Key(*key),
    }
}
