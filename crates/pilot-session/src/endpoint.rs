//! All sessions of one node: the tables, and which part takes a datagram.

mod cookies;
mod data;
mod handshake;
mod indices;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use pilot_types::{
    AgentId, BootId, Deadline, Epoch as EpochId, Overhead, PacketNumber, PathId, Seed, Transmit,
    TransmitBuf,
};
use pilot_wire::PacketKind;
use pilot_wire::limits::{DATA_HEAD, TAG};

use crate::config::Config;
use crate::cookie::ReplyKey;
use crate::drop_reason::DropReason;
use crate::entropy::Entropy;
use crate::epoch::Epoch;
use crate::error::{ExportError, SealError};
use crate::event::{Event, HandshakeStats, Received};
use crate::gate::Gate;
use crate::index::IndexTable;
use crate::initiator::Initiation;
use crate::keys::LocalKeys;
use crate::mac::{MAC, MacKey};
use crate::noise::Noise;
use crate::outbox::Outbox;
use crate::received_cookies::ReceivedCookies;
use crate::responder::{HalfOpen, Pending};
use crate::schedule::{Schedule, Timer};
use crate::session::Session;

/// Keys that were replaced and still answer.
struct Previous {
    noise: Noise,
    mac: MacKey,
    until: Instant,
}

/// All sessions of one node: starts and answers handshakes, seals and opens data packets.
///
/// No I/O and no clock: see the crate's documentation for the loop that drives it.
pub struct Endpoint {
    config: Arc<Config>,
    noise: Noise,
    /// For packets to this node.
    mac: MacKey,
    /// For cookies of this node.
    reply_key: ReplyKey,
    /// The keys before these, while they still answer.
    previous: Option<Previous>,
    gate: Gate,
    /// Cookies of others.
    cookies: ReceivedCookies,
    stats: HandshakeStats,
    entropy: Entropy,
    indices: IndexTable,
    /// One for each peer that the caller dials.
    initiations: BTreeMap<AgentId, Initiation>,
    /// Bounded by `Config::half_open`.
    half_open: HalfOpen,
    /// Bounded by `Config::sessions`; a session begins with a handshake that the caller started or accepted.
    sessions: BTreeMap<AgentId, Session>,
    schedule: Schedule,
    outbox: Outbox,
    epochs: EpochId,
}

impl Endpoint {
    /// Without sessions. All its randomness comes from `seed`, which must be used for nothing else.
    #[must_use]
    pub fn new(config: Arc<Config>, local: LocalKeys, seed: Seed, now: Instant) -> Self {
        let noise = Noise::new(&local);
        drop(local);
        let entropy = Entropy::new(&seed);
        let gate = Gate::new(&config, Entropy::derive(&seed, b"pilot/gate/1"), now);
        drop(seed);
        Self {
            mac: MacKey::new(&noise.public()),
            reply_key: ReplyKey::new(&noise.public()),
            previous: None,
            gate,
            cookies: ReceivedCookies::default(),
            stats: HandshakeStats::default(),
            config,
            noise,
            entropy,
            indices: IndexTable::default(),
            initiations: BTreeMap::new(),
            half_open: HalfOpen::default(),
            sessions: BTreeMap::new(),
            schedule: Schedule::default(),
            outbox: Outbox::new(now),
            epochs: EpochId::default(),
        }
    }

    /// Other keys of the same node from now on. Sessions go on under theirs; until `answers_until`, who dials by the public key that was
    /// replaced is still answered with it. Handshakes under way that this end started are given up, because their answers would be sealed
    /// for the old key: gives whom they were to, and on which paths.
    ///
    /// # Panics
    /// If the keys are another agent's.
    pub fn replace_keys(
        &mut self,
        local: LocalKeys,
        answers_until: Option<Instant>,
    ) -> Vec<(AgentId, Vec<PathId>)> {
        assert_eq!(local.agent, self.noise.agent(), "keys of the same agent");
        let noise = Noise::new(&local);
        drop(local);
        self.reply_key = ReplyKey::new(&noise.public());
        let mac = std::mem::replace(&mut self.mac, MacKey::new(&noise.public()));
        let noise = std::mem::replace(&mut self.noise, noise);
        self.previous = answers_until.map(|until| Previous { noise, mac, until });
        let dialled: Vec<_> = self
            .initiations
            .iter()
            .map(|(peer, initiation)| (*peer, initiation.paths()))
            .collect();
        for (peer, _) in &dialled {
            self.drop_initiation(peer);
        }
        dialled
    }

