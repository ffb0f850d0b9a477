//! What is indexed: sources, and the items of each with the stamp by which a changed one is known.
//!
//! It is written with each commit of the index, in the same step: the two never differ, whenever the process is killed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Items of all sources: a line of some 150 bytes for each is written with every commit, 3 MiB at most.
pub(crate) const MAX_ITEMS: usize = 20_000;
/// Text of all items: the index holds it, its words and, while parts are merged, some of both twice, within `memory_mb`.
pub(crate) const MAX_TEXT: u64 = 64 * 1024 * 1024;
/// Sources: each is named by a person.
pub(crate) const MAX_SOURCES: usize = 256;

/// What a source is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Folder,
    Page,
    Feed,
}

/// A folder, a page or a feed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Source {
    pub(crate) kind: Kind,
    /// By what a person calls it: a path, or a URL.
    pub(crate) items: BTreeMap<String, Item>,
}

/// A file, a page, an entry of a feed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) stamp: String,
    pub(crate) bytes: u64,
}

/// Everything that is indexed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) sources: BTreeMap<String, Source>,
}

impl State {
    pub(crate) fn items(&self) -> usize {
        self.sources.values().map(|source| source.items.len()).sum()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.sources.values().map(Source::bytes).sum()
    }

    /// Whether an item is there and unchanged.
    pub(crate) fn has(&self, source: &str, item: &str, stamp: &str) -> bool {
        let known = self.sources.get(source).and_then(|s| s.items.get(item));
        known.is_some_and(|known| known.stamp == stamp)
    }
}

impl Source {
    pub(crate) fn bytes(&self) -> u64 {
        self.items.values().map(|item| item.bytes).sum()
    }
}
