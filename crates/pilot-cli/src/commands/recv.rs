//! Streams that agents open to a port of this one.

use std::time::{Duration, Instant};

use pilot_api::types::{AcceptInfo, AcceptRequest};
use pilot_api::{ApiError, ApiStream, Client, ErrorCode, Payload};
use pilot_types::{Address, Hostname, NodeId, Port};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stream::{MAX_KEPT, copy_out, within};
use crate::args::RecvArgs;
use crate::context::Context;
use crate::output::{Failure, Reply};

#[derive(Serialize)]
struct Received {
    messages: Vec<Message>,
    /// Whether the deadline came before the last of them.
    timeout: bool,
}

#[derive(Serialize)]
struct Message {
    seq: u32,
    from: NodeId,
    from_address: Address,
    from_hostname: Option<Hostname>,
    port: Port,
    #[serde(flatten)]
    body: Payload,
    bytes: usize,
}

pub(crate) async fn recv(context: &Context, args: &RecvArgs) -> Result<Reply, Failure> {
    let client = context.client()?;
    let deadline = context.settings.deadline().0.map(|d| Instant::now() + d);
    let mut messages = vec![];
    for seq in 1..=args.count {
        let took = match accept(&client, args.port, deadline).await {
            Ok((info, stream)) if context.settings.json => {
                let body = within(left(deadline), keep(&client, stream)).await;
                body.map(|body| messages.push(message(seq, info, body)))
            }
            Ok((info, stream)) => {
                let words = format!("{} opened a stream", opener(&info));
                context.output.detail(&words);
                match pass(&client, stream).await? {
                    Passed::Whole => Ok(()),
                    Passed::NobodyReads(error) => {
                        return Ok(Reply::Exit(context.output.unwritable(&error)));
                    }
                }
            }
            Err(error) => Err(error),
        };
        match took {
            Ok(()) => {}
            Err(error) if error.code == ErrorCode::Timeout && seq > 1 => {
                return finish(messages, true);
            }
            Err(error) => return Err(error.into()),
        }
    }
    finish(messages, false)
}

fn finish(messages: Vec<Message>, timeout: bool) -> Result<Reply, Failure> {
    Reply::new(&Received { messages, timeout }, "")
}

fn left(deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

async fn accept(
    client: &Client,
    port: Port,
    deadline: Option<Instant>,
) -> Result<(AcceptInfo, ApiStream), ApiError> {
    let millis = left(deadline).map_or(0, |left| {
        // Zero means without end to the API.
        u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)
    });
    let request = AcceptRequest {
        port,
        timeout_ms: Some(millis),
    };
    let accepted = client.accept(&request).await;
    accepted.map_err(|error| {
        if error.code == ErrorCode::Timeout {
            ApiError::timeout(format!("nothing came to port {port} in time"))
        } else {
            error
        }
    })
}

fn opener(info: &AcceptInfo) -> String {
    match &info.from_hostname {
        Some(name) => format!("{name} ({})", info.from_address),
        None => info.from_address.to_string(),
    }
}

/// Reads a stream to its end into memory, then closes our direction.
async fn keep(client: &Client, mut stream: ApiStream) -> Result<Payload, ApiError> {
    let limit = u64::try_from(MAX_KEPT).expect("16 MiB fit");
    let mut body = vec![];
    let read = (&mut stream).take(limit + 1).read_to_end(&mut body).await;
    if body.len() > MAX_KEPT {
        return Err(ApiError::invalid(
            "what came is longer than 16 MiB: without --json its bytes are passed on as they come",
        ));
    }
    if read.is_ok() {
        // A stream that broke off is told by its outcome.
        drop(stream.shutdown().await);
    }
    client.outcome(stream.number()).await?;
    Ok(Payload::new(body))
}

enum Passed {
    Whole,
    NobodyReads(std::io::Error),
}

/// Passes a stream's bytes to standard output as they come, then closes our direction.
async fn pass(client: &Client, stream: ApiStream) -> Result<Passed, ApiError> {
    let number = stream.number();
    let (reader, mut writer) = tokio::io::split(stream);
    if let Err(error) = copy_out(reader).await {
        return Ok(Passed::NobodyReads(error));
    }
    // A stream that broke off is told by its outcome.
    drop(writer.shutdown().await);
    client.outcome(number).await?;
    Ok(Passed::Whole)
}

fn message(seq: u32, info: AcceptInfo, body: Payload) -> Message {
    Message {
        seq,
        from: info.from,
        from_address: info.from_address,
        from_hostname: info.from_hostname,
        port: info.port,
        bytes: body.as_bytes().len(),
        body,
    }
}
