//! Streams: events of the transports, admission to ports, and the shell's calls.

use std::collections::BTreeMap;
use std::time::Instant;

use pilot_transport::{Event as TransportEvent, Read};
use pilot_types::{AgentId, GroupId, Port, StreamId};
use pilot_wire::{ErrorCode, Realm, StreamHeader};

use crate::dials::Stage;
use crate::event::{DialError, DialId, Event, SessionKey, StreamError, StreamHandle, Undelivered};
use crate::exchange::{Exchange, Purpose};
use crate::node::Node;
use crate::now::Now;
use crate::peer_session::{
    Application, Class, HeaderReader, PeerSession, Sending, StreamUse, read_code, write_code,
};
use crate::searching::RENDEZVOUS_PORTS;
use crate::written::Held;

/// What becomes of a stream that a peer opened.
enum Admission {
    /// The shell gets it.
    Application,
    /// The node serves it itself.
    Serve(Purpose),
    /// RESET and STOP with this code.
    Refuse(ErrorCode),
}

/// What was open in a session that ended.
pub(crate) struct Lost {
    pub(crate) agent: AgentId,
    pub(crate) streams: BTreeMap<StreamId, StreamUse>,
    pub(crate) waiting: Vec<DialId>,
}

impl Node {
    /// Handles what one session's transport has to say.
    pub(crate) fn drain_session(&mut self, now: Now, key: SessionKey) {
        while let Some(event) = self
            .table
            .get_mut(key)
            .and_then(|session| session.transport.poll_event())
        {
            self.handle_transport_event(now, key, event);
        }
        self.run_paths(now, key);
    }

    fn handle_transport_event(&mut self, now: Now, key: SessionKey, event: TransportEvent) {
        let handle = |id| StreamHandle { session: key, id };
        match event {
            TransportEvent::StreamOpened(id) => {
                if let Some(session) = self.session_mut(key) {
                    session
                        .streams
                        .insert(id, StreamUse::Unread(HeaderReader::default()));
                }
                self.advance_stream(now, key, id);
            }
            TransportEvent::Readable(id) | TransportEvent::Writable(id) => {
                if self.is_application(key, id) {
                    let is_readable = matches!(event, TransportEvent::Readable(_));
                    self.output.event(if is_readable {
                        Event::Readable(handle(id))
                    } else {
                        Event::Writable(handle(id))
                    });
                } else {
                    self.advance_stream(now, key, id);
                }
            }
            TransportEvent::StreamFinished(id) if self.is_application(key, id) => {
                self.note_sending(key, id, Sending::Delivered);
                self.output.event(Event::Finished(handle(id)));
            }
            TransportEvent::StreamReset { id, .. } | TransportEvent::StreamStopped { id, .. } => {
                if let TransportEvent::StreamStopped { code, .. } = event {
                    self.note_sending(key, id, Sending::Stopped(code));
                }
                if self.is_application(key, id) {
                    self.output.event(Event::Readable(handle(id)));
                    self.output.event(Event::Writable(handle(id)));
                } else {
                    self.advance_stream(now, key, id);
                }
            }
            TransportEvent::StreamsAvailable => self.open_waiting(now, key),
            TransportEvent::NewIndex { sequence, index } => {
                if let Some(agent) = self.table.get(key).map(|session| session.agent) {
                    self.endpoint.handle_new_index(&agent, sequence, index);
                }
            }
            TransportEvent::RetireIndex { sequence } => {
                if let Some(agent) = self.table.get(key).map(|session| session.agent) {
                    self.endpoint.handle_retire_index(&agent, sequence);
                }
            }
            TransportEvent::Silent => self.peer_silent(now, key),
            TransportEvent::Rested(rest) => self.link_rested(now, key, Some(rest)),
            TransportEvent::Unheard => self.link_rested(now, key, None),
            TransportEvent::Closed {
                code,
                reason,
                by_peer,
            } => {
                tracing::debug!(%code, reason, by_peer, "session closes");
                if by_peer && let Some(session) = self.table.get(key) {
                    // It left in order: it comes back by itself.
                    self.reconnects.remove(&session.agent);
                }
                if by_peer {
                    self.keep_complete(key);
                }
                if by_peer || code == ErrorCode::IDLE_TIMEOUT {
                    self.forget_session(now, key, code);
                } else {
                    self.end_streams(now, key, code);
                }
            }
            TransportEvent::Drained => {
                let closed = self.table.get(key).and_then(|session| session.closed);
                self.forget_session(now, key, closed.unwrap_or(ErrorCode::CANCELLED));
            }
            TransportEvent::Datagram(body) => self.handle_datagram_frame(now, key, &body),
            TransportEvent::Extension { kind, body } => {
                self.handle_extension(now, key, kind, &body);
            }
            TransportEvent::PathProbed { .. }
            | TransportEvent::PeerMoved(_)
            | TransportEvent::PathValidated(_)
            | TransportEvent::PathFailed(_) => self.handle_path_event(now, key, event),
            TransportEvent::StreamFinished(_) | _ => {}
        }
    }

