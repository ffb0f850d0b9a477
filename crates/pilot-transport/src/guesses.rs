//! Challenges on paths that most likely lead nowhere: many, small, and asked for once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pilot_types::PathId;

/// Guesses that wait to be sent: the owner paces them.
const MAX_WAITING: usize = 64;
/// Guesses whose answers are waited for: all of one spray. 96 KiB while it lasts.
const MAX_OUTSTANDING: usize = 1024;
/// Answers that come later are of no use.
const PATIENCE: Duration = Duration::from_secs(5);

/// The guesses of one session.
///
/// As with probes, none is in a packet that loss detection knows.
#[derive(Debug, Default)]
pub(crate) struct Guesses {
    waiting: VecDeque<PathId>,
    /// The oldest first.
    outstanding: VecDeque<Guess>,
}

#[derive(Debug)]
struct Guess {
    path: PathId,
    data: [u8; 8],
    sent_at: Instant,
}

impl Guesses {
    /// Has a challenge sent on `path`; `false` if too many wait.
    pub(crate) fn ask(&mut self, now: Instant, path: PathId) -> bool {
        self.expire(now);
        if self.waiting.len() == MAX_WAITING {
            return false;
        }
        self.waiting.push_back(path);
        true
    }

    /// The path to send on next.
    pub(crate) fn due(&self) -> Option<PathId> {
        self.waiting.front().copied()
    }

    /// A challenge left on the path that was due.
    pub(crate) fn on_sent(&mut self, now: Instant, data: [u8; 8]) {
        if let Some(path) = self.waiting.pop_front() {
            if self.outstanding.len() == MAX_OUTSTANDING {
                self.outstanding.pop_front();
            }
            self.outstanding.push_back(Guess {
                path,
                data,
                sent_at: now,
            });
        }
    }

    /// A response came; gives the path that its challenge was sent on, and the round trip. The other guesses are not
    /// needed any more.
    pub(crate) fn on_response(
        &mut self,
        now: Instant,
        data: &[u8; 8],
    ) -> Option<(PathId, Duration)> {
        self.expire(now);
        let mut guesses = self.outstanding.iter();
        let hit = guesses.find(|guess| guess.data == *data)?;
        let answer = (hit.path, now.saturating_duration_since(hit.sent_at));
        *self = Self::default();
        Some(answer)
    }

    /// Forgets guesses that are too old, and the memory with the last of them.
    pub(crate) fn expire(&mut self, now: Instant) {
        let is_old = |guess: &Guess| now.saturating_duration_since(guess.sent_at) > PATIENCE;
        while self.outstanding.front().is_some_and(is_old) {
            self.outstanding.pop_front();
        }
        if self.outstanding.is_empty() {
            self.outstanding = VecDeque::new();
        }
    }
}
