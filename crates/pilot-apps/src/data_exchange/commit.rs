//! Group commit: messages that come while others are written to the disk are written together after them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::delivery::{Delivery, Inbox, Outcome, PutError};

/// Messages of one write: their bodies are those of the budget for what comes in, and nobody waits for more than this many others.
const MAX_BATCH: usize = 512;

type Done = oneshot::Sender<Result<Outcome, PutError>>;

/// Writes messages to an inbox, together where they come together.
#[derive(Debug)]
pub(super) struct GroupCommit<I> {
    inbox: Arc<I>,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Each is of a stream whose service waits for it, and whose body has its share of the service's budget (1 KiB at least of 128 MiB); of
    /// letters there is one.
    messages: VecDeque<(Delivery, Done)>,
    /// Whether a task writes, which then takes what waits.
    is_writing: bool,
}

impl<I: Inbox> GroupCommit<I> {
    pub(super) fn new(inbox: Arc<I>) -> Self {
        Self {
            inbox,
            waiting: Mutex::default(),
        }
    }

    pub(super) const fn inbox(&self) -> &Arc<I> {
        &self.inbox
    }

    /// Resolves when the message is durable, or cannot be. One that was begun goes on without its caller.
    pub(super) async fn store(self: &Arc<Self>, delivery: Delivery) -> Result<Outcome, PutError> {
        let (done, result) = oneshot::channel();
        let begins = {
            let mut waiting = self.lock();
            waiting.messages.push_back((delivery, done));
            !std::mem::replace(&mut waiting.is_writing, true)
        };
        if begins {
            tokio::spawn(Arc::clone(self).write());
        }
        let lost = || Err(PutError::Storage("it was given up".to_owned()));
        result.await.unwrap_or_else(|_| lost())
    }

    /// Writes until nothing waits.
    async fn write(self: Arc<Self>) {
        loop {
            let batch = {
                let mut waiting = self.lock();
                let count = waiting.messages.len().min(MAX_BATCH);
                waiting.is_writing = count > 0;
                waiting.messages.drain(..count).collect::<Vec<_>>()
            };
            if batch.is_empty() {
                return;
            }
            let (deliveries, waiters): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            let inbox = Arc::clone(&self.inbox);
            let written = spawn_blocking(move || inbox.put(&deliveries)).await;
            // A panic of the inbox drops the waiters, who are told that it was given up.
            for (done, result) in waiters.into_iter().zip(written.unwrap_or_default()) {
                // Whoever brought it may have gone.
                let _ = done.send(result);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Condvar, Mutex};

    use pilot_types::AgentId;
    use pilot_wire::{Message, MessageId, MessageType};

    use super::super::{Sender, Terms};
    use super::*;

    /// Writes when it is let, and remembers how many messages each write had.
    #[derive(Default)]
    struct Gate {
        writes: Mutex<Vec<usize>>,
        is_open: Mutex<bool>,
        opened: Condvar,
        panics: AtomicBool,
    }

    impl Gate {
        fn open(&self) {
            *self.is_open.lock().unwrap() = true;
            self.opened.notify_all();
        }
    }

    impl Inbox for Gate {
        fn put(&self, deliveries: &[Delivery]) -> Vec<Result<Outcome, PutError>> {
            self.writes.lock().unwrap().push(deliveries.len());
            assert!(!self.panics.load(Ordering::Relaxed), "as the test wants");
            let is_open = self.is_open.lock().unwrap();
            drop(self.opened.wait_while(is_open, |is_open| !*is_open));
            let refuses = |it: &Delivery| it.head.len == 0;
            let answer = |it| match refuses(it) {
                true => Err(PutError::Full),
                false => Ok(Outcome::Stored),
            };
            deliveries.iter().map(answer).collect()
        }
    }

    fn delivery(len: u64) -> Delivery {
        Delivery {
            sender: Sender {
                agent: AgentId::new([1; 32]),
                hostname: None,
            },
            terms: Terms::default(),
            head: Message {
                id: MessageId::new([1; 16]),
                kind: MessageType::Text,
                len,
                reply_to: None,
                trace: None,
            },
            body: Arc::from(&b""[..]),
            mailed: None,
            finding: None,
        }
    }

    #[tokio::test]
    async fn what_comes_while_one_is_written_is_written_together() {
        let commit = Arc::new(GroupCommit::new(Arc::new(Gate::default())));
        let store = |len| {
            let commit = Arc::clone(&commit);
            tokio::spawn(async move { commit.store(delivery(len)).await })
        };
        let mut stored = vec![store(1)];
        while commit.inbox.writes.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        stored.extend((0..MAX_BATCH as u64 + 3).map(store));
        while commit.lock().messages.len() < stored.len() - 1 {
            tokio::task::yield_now().await;
        }
        commit.inbox.open();
        let mut refused = 0;
        for stored in stored {
            match stored.await.unwrap() {
                Ok(Outcome::Stored) => {}
                Err(PutError::Full) => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(refused, 1, "each is told its own");
        assert_eq!(*commit.inbox.writes.lock().unwrap(), [1, MAX_BATCH, 3]);
        assert!(!commit.lock().is_writing);
    }

    #[tokio::test]
    async fn an_inbox_that_panics_is_an_error_and_not_the_end() {
        let commit = Arc::new(GroupCommit::new(Arc::new(Gate::default())));
        commit.inbox.panics.store(true, Ordering::Relaxed);
        let lost = commit.store(delivery(1)).await;
        assert!(matches!(lost, Err(PutError::Storage(_))), "{lost:?}");
        commit.inbox.panics.store(false, Ordering::Relaxed);
        commit.inbox.open();
        assert!(commit.store(delivery(1)).await.is_ok());
    }
}
