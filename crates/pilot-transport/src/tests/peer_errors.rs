//! What a peer may not do, and what it may.

use pilot_types::StreamId;
use pilot_wire::{ErrorCode, Frame, StreamFrame, TransportParams};

use super::{pair, pair_with};
use crate::pair::{Link, Pair};
use crate::{Config, ControlFrame, DatagramError, Event, PeerError};

fn stream(id: u64, offset: u64, data: &[u8], is_fin: bool) -> Frame<'_> {
    Frame::Stream(StreamFrame {
        id: StreamId::new(id),
        offset,
        is_fin,
        data,
    })
}

fn reset(id: u64, final_size: u64) -> Frame<'static> {
    Frame::Reset {
        id: StreamId::new(id),
        code: ErrorCode::CANCELLED,
        final_size,
    }
}

/// End 0 is given each frame in a packet of its own; the last is the peer's fault, and closes with its code.
fn refuses(frames: &[Frame<'_>], error: PeerError) {
    let params = TransportParams {
        max_data: 1_000,
        max_stream_data: 600,
        max_streams: 4,
        max_datagram: 100,
        ..Config::default().params
    };
    let config = Config {
        params,
        ..Config::default()
    };
    let mut pair = pair_with(config, Link::default(), 1);
    let (last, before) = frames.split_last().unwrap();
    for frame in before {
        assert_eq!(pair.inject_frames(0, &[*frame]), Ok(()));
    }
    assert_eq!(pair.inject_frames(0, &[*last]), Err(error));
    pair.settle();
    let mut told = None;
    for event in pair.take_events(1) {
        if let Event::Closed { code, by_peer, .. } = event {
            told = Some((code, by_peer));
        }
    }
    assert_eq!(told, Some((error.code(), true)));
    assert!(pair.ends.iter().all(crate::Transport::is_drained));
}

#[test]
fn more_bytes_than_a_stream_or_the_session_allows_are_refused() {
    let bytes = [7; 600];
    refuses(&[stream(1, 1, &bytes, false)], PeerError::FlowControl);
    let frames = [stream(1, 0, &bytes, false), stream(3, 0, &bytes, false)];
    refuses(&frames, PeerError::FlowControl);
    refuses(&[reset(1, 601)], PeerError::FlowControl);
    let frames = [stream(1, 0, &bytes, false), reset(3, 401)];
    refuses(&frames, PeerError::FlowControl);
}

#[test]
fn streams_beyond_the_limit_and_unopened_ones_are_refused() {
    refuses(&[stream(9, 0, b"x", false)], PeerError::StreamLimit);
    refuses(&[stream(0, 0, b"x", false)], PeerError::UnopenedStream);
    let stop = Frame::Stop {
        id: StreamId::new(2),
        code: ErrorCode::CANCELLED,
    };
    refuses(&[stop], PeerError::UnopenedStream);
    refuses(&[Frame::MaxStreams(1 << 61)], PeerError::StreamCount);
}

#[test]
fn a_final_size_never_changes() {
    let fin = stream(1, 0, b"abc", true);
    refuses(&[fin, stream(1, 0, b"abcd", false)], PeerError::FinalSize);
    refuses(&[fin, stream(1, 0, b"ab", true)], PeerError::FinalSize);
    refuses(&[fin, reset(1, 4)], PeerError::FinalSize);
    refuses(
        &[stream(1, 0, b"abc", false), reset(1, 2)],
        PeerError::FinalSize,
    );
    refuses(
        &[reset(1, 3), stream(1, 3, b"d", false)],
        PeerError::FinalSize,
    );
}

#[test]
fn acknowledgements_of_the_future_and_packets_of_nothing_are_refused() {
    let mut pair = pair(Link::default());
    // ACK of packet 5, alone.
    let error = pair.inject(0, &[0x02, 5, 0, 0, 0]);
    assert_eq!(error, Err(PeerError::UnsentAcked(5)));
    let mut pair = super::pair(Link::default());
    assert_eq!(pair.inject(0, &[]), Err(PeerError::Empty));
    assert!(pair.ends[0].is_closing());
    let mut pair = super::pair(Link::default());
    assert!(matches!(pair.inject(0, &[0x3F]), Err(PeerError::Frame(_))));
}

#[test]
fn an_unknown_extension_is_acknowledged_and_handed_up() {
    let mut pair = pair(Link::default());
    let now = pair.now;
    pair.ends[0]
        .send_extension(now, 0x1234, vec![1, 2, 3])
        .unwrap();
    let index = ControlFrame::NewIndex {
        sequence: 1,
        index: 77,
    };
    pair.ends[0].send_control(now, index).unwrap();
    pair.settle();
    let extension = Event::Extension {
        kind: 0x1234,
        body: vec![1, 2, 3],
    };
    let index = Event::NewIndex {
        sequence: 1,
        index: 77,
    };
    assert_eq!(pair.take_events(1), [extension, index]);
    assert_eq!(pair.ends[0].stats().in_flight, 0);
}

#[test]
fn datagrams_arrive_and_never_exceed_what_was_announced() {
    let mut pair = pair(Link::default());
    let max = pair.ends[0].max_datagram();
    assert_eq!(max, 1200 - 25 - 3);
    let data = vec![5; max];
    pair.ends[0].send_datagram(pair.now, &data).unwrap();
    let too_large = pair.ends[0].send_datagram(pair.now, &vec![5; max + 1]);
    assert_eq!(too_large, Err(DatagramError::TooLarge { max }));
    pair.settle();
    assert_eq!(pair.take_events(1), [Event::Datagram(data)]);
    refuses(&[Frame::Datagram(&[0; 101])], PeerError::DatagramTooLarge);
}

/// A peer that repeats itself without anybody polling fills no memory: what has no room is not acknowledged.
#[test]
fn a_flood_of_extensions_is_bounded_and_left_unacknowledged() {
    let mut pair = pair(Link::default());
    let extension = Frame::Extension {
        kind: 0x40,
        body: &[],
    };
    for _ in 0..100 {
        assert_eq!(pair.inject_frames(0, &[extension; 100]), Ok(()));
    }
    pair.drain();
    assert_eq!(pair.take_events(0).len(), 2048);
}

/// Beyond the bound a segment is left unacknowledged, but never the one that the reader waits for.
#[test]
fn thousands_of_gaps_in_a_stream_cost_no_memory_and_no_session() {
    let mut pair = pair(Link::default());
    let put = |pair: &mut Pair, offset: u64, byte: &[u8]| {
        let frame = stream(1, offset, byte, false);
        assert_eq!(pair.inject_frames(0, &[frame]), Ok(()));
    };
    for i in 0..2_000 {
        put(&mut pair, i * 2 + 1, b"x");
    }
    // What had no room comes again, in the order of a sender that repeats the oldest first.
    for i in 0..2_000 {
        put(&mut pair, i * 2, b"y");
        put(&mut pair, i * 2 + 1, b"x");
    }
    let mut data = vec![];
    assert!(!pair.read(0, StreamId::new(1), &mut data));
    assert!(data == b"yx".repeat(2_000), "{} bytes", data.len());
}
