//! A handshake that this end started: message 1 on every path until the first message 2 that is right.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pilot_types::PathId;
use pilot_wire::limits::{MACS, MAX_CANDIDATES};

use crate::config::Config;
use crate::cookie::{Cookie, ReplyKey, with_mac2};
use crate::mac::{MAC, MacKey};
use crate::noise::{AwaitingMessage2, Refused, SplitKeys};

/// Handshake under way to one peer.
pub(crate) struct Initiation {
    state: AwaitingMessage2,
    /// For version lists, which only the peer's public key authenticates.
    peer_mac: MacKey,
    /// For cookies, which say by it that they answer this message 1.
    reply_key: ReplyKey,
    message: Arc<[u8]>,
    /// The index on which message 2 comes in.
    pub(crate) index: u32,
    /// The order number that message 1 proposes.
    pub(crate) proposed: u32,
    /// The versions that message 1 offers.
    pub(crate) versions: Vec<u8>,
    is_version_refused: bool,
    /// At most [`MAX_CANDIDATES`].
    paths: Vec<Tried>,
    interval: Duration,
    next: Instant,
    gives_up: Instant,
}

/// A path that message 1 went out on.
struct Tried {
    path: PathId,
    /// Copies sent on it.
    sent: u32,
    /// Whether a cookie was answered at once already: later ones wait for the timer, so that forged ones draw no traffic.
    is_challenged: bool,
}

/// What an initiation consists of, beside its paths and timers.
pub(crate) struct InitiationParts {
    pub(crate) state: AwaitingMessage2,
    pub(crate) peer_mac: MacKey,
    pub(crate) reply_key: ReplyKey,
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
            reply_key: parts.reply_key,
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

    /// Where message 1 went.
    pub(crate) fn paths(&self) -> Vec<PathId> {
        self.paths.iter().map(|tried| tried.path).collect()
    }

    /// Another path; message 1 goes out on it at once. `None` if it is tried already or there are too many.
    pub(crate) fn add_path(&mut self, path: PathId, cookie: Option<Cookie>) -> Option<Arc<[u8]>> {
        let is_known = self.paths.iter().any(|tried| tried.path == path);
        if is_known || self.paths.len() >= MAX_CANDIDATES {
            return None;
        }
        self.paths.push(Tried {
            path,
            sent: 1,
            is_challenged: false,
        });
        Some(self.copy(cookie))
    }

    /// Message 1, with what a cookie adds to it.
    pub(crate) fn copy(&self, cookie: Option<Cookie>) -> Arc<[u8]> {
        match cookie {
            Some(cookie) => with_mac2(&self.message, &cookie).into(),
            None => Arc::clone(&self.message),
        }
    }

    /// The cookie in a reply that came in on `path`, if it answers this message 1 there, and whether to repeat it at once.
    pub(crate) fn take_cookie(&mut self, path: &PathId, body: &[u8]) -> Option<(Cookie, bool)> {
        let tried = self.paths.iter_mut().find(|tried| tried.path == *path)?;
        let macs = self.message.last_chunk::<MACS>()?;
        let cookie = self.reply_key.open(body, macs.first_chunk::<MAC>()?)?;
        let is_first = !tried.is_challenged;
        tried.is_challenged = true;
        Some((cookie, is_first))
    }

    /// Whether a packet's `mac1` is keyed by the peer's public key.
    pub(crate) fn is_by_peer(&self, packet: &[u8]) -> bool {
        self.peer_mac.verify(packet).is_some()
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.next.min(self.gives_up)
    }

    /// The paths on which message 1 goes out again at `now`; `None` if the handshake is to be given up: it is too old, or
    /// every path had its copies and none is answered.
    pub(crate) fn repeat(&mut self, now: Instant, config: &Config) -> Option<Vec<PathId>> {
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
        for tried in &mut self.paths {
            if is_only || !tried.path.is_direct() || tried.sent < config.copies_per_candidate {
                tried.sent += 1;
                copies.push(tried.path);
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
