//! The application of a test agent: streams in both directions whose bytes follow from who sends them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use pilot_transport::{Event, OpenError, Read, ReadError, Transport, WriteError};
use pilot_types::{BootId, StreamId};

/// What one agent does with the streams of one life of a session.
pub(crate) struct Flows {
    /// Boots of the two ends: ours, the peer's.
    boots: [BootId; 2],
    max_len: u64,
    to_open: usize,
    streams: BTreeMap<StreamId, Flow>,
    /// Streams that are over in both directions; events for them may still come.
    complete: BTreeSet<StreamId>,
}

/// One stream: what we send, and what we got.
struct Flow {
    outgoing: Pattern,
    written: u64,
    is_finished: bool,
    is_acked: bool,
    incoming: Pattern,
    read: u64,
    is_ended: bool,
}

impl Flows {
    /// Opens `to_open` streams, and answers those of the peer; each direction has less than `max_len` bytes.
    pub(crate) const fn new(boots: [BootId; 2], to_open: usize, max_len: u64) -> Self {
        Self {
            boots,
            max_len,
            to_open,
            streams: BTreeMap::new(),
            complete: BTreeSet::new(),
        }
    }

    /// Whether all streams that were to be opened are, and every stream arrived whole at both ends.
    pub(crate) fn is_done(&self) -> bool {
        self.to_open == 0 && self.streams.is_empty()
    }

    /// Streams that are over, everything sent and received.
    pub(crate) fn complete(&self) -> usize {
        self.complete.len()
    }

    /// Streams that are not over, or not even open: what a restart of the peer breaks.
    pub(crate) fn broken(&self) -> usize {
        self.to_open + self.streams.len()
    }

    /// Opens the streams that are still to be opened, as far as the peer allows.
    pub(crate) fn open(&mut self, now: Instant, transport: &mut Transport) {
        while self.to_open > 0 {
            match transport.open_stream(now) {
                Ok(id) => {
                    self.to_open -= 1;
                    self.add(id);
                    self.write(now, transport, id);
                }
                Err(OpenError::Limit) => return,
                Err(error) => panic!("no stream opened: {error}"),
            }
        }
    }

    pub(crate) fn handle(&mut self, now: Instant, transport: &mut Transport, event: &Event) {
        match *event {
            Event::StreamOpened(id) => {
                self.add(id);
                self.write(now, transport, id);
                self.read(now, transport, id);
            }
            Event::Readable(id) | Event::Writable(id) if self.complete.contains(&id) => {}
            Event::Readable(id) => self.read(now, transport, id),
            Event::Writable(id) => self.write(now, transport, id),
            Event::StreamFinished(id) => {
                self.flow(id).is_acked = true;
                self.complete_if_over(id);
            }
            Event::StreamsAvailable => self.open(now, transport),
            Event::PathValidated(_) | Event::PathFailed(_) | Event::Silent => {}
            ref other @ (Event::StreamReset { .. }
            | Event::StreamStopped { .. }
            | Event::Datagram(_)
            | Event::Extension { .. }
            | Event::NewIndex { .. }
            | Event::RetireIndex { .. }
            | Event::Closed { .. }
            | Event::Drained
            | _) => panic!("nobody asked for {other:?}"),
        }
    }

    fn add(&mut self, id: StreamId) {
        let [local, peer] = self.boots;
        let flow = Flow {
            outgoing: Pattern::new([local, peer], id, self.max_len),
            written: 0,
            is_finished: false,
            is_acked: false,
            incoming: Pattern::new([peer, local], id, self.max_len),
            read: 0,
            is_ended: false,
        };
        let before = self.streams.insert(id, flow);
        let is_new = before.is_none() && !self.complete.contains(&id);
        assert!(is_new, "{id:?} opens twice");
    }

    fn flow(&mut self, id: StreamId) -> &mut Flow {
        self.streams.get_mut(&id).expect("a stream that is open")
    }

    fn write(&mut self, now: Instant, transport: &mut Transport, id: StreamId) {
        let flow = self.flow(id);
        while !flow.is_finished {
            let chunk = flow.outgoing.bytes(flow.written, 4096);
            if chunk.is_empty() {
                flow.is_finished = true;
                let finished: Result<(), WriteError> = transport.finish(now, id);
                finished.expect("the stream is open");
                return;
            }
            let taken = transport
                .write(now, id, &chunk)
                .expect("the stream is open");
            if taken == 0 {
                return;
            }
            flow.written += taken as u64;
        }
    }

    fn read(&mut self, now: Instant, transport: &mut Transport, id: StreamId) {
        let mut buf = [0; 3000];
        let flow = self.flow(id);
        while !flow.is_ended {
            let read: Result<Read, ReadError> = transport.read(now, id, &mut buf);
            match read.expect("the stream is open") {
                Read::Bytes(len) => {
                    let expected = flow.incoming.bytes(flow.read, len);
                    assert!(
                        buf[..len] == expected[..],
                        "{id:?}: other bytes from {}",
                        flow.read
                    );
                    flow.read += len as u64;
                }
                Read::Blocked => return,
                Read::End => {
                    assert_eq!(flow.read, flow.incoming.len, "{id:?} ends early or late");
                    flow.is_ended = true;
                }
            }
        }
        self.complete_if_over(id);
    }

    fn complete_if_over(&mut self, id: StreamId) {
        let flow = self.flow(id);
        if flow.is_acked && flow.is_ended {
            self.streams.remove(&id);
            self.complete.insert(id);
        }
    }
}

/// The bytes of one direction of a stream: the same for both ends, another for every stream, direction and life.
struct Pattern {
    key: u64,
    len: u64,
}

impl Pattern {
    fn new(boots: [BootId; 2], id: StreamId, max_len: u64) -> Self {
        let parts = boots
            .iter()
            .flat_map(|boot| boot.as_bytes().chunks_exact(8));
        let parts = parts.map(|part| part.iter().fold(0, |n, byte| (n << 8) | u64::from(*byte)));
        let key = parts.fold(id.to_u64(), |key, part| mix(key ^ part));
        // A quarter of the directions are a few bytes or none.
        let len = mix(key) % if key % 4 == 0 { 16 } else { max_len };
        Self { key, len }
    }

    /// At most `count` bytes from `offset`.
    fn bytes(&self, offset: u64, count: usize) -> Vec<u8> {
        let end = self.len.min(offset + count as u64);
        let byte = |at: u64| (mix(self.key ^ (at / 8)) >> (at % 8 * 8)) as u8;
        (offset..end).map(byte).collect()
    }
}

/// A bijection of 64 bits that leaves no pattern (the finaliser of SplitMix64).
const fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}
