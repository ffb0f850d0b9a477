//! Where inbound streams wait until `recv` or `accept` takes them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pilot_types::Port;
use tokio::sync::Notify;

/// How much may wait, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Streams in all. Each is unread, so that what it holds is at most its flow-control window: 64 × 1 MiB are 64 MiB.
    pub streams: usize,
    /// How long a stream waits before it is refused.
    pub patience: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            streams: 64,
            patience: Duration::from_secs(30),
        }
    }
}

/// Items by port in order of arrival, with a deadline each. No clock of its own.
///
/// A port for which somebody waits always has room, so that one peer that fills the room cannot keep out what is asked
/// for; the excess is at most the number of takers.
#[derive(Debug)]
pub struct Queue<T> {
    bounds: Bounds,
    waiting: VecDeque<Waiting<T>>,
    takers: BTreeMap<Port, usize>,
}

#[derive(Debug)]
struct Waiting<T> {
    port: Port,
    until: Instant,
    item: T,
}

impl<T> Queue<T> {
    /// Empty.
    #[must_use]
    pub const fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            waiting: VecDeque::new(),
            takers: BTreeMap::new(),
        }
    }

    /// Puts an item at the end of its port's line.
    ///
    /// # Errors
    /// The item, if the room is full.
    pub fn admit(&mut self, now: Instant, port: Port, item: T) -> Result<(), T> {
        let in_line = self
            .waiting
            .iter()
            .filter(|waiting| waiting.port == port)
            .count();
        let is_awaited = self
            .takers
            .get(&port)
            .is_some_and(|takers| *takers > in_line);
        if self.waiting.len() >= self.bounds.streams && !is_awaited {
            return Err(item);
        }
        let until = now + self.bounds.patience;
        self.waiting.push_back(Waiting { port, until, item });
        Ok(())
    }

    /// The first item for `port`.
    pub fn take(&mut self, port: Port) -> Option<T> {
        let at = self
            .waiting
            .iter()
            .position(|waiting| waiting.port == port)?;
        self.waiting.remove(at).map(|waiting| waiting.item)
    }

    /// Items whose patience ended.
    pub fn expire(&mut self, now: Instant) -> Vec<T> {
        // All have the same patience, so that they end in order of arrival.
        let due = self
            .waiting
            .iter()
            .take_while(|waiting| waiting.until <= now)
            .count();
        self.waiting
            .drain(..due)
            .map(|waiting| waiting.item)
            .collect()
    }

    /// When the next item's patience ends.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Instant> {
        self.waiting.front().map(|waiting| waiting.until)
    }

    /// Items that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn add_taker(&mut self, port: Port) {
        *self.takers.entry(port).or_default() += 1;
    }

    fn remove_taker(&mut self, port: Port) {
        if let Some(takers) = self.takers.get_mut(&port) {
            *takers -= 1;
            if *takers == 0 {
                self.takers.remove(&port);
            }
        }
    }
}

/// A [`Queue`] that tasks share: one admits, others wait for what comes.
#[derive(Debug)]
pub struct WaitingRoom<T> {
    queue: Mutex<Queue<T>>,
    changed: Notify,
}

