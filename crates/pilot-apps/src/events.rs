//! Port 1002: events. Each agent has a broker; who publishes to the agent hands it an event, who subscribes gets them
//! (`docs/wire.md` §11).
//!
//! ```text
//! publisher ── topic, body ──▶ Broker ──┬─▶ queue ──▶ subscriber     matched by filter, one bounded queue each:
//!                                       └─▶ queue ──▶ subscriber     a slow one loses events and is told how many
//! ```

mod broker;

use std::future::Future;
use std::io;
use std::time::Duration;

use pilot_types::AgentId;
use pilot_wire::limits::MAX_EVENT_FRAME;
use pilot_wire::{EventAnswer, EventFrame, EventRequest, Topic, TopicFilter};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, split};
use tokio::time::timeout;

pub use broker::{Broker, PublishError, Published, SubscribeError, Subscription};

use crate::data_exchange::{ReadMessageError, encode_prefixed, read_value};
use crate::ending::end;

/// How long a request may take to come whole.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why an event was not published, or a subscription ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EventError {
    /// The broker refused, in its words.
    #[error("refused: {0}")]
    Refused(String),
    /// The stream broke.
    #[error("the stream broke")]
    Stream(#[from] io::Error),
    /// What came is no frame of the event stream.
    #[error("not an event")]
    Frame(#[from] ReadMessageError),
}

/// Serves one stream to port 1002 until it is done; `from` is the agent that the stream's session belongs to.
///
/// # Errors
/// [`EventError`]; the other end was told where it can act on it.
pub async fn serve_events<S: AsyncRead + AsyncWrite>(
    stream: S,
    broker: &Broker,
    from: AgentId,
) -> Result<(), EventError> {
    let all = |topic, body| std::future::ready(Ok((topic, body)));
    serve_screened_events(stream, broker, from, all).await
}

/// The same, where each event that is published is looked at before anybody gets it: `screen` gives it back, or says why not.
///
/// # Errors
/// As [`serve_events`].
pub async fn serve_screened_events<S, F, T>(
    stream: S,
    broker: &Broker,
    from: AgentId,
    screen: F,
) -> Result<(), EventError>
where
    S: AsyncRead + AsyncWrite,
    F: FnOnce(Topic, Vec<u8>) -> T,
    T: Future<Output = Result<(Topic, Vec<u8>), String>>,
{
    serve_at(stream, broker, from, Door::Open, screen).await
}

/// The same for a broker whose subscribers are all on this machine: a stream may publish to it, and no more.
///
/// # Errors
/// As [`serve_events`].
pub async fn serve_publisher<S, F, T>(
    stream: S,
    broker: &Broker,
    from: AgentId,
    screen: F,
) -> Result<(), EventError>
where
    S: AsyncRead + AsyncWrite,
    F: FnOnce(Topic, Vec<u8>) -> T,
    T: Future<Output = Result<(Topic, Vec<u8>), String>>,
{
    serve_at(stream, broker, from, Door::Publishers, screen).await
}

/// For whom a broker's streams are.
#[derive(Clone, Copy)]
enum Door {
    Open,
    Publishers,
}

async fn serve_at<S, F, T>(
    stream: S,
    broker: &Broker,
    from: AgentId,
    door: Door,
    screen: F,
) -> Result<(), EventError>
where
    S: AsyncRead + AsyncWrite,
    F: FnOnce(Topic, Vec<u8>) -> T,
    T: Future<Output = Result<(Topic, Vec<u8>), String>>,
{
    let (mut reader, mut writer) = split(stream);
    let (filter, last) = match read_request(&mut reader).await? {
        EventRequest::Publish { topic, body } => {
            let answer = published(broker, from, screen(topic, body).await);
            writer.write_all(&encode_prefixed(&answer)).await?;
            return Ok(end(&mut writer).await?);
        }
        EventRequest::Unknown => {
            return refuse(&mut writer, "a request of another version").await;
        }
        EventRequest::Subscribe { filter } => (filter, 0),
        EventRequest::Replay { filter, last } => (filter, last),
    };
    if let Door::Publishers = door {
        let words = "members of a group subscribe at their own agent";
        return refuse(&mut writer, words).await;
    }
    let last = usize::try_from(last).unwrap_or(usize::MAX);
    match broker.subscribe_after(from, filter, last) {
        Ok(subscription) => feed(&mut reader, &mut writer, subscription).await,
        Err(error) => refuse(&mut writer, &error.to_string()).await,
    }
}

async fn read_request<R: AsyncRead + Unpin>(reader: &mut R) -> Result<EventRequest, EventError> {
    let request = read_value(reader, MAX_EVENT_FRAME, "event request");
    let request = timeout(PATIENCE, request).await;
    Ok(request.map_err(|_| ReadMessageError::Truncated)??)
}

/// What a publisher is told: the event was screened before.
fn published(
    broker: &Broker,
    from: AgentId,
    screened: Result<(Topic, Vec<u8>), String>,
) -> EventAnswer {
    let published = screened.and_then(|(topic, body)| {
        let published = broker.publish(from, topic, body);
        published.map_err(|error| error.to_string())
    });
    match published {
        Ok(subscribers) => EventAnswer::Accepted { subscribers },
        Err(words) => EventAnswer::Refused(words),
    }
}

async fn refuse<W: AsyncWrite + Unpin>(writer: &mut W, words: &str) -> Result<(), EventError> {
    let answer = EventAnswer::Refused(words.to_owned());
    writer.write_all(&encode_prefixed(&answer)).await?;
    Ok(end(writer).await?)
}

/// Sends events until the subscriber ends its direction, or says anything at all.
async fn feed<R, W>(
    reader: &mut R,
    writer: &mut W,
    mut subscription: Subscription,
) -> Result<(), EventError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let answer = EventAnswer::Accepted { subscribers: 0 };
    writer.write_all(&encode_prefixed(&answer)).await?;
    let mut beyond = [0];
    loop {
        let next = tokio::select! {
            next = subscription.next() => next,
            ended = reader.read(&mut beyond) => {
                ended?;
                return Ok(end(writer).await?);
            }
        };
        let frame = match next {
            Published::Event(event) => EventFrame::Event {
                topic: event.topic.clone(),
                from: event.from,
                body: event.body.clone(),
            },
            Published::Dropped(count) => EventFrame::Dropped(count),
        };
        writer.write_all(&encode_prefixed(&frame)).await?;
    }
}

