//! The boot id that we show each peer: a new one whenever streams with it begin anew.

use std::collections::{BTreeMap, VecDeque};

use pilot_types::{AgentId, BootId};
use ring::hmac;

/// Agents whose closed sessions are counted: 64 bytes each.
const MAX_COUNTED: usize = 16_384;

/// Derives boot ids from one random key of this start.
///
/// A session goes on while both ends' boot ids match, so an end that closed a session must show another id in the
/// next handshake: the other end, which may have missed the CLOSE, then drops its old streams.
pub(crate) struct Lives {
    key: hmac::Key,
    counts: BTreeMap<AgentId, u64>,
    order: VecDeque<AgentId>,
    /// What agents without an entry count from; raised when an entry is evicted, so that no id comes back.
    floor: u64,
    last: u64,
}

impl Lives {
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, seed);
        Self {
            key,
            counts: BTreeMap::new(),
            order: VecDeque::new(),
            floor: 0,
            last: 0,
        }
    }

    /// The boot id to show `agent` now.
    pub(crate) fn boot(&self, agent: &AgentId) -> BootId {
        let count = self.counts.get(agent).copied().unwrap_or(self.floor);
        let mut context = hmac::Context::with_key(&self.key);
        context.update(agent.as_bytes());
        context.update(&count.to_be_bytes());
        let tag = context.sign();
        let (id, _) = tag
            .as_ref()
            .split_first_chunk()
            .expect("a tag has 32 bytes");
        BootId::new(*id)
    }

    /// The session with `agent` ended: the next one is another life.
    pub(crate) fn end(&mut self, agent: AgentId) {
        self.last += 1;
        if self.counts.insert(agent, self.last).is_some() {
            return;
        }
        self.order.push_back(agent);
        if self.order.len() > MAX_COUNTED
            && let Some(evicted) = self.order.pop_front()
        {
            self.counts.remove(&evicted);
            self.last += 1;
            self.floor = self.last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_life_has_its_own_id_even_after_eviction() {
        let mut lives = Lives::new(&[1; 32]);
        let agent = AgentId::new([2; 32]);
        let first = lives.boot(&agent);
        assert_eq!(first, lives.boot(&agent));
        lives.end(agent);
        let second = lives.boot(&agent);
        assert_ne!(first, second);
        for other in 0..MAX_COUNTED as u32 + 1 {
            let mut bytes = [9; 32];
            bytes[..4].copy_from_slice(&other.to_be_bytes());
            lives.end(AgentId::new(bytes));
        }
        let third = lives.boot(&agent);
        assert!(third != first && third != second);
        assert!(lives.counts.len() <= MAX_COUNTED);
    }
}