    /// The peer closed: what it knows to be delivered is still read.
    fn keep_complete(&mut self, key: SessionKey) {
        let Some(session) = self.table.get_mut(key) else {
            return;
        };
        for (id, bytes) in session.transport.take_left() {
            if matches!(session.streams.get(&id), Some(StreamUse::Application(_))) {
                self.left.keep(StreamHandle { session: key, id }, bytes);
            }
        }
    }

    fn note_sending(&mut self, key: SessionKey, id: StreamId, sending: Sending) {
        if let Some(session) = self.table.get_mut(key)
            && let Some(StreamUse::Application(stream)) = session.streams.get_mut(&id)
            && stream.sending == Sending::UnderWay
        {
            stream.sending = sending;
        }
    }

    fn is_application(&self, key: SessionKey, id: StreamId) -> bool {
        let stream = self
            .table
            .get(key)
            .and_then(|session| session.streams.get(&id));
        matches!(stream, Some(StreamUse::Application(_)))
    }

    fn open_waiting(&mut self, now: Now, key: SessionKey) {
        let waiting = self
            .session_mut(key)
            .map(|session| std::mem::take(&mut session.waiting))
            .unwrap_or_default();
        for dial in waiting {
            self.open_for_dial(now, key, dial);
        }
    }

    /// Moves a stream on that is not the shell's: its header or an exchange.
    pub(crate) fn advance_stream(&mut self, now: Now, key: SessionKey, id: StreamId) {
        let Some(session) = self.session_mut(key) else {
            return;
        };
        match session.streams.get_mut(&id) {
            Some(StreamUse::Unread(reader)) => {
                match reader.advance(&mut session.transport, now, id) {
                    Ok(Some(header)) => self.admit_stream(now, key, id, header),
                    Ok(None) => {}
                    Err(_) => session.refuse(now, id, ErrorCode::PROTOCOL_VIOLATION),
                }
            }
            Some(StreamUse::Internal(_)) => {
                if let Some(result) = session.advance_exchange(now, id) {
                    self.exchange_ended(now, key, id, result);
                }
            }
            Some(StreamUse::Application(_)) | None => {}
        }
    }

    fn admit_stream(&mut self, now: Now, key: SessionKey, id: StreamId, header: StreamHeader) {
        let Some(session) = self.table.get(key) else {
            return;
        };
        let (agent, class) = (session.agent, session.class);
        let admission = self.admission(now, session, &header);
        if let Admission::Refuse(code) = admission {
            tracing::debug!(%agent, ?class, port = %header.destination, %code, "stream refused");
        }
        let Some(session) = self.session_mut(key) else {
            return;
        };
        match admission {
            Admission::Application => {
                session.streams.insert(
                    id,
                    StreamUse::Application(Application::new(header.destination, header.source)),
                );
                self.output.event(Event::Incoming {
                    stream: StreamHandle { session: key, id },
                    agent,
                    header,
                });
            }
            Admission::Serve(purpose) => {
                session
                    .streams
                    .insert(id, StreamUse::Internal(Exchange::serving(purpose)));
                self.advance_stream(now, key, id);
            }
            Admission::Refuse(code) => session.refuse(now, id, code),
        }
    }

