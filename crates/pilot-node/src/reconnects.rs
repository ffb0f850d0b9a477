//! Agents whose session was lost without a word: they are dialled again until they answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pilot_types::{AgentId, Deadline};

/// Agents that are dialled again at a time, and agents in the list for the next start: as many as the store keeps.
/// 64 bytes each.
pub(crate) const MAX_RECONNECTING: usize = 1024;
/// Pause after the first attempt; doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause: two attempts, each of three copies of message 1, fit into the 5 s in which a peer that is back is met.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// An agent that does not answer for so long waits to be dialled, by itself or by a command: some 150 attempts.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between the first attempts of a start, so that 1,024 of them do not come in one burst.
const STAGGER: Duration = Duration::from_millis(2);
/// The list for the next start is written at most so often.
const WRITE_PAUSE: Duration = Duration::from_secs(1);

/// An agent with a session, and where its packets came from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LastSession {
    /// Who.
    pub agent: AgentId,
    /// Where; none over a relay.
    pub address: Option<SocketAddr>,
}

/// One agent that is dialled again.
struct Attempts {
    address: Option<SocketAddr>,
    next: Instant,
    gives_up: Instant,
    made: u32,
    is_asking: bool,
}

/// Who is dialled again and when, and when the list for the next start is written.
#[derive(Default)]
pub(crate) struct Reconnects {
    agents: BTreeMap<AgentId, Attempts>,
    /// The list as it was written last.
    written: Vec<LastSession>,
    is_changed: bool,
    writable_at: Option<Instant>,
    /// The list stays as it is: the node shuts down, and the next start dials whom it left.
    is_frozen: bool,
}

impl Reconnects {
    /// The agents of the last run.
    pub(crate) fn restore(now: Instant, sessions: Vec<LastSession>) -> Self {
        let mut reconnects = Self::default();
        let mut at = now;
        for session in sessions.iter().take(MAX_RECONNECTING) {
            reconnects.add(at, *session);
            at += STAGGER;
        }
        reconnects.written = sessions;
        reconnects
    }

    /// Dials an agent from `at` on, unless that goes on already or too many are dialled.
    pub(crate) fn add(&mut self, at: Instant, session: LastSession) {
        let LastSession { agent, address } = session;
        if self.agents.len() >= MAX_RECONNECTING || self.agents.contains_key(&agent) {
            return;
        }
        let attempts = Attempts {
            address,
            next: at,
            gives_up: at + PATIENCE,
            made: 0,
            is_asking: false,
        };
        self.agents.insert(agent, attempts);
        self.is_changed = true;
    }

    /// The agent answered, or is not to be dialled any more.
    pub(crate) fn remove(&mut self, agent: &AgentId) {
        self.is_changed |= self.agents.remove(agent).is_some();
    }

    pub(crate) fn contains(&self, agent: &AgentId) -> bool {
        self.agents.contains_key(agent)
    }

    /// Where the agent's packets came from last.
    pub(crate) fn address(&self, agent: &AgentId) -> Option<SocketAddr> {
        self.agents.get(agent)?.address
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = LastSession> {
        self.agents.iter().map(|(agent, attempts)| LastSession {
            agent: *agent,
            address: attempts.address,
        })
    }

    /// An agent whose next attempt is due; the one after that is set.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<AgentId> {
        let expired = self
            .agents
            .iter()
            .find(|(_, attempts)| attempts.next <= now)
            .map(|(agent, attempts)| (*agent, attempts.gives_up <= now));
        let (agent, is_over) = expired?;
        if is_over {
            self.remove(&agent);
            return self.take_due(now);
        }
        let attempts = self.agents.get_mut(&agent)?;
        attempts.next = now + (MIN_PAUSE * (1 << attempts.made.min(8))).min(MAX_PAUSE);
        attempts.made += 1;
        Some(agent)
    }

