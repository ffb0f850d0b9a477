//! One direction of a link, as a pure object: a frame in, the times at which copies of it come out.
//!
//! It knows sizes, times and marks, but neither hosts nor addresses, so that a program which forwards real frames
//! can use it as well as the simulator.

use std::time::{Duration, Instant};

use pilot_types::Ecn;

use crate::rng::{Probability, SimRng};

#[cfg(test)]
mod tests;

/// Losses in bursts: a Gilbert–Elliott channel whose good state loses nothing of its own.
///
/// The channel is in its bad state for `enter / (enter + leave)` of the frames and `1 / leave` of them in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BurstLoss {
    /// From good to bad, per frame.
    pub enter: Probability,
    /// From bad to good, per frame.
    pub leave: Probability,
    /// Loss of a frame in the bad state.
    pub loss: Probability,
}

/// What a link does to frames. The default is a perfect link: no delay, no loss, any rate, any size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkConfig {
    /// Time on the wire.
    pub delay: Duration,
    /// Added to `delay`, evenly from zero to this. It changes distances, never the order.
    pub jitter: Duration,
    /// Independent loss of each frame.
    pub loss: Probability,
    /// Losses in bursts, beside `loss`.
    pub burst: Option<BurstLoss>,
    /// Frames that others may overtake, …
    pub reorder: Probability,
    /// … because they are held back evenly from zero to this.
    pub reorder_by: Duration,
    /// Frames that arrive twice.
    pub duplicate: Probability,
    /// Frames in which one byte changes.
    pub corrupt: Probability,
    /// Bits per second; `None` for no limit.
    pub rate: Option<u64>,
    /// Bytes that wait for a limited rate; what finds no room is dropped.
    pub queue: usize,
    /// Largest frame in bytes.
    pub mtu: usize,
    /// Bytes waiting from which on ECN-capable frames are marked; `None` for a link that does not mark.
    pub mark_above: Option<usize>,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: Probability::NEVER,
            burst: None,
            reorder: Probability::NEVER,
            reorder_by: Duration::ZERO,
            duplicate: Probability::NEVER,
            corrupt: Probability::NEVER,
            rate: None,
            queue: usize::MAX,
            mtu: usize::MAX,
            mark_above: None,
        }
    }
}

impl LinkConfig {
    /// A link that only delays.
    #[must_use]
    pub fn delay(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::default()
        }
    }
}

/// What a link is told of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Bytes, all headers that the link carries included.
    pub size: usize,
    /// Its ECN field.
    pub ecn: Option<Ecn>,
}

/// A byte that changed on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corruption {
    /// Where, below the frame's size.
    pub offset: usize,
    /// What is flipped; never 0.
    pub mask: u8,
}

/// A copy of a frame at the far end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// When it arrives.
    pub at: Instant,
    /// Its ECN field there.
    pub ecn: Option<Ecn>,
    /// What changed in it.
    pub corruption: Option<Corruption>,
}

/// The copies of one frame, one or two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deliveries {
    /// The frame.
    pub first: Delivery,
    /// Its duplicate.
    pub duplicate: Option<Delivery>,
}

impl IntoIterator for Deliveries {
    type Item = Delivery;
    type IntoIter = std::iter::Chain<std::iter::Once<Delivery>, std::option::IntoIter<Delivery>>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self.first).chain(self.duplicate)
    }
}

/// Why a link swallowed a frame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LinkDrop {
    /// Larger than the MTU.
    TooBig,
    /// No room in the queue.
    QueueFull,
    /// Independent loss.
    Loss,
    /// A burst.
    Burst,
}

/// One direction of a link.
#[derive(Clone, Debug)]
pub struct Link {
    config: LinkConfig,
    /// When the last frame has left the queue.
    busy_until: Option<Instant>,
    /// Arrival of the latest frame that was not held back: those after it come no earlier.
    last_arrival: Option<Instant>,
    is_in_burst: bool,
}

