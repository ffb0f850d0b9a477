//! The node: its parts, and the order in which they are driven.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use pilot_nat::RelayLimits;
use pilot_session::Endpoint;
use pilot_trust::{Identity, Trust, TrustItem};
use pilot_types::{AgentId, Deadline, Ecn, Overhead, PathId, Port, Seed, Transmit, TransmitBuf};
use pilot_wire::{ErrorCode, PacketKind, RelayFrame};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::config::{Config, Profile};
use crate::dials::Dials;
use crate::directory::{Directory, KnownPeer};
use crate::drops::Drops;
use crate::event::{Event, SessionKey};
use crate::forwarded::Forwarded;
use crate::freshness::{OwnFreshness, SeenFreshness};
use crate::group_work::GroupWork;
use crate::handshakes::Connecting;
use crate::key_change::OwnKeys;
use crate::left::Left;
use crate::links::Links;
use crate::lives::Lives;
use crate::log_cache::LogCache;
use crate::mailing::Mailing;
use crate::now::Now;
use crate::paths::Place;
use crate::reconnects::{LastSession, Reconnects};
use crate::relay_role::{REQUESTS_PER_CLIENT, RelayRole};
use crate::relaying::Relaying;
use crate::rendezvous::RendezvousRole;
use crate::session_table::SessionTable;
use crate::sprays::Sprays;
use crate::written::Written;

/// Datagrams outside of sessions that wait to be sent (key queries and answers, STUN answers).
const MAX_RAW: usize = 256;

/// How long a session without keys to send under waits before it looks again.
const KEYLESS_REST: Duration = Duration::from_millis(500);

/// One agent's whole protocol state; with a [`RendezvousRole`], a rendezvous.
pub struct Node {
    pub(crate) config: Arc<Config>,
    pub(crate) identity: Identity,
    pub(crate) rng: ChaCha20Rng,
    pub(crate) endpoint: Endpoint,
    pub(crate) table: SessionTable,
    pub(crate) hellos: Hellos,
    pub(crate) trust: Trust,
    pub(crate) directory: Directory,
    pub(crate) links: Links,
    pub(crate) role: Option<RendezvousRole>,
    pub(crate) relay: Option<RelayRole>,
    pub(crate) dials: Dials,
    pub(crate) reconnects: Reconnects,
    pub(crate) relaying: Relaying,
    pub(crate) place: Place,
    pub(crate) sprays: Sprays,
    pub(crate) left: Left,
    pub(crate) ports: OpenPorts,
    pub(crate) profile: ProfileState,
    pub(crate) crew: GroupWork,
    pub(crate) mailing: Mailing,
    pub(crate) keys: OwnKeys,
    pub(crate) output: Output,
}

/// What hellos are made from and checked against.
pub(crate) struct Hellos {
    pub(crate) lives: Lives,
    pub(crate) own: OwnFreshness,
    pub(crate) seen: SeenFreshness,
    pub(crate) logs: LogCache,
    /// Handshakes that we started, one a peer; bounded by dials, links and live sessions.
    pub(crate) connecting: BTreeMap<AgentId, Connecting>,
    /// Secrets of tickets that we dial by; bounded with the directory's introductions.
    pub(crate) tickets: BTreeMap<AgentId, [u8; 16]>,
}

/// Our record, and what it was before a change that may be refused.
#[derive(Default)]
pub(crate) struct ProfileState {
    pub(crate) current: Profile,
    pub(crate) previous: Option<Profile>,
    pub(crate) boot_counter: u64,
}

/// What waits for the shell.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) events: VecDeque<Event>,
    pub(crate) raw: VecDeque<(PathId, Vec<u8>)>,
    pub(crate) forwarded: Forwarded,
    pub(crate) drops: Drops,
    pub(crate) written: Written,
    /// Sessions whose events have not been read.
    pub(crate) dirty: BTreeSet<SessionKey>,
    /// The clocks at the last call, for timers that are set by wall time.
    pub(crate) latest: Option<Now>,
}

