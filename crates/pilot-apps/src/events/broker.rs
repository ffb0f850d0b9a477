//! Subscribers and their queues.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pilot_types::AgentId;
use pilot_wire::limits::MAX_EVENT;
use pilot_wire::{Topic, TopicFilter};
use thiserror::Error;
use tokio::sync::Notify;

/// Subscriptions in all.
const MAX_SUBSCRIPTIONS: usize = 256;
/// Subscriptions of one agent.
const MAX_PER_AGENT: usize = 32;
/// Events that wait for one subscriber.
const MAX_QUEUED: usize = 256;
/// Bytes of bodies that wait for one subscriber: with all subscriptions, 128 MiB where no two queues share an event.
const MAX_QUEUED_BYTES: usize = 512 * 1024;

/// Events that are kept for those who subscribe later.
const MAX_REPLAY: usize = 256;
/// Bytes of their bodies.
const MAX_KEPT_BYTES: usize = 1024 * 1024;

/// Something that was published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// What it is about.
    pub topic: Topic,
    /// Whose session brought it.
    pub from: AgentId,
    /// What it says.
    pub body: Vec<u8>,
}

/// What a subscriber gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Published {
    /// An event, shared by all whom it is for.
    Event(Arc<Event>),
    /// So many are missing here: the subscriber was too slow for them.
    Dropped(u64),
}

/// Why an event is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("event of {0} bytes, at most {MAX_EVENT} are allowed")]
pub struct PublishError(usize);

/// Why a subscription is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The agent has too many.
    #[error("an agent may have {MAX_PER_AGENT} subscriptions")]
    Agent,
    /// There are too many.
    #[error("there are too many subscriptions, try again later")]
    Full,
}

/// Hands events to those who subscribed. Publishing never waits: each subscriber has a queue of its own.
#[derive(Debug, Default)]
pub struct Broker {
    subscribers: Arc<Mutex<Subscribers>>,
}

#[derive(Debug, Default)]
struct Subscribers {
    last: u64,
    by_id: BTreeMap<u64, Subscriber>,
    recent: Recent,
}

/// The last events, whoever was subscribed.
#[derive(Debug, Default)]
struct Recent {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

impl Recent {
    fn push(&mut self, event: &Arc<Event>) {
        self.bytes += event.body.len();
        self.events.push_back(Arc::clone(event));
        while self.events.len() > MAX_REPLAY || self.bytes > MAX_KEPT_BYTES {
            let Some(oldest) = self.events.pop_front() else {
                return;
            };
            self.bytes -= oldest.body.len();
        }
    }

    /// The newest `last` that match and fit into one queue, in order.
    fn replay(&self, filter: &TopicFilter, last: usize) -> Vec<Arc<Event>> {
        let mut bytes = 0;
        let newest = self.events.iter().rev();
        let wanted = newest.filter(|event| filter.matches(&event.topic));
        let fitting = wanted.take_while(|event| {
            bytes += event.body.len();
            bytes <= MAX_QUEUED_BYTES
        });
        let mut events: Vec<_> = fitting.take(last.min(MAX_QUEUED)).cloned().collect();
        events.reverse();
        events
    }
}

#[derive(Debug)]
struct Subscriber {
    agent: AgentId,
    filter: TopicFilter,
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Events that found no room behind the last one in the queue.
    dropped: u64,
}

impl Broker {
    /// Hands an event to whom it is for; gives how many that are, those without room included.
    ///
    /// # Errors
    /// [`PublishError`] if it is too long.
    pub fn publish(&self, from: AgentId, topic: Topic, body: Vec<u8>) -> Result<u64, PublishError> {
        if body.len() > MAX_EVENT {
            return Err(PublishError(body.len()));
        }
        let event = Arc::new(Event { topic, from, body });
        let mut subscribers = lock(&self.subscribers);
        subscribers.recent.push(&event);
        let wanted = |subscriber: &&Subscriber| subscriber.filter.matches(&event.topic);
        let mut count = 0;
        for subscriber in subscribers.by_id.values().filter(wanted) {
            subscriber.queue.push(&event);
            count += 1;
        }
        Ok(count)
    }

    /// Subscribes an agent; it gets what is published from now on.
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub fn subscribe(
        &self,
        agent: AgentId,
        filter: TopicFilter,
    ) -> Result<Subscription, SubscribeError> {
        self.subscribe_after(agent, filter, 0)
    }

    /// The same, and before it at most `last` of the last events that are kept, 256 in all.
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub fn subscribe_after(
        &self,
        agent: AgentId,
        filter: TopicFilter,
        last: usize,
    ) -> Result<Subscription, SubscribeError> {
        let mut subscribers = lock(&self.subscribers);
        let by_id = &mut subscribers.by_id;
        if by_id.values().filter(|s| s.agent == agent).count() >= MAX_PER_AGENT {
            return Err(SubscribeError::Agent);
        }
        if by_id.len() >= MAX_SUBSCRIPTIONS {
            return Err(SubscribeError::Full);
        }
        subscribers.last += 1;
        let id = subscribers.last;
        let queue = Arc::new(Queue::default());
        for event in subscribers.recent.replay(&filter, last) {
            queue.push(&event);
        }
        let subscriber = Subscriber {
            agent,
            filter,
            queue: Arc::clone(&queue),
        };
        subscribers.by_id.insert(id, subscriber);
        Ok(Subscription {
            id,
            queue,
            subscribers: Arc::clone(&self.subscribers),
        })
    }
}

impl Queue {
    fn push(&self, event: &Arc<Event>) {
        let mut waiting = lock(&self.waiting);
        let bytes = waiting.bytes + event.body.len();
        // What comes after a gap stays behind it.
        if waiting.dropped > 0 || waiting.events.len() >= MAX_QUEUED || bytes > MAX_QUEUED_BYTES {
            waiting.dropped += 1;
        } else {
            waiting.bytes = bytes;
            waiting.events.push_back(Arc::clone(event));
        }
        self.filled.notify_one();
    }

    fn pop(&self) -> Option<Published> {
        let mut waiting = lock(&self.waiting);
        if let Some(event) = waiting.events.pop_front() {
            waiting.bytes -= event.body.len();
            return Some(Published::Event(event));
        }
        let dropped = std::mem::take(&mut waiting.dropped);
        (dropped > 0).then_some(Published::Dropped(dropped))
    }
}

/// An agent's place at a broker; dropping it gives the place up.
#[derive(Debug)]
pub struct Subscription {
    id: u64,
    queue: Arc<Queue>,
    subscribers: Arc<Mutex<Subscribers>>,
}

impl Subscription {
    /// The next event or gap. Cancel safe.
    pub async fn next(&mut self) -> Published {
        loop {
            if let Some(next) = self.queue.pop() {
                return next;
            }
            self.queue.filled.notified().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        lock(&self.subscribers).by_id.remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each critical section leaves its table whole on every path.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