impl<T> WaitingRoom<T> {
    /// An empty room.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            queue: Mutex::new(Queue::new(bounds)),
            changed: Notify::new(),
        }
    }

    /// Lets an item wait for a taker.
    ///
    /// # Errors
    /// The item, if the room is full: refuse it.
    pub fn admit(&self, port: Port, item: T) -> Result<(), T> {
        self.queue().admit(Instant::now(), port, item)?;
        self.changed.notify_waiters();
        Ok(())
    }

    /// Waits for the next item for `port`. Dropping the future loses nothing.
    pub async fn take(&self, port: Port) -> T {
        let _taker = Taker::new(self, port);
        loop {
            let changed = self.changed.notified();
            if let Some(item) = self.queue().take(port) {
                return item;
            }
            changed.await;
        }
    }

    /// Hands every item whose patience ends to `refuse`. Runs until it is dropped; sleeps while nothing waits.
    pub async fn run_expiry(&self, mut refuse: impl FnMut(T)) {
        loop {
            let changed = self.changed.notified();
            let expired = self.queue().expire(Instant::now());
            expired.into_iter().for_each(&mut refuse);
            let next = self.queue().next_expiry();
            match next {
                // An item that comes later ends later: only an empty room needs to hear of it.
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => changed.await,
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        // No panic happens under the lock; if one did, the line itself is still whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits for a port, for as long as this lives.
struct Taker<'a, T> {
    room: &'a WaitingRoom<T>,
    port: Port,
}

impl<'a, T> Taker<'a, T> {
    fn new(room: &'a WaitingRoom<T>, port: Port) -> Self {
        room.queue().add_taker(port);
        Self { room, port }
    }
}

impl<T> Drop for Taker<'_, T> {
    fn drop(&mut self) {
        self.room.queue().remove_taker(self.port);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        streams: 2,
        patience: Duration::from_secs(30),
    };

    #[test]
    fn items_leave_in_order_of_arrival_by_port() {
        let now = Instant::now();
        let mut queue = Queue::new(Bounds {
            streams: 8,
            ..BOUNDS
        });
        for (port, item) in [(1000, 'a'), (7000, 'b'), (1000, 'c')] {
            queue.admit(now, Port::new(port), item).unwrap();
        }
        assert_eq!(queue.take(Port::STDIO), Some('a'));
        assert_eq!(queue.take(Port::STDIO), Some('c'));
        assert_eq!(queue.take(Port::STDIO), None);
        assert_eq!(queue.take(Port::new(7000)), Some('b'));
    }

    #[test]
    fn a_full_room_gives_the_item_back_unless_it_is_awaited() {
        let now = Instant::now();
        let mut queue = Queue::new(BOUNDS);
        queue.admit(now, Port::STDIO, 1).unwrap();
        queue.admit(now, Port::STDIO, 2).unwrap();
        assert_eq!(queue.admit(now, Port::STDIO, 3), Err(3));
        queue.add_taker(Port::new(7000));
        assert_eq!(queue.admit(now, Port::STDIO, 4), Err(4));
        assert_eq!(queue.admit(now, Port::new(7000), 5), Ok(()));
        assert_eq!(
            queue.admit(now, Port::new(7000), 6),
            Err(6),
            "one taker, one place"
        );
        queue.remove_taker(Port::new(7000));
        assert!(queue.takers.is_empty());
    }

    #[test]
    fn patience_ends_after_its_time_and_not_before() {
        let now = Instant::now();
        let mut queue = Queue::new(BOUNDS);
        queue.admit(now, Port::STDIO, 1).unwrap();
        queue
            .admit(now + Duration::from_secs(10), Port::STDIO, 2)
            .unwrap();
        assert_eq!(queue.next_expiry(), Some(now + Duration::from_secs(30)));
        assert!(queue.expire(now + Duration::from_secs(29)).is_empty());
        assert_eq!(queue.expire(now + Duration::from_secs(30)), [1]);
        assert_eq!(queue.expire(now + Duration::from_secs(40)), [2]);
        assert!(queue.is_empty());
        assert_eq!(queue.next_expiry(), None);
    }

    #[tokio::test]
    async fn a_taker_gets_what_comes_later() {
        let room = Arc::new(WaitingRoom::new(BOUNDS));
        let taker = tokio::spawn({
            let room = Arc::clone(&room);
            async move { room.take(Port::STDIO).await }
        });
        tokio::task::yield_now().await;
        room.admit(Port::STDIO, 'x').unwrap();
        assert_eq!(taker.await.unwrap(), 'x');
    }

    #[tokio::test]
    async fn a_taker_that_gives_up_loses_nothing() {
        let room = WaitingRoom::new(BOUNDS);
        let waited = tokio::time::timeout(Duration::from_millis(1), room.take(Port::STDIO)).await;
        assert!(waited.is_err());
        room.admit(Port::STDIO, 'x').unwrap();
        assert_eq!(room.take(Port::STDIO).await, 'x');
        assert!(room.queue().takers.is_empty());
    }

    #[tokio::test]
    async fn what_nobody_takes_is_refused() {
        let room = Arc::new(WaitingRoom::new(Bounds {
            patience: Duration::from_millis(5),
            ..BOUNDS
        }));
        let (refused, mut refusals) = tokio::sync::mpsc::unbounded_channel();
        let expiry = tokio::spawn({
            let room = Arc::clone(&room);
            async move { room.run_expiry(|item| refused.send(item).unwrap()).await }
        });
        tokio::task::yield_now().await;
        room.admit(Port::STDIO, 'x').unwrap();
        assert_eq!(refusals.recv().await, Some('x'));
        assert!(room.queue().is_empty());
        expiry.abort();
    }
}
