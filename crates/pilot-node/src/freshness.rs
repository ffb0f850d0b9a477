//! Stamps that grow with each hello, whatever the clock does (design §4).

use std::collections::BTreeMap;
use std::ops::Range;

use pilot_types::{AgentId, UnixTime};

/// Our own stamps: the shell persisted the block's end before we use any of it, so no stamp is ever repeated.
#[derive(Debug)]
pub(crate) struct OwnFreshness {
    next: u64,
    end: u64,
    is_low: bool,
}

impl OwnFreshness {
    pub(crate) const fn new(block: &Range<u64>) -> Self {
        Self {
            next: block.start,
            end: block.end,
            is_low: false,
        }
    }

    /// Another persisted block.
    pub(crate) fn extend(&mut self, block: &Range<u64>) {
        self.next = self.next.max(block.start);
        self.end = self.end.max(block.end);
        self.is_low = false;
    }

    /// max(last + 1, now), held inside the persisted block.
    pub(crate) fn stamp(&mut self, unix: UnixTime) -> u64 {
        let wall = unix.as_millis().saturating_mul(1_000_000);
        let stamp = self.next.max(wall.min(self.end.saturating_sub(1)));
        self.next = stamp + 1;
        stamp
    }

    /// Whether the shell should persist another block; says so once.
    pub(crate) fn take_low(&mut self, unix: UnixTime) -> bool {
        /// Ask ten minutes ahead: a slow disk has time.
        const MARGIN: u64 = 600 * 1_000_000_000;
        let wall = unix.as_millis().saturating_mul(1_000_000);
        let is_low = !self.is_low && self.next.max(wall).saturating_add(MARGIN) > self.end;
        self.is_low |= is_low;
        is_low
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
        assert!(own.take_low(UnixTime::from_millis(90_000_000)));
        assert!(
            !own.take_low(UnixTime::from_millis(90_000_000)),
            "it is asked for once"
        );
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