impl Output {
    pub(crate) fn event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(crate) fn datagram(&mut self, path: PathId, bytes: Vec<u8>) {
        if self.raw.len() < MAX_RAW {
            self.raw.push_back((path, bytes));
        } else {
            self.drops.count("raw_queue_full");
        }
    }
}

/// What a datagram that was taken may have changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Follows {
    /// Nothing that concerns us: it was dropped, or is passed on.
    Nothing,
    /// Events of one live session, which may wait for what came together with it.
    Later,
    /// Anything.
    Now,
}

/// Whether a datagram is a data packet, or holds one.
fn has_data(data: &[u8]) -> bool {
    match PacketKind::of(data) {
        Some(PacketKind::Relay) => {
            let packet = data.get(RelayFrame::HEAD..);
            packet.is_some_and(|packet| PacketKind::of(packet) == Some(PacketKind::Data))
        }
        kind => kind == Some(PacketKind::Data),
    }
}

/// Ports that the shell takes streams on.
#[derive(Default)]
pub(crate) struct OpenPorts {
    pub(crate) listened: BTreeSet<Port>,
    /// Ports that the shell takes datagrams on.
    pub(crate) datagrams: BTreeSet<Port>,
    /// Whether the shell takes streams to all other ports too.
    pub(crate) takes_any: bool,
}

/// What a node remembers of its last run.
#[derive(Default)]
pub struct Restored {
    /// Knocks, grants and pins.
    pub trust: Vec<TrustItem>,
    /// Agents whose addresses are cached.
    pub peers: Vec<KnownPeer>,
    /// Newest freshness stamps of trusted peers.
    pub freshness: Vec<(AgentId, u64)>,
    /// A block of our own stamps whose end is persisted.
    pub stamps: Range<u64>,
    /// Agents with live sessions in the last run: they are dialled at once. At most 1,024 are.
    pub sessions: Vec<LastSession>,
    /// How often this home was started, this start included.
    pub boot_counter: u64,
    /// Keys of the groups that this agent owns; at most [`pilot_wire::limits::MAX_GROUPS`].
    pub group_keys: Vec<Identity>,
}

impl Node {
    /// A node that has done nothing yet; `role` makes it a rendezvous.
    #[must_use]
    pub fn new(
        config: Arc<Config>,
        identity: Identity,
        restored: Restored,
        seed: &Seed,
        now: Now,
    ) -> Self {
        let mut rng = ChaCha20Rng::from_seed(*seed.expose());
        let local = pilot_session::LocalKeys {
            agent: identity.agent(),
            dh_secret: identity.dh_secret(),
        };
        let mut lives_seed = [0; 32];
        rng.fill_bytes(&mut lives_seed);
        let endpoint = Endpoint::new(
            Arc::clone(&config.session),
            local,
            derive_seed(&mut rng),
            now.instant,
        );
        let hellos = Hellos {
            lives: Lives::new(&lives_seed),
            own: OwnFreshness::new(&restored.stamps),
            seen: SeenFreshness::restore(restored.freshness),
            logs: LogCache::default(),
            connecting: BTreeMap::new(),
            tickets: BTreeMap::new(),
        };
        let place = Place::new(&derive_seed(&mut rng));
        let output = Output {
            latest: Some(now),
            ..Output::default()
        };
        let mut trust = Trust::restore(Arc::clone(&config.trust), identity.agent(), restored.trust);
        // The keys may have changed while nothing ran, or just before a crash.
        trust.sign_again(now.unix, &identity);
        Self {
            endpoint,
            table: SessionTable::default(),
            hellos,
            trust,
            directory: Directory::restore(restored.peers, config.min_work_bits),
            links: Links::default(),
            role: None,
            relay: None,
            dials: Dials::default(),
            reconnects: Reconnects::restore(now.instant, restored.sessions),
            relaying: Relaying::default(),
            place,
            sprays: Sprays::default(),
            left: Left::default(),
            ports: OpenPorts::default(),
            profile: ProfileState {
                boot_counter: restored.boot_counter,
                ..ProfileState::default()
            },
            crew: GroupWork::new(restored.group_keys),
            mailing: Mailing::default(),
            keys: OwnKeys::default(),
            output,
            config,
            identity,
            rng,
        }
    }

