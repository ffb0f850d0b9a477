//! Guessing ports where one NAT gives each destination another one: who does it now, and from which sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pilot_nat::{SPRAY_SOCKETS, Spray, SpraySide};
use pilot_types::{Deadline, PathId};

use crate::event::{Event, SessionKey};
use crate::node::Node;
use crate::now::Now;

/// Sprays at a time, those that wait for sockets included; for more, the relay has to do.
const MAX_SPRAYS: usize = 4;
/// How often sockets that a session used are looked at again.
const SWEEP: Duration = Duration::from_secs(60);

/// Sprays under way.
#[derive(Default)]
pub(crate) struct Sprays {
    active: BTreeMap<SessionKey, Spray>,
    /// Who waits for the shell to open sockets, and what it sends to.
    waiting: BTreeMap<SessionKey, SocketAddr>,
    /// Open beside the main ones, at most [`SPRAY_SOCKETS`].
    sockets: Vec<SocketAddr>,
    sweep_at: Option<Instant>,
}

impl Sprays {
    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        let sprays = self.active.values().filter_map(Spray::poll_timeout);
        let sweep = self.sweep_at.map(|at| Deadline {
            at,
            timer: "spray sockets",
        });
        sprays.chain(sweep).min_by_key(|deadline| deadline.at)
    }

    fn is_full(&self) -> bool {
        self.active.len() + self.waiting.len() >= MAX_SPRAYS
    }
}

impl Node {
    /// A session's path agent wants ports to be guessed.
    pub(crate) fn begin_spray(&mut self, now: Now, key: SessionKey, side: SpraySide) {
        if self.sprays.is_full() {
            return;
        }
        match side {
            SpraySide::Easy(_) => {
                let main = self.place.sockets().iter().find(|local| local.is_ipv4());
                let main: Vec<SocketAddr> = main.copied().into_iter().collect();
                self.start_spray(now, key, side, &main);
            }
            SpraySide::Hard(to) => {
                // Those that sessions use are left of an earlier spray; who waits has asked for the others.
                let missing = SPRAY_SOCKETS.saturating_sub(self.sprays.sockets.len());
                if missing == 0 {
                    let sockets = self.sprays.sockets.clone();
                    self.start_spray(now, key, side, &sockets);
                } else {
                    if self.sprays.waiting.is_empty() {
                        self.output.event(Event::SocketsWanted { count: missing });
                    }
                    self.sprays.waiting.insert(key, to);
                }
            }
        }
    }

    /// Sockets that [`Event::SocketsWanted`] asked for, fewer if there are no more: what they are bound to, IPv4 and an
    /// address of their own each. They stay open until [`Event::SocketsUnused`] names them.
    pub fn add_sockets(&mut self, now: Now, sockets: Vec<SocketAddr>) {
        self.sprays.sockets.extend(sockets);
        let all = self.sprays.sockets.clone();
        for (key, to) in std::mem::take(&mut self.sprays.waiting) {
            self.start_spray(now, key, SpraySide::Hard(to), &all);
        }
        self.drain(now);
    }

    fn start_spray(&mut self, now: Now, key: SessionKey, side: SpraySide, from: &[SocketAddr]) {
        tracing::debug!(?side, sockets = from.len(), "guessing ports");
        let spray = Spray::new(now.instant, side, from, &self.child_seed());
        self.sprays.active.insert(key, spray);
    }

    /// Sends the guesses that are due; ends what is over or was lucky.
    pub(crate) fn run_sprays(&mut self, now: Now) {
        let keys: Vec<SessionKey> = self.sprays.active.keys().copied().collect();
        for key in keys {
            if !self.run_spray(now, key) {
                self.sprays.active.remove(&key);
                self.sprays.sweep_at = Some(now.instant);
            }
        }
        self.sweep_sockets(now);
    }

    /// `false` if it is over.
    fn run_spray(&mut self, now: Now, key: SessionKey) -> bool {
        let Some(spray) = self.sprays.active.get_mut(&key) else {
            return false;
        };
        let paths: Vec<PathId> = std::iter::from_fn(|| spray.poll_path(now.instant)).collect();
        let is_over = spray.poll_timeout().is_none();
        let is_direct = self
            .table
            .get(key)
            .is_none_or(|session| session.transport.path().is_direct());
        if is_over || is_direct {
            return false;
        }
        if !paths.is_empty()
            && let Some(session) = self.session_mut(key)
        {
            for path in paths {
                session.transport.guess(now.instant, path);
            }
        }
        true
    }

    /// Gives sockets back that no session uses.
    fn sweep_sockets(&mut self, now: Now) {
        let is_busy = !self.sprays.active.is_empty() || !self.sprays.waiting.is_empty();
        if is_busy || self.sprays.sweep_at.is_none_or(|at| now.instant < at) {
            return;
        }
        let in_use = self.table.iter().map(|session| session.transport.path());
        let in_use: Vec<SocketAddr> = in_use
            .filter_map(|path| match path {
                PathId::Udp(tuple) => Some(tuple.local),
                PathId::Relay { .. } | PathId::Stream(_) => None,
            })
            .collect();
        let sockets = std::mem::take(&mut self.sprays.sockets);
        let (kept, unused) = sockets.into_iter().partition(|it| in_use.contains(it));
        self.sprays.sockets = kept;
        self.sprays.sweep_at = (!self.sprays.sockets.is_empty()).then(|| now.instant + SWEEP);
        let unused: Vec<SocketAddr> = unused;
        if !unused.is_empty() {
            self.output.event(Event::SocketsUnused(unused));
        }
    }
}
