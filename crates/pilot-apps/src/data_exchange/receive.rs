//! The receiver's side: what may come in, the inbox, the acknowledgement.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pilot_types::{AgentId, Hostname};
use pilot_wire::limits::MAX_MESSAGE;
use pilot_wire::{Message, MessageAck, MessageId, Scope};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::answers::{Answers, AnswersError};
use super::codec::{ReadMessageError, encode_ack, read_body, read_head};
use super::sender_rate::SenderRate;

/// Bytes that one permit of the memory budget stands for.
const BUDGET_UNIT: u64 = 1024;

/// What one receiver takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one body.
    pub message: u64,
    /// Bytes of all bodies that are on their way in, at least one of the largest; further messages wait for their turn.
    pub in_flight: u64,
    /// How long one message may take from its first byte to its last.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: MAX_MESSAGE as u64,
            // Two of the largest: one slow sender leaves room for another.
            in_flight: 2 * MAX_MESSAGE as u64,
            // 64 MiB in ten minutes are 112 KiB/s.
            patience: Duration::from_secs(600),
        }
    }
}

/// Who brings a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The agent that holds the session.
    pub agent: AgentId,
    /// Its name as far as we know it.
    pub hostname: Option<Hostname>,
}

/// What the sender's grant allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Terms {
    /// Only answers to messages of ours.
    pub is_reply_only: bool,
    /// Bytes of one body, 0 for the receiver's own limit.
    pub max_size: u64,
    /// Messages a minute, 0 for the receiver's own limit.
    pub rate: u32,
}

impl From<&Scope> for Terms {
    fn from(scope: &Scope) -> Self {
        Self {
            is_reply_only: scope.is_reply_only,
            max_size: scope.max_size,
            rate: scope.rate,
        }
    }
}

/// A message that came in whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Who brought it.
    pub sender: Sender,
    /// Its head.
    pub head: Message,
    /// Its body, shared by the inbox and whoever waits for it.
    pub body: Arc<[u8]>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the inbox and will stay there through any crash.
    Stored,
    /// It was there before.
    Duplicate,
}

/// Why the inbox did not take a message.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PutError {
    /// Its quota is used up.
    #[error("the inbox is full")]
    Full,
    /// It could not be written.
    #[error("the inbox cannot be written: {0}")]
    Storage(String),
}

/// Where messages are kept. `put` blocks until the message is durable.
pub trait Inbox: Send + Sync + 'static {
    /// Stores a message, once for each sender and id.
    ///
    /// # Errors
    /// [`PutError`]: nothing was stored, and nothing may be acknowledged.
    fn put(&self, delivery: &Delivery) -> Result<Outcome, PutError>;
}

