//! Who is connected, and who was: in memory only, never a write.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use pilot_types::{AgentId, UnixTime};

/// Liveness of agents. The connected ones are bounded by the caller's sessions, the others by `max_last_seen`.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    online: BTreeMap<AgentId, SocketAddr>,
    gone: BTreeMap<AgentId, UnixTime>,
    by_time: BTreeSet<(UnixTime, AgentId)>,
}

impl Presence {
    pub(crate) fn opened(&mut self, agent: AgentId, observed: SocketAddr) {
        if let Some(at) = self.gone.remove(&agent) {
            self.by_time.remove(&(at, agent));
        }
        self.online.insert(agent, observed);
    }

    pub(crate) fn moved(&mut self, agent: &AgentId, observed: SocketAddr) {
        if let Some(address) = self.online.get_mut(agent) {
            *address = observed;
        }
    }

    pub(crate) fn closed(&mut self, now: UnixTime, agent: &AgentId, max_gone: usize) {
        if self.online.remove(agent).is_none() {
            return;
        }
        if self.gone.len() >= max_gone
            && let Some((_, oldest)) = self.by_time.pop_first()
        {
            self.gone.remove(&oldest);
        }
        self.gone.insert(*agent, now);
        self.by_time.insert((now, *agent));
    }

    pub(crate) fn observed(&self, agent: &AgentId) -> Option<SocketAddr> {
        self.online.get(agent).copied()
    }

    pub(crate) fn is_online(&self, agent: &AgentId) -> bool {
        self.online.contains_key(agent)
    }

    pub(crate) fn online_count(&self) -> usize {
        self.online.len()
    }

    /// Now for the connected, the end of the last session for those who left lately.
    pub(crate) fn last_seen(&self, now: UnixTime, agent: &AgentId) -> Option<UnixTime> {
        if self.is_online(agent) {
            Some(now)
        } else {
            self.gone.get(agent).copied()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(index: u8) -> AgentId {
        AgentId::new([index; 32])
    }

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    #[test]
    fn the_last_sight_is_now_or_the_end_of_the_session() {
        let address = "192.0.2.1:5".parse().unwrap();
        let mut presence = Presence::default();
        assert_eq!(presence.last_seen(at(5), &agent(1)), None);
        presence.opened(agent(1), address);
        assert_eq!(presence.last_seen(at(5), &agent(1)), Some(at(5)));
        presence.closed(at(7), &agent(1), 10);
        assert!(!presence.is_online(&agent(1)));
        assert_eq!(presence.last_seen(at(9), &agent(1)), Some(at(7)));
        assert_eq!(presence.observed(&agent(1)), None);
    }

    #[test]
    fn those_who_left_are_bounded() {
        let address = "192.0.2.1:5".parse().unwrap();
        let mut presence = Presence::default();
        for index in 0..50 {
            presence.opened(agent(index), address);
            presence.closed(at(u64::from(index)), &agent(index), 4);
            presence.closed(at(u64::from(index)), &agent(index), 4);
            assert!(presence.gone.len() <= 4 && presence.by_time.len() == presence.gone.len());
        }
        assert_eq!(presence.last_seen(at(99), &agent(49)), Some(at(49)));
        assert_eq!(presence.last_seen(at(99), &agent(1)), None);
    }
}
