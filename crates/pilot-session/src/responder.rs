//! Handshakes that others started: opened, perhaps answered, not yet confirmed by a data packet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use pilot_types::{AgentId, PathId};
use pilot_wire::Hello;
use pilot_wire::limits::MAX_CANDIDATES;

use crate::config::Config;
use crate::epoch::Epoch;
use crate::mac::MAC;
use crate::noise::OweMessage2;

/// Unconfirmed epochs of one peer: the one that it uses and one that a lost message 2 left behind.
const MAX_PENDING_PER_PEER: usize = 2;

/// Message 1, opened and waiting for the caller's decision.
pub(crate) struct Waiting {
    pub(crate) responder: OweMessage2,
    pub(crate) peer_static: [u8; 32],
    pub(crate) hello: Box<Hello>,
    /// The index by which the initiator receives.
    pub(crate) sender: u32,
    /// The order number that message 1 proposes.
    pub(crate) proposed: u32,
    /// Bytes of message 1.
    pub(crate) len: usize,
}

/// An epoch that was answered: it opens packets, and the first one makes it usable.
pub(crate) struct Pending {
    pub(crate) epoch: Epoch,
    pub(crate) hello: Box<Hello>,
}

/// A message 1 that came in.
struct Entry {
    /// Its `mac1`: the same for each copy of the message.
    mac: [u8; MAC],
    expires: Instant,
    /// Where copies came from while it waited, at most [`MAX_CANDIDATES`].
    paths: Vec<PathId>,
    state: State,
}

enum State {
    Waiting(Box<Waiting>),
    Answered {
        /// Message 2.
        reply: Arc<[u8]>,
        /// `None` once it is confirmed or replaced: copies are answered again as long as the entry lives.
        pending: Option<Box<Pending>>,
    },
}

/// What to do with a copy of a message 1 that came in before.
pub(crate) enum Repeated {
    /// It waits for a decision still.
    Waits,
    /// Answer it again with this.
    Reply(Arc<[u8]>),
}

/// The half-open table, bounded by `Config::half_open` entries of at most one datagram's hello and one epoch (under
/// 5 KiB), so by 5 MiB in all; each is forgotten after `Config::half_open_lifetime`.
#[derive(Default)]
pub(crate) struct HalfOpen {
    /// By id: the oldest first, as ids ascend and lifetimes are equal.
    entries: BTreeMap<u64, Entry>,
    by_mac: BTreeMap<[u8; MAC], u64>,
    /// Ids of unconfirmed epochs, oldest first.
    pending_of: BTreeMap<AgentId, Vec<u64>>,
    next_id: u64,
}

impl HalfOpen {
    /// A message 1 with that `mac1` which came in before.
    pub(crate) fn repeated(&mut self, mac: &[u8; MAC], path: PathId) -> Option<Repeated> {
        let entry = self.entries.get_mut(self.by_mac.get(mac)?)?;
        Some(match &entry.state {
            State::Answered { reply, .. } => Repeated::Reply(Arc::clone(reply)),
            State::Waiting(_) => {
                if !entry.paths.contains(&path) && entry.paths.len() < MAX_CANDIDATES {
                    entry.paths.push(path);
                }
                Repeated::Waits
            }
        })
    }

    /// Keeps a message 1 for the caller's decision; gives its id and the epoch that lost its place to it, if one did.
    pub(crate) fn wait(
        &mut self,
        now: Instant,
        config: &Config,
        (mac, path): ([u8; MAC], PathId),
        waiting: Waiting,
    ) -> (u64, Option<Box<Pending>>) {
        let mut evicted = None;
        if self.entries.len() >= config.half_open
            && let Some(oldest) = self.entries.keys().next().copied()
        {
            evicted = self.remove(oldest);
        }
        let id = self.next_id;
        self.next_id += 1;
        self.by_mac.insert(mac, id);
        let entry = Entry {
            mac,
            expires: now + config.half_open_lifetime,
            paths: vec![path],
            state: State::Waiting(Box::new(waiting)),
        };
        self.entries.insert(id, entry);
        (id, evicted)
    }

