//! Two endpoints and a link in memory.

mod cookies;
mod crossing;
mod epochs;
mod handshakes;
mod hostile;
mod properties;
mod vectors;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use pilot_types::{FourTuple, PeerAddr};
use pilot_wire::{Hello, HelloAnswer, KeyStanding, TransportParams, VERSION};
use zeroize::Zeroizing;

use super::*;
use crate::keys::PeerKeys;

/// The tests' names for the two ends.
pub(super) const A: usize = 0;
pub(super) const B: usize = 1;

/// A packet on its way.
#[derive(Clone, Debug)]
pub(super) struct Flying {
    pub(super) to: usize,
    pub(super) path: PathId,
    pub(super) bytes: Vec<u8>,
}

/// One end, as its caller would hold it.
pub(super) struct Node {
    pub(super) endpoint: Endpoint,
    pub(super) keys: PeerKeys,
    pub(super) boot: BootId,
    lives: u8,
    secret: [u8; 32],
    freshness: u64,
    /// Next packet number, which restarts with the peer's boot.
    pub(super) next: u64,
    peer_boot: Option<BootId>,
    /// Payloads that came in.
    pub(super) inbox: Vec<Vec<u8>>,
    pub(super) events: Vec<Event>,
    /// Hellos that took effect.
    pub(super) confirmed: usize,
    pub(super) answered: usize,
    /// Hellos that were handed out.
    pub(super) hellos: usize,
    pub(super) drops: Vec<DropReason>,
}

/// Two ends, with the first one's agent the smaller.
pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) config: Arc<Config>,
    pub(super) nodes: [Node; 2],
    pub(super) wire: VecDeque<Flying>,
    /// Whether hellos are accepted.
    pub(super) accepts: bool,
    /// Whether an answered handshake is confirmed at once by an empty packet.
    pub(super) confirms: bool,
    /// Whether `RekeyDue` is heeded.
    pub(super) rekeys: bool,
    /// Node, its life, its epoch and the number of everything sealed.
    sealed: BTreeSet<(usize, u8, EpochId, PacketNumber)>,
}

pub(super) fn path(port: u16) -> PathId {
    PathId::Udp(FourTuple {
        local: SocketAddr::from(([0, 0, 0, 0], 4000)),
        remote: PeerAddr(SocketAddr::from(([192, 0, 2, 1], port))),
    })
}

pub(super) fn hello(agent: AgentId, boot: BootId, freshness: u64) -> Hello {
    Hello {
        agent,
        generation: 0,
        sequence: 0,
        head: [0x11; 32],
        entries: vec![],
        boot,
        freshness,
        params: params(),
        versions: vec![VERSION],
        ticket: None,
    }
}

fn params() -> TransportParams {
    TransportParams {
        max_data: 1 << 20,
        max_stream_data: 1 << 18,
        max_streams: 100,
        max_datagram: 1200,
        idle_timeout_ms: 30_000,
        max_ack_delay_us: 25_000,
    }
}

pub(super) fn answer(boot: BootId, versions: Vec<u8>) -> HelloAnswer {
    HelloAnswer {
        generation: 0,
        sequence: 0,
        head: [0x22; 32],
        boot,
        params: params(),
        versions,
        standing: KeyStanding::CURRENT,
    }
}

impl Node {
    fn new(name: u8, config: &Arc<Config>, now: Instant) -> Self {
        let secret = [name; 32];
        let (endpoint, keys) = start(name, 0, secret, config, now);
        Self {
            endpoint,
            keys,
            boot: BootId::new([name; 16]),
            lives: 0,
            secret,
            freshness: 0,
            next: 0,
            peer_boot: None,
            inbox: vec![],
            events: vec![],
            confirmed: 0,
            answered: 0,
            hellos: 0,
            drops: vec![],
        }
    }

    /// The other end's boot became known: numbers restart with a new one.
    fn meet(&mut self, boot: BootId) {
        if self.peer_boot.replace(boot) != Some(boot) {
            self.next = 0;
        }
    }
}

