//! A handshake that this end started: message 1 on every path until the first message 2 that is right.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pilot_types::PathId;
use pilot_wire::limits::MAX_CANDIDATES;

use crate::config::Config;
use crate::mac::MacKey;
use crate::noise::{AwaitingMessage2, Refused, SplitKeys};

/// Handshake under way to one peer.
pub(crate) struct Initiation {
    state: AwaitingMessage2,
    /// For version lists, which only the peer's public key authenticates.
    peer_mac: MacKey,
    message: Arc<[u8]>,
    /// The index on which message 2 comes in.
    pub(crate) index: u32,
    /// The order number that message 1 proposes.
    pub(crate) proposed: u32,
    /// The versions that message 1 offers.
    pub(crate) versions: Vec<u8>,
    is_version_refused: bool,
    /// Each with the copies sent on it; at most [`MAX_CANDIDATES`].
    paths: Vec<(PathId, u32)>,
    interval: Duration,
    next: Instant,
    gives_up: Instant,
}

/// What an initiation consists of, beside its paths and timers.
pub(crate) struct InitiationParts {
    pub(crate) state: AwaitingMessage2,
    pub(crate) peer_mac: MacKey,
    pub(crate) message: Vec<u8>,
    pub(crate) index: u32,
    pub(crate) proposed: u32,
    pub(crate) versions: Vec<u8>,
}

impl Initiation {
    /// Nothing is sent until [`Self::add_path`].
    pub(crate) fn new(now: Instant, config: &Config, parts: InitiationParts) -> Self {
        Self {
            state: parts.state,
            peer_mac: parts.peer_mac,
            message: parts.message.into(),
            index: parts.index,
            proposed: parts.proposed,
            versions: parts.versions,
            is_version_refused: false,
            paths: vec![],
            interval: config.retransmit_first,
            next: now + config.retransmit_first,
            gives_up: now + config.handshake_timeout,
        }
    }

    /// Another path; message 1 goes out on it at once. `None` if it is tried already or there are too many.
    pub(crate) fn add_path(&mut self, path: PathId) -> Option<Arc<[u8]>> {
        let is_known = self.paths.iter().any(|(known, _)| *known == path);
        if is_known || self.paths.len() >= MAX_CANDIDATES {
            return None;
        }
        self.paths.push((path, 1));
        Some(Arc::clone(&self.message))
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.next.min(self.gives_up)
    }

    /// The paths on which message 1 goes out again at `now`; `None` if the handshake is to be given up: it is too old, or
    /// every path had its copies and none is answered.
    pub(crate) fn repeat(
        &mut self,
        now: Instant,
        config: &Config,
    ) -> Option<Vec<(PathId, Arc<[u8]>)>> {
        if now >= self.gives_up {
            return None;
        }
        if now < self.next {
            return Some(vec![]);
        }
        self.interval = (self.interval * 2).min(config.retransmit_max);
        self.next = now + self.interval;
        let is_only = self.paths.len() <= 1;
        let mut copies = vec![];
        for (path, sent) in &mut self.paths {
            if is_only || !path.is_direct() || *sent < config.copies_per_candidate {
                *sent += 1;
                copies.push((*path, Arc::clone(&self.message)));
            }
        }
        (!copies.is_empty() || self.paths.is_empty()).then_some(copies)
    }

    /// Opens message 2; one that is refused changes nothing.
    pub(crate) fn finish(&mut self, body: &[u8]) -> Result<(Vec<u8>, SplitKeys), Refused> {
        self.state.finish(body)
    }

    /// Whether a version list is worth telling: the first one whose `mac1` is right.
    pub(crate) fn take_version_list(&mut self, packet: &[u8]) -> bool {
        let is_new = !self.is_version_refused && self.peer_mac.verify(packet).is_some();
        self.is_version_refused |= is_new;
        is_new
    }
}
