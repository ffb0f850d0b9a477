//! Paths that are probed beside the one in use, and the moves between them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use pilot_types::{FourTuple, PathId, PeerAddr, StreamId};
use pilot_wire::Frame;

use super::paths::relay;
use super::{pair, pair_with, pattern};
use crate::pair::{Link, Pair, path};
use crate::{Config, Event, PathStats};

const OLD: [u16; 2] = [1000, 2000];
const NEW: [u16; 2] = [1000, 2001];

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The same agents in one local network.
fn lan(from: usize) -> PathId {
    let address = |end: usize| SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1 + end as u8), 4000));
    PathId::Udp(FourTuple {
        local: address(from),
        remote: PeerAddr(address(1 - from)),
    })
}

fn probed(path: PathId, rtt: Duration) -> Event {
    Event::PathProbed { path, rtt }
}

fn stats_of(pair: &Pair, end: usize, path: PathId) -> PathStats {
    let mut paths = pair.ends[end].paths(pair.now);
    paths.find(|stats| stats.path == path).expect("it is known")
}

/// End 1 goes where its peer went.
fn follow(pair: &mut Pair) {
    for event in pair.take_events(1) {
        if let Event::PeerMoved(path) = event {
            pair.ends[1].migrate(pair.now, path);
        }
    }
}

/// Bytes from end 0 to end 1, through moves of both.
struct Transfer {
    pair: Pair,
    id: StreamId,
    data: Vec<u8>,
    written: usize,
    received: Vec<u8>,
    last_progress: Instant,
    longest_stall: Duration,
    is_over: bool,
}

impl Transfer {
    fn new(mut pair: Pair, len: usize) -> Self {
        let id = pair.ends[0].open_stream(pair.now).unwrap();
        let last_progress = pair.now;
        Self {
            pair,
            id,
            data: pattern(len, 3),
            written: 0,
            received: vec![],
            last_progress,
            longest_stall: Duration::ZERO,
            is_over: false,
        }
    }

    fn turn(&mut self) {
        let (now, rest) = (self.pair.now, &self.data[self.written..]);
        if !rest.is_empty() {
            self.written += self.pair.ends[0].write(now, self.id, rest).unwrap();
            if self.written == self.data.len() {
                self.pair.ends[0].finish(now, self.id).unwrap();
            }
        }
        assert!(self.pair.turn());
        follow(&mut self.pair);
        if self.pair.ends[1].stream_stats(self.id).is_none() {
            return;
        }
        let before = self.received.len();
        self.is_over = self.pair.read(1, self.id, &mut self.received);
        if self.received.len() > before {
            let stall = self.pair.now - self.last_progress;
            self.longest_stall = self.longest_stall.max(stall);
            self.last_progress = self.pair.now;
        }
    }

    fn run_to(&mut self, received: usize) {
        while self.received.len() < received && !self.is_over {
            self.turn();
        }
    }

    /// Probes a path, waits for the answer, and moves.
    fn move_to(&mut self, path: PathId) {
        assert!(self.pair.ends[0].probe(self.pair.now, path));
        let is_probed =
            |event: &Event| matches!(event, Event::PathProbed { path: p, .. } if *p == path);
        while !self.pair.take_events(0).iter().any(is_probed) {
            self.turn();
        }
        self.pair.ends[0].migrate(self.pair.now, path);
    }
}

#[test]
fn a_probe_tells_the_round_trip_of_its_path_and_nothing_else_changes() {
    let mut pair = pair(Link::default());
    pair.set_delay(relay(), ms(30));
    pair.ends[0].ping(pair.now);
    pair.settle();
    let before = pair.ends[0].stats();
    assert!(pair.ends[0].probe(pair.now, relay()));
    pair.drain();
    let sent = pair.ends[0].stats();
    assert_eq!(sent.bytes_sent - before.bytes_sent, 1200);
    assert_eq!(sent.in_flight, 0);
    assert_eq!(pair.next_timer(0), Some("idle"), "nothing repeats it");
    pair.settle();
    assert_eq!(pair.take_events(0), [probed(relay(), ms(60))]);
    assert_eq!(pair.take_events(1), [], "a probe is no move");
    assert_eq!(pair.ends[0].stats().srtt, before.srtt);
    assert_eq!(pair.ends[0].path(), path(0, OLD));
    let known = stats_of(&pair, 0, relay());
    assert_eq!(known.rtt, Some(ms(60)));
    assert!(known.is_validated && !known.is_in_use && known.answered_at.is_some());
}

