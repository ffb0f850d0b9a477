//! When each kept item needs attention.

use std::collections::{BTreeMap, BTreeSet};

use pilot_types::UnixTime;

use crate::item::ItemKey;

/// One moment for each item at most; as many as there are items.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deadlines {
    by_key: BTreeMap<ItemKey, UnixTime>,
    by_time: BTreeSet<(UnixTime, ItemKey)>,
}

impl Deadlines {
    /// Sets, moves or (with `None`) takes away an item's moment. What never ends has none.
    pub(crate) fn set(&mut self, key: ItemKey, at: Option<UnixTime>) {
        if let Some(old) = self.by_key.remove(&key) {
            self.by_time.remove(&(old, key.clone()));
        }
        if let Some(at) = at.filter(|at| *at < UnixTime::FAR_FUTURE) {
            self.by_key.insert(key.clone(), at);
            self.by_time.insert((at, key));
        }
    }

    pub(crate) fn next(&self) -> Option<UnixTime> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes an item whose moment is there.
    pub(crate) fn take_due(&mut self, now: UnixTime) -> Option<ItemKey> {
        let (at, _) = self.by_time.first()?;
        if *at > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }
}
