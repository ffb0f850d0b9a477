//! From one path to another (RFC 9000 §8.2 and §9).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pilot_types::PathId;

use crate::config::Config;
use crate::event::Event;
use crate::guesses::Guesses;
use crate::path::{PathKey, PathState, is_port_change};
use crate::probes::Probes;
use crate::stats::PathStats;
use crate::timer::Timer;
use crate::transport::Transport;

/// Challenges of the peer that wait for our response; more at a time serve no path choice.
const MAX_RESPONSES: usize = 8;
/// What was in flight on the old path is given up after as many of the longer path's probe timeouts.
const RETIRE_TIMEOUTS: u32 = 3;
/// Probe timeouts in a row without an answer after which the path that is left is taken to be dead.
const SILENT_TIMEOUTS: u32 = 2;

/// A challenge of the peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Challenge {
    pub(crate) path: PathId,
    pub(crate) data: [u8; 8],
    /// Bytes of the datagram that brought it: the response is not larger.
    pub(crate) size: usize,
}

/// The path in use, the one before it, those that are probed, and challenges to answer on any.
#[derive(Debug)]
pub(crate) struct Paths {
    pub(crate) current: PathState,
    /// Kept until the current path is validated and nothing of this one is in flight.
    pub(crate) previous: Option<PathState>,
    pub(crate) challenges: VecDeque<Challenge>,
    pub(crate) probes: Probes,
    pub(crate) guesses: Guesses,
    /// The path that was heard of last of those that nothing was sent on, and the bytes that it brought.
    heard: Option<(PathId, u64)>,
    /// Where the peer's newest packet that is no probe came from: what was on the way when we moved is no move of it.
    peer_at: PathId,
    next_key: PathKey,
}

impl Paths {
    pub(crate) fn new(id: PathId, config: &Config, now: Instant) -> Self {
        let key = PathKey(0);
        Self {
            current: PathState::new(id, key, config, now),
            previous: None,
            challenges: VecDeque::new(),
            probes: Probes::default(),
            guesses: Guesses::default(),
            heard: None,
            peer_at: id,
            next_key: PathKey(1),
        }
    }

    /// The path that a packet went on; `None` if it is forgotten.
    pub(crate) fn by_key(&mut self, key: PathKey) -> Option<&mut PathState> {
        if self.current.key == key {
            return Some(&mut self.current);
        }
        self.previous.as_mut().filter(|path| path.key == key)
    }

    /// An ACK was dealt with.
    pub(crate) fn on_ack_done(&mut self, now: Instant) {
        self.current.on_ack_done(now);
        if let Some(before) = &mut self.previous {
            before.on_ack_done(now);
        }
    }

    /// A datagram of `size` bytes came on `path`.
    pub(crate) fn on_received(&mut self, path: &PathId, size: u64) {
        if self.current.id == *path {
            self.current.on_received(size);
        } else if !self.probes.on_received(path, size) {
            let before = self.brought(path).unwrap_or(0);
            self.heard = Some((*path, before + size));
        }
    }

    /// Bytes that a path brought that nothing was sent on.
    fn brought(&self, path: &PathId) -> Option<u64> {
        let heard = self.heard.filter(|(heard, _)| heard == path);
        heard.map(|(_, bytes)| bytes)
    }

    pub(crate) const fn peer_at(&self) -> PathId {
        self.peer_at
    }

    /// The peer's newest packet so far, no probe, came on `path`; `true` if it sends on another path than before, which
    /// is not the one in use.
    pub(crate) fn has_peer_moved(&mut self, path: PathId) -> bool {
        let before = std::mem::replace(&mut self.peer_at, path);
        before != path && self.current.id != path
    }

    pub(crate) fn on_challenge(&mut self, challenge: Challenge) {
        if self.challenges.len() == MAX_RESPONSES {
            self.challenges.pop_front();
        }
        self.challenges.push_back(challenge);
    }

    /// Whether a response on the path in use is to be sent.
    pub(crate) fn has_response_due(&self) -> bool {
        self.challenges.iter().any(|c| c.path == self.current.id)
    }

