//! Pushes under way to connected agents. What waits for the others lies in the store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pilot_types::{AgentId, UnixTime};

use crate::config::Config;
use crate::rows::{PushId, PushKey, PushKind, PushRow};
use crate::store::{Store, StoreError};

/// One connected agent's pushes: at most `max_knocks + max_grant_pushes` keys, as many as the store has for it.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(PushKey, PushId)>,
    in_flight: BTreeMap<PushId, PushKey>,
    /// After a failure: when to go on.
    rests_until: Option<UnixTime>,
    /// Whether the store has still to be asked what waits.
    is_unread: bool,
}

impl Queue {
    fn can_send(&self, config: &Config) -> bool {
        self.rests_until.is_none()
            && !self.waiting.is_empty()
            && self.in_flight.len() < config.max_pushes_in_flight
    }
}

/// All queues. Bounded by the caller's sessions.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queues: BTreeMap<AgentId, Queue>,
    /// Agents whose queue can send.
    ready: BTreeSet<AgentId>,
    /// Agents that rest, by when they go on.
    resting: BTreeSet<(UnixTime, AgentId)>,
    /// Who was served last: the others come first.
    last: Option<AgentId>,
}

impl Outbox {
    /// An agent connected: everything that waits for it comes, oldest first.
    pub(crate) fn open<S: Store>(
        &mut self,
        store: &S,
        now: UnixTime,
        agent: AgentId,
        config: &Config,
    ) {
        self.close(&agent);
        self.queues.insert(
            agent,
            Queue {
                is_unread: true,
                ..Queue::default()
            },
        );
        self.read(store, now, agent, config);
    }

    /// An agent is gone; what was not acknowledged stays in the store.
    pub(crate) fn close(&mut self, agent: &AgentId) {
        self.ready.remove(agent);
        if let Some(until) = self
            .queues
            .remove(agent)
            .and_then(|queue| queue.rests_until)
        {
            self.resting.remove(&(until, *agent));
        }
    }

    /// A push was stored.
    pub(crate) fn notify(&mut self, key: PushKey, id: PushId, config: &Config) {
        let Some(queue) = self.queues.get_mut(&key.to) else {
            return;
        };
        queue.waiting.retain(|(known, _)| *known != key);
        queue.waiting.push_back((key, id));
        self.arm(&key.to, config);
    }

    /// The next push to bring, now counted as under way.
    pub(crate) fn next(&mut self, config: &Config) -> Option<(PushKey, PushId)> {
        let after = self
            .last
            .and_then(|last| self.ready.range(last..).find(|a| **a != last));
        let agent = *after.or_else(|| self.ready.first())?;
        self.last = Some(agent);
        let queue = self.queues.get_mut(&agent)?;
        let (key, id) = queue.waiting.pop_front()?;
        queue.in_flight.insert(id, key);
        self.arm(&agent, config);
        Some((key, id))
    }

    /// A push arrived, or is not to be brought any more.
    pub(crate) fn done(&mut self, to: &AgentId, id: PushId, config: &Config) -> Option<PushKey> {
        let key = self.queues.get_mut(to)?.in_flight.remove(&id);
        self.arm(to, config);
        key
    }

    /// A push did not arrive: it comes again after a rest.
    pub(crate) fn failed(&mut self, now: UnixTime, to: &AgentId, id: PushId, config: &Config) {
        let Some(queue) = self.queues.get_mut(to) else {
            return;
        };
        let Some(key) = queue.in_flight.remove(&id) else {
            return;
        };
        // A later push from the same sender has taken its place.
        if queue.waiting.iter().all(|(known, _)| *known != key) {
            queue.waiting.push_front((key, id));
        }
        self.rest(now, *to, config);
    }

    /// Lets those go on whose rest is over.
    pub(crate) fn handle_time<S: Store>(&mut self, store: &S, now: UnixTime, config: &Config) {
        while let Some((until, agent)) = self.resting.first().copied() {
            // A rest that lies further ahead than a whole one comes from a clock that was set back.
            if now < until && until <= now.plus(config.push_retry) {
                return;
            }
            self.resting.remove(&(until, agent));
            if let Some(queue) = self.queues.get_mut(&agent) {
                queue.rests_until = None;
            }
            self.read(store, now, agent, config);
        }
    }

    pub(crate) fn next_due(&self) -> Option<UnixTime> {
        self.resting.first().map(|(until, _)| *until)
    }

    fn read<S: Store>(&mut self, store: &S, now: UnixTime, agent: AgentId, config: &Config) {
        let Some(queue) = self.queues.get_mut(&agent) else {
            return;
        };
        if queue.is_unread {
            match waiting(store, now, &agent) {
                Ok(waiting) => {
                    queue.waiting = waiting;
                    queue.is_unread = false;
                }
                Err(error) => {
                    tracing::error!(%error, "cannot read what waits for an agent");
                    self.rest(now, agent, config);
                }
            }
        }
        self.arm(&agent, config);
    }

    fn rest(&mut self, now: UnixTime, agent: AgentId, config: &Config) {
        if let Some(queue) = self.queues.get_mut(&agent) {
            let until = *queue.rests_until.get_or_insert(now.plus(config.push_retry));
            self.resting.insert((until, agent));
        }
        self.arm(&agent, config);
    }

    fn arm(&mut self, agent: &AgentId, config: &Config) {
        if self
            .queues
            .get(agent)
            .is_some_and(|queue| queue.can_send(config))
        {
            self.ready.insert(*agent);
        } else {
            self.ready.remove(agent);
        }
    }
}

fn waiting<S: Store>(
    store: &S,
    now: UnixTime,
    agent: &AgentId,
) -> Result<VecDeque<(PushKey, PushId)>, StoreError> {
    let mut rows: Vec<PushRow> = vec![];
    for kind in PushKind::ALL {
        rows.extend(store.pushes(agent, kind)?);
    }
    rows.retain(|row| now < row.not_after);
    rows.sort_by_key(|row| row.made);
    Ok(rows.into_iter().map(|row| (row.key, row.id)).collect())
}
