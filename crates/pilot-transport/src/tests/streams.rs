//! Streams: ends, resets, limits, memory.

use pilot_types::StreamId;
use pilot_wire::{ErrorCode, TransportParams};

use super::{pair, pair_with, pattern};
use crate::pair::Link;
use crate::{Config, Event, OpenError, Read, ReadError, WriteError};

const CODE: ErrorCode = ErrorCode::CANCELLED;

fn small(max_data: u64, max_stream_data: u64, max_streams: u64) -> Config {
    let params = TransportParams {
        max_data,
        max_stream_data,
        max_streams,
        ..Config::default().params
    };
    Config {
        params,
        ..Config::default()
    }
}

#[test]
fn a_stream_is_answered_after_its_opener_finished() {
    let mut pair = pair(Link::default());
    let id = pair.say(0, b"question");
    pair.settle();
    assert_eq!(
        pair.take_events(1),
        [Event::StreamOpened(id), Event::Readable(id)]
    );
    let mut data = vec![];
    assert!(pair.read(1, id, &mut data));
    assert_eq!(data, b"question");
    assert_eq!(pair.ends[1].write(pair.now, id, b"answer"), Ok(6));
    assert_eq!(pair.ends[1].finish(pair.now, id), Ok(()));
    pair.settle();
    assert_eq!(
        pair.take_events(0),
        [Event::StreamFinished(id), Event::Readable(id)]
    );
    let mut data = vec![];
    assert!(pair.read(0, id, &mut data));
    assert_eq!(data, b"answer");
    pair.settle();
    assert_eq!(pair.take_events(1), [Event::StreamFinished(id)]);
    for end in &pair.ends {
        assert_eq!(end.stream_ids().count(), 0, "a stream over is forgotten");
    }
}

#[test]
fn opening_a_stream_opens_the_ones_before_it() {
    let mut pair = pair(Link::default());
    let first = pair.ends[1].open_stream(pair.now).unwrap();
    let second = pair.say(1, b"later");
    pair.settle();
    assert_eq!((first.to_u64(), second.to_u64()), (1, 3));
    let events = pair.take_events(0);
    assert_eq!(
        events,
        [
            Event::StreamOpened(first),
            Event::StreamOpened(second),
            Event::Readable(second)
        ]
    );
}

#[test]
fn a_reset_reaches_the_reader_and_not_what_was_finished() {
    let mut pair = pair(Link::default());
    let id = pair.ends[0].open_stream(pair.now).unwrap();
    pair.ends[0].write(pair.now, id, b"half a mess").unwrap();
    pair.settle();
    pair.ends[0].reset(pair.now, id, CODE);
    assert_eq!(
        pair.ends[0].write(pair.now, id, b"age"),
        Err(WriteError::Reset)
    );
    let finished = pair.say(0, b"whole");
    pair.ends[0].reset(pair.now, finished, CODE);
    pair.settle();
    let events = pair.take_events(1);
    assert!(events.contains(&Event::StreamReset { id, code: CODE }));
    let mut out = [0; 10];
    assert_eq!(
        pair.ends[1].read(pair.now, id, &mut out),
        Err(ReadError::Reset(CODE))
    );
    let mut data = vec![];
    assert!(pair.read(1, finished, &mut data));
    assert_eq!(data, b"whole");
}

/// A reset at the offset of the last byte received is a reset, not an end: nobody said that the stream is whole.
#[test]
fn a_reset_after_all_bytes_arrived_is_still_a_reset() {
    let mut pair = pair(Link::default());
    let id = pair.ends[0].open_stream(pair.now).unwrap();
    pair.ends[0].write(pair.now, id, b"all of it?").unwrap();
    pair.settle();
    let mut data = vec![];
    assert!(!pair.read(1, id, &mut data));
    pair.ends[0].reset(pair.now, id, CODE);
    pair.settle();
    let mut out = [0; 10];
    assert_eq!(
        pair.ends[1].read(pair.now, id, &mut out),
        Err(ReadError::Reset(CODE))
    );
}

#[test]
fn a_stop_is_answered_with_a_reset_of_the_same_code() {
    let mut pair = pair(Link::default());
    let id = pair.ends[0].open_stream(pair.now).unwrap();
    pair.ends[0]
        .write(pair.now, id, &pattern(300_000, 1))
        .unwrap();
    pair.turn();
    pair.turn();
    pair.ends[1].stop(pair.now, id, CODE);
    pair.ends[1].reset(pair.now, id, CODE);
    pair.settle();
    let events = pair.take_events(0);
    assert!(events.contains(&Event::StreamStopped { id, code: CODE }));
    assert_eq!(
        pair.ends[1].stream_ids().count(),
        0,
        "refused and forgotten"
    );
    assert_eq!(
        pair.ends[0].write(pair.now, id, b"more"),
        Err(WriteError::Stopped(CODE))
    );
    let mut out = [0; 10];
    let read = pair.ends[0].read(pair.now, id, &mut out);
    assert_eq!(read, Err(ReadError::Reset(CODE)));
    assert_eq!(pair.ends[0].stream_ids().count(), 0);
    // What was stopped gives its bytes back to the session's window.
    for _ in 0..30 {
        let id = pair.say(0, &pattern(200_000, 2));
        pair.settle();
        pair.ends[1].stop(pair.now, id, CODE);
        pair.ends[1].reset(pair.now, id, CODE);
        pair.settle();
        let mut out = [0; 10];
        let _ = pair.ends[0].read(pair.now, id, &mut out);
    }
    let id = pair.say(0, b"still flows");
    pair.settle();
    assert!(pair.read(1, id, &mut vec![]));
}