    /// The one place that decides what a peer reaches (design §13, invariant 3).
    fn admission(&self, now: Now, session: &PeerSession, header: &StreamHeader) -> Admission {
        let port = header.destination;
        match (session.class, port) {
            (Class::Peer | Class::Stranger, Port::DATA_EXCHANGE)
                if matches!(header.realm, Realm::Group(_)) =>
            {
                self.group_admission(now, session, header)
            }
            (Class::Client, Port::REGISTRY) => Admission::Serve(Purpose::RegistryServe),
            (Class::Rendezvous(_), Port::REGISTRY) => Admission::Serve(Purpose::PushServe),
            (Class::Client, port)
                if RENDEZVOUS_PORTS.contains(&port) && self.ports.listened.contains(&port) =>
            {
                Admission::Application
            }
            (Class::Client | Class::Rendezvous(_), _) => Admission::Refuse(ErrorCode::NOT_TRUSTED),
            (Class::Peer, Port::REGISTRY) if self.forwards_for(now, &session.agent) => {
                Admission::Serve(Purpose::RegistryServe)
            }
            (Class::Peer | Class::Stranger, Port::TRUST) => Admission::Serve(Purpose::TrustServe),
            (Class::Peer | Class::Stranger, Port::LIVENESS)
                if self.trust.has_granted(now.unix, &session.agent) =>
            {
                Admission::Serve(Purpose::PingServe)
            }
            (Class::Peer | Class::Stranger, port)
                if !self.trust.admits(now.unix, &session.agent, port) =>
            {
                Admission::Refuse(ErrorCode::NOT_TRUSTED)
            }
            (Class::Peer | Class::Stranger, port)
                if self.ports.takes_any || self.ports.listened.contains(&port) =>
            {
                Admission::Application
            }
            (Class::Peer | Class::Stranger, _) => Admission::Refuse(ErrorCode::REFUSED),
        }
    }

    /// Who speaks to all members of a group reaches the message service, if the group's policy lets it speak.
    fn group_admission(&self, now: Now, session: &PeerSession, header: &StreamHeader) -> Admission {
        let Realm::Group(group) = header.realm else {
            return Admission::Refuse(ErrorCode::NOT_TRUSTED);
        };
        let group = GroupId::new(group);
        if !self.trust.may_broadcast(now.unix, &group, &session.agent) {
            Admission::Refuse(ErrorCode::NOT_TRUSTED)
        } else if self.ports.takes_any || self.ports.listened.contains(&header.destination) {
            Admission::Application
        } else {
            Admission::Refuse(ErrorCode::REFUSED)
        }
    }

