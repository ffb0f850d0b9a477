//! The committed corpora of sessions run without a fault.

#[path = "../../../fuzz/replay.rs"]
mod replay;

use std::time::Instant;

use pilot_session::fuzz;

#[test]
fn session_receive() {
    replay::replay("session_receive", |data| {
        fuzz::receive(Instant::now(), data);
    });
}

#[test]
fn session_operations() {
    replay::replay("session_operations", |data| {
        fuzz::operations(Instant::now(), data);
    });
}

/// `2 * number + end`, argument: see the body.
const CONNECT: u8 = 0;
const SEAL: u8 = 2;
const DELIVER: u8 = 6;
const REPEAT: u8 = 10;
const LOSE: u8 = 12;
const DAMAGE: u8 = 14;
const WAIT: u8 = 16;
const REPLY: u8 = 18;

/// Message 1 and 2 of end 0, and the packet that confirms them.
const HANDSHAKE: [u8; 10] = [CONNECT, 0, DELIVER, 0, DELIVER, 0, SEAL, 0, DELIVER, 0];

#[test]
#[ignore = "writes inputs into the checkout"]
fn write_seeds() {
    let exchange = [SEAL, 0, SEAL | 1, 0, DELIVER, 1, DELIVER, 0];
    let crossing = [
        CONNECT,
        0,
        CONNECT | 1,
        0,
        DELIVER,
        0,
        DELIVER,
        0,
        DELIVER,
        0,
        DELIVER,
        0,
    ];
    let replayed = [SEAL, 0x80, REPEAT, 0, REPEAT, 0, DELIVER, 0];
    let damaged = [SEAL, 0, DAMAGE, 3, 9, 1, 2, SEAL, 0, LOSE, 0];
    let late = [SEAL, 0, WAIT, 180, WAIT, 255, CONNECT | 1, 0, DELIVER, 1];
    let silent = [
        REPLY, 3, CONNECT, 0, DELIVER, 0, WAIT, 20, REPLY, 2, DELIVER, 0,
    ];
    let closed = [REPLY, 0, SEAL | 1, 0, DELIVER, 0, REPLY, 1];
    let rekey = [[SEAL, 0, DELIVER, 0].repeat(25), HANDSHAKE.to_vec()].concat();
    let mut seeds = vec![
        crossing.to_vec(),
        silent.to_vec(),
        [HANDSHAKE.to_vec(), rekey].concat(),
    ];
    for tail in [&exchange[..], &replayed, &damaged, &late, &closed] {
        seeds.push([&HANDSHAKE, tail].concat());
    }
    replay::write_seeds("session_operations", seeds);
    let receive = [
        vec![],
        vec![0, 1],
        vec![5, 0xFF],
        vec![1, 0, 0, 0, 1],
        [&[40][..], &[0x55; 90]].concat(),
        [&[0xC0][..], &[7; 60]].concat(),
        [&[0x80, 1][..], &[0; 200]].concat(),
        [&[0x81, 1][..], &[0; 120]].concat(),
    ];
    replay::write_seeds("session_receive", receive);
}