    /// The same node as a rendezvous.
    #[must_use]
    pub fn with_role(mut self, mut role: RendezvousRole) -> Self {
        if let Some(now) = self.output.latest {
            let mut key = [0; 32];
            self.rng.fill_bytes(&mut key);
            role.start(&key, now.instant);
            let seed = self.child_seed();
            let bounds = (RelayLimits::default(), REQUESTS_PER_CLIENT);
            self.relay = Some(RelayRole::new(bounds, seed, &key, now));
        }
        self.role = Some(role);
        self
    }

    /// Our own id.
    #[must_use]
    pub fn agent(&self) -> AgentId {
        self.identity.agent()
    }

    /// Our keys and log.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What we tell the registry of ourselves.
    #[must_use]
    pub const fn profile(&self) -> &Profile {
        &self.profile.current
    }

    /// Knocks and grants.
    #[must_use]
    pub const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Takes a datagram from the network; what is for nobody is counted and dropped.
    pub fn handle_datagram(&mut self, now: Now, path: PathId, ecn: Option<Ecn>, data: &mut [u8]) {
        self.handle_datagrams(now, [(path, ecn, data)]);
    }

    /// Takes datagrams that came together; what follows from those of live sessions is looked at once for all.
    pub fn handle_datagrams<'a>(
        &mut self,
        now: Now,
        datagrams: impl IntoIterator<Item = (PathId, Option<Ecn>, &'a mut [u8])>,
    ) {
        let mut is_drained = true;
        for (path, ecn, data) in datagrams {
            if !is_drained && !has_data(data) {
                self.drain(now);
                is_drained = true;
            }
            match self.take_datagram(now, path, ecn, data) {
                Follows::Nothing => {}
                Follows::Later => is_drained = false,
                Follows::Now => {
                    self.drain(now);
                    is_drained = true;
                }
            }
        }
        if !is_drained {
            self.drain(now);
        }
    }

    fn take_datagram(
        &mut self,
        now: Now,
        path: PathId,
        ecn: Option<Ecn>,
        data: &mut [u8],
    ) -> Follows {
        match PacketKind::of(data) {
            Some(PacketKind::Stun) => self.handle_stun(now, path, data),
            Some(_) if self.is_for_stun(&path) => self.output.drops.count("stun_unexpected"),
            Some(
                PacketKind::Data
                | PacketKind::Initiation
                | PacketKind::Response
                | PacketKind::Cookie
                | PacketKind::VersionList,
            ) => return self.handle_session_packet(now, path, ecn, data),
            Some(PacketKind::KeyQuery) => self.handle_key_query(now, path, data),
            Some(PacketKind::KeyAnswer) => self.handle_key_answer(now, path, data),
            Some(PacketKind::Relay) => return self.handle_relay(now, path, ecn, data),
            None => self.output.drops.count("unknown_first_byte"),
        }
        Follows::Now
    }

    /// Counts what the shell had to drop, by a reason of [`crate::drop_reasons`].
    pub fn count_drop(&mut self, reason: &'static str) {
        self.output.drops.count(reason);
    }

