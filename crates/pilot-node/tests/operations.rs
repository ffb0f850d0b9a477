//! Random lists of operations on two whole nodes: what arrives was sent, once and in order; everything ends; nobody is let
//! in who is not trusted; afterwards it is quiet.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails where it cannot go on, and looks for the events that it knows"
)]

#[allow(dead_code, reason = "other tests use the rest of it")]
mod world;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use pilot_node::{DialId, DialOptions, Event, Profile, StreamHandle, Target};
use pilot_sim::{HostId, LinkConfig, Place, Probability};
use pilot_types::Port;
use pilot_wire::{ErrorCode, KnockTarget};
use proptest::prelude::*;
use world::World;

const SECOND: Duration = Duration::from_secs(1);
/// No dial or ping is without an outcome for longer: 10 s by configuration, and a little.
const DIAL_LIMIT: Duration = Duration::from_secs(11);
/// After the network is whole again, everything that can arrive has arrived and everything else has failed.
const HEALED: Duration = Duration::from_secs(120);

/// What a test or a person may do. `end` is 0 or 1; a stream is chosen among those that the end has.
#[derive(Clone, Debug)]
enum Op {
    Dial { end: usize, to_closed_port: bool },
    Ping { end: usize },
    Write { end: usize, stream: u8, len: u16 },
    Finish { end: usize, stream: u8 },
    Release { end: usize, stream: u8 },
    Knock { end: usize },
    Approve { end: usize },
    Untrust { end: usize },
    Restart { end: usize },
    RestartBoth,
    Cut { end: usize },
    Mend,
    Move { end: usize },
    Weather(u8),
    Pass { millis: u16 },
}

fn op() -> impl Strategy<Value = Op> {
    let end = || 0..2_usize;
    // A network that mostly works: else nothing is ever under way when something breaks.
    prop_oneof![
        8 => (end(), prop::bool::weighted(0.1)).prop_map(|(end, to_closed_port)| Op::Dial { end, to_closed_port }),
        4 => end().prop_map(|end| Op::Ping { end }),
        24 => (end(), any::<u8>(), 1..30_000_u16).prop_map(|(end, stream, len)| Op::Write { end, stream, len }),
        8 => (end(), any::<u8>()).prop_map(|(end, stream)| Op::Finish { end, stream }),
        3 => (end(), any::<u8>()).prop_map(|(end, stream)| Op::Release { end, stream }),
        2 => end().prop_map(|end| Op::Knock { end }),
        2 => end().prop_map(|end| Op::Approve { end }),
        1 => end().prop_map(|end| Op::Untrust { end }),
        1 => end().prop_map(|end| Op::Restart { end }),
        1 => Just(Op::RestartBoth),
        1 => end().prop_map(|end| Op::Cut { end }),
        4 => Just(Op::Mend),
        2 => end().prop_map(|end| Op::Move { end }),
        4 => (0..4_u8).prop_map(Op::Weather),
        24 => (1..300_u16).prop_map(|millis| Op::Pass { millis }),
        6 => (300..5_000_u16).prop_map(|millis| Op::Pass { millis }),
        1 => (5_000..50_000_u16).prop_map(|millis| Op::Pass { millis }),
    ]
}

fn weather(kind: u8) -> LinkConfig {
    let clear = LinkConfig::delay(Duration::from_millis(10));
    match kind {
        1 => LinkConfig {
            loss: Probability::percent(15.0),
            ..clear
        },
        2 => LinkConfig {
            duplicate: Probability::percent(20.0),
            reorder: Probability::percent(20.0),
            reorder_by: Duration::from_millis(30),
            ..clear
        },
        3 => LinkConfig {
            loss: Probability::percent(5.0),
            corrupt: Probability::percent(5.0),
            jitter: Duration::from_millis(10),
            rate: Some(2_000_000),
            queue: 40_000,
            ..clear
        },
        _ => clear,
    }
}

/// Byte number `at` of direction `from` of the stream `tag`: another sequence for each.
fn byte(tag: u32, from: usize, at: usize) -> u8 {
    let mixed =
        (tag as usize * 2 + from + 1).wrapping_mul(0x9E37_79B9) ^ at.wrapping_mul(0x85EB_CA6B);
    (mixed >> 13) as u8
}

/// What one end wrote to a stream.
#[derive(Clone, Copy, Default, Debug)]
struct Written {
    len: usize,
    is_finished: bool,
}

/// A stream as one end has it.
#[derive(Clone, Copy, Debug)]
struct Held {
    tag: u32,
    handle: StreamHandle,
}

