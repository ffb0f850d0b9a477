//! An agent with one peer: a session endpoint and, for each life of the peer, a transport. About what a node does.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pilot_session::{DropReason, Endpoint, Event as SessionEvent, LocalKeys, PeerKeys, Received};
use pilot_sim::{Machine, Now, SimRng};
use pilot_transport::{Side, Transport};
use pilot_types::{
    AgentId, BootId, Deadline, Ecn, FourTuple, Overhead, PacketNumber, PathId, PeerAddr, Seed,
    Transmit, TransmitBuf,
};
use pilot_wire::{Hello, HelloAnswer, KeyStanding, TransportParams};

use crate::flows::Flows;

/// Silence with data in flight after which a handshake is tried: 3 probe timeouts, and not more often than this.
const REDIAL_AFTER: Duration = Duration::from_millis(1500);

/// Every (epoch key, sender, packet number) that was sealed, over all lives of both agents.
pub(crate) type Sealed = Rc<RefCell<BTreeSet<([u8; 16], AgentId, u64)>>>;

/// What is the same in all lives of an agent.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) agent: AgentId,
    pub(crate) secret: [u8; 32],
    pub(crate) local: SocketAddr,
}

/// What agents of a test share.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) session: Arc<pilot_session::Config>,
    pub(crate) transport: Arc<pilot_transport::Config>,
    /// Streams that each life of each agent opens, and the bytes of a direction.
    pub(crate) streams: usize,
    pub(crate) max_len: u64,
    pub(crate) sealed: Sealed,
}

/// Who the peer is and where it is dialled.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) keys: PeerKeys,
    pub(crate) address: SocketAddr,
}

pub(crate) struct Agent {
    identity: Identity,
    setup: Setup,
    peer: Peer,
    boot: BootId,
    seeds: SimRng,
    session: Endpoint,
    life: Option<Life>,
    /// Stamp of our last hello, and of the peer's last that took effect.
    freshness: u64,
    peer_freshness: u64,
    /// A handshake is tried at most every [`REDIAL_AFTER`].
    may_redial_at: Instant,
    pub(crate) outcome: Outcome,
}

/// What happened, for the test to look at.
#[derive(Default, Debug)]
pub(crate) struct Outcome {
    /// Streams of lives that ended, complete and broken.
    pub(crate) complete: usize,
    pub(crate) broken: usize,
    pub(crate) lives: usize,
    pub(crate) epochs: BTreeSet<[u8; 16]>,
    pub(crate) rekeys: usize,
    pub(crate) migrations: usize,
    pub(crate) drops: Vec<DropReason>,
}

/// A session with one boot of the peer.
struct Life {
    boot: BootId,
    transport: Transport,
    flows: Flows,
    largest: Option<PacketNumber>,
}

impl Agent {
    pub(crate) fn new(
        identity: Identity,
        setup: Setup,
        peer: Peer,
        seed: u64,
        now: Instant,
    ) -> Self {
        let mut seeds = SimRng::new(seed);
        let keys = LocalKeys {
            agent: identity.agent,
            dh_secret: identity.secret.into(),
        };
        let mut boot = [0; 16];
        boot.copy_from_slice(&seeds.seed()[..16]);
        let session = Endpoint::new(setup.session.clone(), keys, Seed::new(seeds.seed()), now);
        Self {
            identity,
            setup,
            peer,
            boot: BootId::new(boot),
            seeds,
            session,
            life: None,
            freshness: 0,
            peer_freshness: 0,
            may_redial_at: now,
            outcome: Outcome::default(),
        }
    }

    /// Takes over what a node keeps on disk.
    pub(crate) fn after(mut self, before: &Self) -> Self {
        self.freshness = before.freshness + 1;
        self.peer_freshness = before.peer_freshness;
        self
    }

    /// The public half of the key that belongs to a secret.
    pub(crate) fn public_key(identity: &Identity, setup: &Setup, now: Instant) -> [u8; 32] {
        let keys = LocalKeys {
            agent: identity.agent,
            dh_secret: identity.secret.into(),
        };
        Endpoint::new(setup.session.clone(), keys, Seed::new([0; 32]), now).local_dh_public()
    }

