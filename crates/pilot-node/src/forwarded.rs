//! Frames on their way through a relay.

use std::collections::{BTreeMap, VecDeque};

use pilot_types::{Ecn, PathId, Transmit, TransmitBuf};
use pilot_wire::limits::BASE_DATAGRAM;

/// Bytes of frames that wait to be sent on: 20 ms at 3 Gbit/s. More is loss, as in any router.
const MAX_QUEUED: usize = 8 << 20;
/// What a waiting frame costs beside its bytes, so that the bound holds for frames of five bytes too: its entry of 56 bytes, and what an
/// allocation wastes.
const FRAME_COST: usize = 64;
/// Buffers that are kept to be used again: as many as fill the queues with frames of full size.
const MAX_SPARE: usize = MAX_QUEUED / BASE_DATAGRAM;
/// Queues that are kept to be used again, and the entries that one of them may have room for: 3.5 MiB.
const MAX_SPARE_QUEUES: usize = 64;
const MAX_SPARE_FRAMES: usize = 1024;
/// Longest frame that is passed on: what an Ethernet carries. One that came over an interface with a larger MTU is the sender's probe.
const MAX_FRAME: usize = 1500;

/// A queue for each destination, served in turn, a batch each: who is sent much does not keep the others waiting, and frames of many
/// senders leave as batches however they came.
#[derive(Default)]
pub(crate) struct Forwarded {
    /// None is empty; their frames' cost bounds their number.
    queues: BTreeMap<PathId, Queue>,
    /// The keys of `queues`, next first.
    turns: VecDeque<PathId>,
    /// What all frames cost.
    cost: usize,
    spare: Spare,
}

/// Why a frame cannot wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotQueued {
    /// Too much waits already, for this destination or in all.
    Full,
    /// It is longer than any datagram that we send.
    TooLong,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame>,
    cost: usize,
}

struct Frame {
    ecn: Option<Ecn>,
    bytes: Vec<u8>,
}

/// Memory to be used again.
#[derive(Default)]
struct Spare {
    buffers: Vec<Vec<u8>>,
    queues: Vec<VecDeque<Frame>>,
}

impl Forwarded {
    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Takes a frame that is to go this way. One destination may hold twice as much as is free: two thirds of all when it is alone, and
    /// less the more others need (Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998).
    pub(crate) fn push(
        &mut self,
        path: PathId,
        ecn: Option<Ecn>,
        frame: &[u8],
    ) -> Result<(), NotQueued> {
        if frame.len() > MAX_FRAME {
            return Err(NotQueued::TooLong);
        }
        let cost = frame.len() + FRAME_COST;
        let free = MAX_QUEUED - self.cost;
        let has = self.queues.get(&path).map_or(0, |queue| queue.cost);
        if cost > free || has + cost > 2 * free {
            return Err(NotQueued::Full);
        }
        let queue = self.queues.entry(path).or_insert_with(|| {
            self.turns.push_back(path);
            Queue {
                frames: self.spare.queues.pop().unwrap_or_default(),
                cost: 0,
            }
        });
        let bytes = self.spare.filled(frame);
        queue.frames.push_back(Frame { ecn, bytes });
        queue.cost += cost;
        self.cost += cost;
        Ok(())
    }

    /// The next frames of the destination whose turn it is that carry the same mark, as one batch.
    pub(crate) fn transmit(&mut self, out: &mut TransmitBuf) -> Option<Transmit> {
        while let Some(path) = self.turns.pop_front() {
            let queue = self.queues.get_mut(&path)?;
            let before = queue.cost;
            out.bind_path(path);
            let ecn = queue.fill(out, &mut self.spare);
            self.cost -= before - queue.cost;
            if queue.frames.is_empty() {
                let queue = self.queues.remove(&path)?;
                self.spare.keep_queue(queue.frames);
            } else {
                self.turns.push_back(path);
            }
            let transmit = out.transmit(ecn);
            if transmit.is_some() {
                return transmit;
            }
            out.clear();
        }
        None
    }
}

impl Queue {
    /// Moves what fits into a batch; gives the mark that it all carries. A frame that no batch has room for is dropped, so that it does
    /// not stay for ever.
    fn fill(&mut self, out: &mut TransmitBuf, spare: &mut Spare) -> Option<Ecn> {
        let ecn = self.frames.front()?.ecn;
        while let Some(frame) = self.frames.front()
            && frame.ecn == ecn
            && out.begin(frame.bytes.len())
        {
            let fits = frame.bytes.len() <= out.remaining();
            if fits {
                out.put_slice(&frame.bytes);
                out.finish();
            } else {
                out.abandon();
            }
            if !fits && !out.is_empty() {
                break;
            }
            if let Some(frame) = self.frames.pop_front() {
                self.cost -= frame.bytes.len() + FRAME_COST;
                spare.keep_buffer(frame.bytes);
            }
        }
        ecn
    }
}

impl Spare {
    fn filled(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut bytes = self.buffers.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(frame);
        bytes
    }

    fn keep_buffer(&mut self, bytes: Vec<u8>) {
        if self.buffers.len() < MAX_SPARE {
            self.buffers.push(bytes);
        }
    }

    fn keep_queue(&mut self, frames: VecDeque<Frame>) {
        if self.queues.len() < MAX_SPARE_QUEUES && frames.capacity() <= MAX_SPARE_FRAMES {
            self.queues.push(frames);
        }
    }
}

#[cfg(test)]
mod tests;
