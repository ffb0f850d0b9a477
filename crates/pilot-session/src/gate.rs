//! What a message 1 must show before it costs Diffie-Hellman: nothing in quiet times, a cookie under load.

use std::time::{Duration, Instant};

use pilot_types::PathId;

use crate::config::Config;
use crate::cookie::{Cookie, Secrets};
use crate::entropy::Entropy;
use crate::rate::{NameLimit, RateLimit, source_name};

/// How long a load lasts after the last message 1 that showed it.
const HOLD: Duration = Duration::from_secs(1);

/// What to do with a message 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// Open it.
    Open,
    /// Ask its sender to come again with this.
    Challenge(Cookie),
    /// Its source is over its limit.
    Refuse,
}

/// Watches the load and admits messages 1. Bounded: two secrets and three limits of 64 KiB, of which two exist only once
/// there was a load.
pub(crate) struct Gate {
    /// Of its own, so that a load does not change what handshakes draw.
    entropy: Entropy,
    secrets: Secrets,
    /// Messages 1 without a cookie, from everybody.
    unproven: RateLimit,
    loaded_until: Option<Instant>,
    /// Handshakes of one source that showed its cookie, under load.
    proven: NameLimit,
    /// Cookies and version lists to one source: who is named as the source of a flood must not become its target.
    replies: NameLimit,
    /// Handshakes of one key from one source, at any time.
    keys: NameLimit,
}

impl Gate {
    pub(crate) fn new(config: &Config, mut entropy: Entropy, now: Instant) -> Self {
        let mut limit = |rate| NameLimit::new(rate, &entropy.draw(), now);
        Self {
            secrets: Secrets::default(),
            unproven: RateLimit::new(config.unproven, now),
            loaded_until: None,
            proven: limit(config.per_source),
            replies: limit(config.per_source),
            keys: limit(config.per_key),
            entropy,
        }
    }

    /// Judges a message 1 with a right `mac1`; `half_open` is how full that table is.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        (path, packet): (&PathId, &[u8]),
        half_open: usize,
        config: &Config,
    ) -> Admission {
        let is_loaded = self.is_loaded(now);
        if is_loaded && self.secrets.verify(now, path, packet) {
            return if self.proven.take(now, &source_name(path)) {
                Admission::Open
            } else {
                Admission::Refuse
            };
        }
        // Three quarters: what remains is for those who show a cookie.
        let is_crowded = half_open >= config.half_open - config.half_open / 4;
        if !self.unproven.take(now) || is_crowded {
            self.loaded_until = Some(now + HOLD);
        } else if !is_loaded {
            return Admission::Open;
        }
        if self.may_reply(now, path) {
            Admission::Challenge(self.secrets.make(now, path, &mut self.entropy))
        } else {
            Admission::Refuse
        }
    }

    /// Whether one more answer of ours may go to a source that has proven nothing.
    pub(crate) fn may_reply(&mut self, now: Instant, path: &PathId) -> bool {
        self.replies.take(now, &source_name(path))
    }

    /// Whether a key may shake hands once more from there. By key *and* source, for a message 1 can be replayed: who captured
    /// one spends its own allowance, not the agent's.
    pub(crate) fn admit_key(&mut self, now: Instant, path: &PathId, key: &[u8; 32]) -> bool {
        self.keys
            .take(now, &[&key[..], &source_name(path)].concat())
    }

    /// For the salts of replies.
    pub(crate) const fn entropy(&mut self) -> &mut Entropy {
        &mut self.entropy
    }

    pub(crate) fn is_loaded(&self, now: Instant) -> bool {
        self.loaded_until.is_some_and(|until| now < until)
    }

    /// Forgets secrets that nobody's cookie comes from any longer; gives when to look again.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Instant> {
        self.secrets.expire(now)
    }
}
