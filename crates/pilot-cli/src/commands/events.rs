//! Events: published to an agent's broker, and brought from there.

use std::time::Instant;

use pilot_api::types::{Event, EventLine, PublishRequest, SubscribeRequest};
use pilot_api::{ApiError, ApiStream, Client, Payload};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};

use crate::args::{PublishArgs, SubscribeArgs};
use crate::context::Context;
use crate::output::{Failure, Reply, print, to_json};
use crate::style;

pub(crate) async fn publish(context: &Context, args: PublishArgs) -> Result<Reply, Failure> {
    let request = PublishRequest {
        peer: args.peer,
        topic: args.topic,
        body: Payload::new(args.data.into_bytes()),
        timeout_ms: context.timeout_ms(),
    };
    let published = context.client()?.call(&request).await?;
    let whom = match published.members {
        Some(members) => format!("{} of {} members online", members.delivered, members.sent),
        None => published.target.to_string(),
    };
    let words = format!(
        "{} to {whom}: {} subscribed",
        published.topic, published.subscribers
    );
    Reply::new(&published, context.output.style.done(&words))
}

#[derive(Serialize)]
struct Came {
    events: Vec<Event>,
    /// Events that are missing: this subscriber was too slow for them.
    dropped: u64,
    /// Whether the deadline came before the last of them.
    timeout: bool,
}

/// With a count, all of them in one document; without, one line each until the deadline that was asked for.
pub(crate) async fn subscribe(context: &Context, args: SubscribeArgs) -> Result<Reply, Failure> {
    let deadline = match args.count {
        Some(_) => context.settings.deadline().0,
        None => context.settings.timeout.and_then(|deadline| deadline.0),
    };
    let until = deadline.map(|deadline| Instant::now() + deadline);
    let client = Client::new(context.settings.socket()?).with_timeout(None);
    let request = SubscribeRequest {
        peer: args.peer,
        topic: args.topic,
        replay: args.replay,
        timeout_ms: context.timeout_ms(),
    };
    let (info, stream) = client.subscribe(&request).await?;
    context
        .output
        .detail(&format!("subscribed to {} at {}", info.topic, info.target));
    let number = stream.number();
    let mut lines = BufReader::new(stream).lines();
    let mut came = Came {
        events: vec![],
        dropped: 0,
        timeout: false,
    };
    let mut seen = 0;
    while args.count.is_none_or(|count| seen < count) {
        match next(&mut lines, until).await? {
            Next::Line(EventLine::Event(event)) => {
                seen += 1;
                match (context.settings.json, args.count) {
                    (true, Some(_)) => came.events.push(event),
                    (true, None) => print_line(&to_json(&event)?)?,
                    (false, _) => print_line(&event_words(&event))?,
                }
            }
            Next::Line(EventLine::Dropped { dropped }) => {
                came.dropped += dropped;
                context
                    .output
                    .warning(&format!("{dropped} events are missing: this was too slow"));
            }
            Next::Deadline if seen > 0 => {
                came.timeout = true;
                break;
            }
            Next::Deadline => return Err(ApiError::timeout("no event came in time").into()),
            Next::End => {
                client.outcome(number).await?;
                break;
            }
        }
    }
    match args.count {
        Some(_) => Reply::new(&came, ""),
        None => Ok(Reply::Written),
    }
}

enum Next {
    Line(EventLine),
    End,
    Deadline,
}

async fn next(
    lines: &mut Lines<BufReader<ApiStream>>,
    until: Option<Instant>,
) -> Result<Next, ApiError> {
    tokio::select! {
        // How a broken stream ended is told by its outcome.
        line = lines.next_line() => match line.ok().flatten() {
            Some(line) => serde_json::from_str(&line).map(Next::Line).map_err(|error| {
                ApiError::internal(format!("the daemon sent no event: {error}"))
            }),
            None => Ok(Next::End),
        },
        () = passed(until) => Ok(Next::Deadline),
    }
}

/// Until a deadline, if there is one.
pub(super) async fn passed(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

pub(super) fn print_line(text: &str) -> Result<(), ApiError> {
    let failed = |error| ApiError::internal(format!("cannot write to standard output: {error}"));
    print(text).map_err(failed)
}

pub(crate) fn event_words(event: &Event) -> String {
    let from = event
        .from_hostname
        .as_ref()
        .map_or_else(|| event.from_address.to_string(), ToString::to_string);
    let body = match event.body.as_text() {
        Some(text) => style::clean(text),
        None => format!("[{} of binary data]", style::bytes(event.bytes)),
    };
    format!("{} {from} {body}", event.topic)
}