/// Publishes an event on a fresh stream to a broker; gives how many subscribers it was queued for.
///
/// # Errors
/// [`EventError`].
pub async fn publish_event<S: AsyncRead + AsyncWrite>(
    stream: S,
    topic: Topic,
    body: Vec<u8>,
) -> Result<u64, EventError> {
    let (mut reader, mut writer) = split(stream);
    let request = EventRequest::Publish { topic, body };
    let write = async {
        writer.write_all(&encode_prefixed(&request)).await?;
        writer.shutdown().await
    };
    // A broker that has read the request stops reading before our end comes: its answer counts, not our broken write.
    let (written, answer) = tokio::join!(write, answered(&mut reader));
    match (answer, written) {
        (Err(EventError::Frame(_)), Err(error)) => Err(error.into()),
        (answer, _) => answer,
    }
}

async fn answered<R: AsyncRead + Unpin>(reader: &mut R) -> Result<u64, EventError> {
    match read_value(reader, MAX_EVENT_FRAME, "event answer").await? {
        EventAnswer::Accepted { subscribers } => Ok(subscribers),
        EventAnswer::Refused(words) => Err(EventError::Refused(words)),
        EventAnswer::Unknown => Err(EventError::Refused(
            "an answer of another version".to_owned(),
        )),
    }
}

/// A subscription at another agent's broker; dropping it ends it.
pub struct RemoteSubscription<S> {
    reader: ReadHalf<S>,
    /// Held open: its end is the subscription's.
    _writer: tokio::io::WriteHalf<S>,
}

impl<S: AsyncRead + AsyncWrite> RemoteSubscription<S> {
    /// Subscribes on a fresh stream to a broker, and first to at most `last` of the last events that it still has.
    ///
    /// # Errors
    /// [`EventError`].
    pub async fn open(stream: S, filter: TopicFilter, last: u32) -> Result<Self, EventError> {
        let (mut reader, mut writer) = split(stream);
        let request = match last {
            // What brokers of every version know.
            0 => EventRequest::Subscribe { filter },
            last => EventRequest::Replay { filter, last },
        };
        writer.write_all(&encode_prefixed(&request)).await?;
        answered(&mut reader).await?;
        Ok(Self {
            reader,
            _writer: writer,
        })
    }

    /// The next event or gap. Not cancel safe.
    ///
    /// # Errors
    /// [`EventError`], also when the broker ends the subscription.
    pub async fn next(&mut self) -> Result<EventFrame, EventError> {
        loop {
            match read_value(&mut self.reader, MAX_EVENT_FRAME, "event").await? {
                EventFrame::Unknown => {}
                frame @ (EventFrame::Event { .. } | EventFrame::Dropped(_)) => return Ok(frame),
            }
        }
    }
}

#[cfg(test)]
mod tests;