fn start(
    name: u8,
    life: u8,
    secret: [u8; 32],
    config: &Arc<Config>,
    now: Instant,
) -> (Endpoint, PeerKeys) {
    let agent = AgentId::new([name; 32]);
    let mut seed = [name; 32];
    seed[0] = life;
    let local = LocalKeys {
        agent,
        dh_secret: Zeroizing::new(secret),
    };
    let endpoint = Endpoint::new(Arc::clone(config), local, Seed::new(seed), now);
    let dh_public = endpoint.local_dh_public();
    (endpoint, PeerKeys { agent, dh_public })
}

impl Pair {
    pub(super) fn new() -> Self {
        Self::with_config(Config::default())
    }

    pub(super) fn with_config(config: Config) -> Self {
        let (config, now) = (Arc::new(config), Instant::now());
        Self {
            now,
            nodes: [Node::new(0x0A, &config, now), Node::new(0x0B, &config, now)],
            config,
            wire: VecDeque::new(),
            accepts: true,
            confirms: true,
            rekeys: true,
            sealed: BTreeSet::new(),
        }
    }

    /// A session between the two, dialled by the first and used in both directions.
    pub(super) fn connected() -> Self {
        let mut pair = Self::new();
        pair.connect(A);
        pair.settle();
        assert!(pair.talk(A) && pair.talk(B));
        pair
    }

    pub(super) fn id(&self, node: usize) -> AgentId {
        self.nodes[node].keys.agent
    }

    pub(super) fn connect(&mut self, from: usize) {
        self.connect_on(from, &[path(1)]);
    }

    pub(super) fn connect_on(&mut self, from: usize, paths: &[PathId]) {
        let to = self.nodes[1 - from].keys;
        let node = &mut self.nodes[from];
        node.freshness += 1;
        let hello = hello(node.keys.agent, node.boot, node.freshness).encode();
        node.endpoint.connect(self.now, to, &hello, paths).unwrap();
        self.drain(from);
    }

    /// The process ends and another one begins, with the same identity.
    pub(super) fn restart(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        this.lives += 1;
        let name = this.keys.agent.as_bytes()[0];
        (this.endpoint, this.keys) = start(name, this.lives, this.secret, &self.config, self.now);
        this.boot = BootId::new([name + 0x10 * this.lives; 16]);
        (this.next, this.peer_boot) = (0, None);
    }

    /// Takes what an end has to say.
    pub(super) fn drain(&mut self, node: usize) {
        let mut out = TransmitBuf::new(1, 1500);
        loop {
            out.clear();
            let this = &mut self.nodes[node];
            let Some(transmit) = this.endpoint.poll_transmit(self.now, &mut out) else {
                break;
            };
            self.wire.push_back(Flying {
                to: 1 - node,
                path: transmit.path,
                bytes: out.as_slice().to_vec(),
            });
        }
        while let Some(event) = self.nodes[node].endpoint.poll_event() {
            let rekey = matches!(event, Event::RekeyDue { .. }) && self.rekeys;
            self.nodes[node].events.push(event);
            if rekey {
                self.connect(node);
            }
        }
    }

    /// Seals `payload` and puts it on the wire.
    pub(super) fn send(&mut self, from: usize, payload: &[u8]) -> Result<(), SealError> {
        let bytes = self.seal(from, payload)?;
        self.wire.push_back(Flying {
            to: 1 - from,
            path: path(1),
            bytes,
        });
        Ok(())
    }

