//! Which packets were received, and when the peer must learn of it (RFC 9000 §13.2).

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use pilot_types::{Ecn, PacketNumber};
use pilot_wire::EcnCounts;

use crate::range_set::RangeSet;

/// RFC 9000 §13.2.2: "A receiver SHOULD send an ACK frame after receiving at least two ack-eliciting packets."
const THRESHOLD: u64 = 2;
/// More than these the peer cannot ask us to wait for: its loss detection would starve.
const MAX_THRESHOLD: u64 = 64;
/// RFC 9000 §18.2: `max_ack_delay` stays below 2^14 milliseconds; a second is already too long for anybody's good.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// A packet that was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) number: PacketNumber,
    pub(crate) ecn: Option<Ecn>,
    pub(crate) is_ack_eliciting: bool,
}

/// Received packet numbers, and the state of the next ACK.
#[derive(Debug)]
pub(crate) struct AckTracker {
    received: RangeSet,
    max_ranges: usize,
    largest: Option<(u64, Instant)>,
    /// Ack-eliciting packets since the last ACK.
    unacked: u64,
    /// When the delayed ACK is due; `None` while nothing waits for one.
    due_at: Option<Instant>,
    ecn: EcnCounts,
    threshold: u64,
    delay: Duration,
    frequency_sequence: Option<u64>,
}

impl AckTracker {
    pub(crate) fn new(max_ranges: usize, delay: Duration) -> Self {
        Self {
            received: RangeSet::default(),
            max_ranges: max_ranges.max(1),
            largest: None,
            unacked: 0,
            due_at: None,
            ecn: EcnCounts::default(),
            threshold: THRESHOLD,
            delay,
            frequency_sequence: None,
        }
    }

    pub(crate) fn on_received(&mut self, now: Instant, arrival: Arrival) {
        let number = arrival.number.to_u64();
        self.count_ecn(arrival.ecn);
        let previous = self.largest;
        if previous.is_none_or(|(largest, _)| number > largest) {
            self.largest = Some((number, now));
        }
        self.received.insert(number..number + 1);
        // RFC 9000 §13.2.3: "a receiver limits the number of ACK ranges it stores"; the lowest go first.
        if self.received.len() > self.max_ranges {
            self.received.drop_first();
        }
        if !arrival.is_ack_eliciting {
            return;
        }
        self.unacked += 1;
        // RFC 9000 §13.2.1: at once for a packet out of order, after a gap, or marked CE.
        let is_next = previous.is_none_or(|(largest, _)| number == largest + 1);
        let is_urgent = !is_next || arrival.ecn == Some(Ecn::Ce) || self.unacked >= self.threshold;
        let due = if is_urgent { now } else { now + self.delay };
        self.due_at = Some(self.due_at.map_or(due, |at| at.min(due)));
    }

    /// Whether a packet has a higher number than all before it.
    pub(crate) fn is_newest(&self, number: PacketNumber) -> bool {
        self.largest
            .is_none_or(|(largest, _)| number.to_u64() > largest)
    }

    const fn count_ecn(&mut self, ecn: Option<Ecn>) {
        match ecn {
            Some(Ecn::Ect0) => self.ecn.ect0 += 1,
            Some(Ecn::Ect1) => self.ecn.ect1 += 1,
            Some(Ecn::Ce) => self.ecn.ce += 1,
            None => {}
        }
    }

    /// The peer asks for another rhythm; an older request than the last is ignored.
    pub(crate) fn on_frequency(&mut self, sequence: u64, threshold: u64, max_delay: Duration) {
        if self.frequency_sequence.is_none_or(|last| sequence > last) {
            self.frequency_sequence = Some(sequence);
            self.threshold = threshold.clamp(1, MAX_THRESHOLD);
            self.delay = max_delay.min(MAX_DELAY);
        }
    }

    /// When an ACK has to leave; `None` while there is nothing to acknowledge.
    pub(crate) const fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// Whether an ACK would tell the peer something that it waits for.
    pub(crate) const fn has_unacked(&self) -> bool {
        self.unacked > 0
    }

    /// The runs of received numbers, highest first.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = RangeInclusive<PacketNumber>> + Clone {
        let runs = self.received.iter().rev();
        runs.map(|run| PacketNumber::new(run.start)..=PacketNumber::new(run.end - 1))
    }

    /// The marks, once one was seen.
    pub(crate) fn ecn(&self) -> Option<EcnCounts> {
        (self.ecn != EcnCounts::default()).then_some(self.ecn)
    }

    /// Microseconds since the largest number came.
    pub(crate) fn delay_us(&self, now: Instant) -> u64 {
        let waited = self
            .largest
            .map(|(_, at)| now.saturating_duration_since(at));
        waited.map_or(0, |waited| {
            u64::try_from(waited.as_micros()).unwrap_or(u64::MAX)
        })
    }

    /// An ACK was written; gives the largest number in it.
    pub(crate) fn on_ack_sent(&mut self) -> Option<u64> {
        self.unacked = 0;
        self.due_at = None;
        self.largest.map(|(largest, _)| largest)
    }

    /// The peer has an ACK that went up to `largest`: RFC 9000 §13.2.4, older ranges need no repetition.
    pub(crate) fn on_ack_acked(&mut self, largest: u64) {
        self.received.remove(0..largest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker() -> AckTracker {
        AckTracker::new(4, Duration::from_millis(10))
    }

    fn arrive(tracker: &mut AckTracker, now: Instant, number: u64) {
        let arrival = Arrival {
            number: PacketNumber::new(number),
            ecn: None,
            is_ack_eliciting: true,
        };
        tracker.on_received(now, arrival);
    }

    #[test]
    fn the_second_packet_is_acknowledged_at_once_and_a_single_one_later() {
        let (mut tracker, now) = (tracker(), Instant::now());
        arrive(&mut tracker, now, 0);
        assert_eq!(tracker.due_at(), Some(now + Duration::from_millis(10)));
        arrive(&mut tracker, now, 1);
        assert_eq!(tracker.due_at(), Some(now));
        assert_eq!(tracker.on_ack_sent(), Some(1));
        assert_eq!(tracker.due_at(), None);
    }

    #[test]
    fn a_gap_and_what_fills_it_are_acknowledged_at_once() {
        let (mut tracker, now) = (tracker(), Instant::now());
        arrive(&mut tracker, now, 0);
        tracker.on_ack_sent();
        arrive(&mut tracker, now, 2);
        assert_eq!(tracker.due_at(), Some(now));
        tracker.on_ack_sent();
        arrive(&mut tracker, now, 1);
        assert_eq!(tracker.due_at(), Some(now));
    }

    #[test]
    fn only_the_highest_ranges_are_kept() {
        let (mut tracker, now) = (tracker(), Instant::now());
        for number in 0..10 {
            arrive(&mut tracker, now, number * 2);
        }
        let kept: Vec<u64> = tracker.ranges().map(|run| run.end().to_u64()).collect();
        assert_eq!(kept, [18, 16, 14, 12]);
        tracker.on_ack_acked(16);
        assert_eq!(tracker.ranges().count(), 2);
    }

    #[test]
    fn packets_that_elicit_nothing_get_no_acknowledgement_of_their_own() {
        let mut tracker = tracker();
        let arrival = Arrival {
            number: PacketNumber::new(5),
            ecn: Some(Ecn::Ce),
            is_ack_eliciting: false,
        };
        tracker.on_received(Instant::now(), arrival);
        assert_eq!(tracker.due_at(), None);
        assert_eq!(tracker.ecn().map(|ecn| ecn.ce), Some(1));
    }
}