impl Link {
    /// An idle link.
    #[must_use]
    pub const fn new(config: LinkConfig) -> Self {
        Self {
            config,
            busy_until: None,
            last_arrival: None,
            is_in_burst: false,
        }
    }

    /// What it does to frames.
    #[must_use]
    pub const fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// Changes what it does to frames from now on; those on their way are not touched.
    pub const fn set_config(&mut self, config: LinkConfig) {
        self.config = config;
    }

    /// Bytes that wait or are being sent at `now`.
    #[must_use]
    pub fn backlog(&self, now: Instant) -> usize {
        let (Some(rate), Some(busy_until)) = (self.config.rate, self.busy_until) else {
            return 0;
        };
        let wait = busy_until.saturating_duration_since(now);
        let bits = wait.as_nanos() * u128::from(rate) / NANOS_PER_SEC;
        usize::try_from(bits.div_ceil(8)).unwrap_or(usize::MAX)
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// [`LinkDrop`] if it does not arrive.
    pub fn enqueue(
        &mut self,
        now: Instant,
        frame: Frame,
        rng: &mut SimRng,
    ) -> Result<Deliveries, LinkDrop> {
        if frame.size > self.config.mtu {
            return Err(LinkDrop::TooBig);
        }
        let backlog = self.backlog(now);
        if backlog.saturating_add(frame.size) > self.config.queue {
            return Err(LinkDrop::QueueFull);
        }
        let is_marked = self.config.mark_above.is_some_and(|limit| backlog > limit);
        let sent = self.serialise(now, frame.size);
        // What is lost on the wire has used the rate.
        self.lose(rng)?;
        let ecn = if is_marked {
            frame.ecn.map(|_| Ecn::Ce)
        } else {
            frame.ecn
        };
        let frame = Frame { ecn, ..frame };
        let first = self.deliver(sent, frame, rng);
        let is_duplicated = rng.chance(self.config.duplicate);
        Ok(Deliveries {
            first,
            duplicate: is_duplicated.then(|| self.deliver(sent, frame, rng)),
        })
    }

    fn deliver(&mut self, sent: Instant, frame: Frame, rng: &mut SimRng) -> Delivery {
        Delivery {
            at: self.arrival(sent, rng),
            ecn: frame.ecn,
            corruption: self.corrupt(frame.size, rng),
        }
    }

    /// When the frame's last bit has left.
    fn serialise(&mut self, now: Instant, size: usize) -> Instant {
        let Some(rate) = self.config.rate else {
            return now;
        };
        let start = self.busy_until.map_or(now, |busy| busy.max(now));
        let nanos = size as u128 * 8 * NANOS_PER_SEC / u128::from(rate.max(1));
        let sent = start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.busy_until = Some(sent);
        sent
    }

    fn lose(&mut self, rng: &mut SimRng) -> Result<(), LinkDrop> {
        if let Some(burst) = self.config.burst {
            let turn = if self.is_in_burst {
                burst.leave
            } else {
                burst.enter
            };
            self.is_in_burst ^= rng.chance(turn);
            if self.is_in_burst && rng.chance(burst.loss) {
                return Err(LinkDrop::Burst);
            }
        }
        if rng.chance(self.config.loss) {
            return Err(LinkDrop::Loss);
        }
        Ok(())
    }

    fn arrival(&mut self, sent: Instant, rng: &mut SimRng) -> Instant {
        let plain = sent + self.config.delay + rng.duration_up_to(self.config.jitter);
        let in_order = self.last_arrival.map_or(plain, |last| last.max(plain));
        if rng.chance(self.config.reorder) {
            return in_order + rng.duration_up_to(self.config.reorder_by);
        }
        self.last_arrival = Some(in_order);
        in_order
    }

    fn corrupt(&self, size: usize, rng: &mut SimRng) -> Option<Corruption> {
        (size > 0 && rng.chance(self.config.corrupt)).then(|| Corruption {
            offset: rng.below(size as u64) as usize,
            mask: 1 + rng.below(255) as u8,
        })
    }
}

const NANOS_PER_SEC: u128 = 1_000_000_000;
