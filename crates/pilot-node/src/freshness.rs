//! Stamps that grow with each hello, whatever the clock does (design §4).

use std::collections::BTreeMap;
use std::ops::Range;

use pilot_types::{AgentId, UnixTime};

/// Left unused at a block's end: so many stamps can be drawn while the shell persists the next block.
const RESERVE: u64 = 1_000_000;
/// Another block is asked for when the stamps come this near to the end: a slow disk has time.
const MARGIN: u64 = 10 * 1_000_000_000;

/// Our own stamps, nanoseconds of wall time as far as that grows: the shell persisted the block's end before we use any
/// of it, so no stamp is ever repeated.
#[derive(Debug)]
pub(crate) struct OwnFreshness {
    next: u64,
    end: u64,
    is_low: bool,
    was_told: bool,
}

impl OwnFreshness {
    pub(crate) const fn new(block: &Range<u64>) -> Self {
        Self {
            next: block.start,
            end: block.end,
            is_low: false,
            was_told: false,
        }
    }

    /// Another persisted block.
    pub(crate) fn extend(&mut self, block: &Range<u64>) {
        self.next = self.next.max(block.start);
        self.end = self.end.max(block.end);
        self.is_low = false;
        self.was_told = false;
    }

    /// max(last + 1, now), held inside the persisted block.
    pub(crate) fn stamp(&mut self, unix: UnixTime) -> u64 {
        let wall = unix.as_millis().saturating_mul(1_000_000);
        let stamp = self.next.max(wall.min(self.end.saturating_sub(RESERVE)));
        self.next = stamp + 1;
        self.is_low |= self.next.saturating_add(MARGIN) > self.end;
        stamp
    }

    /// Whether the shell should persist another block; says so once. A node that draws no stamps never asks.
    pub(crate) const fn take_low(&mut self) -> bool {
        let is_news = self.is_low && !self.was_told;
        self.was_told |= self.is_low;
        is_news
    }
}

/// The newest stamps of trusted agents; bounded by the grants, which have their own bound.
#[derive(Debug, Default)]
pub(crate) struct SeenFreshness {
    stamps: BTreeMap<AgentId, u64>,
}

impl SeenFreshness {
    pub(crate) fn restore(items: impl IntoIterator<Item = (AgentId, u64)>) -> Self {
        Self {
            stamps: items.into_iter().collect(),
        }
    }

    pub(crate) fn is_fresh(&self, agent: &AgentId, stamp: u64) -> bool {
        self.stamps.get(agent).is_none_or(|seen| stamp > *seen)
    }

    pub(crate) fn record(&mut self, agent: AgentId, stamp: u64) {
        let seen = self.stamps.entry(agent).or_default();
        *seen = stamp.max(*seen);
    }

    pub(crate) fn forget(&mut self, agent: &AgentId) {
        self.stamps.remove(agent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_while_the_clock_goes_back() {
        let mut own = OwnFreshness::new(&(1_000..10_000_000_000_000));
        let first = own.stamp(UnixTime::from_millis(5_000));
        let second = own.stamp(UnixTime::from_millis(1));
        assert!(second > first);
    }

    #[test]
    fn a_clock_that_jumps_ahead_stays_inside_the_persisted_block() {
        let mut own = OwnFreshness::new(&(1_000..2_000_000_000));
        assert!(own.stamp(UnixTime::from_millis(90_000_000)) < 2_000_000_000);
        assert!(own.take_low());
        assert!(!own.take_low(), "it is asked for once");
        own.extend(&(90_000_000_000_000..90_060_000_000_000));
        assert_eq!(
            own.stamp(UnixTime::from_millis(90_000_001)),
            90_000_001_000_000
        );
    }

    #[test]
    fn an_idle_node_asks_for_nothing() {
        let mut own = OwnFreshness::new(&(1_000..1_000_000_000_000));
        assert!(!own.take_low());
        own.stamp(UnixTime::from_millis(1));
        assert!(!own.take_low());
    }

    #[test]
    fn a_repeated_stamp_is_not_fresh() {
        let agent = AgentId::new([1; 32]);
        let mut seen = SeenFreshness::default();
        assert!(seen.is_fresh(&agent, 5));
        seen.record(agent, 5);
        assert!(!seen.is_fresh(&agent, 5));
        seen.record(agent, 3);
        assert!(
            !seen.is_fresh(&agent, 4),
            "an older stamp does not lower the mark"
        );
    }
}