    /// An exchange between nodes is over.
    fn exchange_ended(
        &mut self,
        now: Now,
        key: SessionKey,
        id: StreamId,
        result: Result<Vec<u8>, ErrorCode>,
    ) {
        let Some(session) = self.table.get_mut(key) else {
            return;
        };
        let agent = session.agent;
        let Some(StreamUse::Internal(exchange)) = session.streams.remove(&id) else {
            return;
        };
        if result.is_err() {
            session
                .transport
                .stop(now.instant, id, ErrorCode::CANCELLED);
            session
                .transport
                .reset(now.instant, id, ErrorCode::CANCELLED);
        }
        match exchange.purpose {
            Purpose::RegistryCall { link, request } => {
                self.registry_answered(now, link, request, result.ok());
            }
            Purpose::RelayCall(call) => self.relay_answered(now, agent, call, result.ok()),
            Purpose::PushSend { push } => self.push_answered(now, &agent, push, result.ok()),
            Purpose::TrustSend { dial: Some(dial) } => match result {
                Ok(_) => self.dial_delivered(dial, agent),
                Err(code) => self.fail_dial(dial, DialError::Closed(code)),
            },
            Purpose::PingSend { dial, sent } => match result {
                Ok(_) => self.ping_answered(now, key, dial, sent),
                Err(code) => self.ping_refused(dial, agent, code),
            },
            Purpose::TrustSend { dial: None } | Purpose::Answering => {}
            Purpose::RegistryServe
            | Purpose::PushServe
            | Purpose::TrustServe
            | Purpose::PingServe => {
                if let Ok(body) = result
                    && let Some(answer) = self.serve(now, key, exchange.purpose, body)
                {
                    let held = Held::Answer {
                        session: key,
                        stream: id,
                        body: answer,
                    };
                    // Changes that the answer acknowledges are emitted first, then it waits for them.
                    self.drain_trust(now);
                    self.output.written.hold(held);
                    self.drain_trust(now);
                }
            }
        }
    }

    fn serve(
        &mut self,
        now: Now,
        key: SessionKey,
        purpose: Purpose,
        body: Vec<u8>,
    ) -> Option<Vec<u8>> {
        match purpose {
            Purpose::RegistryServe => self.serve_registry(now, key, &body),
            Purpose::PushServe => self.serve_push(now, &body),
            Purpose::TrustServe => self.serve_trust(now, key, &body),
            Purpose::PingServe => Some(body),
            Purpose::RegistryCall { .. }
            | Purpose::RelayCall(_)
            | Purpose::PushSend { .. }
            | Purpose::TrustSend { .. }
            | Purpose::PingSend { .. }
            | Purpose::Answering => None,
        }
    }

    pub(crate) fn answer(&mut self, now: Now, key: SessionKey, id: StreamId, body: Vec<u8>) {
        if let Some(session) = self.session_mut(key) {
            session
                .streams
                .insert(id, StreamUse::Internal(Exchange::answering(body)));
        }
        self.advance_stream(now, key, id);
    }

    fn ping_answered(&mut self, now: Now, key: SessionKey, dial: DialId, sent: Instant) {
        let Some(session) = self.table.get(key) else {
            return;
        };
        let (agent, path) = (session.agent, session.transport.path());
        if self.dials.remove(dial).is_some() {
            let rtt = now.instant.saturating_duration_since(sent);
            self.output.event(Event::Pong {
                dial,
                agent,
                rtt,
                path,
            });
        }
    }

    fn ping_refused(&mut self, dial: DialId, agent: AgentId, code: ErrorCode) {
        let error = if code == ErrorCode::NOT_TRUSTED {
            DialError::NotTrusted { agent }
        } else {
            DialError::Closed(code)
        };
        self.fail_dial(dial, error);
    }

    fn dial_delivered(&mut self, dial: DialId, agent: AgentId) {
        if self.dials.remove(dial).is_some() {
            self.output.event(Event::Delivered { dial, agent });
        }
    }

    /// The session is closing: the shell learns it now, the transport drains by itself.
    fn end_streams(&mut self, now: Now, key: SessionKey, code: ErrorCode) {
        let Some(session) = self.table.get_mut(key) else {
            return;
        };
        session.closed = Some(code);
        let agent = session.agent;
        let lost = Lost {
            agent,
            streams: std::mem::take(&mut session.streams),
            waiting: std::mem::take(&mut session.waiting),
        };
        self.streams_lost(now, lost, code);
        self.output.event(Event::SessionClosed {
            session: key,
            agent,
            code,
        });
    }

