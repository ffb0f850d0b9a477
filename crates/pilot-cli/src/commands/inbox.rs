//! Messages that came.

use std::io::{IsTerminal, Write};

use pilot_api::types::{FilteredVerdict, Inbox, InboxMessage, InboxReadRequest, InboxRequest};
use pilot_types::UnixTime;

use super::message::body_words;
use crate::args::{InboxArgs, InboxCommand, Since};
use crate::context::{Context, now};
use crate::output::{Failure, Reply};
use crate::style::{self, Style};

/// Characters of a message that the list shows.
const PREVIEW: usize = 48;

pub(crate) async fn inbox(context: &Context, args: InboxArgs) -> Result<Reply, Failure> {
    if let Some(InboxCommand::Read { id, quarantined }) = args.command {
        return read(context, InboxReadRequest { id, quarantined }).await;
    }
    let request = InboxRequest {
        limit: args.limit,
        since: args.since.map(moment),
        from: args.from,
        search: args.search,
        clear: args.clear,
    };
    let inbox = context.client()?.call(&request).await?;
    Reply::new(&inbox, list_words(&inbox, context.output.style))
}

fn moment(since: Since) -> UnixTime {
    match since {
        Since::At(time) => time,
        Since::Ago(span) => {
            UnixTime::from_millis(now().as_millis().saturating_sub(span.as_millis()))
        }
    }
}

fn list_words(inbox: &Inbox, style: Style) -> String {
    if inbox.messages.is_empty() {
        return style.faint("no messages");
    }
    let rows: Vec<[String; 6]> = inbox.messages.iter().map(row).collect();
    let table = style.table(["ID", "FROM", "CAME", "TYPE", "BYTES", "MESSAGE"], &rows);
    let shown = inbox.messages.len() as u64;
    if inbox.total > shown {
        let rest = style.faint(&format!("the newest {shown} of {}", inbox.total));
        return format!("{table}\n{rest}");
    }
    table
}

fn row(message: &InboxMessage) -> [String; 6] {
    let body = message
        .body
        .as_ref()
        .map_or_else(String::new, |body| body_words(message.kind, body));
    let first = style::clean(body.lines().next().unwrap_or(""));
    let mut preview = match found(message) {
        Some(found) => format!("[{found}] {first}"),
        None => first,
    };
    if preview.chars().count() > PREVIEW {
        preview = preview.chars().take(PREVIEW - 1).chain(['…']).collect();
    }
    [
        message.id.to_string(),
        message
            .from_hostname
            .as_ref()
            .map_or_else(|| message.from_address.to_string(), ToString::to_string),
        message.received_at.to_string(),
        message.kind.to_string(),
        message.bytes.to_string(),
        preview,
    ]
}

/// What the owner's filter found, in short.
fn found(message: &InboxMessage) -> Option<String> {
    let filter = message.filter.as_ref()?;
    let verdict = match filter.verdict {
        FilteredVerdict::Flag => "flagged",
        FilteredVerdict::Block => "in quarantine",
    };
    Some(format!("{verdict}: {}", style::clean(&filter.reason)))
}

/// One message. Its bytes go to standard output as they are, unless that is a terminal, which they could steer.
async fn read(context: &Context, request: InboxReadRequest) -> Result<Reply, Failure> {
    let inbox = context.client()?.call(&request).await?;
    let Some(message) = inbox.messages.first() else {
        return Reply::new(&inbox, "");
    };
    if let Some(body) = &message.body
        && !context.settings.json
        && !std::io::stdout().is_terminal()
    {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(body.as_bytes()).and_then(|()| out.flush());
        return Ok(written.map_or_else(
            |error| Reply::Exit(context.output.unwritable(&error)),
            |()| Reply::Written,
        ));
    }
    let words = message_words(message, context.output.style);
    Reply::new(&inbox, words)
}

/// When and how it came.
fn came(message: &InboxMessage) -> String {
    match message.sent_at {
        Some(sent_at) => format!(
            "{}, by the mailbox, where it was left {sent_at}",
            message.received_at
        ),
        None => message.received_at.to_string(),
    }
}

fn message_words(message: &InboxMessage, style: Style) -> String {
    let facts = style.facts(&[
        ("from", style::or_dash(message.from_hostname.as_ref())),
        ("address", message.from_address.to_string()),
        ("trust", style::clean(&message.trust)),
        ("came", came(message)),
        ("answers", style::or_dash(message.reply_to)),
        ("filter", style::or_dash(found(message))),
    ]);
    let body = message
        .body
        .as_ref()
        .map_or_else(String::new, |body| body_words(message.kind, body));
    format!("{facts}\n\n{body}")
}