/// Why a message did not get into the inbox.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// What came is not a message.
    #[error("not a message")]
    Read(#[from] ReadMessageError),
    /// The sender was too slow.
    #[error("the message took too long")]
    TooSlow,
    /// Its body is longer than allowed.
    #[error("message of {len} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Bytes announced.
        len: u64,
        /// Bytes allowed to this sender.
        limit: u64,
    },
    /// The sender's grant allows only answers, and this is none.
    #[error("only answers to outstanding messages are allowed")]
    ReplyOnly,
    /// Too many messages a minute.
    #[error("too many messages, try again later")]
    RateLimited,
    /// The inbox did not take it.
    #[error("the inbox did not take it")]
    Inbox(#[from] PutError),
    /// The message is stored, but its sender does not know.
    #[error("the acknowledgement could not be sent")]
    Ack(#[source] std::io::Error),
}

impl ServeError {
    /// What the sender is told: what it can act on, nothing about this machine.
    fn to_peer(&self) -> Option<String> {
        match self {
            Self::TooLarge { .. } | Self::ReplyOnly | Self::RateLimited | Self::TooSlow => {
                Some(self.to_string())
            }
            Self::Inbox(PutError::Full) => Some("the inbox is full".to_owned()),
            Self::Inbox(PutError::Storage(_)) => {
                Some("the inbox cannot store it now, try again later".to_owned())
            }
            Self::Read(ReadMessageError::Io(_)) | Self::Ack(_) => None,
            Self::Read(error) => Some(error.to_string()),
        }
    }
}

/// The service on port 1001.
#[derive(Debug)]
pub struct DataExchange<I> {
    inbox: Arc<I>,
    limits: Limits,
    budget: Semaphore,
    answers: Mutex<Answers>,
    rate: Mutex<SenderRate>,
}

impl<I: Inbox> DataExchange<I> {
    /// A service over an inbox.
    #[must_use]
    pub fn new(inbox: Arc<I>, limits: Limits) -> Self {
        Self {
            inbox,
            limits,
            budget: Semaphore::new(
                usize::try_from(units(limits.in_flight.max(limits.message)))
                    .unwrap_or(usize::MAX >> 3),
            ),
            answers: Mutex::default(),
            rate: Mutex::default(),
        }
    }

    /// The inbox.
    #[must_use]
    pub const fn inbox(&self) -> &Arc<I> {
        &self.inbox
    }

    /// Notes before sending that `to` may answer `id`.
    ///
    /// # Errors
    /// [`AnswersError::Full`].
    pub fn expect_answer(&self, to: AgentId, id: MessageId) -> Result<(), AnswersError> {
        lock(&self.answers).expect(Instant::now(), to, id)
    }

    /// The same, and gives what resolves when the answer is stored.
    ///
    /// # Errors
    /// [`AnswersError::Full`].
    pub fn wait_for_answer(
        &self,
        to: AgentId,
        id: MessageId,
    ) -> Result<oneshot::Receiver<Delivery>, AnswersError> {
        lock(&self.answers).wait(Instant::now(), to, id)
    }

    /// Forgets a message that was not sent after all.
    pub fn forget_answer(&self, to: AgentId, id: MessageId) {
        lock(&self.answers).forget(to, id);
    }

    /// Takes one message from a stream, stores it, acknowledges it.
    ///
    /// # Errors
    /// [`ServeError`]; the sender was told where it can act on it.
    pub async fn serve<S: AsyncRead + AsyncWrite>(
        &self,
        stream: S,
        sender: Sender,
        terms: Terms,
    ) -> Result<Outcome, ServeError> {
        let (mut reader, mut writer) = split(stream);
        let taken = timeout(self.limits.patience, self.take(&mut reader, sender, terms))
            .await
            .unwrap_or(Err(ServeError::TooSlow));
        let ack = match &taken {
            Ok(Outcome::Stored) => Some(MessageAck::Stored),
            Ok(Outcome::Duplicate) => Some(MessageAck::Duplicate),
            Err(error) => error.to_peer().map(MessageAck::Refused),
        };
        let answered = async {
            if let Some(ack) = ack {
                writer.write_all(&encode_ack(ack)).await?;
            }
            writer.shutdown().await
        };
        let answered = answered.await;
        let outcome = taken?;
        answered.map_err(ServeError::Ack)?;
        Ok(outcome)
    }

    async fn take<R: AsyncRead + Unpin>(
        &self,
        reader: &mut R,
        sender: Sender,
        terms: Terms,
    ) -> Result<Outcome, ServeError> {
        let head = read_head(reader).await?;
        self.check(&head, &sender, terms)?;
        let _share = self
            .budget
            .acquire_many(u32::try_from(units(head.len)).unwrap_or(u32::MAX))
            .await
            .expect("the budget is never closed");
        let body = read_body(reader, &head).await?.into();
        let delivery = Delivery { sender, head, body };
        let outcome = self.store(delivery.clone()).await?;
        if let (Outcome::Stored, Some(id)) = (outcome, delivery.head.reply_to) {
            lock(&self.answers).resolve(id, &delivery);
        }
        Ok(outcome)
    }

    fn check(&self, head: &Message, sender: &Sender, terms: Terms) -> Result<(), ServeError> {
        let limit = match terms.max_size {
            0 => self.limits.message,
            max => max.min(self.limits.message),
        };
        if head.len > limit {
            return Err(ServeError::TooLarge {
                len: head.len,
                limit,
            });
        }
        let now = Instant::now();
        let is_answer = head
            .reply_to
            .is_some_and(|id| lock(&self.answers).is_expected(now, sender.agent, id));
        if terms.is_reply_only && !is_answer {
            return Err(ServeError::ReplyOnly);
        }
        if !lock(&self.rate).take(now, sender.agent, terms.rate) {
            return Err(ServeError::RateLimited);
        }
        Ok(())
    }

    async fn store(&self, delivery: Delivery) -> Result<Outcome, PutError> {
        let inbox = Arc::clone(&self.inbox);
        spawn_blocking(move || inbox.put(&delivery))
            .await
            .unwrap_or_else(|error| Err(PutError::Storage(error.to_string())))
    }
}

const fn units(bytes: u64) -> u64 {
    bytes / BUDGET_UNIT + 1
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each critical section is one call of a machine that keeps its invariant on every path.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