    /// What a session's end means for the exchanges in it.
    pub(crate) fn streams_lost(&mut self, now: Now, lost: Lost, code: ErrorCode) {
        let Lost {
            agent,
            streams,
            waiting,
        } = lost;
        for stream in streams.into_values() {
            let StreamUse::Internal(exchange) = stream else {
                continue;
            };
            match exchange.purpose {
                Purpose::RegistryCall { link, request } => {
                    self.registry_answered(now, link, request, None);
                }
                Purpose::RelayCall(call) => self.relay_answered(now, agent, call, None),
                Purpose::PushSend { push } => self.push_lost(now, &agent, push),
                Purpose::TrustSend { dial: Some(dial) } | Purpose::PingSend { dial, .. } => {
                    self.dial_interrupted(dial, agent, code);
                }
                Purpose::RegistryServe
                | Purpose::PushServe
                | Purpose::TrustSend { dial: None }
                | Purpose::TrustServe
                | Purpose::PingServe
                | Purpose::Answering => {}
            }
        }
        for dial in waiting {
            self.dial_interrupted(dial, agent, code);
        }
    }

    /// A dial whose session ended. What may be repeated goes on in the session that takes the old one's place.
    fn dial_interrupted(&mut self, dial: DialId, agent: AgentId, code: ErrorCode) {
        match self.dials.get_mut(dial) {
            Some(dial) if code == ErrorCode::PEER_RESTARTED => {
                dial.stage = Stage::Connecting(agent);
            }
            _ if code == ErrorCode::SUPERSEDED => {
                let standing = self.refused_by(&agent);
                self.fail_dial(dial, DialError::KeyRefused { standing });
            }
            _ => self.fail_dial(dial, DialError::Closed(code)),
        }
    }

    /// Lets peers that we trust open streams to `port`; `false` if somebody listens on it already.
    pub fn listen(&mut self, port: Port) -> bool {
        self.ports.listened.insert(port)
    }

    /// Lets peers that we trust open streams to every port that their grant names; `false` if that is so already.
    pub const fn listen_any(&mut self) -> bool {
        !std::mem::replace(&mut self.ports.takes_any, true)
    }

    /// Streams to ports that nobody listens on are refused from now on.
    pub const fn unlisten_any(&mut self) {
        self.ports.takes_any = false;
    }

    /// Streams to `port` are refused from now on.
    pub fn unlisten(&mut self, port: Port) {
        self.ports.listened.remove(&port);
    }

    /// Reads from a stream: bytes, nothing yet, or its end.
    ///
    /// # Errors
    /// [`StreamError`] with the peer's or the session's code.
    pub fn read(
        &mut self,
        now: Now,
        stream: StreamHandle,
        out: &mut [u8],
    ) -> Result<Read, StreamError> {
        if let Some(read) = self.left.read(stream, out) {
            return Ok(read);
        }
        let session = self.live(stream)?;
        let result = session.transport.read(now.instant, stream.id, out);
        self.rest(now, stream.session);
        result.map_err(|error| StreamError {
            code: read_code(&error),
        })
    }

    /// Writes to a stream; gives how many bytes were taken, 0 while its buffer is full.
    ///
    /// # Errors
    /// [`StreamError`] with the peer's or the session's code.
    pub fn write(
        &mut self,
        now: Now,
        stream: StreamHandle,
        data: &[u8],
    ) -> Result<usize, StreamError> {
        let session = self.live(stream)?;
        let result = session.transport.write(now.instant, stream.id, data);
        self.table.touch(stream.session);
        result.map_err(|error| StreamError {
            code: write_code(&error),
        })
    }

    /// Ends our direction of a stream.
    ///
    /// # Errors
    /// [`StreamError`] if it is over already.
    pub fn finish(&mut self, now: Now, stream: StreamHandle) -> Result<(), StreamError> {
        let session = self.live(stream)?;
        let result = session.transport.finish(now.instant, stream.id);
        self.table.touch(stream.session);
        result.map_err(|error| StreamError {
            code: write_code(&error),
        })
    }

