//! Whether a hello is believed: its log, its key, its freshness, and what its sender is told if not.

use pilot_trust::{IdentityLog, LogError, VerifiedLog};
use pilot_wire::{Hello, KeyStanding, VERSION};

use crate::log_cache::{LogCache, Unresolved, place};
use crate::node::Node;
use crate::now::Now;

/// Why a hello begins no session.
pub(crate) struct Unanswered {
    /// What its sender is told; of the usual standing, nothing.
    pub(crate) standing: KeyStanding,
    /// For the counters.
    pub(crate) reason: &'static str,
}

impl Unanswered {
    const fn told(standing: KeyStanding, reason: &'static str) -> Self {
        Self { standing, reason }
    }
}

impl From<&'static str> for Unanswered {
    fn from(reason: &'static str) -> Self {
        Self::told(KeyStanding::CURRENT, reason)
    }
}

impl Node {
    pub(crate) fn judge_hello(
        &mut self,
        now: Now,
        peer_static: [u8; 32],
        hello: &Hello,
    ) -> Result<(), Unanswered> {
        let known = self.known_log(&hello.agent).map(place);
        let log = self.judge_log(peer_static, hello)?;
        if log.dh_key() != peer_static {
            return Err("hello_key".into());
        }
        if !hello.versions.contains(&VERSION) {
            return Err("hello_version".into());
        }
        if self.trust.is_frozen(&hello.agent) && !self.thaws(&log) {
            return Err(Unanswered::told(KeyStanding::FORKED, "hello_frozen"));
        }
        let live = self
            .table
            .by_agent(&hello.agent)
            .map_or(0, |session| session.freshness);
        // Stamps are compared among those under one key: a thief of the one before may have said any number.
        let is_same_key = known.is_none_or(|known| known == place(&log));
        let is_seen = !self.hellos.seen.is_fresh(&hello.agent, hello.freshness);
        if is_same_key && (is_seen || hello.freshness <= live) {
            return Err("hello_replayed".into());
        }
        if !is_same_key {
            self.endpoint.forget_freshness(&hello.agent);
        }
        if self.trust.is_frozen(&hello.agent) {
            // A recovery: what it ends counts no more, so that its sender is judged as the one who we trusted.
            self.take_log(&log);
        }
        Ok(self.classify(now, hello).map(|_| ())?)
    }

    /// Whether a log is a recovery from what is pinned of its agent.
    fn thaws(&self, log: &VerifiedLog) -> bool {
        let pinned = self.trust.peer_log(&log.agent());
        pinned.is_some_and(|pinned| pinned.generation() < log.generation())
    }

    /// The log that a hello speaks of; what we know of it decides, and what a registry that we are keeps.
    fn judge_log(
        &mut self,
        peer_static: [u8; 32],
        hello: &Hello,
    ) -> Result<VerifiedLog, Unanswered> {
        let known = self
            .known_log(&hello.agent)
            .cloned()
            .or_else(|| self.registered_log(hello));
        let work = self.config.min_work_bits;
        let resolved = self.hellos.logs.resolve(hello, known.as_ref(), work);
        let unresolved = match resolved {
            Ok(log) => {
                // Asked for again when the handshake is confirmed, without the registry.
                self.hellos.logs.put(&log);
                return Ok(log);
            }
            Err(unresolved) => unresolved,
        };
        let was_its_key = || {
            let known = known.as_ref()?;
            LogCache::old_key(hello, known).filter(|key| *key == peer_static)
        };
        match unresolved {
            Unresolved::Missing => Err("hello_log".into()),
            // Only who has that key is told: others would learn whom we know.
            Unresolved::Superseded if was_its_key().is_some() => Err(Unanswered::told(
                KeyStanding::SUPERSEDED,
                "hello_superseded",
            )),
            Unresolved::Superseded => Err("hello_key".into()),
            Unresolved::Forked => {
                let fork = LogError::Fork {
                    generation: hello.generation,
                    sequence: hello.sequence,
                };
                self.log_refused(&hello.agent, &fork);
                // The entries that contradict were signed by the agent's own key: who shows them knows of it.
                Err(Unanswered::told(KeyStanding::FORKED, "hello_forked"))
            }
        }
    }

    /// What our registry keeps of an agent whose hello does not bring its whole log.
    fn registered_log(&mut self, hello: &Hello) -> Option<VerifiedLog> {
        let work = self.config.min_work_bits;
        let role = self.role.as_mut()?;
        let entries = role.host.log(&hello.agent)?;
        let cached = self.hellos.logs.get(&hello.agent, &hello.head);
        if let Some(log) = cached.filter(|log| log.log().entries() == entries) {
            return Some(log.clone());
        }
        IdentityLog::from_entries(entries).verify(work).ok()
    }
}
