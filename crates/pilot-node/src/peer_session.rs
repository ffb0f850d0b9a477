//! One life of a session with one agent.

use std::collections::BTreeMap;
use std::time::Instant;

use pilot_nat::PathAgent;
use pilot_transport::{Read, ReadError, Transport, WriteError};
use pilot_trust::VerifiedLog;
use pilot_types::{AgentId, BootId, Deadline, Port, StreamId};
use pilot_wire::{DecodeError, ErrorCode, StreamHeader, limits};

use crate::event::{DialId, SessionKey};
use crate::exchange::Exchange;
use crate::now::Now;
use crate::reconnects::LastSession;

/// What a session's other end is to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// A rendezvous that we registered with: link number.
    Rendezvous(usize),
    /// An agent that is registered with us, a rendezvous.
    Client,
    /// An agent with a grant in one direction at least.
    Peer,
    /// An agent that we know nothing of: it reaches port 444.
    Stranger,
}

/// What a stream is for.
pub(crate) enum StreamUse {
    /// Opened by the peer; its header has not come whole.
    Unread(HeaderReader),
    /// In the hands of the shell.
    Application(Application),
    /// A request and its answer between nodes.
    Internal(Exchange),
}

/// A stream in the shell's hands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Application {
    pub(crate) local: Port,
    pub(crate) remote: Port,
    pub(crate) sending: Sending,
}

impl Application {
    /// A stream between two ports that was just opened.
    pub(crate) const fn new(local: Port, remote: Port) -> Self {
        Self {
            local,
            remote,
            sending: Sending::UnderWay,
        }
    }
}

/// How far our direction of a stream is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sending {
    /// Not everything is acknowledged, or not ended yet.
    UnderWay,
    /// The peer has everything, and the end.
    Delivered,
    /// The peer wants no more.
    Stopped(ErrorCode),
}

/// Transport, streams and peer of one session.
pub(crate) struct PeerSession {
    pub(crate) key: SessionKey,
    pub(crate) agent: AgentId,
    pub(crate) log: VerifiedLog,
    /// The peer's boot.
    pub(crate) boot: BootId,
    pub(crate) class: Class,
    pub(crate) transport: Transport,
    /// Bounded by the transport's stream limits.
    pub(crate) streams: BTreeMap<StreamId, StreamUse>,
    /// Dials that wait for a stream of their own; bounded by the node's table of dials.
    pub(crate) waiting: Vec<DialId>,
    /// Freshness stamp of the newest hello that took effect.
    pub(crate) freshness: u64,
    /// Secret of the ticket by which a stranger was let in, until its knock uses it.
    pub(crate) ticket: Option<[u8; 16]>,
    /// Which path is used; none where a rendezvous or a stranger is at the other end.
    pub(crate) paths: Option<Box<PathAgent>>,
    /// With which code we closed it: what its streams say until it is gone.
    pub(crate) closed: Option<ErrorCode>,
    /// Whether we show the peer another boot id since we closed the session.
    pub(crate) is_life_over: bool,
    /// When the peer was noticed to be silent; it is dialled anew then.
    pub(crate) silent_since: Option<Instant>,
    next_port: u16,
}

/// What a new session is made of.
pub(crate) struct Established {
    pub(crate) key: SessionKey,
    pub(crate) log: VerifiedLog,
    pub(crate) boot: BootId,
    pub(crate) class: Class,
    pub(crate) transport: Transport,
    pub(crate) freshness: u64,
}

impl PeerSession {
    pub(crate) fn new(parts: Established) -> Self {
        Self {
            key: parts.key,
            agent: parts.log.agent(),
            log: parts.log,
            boot: parts.boot,
            class: parts.class,
            transport: parts.transport,
            streams: BTreeMap::new(),
            waiting: vec![],
            freshness: parts.freshness,
            ticket: None,
            paths: None,
            closed: None,
            is_life_over: false,
            silent_since: None,
            next_port: 0,
        }
    }

    /// Does what is due in its parts.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.transport.handle_timeout(now);
        if let Some(paths) = &mut self.paths {
            paths.handle_timeout(now);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        let paths = self.paths.as_ref().and_then(|paths| paths.poll_timeout());
        Deadline::earliest(self.transport.poll_timeout(), paths)
    }

    /// Whom to dial again, and where, when this session is lost.
    pub(crate) fn last_seen(&self) -> LastSession {
        LastSession {
            agent: self.agent,
            address: self.transport.path().remote(),
        }
    }

    /// The next ephemeral port, in turn.
    pub(crate) fn ephemeral_port(&mut self) -> Port {
        const COUNT: u16 = u16::MAX - Port::FIRST_EPHEMERAL.to_u16();
        self.next_port = (self.next_port + 1) % COUNT;
        Port::new(Port::FIRST_EPHEMERAL.to_u16() + self.next_port)
    }

