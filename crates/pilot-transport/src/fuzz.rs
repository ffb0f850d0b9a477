//! The fuzz body: bytes are operations on two transports, and frames that neither of them wrote.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pilot_types::StreamId;
use pilot_wire::{ErrorCode, TransportParams};

use crate::pair::{Link, Pair, path};
use crate::{Config, Transport};

/// Limits so small that a few hundred bytes of input reach all of them.
fn config() -> Arc<Config> {
    Arc::new(Config {
        params: TransportParams {
            max_data: 20_000,
            max_stream_data: 5_000,
            max_streams: 4,
            max_datagram: 1_000,
            idle_timeout_ms: 10_000,
            max_ack_delay_us: 10_000,
        },
        max_window: 30_000,
        max_stream_window: 10_000,
        send_buffer: 10_000,
        max_send_buffer: 20_000,
        ..Config::default()
    })
}

/// Runs `data` as operations on a pair that starts at `start`, then lets it go quiet.
///
/// # Panics
/// If a transport does, or does not go quiet: that is what is looked for.
pub fn operations(start: Instant, data: &[u8]) {
    let link = Link {
        loss: data.first().map_or(0, |byte| u32::from(*byte)),
        jitter: Duration::from_millis(2),
        ..Link::default()
    };
    let mut pair = Pair::new(start, &config(), link, data.len() as u64);
    let mut rest = data.get(1..).unwrap_or_default();
    while let [operation, argument, tail @ ..] = rest {
        rest = tail;
        let end = usize::from(operation & 1);
        if operation & 0x80 != 0 {
            let (frames, tail) = rest.split_at(rest.len().min(usize::from(*argument)));
            rest = tail;
            let _ = pair.inject(end, frames);
        } else {
            operate(&mut pair.ends[end], pair.now, operation >> 1, *argument);
        }
        if argument & 1 == 0 {
            pair.turn();
        }
        pair.drain();
        read_all(&mut pair, end);
    }
    pair.settle();
}

fn operate(end: &mut Transport, now: Instant, operation: u8, argument: u8) {
    let id = StreamId::new(u64::from(argument & 7));
    let len = usize::from(argument) * 16;
    match operation % 11 {
        0 => drop(end.open_stream(now)),
        1 | 2 => drop(end.write(now, id, &vec![argument; len])),
        3 => drop(end.finish(now, id)),
        4 => end.reset(now, id, ErrorCode::CANCELLED),
        5 => end.stop(now, id, ErrorCode::CANCELLED),
        6 => drop(end.send_datagram(now, &vec![argument; len])),
        7 => drop(end.send_extension(now, 0x40 + u64::from(argument), vec![argument; len])),
        8 => end.ping(now),
        9 => {
            let path = path(0, [1000 + u16::from(argument & 3), 2000]);
            if argument < 128 {
                end.migrate(now, path);
            } else {
                end.probe(now, path);
            }
        }
        _ => {
            if argument > 250 {
                end.close(now, ErrorCode::NO_ERROR, "done");
            }
        }
    }
}

/// Reads what is there from every stream of one end, so that flow control moves.
fn read_all(pair: &mut Pair, end: usize) {
    let ids: Vec<StreamId> = pair.ends[end].stream_ids().collect();
    let mut out = [0; 700];
    for id in ids {
        let _ = pair.ends[end].read(pair.now, id, &mut out);
    }
    for events in &mut pair.events {
        events.clear();
    }
}