#[test]
fn a_probe_waits_neither_for_the_window_nor_for_the_pacer() {
    let mut pair = pair(Link::default());
    let id = pair.ends[0].open_stream(pair.now).unwrap();
    pair.ends[0]
        .write(pair.now, id, &pattern(500_000, 1))
        .unwrap();
    pair.drain();
    let before = pair.ends[0].stats();
    assert!(pair.ends[0].probe(pair.now, relay()));
    assert!(pair.ends[0].probe(pair.now, path(0, NEW)));
    assert!(pair.ends[0].probe(pair.now, path(0, NEW)), "one is enough");
    assert!(!pair.ends[0].probe(pair.now, path(0, OLD)), "it is in use");
    pair.drain();
    let after = pair.ends[0].stats();
    assert_eq!(after.packets_sent - before.packets_sent, 2);
    assert_eq!(after.bytes_sent - before.bytes_sent, 2400);
    assert_eq!(after.in_flight, before.in_flight);
}

#[test]
fn lost_probes_are_no_losses_and_are_not_repeated() {
    let mut pair = pair(Link::default());
    pair.ends[0].ping(pair.now);
    pair.settle();
    pair.dead_ports.insert(NEW[1]);
    for _ in 0..3 {
        assert!(pair.ends[0].probe(pair.now, path(0, NEW)));
        pair.drain();
    }
    assert!(
        !pair.ends[0].probe(pair.now, path(0, NEW)),
        "it brought nothing"
    );
    let id = pair.say(0, &pattern(300_000, 1));
    pair.settle();
    assert!(pair.read(1, id, &mut vec![]));
    let stats = pair.ends[0].stats();
    assert_eq!((stats.packets_lost, stats.probe_timeouts), (0, 0));
    assert_eq!(stats.bytes_retransmitted, 0);
    assert!(!stats_of(&pair, 0, path(0, NEW)).is_validated);
}

#[test]
fn probes_on_faster_and_slower_paths_disturb_no_transfer() {
    let link = Link {
        rate: 2_000_000,
        ..Link::default()
    };
    let mut pair = pair(link);
    pair.set_delay(relay(), ms(50));
    pair.set_delay(lan(0), ms(1));
    let mut transfer = Transfer::new(pair, 1_000_000);
    for step in 1..=50 {
        transfer.run_to(step * 20_000);
        for path in [relay(), lan(0)] {
            transfer.pair.ends[0].probe(transfer.pair.now, path);
            transfer.pair.ends[0].probe(transfer.pair.now, path);
        }
    }
    transfer.run_to(usize::MAX);
    assert_eq!(transfer.received, transfer.data);
    let stats = transfer.pair.ends[0].stats();
    assert_eq!((stats.packets_lost, stats.bytes_retransmitted), (0, 0));
    assert_eq!(stats.probe_timeouts, 0);
    assert!(stats.min_rtt >= ms(10), "a sample of another path");
    let events = transfer.pair.take_events(0);
    let answers = |of: PathId, rtts: std::ops::Range<Duration>| {
        let is_one = |event: &&Event| matches!(event, Event::PathProbed { path, rtt } if *path == of && rtts.contains(rtt));
        events.iter().filter(is_one).count()
    };
    // Each probe takes 0.6 ms to leave, and its answer as long.
    assert!(answers(lan(0), ms(3)..ms(5)) > 10);
    assert!(answers(relay(), ms(101)..ms(105)) > 2);
}

#[test]
fn a_path_that_answered_lately_carries_everything_at_once() {
    let mut pair = pair(Link::default());
    pair.set_delay(lan(0), ms(1));
    pair.ends[0].probe(pair.now, lan(0));
    pair.settle();
    pair.ends[0].migrate(pair.now, lan(0));
    let in_use = stats_of(&pair, 0, lan(0));
    assert!(in_use.is_validated && in_use.is_in_use);
    assert_eq!(in_use.rtt, Some(ms(2)));
    let before = pair.ends[0].stats().bytes_sent;
    pair.say(0, &pattern(100_000, 1));
    pair.drain();
    assert!(pair.ends[0].stats().bytes_sent - before > 3 * 1200);
    pair.settle();
    assert_eq!(pair.take_events(0)[..1], [probed(lan(0), ms(2))]);
}

#[test]
fn a_path_whose_answer_is_old_is_validated_again() {
    let mut pair = pair(Link::default());
    pair.ends[0].probe(pair.now, lan(0));
    pair.settle();
    pair.now += ms(30_000);
    pair.ends[0].migrate(pair.now, lan(0));
    assert!(!stats_of(&pair, 0, lan(0)).is_validated);
    pair.settle();
    assert!(pair.take_events(0).contains(&Event::PathValidated(lan(0))));
}

#[test]
fn the_answer_to_a_probe_validates_a_path_that_is_in_use_by_then() {
    let mut pair = pair(Link::default());
    pair.ends[0].probe(pair.now, lan(0));
    pair.drain();
    // The challenges of the validation itself are lost.
    pair.link.loss = 1000;
    pair.ends[0].migrate(pair.now, lan(0));
    pair.drain();
    pair.link.loss = 0;
    pair.turn();
    pair.turn();
    let expected = [probed(lan(0), ms(10)), Event::PathValidated(lan(0))];
    assert_eq!(pair.take_events(0), expected);
    assert_eq!(pair.ends[0].stats().srtt, ms(10));
}

