//! Handshake packets: dialling, answering, and what completes.

use std::sync::Arc;
use std::time::Instant;

use pilot_types::{AgentId, PathId};
use pilot_wire::limits::{BASE_DATAGRAM, MACS};
use pilot_wire::{
    HandshakeHeader, Hello, HelloAnswer, PacketKind, Reader, VERSION, decode_handshake_header,
};

use super::Endpoint;
use crate::cookie::ReplyKey;
use crate::drop_reason::DropReason;
use crate::epoch::{Epoch, EpochFacts, Order};
use crate::error::{AcceptError, ConnectError};
use crate::event::{Event, HelloToken, Received};
use crate::index::Owner;
use crate::initiator::{Initiation, InitiationParts};
use crate::keys::PeerKeys;
use crate::mac::MacKey;
use crate::noise::{MESSAGE_1_OVERHEAD, MESSAGE_2_OVERHEAD, SplitKeys};
use crate::responder::{Entered, Pending, Repeated, Waiting};
use crate::schedule::Timer;
use crate::seal::EpochKeys;

/// Before the hello in message 1: the order number that the initiator proposes (docs/crypto.md §3).
const PAYLOAD_1_HEAD: usize = 4;
/// Before the answer in message 2: the sender index again, authenticated, and the order number agreed.
const PAYLOAD_2_HEAD: usize = 8;
/// Versions of a list that are told to the caller.
const MAX_VERSIONS: usize = 16;

/// Message 2 as this end wrote it, and what it agrees on.
struct Answered {
    reply: Arc<[u8]>,
    keys: SplitKeys,
    number: u32,
    hello: Box<Hello>,
}

/// What message 2 says.
struct Message2 {
    keys: SplitKeys,
    remote_index: u32,
    number: u32,
    answer: HelloAnswer,
}

impl Endpoint {
    /// Longest encoded [`Hello`] that message 1 has room for.
    pub const MAX_HELLO: usize = BASE_DATAGRAM
        - HandshakeHeader::INITIATION_LEN
        - MESSAGE_1_OVERHEAD
        - PAYLOAD_1_HEAD
        - MACS;

    /// Starts a handshake: at first contact, to rekey, or after a restart. `hello` is an encoded [`Hello`]; message 1 goes
    /// out on the first 16 of `paths` at once. Replaces a handshake under way to the same peer; a live session goes on
    /// until the new one is answered.
    ///
    /// # Errors
    /// [`ConnectError`] if `peer` is this node or its key is weak, or `hello` does not decode or is too long.
    pub fn connect(
        &mut self,
        now: Instant,
        peer: PeerKeys,
        hello: &[u8],
        paths: &[PathId],
    ) -> Result<(), ConnectError> {
        self.outbox.set_now(now);
        if peer.agent == self.noise.agent() {
            return Err(ConnectError::Oneself);
        }
        let versions = Hello::decode(hello).map_err(ConnectError::Hello)?.versions;
        let len = HandshakeHeader::INITIATION_LEN
            + MESSAGE_1_OVERHEAD
            + PAYLOAD_1_HEAD
            + hello.len()
            + MACS;
        if let Some(excess) = len.checked_sub(BASE_DATAGRAM).filter(|excess| *excess > 0) {
            let len = hello.len();
            return Err(ConnectError::HelloTooLong { len, excess });
        }
        let parts = self.message_1(&peer, hello, versions)?;
        self.drop_initiation(&peer.agent);
        let initiation = Initiation::new(now, &self.config, parts);
        self.initiations.insert(peer.agent, initiation);
        self.stats.started += 1;
        for path in paths {
            self.add_path(now, &peer.agent, *path);
        }
        self.reschedule_initiation(peer.agent);
        Ok(())
    }

    /// Another path for a handshake under way, on which message 1 goes out at once; without one, or when it tries 16 paths,
    /// nothing happens.
    pub fn add_path(&mut self, now: Instant, peer: &AgentId, path: PathId) {
        self.outbox.set_now(now);
        let cookie = self.cookies.of(now, peer, &path);
        let initiation = self.initiations.get_mut(peer);
        if let Some(message) = initiation.and_then(|initiation| initiation.add_path(path, cookie)) {
            self.outbox.send(path, message);
        }
    }