/// Two agents that trust each other at first, and what was done to them.
struct Model {
    world: World,
    hosts: [HostId; 2],
    /// The streams of each end's current life, oldest first.
    held: [Vec<Held>; 2],
    dials: [BTreeMap<DialId, (u32, Duration)>; 2],
    written: BTreeMap<(u32, usize), Written>,
    /// Whether the end lets the other one in, or may when that answers its knock.
    lets_in: [bool; 2],
    /// Events of each end that were looked at.
    seen: [usize; 2],
    tags: u32,
    moves: u8,
}

impl Model {
    fn new(seed: u64) -> Self {
        let link = weather(0);
        let mut world = World::new(seed, link);
        let hosts = ["alice", "bob"].map(|name| world.add_agent(name, Profile::default(), link));
        world.until("both registered", 30 * SECOND, |sim| {
            hosts.iter().all(|host| sim[*host].is_registered())
        });
        let mut model = Self {
            world,
            hosts,
            held: [vec![], vec![]],
            dials: [BTreeMap::new(), BTreeMap::new()],
            written: BTreeMap::new(),
            lets_in: [false; 2],
            seen: [0; 2],
            tags: 0,
            moves: 0,
        };
        for end in 0..2 {
            model.listen(end);
            model.apply(&Op::Knock { end });
        }
        let [alice, bob] = hosts;
        let ids = hosts.map(|host| model.world.id(host));
        model.world.until("trust holds", 10 * SECOND, |sim| {
            let unix = sim.network.now().unix;
            sim[alice].node.trust().is_mutual(unix, &ids[1])
                && sim[bob].node.trust().is_mutual(unix, &ids[0])
        });
        for end in 0..2 {
            model.dial(end, false);
        }
        model.pass(SECOND / 2);
        assert_eq!(model.held.each_ref().map(Vec::len), [2, 2], "seed {seed}");
        model
    }

    fn listen(&mut self, end: usize) {
        self.world.with(self.hosts[end], |agent, _| {
            agent.node.listen(Port::ECHO);
        });
    }

    fn peer(&self, end: usize) -> pilot_types::AgentId {
        self.world.id(self.hosts[1 - end])
    }

