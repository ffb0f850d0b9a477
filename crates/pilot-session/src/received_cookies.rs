//! Cookies that others gave to this node.

use std::collections::BTreeMap;
use std::time::Instant;

use pilot_types::{AgentId, PathId};

use crate::cookie::{Cookie, LIFETIME};

/// Cookies kept, of about 130 bytes each: 16 paths to each of 64 peers that are dialled at a time. The oldest goes first.
const MAX_COOKIES: usize = 1024;

/// By peer and path. Only a peer that this node dials can add one, on a path that it was dialled on.
#[derive(Default)]
pub(crate) struct ReceivedCookies {
    by_path: BTreeMap<(AgentId, PathId), (Cookie, Instant)>,
}

impl ReceivedCookies {
    pub(crate) fn put(&mut self, now: Instant, peer: AgentId, path: PathId, cookie: Cookie) {
        let key = (peer, path);
        if self.by_path.len() >= MAX_COOKIES && !self.by_path.contains_key(&key) {
            let oldest = self.by_path.iter().min_by_key(|(_, (_, ends))| *ends);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.by_path.remove(&oldest);
            }
        }
        self.by_path.insert(key, (cookie, now + LIFETIME));
    }

    /// The cookie for a path, while it is good.
    pub(crate) fn of(&self, now: Instant, peer: &AgentId, path: &PathId) -> Option<Cookie> {
        let (cookie, ends) = self.by_path.get(&(*peer, *path))?;
        (now < *ends).then_some(*cookie)
    }

    /// Forgets what is too old; gives when the next one is.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Instant> {
        self.by_path.retain(|_, (_, ends)| now < *ends);
        self.by_path.values().map(|(_, ends)| *ends).min()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_path.len()
    }
}