    /// Whether a handshake to `peer` is under way that this end started.
    #[must_use]
    pub fn is_connecting(&self, peer: &AgentId) -> bool {
        self.initiations.contains_key(peer)
    }

    /// Answers the message 1 that [`Received::Hello`] handed out: queues message 2 to every path that it came in on.
    /// `answer` is an encoded [`HelloAnswer`] that echoes the hello's versions.
    ///
    /// # Errors
    /// [`AcceptError`] if the token has expired, the answer is too long, the table of sessions full, or a key weak.
    pub fn accept(
        &mut self,
        now: Instant,
        token: HelloToken,
        answer: &[u8],
    ) -> Result<(), AcceptError> {
        self.outbox.set_now(now);
        let taken = self.half_open.take_waiting(token.into_id());
        let (waiting, entered) = taken.ok_or(AcceptError::Expired)?;
        let result = self.check_answer(&waiting, answer);
        if result.is_err() {
            self.half_open.forget(&entered);
            return result;
        }
        let owner = Owner::HalfOpen(entered.id);
        let index = self.indices.allocate(&mut self.entropy, owner);
        let result = self.answer(now, (waiting, entered), index, answer);
        if result.is_err() {
            self.indices.release(index);
        }
        self.reschedule_half_open();
        result
    }

    /// Answers as [`Self::accept`] does, to tell the initiator why there is no session: the keys are forgotten at once, so that nothing
    /// under them opens. Copies of the message 1 get the same answer.
    ///
    /// # Errors
    /// As [`Self::accept`].
    pub fn decline(
        &mut self,
        now: Instant,
        token: HelloToken,
        answer: &[u8],
    ) -> Result<(), AcceptError> {
        self.outbox.set_now(now);
        let taken = self.half_open.take_waiting(token.into_id());
        let (waiting, entered) = taken.ok_or(AcceptError::Expired)?;
        let owner = Owner::HalfOpen(entered.id);
        let index = self.indices.allocate(&mut self.entropy, owner);
        let written = self
            .check_answer(&waiting, answer)
            .and_then(|()| self.message_2(waiting, index, answer));
        self.indices.release(index);
        let written = written.map(|answered| answered.reply);
        match &written {
            Ok(reply) => {
                for path in self.half_open.declined(entered, Arc::clone(reply)) {
                    self.outbox.send(path, Arc::clone(reply));
                }
            }
            Err(_) => self.half_open.forget(&entered),
        }
        self.reschedule_half_open();
        written.map(|_| ())
    }

    /// Forgets the message 1 that [`Received::Hello`] handed out; a copy of it is taken for a new one.
    pub fn ignore(&mut self, token: HelloToken) {
        if let Some((_, entered)) = self.half_open.take_waiting(token.into_id()) {
            self.half_open.forget(&entered);
        }
        self.reschedule_half_open();
    }

    fn message_1(
        &mut self,
        peer: &PeerKeys,
        hello: &[u8],
        versions: Vec<u8>,
    ) -> Result<InitiationParts, ConnectError> {
        let owner = Owner::Initiation(peer.agent);
        let index = self.indices.allocate(&mut self.entropy, owner);
        let proposed = next_number(self.newest_number(&peer.agent));
        let mut message = vec![];
        let header = HandshakeHeader {
            kind: PacketKind::Initiation,
            version: VERSION,
            sender: index,
            receiver: 0,
        };
        header.encode(&mut message);
        let payload = [&proposed.to_be_bytes()[..], hello].concat();
        let ephemeral = self.entropy.draw();
        let Ok(state) = self.noise.initiate(ephemeral, peer, &payload, &mut message) else {
            self.indices.release(index);
            return Err(ConnectError::WeakKey);
        };
        let peer_mac = MacKey::new(&peer.dh_public);
        peer_mac.append(&mut message);
        Ok(InitiationParts {
            state,
            peer_mac,
            reply_key: ReplyKey::new(&peer.dh_public),
            message,
            index,
            proposed,
            versions,
        })
    }

