//! Sets of numbers as sorted runs.

use std::collections::VecDeque;
use std::ops::Range;

/// Runs that a cleared set keeps room for.
const KEPT_RUNS: usize = 8;

/// Disjoint, non-adjacent, non-empty half-open ranges, lowest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    runs: VecDeque<Range<u64>>,
}

impl RangeSet {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Number of runs.
    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    /// The lowest run.
    pub(crate) fn first(&self) -> Option<&Range<u64>> {
        self.runs.front()
    }

    /// The runs, lowest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Range<u64>> + Clone {
        self.runs.iter()
    }

    pub(crate) fn clear(&mut self) {
        self.runs.clear();
        self.runs.shrink_to(KEPT_RUNS);
    }

    /// Adds `range`; runs that it touches are joined.
    pub(crate) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        // Runs from `first` up to `last` overlap or touch the range.
        let first = self.runs.partition_point(|run| run.end < range.start);
        let mut last = first;
        let mut joined = range;
        while let Some(run) = self.runs.get(last).filter(|run| run.start <= joined.end) {
            joined = joined.start.min(run.start)..joined.end.max(run.end);
            last += 1;
        }
        if last == first {
            self.runs.insert(first, joined);
        } else {
            self.runs[first] = joined;
            self.runs.drain(first + 1..last);
        }
    }

    /// Whether `range` overlaps a run or is next to one.
    pub(crate) fn touches(&self, range: &Range<u64>) -> bool {
        let at = self.runs.partition_point(|run| run.end < range.start);
        self.runs.get(at).is_some_and(|run| run.start <= range.end)
    }

    /// Takes `range` out; runs that it cuts are split.
    pub(crate) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let mut at = self.runs.partition_point(|run| run.end <= range.start);
        while let Some(run) = self.runs.get(at).filter(|run| run.start < range.end) {
            let (before, after) = (run.start..range.start, range.end..run.end);
            match (!before.is_empty(), !after.is_empty()) {
                (true, true) => {
                    self.runs[at] = before;
                    self.runs.insert(at + 1, after);
                    return;
                }
                (true, false) => {
                    self.runs[at] = before;
                    at += 1;
                }
                (false, true) => {
                    self.runs[at] = after;
                    return;
                }
                (false, false) => {
                    self.runs.remove(at);
                }
            }
        }
    }

    /// Takes out the lowest numbers, at most `max` of them, from one run.
    pub(crate) fn pop_first(&mut self, max: u64) -> Option<Range<u64>> {
        let run = self.runs.front_mut()?;
        let end = run.end.min(run.start + max);
        let taken = run.start..end;
        if end == run.end {
            self.runs.pop_front();
        } else {
            run.start = end;
        }
        Some(taken)
    }

    /// Drops the lowest run.
    pub(crate) fn drop_first(&mut self) {
        self.runs.pop_front();
    }

    /// Calls `visit` with each part of `range` that is not in the set, lowest first.
    pub(crate) fn for_each_gap(&self, range: Range<u64>, mut visit: impl FnMut(Range<u64>)) {
        let mut start = range.start;
        let from = self.runs.partition_point(|run| run.end <= range.start);
        for run in self.runs.range(from..) {
            if run.start >= range.end {
                break;
            }
            if start < run.start {
                visit(start..run.start);
            }
            start = run.end;
        }
        if start < range.end {
            visit(start..range.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn numbers(set: &RangeSet) -> BTreeSet<u64> {
        set.iter().cloned().flatten().collect()
    }

    proptest! {
        #[test]
        fn it_holds_what_a_plain_set_holds(operations in prop::collection::vec((any::<bool>(), 0u64..64, 0u64..16), 0..64)) {
            let (mut set, mut model) = (RangeSet::default(), BTreeSet::new());
            for (is_insert, start, len) in operations {
                let range = start..start + len;
                let is_near = model.range(start.saturating_sub(1)..start + len + 1).next().is_some();
                prop_assert_eq!(set.touches(&range), is_near);
                if is_insert {
                    set.insert(range.clone());
                    model.extend(range);
                } else {
                    set.remove(range.clone());
                    model.retain(|number| !range.contains(number));
                }
                prop_assert_eq!(&numbers(&set), &model);
                let runs: Vec<_> = set.iter().collect();
                prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", runs);
                let mut gaps = BTreeSet::new();
                set.for_each_gap(10..50, |gap| gaps.extend(gap));
                let missing: BTreeSet<u64> = (10..50).filter(|number| !model.contains(number)).collect();
                prop_assert_eq!(gaps, missing);
            }
        }

        #[test]
        fn popping_gives_everything_once_and_upwards(ranges in prop::collection::vec((0u64..64, 0u64..16), 0..16), max in 1u64..8) {
            let mut set = RangeSet::default();
            for (start, len) in ranges {
                set.insert(start..start + len);
            }
            let expected: Vec<u64> = numbers(&set).into_iter().collect();
            let mut popped = vec![];
            while let Some(range) = set.pop_first(max) {
                prop_assert!(range.end - range.start <= max);
                popped.extend(range);
            }
            prop_assert_eq!(popped, expected);
        }
    }
}
