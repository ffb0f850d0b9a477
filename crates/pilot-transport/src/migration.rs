//! From one path to another (RFC 9000 §8.2 and §9).

use std::collections::VecDeque;
use std::time::Instant;

use pilot_types::PathId;

use crate::config::Config;
use crate::event::Event;
use crate::path::{PathKey, PathState, is_port_change};
use crate::timer::Timer;
use crate::transport::Transport;

/// Challenges of the peer that wait for our response; more at a time serve no path choice.
const MAX_RESPONSES: usize = 8;
/// What was in flight on the old path is given up after as many of the longer path's probe timeouts.
const RETIRE_TIMEOUTS: u32 = 3;

/// A challenge of the peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Challenge {
    pub(crate) path: PathId,
    pub(crate) data: [u8; 8],
    /// Bytes of the datagram that brought it: the response is not larger.
    pub(crate) size: usize,
}

/// The path in use, the one before it, and challenges to answer on any.
#[derive(Debug)]
pub(crate) struct Paths {
    pub(crate) current: PathState,
    /// Kept until the current path is validated and nothing of this one is in flight.
    pub(crate) previous: Option<PathState>,
    pub(crate) challenges: VecDeque<Challenge>,
    next_key: PathKey,
}

impl Paths {
    pub(crate) fn new(id: PathId, config: &Config, now: Instant) -> Self {
        let key = PathKey(0);
        Self {
            current: PathState::new(id, key, config, now),
            previous: None,
            challenges: VecDeque::new(),
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
        }
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
        // A channel through a relay, and a stream, are authenticated by the session that carries them.
        if id.is_direct() {
            path.challenge();
        }
        path
    }
}

impl Transport {
    /// Sends on `path` from now on.
    ///
    /// A direct path is validated by challenges and carries little until the peer answers; [`Event::PathValidated`] or
    /// [`Event::PathFailed`] follows. What is in flight on the path before may still be acknowledged for a while.
    pub fn migrate(&mut self, now: Instant, path: PathId) {
        if self.is_closing() || self.paths.current.id == path {
            return;
        }
        let is_return = self.paths.previous.as_ref().is_some_and(|p| p.id == path);
        if is_return {
            self.swap_paths();
        } else {
            let fresh = self.paths.fresh(path, &self.config, now);
            let before = std::mem::replace(&mut self.paths.current, fresh);
            self.leave(before);
        }
        let delay = self.peer.max_ack_delay;
        let current = self.paths.current.rtt.probe_timeout(delay);
        let before = self.paths.previous.as_ref();
        let longest = before.map_or(current, |p| p.rtt.probe_timeout(delay).max(current));
        self.timers
            .set(Timer::Retire as usize, now + longest * RETIRE_TIMEOUTS);
        self.timers.stop(Timer::Pacing as usize);
        self.timers.stop(Timer::Validation as usize);
        if !self.paths.current.is_validated() {
            self.timers.set(Timer::Validation as usize, now + current);
        }
        let max = self.max_datagram();
        self.datagrams.shrink(max);
        self.arm_recovery();
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

    pub(crate) fn on_path_response(&mut self, data: &[u8; 8]) {
        // RFC 9000 §8.2.3: a response on any path validates the path that the challenge was sent on.
        if !self.paths.current.answer(data) {
            return;
        }
        self.timers.stop(Timer::Validation as usize);
        self.events
            .push(Event::PathValidated(self.paths.current.id));
        if self.timers.get(Timer::Retire as usize).is_none() {
            self.paths.previous = None;
        }
    }

    pub(crate) fn handle_path_timeout(&mut self, now: Instant) {
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