    pub(super) fn receive_message_1(
        &mut self,
        now: Instant,
        path: PathId,
        packet: &[u8],
    ) -> Result<Received<'static>, DropReason> {
        let (header, body) = decode_handshake_header(packet).map_err(|_| DropReason::Malformed)?;
        let by_current = self.mac.verify(packet);
        let mac = match by_current {
            Some(mac) => mac,
            None => self
                .verify_by_previous(now, packet)
                .ok_or(DropReason::BadMac)?,
        };
        if header.version != VERSION {
            self.list_versions(now, path, &header, packet.len());
            return Err(DropReason::Version);
        }
        match self.half_open.repeated(&mac, path) {
            Some(Repeated::Reply(reply)) => {
                self.outbox.send(path, reply);
                return Ok(Received::Handled);
            }
            Some(Repeated::Waits) => return Ok(Received::Handled),
            None => {}
        }
        self.admit(now, path, &header, (packet, &mac))?;
        self.stats.opened += 1;
        let waiting = self.open_message_1(
            by_current.is_some(),
            &header,
            (&packet[..HandshakeHeader::INITIATION_LEN], body),
            packet.len(),
        )?;
        if !self.gate.admit_key(now, &path, &waiting.peer_static) {
            return Err(DropReason::HandshakeLimited);
        }
        let (peer_static, hello) = (waiting.peer_static, (*waiting.hello).clone());
        let (id, evicted) = self.half_open.wait(now, &self.config, (mac, path), waiting);
        self.wipe_pending(evicted);
        self.reschedule_half_open();
        Ok(Received::Hello {
            peer_static,
            hello,
            token: HelloToken::new(id),
        })
    }

    fn open_message_1(
        &mut self,
        is_for_current: bool,
        header: &HandshakeHeader,
        (clear, body): (&[u8], &[u8]),
        len: usize,
    ) -> Result<Waiting, DropReason> {
        let ephemeral = self.entropy.draw();
        let previous = self.previous.as_ref().filter(|_| !is_for_current);
        let noise = previous.map_or(&self.noise, |previous| &previous.noise);
        let message = noise.respond(ephemeral, clear, body);
        let message = message.map_err(|_| DropReason::BadHandshake)?;
        let mut reader = Reader::new(&message.payload);
        let proposed = reader.u32().map_err(|_| DropReason::BadHandshake)?;
        let hello = Hello::decode(reader.rest()).map_err(|_| DropReason::BadHandshake)?;
        if hello.agent == self.noise.agent() || !hello.versions.contains(&VERSION) {
            return Err(DropReason::BadHandshake);
        }
        Ok(Waiting {
            responder: message.responder,
            peer_static: message.peer_static,
            hello: Box::new(hello),
            sender: header.sender,
            proposed,
            len,
        })
    }

    /// Answers a packet of another version whose `mac1` is right, with no more bytes than it has.
    fn list_versions(&mut self, now: Instant, path: PathId, header: &HandshakeHeader, len: usize) {
        let mut packet = vec![];
        let list = HandshakeHeader {
            kind: PacketKind::VersionList,
            version: header.version,
            sender: 0,
            receiver: header.sender,
        };
        list.encode(&mut packet);
        packet.push(VERSION);
        // The initiator's key is hidden in a message that this version cannot read: the one key that both know is ours.
        self.mac.append(&mut packet);
        if packet.len() <= len && self.gate.may_reply(now, &path) {
            self.outbox.send(path, packet.into());
        }
    }

    pub(super) fn receive_version_list(
        &mut self,
        packet: &[u8],
    ) -> Result<Received<'static>, DropReason> {
        let (header, body) = decode_handshake_header(packet).map_err(|_| DropReason::Malformed)?;
        let Some(Owner::Initiation(peer)) = self.indices.owner(header.receiver) else {
            return Err(DropReason::UnknownIndex);
        };
        // A list with our version in it is forged, for what it answers was of our version.
        let is_ours = header.version == VERSION && !body.contains(&VERSION);
        let initiation = self.initiations.get_mut(&peer).filter(|_| is_ours);
        let initiation = initiation.ok_or(DropReason::Version)?;
        if !initiation.take_version_list(packet) {
            return Err(DropReason::BadMac);
        }
        let offered = body.iter().take(MAX_VERSIONS).copied().collect();
        self.outbox.tell(Event::VersionRefused { peer, offered });
        Ok(Received::Handled)
    }

    /// Message 2 would amplify what someone sends with a forged source if it were longer than message 1.
    fn check_answer(&self, waiting: &Waiting, answer: &[u8]) -> Result<(), AcceptError> {
        let len =
            HandshakeHeader::ANSWER_LEN + MESSAGE_2_OVERHEAD + PAYLOAD_2_HEAD + answer.len() + MACS;
        if len > waiting.len {
            return Err(AcceptError::TooLong);
        }
        let is_known = self.sessions.contains_key(&waiting.hello.agent);
        if !is_known && self.sessions.len() >= self.config.sessions {
            return Err(AcceptError::TableFull);
        }
        Ok(())
    }

    fn answer(
        &mut self,
        now: Instant,
        (waiting, entered): (Waiting, Entered),
        index: u32,
        answer: &[u8],
    ) -> Result<(), AcceptError> {
        let remote_index = waiting.sender;
        let Answered {
            reply,
            keys,
            number,
            hello,
        } = self
            .message_2(waiting, index, answer)
            .inspect_err(|_| self.half_open.forget(&entered))?;
        let facts = EpochFacts {
            id: self.next_epoch(),
            order: Order {
                number,
                by_smaller: hello.agent < self.noise.agent(),
            },
            is_initiator: false,
            local_index: index,
            remote_index,
        };
        let keys = EpochKeys::derive(&keys, facts.is_initiator);
        let pending = Pending {
            epoch: Epoch::new(now, &self.config, &facts, keys),
            hello,
        };
        self.stats.accepted += 1;
        let (paths, evicted) = self
            .half_open
            .answered(entered, Arc::clone(&reply), pending);
        self.wipe_pending(evicted);
        for path in paths {
            self.outbox.send(path, Arc::clone(&reply));
        }
        Ok(())
    }

    fn message_2(
        &self,
        waiting: Waiting,
        index: u32,
        answer: &[u8],
    ) -> Result<Answered, AcceptError> {
        let peer = waiting.hello.agent;
        let number = waiting.proposed.max(next_number(self.newest_number(&peer)));
        let mut message = vec![];
        let header = HandshakeHeader {
            kind: PacketKind::Response,
            version: VERSION,
            sender: index,
            receiver: waiting.sender,
        };
        header.encode(&mut message);
        let payload = [&index.to_be_bytes()[..], &number.to_be_bytes(), answer].concat();
        let keys = waiting.responder.finish(&payload, &mut message);
        let keys = keys.map_err(|_| AcceptError::WeakKey)?;
        MacKey::new(&waiting.peer_static).append(&mut message);
        Ok(Answered {
            reply: message.into(),
            keys,
            number,
            hello: waiting.hello,
        })
    }

    pub(super) fn receive_message_2(
        &mut self,
        now: Instant,
        packet: &[u8],
    ) -> Result<Received<'static>, DropReason> {
        let (header, body) = decode_handshake_header(packet).map_err(|_| DropReason::Malformed)?;
        if header.version != VERSION {
            return Err(DropReason::Version);
        }
        self.mac.verify(packet).ok_or(DropReason::BadMac)?;
        let peer = match self.indices.owner(header.receiver) {
            Some(Owner::Initiation(peer)) => peer,
            // A later copy of a message 2 that was taken.
            Some(Owner::Epoch(..) | Owner::HalfOpen(_)) => return Err(DropReason::Unexpected),
            None => return Err(DropReason::UnknownIndex),
        };
        let initiation = self.initiations.get_mut(&peer);
        let initiation = initiation.ok_or(DropReason::UnknownIndex)?;
        let opened = initiation.finish(body);
        // A forgery leaves the handshake as it was.
        let (payload, keys) = opened.map_err(|_| DropReason::BadHandshake)?;
        // From here on it is the peer that speaks: what it says ends the handshake, one way or the other.
        let index = initiation.index;
        let message = read_message_2(initiation, &payload, keys);
        self.schedule.set(Timer::Retransmit(peer), None);
        self.initiations.remove(&peer);
        let Some(message) = message else {
            self.indices.release(index);
            self.outbox.tell(Event::HandshakeFailed { peer });
            return Err(DropReason::BadHandshake);
        };
        Ok(self.answered(now, peer, index, message))
    }

    /// Makes the epoch of an answered handshake the one in use.
    fn answered(
        &mut self,
        now: Instant,
        peer: AgentId,
        index: u32,
        message: Message2,
    ) -> Received<'static> {
        let facts = EpochFacts {
            id: self.next_epoch(),
            order: Order {
                number: message.number,
                by_smaller: self.noise.agent() < peer,
            },
            is_initiator: true,
            local_index: index,
            remote_index: message.remote_index,
        };
        let keys = EpochKeys::derive(&message.keys, facts.is_initiator);
        let epoch = Epoch::new(now, &self.config, &facts, keys);
        self.indices.assign(index, Owner::Epoch(peer, facts.id));
        let evicted = self.adopt(peer, message.answer.boot).insert(epoch);
        if let Some(evicted) = evicted {
            self.wipe(&evicted);
        }
        self.reschedule_session(peer);
        self.stats.completed += 1;
        tracing::debug!(%peer, order = message.number, "handshake answered");
        Received::Answered {
            peer,
            answer: message.answer,
        }
    }

    pub(super) fn reschedule_initiation(&mut self, peer: AgentId) {
        let deadline = self.initiations.get(&peer).map(Initiation::deadline);
        self.schedule.set(Timer::Retransmit(peer), deadline);
    }

    pub(super) fn repeat_message_1(&mut self, now: Instant, peer: AgentId) {
        let Some(initiation) = self.initiations.get_mut(&peer) else {
            return;
        };
        let Some(copies) = initiation.repeat(now, &self.config) else {
            self.give_up(now, peer);
            return;
        };
        for path in copies {
            self.send_message_1(now, &peer, path);
        }
        self.reschedule_initiation(peer);
    }

    fn give_up(&mut self, now: Instant, peer: AgentId) {
        tracing::debug!(%peer, "handshake without answer");
        self.drop_initiation(&peer);
        self.outbox.tell(Event::HandshakeFailed { peer });
        // A session whose keys were due for replacement asks again, as long as it has keys.
        let session = self.sessions.get_mut(&peer);
        if let Some(epoch) = session.and_then(|session| session.current_mut()) {
            epoch.ask_again();
        }
        self.age_session(now, peer);
    }
}

/// `None` if what the peer says cannot be: other versions than were offered mean that someone tampered with the offer, and
/// a number below the proposed one that the ends would not agree on the order of epochs.
fn read_message_2(initiation: &Initiation, payload: &[u8], keys: SplitKeys) -> Option<Message2> {
    let mut reader = Reader::new(payload);
    let (remote_index, number) = (reader.u32().ok()?, reader.u32().ok()?);
    let answer = HelloAnswer::decode(reader.rest()).ok()?;
    let is_agreed = answer.versions == initiation.versions && number >= initiation.proposed;
    is_agreed.then_some(Message2 {
        keys,
        remote_index,
        number,
        answer,
    })
}

/// One above all that this end knows; at the end of numbers, the later epoch of one initiator wins over the earlier.
fn next_number(newest: Option<u32>) -> u32 {
    newest.map_or(1, |newest| newest.saturating_add(1))
}