    fn choose(&self, end: usize, stream: u8) -> Option<usize> {
        let len = self.held[end].len();
        (len > 0).then(|| usize::from(stream) % len)
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Dial {
                end,
                to_closed_port,
            } => self.dial(end, to_closed_port),
            Op::Ping { end } => self.ping(end),
            Op::Write { end, stream, len } => self.write(end, stream, usize::from(len)),
            Op::Finish { end, stream } => self.finish(end, stream),
            Op::Release { end, stream } => {
                if let Some(index) = self.choose(end, stream) {
                    self.release(end, index);
                }
            }
            Op::Knock { end } => self.knock(end),
            Op::Approve { end } => self.approve(end),
            Op::Untrust { end } => self.untrust(end),
            Op::Restart { end } => self.restart(end),
            Op::RestartBoth => (0..2).for_each(|end| self.restart(end)),
            Op::Cut { end } => self.world.sim.network.set_up(self.hosts[end], false),
            Op::Mend => self.mend(),
            Op::Move { end } => self.relocate(end),
            Op::Weather(kind) => self.set_weather(kind),
            Op::Pass { millis } => self.pass(Duration::from_millis(u64::from(millis))),
        }
        self.look();
    }

    fn dial(&mut self, end: usize, to_closed_port: bool) {
        let (target, tag) = (Target::Agent(self.peer(end)), self.tags);
        self.tags += 1;
        let options = DialOptions {
            metadata: tag.to_be_bytes().to_vec(),
            ..DialOptions::default()
        };
        let port = if to_closed_port {
            Port::STDIO
        } else {
            Port::ECHO
        };
        let dial = self.world.with(self.hosts[end], |agent, now| {
            agent.node.dial(now, target, port, options)
        });
        let started = self.world.sim.network.elapsed();
        if let Ok(dial) = dial {
            self.dials[end].insert(dial, (tag, started));
        }
    }

    fn ping(&mut self, end: usize) {
        let target = Target::Agent(self.peer(end));
        let dial = self.world.with(self.hosts[end], |agent, now| {
            agent.node.ping(now, target, 32)
        });
        let started = self.world.sim.network.elapsed();
        if let Ok(dial) = dial {
            self.dials[end].insert(dial, (u32::MAX, started));
        }
    }

    fn write(&mut self, end: usize, stream: u8, len: usize) {
        let Some(index) = self.choose(end, stream) else {
            return;
        };
        let Held { tag, handle } = self.held[end][index];
        let written = self.written.entry((tag, end)).or_default();
        if written.is_finished {
            return;
        }
        let bytes: Vec<u8> = (written.len..written.len + len)
            .map(|at| byte(tag, end, at))
            .collect();
        written.len += len;
        self.world.with(self.hosts[end], |agent, now| {
            agent.outgoing.entry(handle).or_default().0.extend(bytes);
            agent.settle(now);
        });
    }

    fn finish(&mut self, end: usize, stream: u8) {
        let Some(index) = self.choose(end, stream) else {
            return;
        };
        let Held { tag, handle } = self.held[end][index];
        let written = self.written.entry((tag, end)).or_default();
        if std::mem::replace(&mut written.is_finished, true) {
            return;
        }
        self.world.with(self.hosts[end], |agent, now| {
            agent.outgoing.entry(handle).or_default().1 = true;
            agent.settle(now);
        });
    }

    /// Lets go of a stream: what the node has not taken by then is lost, so that its end must not arrive.
    fn release(&mut self, end: usize, index: usize) {
        let Held { tag, handle } = self.held[end].remove(index);
        let written = self.written.entry((tag, end)).or_default();
        let is_taken = self.world.with(self.hosts[end], |agent, now| {
            let is_taken = !agent.outgoing.contains_key(&handle);
            agent.outgoing.remove(&handle);
            agent.incoming.remove(&handle);
            let is_finished = is_taken && written.is_finished;
            agent
                .node
                .release_stream(now, handle, is_finished, ErrorCode::CANCELLED);
            is_taken
        });
        written.is_finished &= is_taken;
    }

    fn knock(&mut self, end: usize) {
        let target = KnockTarget::Hostname(["bob", "alice"][end].parse().unwrap());
        self.lets_in[end] = true;
        self.world.with(self.hosts[end], |agent, now| {
            agent.node.knock(now, target, "").unwrap();
        });
    }

    fn approve(&mut self, end: usize) {
        let peer = self.peer(end);
        let approved = self.world.with(self.hosts[end], |agent, now| {
            let terms = agent.node.trust().default_terms(now.unix);
            agent.node.approve(now, &peer, terms).is_ok()
        });
        self.lets_in[end] |= approved;
    }

    fn untrust(&mut self, end: usize) {
        let peer = self.peer(end);
        let untrusted = self.world.with(self.hosts[end], |agent, now| {
            agent.node.untrust(now, &peer).is_ok()
        });
        // What came in before is looked at while it was allowed.
        self.look();
        self.lets_in[end] &= !untrusted;
    }

    fn restart(&mut self, end: usize) {
        self.look();
        self.world.crash_and_restart(self.hosts[end], 1 + end as u8);
        self.held[end].clear();
        self.dials[end].clear();
        self.seen[end] = 0;
        self.listen(end);
    }

    fn mend(&mut self) {
        for host in self.hosts {
            self.world.sim.network.set_up(host, true);
        }
    }

    fn set_weather(&mut self, kind: u8) {
        for host in self.hosts {
            self.world.sim.network.set_link(host, weather(kind));
        }
    }

    fn relocate(&mut self, end: usize) {
        self.moves += 1;
        let network = &mut self.world.sim.network;
        let from = network.address(self.hosts[end]);
        let to = IpAddr::from([203, 0, 113, 100 + self.moves]);
        network.move_interface(self.hosts[end], from, Place::Internet, to);
    }

    /// In steps, so that an outcome that is overdue is noticed where it is.
    fn pass(&mut self, span: Duration) {
        let mut left = span;
        while !left.is_zero() {
            let step = left.min(SECOND);
            self.world.sim.run_for(step);
            left -= step;
            self.look();
        }
    }

    /// Looks at what happened since, and at everything that arrived.
    fn look(&mut self) {
        for end in 0..2 {
            self.look_at_events(end);
            self.check_dials(end);
            self.check_bytes(end);
        }
    }

    fn look_at_events(&mut self, end: usize) {
        let agent = &self.world.sim[self.hosts[end]];
        for event in &agent.log[self.seen[end]..] {
            match event {
                Event::Dialed { dial, stream, .. } => {
                    let (tag, _) = self.dials[end]
                        .remove(dial)
                        .expect("one outcome for a dial");
                    self.held[end].push(Held {
                        tag,
                        handle: *stream,
                    });
                }
                Event::DialFailed { dial, .. } | Event::Pong { dial, .. } => {
                    self.dials[end].remove(dial);
                }
                Event::Incoming { stream, header, .. } => {
                    assert!(self.lets_in[end], "end {end} let a stranger in");
                    assert_eq!(header.destination, Port::ECHO, "nobody listens elsewhere");
                    let tag = header.metadata.first_chunk().copied();
                    self.held[end].push(Held {
                        tag: u32::from_be_bytes(tag.expect("our own metadata")),
                        handle: *stream,
                    });
                }
                _ => {}
            }
        }
        self.seen[end] = agent.log.len();
    }

    fn check_dials(&self, end: usize) {
        let now = self.world.sim.network.elapsed();
        for (dial, (_, started)) in &self.dials[end] {
            let age = now - *started;
            assert!(
                age <= DIAL_LIMIT,
                "{dial:?} of end {end} has no outcome after {age:?}"
            );
        }
    }

    /// What was read is what was written, from its beginning; an end is where the writer put it.
    fn check_bytes(&self, end: usize) {
        let agent = &self.world.sim[self.hosts[end]];
        for Held { tag, handle } in &self.held[end] {
            let inbox = &agent.incoming[handle];
            let from = 1 - end;
            let written = self.written.get(&(*tag, from)).copied().unwrap_or_default();
            let len = inbox.bytes.len();
            assert!(
                len <= written.len,
                "stream {tag}: {len} bytes of {written:?}"
            );
            let differs = inbox
                .bytes
                .iter()
                .enumerate()
                .position(|(at, got)| *got != byte(*tag, from, at));
            assert_eq!(differs, None, "stream {tag} read by end {end}");
            if inbox.is_ended {
                assert!(written.is_finished, "stream {tag} ended, but {written:?}");
                assert_eq!(len, written.len, "stream {tag} ended early");
            }
        }
    }

    /// With a whole network and time, every stream is as its two ends left it, or failed.
    fn check_nothing_hangs(&self) {
        for end in 0..2 {
            let agent = &self.world.sim[self.hosts[end]];
            for Held { tag, handle } in &self.held[end] {
                let inbox = &agent.incoming[handle];
                if inbox.is_ended || inbox.error.is_some() {
                    continue;
                }
                let is_held = self.held[1 - end].iter().any(|held| held.tag == *tag);
                assert!(
                    is_held,
                    "stream {tag}: end {end} waits for an end that is gone"
                );
                let written = self
                    .written
                    .get(&(*tag, 1 - end))
                    .copied()
                    .unwrap_or_default();
                assert!(
                    !written.is_finished,
                    "stream {tag}: its end never arrived at {end}"
                );
                assert_eq!(
                    inbox.bytes.len(),
                    written.len,
                    "stream {tag} is stuck before {end}"
                );
            }
        }
    }

    fn heal_and_check(&mut self) {
        self.mend();
        self.set_weather(0);
        self.pass(HEALED);
        self.check_nothing_hangs();
        for end in 0..2 {
            while !self.held[end].is_empty() {
                self.release(end, 0);
            }
        }
        // Who lost the other dials it for five minutes.
        self.pass(310 * SECOND);
        self.check_quiet();
    }

    /// Nothing is left of streams, and nothing but keep-alives to the rendezvous is sent: each 20 s, and acknowledged.
    fn check_quiet(&mut self) {
        let sent = |model: &Self| {
            model
                .hosts
                .map(|host| model.world.sim[host].node.status().packets_sent)
        };
        let before = sent(self);
        self.pass(60 * SECOND);
        let after = sent(self);
        for end in 0..2 {
            let node = &self.world.sim[self.hosts[end]].node;
            assert!(
                node.connections().is_empty(),
                "end {end} has {:?}",
                node.connections()
            );
            let packets = after[end].saturating_sub(before[end]);
            assert!(
                packets <= 12,
                "end {end} sent {packets} packets in a minute of rest"
            );
        }
    }
}

