//! The service on port 1001: what may come in, the inbox, the acknowledgement, the answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pilot_types::AgentId;
use pilot_wire::{Message, MessageAck, MessageId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::answers::{ANSWER_LIFETIME, Answers, AnswersError};
use super::codec::{encode_ack, read_body, read_head};
use super::commit::GroupCommit;
use super::delivery::{Delivery, Inbox, Limits, Outcome, Sender, ServeError, Terms};
use super::open_requests::{Answer, OpenRequests};
use super::send::{Direction, SendMessageError, exchange, send_message};
use super::sender_rate::SenderRate;
use crate::ending::end;

/// Bytes that one permit of the memory budget stands for.
const BUDGET_UNIT: u64 = 1024;
/// Our own messages whose streams are left open for the answer; further ones are sent without.
const MAX_REQUESTS: usize = 256;

/// The service on port 1001, and the sender's side of messages that are answered.
#[derive(Debug)]
pub struct DataExchange<I> {
    commit: Arc<GroupCommit<I>>,
    limits: Limits,
    budget: Semaphore,
    requests: Arc<Semaphore>,
    answers: Mutex<Answers>,
    open_requests: Mutex<OpenRequests>,
    rate: Mutex<SenderRate>,
}

impl<I: Inbox> DataExchange<I> {
    /// A service over an inbox.
    #[must_use]
    pub fn new(inbox: Arc<I>, limits: Limits) -> Self {
        let budget = units(limits.in_flight.max(limits.message));
        Self {
            commit: Arc::new(GroupCommit::new(inbox)),
            limits,
            budget: Semaphore::new(usize::try_from(budget).unwrap_or(Semaphore::MAX_PERMITS)),
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
            answers: Mutex::default(),
            open_requests: Mutex::default(),
            rate: Mutex::default(),
        }
    }

    /// The inbox.
    #[must_use]
    pub fn inbox(&self) -> &Arc<I> {
        self.commit.inbox()
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

    /// Sends a message on a fresh stream and leaves the stream open for an expected answer: for a receiver that may open
    /// no stream to us. The answer is stored and acknowledged in the background for a day.
    ///
    /// # Errors
    /// [`SendMessageError`].
    pub async fn request<S>(
        self: &Arc<Self>,
        stream: S,
        to: Sender,
        head: &Message,
        body: &[u8],
    ) -> Result<MessageAck, SendMessageError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let Ok(place) = Arc::clone(&self.requests).try_acquire_owned() else {
            return send_message(stream, head, body).await;
        };
        let (mut reader, mut writer) = split(stream);
        let message = (head, body);
        let ack = exchange(&mut reader, &mut writer, message, Direction::StayOpen).await?;
        let service = Arc::clone(self);
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = service.take_answer(&mut reader, &mut writer, to).await {
                tracing::debug!(error = %error, "no answer came");
            }
        });
        Ok(ack)
    }

    /// Sends an answer on the stream that its receiver left open; `None` if there is none, or no longer.
    pub async fn answer(
        &self,
        to: AgentId,
        head: &Message,
        body: Arc<[u8]>,
    ) -> Option<Result<MessageAck, SendMessageError>> {
        let hand_over = lock(&self.open_requests).take(to, head.reply_to?)?;
        let (done, result) = oneshot::channel();
        let head = head.clone();
        hand_over.send(Answer { head, body, done }).ok()?;
        result.await.ok()
    }

    /// Takes one message from a stream, stores it, acknowledges it; then holds the stream for as long as its sender leaves
    /// it open for an answer.
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
        let agent = sender.agent;
        let taken = timeout(self.limits.patience, async {
            let head = read_head(&mut reader).await?;
            let id = head.id;
            let outcome = self.take(&mut reader, sender, head, terms).await?;
            Ok((id, outcome))
        });
        match taken.await.unwrap_or(Err(ServeError::TooSlow)) {
            Ok((id, outcome)) => {
                let answer = lock(&self.open_requests).open(Instant::now(), agent, id);
                acknowledge(&mut writer, outcome).await?;
                self.hold(&mut reader, &mut writer, answer).await;
                Ok(outcome)
            }
            Err(error) => {
                refuse(&mut writer, &error).await;
                Err(error)
            }
        }
    }

    /// Until the sender ends its direction, an answer goes out, or the answer's time is over.
    async fn hold<R, W>(&self, reader: &mut R, writer: &mut W, answer: oneshot::Receiver<Answer>)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut beyond = [0];
        let answer = tokio::select! {
            answer = answer => answer.ok(),
            // The end, or bytes that nothing asked for: either way no answer goes out here.
            _ = reader.read(&mut beyond) => None,
            () = sleep(ANSWER_LIFETIME) => None,
        };
        let Some(Answer { head, body, done }) = answer else {
            // The peer may have gone; nothing is lost by that.
            let _ = end(writer).await;
            return;
        };
        let sent = exchange(reader, writer, (&head, &body), Direction::End);
        if let Ok(result) = timeout(self.limits.patience, sent).await {
            // Whoever answered may have given up.
            let _ = done.send(result);
        }
    }

    async fn take_answer<R, W>(
        &self,
        reader: &mut R,
        writer: &mut W,
        from: Sender,
    ) -> Result<Outcome, ServeError>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let head = timeout(ANSWER_LIFETIME, read_head(reader))
            .await
            .map_err(|_| ServeError::TooSlow)??;
        let terms = Terms {
            is_reply_only: true,
            ..Terms::default()
        };
        let taken = timeout(self.limits.patience, self.take(reader, from, head, terms));
        match taken.await.unwrap_or(Err(ServeError::TooSlow)) {
            Ok(outcome) => {
                acknowledge(writer, outcome).await?;
                end(writer).await.map_err(ServeError::Ack)?;
                Ok(outcome)
            }
            Err(error) => {
                refuse(writer, &error).await;
                Err(error)
            }
        }
    }

    /// Reads the body after its head, and stores the message.
    async fn take<R: AsyncRead + Unpin>(
        &self,
        reader: &mut R,
        sender: Sender,
        head: Message,
        terms: Terms,
    ) -> Result<Outcome, ServeError> {
        self.check(&head, &sender, terms)?;
        let _share = self
            .budget
            .acquire_many(u32::try_from(units(head.len)).unwrap_or(u32::MAX))
            .await
            .expect("the budget is never closed");
        let body = read_body(reader, &head).await?.into();
        let delivery = Delivery {
            sender,
            terms,
            head,
            body,
            mailed: None,
            finding: None,
        };
        self.keep(delivery).await
    }

    /// Takes a message that was left in a mailbox. Its sender is not there to be told: what the terms forbid is not stored, and how many it
    /// left is bounded by the mailbox.
    ///
    /// # Errors
    /// [`ServeError`]: of these only [`ServeError::Inbox`] may become better by itself.
    pub async fn take_letter(&self, delivery: Delivery) -> Result<Outcome, ServeError> {
        self.check_terms(&delivery.head, &delivery.sender, delivery.terms)?;
        self.keep(delivery).await
    }

    /// Stores a message, and wakes who waits for it.
    async fn keep(&self, mut delivery: Delivery) -> Result<Outcome, ServeError> {
        delivery.finding = self.commit.inbox().screen(&delivery).await;
        let outcome = self.commit.store(delivery.clone()).await?;
        if let (Outcome::Stored, Some(id)) = (outcome, delivery.head.reply_to) {
            lock(&self.answers).resolve(id, &delivery);
        }
        Ok(outcome)
    }

    fn check(&self, head: &Message, sender: &Sender, terms: Terms) -> Result<(), ServeError> {
        self.check_terms(head, sender, terms)?;
        if lock(&self.rate).take(Instant::now(), sender.agent, terms.rate) {
            Ok(())
        } else {
            Err(ServeError::RateLimited)
        }
    }

    fn check_terms(&self, head: &Message, sender: &Sender, terms: Terms) -> Result<(), ServeError> {
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
        Ok(())
    }
}

pub(super) async fn acknowledge<W: AsyncWrite + Unpin>(
    writer: &mut W,
    outcome: Outcome,
) -> Result<(), ServeError> {
    let ack = match outcome {
        Outcome::Stored => MessageAck::Stored,
        Outcome::Duplicate => MessageAck::Duplicate,
    };
    let written = async {
        writer.write_all(&encode_ack(ack)).await?;
        writer.flush().await
    };
    written.await.map_err(ServeError::Ack)
}

/// Tells the sender, as far as it is there and can act on it.
pub(super) async fn refuse<W: AsyncWrite + Unpin>(writer: &mut W, error: &ServeError) {
    let told = async {
        if let Some(words) = error.to_peer() {
            writer
                .write_all(&encode_ack(MessageAck::Refused(words)))
                .await?;
        }
        end(writer).await
    };
    if let Err(error) = told.await {
        tracing::debug!(%error, "the sender of a refused message is gone");
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
