//! Scenarios and properties of two transports in virtual time.

mod loss;
mod paths;
mod peer_errors;
mod probes;
mod streams;
mod transfer;

use std::sync::Arc;
use std::time::Instant;

use pilot_types::StreamId;
use pilot_wire::Frame;

use crate::pair::{Link, Pair};
use crate::{Config, Event, PeerError, Read};

/// A pair with the default configuration.
fn pair(link: Link) -> Pair {
    pair_with(Config::default(), link, 1)
}

fn pair_with(config: Config, link: Link, seed: u64) -> Pair {
    Pair::new(Instant::now(), &Arc::new(config), link, seed)
}

impl Pair {
    /// Opens a stream at `end`, writes `data`, and finishes it.
    fn say(&mut self, end: usize, data: &[u8]) -> StreamId {
        let id = self.ends[end].open_stream(self.now).unwrap();
        assert_eq!(
            self.ends[end].write(self.now, id, data),
            Ok(data.len()),
            "it fits"
        );
        self.ends[end].finish(self.now, id).unwrap();
        id
    }

    /// Reads what is there; `true` at the end of the stream.
    fn read(&mut self, end: usize, id: StreamId, data: &mut Vec<u8>) -> bool {
        let mut chunk = [0; 4096];
        loop {
            match self.ends[end].read(self.now, id, &mut chunk).unwrap() {
                Read::Bytes(len) => data.extend_from_slice(&chunk[..len]),
                Read::Blocked => return false,
                Read::End => return true,
            }
        }
    }

    fn take_events(&mut self, end: usize) -> Vec<Event> {
        std::mem::take(&mut self.events[end])
    }

    /// A packet of these frames arrives at `end`, as if its peer had written it.
    fn inject_frames(&mut self, end: usize, frames: &[Frame<'_>]) -> Result<(), PeerError> {
        let mut payload = vec![];
        for frame in frames {
            frame.encode(&mut payload);
        }
        self.inject(end, &payload)
    }

    /// The name of the timer that is next at `end`.
    fn next_timer(&self, end: usize) -> Option<&'static str> {
        self.ends[end].poll_timeout().map(|deadline| deadline.timer)
    }
}

/// Bytes that differ from place to place and from stream to stream.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let byte = |i: usize| {
        let mixed = (i as u64 ^ seed << 17).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 56) as u8
    };
    (0..len).map(byte).collect()
}
