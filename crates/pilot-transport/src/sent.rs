//! Packets on the way.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Instant;

use crate::delivery_rate::Departure;
use crate::path::PathKey;
use crate::writer::SentFrame;

/// Our packets without ack-eliciting frames are never lost and rarely acknowledged: only the latest are remembered,
/// for the received ranges that an acknowledgement of them lets us forget.
const MAX_ACK_ONLY: usize = 64;
/// Emptied frame lists that are kept for use again; a window of full packets in flight is a few hundred.
const MAX_SPARE: usize = 256;

/// An ack-eliciting packet.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    pub(crate) number: u64,
    pub(crate) sent_at: Instant,
    pub(crate) path: PathKey,
    /// Counts ack-eliciting packets of its path.
    pub(crate) sequence: u64,
    pub(crate) size: u64,
    pub(crate) frames: Vec<SentFrame>,
    /// Largest number in the ACK that it carried.
    pub(crate) acked_up_to: Option<u64>,
    pub(crate) departure: Departure,
}

/// A place in the queue; `None` after the packet was acknowledged or lost.
#[derive(Debug)]
struct Slot {
    number: u64,
    packet: Option<InFlight>,
}

/// All packets in flight, by number.
#[derive(Debug, Default)]
pub(crate) struct SentPackets {
    /// Sorted; the first one is occupied. As long as what the congestion windows allowed since the oldest packet in
    /// flight left.
    slots: VecDeque<Slot>,
    in_flight: usize,
    /// Numbers of packets that carried only an ACK, and the largest number in it.
    ack_only: VecDeque<(u64, u64)>,
    spare: Vec<Vec<SentFrame>>,
}

impl SentPackets {
    pub(crate) const fn is_empty(&self) -> bool {
        self.in_flight == 0
    }

    /// An empty list of frames.
    pub(crate) fn spare_frames(&mut self) -> Vec<SentFrame> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a list back once its frames are dealt with.
    pub(crate) fn recycle(&mut self, mut frames: Vec<SentFrame>) {
        frames.clear();
        if self.spare.len() < MAX_SPARE && frames.capacity() > 0 {
            self.spare.push(frames);
        }
    }

    /// Numbers only ever rise.
    pub(crate) fn push(&mut self, packet: InFlight) {
        self.in_flight += 1;
        self.slots.push_back(Slot {
            number: packet.number,
            packet: Some(packet),
        });
    }

    pub(crate) fn push_ack_only(&mut self, number: u64, acked_up_to: u64) {
        if self.ack_only.len() == MAX_ACK_ONLY {
            self.ack_only.pop_front();
        }
        self.ack_only.push_back((number, acked_up_to));
    }

    /// The largest number in any ACK that a packet of `range` without other frames carried.
    pub(crate) fn take_ack_only(&mut self, range: &RangeInclusive<u64>) -> Option<u64> {
        let from = self.ack_only.partition_point(|(n, _)| n < range.start());
        let to = self.ack_only.partition_point(|(n, _)| n <= range.end());
        self.ack_only.drain(from..to).map(|(_, up_to)| up_to).max()
    }

    /// Moves the packets of `range` that are in flight to `out`.
    pub(crate) fn take(&mut self, range: &RangeInclusive<u64>, out: &mut Vec<InFlight>) {
        let before = out.len();
        let from = self.slots.partition_point(|s| s.number < *range.start());
        for slot in self.slots.range_mut(from..) {
            if slot.number > *range.end() {
                break;
            }
            out.extend(slot.packet.take());
        }
        self.settle(out.len() - before);
    }

    /// Asks `fate` of each packet in flight, oldest first, and moves those that go to `out`.
    pub(crate) fn take_while(
        &mut self,
        mut fate: impl FnMut(&InFlight) -> Fate,
        out: &mut Vec<InFlight>,
    ) {
        let before = out.len();
        for slot in &mut self.slots {
            match slot.packet.as_ref().map(&mut fate) {
                None | Some(Fate::Stays) => {}
                Some(Fate::Goes) => out.extend(slot.packet.take()),
                Some(Fate::Last) => break,
            }
        }
        self.settle(out.len() - before);
    }

    /// Frames of a path's oldest packets in flight, to be sent again while the packets stay.
    pub(crate) fn oldest(&self, path: PathKey, count: usize) -> Vec<SentFrame> {
        let packets = self.slots.iter().filter_map(|slot| slot.packet.as_ref());
        packets
            .filter(|packet| packet.path == path)
            .take(count)
            .flat_map(|packet| packet.frames.iter().cloned())
            .collect()
    }

    fn settle(&mut self, taken: usize) {
        self.in_flight -= taken;
        while self.slots.front().is_some_and(|slot| slot.packet.is_none()) {
            self.slots.pop_front();
        }
    }
}

/// What [`SentPackets::take_while`] does with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Stays,
    Goes,
    /// It stays, and so do all after it.
    Last,
}