    pub(super) fn seal(&mut self, from: usize, payload: &[u8]) -> Result<Vec<u8>, SealError> {
        let peer = self.id(1 - from);
        let node = &mut self.nodes[from];
        let number = PacketNumber::new(node.next);
        let mut buf = TransmitBuf::new(1, 1500);
        buf.set_overhead(Endpoint::overhead());
        assert!(buf.begin(1500));
        buf.put_slice(payload);
        let epoch = node.endpoint.sessions.get(&peer).and_then(Session::current);
        let epoch = epoch.map(|epoch| epoch.id);
        node.endpoint.seal(self.now, &peer, number, &mut buf)?;
        buf.finish();
        node.next += 1;
        let key = (from, node.lives, epoch.unwrap(), number);
        assert!(self.sealed.insert(key), "nonce used twice: {key:?}");
        self.drain(from);
        Ok(buf.as_slice().to_vec())
    }

    /// Delivers one packet as its receiver's caller would.
    pub(super) fn deliver(&mut self, mut packet: Flying) {
        let (now, accepts) = (self.now, self.accepts);
        let to = packet.to;
        let expected_static = self.nodes[1 - to].keys.dh_public;
        let node = &mut self.nodes[to];
        let mut confirm = false;
        match node
            .endpoint
            .handle_datagram(now, packet.path, &mut packet.bytes)
        {
            Ok(Received::Hello {
                hello,
                token,
                peer_static,
            }) => {
                node.hellos += 1;
                let boot = node.boot;
                if accepts && peer_static == expected_static {
                    let answer = answer(boot, hello.versions).encode();
                    node.endpoint.accept(now, token, &answer).unwrap();
                } else {
                    node.endpoint.ignore(token);
                }
            }
            Ok(Received::Answered { answer, .. }) => {
                node.answered += 1;
                node.meet(answer.boot);
                confirm = self.confirms;
            }
            Ok(Received::Data {
                payload, confirmed, ..
            }) => {
                let payload = payload.to_vec();
                if let Some(hello) = confirmed {
                    node.confirmed += 1;
                    node.meet(hello.boot);
                }
                node.inbox.push(payload);
            }
            Ok(Received::Handled) => {}
            Err(reason) => node.drops.push(reason),
        }
        self.drain(to);
        if confirm {
            self.send(to, b"").unwrap();
        }
    }

    /// Delivers everything, in order, until nothing is on the wire.
    pub(super) fn settle(&mut self) {
        let mut turns = 0;
        while let Some(packet) = self.wire.pop_front() {
            self.deliver(packet);
            turns += 1;
            assert!(turns < 10_000, "did not go quiet");
        }
    }

    /// Time passes, from deadline to deadline; everything arrives at once.
    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        for _ in 0..10_000 {
            let deadlines = self.nodes.iter().filter_map(|n| n.endpoint.poll_timeout());
            let next = deadlines.map(|deadline| deadline.at).min();
            match next.filter(|at| *at <= end) {
                Some(at) => {
                    self.now = self.now.max(at);
                    self.fire();
                }
                None => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("did not go quiet");
    }

    /// Runs both ends' timers and delivers what they say.
    pub(super) fn fire(&mut self) {
        for node in [A, B] {
            self.nodes[node].endpoint.handle_timeout(self.now);
            self.drain(node);
        }
        self.settle();
    }

    /// Whether a packet from one end opens at the other.
    pub(super) fn talk(&mut self, from: usize) -> bool {
        let before = self.nodes[1 - from].inbox.len();
        if self.send(from, b"how do you do").is_err() {
            return false;
        }
        self.settle();
        self.nodes[1 - from].inbox[before..]
            .iter()
            .any(|payload| payload == b"how do you do")
    }

    /// Order of the epoch that an end seals under.
    pub(super) fn order(&self, node: usize) -> Option<crate::epoch::Order> {
        let session = self.nodes[node].endpoint.sessions.get(&self.id(1 - node))?;
        session.current().map(|epoch| epoch.order)
    }

    /// Number of epochs that an end can open.
    pub(super) fn epochs(&self, node: usize) -> usize {
        let session = self.nodes[node].endpoint.sessions.get(&self.id(1 - node));
        session.map_or(0, Session::epoch_count)
    }
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}
