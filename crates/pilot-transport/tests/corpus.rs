//! The committed corpus of stream operations runs without a fault.

#[path = "../../../fuzz/replay.rs"]
mod replay;

use std::time::Instant;

use pilot_transport::fuzz;
use pilot_types::StreamId;
use pilot_wire::{Frame, StreamFrame};

#[test]
fn stream_operations() {
    replay::replay("stream_operations", |data| {
        fuzz::operations(Instant::now(), data);
    });
}

/// `2 * number + end`, argument: see the body.
const OPEN: u8 = 0;
const WRITE: u8 = 2;
const FINISH: u8 = 6;
const RESET: u8 = 8;
const STOP: u8 = 10;
const DATAGRAM: u8 = 12;
const EXTENSION: u8 = 14;
const PING: u8 = 16;
/// To probe from an argument of 128.
const MIGRATE: u8 = 18;
const CLOSE: u8 = 20;

/// Frames as a packet that end 0 did not write.
fn injected(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut bytes = vec![];
    for frame in frames {
        frame.encode(&mut bytes);
    }
    let len = u8::try_from(bytes.len()).expect("a few short frames");
    [&[0x80, len][..], &bytes].concat()
}

#[test]
#[ignore = "writes inputs into the checkout"]
fn write_seeds() {
    let write = [20, OPEN, 0, WRITE, 200, WRITE, 200, FINISH, 0];
    let answer = [WRITE | 1, 40, FINISH | 1, 0, PING | 1, 0];
    let both = [&write[..], &answer].concat();
    let id = StreamId::new(0);
    let stream = |offset, is_fin| {
        let data = b"forged";
        Frame::Stream(StreamFrame {
            id,
            offset,
            is_fin,
            data,
        })
    };
    let seeds = vec![
        both.clone(),
        [&write[..], &[RESET, 0, STOP | 1, 0]].concat(),
        [&both[..], &[MIGRATE, 2, WRITE, 8, MIGRATE | 1, 1]].concat(),
        [&both[..], &[CLOSE, 254, WRITE, 0]].concat(),
        vec![
            0,
            DATAGRAM,
            60,
            EXTENSION,
            4,
            EXTENSION | 1,
            200,
            DATAGRAM | 1,
            63,
        ],
        [&[0][..], &[OPEN, 0].repeat(6), &[OPEN | 1, 0].repeat(6)].concat(),
        [&[0][..], &injected(&[stream(0, false), stream(3, true)])].concat(),
        [
            &both[..],
            &injected(&[Frame::MaxData(1 << 30), Frame::Ping]),
        ]
        .concat(),
        [
            &both[..],
            &injected(&[Frame::MaxStreamData { id, max: 1 << 20 }]),
        ]
        .concat(),
        [&[250][..], &both[1..]].concat(),
        [
            &both[..],
            &[MIGRATE, 129, MIGRATE, 130, MIGRATE, 1, WRITE, 8, MIGRATE, 0],
        ]
        .concat(),
    ];
    replay::write_seeds("stream_operations", seeds);
}
