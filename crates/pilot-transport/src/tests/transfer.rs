//! Exactly the bytes, in order, once, whatever the link does; and in sensible time.

use std::collections::BTreeMap;
use std::time::Duration;

use pilot_types::StreamId;
use pilot_wire::TransportParams;
use proptest::prelude::*;
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

use super::{pair_with, pattern};
use crate::pair::{Link, Pair};
use crate::{Config, Event, Read, WriteError};

/// One direction of a stream in the hands of an application.
#[derive(Default)]
struct Half {
    outgoing: Vec<u8>,
    written: usize,
    is_finished: bool,
    incoming: Vec<u8>,
    is_ended: bool,
}

/// Both applications: each sends `size` patterned bytes on each stream, and reads all of the other's.
struct Talk {
    pair: Pair,
    halves: [BTreeMap<StreamId, Half>; 2],
    sizes: [usize; 2],
}

fn content(id: StreamId, end: usize, size: usize) -> Vec<u8> {
    pattern(size, id.to_u64() * 2 + end as u64)
}

impl Talk {
    fn new(pair: Pair, streams: [usize; 2], sizes: [usize; 2]) -> Self {
        let mut talk = Self {
            pair,
            halves: [BTreeMap::new(), BTreeMap::new()],
            sizes,
        };
        for (end, count) in streams.into_iter().enumerate() {
            for _ in 0..count {
                let id = talk.pair.ends[end].open_stream(talk.pair.now).unwrap();
                talk.begin(end, id);
            }
        }
        talk
    }

    fn begin(&mut self, end: usize, id: StreamId) {
        let half = Half {
            outgoing: content(id, end, self.sizes[end]),
            ..Half::default()
        };
        self.halves[end].insert(id, half);
        self.write(end, id);
    }

    fn write(&mut self, end: usize, id: StreamId) {
        let half = self.halves[end].get_mut(&id).unwrap();
        let (transport, now) = (&mut self.pair.ends[end], self.pair.now);
        while half.written < half.outgoing.len() {
            match transport.write(now, id, &half.outgoing[half.written..]) {
                Ok(0) => return,
                Ok(taken) => half.written += taken,
                Err(error) => panic!("{error}"),
            }
        }
        if !half.is_finished {
            half.is_finished = true;
            transport.finish(now, id).unwrap();
        }
    }

    fn read(&mut self, end: usize, id: StreamId) {
        let half = self.halves[end].get_mut(&id).unwrap();
        assert!(!half.is_ended, "readable after its end");
        let mut chunk = [0; 3000];
        loop {
            match self.pair.ends[end]
                .read(self.pair.now, id, &mut chunk)
                .unwrap()
            {
                Read::Bytes(len) => half.incoming.extend_from_slice(&chunk[..len]),
                Read::Blocked => return,
                Read::End => {
                    half.is_ended = true;
                    return;
                }
            }
        }
    }

    fn handle_events(&mut self) {
        for end in 0..2 {
            for event in std::mem::take(&mut self.pair.events[end]) {
                if let Event::StreamOpened(id) = event {
                    self.begin(end, id);
                } else if let Event::Readable(id) = event {
                    self.read(end, id);
                } else if let Event::Writable(id) = event {
                    self.write(end, id);
                } else {
                    let is_news = matches!(event, Event::StreamFinished(_) | Event::Silent);
                    assert!(is_news, "{event:?}");
                }
            }
        }
    }

    /// Runs to silence; gives how long it took.
    fn run(mut self) -> (Duration, Pair) {
        let (start, mut last) = (self.pair.now, self.pair.now);
        while self.pair.turn() {
            self.handle_events();
            let is_open = self
                .pair
                .ends
                .iter()
                .any(|end| end.stream_ids().next().is_some());
            if is_open {
                last = self.pair.now;
            }
        }
        for end in 0..2 {
            let transport = &self.pair.ends[end];
            assert_eq!(transport.stream_ids().count(), 0, "a stream stays open");
            assert_eq!(transport.poll_timeout(), None, "a timer stays");
            assert_eq!(transport.stats().in_flight, 0);
            for (id, half) in &self.halves[end] {
                assert!(half.is_ended && half.is_finished);
                let expected = content(*id, 1 - end, self.sizes[1 - end]);
                assert!(half.incoming == expected, "{id:?} differs at end {end}");
            }
        }
        (last - start, self.pair)
    }
}