#[test]
fn a_transfer_moves_to_a_faster_path_and_back_without_a_stall() {
    for (rate, seed) in [(1_000_000, 1), (5_000_000, 2), (20_000_000, 3)] {
        let link = Link {
            delay: ms(20),
            rate,
            ..Link::default()
        };
        let mut pair = pair_with(Config::default(), link, seed);
        pair.set_delay(lan(0), Duration::from_micros(2_500));
        let mut transfer = Transfer::new(pair, 3_000_000);
        transfer.run_to(1_000_000);
        transfer.longest_stall = Duration::ZERO;
        transfer.move_to(lan(0));
        transfer.run_to(2_000_000);
        transfer.move_to(path(0, OLD));
        transfer.run_to(usize::MAX);
        assert_eq!(transfer.received, transfer.data, "{rate}");
        let stall = transfer.longest_stall;
        assert!(stall <= ms(40), "{rate}: {stall:?}");
        let stats = transfer.pair.ends[0].stats();
        assert_eq!(stats.bytes_retransmitted, 0, "{rate}");
        assert_eq!(transfer.pair.ends[1].path(), path(1, OLD));
    }
}

#[test]
fn little_that_is_in_flight_on_a_slow_path_is_not_repeated_on_a_fast_one() {
    let mut pair = pair(Link {
        delay: ms(200),
        ..Link::default()
    });
    pair.set_delay(lan(0), ms(1));
    pair.ends[0].ping(pair.now);
    pair.ends[0].probe(pair.now, lan(0));
    pair.settle();
    let id = pair.say(0, b"on its way");
    pair.drain();
    pair.ends[0].migrate(pair.now, lan(0));
    let next = pair.say(0, b"on another");
    for _ in 0..20 {
        pair.turn();
        follow(&mut pair);
    }
    pair.settle();
    let stats = pair.ends[0].stats();
    assert_eq!((stats.probe_timeouts, stats.bytes_retransmitted), (0, 0));
    assert!(pair.read(1, id, &mut vec![]) && pair.read(1, next, &mut vec![]));
}

#[test]
fn a_peer_that_sends_on_another_path_is_told_once() {
    let mut pair = pair(Link::default());
    pair.ends[0].probe(pair.now, relay());
    pair.settle();
    assert_eq!(pair.take_events(1), []);
    pair.ends[0].migrate(pair.now, relay());
    for _ in 0..3 {
        pair.ends[0].ping(pair.now);
        pair.settle();
    }
    assert_eq!(pair.take_events(1), [Event::PeerMoved(relay())]);
    assert_eq!(pair.ends[1].path(), path(1, OLD), "its owner decides");
    pair.ends[0].migrate(pair.now, path(0, OLD));
    pair.ends[0].ping(pair.now);
    pair.settle();
    pair.ends[0].migrate(pair.now, relay());
    pair.ends[0].ping(pair.now);
    pair.settle();
    assert_eq!(pair.take_events(1), [Event::PeerMoved(relay())], "again");
}

#[test]
fn who_moves_itself_does_not_take_what_comes_on_the_old_path_for_a_move() {
    let mut pair = pair(Link::default());
    let id = pair.say(1, &pattern(300_000, 1));
    for _ in 0..10 {
        pair.turn();
    }
    pair.ends[0].migrate(pair.now, relay());
    pair.settle();
    assert!(pair.read(0, id, &mut vec![]));
    let events = pair.take_events(0);
    let is_move = |event: &Event| matches!(event, Event::PeerMoved(_));
    assert!(!events.iter().any(is_move), "{events:?}");
}

#[test]
fn neither_probing_frames_nor_an_older_packet_are_a_move() {
    let mut pair = pair(Link::default());
    let (now, elsewhere) = (pair.now, path(0, NEW));
    let mut arrive = |number, frames: &[Frame<'_>]| {
        let mut payload = vec![];
        for frame in frames {
            frame.encode(&mut payload);
        }
        let number = pilot_types::PacketNumber::new(number);
        let end = &mut pair.ends[0];
        end.handle_packet(now, elsewhere, number, None, 1200, &payload)
            .unwrap();
        std::iter::from_fn(|| end.poll_event()).any(|event| event == Event::PeerMoved(elsewhere))
    };
    let index = Frame::NewIndex {
        sequence: 0,
        index: 1,
    };
    let probing = [
        Frame::PathChallenge([1; 8]),
        Frame::PathResponse([1; 8]),
        Frame::Padding(3),
        index,
    ];
    assert!(!arrive(5, &probing));
    assert!(!arrive(4, &[Frame::Ping]), "older");
    assert!(arrive(6, &[Frame::PathChallenge([2; 8]), Frame::Ping]));
    assert!(!arrive(7, &[Frame::Ping]), "told already");
}
