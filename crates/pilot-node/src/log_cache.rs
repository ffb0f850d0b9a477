//! Identity logs that were verified once.

use std::collections::{BTreeMap, VecDeque};

use pilot_trust::{IdentityLog, LogError, VerifiedLog};
use pilot_types::AgentId;
use pilot_wire::Hello;

/// Logs that are kept: about 1 KiB each while they have two entries.
const MAX_LOGS: usize = 1024;
/// Entries of all of them: up to 0.5 KiB each, 4 MiB in all.
const MAX_ENTRIES: usize = 8192;
/// Logs of which only a part came so far: at most 100 KiB each, 6.4 MiB in all. What is evicted comes again.
const MAX_PARTS: usize = 64;

/// By the hash of their newest entry; the oldest is evicted.
#[derive(Default)]
pub(crate) struct LogCache {
    logs: BTreeMap<[u8; 32], VerifiedLog>,
    order: VecDeque<[u8; 32]>,
    /// Of all of `logs`.
    entries: usize,
    parts: BTreeMap<AgentId, VerifiedLog>,
    part_order: VecDeque<AgentId>,
}

/// Why a hello's log is not known whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// Entries are missing, or are not what they should be.
    Missing,
    /// The hello's key was one of the agent's, and was replaced.
    Superseded,
    /// The hello's entries contradict those that are known.
    Forked,
}

impl LogCache {
    /// The verified log that a hello speaks of: known, extended by its entries, or all in its entries and those of hellos before.
    pub(crate) fn resolve(
        &mut self,
        hello: &Hello,
        known: Option<&VerifiedLog>,
        min_work_bits: u8,
    ) -> Result<VerifiedLog, Unresolved> {
        let names = |log: &VerifiedLog| log.agent() == hello.agent && log.head() == hello.head;
        if let Some(log) = known.filter(|log| names(log)) {
            return Ok(log.clone());
        }
        if let Some(known) = known.filter(|known| is_behind(hello, known)) {
            return Err(Self::judge_old(hello, known));
        }
        if let Some(log) = self.logs.get(&hello.head).filter(|log| names(log)) {
            return Ok(log.clone());
        }
        let part = self.parts.get(&hello.agent);
        let bases = known.into_iter().chain(part);
        let extended = bases.map(|base| base.extend(&hello.entries));
        let from_start = || {
            let whole = IdentityLog::from_entries(hello.entries.clone());
            whole.verify(min_work_bits)
        };
        let mut found: Vec<Result<VerifiedLog, LogError>> = extended.collect();
        if found.is_empty() {
            found.push(from_start());
        }
        if let Some(log) = found.iter().flatten().find(|log| names(log)).cloned() {
            return Ok(log);
        }
        if found
            .iter()
            .any(|log| matches!(log, Err(LogError::Fork { .. })))
        {
            return Err(Unresolved::Forked);
        }
        let longest = found.into_iter().flatten().max_by_key(place);
        if let Some(log) = longest.filter(|log| log.agent() == hello.agent) {
            self.put_part(log);
        }
        Err(Unresolved::Missing)
    }

    /// Whether a hello with a place that the known log passed was said with a key of the agent, or contradicts it.
    fn judge_old(hello: &Hello, known: &VerifiedLog) -> Unresolved {
        if known.dh_key_at(&hello.head).is_some() {
            return Unresolved::Superseded;
        }
        // Of a generation that was ended, or a fork of this one: the entries say so themselves.
        if let Err(LogError::Fork { .. }) = known.extend(&hello.entries) {
            return Unresolved::Forked;
        }
        let before = known.up_to_generation(hello.generation);
        let ended = before.and_then(|before| before.extend(&hello.entries).ok());
        match ended {
            Some(log) if log.head() == hello.head => Unresolved::Superseded,
            Some(_) | None => Unresolved::Missing,
        }
    }

    /// The X25519 key that a hello's log names, where that is not the newest log of its agent.
    pub(crate) fn old_key(hello: &Hello, known: &VerifiedLog) -> Option<[u8; 32]> {
        known.dh_key_at(&hello.head).or_else(|| {
            let before = known.up_to_generation(hello.generation)?;
            let ended = before.extend(&hello.entries).ok()?;
            ended.dh_key_at(&hello.head)
        })
    }

    /// Keeps a log until its handshake is confirmed, and longer where there is room.
    pub(crate) fn put(&mut self, log: &VerifiedLog) {
        if self.logs.insert(log.head(), log.clone()).is_none() {
            self.order.push_back(log.head());
            self.entries += log.log().entries().len();
        }
        while self.order.len() > MAX_LOGS || self.entries > MAX_ENTRIES {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            let evicted = self.logs.remove(&oldest);
            self.entries -= evicted.map_or(0, |log| log.log().entries().len());
        }
        self.parts.remove(&log.agent());
        self.part_order.retain(|agent| *agent != log.agent());
    }

    fn put_part(&mut self, log: VerifiedLog) {
        let agent = log.agent();
        if self.parts.insert(agent, log).is_none() {
            self.part_order.push_back(agent);
        }
        if self.part_order.len() > MAX_PARTS
            && let Some(evicted) = self.part_order.pop_front()
        {
            self.parts.remove(&evicted);
        }
    }

    pub(crate) fn get(&self, agent: &AgentId, head: &[u8; 32]) -> Option<&VerifiedLog> {
        self.logs.get(head).filter(|log| log.agent() == *agent)
    }
}

/// (generation, sequence) of a log, which are ordered.
pub(crate) fn place(log: &VerifiedLog) -> (u32, u32) {
    (log.generation(), log.sequence())
}

/// Whether a hello's log is no later than the known one.
fn is_behind(hello: &Hello, known: &VerifiedLog) -> bool {
    (hello.generation, hello.sequence) <= place(known)
}
