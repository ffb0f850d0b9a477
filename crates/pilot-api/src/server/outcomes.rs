//! How upgraded streams ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::places::MAX_STREAMS;
use crate::error::{ApiError, ErrorCode};
use crate::types::StreamEnded;

/// Every live stream has one, and as many ended ones are kept for clients that still have to ask: about 100 bytes each.
const MAX_OUTCOMES: usize = 2 * MAX_STREAMS;

type Outcome = Option<Result<StreamEnded, ApiError>>;

/// The streams of this server by their numbers.
#[derive(Default)]
pub(super) struct Outcomes {
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    next: u64,
    streams: BTreeMap<u64, watch::Receiver<Outcome>>,
}

/// A live stream's entry. Dropped without an outcome it goes, and whoever waits for one hears that the stream was broken off.
pub(super) struct LiveStream {
    pub(super) id: u64,
    outcome: watch::Sender<Outcome>,
    table: Arc<Mutex<Table>>,
}

impl LiveStream {
    pub(super) fn end(self, outcome: Result<StreamEnded, ApiError>) {
        self.outcome.send_replace(Some(outcome));
    }
}

impl Drop for LiveStream {
    fn drop(&mut self) {
        if self.outcome.borrow().is_none() {
            lock(&self.table).streams.remove(&self.id);
        }
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outcomes {
    pub(super) fn open(&self) -> LiveStream {
        let (outcome, receiver) = watch::channel(None);
        let mut table = self.lock();
        table.next += 1;
        let id = table.next;
        table.streams.insert(id, receiver);
        if table.streams.len() > MAX_OUTCOMES {
            table.forget_oldest_ended();
        }
        LiveStream {
            id,
            outcome,
            table: Arc::clone(&self.table),
        }
    }

    /// Waits for the stream's end.
    pub(super) async fn wait(&self, id: u64) -> Result<StreamEnded, ApiError> {
        let receiver = self.lock().streams.get(&id).cloned();
        let Some(mut receiver) = receiver else {
            return Err(ApiError::new(
                ErrorCode::NotFound,
                format!("no stream {id}, or it ended long ago"),
            ));
        };
        let outcome = receiver
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|outcome| outcome.clone());
        self.lock().streams.remove(&id);
        outcome.unwrap_or_else(|| Err(broken_off("the stream was broken off")))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

impl Table {
    fn forget_oldest_ended(&mut self) {
        let oldest = self
            .streams
            .iter()
            .find(|(_, receiver)| receiver.borrow().is_some())
            .map(|(id, _)| *id);
        if let Some(id) = oldest {
            self.streams.remove(&id);
        }
    }
}

pub(super) fn broken_off(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::ConnectionFailed, message)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::Poll;

    use super::*;

    const ENDED: StreamEnded = StreamEnded {
        sent: 1,
        received: 2,
    };

    #[tokio::test]
    async fn an_outcome_is_told_once() {
        let outcomes = Outcomes::default();
        let stream = outcomes.open();
        let id = stream.id;
        stream.end(Ok(ENDED));
        assert_eq!(outcomes.wait(id).await, Ok(ENDED));
        assert_eq!(
            outcomes.wait(id).await.unwrap_err().code,
            ErrorCode::NotFound
        );
    }

    #[tokio::test]
    async fn a_stream_without_an_outcome_was_broken_off_and_leaves_nothing() {
        let outcomes = Outcomes::default();
        let stream = outcomes.open();
        let id = stream.id;
        let mut waiting = std::pin::pin!(outcomes.wait(id));
        let pending =
            std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending()));
        assert!(pending.await);
        drop(stream);
        assert!(outcomes.lock().streams.is_empty());
        assert_eq!(waiting.await.unwrap_err().code, ErrorCode::ConnectionFailed);
        assert_eq!(
            outcomes.wait(id).await.unwrap_err().code,
            ErrorCode::NotFound
        );
    }

    #[tokio::test]
    async fn ended_streams_that_nobody_asks_for_are_forgotten() {
        let outcomes = Outcomes::default();
        let live = outcomes.open();
        for _ in 0..2 * MAX_OUTCOMES {
            outcomes.open().end(Ok(ENDED));
        }
        assert_eq!(outcomes.lock().streams.len(), MAX_OUTCOMES);
        assert!(outcomes.lock().streams.contains_key(&live.id));
    }
}
