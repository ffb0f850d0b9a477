//! Messages to an agent's inbox.

use std::fs::File;
use std::io::{self, Read};

use pilot_api::types::{MessageKind, MessageReply, MessageSent, SendMessageRequest};
use pilot_api::{ApiError, Payload};
use pilot_wire::limits::MAX_MESSAGE;

use crate::args::{MessageType, SendMessageArgs};
use crate::context::Context;
use crate::duration::Deadline;
use crate::output::{Failure, Reply};
use crate::style::{self, Style};

pub(crate) async fn send_message(
    context: &Context,
    args: SendMessageArgs,
) -> Result<Reply, Failure> {
    let body = body(&args.data)?;
    let request = SendMessageRequest {
        peer: args.peer,
        kind: kind(args.kind, &body)?,
        body,
        id: args.id,
        reply_to: args.reply_to,
        wait_ms: args.wait.map(Deadline::as_millis),
        timeout_ms: Some(context.settings.deadline_with(args.wait).as_millis()),
        traceparent: None,
    };
    let sent = context.client()?.call(&request).await?;
    Reply::new(&sent, sent_words(&sent, context.output.style))
}

/// The argument itself, standard input for `-`, a file for `@FILE`.
pub(super) fn body(data: &str) -> Result<Payload, ApiError> {
    let unreadable =
        |what: &str, error: io::Error| ApiError::invalid(format!("cannot read {what}: {error}"));
    let bytes = if data == "-" {
        read(io::stdin()).map_err(|error| unreadable("standard input", error))?
    } else if let Some(path) = data.strip_prefix('@') {
        let file = File::open(path).map_err(|error| unreadable(path, error))?;
        read(file).map_err(|error| unreadable(path, error))?
    } else {
        data.as_bytes().to_vec()
    };
    if bytes.len() > MAX_MESSAGE {
        return Err(ApiError::invalid(format!(
            "the message is longer than {MAX_MESSAGE} bytes"
        )));
    }
    Ok(Payload::new(bytes))
}

fn read(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    let limit = u64::try_from(MAX_MESSAGE).expect("64 MiB fit");
    source.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What the body is called must be what it is.
pub(super) fn kind(asked: Option<MessageType>, body: &Payload) -> Result<MessageKind, ApiError> {
    let text = body.as_text();
    match asked {
        None if text.is_some() => Ok(MessageKind::Text),
        None | Some(MessageType::Binary) => Ok(MessageKind::Binary),
        Some(MessageType::Text) if text.is_some() => Ok(MessageKind::Text),
        Some(MessageType::Text) => Err(ApiError::invalid(
            "the data is not UTF-8: expected a text for --type text",
        )),
        Some(MessageType::Json) => {
            serde_json::from_slice::<serde::de::IgnoredAny>(body.as_bytes())
                .map_err(|error| ApiError::invalid(format!("the data is not JSON: {error}")))?;
            Ok(MessageKind::Json)
        }
    }
}

fn sent_words(sent: &MessageSent, style: Style) -> String {
    let became = match sent.kept_until {
        Some(until) => format!("left in the mailbox of {}, kept until {until}", sent.target),
        None => format!("{} for {}", style::clean(&sent.ack), sent.target),
    };
    let words = format!(
        "{became}: {} · {}",
        style::bytes(sent.bytes),
        style.faint(&sent.id.to_string())
    );
    match &sent.reply {
        Some(reply) => format!("{}\n{}", style.done(&words), reply_words(reply)),
        None => style.done(&words),
    }
}

pub(super) fn reply_words(reply: &MessageReply) -> String {
    body_words(reply.kind, &reply.body)
}

/// A body for people: text as it is, but for what could steer the terminal.
pub(crate) fn body_words(kind: MessageKind, body: &Payload) -> String {
    match (kind, body.as_text()) {
        (MessageKind::Text | MessageKind::Json, Some(text)) => style::clean_lines(text),
        (MessageKind::Text | MessageKind::Json, None) | (MessageKind::Binary, _) => {
            format!(
                "[{} of binary data]",
                style::bytes(body.as_bytes().len() as u64)
            )
        }
    }
}