    /// Takes a challenge that came on the path in use, or on another.
    pub(crate) fn take_challenge(&mut self, is_current: bool) -> Option<Challenge> {
        let current = self.current.id;
        let at = self
            .challenges
            .iter()
            .position(|c| (c.path == current) == is_current)?;
        self.challenges.remove(at)
    }

    fn fresh(&mut self, id: PathId, config: &Config, now: Instant) -> PathState {
        let key = self.next_key;
        self.next_key = PathKey(key.0 + 1);
        let mut path = PathState::new(id, key, config, now);
        if is_port_change(&self.current.id, &id) {
            path.inherit(&mut self.current);
        }
        match self.probes.fresh_rtt(now, &id) {
            Some(rtt) => path.validate(rtt),
            // A channel through a relay, and a stream, are authenticated by the session that carries them.
            None if id.is_direct() => path.challenge(self.brought(&id)),
            None => {}
        }
        path
    }
}

impl Transport {
    /// Sends on `path` from now on.
    ///
    /// A path that answered a probe in the last 30 s carries everything at once. Another direct one is validated by
    /// challenges and carries little until the peer answers; [`Event::PathValidated`] or [`Event::PathFailed`] follows.
    /// What is in flight on the path before may still be acknowledged for a while.
    pub fn migrate(&mut self, now: Instant, path: PathId) {
        if self.is_closing() || self.paths.current.id == path {
            return;
        }
        let is_return = self.paths.previous.as_ref().is_some_and(|p| p.id == path);
        if is_return {
            self.swap_paths();
            if let Some(rtt) = self.paths.probes.fresh_rtt(now, &path) {
                self.paths.current.validate(rtt);
            }
        } else {
            let fresh = self.paths.fresh(path, &self.config, now);
            let before = std::mem::replace(&mut self.paths.current, fresh);
            self.leave(before);
        }
        self.paths.probes.on_used(&path);
        let delay = self.peer.max_ack_delay;
        let current = self.paths.current.rtt.probe_timeout(delay);
        let before = self.paths.previous.as_ref();
        let longest = before.map_or(current, |p| p.rtt.probe_timeout(delay).max(current));
        // A path that is left because it is silent brings no more acknowledgements.
        let patience = if self.silence() >= SILENT_TIMEOUTS {
            Duration::ZERO
        } else {
            longest * RETIRE_TIMEOUTS
        };
        self.timers.set(Timer::Retire as usize, now + patience);
        self.timers.stop(Timer::Pacing as usize);
        self.timers.stop(Timer::Validation as usize);
        if !self.paths.current.is_validated() {
            self.timers.set(Timer::Validation as usize, now + current);
        }
        let max = self.max_datagram();
        self.datagrams.shrink(max);
        self.arm_recovery();
    }

    /// Has a challenge sent on a path that is not in use, beside the traffic; [`Event::PathProbed`] follows if the peer
    /// answers. Nothing repeats it.
    ///
    /// `false` if none is sent: the path is in use, it carried what a path may that does not answer, or 32 others were
    /// probed in the last five seconds.
    pub fn probe(&mut self, now: Instant, path: PathId) -> bool {
        let is_probed = !self.is_closing() && self.paths.current.id != path;
        let brought = self.paths.brought(&path);
        is_probed && self.paths.probes.ask(now, path, brought)
    }

    /// Has a small challenge sent on a path that was guessed; [`Event::PathProbed`] follows in the unlikely case that the
    /// peer answers. Nothing repeats it, and who guesses paces it.
    ///
    /// `false` if none is sent: 64 wait already.
    pub fn guess(&mut self, now: Instant, path: PathId) -> bool {
        !self.is_closing() && self.paths.guesses.ask(now, path)
    }

