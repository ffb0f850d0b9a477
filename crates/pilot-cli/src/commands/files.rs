//! Files to and from other agents.

mod progress;
mod tree;

use pilot_api::types::{FileSent, Received, ReceivedRequest, SendFileRequest};
use pilot_api::{ApiError, Client};
use serde::Serialize;

use self::progress::with_bar;
use self::tree::{Found, Skipped, find};
use crate::args::SendFileArgs;
use crate::context::Context;
use crate::output::{Failure, Reply, to_json};
use crate::style::{self, Style};

#[derive(Serialize)]
struct Sent {
    files: Vec<FileSent>,
    skipped: Vec<Skipped>,
}

/// One after the other. Those that arrived are told of, also when a later one does not.
pub(crate) async fn send_file(context: &Context, args: SendFileArgs) -> Result<Reply, Failure> {
    // A file takes as long as it takes: only a deadline that was asked for ends it.
    let deadline = context.settings.timeout.and_then(|deadline| deadline.0);
    let client = Client::new(context.settings.socket()?).with_timeout(deadline);
    let timeout_ms = deadline.map_or(0, |_| context.settings.deadline().as_millis());
    let (found, skipped) = find(&args.paths)?;
    for it in &skipped {
        let words = format!(
            "skipped {}: {}",
            style::clean(&it.path.to_string_lossy()),
            it.why
        );
        context.output.note(&words);
    }
    let files = vec![];
    let mut sent = Sent { files, skipped };
    for (index, Found { path, name }) in found.into_iter().enumerate() {
        let request = SendFileRequest {
            peer: args.peer.clone(),
            path,
            name,
            transfer: Some(progress::number(index)),
            timeout_ms: Some(timeout_ms),
        };
        match with_bar(&client, context.output, &request).await {
            Ok(file) => {
                let words = context.output.style.done(&sent_words(&file));
                context.output.line(&words);
                sent.files.push(file);
            }
            Err(error) if sent.files.is_empty() => return Err(error.into()),
            Err(error) => {
                let data = Some(to_json(&sent)?);
                return Err(Failure { error, data });
            }
        }
    }
    if sent.files.is_empty() {
        return Err(ApiError::invalid("there is no file in that directory").into());
    }
    Reply::new(&sent, "")
}

fn sent_words(file: &FileSent) -> String {
    let mut words = format!(
        "{} · {} · {:.0} Mbit/s · sha256 {}",
        style::clean(&file.filename),
        style::bytes(file.bytes),
        file.throughput_mbps,
        style::clean(&file.sha256)
    );
    if file.resumed_from > 0 {
        words.push_str(&format!(
            " · {} were there",
            style::bytes(file.resumed_from)
        ));
    }
    words
}

pub(crate) async fn received(context: &Context, clear: bool) -> Result<Reply, Failure> {
    let received = context.client()?.call(&ReceivedRequest { clear }).await?;
    let words = received_words(&received, context.output.style);
    Reply::new(&received, words)
}

fn received_words(received: &Received, style: Style) -> String {
    if received.files.is_empty() {
        return style.faint("no files");
    }
    let rows: Vec<[String; 4]> = received
        .files
        .iter()
        .map(|file| {
            let from = file
                .from_hostname
                .as_ref()
                .map_or_else(|| file.from_address.to_string(), ToString::to_string);
            [
                style::clean(&file.name),
                style::bytes(file.bytes),
                from,
                file.received_at.to_string(),
            ]
        })
        .collect();
    let table = style.table(["NAME", "SIZE", "FROM", "RECEIVED"], &rows);
    format!(
        "{table}\n{}",
        style.faint(&received.dir.display().to_string())
    )
}