    /// Whether there is a session, and every stream of its present life is complete at this end.
    pub(crate) fn is_done(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.flows.is_done())
    }

    pub(crate) const fn has_session(&self) -> bool {
        self.life.is_some()
    }

    /// Streams that are complete in the present life.
    pub(crate) fn complete(&self) -> usize {
        self.life.as_ref().map_or(0, |life| life.flows.complete())
    }

    pub(crate) fn dial(&mut self, now: Instant) {
        let hello = Hello {
            agent: self.identity.agent,
            generation: 0,
            sequence: 0,
            head: [0; 32],
            entries: vec![],
            boot: self.boot,
            freshness: self.next_freshness(),
            params: self.params(),
            versions: vec![pilot_wire::VERSION],
            ticket: None,
        };
        let path = self.life.as_ref().map(|life| life.transport.path());
        let dialled = PathId::Udp(FourTuple {
            local: self.identity.local,
            remote: PeerAddr(self.peer.address),
        });
        let mut paths = vec![dialled];
        paths.extend(path.filter(|path| *path != dialled));
        let connected = self
            .session
            .connect(now, self.peer.keys, &hello.encode(), &paths);
        connected.expect("the hello is short and the key good");
        self.may_redial_at = now + REDIAL_AFTER;
    }

    fn next_freshness(&mut self) -> u64 {
        self.freshness += 1;
        self.freshness
    }

    fn params(&self) -> TransportParams {
        self.setup.transport.params
    }

    fn answer(
        &mut self,
        now: Instant,
        peer_static: [u8; 32],
        hello: Hello,
        token: pilot_session::HelloToken,
    ) {
        let is_known =
            hello.agent == self.peer.keys.agent && peer_static == self.peer.keys.dh_public;
        if !is_known || hello.freshness <= self.peer_freshness {
            return self.session.ignore(token);
        }
        let answer = HelloAnswer {
            generation: 0,
            sequence: 0,
            head: [0; 32],
            boot: self.boot,
            params: self.params(),
            versions: hello.versions,
            standing: KeyStanding::CURRENT,
        };
        let accepted = self.session.accept(now, token, &answer.encode());
        accepted.expect("the token is fresh and the answer short");
    }

    /// The session is one with this boot of the peer from now on; a life with another one is over.
    fn adopt(&mut self, now: Instant, boot: BootId, params: TransportParams, path: PathId) {
        if self.life.as_ref().is_some_and(|life| life.boot == boot) {
            return;
        }
        if let Some(old) = self.life.take() {
            self.outcome.complete += old.flows.complete();
            self.outcome.broken += old.flows.broken();
        }
        let side = if self.identity.agent < self.peer.keys.agent {
            Side::Even
        } else {
            Side::Odd
        };
        let (config, seed) = (self.setup.transport.clone(), Seed::new(self.seeds.seed()));
        let mut transport = Transport::new(config, side, params, path, seed, now);
        let mut flows = Flows::new([self.boot, boot], self.setup.streams, self.setup.max_len);
        flows.open(now, &mut transport);
        self.outcome.lives += 1;
        self.life = Some(Life {
            boot,
            transport,
            flows,
            largest: None,
        });
    }

    fn receive(&mut self, now: Instant, path: PathId, ecn: Option<Ecn>, data: &mut [u8]) {
        let size = data.len();
        let received = match self.session.handle_datagram(now, path, data) {
            Ok(received) => received,
            Err(reason) => return self.outcome.drops.push(reason),
        };
        match received {
            Received::Hello {
                peer_static,
                hello,
                token,
            } => self.answer(now, peer_static, hello, token),
            Received::Answered { peer, answer } => {
                assert_eq!(peer, self.peer.keys.agent);
                self.adopt(now, answer.boot, answer.params, path);
                let life = self.life.as_mut().expect("it has just been adopted");
                // Confirms the handshake to the peer.
                life.transport.ping(now);
            }
            Received::Data {
                peer,
                number,
                payload,
                confirmed,
            } => {
                assert_eq!(peer, self.peer.keys.agent);
                let payload = payload.to_vec();
                if let Some(hello) = confirmed {
                    self.peer_freshness = self.peer_freshness.max(hello.freshness);
                    self.adopt(now, hello.boot, hello.params, path);
                }
                self.deliver(now, path, number, ecn, size, &payload);
            }
            Received::Handled => {}
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the facts about one packet")]
    fn deliver(
        &mut self,
        now: Instant,
        path: PathId,
        number: PacketNumber,
        ecn: Option<Ecn>,
        size: usize,
        payload: &[u8],
    ) {
        let life = self.life.as_mut().expect("data comes in a session");
        let is_newest = life.largest.is_none_or(|largest| number > largest);
        life.largest = life.largest.max(Some(number));
        if is_newest && path != life.transport.path() {
            self.outcome.migrations += 1;
            life.transport.migrate(now, path);
        }
        let handled = life
            .transport
            .handle_packet(now, path, number, ecn, size, payload);
        handled.expect("the peer keeps to the protocol");
    }

    fn handle_events(&mut self, now: Instant) {
        while let Some(event) = self.session.poll_event() {
            match event {
                SessionEvent::RekeyDue { .. } => {
                    self.outcome.rekeys += 1;
                    self.dial(now);
                }
                SessionEvent::HandshakeFailed { .. } => self.dial(now),
                other @ (SessionEvent::VersionRefused { .. }
                | SessionEvent::SessionExpired { .. }
                | _) => panic!("unexpected {other:?}"),
            }
        }
        let Some(life) = &mut self.life else { return };
        while let Some(event) = life.transport.poll_event() {
            life.flows.handle(now, &mut life.transport, &event);
        }
    }

    /// When silence of the peer is answered with a handshake.
    fn redial_at(&self) -> Option<Instant> {
        let life = self.life.as_ref()?;
        let is_silent = life.transport.silence() >= 3;
        let is_due = is_silent && !self.session.is_connecting(&self.peer.keys.agent);
        is_due.then_some(self.may_redial_at)
    }

    fn redial_if_silent(&mut self, now: Instant) {
        if self.redial_at().is_some_and(|at| at <= now) {
            self.dial(now);
        }
    }

    fn can_seal(&self, now: Instant) -> bool {
        self.session.can_seal(now, &self.peer.keys.agent)
    }

    /// Notes the nonce of the packet that has just been sealed; it must be a new one.
    fn note_sealed(&mut self, number: PacketNumber) {
        let mut epoch = [0; 16];
        let peer = &self.peer.keys.agent;
        let exported = self
            .session
            .export(peer, "name of the epoch", b"", &mut epoch);
        exported.expect("there is an epoch");
        self.outcome.epochs.insert(epoch);
        let nonce = (epoch, self.identity.agent, number.to_u64());
        let is_new = self.setup.sealed.borrow_mut().insert(nonce);
        assert!(is_new, "{number:?} is sealed twice under one key");
    }
}

impl Machine for Agent {
    fn handle_datagram(
        &mut self,
        now: Now,
        local: SocketAddr,
        remote: SocketAddr,
        ecn: Option<Ecn>,
        data: &mut [u8],
    ) {
        let remote = PeerAddr(remote);
        let path = PathId::Udp(FourTuple { local, remote });
        self.receive(now.instant, path, ecn, data);
        self.handle_events(now.instant);
    }

    fn handle_timeout(&mut self, now: Now) {
        let now = now.instant;
        self.session.handle_timeout(now);
        if let Some(life) = &mut self.life {
            life.transport.handle_timeout(now);
        }
        self.handle_events(now);
        self.redial_if_silent(now);
    }

    fn poll_transmit(&mut self, now: Now, out: &mut TransmitBuf) -> Option<Transmit> {
        let now = now.instant;
        out.set_overhead(Overhead::default());
        if let Some(transmit) = self.session.poll_transmit(now, out) {
            return Some(transmit);
        }
        out.set_overhead(Endpoint::overhead());
        if !self.can_seal(now) {
            return None;
        }
        let life = self.life.as_mut()?;
        let sent = life.transport.poll_transmit(now, out)?;
        let sealed = self
            .session
            .seal(now, &self.peer.keys.agent, sent.number, out);
        sealed.expect("it can seal, and numbers ascend");
        out.finish();
        self.note_sealed(sent.number);
        out.transmit(sent.ecn)
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        let session = self.session.poll_timeout();
        let life = self.life.as_ref();
        let transport = life.and_then(|life| life.transport.poll_timeout());
        let redial = self.redial_at().map(|at| Deadline {
            at,
            timer: "redial",
        });
        Deadline::earliest(Deadline::earliest(session, transport), redial)
    }
}