    /// The path in use, then those that were probed.
    pub fn paths(&self, now: Instant) -> impl Iterator<Item = PathStats> {
        let (current, probes) = (&self.paths.current, &self.paths.probes);
        let answered_at = |path: &PathId| {
            let mut probed = probes.iter().filter(|probed| probed.id == *path);
            probed.find_map(|probed| probed.answer.map(|(_, at)| at))
        };
        let in_use = PathStats {
            path: current.id,
            is_in_use: true,
            is_validated: current.is_validated(),
            rtt: current.rtt.min().map(|_| current.rtt.smoothed()),
            answered_at: answered_at(&current.id),
        };
        let others = probes.iter().filter(|probed| probed.id != current.id);
        let others = others.map(move |probed| PathStats {
            path: probed.id,
            is_in_use: false,
            is_validated: probes.fresh_rtt(now, &probed.id).is_some(),
            rtt: probed.answer.map(|(rtt, _)| rtt),
            answered_at: probed.answer.map(|(_, at)| at),
        });
        std::iter::once(in_use).chain(others)
    }

    /// The path that is left becomes the one to revert to, unless it never answered and another one did.
    fn leave(&mut self, path: PathState) {
        let dropped = if path.is_validated() {
            self.paths.previous.replace(path)
        } else if self.paths.previous.is_none() {
            self.paths.previous = Some(path);
            None
        } else {
            Some(path)
        };
        if let Some(dropped) = dropped {
            self.lose_path(dropped);
        }
    }

    fn swap_paths(&mut self) {
        if let Some(before) = &mut self.paths.previous {
            std::mem::swap(&mut self.paths.current, before);
        }
    }

    /// RFC 9000 §8.2.3: a response on any path validates the path that the challenge was sent on.
    pub(crate) fn on_path_response(&mut self, now: Instant, data: &[u8; 8]) {
        if let Some((path, rtt)) = self.paths.probes.on_response(now, data) {
            self.events.push(Event::PathProbed { path, rtt });
            let current = &mut self.paths.current;
            if current.id == path && !current.is_validated() {
                current.validate(rtt);
                self.path_validated();
            }
        } else if self.paths.current.answer(data) {
            self.path_validated();
        } else if let Some((path, rtt)) = self.paths.guesses.on_response(now, data) {
            self.events.push(Event::PathProbed { path, rtt });
        }
    }

    fn path_validated(&mut self) {
        self.timers.stop(Timer::Validation as usize);
        self.events
            .push(Event::PathValidated(self.paths.current.id));
        if self.timers.get(Timer::Retire as usize).is_none() {
            self.paths.previous = None;
        }
    }

    pub(crate) fn handle_path_timeout(&mut self, now: Instant) {
        self.paths.guesses.expire(now);
        if self.timers.take_if_due(Timer::Retire as usize, now) {
            self.retire();
            self.arm_recovery();
        }
        if self.timers.take_if_due(Timer::Validation as usize, now) {
            match self.paths.current.challenge_again(self.peer.max_ack_delay) {
                Some(wait) => self.timers.set(Timer::Validation as usize, now + wait),
                None => self.validation_failed(),
            }
        }
    }

    /// What is in flight on the path before the current one is lost.
    fn retire(&mut self) {
        if let Some(before) = self.paths.previous.take() {
            let before = self.lose_path(before);
            if !self.paths.current.is_validated() {
                self.paths.previous = Some(before);
            }
        }
    }

    /// RFC 9000 §9.3.2: "revert to the last validated peer address".
    fn validation_failed(&mut self) {
        self.events.push(Event::PathFailed(self.paths.current.id));
        if let Some(before) = self.paths.previous.take() {
            let failed = std::mem::replace(&mut self.paths.current, before);
            self.lose_path(failed);
            self.timers.stop(Timer::Retire as usize);
            // If the peer sends on the path that failed, that is worth another try.
            self.paths.peer_at = self.paths.current.id;
        }
        self.arm_recovery();
    }

    /// Everything in flight on a path is to be sent again; that is no sign of congestion.
    fn lose_path(&mut self, mut path: PathState) -> PathState {
        let mut lost = std::mem::take(&mut self.scratch.packets);
        self.loss.take_path(&path, &mut lost);
        for packet in lost.drain(..) {
            path.on_removed(packet.size);
            self.frames_lost(packet.frames);
        }
        self.scratch.packets = lost;
        path.loss_at = None;
        path
    }
}
