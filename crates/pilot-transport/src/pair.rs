//! Two transports over a link in virtual time, for tests and the fuzz body.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pilot_types::{FourTuple, Overhead, PacketNumber, PathId, PeerAddr, Seed, TransmitBuf};
use pilot_wire::limits::{DATA_HEAD, TAG};
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

use crate::{Config, Event, PeerError, SentPacket, Side, Transport};

/// Turns without a packet after which a pair is broken.
const MAX_IDLE_TURNS: u32 = 10_000;

/// What happens to packets, the same in both directions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) delay: Duration,
    /// Up to this much is added to the delay of each packet: more than a packet's time reorders.
    pub(crate) jitter: Duration,
    /// Packets of a thousand that vanish.
    pub(crate) loss: u32,
    /// Packets of a thousand that come twice.
    pub(crate) duplication: u32,
    /// Bytes per second; 0 for no limit. The queue before it holds a hundred milliseconds.
    pub(crate) rate: u64,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(5),
            jitter: Duration::ZERO,
            loss: 0,
            duplication: 0,
            rate: 0,
        }
    }
}

/// A packet on the link.
#[derive(Clone, Debug)]
struct Flying {
    to: usize,
    packet: SentPacket,
    size: usize,
    payload: Vec<u8>,
}

/// Two transports, the link between them, and what they said.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) ends: [Transport; 2],
    pub(crate) link: Link,
    /// Delays of paths, as their senders see them, that differ from the link's.
    delays: BTreeMap<PathId, Duration>,
    /// Packets on these remote ports vanish.
    pub(crate) dead_ports: BTreeSet<u16>,
    pub(crate) events: [Vec<Event>; 2],
    flying: BTreeMap<(Instant, u64), Flying>,
    next_flying: u64,
    /// When each path is free again, per sender.
    busy_until: BTreeMap<(usize, PathId), Instant>,
    /// What a session's replay window would hold, per receiver.
    seen: [BTreeSet<u64>; 2],
    rng: ChaCha12Rng,
    idle_turns: u32,
}

/// The path between ports of the two ends, as end `from` sees it.
pub(crate) fn path(from: usize, ports: [u16; 2]) -> PathId {
    let address = |end: usize| {
        let host = Ipv4Addr::new(192, 0, 2, 1 + end as u8);
        SocketAddr::V4(SocketAddrV4::new(host, ports[end]))
    };
    PathId::Udp(FourTuple {
        local: address(from),
        remote: PeerAddr(address(1 - from)),
    })
}

/// The same path from the other end.
fn mirrored(path: PathId) -> PathId {
    match path {
        PathId::Udp(tuple) => PathId::Udp(FourTuple {
            local: tuple.remote.0,
            remote: PeerAddr(tuple.local),
        }),
        same @ (PathId::Relay { .. } | PathId::Stream(_)) => same,
    }
}