    /// Opens a stream and writes its header; `None` while the peer allows no more streams.
    pub(crate) fn open(&mut self, now: Now, header: &StreamHeader) -> Option<StreamId> {
        let id = self.transport.open_stream(now.instant).ok()?;
        let bytes = header.encode();
        // A fresh stream's send buffer takes a header (≤ limits::MAX_STREAM_HEADER) whole.
        let written = self.transport.write(now.instant, id, &bytes);
        debug_assert_eq!(
            written,
            Ok(bytes.len()),
            "a header fits into an empty send buffer"
        );
        Some(id)
    }

    /// Refuses a stream in both directions.
    pub(crate) fn refuse(&mut self, now: Now, id: StreamId, code: ErrorCode) {
        self.transport.stop(now.instant, id, code);
        self.transport.reset(now.instant, id, code);
        self.streams.remove(&id);
    }

    /// Moves an exchange on; `Some` when it is over, with what was received or why it failed.
    pub(crate) fn advance_exchange(
        &mut self,
        now: Now,
        id: StreamId,
    ) -> Option<Result<Vec<u8>, ErrorCode>> {
        let Some(StreamUse::Internal(exchange)) = self.streams.get_mut(&id) else {
            return None;
        };
        if let Err(code) = write_outbound(&mut self.transport, now, id, exchange) {
            return Some(Err(code));
        }
        read_inbound(&mut self.transport, now, id, exchange)
    }
}

fn write_outbound(
    transport: &mut Transport,
    now: Now,
    id: StreamId,
    exchange: &mut Exchange,
) -> Result<(), ErrorCode> {
    while let Some(rest) = exchange.unsent() {
        if rest.is_empty() {
            exchange.mark_finished();
            return transport
                .finish(now.instant, id)
                .map_err(|error| write_code(&error));
        }
        match transport.write(now.instant, id, rest) {
            Ok(0) => return Ok(()),
            Ok(taken) => exchange.mark_sent(taken),
            Err(error) => return Err(write_code(&error)),
        }
    }
    Ok(())
}

fn read_inbound(
    transport: &mut Transport,
    now: Now,
    id: StreamId,
    exchange: &mut Exchange,
) -> Option<Result<Vec<u8>, ErrorCode>> {
    let mut chunk = [0; 2048];
    loop {
        match transport.read(now.instant, id, &mut chunk) {
            Ok(Read::Bytes(len)) => {
                if !exchange.receive(&chunk[..len]) {
                    return Some(Err(ErrorCode::FLOW_CONTROL));
                }
            }
            Ok(Read::Blocked) => return None,
            Ok(Read::End) => return Some(Ok(exchange.take_received())),
            Err(error) => return Some(Err(read_code(&error))),
        }
    }
}

pub(crate) fn write_code(error: &WriteError) -> ErrorCode {
    match error {
        WriteError::Stopped(code) => *code,
        WriteError::Finished | WriteError::Reset | WriteError::Unknown | WriteError::Closed | _ => {
            ErrorCode::CANCELLED
        }
    }
}

pub(crate) fn read_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::Reset(code) => *code,
        ReadError::Unknown | ReadError::Closed | _ => ErrorCode::CANCELLED,
    }
}

/// Reads exactly a stream's header and not a byte of its data.
#[derive(Default)]
pub(crate) struct HeaderReader {
    bytes: Vec<u8>,
}

impl HeaderReader {
    /// The header once it is whole.
    pub(crate) fn advance(
        &mut self,
        transport: &mut Transport,
        now: Now,
        id: StreamId,
    ) -> Result<Option<StreamHeader>, HeaderError> {
        loop {
            if let Some((header, len)) = StreamHeader::decode(&self.bytes)? {
                debug_assert_eq!(len, self.bytes.len());
                return Ok(Some(header));
            }
            let mut chunk = [0; limits::MAX_STREAM_HEADER];
            let missing = self.missing().min(chunk.len());
            match transport.read(now.instant, id, &mut chunk[..missing]) {
                Ok(Read::Bytes(len)) => self.bytes.extend_from_slice(&chunk[..len]),
                Ok(Read::Blocked) => return Ok(None),
                Ok(Read::End) | Err(_) => return Err(HeaderError),
            }
        }
    }

    /// Bytes that are certainly still part of the header: first of its length, then of its body.
    fn missing(&self) -> usize {
        let mut reader = pilot_wire::Reader::new(&self.bytes);
        match reader.varint() {
            Ok(len) => (len as usize).saturating_sub(reader.rest().len()).max(1),
            Err(_) => self
                .bytes
                .first()
                .map_or(1, |first| (1 << (first >> 6)) - self.bytes.len()),
        }
    }
}

/// The stream ended inside its header, or the header is malformed.
#[derive(Debug)]
pub(crate) struct HeaderError;

impl From<DecodeError> for HeaderError {
    fn from(_: DecodeError) -> Self {
        Self
    }
}