    /// Whether to ask the registry where the agent is: one question at a time.
    pub(crate) fn begin_question(&mut self, agent: &AgentId) -> bool {
        let attempts = self.agents.get_mut(agent);
        attempts.is_some_and(|attempts| !std::mem::replace(&mut attempts.is_asking, true))
    }

    /// The registry answered, or did not; whether the answer is still wanted.
    pub(crate) fn end_question(&mut self, agent: &AgentId) -> bool {
        let attempts = self.agents.get_mut(agent);
        attempts.is_some_and(|attempts| std::mem::replace(&mut attempts.is_asking, false))
    }

    /// A session began or ended.
    pub(crate) const fn sessions_changed(&mut self) {
        self.is_changed = true;
    }

    /// The list for the next start stays as it is.
    pub(crate) const fn freeze(&mut self) {
        self.is_frozen = true;
    }

    /// Whether the list is to be made anew now.
    pub(crate) fn is_list_due(&self, now: Instant) -> bool {
        self.is_changed && !self.is_frozen && self.writable_at.is_none_or(|at| at <= now)
    }

    /// Takes the list; `Some` if it is another one than was written last.
    pub(crate) fn take_list(
        &mut self,
        now: Instant,
        list: Vec<LastSession>,
    ) -> Option<Vec<LastSession>> {
        self.is_changed = false;
        if list == self.written {
            return None;
        }
        self.writable_at = Some(now + WRITE_PAUSE);
        self.written.clone_from(&list);
        Some(list)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        let attempt = self.agents.values().map(|attempts| attempts.next).min();
        let is_waiting = self.is_changed && !self.is_frozen;
        let write = self.writable_at.filter(|_| is_waiting);
        let at = attempt.into_iter().chain(write).min()?;
        Some(Deadline {
            at,
            timer: "reconnect",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(number: u16) -> LastSession {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        LastSession {
            agent: AgentId::new(bytes),
            address: None,
        }
    }

    #[test]
    fn attempts_come_rarer_and_end() {
        let start = Instant::now();
        let mut reconnects = Reconnects::restore(start, vec![agent(1)]);
        let (mut now, mut attempts) = (start, vec![]);
        while let Some(deadline) = reconnects.poll_timeout() {
            now = deadline.at;
            attempts.extend(reconnects.take_due(now).map(|_| now - start));
            let list = reconnects.iter().collect();
            if reconnects.is_list_due(now) {
                reconnects.take_list(now, list);
            }
        }
        assert_eq!(attempts[1], MIN_PAUSE);
        let pauses = attempts.windows(2).map(|pair| pair[1] - pair[0]);
        assert_eq!(pauses.max(), Some(MAX_PAUSE));
        assert!(attempts.len() < 160 && now - start <= PATIENCE + MAX_PAUSE + WRITE_PAUSE);
    }

    #[test]
    fn ten_thousand_lost_agents_are_bounded() {
        let start = Instant::now();
        let mut reconnects = Reconnects::default();
        for number in 0..10_000 {
            reconnects.add(start, agent(number));
        }
        assert_eq!(reconnects.iter().count(), MAX_RECONNECTING);
    }

    #[test]
    fn a_list_is_written_when_it_changes_and_not_after_a_shutdown() {
        let start = Instant::now();
        let mut reconnects = Reconnects::default();
        assert!(!reconnects.is_list_due(start));
        reconnects.sessions_changed();
        assert!(reconnects.is_list_due(start));
        assert!(reconnects.take_list(start, vec![agent(1)]).is_some());
        reconnects.sessions_changed();
        assert!(!reconnects.is_list_due(start), "one a second");
        let later = start + WRITE_PAUSE;
        assert!(reconnects.is_list_due(later));
        assert!(
            reconnects.take_list(later, vec![agent(1)]).is_none(),
            "nothing changed"
        );
        reconnects.sessions_changed();
        reconnects.freeze();
        assert!(!reconnects.is_list_due(later) && reconnects.poll_timeout().is_none());
    }
}