fn run(seed: u64, ops: &[Op]) {
    let mut model = Model::new(seed);
    for op in ops {
        model.apply(op);
    }
    model.heal_and_check();
}

/// Lists of operations in the default run; `PILOT_SEEDS` multiplies it, `PROPTEST_CASES` replaces it.
fn cases() -> u32 {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u32>().ok())
    };
    number("PROPTEST_CASES").unwrap_or_else(|| 200 * number("PILOT_SEEDS").unwrap_or(1))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_two_nodes_keep_their_promises(seed in 0..1_000_u64, ops in prop::collection::vec(op(), 1..80)) {
        run(seed, &ops);
    }
}

/// The CLOSE of an end that trusts no more is lost; whatever a rendezvous' keep-alive is by then, the other end's idle timeout comes.
#[test]
fn a_close_that_is_lost_still_ends_the_streams_of_the_other_end() {
    let pass = |millis| Op::Pass { millis };
    let write = |end, stream, len| Op::Write { end, stream, len };
    let ops = [
        Op::Ping { end: 1 },
        Op::Ping { end: 0 },
        Op::Weather(1),
        pass(40),
        write(0, 0, 15_199),
        pass(274),
        write(0, 0, 8174),
        Op::Weather(1),
        pass(178),
        Op::Finish { end: 0, stream: 91 },
        pass(138),
        write(1, 0, 18_704),
        pass(1),
        Op::Weather(1),
        write(0, 47, 1),
        pass(489),
        Op::Untrust { end: 1 },
        pass(10),
        write(1, 0, 1),
    ];
    run(227, &ops);
}