#[test]
fn the_peers_stream_limit_moves_as_streams_end() {
    let mut pair = pair_with(small(1 << 20, 1 << 16, 3), Link::default(), 1);
    let ids: Vec<StreamId> = (0..3).map(|_| pair.say(0, b"x")).collect();
    assert_eq!(pair.ends[0].open_stream(pair.now), Err(OpenError::Limit));
    pair.settle();
    assert_eq!(pair.ends[0].open_stream(pair.now), Err(OpenError::Limit));
    for id in ids {
        assert!(pair.read(1, id, &mut vec![]));
        pair.ends[1].finish(pair.now, id).unwrap();
        pair.settle();
        assert!(pair.read(0, id, &mut vec![]));
    }
    pair.settle();
    assert!(pair.take_events(0).contains(&Event::StreamsAvailable));
    for _ in 0..3 {
        assert!(pair.ends[0].open_stream(pair.now).is_ok());
    }
    assert_eq!(pair.ends[0].open_stream(pair.now), Err(OpenError::Limit));
}

#[test]
fn a_writer_waits_for_a_reader_and_no_other_stream_does() {
    let mut pair = pair_with(small(1 << 20, 10_000, 8), Link::default(), 1);
    let slow = pair.ends[0].open_stream(pair.now).unwrap();
    let data = pattern(50_000, 3);
    assert_eq!(pair.ends[0].write(pair.now, slow, &data), Ok(50_000));
    pair.ends[0].finish(pair.now, slow).unwrap();
    pair.settle();
    let stats = pair.ends[0].stream_stats(slow).unwrap();
    assert_eq!((stats.sent, stats.acked), (10_000, 10_000));
    let quick = pair.say(0, b"quick");
    pair.settle();
    assert!(pair.read(1, quick, &mut vec![]));
    let mut received = vec![];
    while !pair.read(1, slow, &mut received) {
        pair.settle();
    }
    assert_eq!(received, data);
}

#[test]
fn the_sessions_limit_holds_all_streams_and_lets_go_of_all() {
    let mut pair = pair_with(small(20_000, 15_000, 8), Link::default(), 1);
    let data = pattern(15_000, 4);
    let ids: Vec<StreamId> = (0..4).map(|_| pair.say(0, &data)).collect();
    pair.settle();
    let sent: u64 = ids
        .iter()
        .map(|id| pair.ends[0].stream_stats(*id).unwrap().sent)
        .sum();
    assert_eq!(sent, 20_000);
    let mut received = vec![vec![]; ids.len()];
    let mut ended = [false; 4];
    while ended != [true; 4] {
        for (i, id) in ids.iter().enumerate() {
            if !ended[i] && pair.ends[1].stream_stats(*id).is_some() {
                ended[i] = pair.read(1, *id, &mut received[i]);
            }
        }
        pair.settle();
    }
    assert!(received.iter().all(|bytes| *bytes == data));
}

#[test]
fn a_full_buffer_takes_less_and_says_when_it_has_room() {
    let mut pair = pair(Link::default());
    let id = pair.ends[0].open_stream(pair.now).unwrap();
    let data = pattern(3 << 20, 5);
    let mut written = pair.ends[0].write(pair.now, id, &data).unwrap();
    assert_eq!(written, 1 << 20);
    assert_eq!(pair.ends[0].write(pair.now, id, &data[written..]), Ok(0));
    let mut received = vec![];
    while written < data.len() {
        pair.turn();
        if pair.take_events(0).contains(&Event::Writable(id)) {
            let taken = pair.ends[0].write(pair.now, id, &data[written..]).unwrap();
            assert!(taken > 0);
            written += taken;
        }
        pair.take_events(1);
        if pair.ends[1].stream_stats(id).is_some() {
            pair.read(1, id, &mut received);
        }
    }
    pair.ends[0].finish(pair.now, id).unwrap();
    while !pair.read(1, id, &mut received) {
        pair.settle();
    }
    assert!(received == data);
}

#[test]
fn a_small_stream_is_not_stuck_behind_a_large_one() {
    let mut pair = pair(Link {
        rate: 1_000_000,
        ..Link::default()
    });
    let bulk = pair.ends[0].open_stream(pair.now).unwrap();
    pair.ends[0]
        .write(pair.now, bulk, &pattern(1 << 20, 6))
        .unwrap();
    for _ in 0..200 {
        pair.turn();
    }
    let asked_at = pair.now;
    let small = pair.say(0, &[7; 64]);
    while !pair.take_events(1).contains(&Event::Readable(small)) {
        pair.turn();
    }
    let waited = pair.now - asked_at;
    let queue = std::time::Duration::from_millis(100 + 5 + 10);
    assert!(
        waited <= queue,
        "{waited:?}, and the rest of the bulk takes a second"
    );
}

#[test]
fn a_read_of_an_unknown_stream_says_so() {
    let mut pair = pair(Link::default());
    let mut out = [0; 10];
    let id = StreamId::new(0);
    assert_eq!(
        pair.ends[0].read(pair.now, id, &mut out),
        Err(ReadError::Unknown)
    );
    let id = pair.ends[0].open_stream(pair.now).unwrap();
    assert_eq!(pair.ends[0].read(pair.now, id, &mut out), Ok(Read::Blocked));
}
