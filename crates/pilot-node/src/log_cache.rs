//! Identity logs that were verified once.

use std::collections::{BTreeMap, VecDeque};

use pilot_trust::{IdentityLog, VerifiedLog};
use pilot_types::AgentId;
use pilot_wire::Hello;

/// Logs that are kept: about 1 KiB each.
const MAX_LOGS: usize = 1024;

/// By the hash of their newest entry; the oldest is evicted.
#[derive(Default)]
pub(crate) struct LogCache {
    logs: BTreeMap<[u8; 32], VerifiedLog>,
    order: VecDeque<[u8; 32]>,
}

impl LogCache {
    /// The verified log that a hello speaks of: known, extended by its entries, or all in its entries.
    pub(crate) fn resolve(
        &mut self,
        hello: &Hello,
        known: Option<&VerifiedLog>,
        min_work_bits: u8,
    ) -> Option<VerifiedLog> {
        let names = |log: &VerifiedLog| log.agent() == hello.agent && log.head() == hello.head;
        if let Some(log) = known
            .filter(|log| names(log))
            .or_else(|| self.logs.get(&hello.head).filter(|log| names(log)))
        {
            return Some(log.clone());
        }
        let log = match known {
            Some(known) => known.extend(&hello.entries).ok(),
            None => IdentityLog::from_entries(hello.entries.clone())
                .verify(min_work_bits)
                .ok(),
        };
        let log = log.filter(names)?;
        self.put(&log);
        Some(log)
    }

    fn put(&mut self, log: &VerifiedLog) {
        if self.logs.insert(log.head(), log.clone()).is_none() {
            self.order.push_back(log.head());
        }
        if self.order.len() > MAX_LOGS
            && let Some(evicted) = self.order.pop_front()
        {
            self.logs.remove(&evicted);
        }
    }

    pub(crate) fn get(&self, agent: &AgentId, head: &[u8; 32]) -> Option<&VerifiedLog> {
        self.logs.get(head).filter(|log| log.agent() == *agent)
    }
}
