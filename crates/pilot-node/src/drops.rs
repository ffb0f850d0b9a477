//! Counters of what was dropped, by reason: nothing disappears silently.

use std::collections::BTreeMap;

/// Packets dropped, by reason. Reasons are our own words, so the table is bounded by the source.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    counts: BTreeMap<&'static str, u64>,
}

impl Drops {
    pub(crate) fn count(&mut self, reason: &'static str) {
        tracing::trace!(reason, "packet dropped");
        *self.counts.entry(reason).or_default() += 1;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.iter().map(|(reason, count)| (*reason, *count))
    }
}