    /// Takes what waits for a decision, to answer it; [`Self::answered`] follows, or [`Self::remove`].
    pub(crate) fn take_waiting(&mut self, id: u64) -> Option<(Waiting, Entered)> {
        if !matches!(self.entries.get(&id)?.state, State::Waiting(_)) {
            return None;
        }
        let entry = self.entries.remove(&id)?;
        match entry.state {
            State::Waiting(waiting) => Some((
                *waiting,
                Entered {
                    id,
                    mac: entry.mac,
                    expires: entry.expires,
                    paths: entry.paths,
                },
            )),
            State::Answered { .. } => None,
        }
    }

    /// Keeps the answer to a handshake that leads to nothing, for copies of its message 1; gives the paths to answer on.
    pub(crate) fn declined(&mut self, entered: Entered, reply: Arc<[u8]>) -> Vec<PathId> {
        self.by_mac.insert(entered.mac, entered.id);
        let entry = Entry {
            mac: entered.mac,
            expires: entered.expires,
            paths: vec![],
            state: State::Answered {
                reply,
                pending: None,
            },
        };
        self.entries.insert(entered.id, entry);
        entered.paths
    }

    /// Keeps an answered handshake in the place that [`Self::take_waiting`] took it from; gives the paths to answer on,
    /// and the epoch that lost its place to it, if one did.
    pub(crate) fn answered(
        &mut self,
        entered: Entered,
        reply: Arc<[u8]>,
        pending: Pending,
    ) -> (Vec<PathId>, Option<Box<Pending>>) {
        let peer = pending.hello.agent;
        let ids = self.pending_of.entry(peer).or_default();
        let oldest = (ids.len() >= MAX_PENDING_PER_PEER).then(|| ids[0]);
        let evicted = oldest.and_then(|oldest| self.take_pending(oldest));
        self.pending_of.entry(peer).or_default().push(entered.id);
        self.by_mac.insert(entered.mac, entered.id);
        let entry = Entry {
            mac: entered.mac,
            expires: entered.expires,
            paths: vec![],
            state: State::Answered {
                reply,
                pending: Some(Box::new(pending)),
            },
        };
        self.entries.insert(entered.id, entry);
        (entered.paths, evicted)
    }

    pub(crate) fn pending_mut(&mut self, id: u64) -> Option<&mut Pending> {
        match &mut self.entries.get_mut(&id)?.state {
            State::Answered { pending, .. } => pending.as_deref_mut(),
            State::Waiting(_) => None,
        }
    }

    /// Takes an unconfirmed epoch; copies of its message 1 are answered still.
    pub(crate) fn take_pending(&mut self, id: u64) -> Option<Box<Pending>> {
        let pending = match &mut self.entries.get_mut(&id)?.state {
            State::Answered { pending, .. } => pending.take()?,
            State::Waiting(_) => return None,
        };
        let peer = pending.hello.agent;
        if let Some(ids) = self.pending_of.get_mut(&peer) {
            ids.retain(|pending| *pending != id);
            if ids.is_empty() {
                self.pending_of.remove(&peer);
            }
        }
        Some(pending)
    }

    /// Forgets a message 1; gives its unconfirmed epoch, if it has one.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Box<Pending>> {
        let pending = self.take_pending(id);
        if let Some(entry) = self.entries.remove(&id) {
            self.by_mac.remove(&entry.mac);
        }
        pending
    }

    /// Ends `take_waiting` without an answer.
    pub(crate) fn forget(&mut self, entered: &Entered) {
        self.by_mac.remove(&entered.mac);
    }

    /// Ids of a peer's unconfirmed epochs.
    pub(crate) fn pending_ids(&self, peer: &AgentId) -> Vec<u64> {
        self.pending_of.get(peer).cloned().unwrap_or_default()
    }

    /// Largest order number of a peer's unconfirmed epochs.
    pub(crate) fn newest_number(&self, peer: &AgentId) -> Option<u32> {
        let ids = self.pending_of.get(peer)?;
        let numbers = ids
            .iter()
            .filter_map(|id| match &self.entries.get(id)?.state {
                State::Answered { pending, .. } => Some(pending.as_ref()?.epoch.order.number),
                State::Waiting(_) => None,
            });
        numbers.max()
    }

    /// The oldest entry and when it ends.
    pub(crate) fn oldest(&self) -> Option<(u64, Instant)> {
        let (id, entry) = self.entries.first_key_value()?;
        Some((*id, entry.expires))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// The place of a message 1 that is being answered.
pub(crate) struct Entered {
    pub(crate) id: u64,
    mac: [u8; MAC],
    expires: Instant,
    paths: Vec<PathId>,
}
