//! One direction of an emulated link: frames in, the same frames out when a simulated link says so.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use pilot_sim::{Delivery, Frame, Link, LinkConfig, LinkDrop, SimRng};
use pilot_types::Ecn;

use crate::frame::{self, ETHERNET};

#[cfg(test)]
mod tests;

/// Bytes on their way at most, whatever the link's own queue: a second at 1 Gbit/s. What comes then is dropped and counted.
pub const MAX_HELD: usize = 128 << 20;
/// Buffers kept for frames to come: a burst of one turn of the forwarding loop.
const MAX_SPARE: usize = 256;

/// What happened to the frames of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Frames that came.
    pub received: u64,
    /// Frames that went, duplicates among them.
    pub sent: u64,
    /// Second copies.
    pub duplicated: u64,
    /// Copies with a byte changed.
    pub corrupted: u64,
    /// Copies that got a congestion mark.
    pub marked: u64,
    /// Dropped: larger than the MTU.
    pub too_big: u64,
    /// Dropped: no room in the link's queue.
    pub queue_full: u64,
    /// Dropped: independent loss.
    pub lost: u64,
    /// Dropped: a burst of losses.
    pub burst: u64,
    /// Dropped: more than [`MAX_HELD`] bytes on their way.
    pub overflow: u64,
}

/// One direction of an emulated link. Sans-IO: it reads no clock and does not know where frames come from.
///
/// ```
/// use std::time::{Duration, Instant};
/// use pilot_lab::Emulator;
/// use pilot_sim::LinkConfig;
///
/// let mut link = Emulator::new(LinkConfig::delay(Duration::from_millis(20)), 7);
/// let now = Instant::now();
/// link.handle_frame(now, &[0; 60]);
/// assert_eq!(link.poll_frame(now), None);
/// let due = link.poll_timeout().expect("a frame is on its way");
/// assert_eq!(due, now + Duration::from_millis(20));
/// assert_eq!(link.poll_frame(due), Some(vec![0; 60]));
/// ```
pub struct Emulator {
    link: Link,
    rng: SimRng,
    /// The earliest first; of those of one moment, in the order in which they came.
    on_their_way: BinaryHeap<Reverse<Held>>,
    held: usize,
    next_serial: u64,
    spare: Vec<Vec<u8>>,
    counters: Counters,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    at: Instant,
    serial: u64,
    frame: Vec<u8>,
}

impl Emulator {
    /// An idle direction; the same seed decides the same of the same frames at the same times.
    #[must_use]
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        Self {
            link: Link::new(config),
            rng: SimRng::new(seed),
            on_their_way: BinaryHeap::new(),
            held: 0,
            next_serial: 0,
            spare: vec![],
            counters: Counters::default(),
        }
    }

    /// Changes what the link does to frames from now on; those on their way are not touched.
    pub const fn set_config(&mut self, config: LinkConfig) {
        self.link.set_config(config);
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes an Ethernet frame. Its size on the link is that of the network's packet inside.
    pub fn handle_frame(&mut self, now: Instant, frame: &[u8]) {
        self.counters.received += 1;
        let facts = Frame {
            size: frame.len().saturating_sub(ETHERNET),
            ecn: frame::ecn(frame),
        };
        let deliveries = match self.link.enqueue(now, facts, &mut self.rng) {
            Ok(deliveries) => deliveries,
            Err(cause) => return self.count_drop(cause),
        };
        self.counters.duplicated += u64::from(deliveries.duplicate.is_some());
        for delivery in deliveries {
            self.hold(frame, delivery);
        }
    }

    /// The next frame that is due. Give its buffer back by [`recycle`](Self::recycle).
    pub fn poll_frame(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.poll_timeout()? > now {
            return None;
        }
        let Reverse(held) = self.on_their_way.pop()?;
        self.held -= held.frame.len();
        self.counters.sent += 1;
        Some(held.frame)
    }

    /// When the next frame is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.on_their_way.peek().map(|held| held.0.at)
    }

    /// Keeps a buffer for another frame.
    pub fn recycle(&mut self, frame: Vec<u8>) {
        if self.spare.len() < MAX_SPARE {
            self.spare.push(frame);
        }
    }

    const fn count_drop(&mut self, cause: LinkDrop) {
        let counter = match cause {
            LinkDrop::TooBig => &mut self.counters.too_big,
            LinkDrop::QueueFull => &mut self.counters.queue_full,
            LinkDrop::Loss => &mut self.counters.lost,
            LinkDrop::Burst => &mut self.counters.burst,
        };
        *counter += 1;
    }

    fn hold(&mut self, frame: &[u8], delivery: Delivery) {
        if self.held + frame.len() > MAX_HELD {
            self.counters.overflow += 1;
            return;
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(frame);
        self.change(&mut copy, delivery);
        self.held += copy.len();
        self.on_their_way.push(Reverse(Held {
            at: delivery.at,
            serial: self.next_serial,
            frame: copy,
        }));
        self.next_serial += 1;
    }

    fn change(&mut self, frame: &mut [u8], delivery: Delivery) {
        if delivery.ecn == Some(Ecn::Ce) && frame::ecn(frame) != Some(Ecn::Ce) {
            frame::set_ecn(frame, Ecn::Ce);
            self.counters.marked += 1;
        }
        if let Some(corruption) = delivery.corruption {
            frame[ETHERNET + corruption.offset] ^= corruption.mask;
            self.counters.corrupted += 1;
        }
    }
}