impl Pair {
    pub(crate) fn new(start: Instant, config: &Arc<Config>, link: Link, seed: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_be_bytes());
        let end = |index: usize, side| {
            let mut key = key;
            key[8] = 1 + index as u8;
            let path = path(index, [1000, 2000]);
            Transport::new(
                Arc::clone(config),
                side,
                config.params,
                path,
                Seed::new(key),
                start,
            )
        };
        Self {
            now: start,
            ends: [end(0, Side::Even), end(1, Side::Odd)],
            link,
            delays: BTreeMap::new(),
            dead_ports: BTreeSet::new(),
            events: [vec![], vec![]],
            flying: BTreeMap::new(),
            next_flying: 0,
            busy_until: BTreeMap::new(),
            seen: [BTreeSet::new(), BTreeSet::new()],
            rng: ChaCha12Rng::from_seed(key),
            idle_turns: 0,
        }
    }

    /// Packets on `path` take this long, in both directions.
    #[cfg(test)]
    pub(crate) fn set_delay(&mut self, path: PathId, delay: Duration) {
        self.delays.insert(path, delay);
        self.delays.insert(mirrored(path), delay);
    }

    /// Whether something happens to one packet of a thousand times `per_mille`.
    fn chance(&mut self, per_mille: u32) -> bool {
        self.rng.next_u32() % 1000 < per_mille
    }

    /// Everything that both ends want to send leaves, everything they say is noted.
    pub(crate) fn drain(&mut self) {
        for from in 0..2 {
            let mut out = TransmitBuf::new(10, 1500);
            out.set_overhead(Overhead {
                head: DATA_HEAD,
                tail: TAG,
            });
            loop {
                out.clear();
                while let Some(packet) = self.ends[from].poll_transmit(self.now, &mut out) {
                    let payload = out.payload().to_vec();
                    out.put_tail(&[0; TAG]);
                    out.finish();
                    self.carry(from, packet, &payload);
                }
                if out.is_empty() {
                    break;
                }
                let transmit = out.transmit(None);
                assert!(transmit.is_some(), "a batch without a path");
            }
            while let Some(event) = self.ends[from].poll_event() {
                self.events[from].push(event);
            }
        }
    }

    fn carry(&mut self, from: usize, packet: SentPacket, payload: &[u8]) {
        self.idle_turns = 0;
        let size = payload.len() + DATA_HEAD + TAG;
        let is_dead = |port: u16| self.dead_ports.contains(&port);
        let is_dead = packet.path.remote().is_some_and(|r| is_dead(r.port()));
        let nanos = (size as u64 * 1_000_000_000).checked_div(self.link.rate);
        let sent_at = nanos.map_or(self.now, |nanos| {
            let free_at = self.busy_until.get(&(from, packet.path)).copied();
            free_at.unwrap_or(self.now).max(self.now) + Duration::from_nanos(nanos)
        });
        let is_over = sent_at > self.now + Duration::from_millis(100);
        if is_dead || is_over || self.chance(self.link.loss) {
            return;
        }
        self.busy_until.insert((from, packet.path), sent_at);
        let delay = self.delays.get(&packet.path).copied();
        let delay = delay.unwrap_or(self.link.delay);
        let copies = 1 + u32::from(self.chance(self.link.duplication));
        for _ in 0..copies {
            let jitter = u64::try_from(self.link.jitter.as_nanos()).unwrap_or(u64::MAX);
            let jitter = Duration::from_nanos(self.rng.next_u64() % (jitter + 1));
            let at = sent_at + delay + jitter;
            let flying = Flying {
                to: 1 - from,
                packet,
                size,
                payload: payload.to_vec(),
            };
            self.flying.insert((at, self.next_flying), flying);
            self.next_flying += 1;
        }
    }

    fn deliver(&mut self, flying: &Flying) {
        let number = flying.packet.number;
        if self.seen[flying.to].insert(number.to_u64()) {
            let path = mirrored(flying.packet.path);
            let (size, payload) = (flying.size, &flying.payload);
            // What a peer did wrong shows in the events.
            let _ = self.ends[flying.to].handle_packet(self.now, path, number, None, size, payload);
        }
    }

    /// A packet with this payload arrives at `end`, under a number that its peer will know as its own.
    pub(crate) fn inject(&mut self, end: usize, payload: &[u8]) -> Result<(), PeerError> {
        let peer = &mut self.ends[1 - end];
        let number = PacketNumber::new(peer.loss.next_number());
        peer.loss.advance_number();
        let (from, size) = (path(end, [1000, 2000]), payload.len() + DATA_HEAD + TAG);
        self.ends[end].handle_packet(self.now, from, number, None, size, payload)
    }

    /// When something happens next, and whether it is more than a session that idles.
    fn next_turn(&self) -> Option<(Instant, bool)> {
        let arrival = self.flying.keys().next().map(|(at, _)| *at);
        let deadlines = self.ends.iter().filter_map(Transport::poll_timeout);
        let is_busy = arrival.is_some()
            || deadlines
                .clone()
                .any(|deadline| !matches!(deadline.timer, "idle" | "keep_alive" | "lull"));
        let timers = deadlines.map(|deadline| deadline.at);
        let next = arrival.into_iter().chain(timers).min()?;
        Some((next, is_busy))
    }

    /// One jump to the next arrival or deadline; `false` when there is none.
    pub(crate) fn turn(&mut self) -> bool {
        self.drain();
        let Some((at, _)) = self.next_turn() else {
            return false;
        };
        self.idle_turns += 1;
        assert!(self.idle_turns < MAX_IDLE_TURNS, "did not go quiet");
        self.now = self.now.max(at);
        while let Some(entry) = self.flying.first_entry()
            && entry.key().0 <= self.now
        {
            let flying = entry.remove();
            self.deliver(&flying);
        }
        for end in &mut self.ends {
            end.handle_timeout(self.now);
        }
        self.drain();
        true
    }

    /// Turns until nothing but idle and keep-alive timers is left.
    pub(crate) fn settle(&mut self) {
        self.drain();
        while self.next_turn().is_some_and(|(_, is_busy)| is_busy) {
            self.turn();
        }
    }
}