    /// Runs what is due; early and repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Now) {
        self.output.latest = Some(now);
        self.endpoint.handle_timeout(now.instant);
        while let Some(key) = self.table.take_due(now.instant) {
            if let Some(session) = self.session_mut(key) {
                session.handle_timeout(now.instant);
            }
        }
        while let Some((id, agent)) = self.dials.take_ask(now.instant) {
            self.ask_where(now, id, agent);
        }
        while let Some((id, dial)) = self.dials.take_expired(now.instant) {
            self.dial_expired(id, &dial);
        }
        self.handle_link_timeouts(now);
        self.run_discovery(now);
        self.run_sprays(now);
        self.handle_reconnect_timeouts(now);
        self.trust.handle_time(now.unix);
        self.handle_group_time(now);
        self.handle_letter_time(now);
        if let Some(role) = &mut self.role {
            role.host.handle_time(now.unix);
        }
        if let Some(relay) = &mut self.relay {
            relay.handle_timeout(now);
        }
        self.drain(now);
    }

    /// When `handle_timeout` has work; at once while packets or events wait.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let parts = [
            self.table.poll_timeout(),
            self.endpoint.poll_timeout(),
            self.dials.poll_timeout(),
            self.links.poll_timeout(),
            self.place.nat.poll_timeout(),
            self.sprays.poll_timeout(),
            self.reconnects.poll_timeout(),
            self.relay.as_ref().and_then(RelayRole::poll_timeout),
            self.crew.poll_timeout(),
            self.mailing.poll_timeout(),
            self.wall_deadline(),
        ];
        parts.into_iter().fold(None, Deadline::earliest)
    }

    /// When something ends by wall time, as far as the clocks of the last call tell; asked again after an hour at the
    /// latest, because wall time may jump.
    fn wall_deadline(&self) -> Option<Deadline> {
        const LATEST: Duration = Duration::from_secs(3600);
        let latest = self.output.latest?;
        let role = self
            .role
            .as_ref()
            .and_then(RendezvousRole::poll_timeout_unix);
        let prekey = self.mailing.renew_at(latest.unix);
        let due = [self.trust.poll_timeout_unix(), role, prekey]
            .into_iter()
            .flatten()
            .min();
        let wait = due.map_or(LATEST, |due| {
            due.since(latest.unix)
                .max(Duration::from_millis(10))
                .min(LATEST)
        });
        Some(Deadline {
            at: latest.instant + wait,
            timer: "wall clock",
        })
    }

    /// Whether `poll_transmit` may have something.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.output.raw.is_empty() || !self.output.forwarded.is_empty() || self.table.has_ready()
    }

    /// Whether [`Self::poll_event`] has something.
    #[must_use]
    pub fn has_event(&self) -> bool {
        !self.output.events.is_empty()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.output.events.pop_front()
    }

    /// The next batch of datagrams; `out` is cleared first.
    pub fn poll_transmit(&mut self, now: Now, out: &mut TransmitBuf) -> Option<Transmit> {
        let transmit = self.poll_plain(now, out)?;
        let PathId::Relay { channel, .. } = transmit.path else {
            return Some(transmit);
        };
        let mut head = [0; RelayFrame::HEAD];
        RelayFrame::write_head(&mut head, channel);
        out.prepend_each(&head);
        out.transmit(transmit.ecn)
    }

    /// The next batch, without what a relay needs to forward it.
    fn poll_plain(&mut self, now: Now, out: &mut TransmitBuf) -> Option<Transmit> {
        out.clear();
        out.set_overhead(Overhead::default());
        if let Some(transmit) = self.endpoint.poll_transmit(now.instant, out) {
            return Some(transmit);
        }
        if let Some(transmit) = self.transmit_raw(out) {
            return Some(transmit);
        }
        if let Some(transmit) = self.output.forwarded.transmit(out) {
            return Some(transmit);
        }
        out.clear();
        out.set_overhead(Endpoint::overhead());
        while let Some(key) = self.table.next_ready() {
            if let Some(transmit) = self.transmit_session(now, key, out) {
                return Some(transmit);
            }
            if self.may_seal(now, key) {
                self.table.settle(key);
            } else {
                // Keys ended and new ones are on their way: the transport's timers, due already, must not spin.
                self.table.rest_until(key, Some(now.instant + KEYLESS_REST));
            }
        }
        None
    }

    fn may_seal(&self, now: Now, key: SessionKey) -> bool {
        let agent = self.table.get(key).map(|session| session.agent);
        agent.is_none_or(|agent| self.endpoint.can_seal(now.instant, &agent))
    }

    fn transmit_raw(&mut self, out: &mut TransmitBuf) -> Option<Transmit> {
        while let Some((path, bytes)) = self.output.raw.pop_front() {
            if out.begin(bytes.len()) && bytes.len() <= out.remaining() {
                out.put_slice(&bytes);
                out.finish();
                out.bind_path(path);
                return out.transmit(None);
            }
            out.abandon();
            self.output.drops.count("raw_too_long");
        }
        None
    }

    /// Fills a batch from one session's transport and seals each packet in place.
    fn transmit_session(
        &mut self,
        now: Now,
        key: SessionKey,
        out: &mut TransmitBuf,
    ) -> Option<Transmit> {
        let session = self.table.get_mut(key)?;
        if !self.endpoint.can_seal(now.instant, &session.agent) {
            return None;
        }
        let mut ecn = None;
        while out.has_room() {
            let Some(sent) = session.transport.poll_transmit(now.instant, out) else {
                break;
            };
            if self
                .endpoint
                .seal(now.instant, &session.agent, sent.number, out)
                .is_err()
            {
                out.abandon();
                break;
            }
            ecn = sent.ecn;
            out.finish();
        }
        if session.transport.is_drained() {
            self.output.dirty.insert(key);
        }
        out.transmit(ecn)
    }

    /// A session for a change; its events will be read.
    pub(crate) fn session_mut(
        &mut self,
        key: SessionKey,
    ) -> Option<&mut crate::peer_session::PeerSession> {
        let session = self.table.get_mut(key)?;
        self.output.dirty.insert(key);
        Some(session)
    }

    /// Passes events between the parts until none is left.
    pub(crate) fn drain(&mut self, now: Now) {
        loop {
            let mut is_quiet = true;
            while let Some(event) = self.endpoint.poll_event() {
                self.handle_endpoint_event(now, &event);
                is_quiet = false;
            }
            while let Some(key) = self.output.dirty.pop_first() {
                self.drain_session(now, key);
                is_quiet = false;
            }
            is_quiet &= !self.drain_trust(now);
            self.renew_permits(now);
            self.renew_candidates(now);
            is_quiet &= !self.drain_links(now);
            is_quiet &= !self.drain_role(now);
            if is_quiet {
                break;
            }
        }
        self.write_session_list(now);
        if self.hellos.own.take_low() {
            self.output.event(Event::FreshnessLow);
        }
    }

    /// Another block of freshness stamps whose end is persisted.
    pub fn extend_freshness(&mut self, block: &Range<u64>) {
        self.hellos.own.extend(block);
    }

    /// Closes all sessions; the shell sends until nothing is left to send.
    pub fn shutdown(&mut self, now: Now) {
        self.reconnects.freeze();
        for key in self.table.keys() {
            self.close_session(now, key, ErrorCode::SHUTDOWN, "shutting down");
        }
        self.drain(now);
    }

    /// Random bytes for a seed of a child.
    pub(crate) fn child_seed(&mut self) -> Seed {
        derive_seed(&mut self.rng)
    }

    /// Whether a candidate of a peer may be tried: no multicast or broadcast, loopback only among loopback's own.
    pub(crate) fn is_acceptable(&self, candidate: &SocketAddr) -> bool {
        let ip = candidate.ip();
        let is_broadcast = matches!(ip, std::net::IpAddr::V4(ip) if ip.is_broadcast());
        let is_link = self.links.has_addr(candidate);
        candidate.port() != 0
            && !ip.is_unspecified()
            && !ip.is_multicast()
            && !is_broadcast
            && !is_link
            && (!ip.is_loopback() || self.links.is_loopback())
    }
}

fn derive_seed(rng: &mut ChaCha20Rng) -> Seed {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    Seed::new(seed)
}