    /// The peer has another key, and its stamps count from the next one on: whoever had the key before may have said any number.
    pub fn forget_freshness(&mut self, peer: &AgentId) {
        if let Some(session) = self.sessions.get_mut(peer) {
            session.forget_freshness();
        }
    }

    /// The packet's `mac1` if it is for the keys before these, as long as they answer.
    fn verify_by_previous(&mut self, now: Instant, packet: &[u8]) -> Option<[u8; MAC]> {
        if self.previous.as_ref()?.until <= now {
            self.previous = None;
        }
        self.previous.as_ref()?.mac.verify(packet)
    }

    /// Public half of this node's X25519 key.
    #[must_use]
    pub fn local_dh_public(&self) -> [u8; 32] {
        self.noise.public()
    }

    /// What a data packet has around its payload.
    #[must_use]
    pub const fn overhead() -> Overhead {
        Overhead {
            head: DATA_HEAD,
            tail: TAG,
        }
    }

    /// Takes a datagram of the kinds 0x80–0x83 and 0xC0–0xFF; data is opened in place.
    ///
    /// # Errors
    /// [`DropReason`] for a datagram that is none of ours, is forged, repeated or late: nothing changed but what a
    /// counter should show.
    pub fn handle_datagram<'a>(
        &mut self,
        now: Instant,
        path: PathId,
        data: &'a mut [u8],
    ) -> Result<Received<'a>, DropReason> {
        self.outbox.set_now(now);
        match PacketKind::of(data).ok_or(DropReason::Malformed)? {
            PacketKind::Data => self.receive_data(now, data),
            PacketKind::Initiation => self.receive_message_1(now, path, data),
            PacketKind::Response => self.receive_message_2(now, data),
            PacketKind::VersionList => self.receive_version_list(data),
            PacketKind::Cookie => self.receive_cookie(now, path, data),
            PacketKind::Stun | PacketKind::Relay | PacketKind::KeyQuery | PacketKind::KeyAnswer => {
                Err(DropReason::Unexpected)
            }
        }
    }

    /// Seals the datagram under construction in `buf`: header, ciphertext in place of the payload, tag, masks. The caller
    /// then calls `buf.finish()`, or `buf.abandon()` after an error, which leaves the payload as it was.
    ///
    /// # Errors
    /// [`SealError`] without usable keys, or if `number` is not above all that were sealed under them.
    ///
    /// # Panics
    /// If `buf` was not begun with [`Self::overhead`].
    pub fn seal(
        &mut self,
        now: Instant,
        peer: &AgentId,
        number: PacketNumber,
        buf: &mut TransmitBuf,
    ) -> Result<(), SealError> {
        assert_eq!(buf.overhead(), Self::overhead(), "room for header and tag");
        let session = self.sessions.get_mut(peer).ok_or(SealError::NoSession)?;
        let notice = session.seal(now, &self.config, number, buf)?;
        self.heed(now, *peer, notice);
        Ok(())
    }

    /// Whether [`Self::seal`] would, given a number in order.
    #[must_use]
    pub fn can_seal(&self, now: Instant, peer: &AgentId) -> bool {
        self.sessions
            .get(peer)
            .is_some_and(|session| session.can_seal(now, &self.config))
    }

    /// Fills `out` with key material for a protocol above, by `label` and `context`, from the epoch in use: the same at both
    /// ends once both use it, another after each rekey.
    ///
    /// # Errors
    /// [`ExportError`] without a session, or for a label above 255 bytes or an output above 8160.
    pub fn export(
        &self,
        peer: &AgentId,
        label: &str,
        context: &[u8],
        out: &mut [u8],
    ) -> Result<(), ExportError> {
        let session = self.sessions.get(peer);
        let epoch = session
            .and_then(Session::current)
            .ok_or(ExportError::NoSession)?;
        epoch
            .exporter()
            .export(label, context, out)
            .ok_or(ExportError::TooLong)
    }

    /// Forgets all epochs and handshakes with a peer.
    pub fn close(&mut self, peer: &AgentId) {
        self.drop_initiation(peer);
        for id in self.half_open.pending_ids(peer) {
            let pending = self.half_open.take_pending(id);
            self.wipe_pending(pending);
        }
        self.end_session(peer);
    }

    /// Does what is due at `now`; early and repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.outbox.set_now(now);
        while let Some(timer) = self.schedule.take_due(now) {
            match timer {
                Timer::Retransmit(peer) => self.repeat_message_1(now, peer),
                Timer::HalfOpen => self.expire_half_open(now),
                Timer::Secrets => self.expire_secrets(now),
                Timer::Cookies => self.expire_cookies(now),
                Timer::Session(peer) => self.age_session(now, peer),
            }
        }
    }

    /// What handshakes cost and came to, since the start.
    #[must_use]
    pub const fn handshake_stats(&self) -> HandshakeStats {
        HandshakeStats {
            output_lost: self.outbox.lost(),
            ..self.stats
        }
    }

    /// When to call [`Self::handle_timeout`], or, if it is due already, to drain output.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        Deadline::earliest(self.outbox.deadline(), self.schedule.next())
    }

    /// Puts one handshake packet into `out`, which is empty and keeps no bytes free.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut TransmitBuf) -> Option<Transmit> {
        self.outbox.set_now(now);
        self.outbox.poll_transmit(out)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.outbox.poll_event()
    }

    fn next_epoch(&mut self) -> EpochId {
        let epoch = self.epochs;
        self.epochs = EpochId(epoch.0.wrapping_add(1));
        epoch
    }

    /// Largest order number of all epochs with a peer.
    fn newest_number(&self, peer: &AgentId) -> Option<u32> {
        let session = self.sessions.get(peer);
        let usable = session.and_then(Session::newest_number);
        usable.max(self.half_open.newest_number(peer))
    }

    /// The session with `boot` of `peer`. Another boot than before supersedes it with all its epochs, also the unconfirmed
    /// ones.
    fn adopt(&mut self, peer: AgentId, boot: BootId) -> &mut Session {
        let is_same = |session: &Session| session.boot() == boot;
        if !self.sessions.get(&peer).is_some_and(is_same) {
            self.end_session(&peer);
            for id in self.half_open.pending_ids(&peer) {
                let pending = self.half_open.pending_mut(id);
                if pending.is_some_and(|pending| pending.hello.boot != boot) {
                    let pending = self.half_open.take_pending(id);
                    self.wipe_pending(pending);
                }
            }
        }
        self.sessions
            .entry(peer)
            .or_insert_with(|| Session::new(boot))
    }

    fn end_session(&mut self, peer: &AgentId) {
        self.schedule.set(Timer::Session(*peer), None);
        if let Some(session) = self.sessions.remove(peer) {
            for epoch in session.into_epochs() {
                self.wipe(&epoch);
            }
        }
    }

    /// Frees the indices of an epoch that is dropped.
    fn wipe(&mut self, epoch: &Epoch) {
        for index in epoch.local.iter() {
            self.indices.release(index);
        }
    }

    fn wipe_pending(&mut self, pending: Option<Box<Pending>>) {
        if let Some(pending) = pending {
            self.wipe(&pending.epoch);
        }
    }

    fn drop_initiation(&mut self, peer: &AgentId) {
        self.schedule.set(Timer::Retransmit(*peer), None);
        if let Some(initiation) = self.initiations.remove(peer) {
            self.indices.release(initiation.index);
        }
    }

    fn reschedule_session(&mut self, peer: AgentId) {
        let session = self.sessions.get(&peer);
        let deadline = session.and_then(|session| session.deadline(&self.config));
        self.schedule.set(Timer::Session(peer), deadline);
    }

    fn reschedule_half_open(&mut self) {
        let oldest = self.half_open.oldest().map(|(_, expires)| expires);
        self.schedule.set(Timer::HalfOpen, oldest);
    }

    fn expire_half_open(&mut self, now: Instant) {
        while let Some((id, expires)) = self.half_open.oldest()
            && expires <= now
        {
            let pending = self.half_open.remove(id);
            self.wipe_pending(pending);
        }
        self.reschedule_half_open();
    }

    fn age_session(&mut self, now: Instant, peer: AgentId) {
        let Some(session) = self.sessions.get_mut(&peer) else {
            return;
        };
        let timeout = session.handle_timeout(now, &self.config);
        let is_over = session.current().is_none();
        for epoch in &timeout.ended {
            self.wipe(epoch);
        }
        if timeout.is_rekey_due {
            self.outbox.tell(Event::RekeyDue { peer });
        }
        if is_over {
            self.end_session(&peer);
            self.outbox.tell(Event::SessionExpired { peer });
        } else {
            self.reschedule_session(peer);
        }
    }
}

#[cfg(test)]
mod tests;