/// No idle timeout, so that quiet is silence.
fn patient(params: TransportParams) -> Config {
    let params = TransportParams {
        idle_timeout_ms: 0,
        ..params
    };
    Config {
        params,
        ..Config::default()
    }
}

fn exchange_over_seed(seed: u64) {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let mut below = |max: u64| rng.next_u64() % max;
    let link = Link {
        delay: Duration::from_micros(100 + below(40_000)),
        jitter: Duration::from_micros(below(20_000)),
        loss: below(301) as u32,
        duplication: below(100) as u32,
        rate: if below(2) == 0 {
            0
        } else {
            50_000 + below(1_000_000)
        },
    };
    let params = TransportParams {
        max_data: 2_000 + below(50_000),
        max_stream_data: 1_000 + below(20_000),
        max_streams: 6,
        ..Config::default().params
    };
    let mut config = patient(params);
    config.send_buffer = 1_500 + below(30_000) as usize;
    let streams = [1 + below(4) as usize, below(4) as usize];
    let sizes = [below(25_000) as usize, below(25_000) as usize];
    let pair = pair_with(config, link, seed);
    Talk::new(pair, streams, sizes).run();
}

#[test]
fn every_stream_delivers_its_bytes_once_and_in_order_over_thousands_of_seeds() {
    for seed in 0..3_000 {
        let outcome = std::panic::catch_unwind(|| exchange_over_seed(seed));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_list_of_operations_goes_quiet_without_a_panic(data in prop::collection::vec(any::<u8>(), 0..400)) {
        crate::fuzz::operations(std::time::Instant::now(), &data);
    }
}

#[test]
fn ten_megabytes_over_ten_milliseconds_take_little_more_than_the_flow_control_allows() {
    let pair = pair_with(patient(Config::default().params), Link::default(), 1);
    let (took, pair) = Talk::new(pair, [1, 0], [10 << 20, 0]).run();
    // A window of 1 MiB per 10 ms, reached by doubling from 12 kB in seven round trips.
    assert!(took < Duration::from_millis(350), "{took:?}");
    assert_eq!(pair.ends[0].stats().packets_lost, 0);
    assert_eq!(pair.ends[0].stats().probe_timeouts, 0, "nothing stalled");
}

#[test]
fn a_link_of_a_megabyte_a_second_is_used_well() {
    let link = Link {
        rate: 1_000_000,
        ..Link::default()
    };
    let pair = pair_with(patient(Config::default().params), link, 1);
    let (took, _) = Talk::new(pair, [2, 0], [2_500_000, 0]).run();
    // 5 MB and 2 % of overhead take 5.1 s.
    assert!(took < Duration::from_millis(5_900), "{took:?}");
}

#[test]
fn one_percent_of_loss_leaves_most_of_the_speed() {
    let link = Link {
        loss: 10,
        ..Link::default()
    };
    let pair = pair_with(patient(Config::default().params), link, 3);
    let (took, pair) = Talk::new(pair, [1, 0], [5 << 20, 0]).run();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let stats = pair.ends[0].stats();
    let repeated = stats.bytes_retransmitted as f64 / stats.bytes_sent as f64;
    assert!(repeated < 0.03, "{repeated} of the bytes were repeated");
}

#[test]
fn an_ended_session_takes_nothing_more() {
    let mut pair = pair_with(Config::default(), Link::default(), 1);
    let id = pair.say(0, b"hello");
    pair.settle();
    pair.ends[0].close(pair.now, pilot_wire::ErrorCode::SHUTDOWN, "bye");
    assert_eq!(
        pair.ends[0].write(pair.now, id, b"x"),
        Err(WriteError::Closed)
    );
    assert!(pair.ends[0].open_stream(pair.now).is_err());
}
