//! What happens, as it happens: watched, or posted by a webhook.

use std::time::Instant;

use pilot_api::types::{
    AgentSummary, Notice, NoticeKind, SetWebhookRequest, TestWebhookRequest, WatchRequest,
    WebhookRequest, What,
};
use pilot_api::{ApiError, Client};
use serde::Serialize;

use super::events::{event_words, passed, print_line};
use super::message::body_words;
use crate::args::{WatchArgs, WebhookCommand};
use crate::context::Context;
use crate::output::{Failure, Reply, to_json};
use crate::style;

#[derive(Serialize)]
struct Seen {
    notices: Vec<Notice>,
    /// Whether the deadline came before the last of them.
    timeout: bool,
}

/// With a count, all of them in one document; without, one line each until the deadline that was asked for.
pub(crate) async fn watch(context: &Context, args: WatchArgs) -> Result<Reply, Failure> {
    let deadline = match args.count {
        Some(_) => context.settings.deadline().0,
        None => context.settings.timeout.and_then(|deadline| deadline.0),
    };
    let until = deadline.map(|deadline| Instant::now() + deadline);
    let request = WatchRequest {
        kinds: words_of(&args.kind),
        after: args.after,
    };
    let mut watching = context.client()?.watch(&request).await?;
    context.output.detail("watching");
    let mut seen = Seen {
        notices: vec![],
        timeout: false,
    };
    let mut count = 0;
    while args.count.is_none_or(|wanted| count < wanted) {
        let next = tokio::select! {
            next = watching.next() => next?,
            () = passed(until) => {
                if count == 0 {
                    return Err(ApiError::timeout("nothing happened in time").into());
                }
                seen.timeout = true;
                break;
            }
        };
        let Some(notice) = next else {
            return Err(ApiError::internal("the daemon ended")
                .with_hint("pilotctl daemon status")
                .into());
        };
        count += 1;
        match (context.settings.json, args.count) {
            (true, Some(_)) => seen.notices.push(notice),
            (true, None) => print_line(&to_json(&notice)?)?,
            (false, _) => print_line(&notice_words(&notice))?,
        }
    }
    match (context.settings.json, args.count) {
        (true, Some(_)) => Reply::new(&seen, ""),
        _ => Ok(Reply::Written),
    }
}

fn words_of(kinds: &[NoticeKind]) -> Option<String> {
    let words: Vec<&str> = kinds.iter().map(|kind| kind.word()).collect();
    (!words.is_empty()).then(|| words.join(","))
}

fn notice_words(notice: &Notice) -> String {
    let name = |agent: &AgentSummary| {
        let name = agent.hostname.as_ref().map(ToString::to_string);
        name.unwrap_or_else(|| agent.address.to_string())
    };
    let what = match &notice.what {
        What::Message { message } => {
            let from = message.from_hostname.as_ref().map(ToString::to_string);
            let from = from.unwrap_or_else(|| message.from_address.to_string());
            let body = message.body.as_ref();
            let body = body.map_or_else(
                || format!("[{}, in the inbox]", style::bytes(message.bytes)),
                |body| style::clean(&body_words(message.kind, body)),
            );
            format!("{from}: {body} ({})", message.id)
        }
        What::Knock { agent } => format!("{} at {} asks for trust", name(agent), agent.address),
        What::Trusted { agent } => format!("{} is trusted", name(agent)),
        What::Untrusted { agent } => format!("{} is trusted no more", name(agent)),
        What::File { file } => format!("{} ({})", file.path.display(), style::bytes(file.bytes)),
        What::Event { event } => event_words(event),
        What::Group { network_id, name } => match (name, network_id) {
            (Some(name), Some(id)) => format!("{name} (network {}) changed", id.to_u16()),
            _ => "one came or went".to_owned(),
        },
        What::Rendezvous { url, state } => format!("{url} is {state}"),
        What::Test { .. } => "a test".to_owned(),
        What::Missed { count: Some(count) } => format!("{count} notices are missing here"),
        What::Missed { count: None } => "notices are missing here".to_owned(),
    };
    format!("{} {:<10} {what}", notice.at, notice.what.kind().word())
}

/// `webhook …`.
pub(crate) async fn webhook(context: &Context, command: WebhookCommand) -> Result<Reply, Failure> {
    match command {
        WebhookCommand::Set { url, secret, kind } => set(context, Some(url), secret, kind).await,
        WebhookCommand::Clear => set(context, None, None, vec![]).await,
        WebhookCommand::Test => test(context).await,
        WebhookCommand::Status => status(context).await,
    }
}

async fn set(
    context: &Context,
    url: Option<String>,
    secret: Option<String>,
    kinds: Vec<NoticeKind>,
) -> Result<Reply, Failure> {
    let request = SetWebhookRequest { url, secret, kinds };
    let set = context.client()?.call(&request).await?;
    let style = context.output.style;
    let words = match (&set.url, &set.secret) {
        (None, _) => style.done("nothing is posted any more"),
        (Some(url), None) => style.done(&format!("notices are posted to {url}")),
        (Some(url), Some(secret)) => format!(
            "{}\nsecret {secret}\n{}",
            style.done(&format!("notices are posted to {url}")),
            style.faint("it is not shown again: give it to the receiver, which checks pilot-signature with it"),
        ),
    };
    Reply::new(&set, words)
}

async fn test(context: &Context) -> Result<Reply, Failure> {
    let request = TestWebhookRequest {
        timeout_ms: context.timeout_ms(),
    };
    let tested = context.client()?.call(&request).await?;
    let words = format!(
        "{} answered {} · {:.0}ms",
        tested.url, tested.status, tested.duration_ms
    );
    Reply::new(&tested, context.output.style.done(&words))
}

async fn status(context: &Context) -> Result<Reply, Failure> {
    let client: Client = context.client()?;
    let webhook = client.call(&WebhookRequest {}).await?;
    let kinds = words_of(&webhook.kinds).unwrap_or_default();
    let url = webhook.url.clone().unwrap_or_else(|| "none".to_owned());
    let mut facts = vec![
        ("url", url),
        ("kinds", kinds),
        ("state", webhook.state.clone()),
        ("delivered", webhook.delivered.to_string()),
        ("lost", webhook.lost.to_string()),
        ("waiting", webhook.waiting.to_string()),
    ];
    if let Some(error) = &webhook.last_error {
        facts.push(("last error", style::clean(error)));
    }
    Reply::new(&webhook, context.output.style.facts(&facts))
}