    /// Whether the peer's transport has everything that was written to a stream that was finished, and the end of it.
    ///
    /// # Errors
    /// [`StreamError`] if it will not: the peer stopped reading, or the session ended before.
    pub fn is_delivered(&self, stream: StreamHandle) -> Result<bool, StreamError> {
        let code = self.table.ended_code(stream.session);
        let session = self.table.get(stream.session);
        let session = session.ok_or(StreamError { code })?;
        if let Some(code) = session.closed {
            return Err(StreamError { code });
        }
        let sending = match session.streams.get(&stream.id) {
            Some(StreamUse::Application(stream)) => stream.sending,
            _ => Sending::Stopped(ErrorCode::CANCELLED),
        };
        match sending {
            Sending::UnderWay => Ok(false),
            Sending::Delivered => Ok(true),
            Sending::Stopped(code) => Err(StreamError { code }),
        }
    }

    /// What of the streams to agents was finished and is not acknowledged yet, whether the shell still holds them or not.
    #[must_use]
    pub fn undelivered(&self) -> Undelivered {
        let mut undelivered = Undelivered::default();
        for session in self.table.iter() {
            let is_agent = matches!(session.class, Class::Peer | Class::Stranger);
            if is_agent && !session.transport.is_closing() {
                let (streams, bytes) = session.transport.unfinished();
                undelivered.streams += streams;
                undelivered.bytes += bytes;
                if session.silent_since.is_some() {
                    undelivered.silent += streams;
                }
            }
        }
        undelivered
    }

    /// The shell lets go of a stream: what was finished still arrives, all else is given up with `code`.
    pub fn release_stream(
        &mut self,
        now: Now,
        stream: StreamHandle,
        is_finished: bool,
        code: ErrorCode,
    ) {
        self.left.release(stream);
        let Ok(session) = self.live(stream) else {
            return;
        };
        session.transport.stop(now.instant, stream.id, code);
        if !is_finished {
            session.transport.reset(now.instant, stream.id, code);
        }
        session.streams.remove(&stream.id);
        self.rest(now, stream.session);
    }

    /// After a call that mostly leaves a session as it was: it is looked at only if there is something to send or tell.
    fn rest(&mut self, now: Now, key: SessionKey) {
        let Some(session) = self.table.get(key) else {
            return;
        };
        let has_event = session.transport.has_event();
        if session.transport.is_pending() {
            self.table.touch(key);
        }
        if has_event {
            self.output.dirty.insert(key);
            self.drain(now);
        }
    }

    /// Gives up the stream of the shell that [`StreamHandle::to_u64`] names, in both directions; `None` if there is none.
    pub fn disconnect(&mut self, now: Now, number: u64) -> Option<AgentId> {
        let named = |session: &PeerSession| {
            let ids = session.streams.iter().filter_map(|(id, stream)| {
                let is_ours = matches!(stream, StreamUse::Application(_));
                is_ours.then_some(StreamHandle {
                    session: session.key,
                    id: *id,
                })
            });
            let mut found = ids.filter(|handle| handle.to_u64() == number);
            found.next().map(|handle| (session.agent, handle))
        };
        let (agent, stream) = self.table.iter().find_map(named)?;
        self.release_stream(now, stream, false, ErrorCode::CANCELLED);
        // Whoever reads or writes learns it now.
        self.output.event(Event::Readable(stream));
        self.output.event(Event::Writable(stream));
        Some(agent)
    }

    /// Our port and the peer's of a stream in the shell's hands.
    #[must_use]
    pub fn ports(&self, stream: StreamHandle) -> Option<(Port, Port)> {
        match self.table.get(stream.session)?.streams.get(&stream.id)? {
            StreamUse::Application(ports) => Some((ports.local, ports.remote)),
            StreamUse::Unread(_) | StreamUse::Internal(_) => None,
        }
    }

    /// The session of a stream; it does not count as touched.
    fn live(&mut self, stream: StreamHandle) -> Result<&mut PeerSession, StreamError> {
        self.table
            .live(stream.session)
            .map_err(|code| StreamError { code })
    }
}
