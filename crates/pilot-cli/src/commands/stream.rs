//! Streams to a port of an agent: a message with its answer, or a pipe.

use std::io;
use std::time::Duration;

use pilot_api::types::{DialInfo, DialRequest};
use pilot_api::{ApiError, ApiStream, Client, Payload};
use pilot_types::{Address, NodeId, Port};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::discovery::shown;
use crate::args::{ConnectArgs, SendArgs};
use crate::context::Context;
use crate::output::{Failure, Output, Reply};
use crate::style;

/// Longest answer that is kept in memory for JSON; without `--json` there is no bound.
pub(crate) const MAX_KEPT: usize = 16 * 1024 * 1024;
/// What is read at a time: as the daemon's own buffers.
const CHUNK: usize = 64 * 1024;

#[derive(Serialize)]
struct Exchanged {
    target: Address,
    node_id: NodeId,
    port: Port,
    sent: u64,
    #[serde(flatten)]
    response: Response,
}

/// `response` where it is text, else `response_b64`.
#[derive(Serialize)]
struct Response {
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_b64: Option<String>,
}

impl From<Payload> for Response {
    fn from(payload: Payload) -> Self {
        match payload.as_text() {
            Some(text) => Self {
                response: Some(text.to_owned()),
                response_b64: None,
            },
            None => Self {
                response: None,
                response_b64: Some(payload.to_base64()),
            },
        }
    }
}

pub(crate) async fn connect(context: &Context, args: ConnectArgs) -> Result<Reply, Failure> {
    let request = DialRequest {
        peer: args.peer,
        port: args.port,
        timeout_ms: context.timeout_ms(),
        traceparent: None,
    };
    match args.message {
        Some(message) => exchange(context, &request, message.into_bytes()).await,
        None if context.settings.json => exchange(context, &request, standard_input().await?).await,
        None => pipe(context, &request).await,
    }
}

pub(crate) async fn send(context: &Context, args: SendArgs) -> Result<Reply, Failure> {
    let request = DialRequest {
        peer: args.peer,
        port: args.port,
        timeout_ms: context.timeout_ms(),
        traceparent: None,
    };
    exchange(context, &request, args.data.into_bytes()).await
}

/// Everything that is piped in, as far as it is kept.
async fn standard_input() -> Result<Vec<u8>, ApiError> {
    let mut data = vec![];
    let limit = u64::try_from(MAX_KEPT).expect("16 MiB fit");
    tokio::io::stdin()
        .take(limit + 1)
        .read_to_end(&mut data)
        .await
        .map_err(|error| ApiError::internal(format!("cannot read standard input: {error}")))?;
    if data.len() > MAX_KEPT {
        return Err(ApiError::invalid(
            "with --json at most 16 MiB of standard input are sent; without it there is no bound",
        ));
    }
    Ok(data)
}

/// Writes, half-closes and reads to the end, all before the deadline.
async fn exchange(
    context: &Context,
    request: &DialRequest,
    data: Vec<u8>,
) -> Result<Reply, Failure> {
    let client = context.client()?;
    let (info, stream) = client.dial(request).await?;
    let sent = data.len() as u64;
    let talk = async {
        let number = stream.number();
        let response = converse(stream, &data).await?;
        client.outcome(number).await?;
        Ok(response)
    };
    let response = within(context.settings.deadline().0, talk).await?;
    context.output.note(&context.output.style.done(&format!(
        "sent {} to {} port {}",
        style::bytes(sent),
        shown(&info.agent),
        info.port
    )));
    answer(context, &info, sent, Payload::new(response))
}

fn answer(
    context: &Context,
    info: &DialInfo,
    sent: u64,
    response: Payload,
) -> Result<Reply, Failure> {
    if !context.settings.json {
        return write_out(&context.output, response.as_bytes());
    }
    let exchanged = Exchanged {
        target: info.agent.address,
        node_id: info.agent.node_id,
        port: info.port,
        sent,
        response: response.into(),
    };
    Reply::new(&exchanged, "")
}

/// The bytes as they are.
fn write_out(output: &Output, bytes: &[u8]) -> Result<Reply, Failure> {
    use std::io::Write;

    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    Ok(written.map_or_else(
        |error| Reply::Exit(output.unwritable(&error)),
        |()| Reply::Written,
    ))
}

/// Sends and receives at the same time, so that neither end waits for the other to read. How the stream ended is not told
/// here: an error of ours is a consequence of that, and the daemon knows the cause.
async fn converse(stream: ApiStream, data: &[u8]) -> Result<Vec<u8>, ApiError> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let sending = async {
        if writer.write_all(data).await.is_ok() {
            // A stream that broke off is told by its outcome.
            drop(writer.shutdown().await);
        }
    };
    let receiving = async {
        let mut got = vec![];
        let limit = u64::try_from(MAX_KEPT).expect("16 MiB fit");
        let ended = (&mut reader).take(limit + 1).read_to_end(&mut got).await;
        (got, ended.is_ok())
    };
    let ((), (got, _)) = tokio::join!(sending, receiving);
    if got.len() > MAX_KEPT {
        return Err(ApiError::invalid(
            "the answer is longer than 16 MiB: pipe the data in without --json instead",
        ));
    }
    Ok(got)
}

/// The future's result, or `timeout` at the deadline.
pub(crate) async fn within<T>(
    deadline: Option<Duration>,
    future: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    let Some(deadline) = deadline else {
        return future.await;
    };
    tokio::time::timeout(deadline, future)
        .await
        .unwrap_or_else(|_| {
            Err(ApiError::timeout(format!(
                "the peer did not finish within {} ms",
                deadline.as_millis()
            )))
        })
}

/// Bytes in, bytes out, until both ends close.
async fn pipe(context: &Context, request: &DialRequest) -> Result<Reply, Failure> {
    let client = context.client()?;
    let (info, stream) = client.dial(request).await?;
    let words = format!("connected to {} port {}", shown(&info.agent), info.port);
    context.output.detail(&words);
    let number = stream.number();
    let (reader, writer) = tokio::io::split(stream);
    let untimed = Client::new(client.socket().to_owned()).with_timeout(None);
    let down = async {
        let written = copy_out(reader).await;
        // The daemon knows how the stream ended only after both directions did.
        match written {
            Ok(()) => Down::Ended(untimed.outcome(number).await.map(|_| ())),
            Err(error) => Down::Unwritable(error),
        }
    };
    tokio::select! {
        down = down => match down {
            Down::Ended(outcome) => Ok(outcome.map(|()| Reply::Written)?),
            Down::Unwritable(error) => Ok(Reply::Exit(context.output.unwritable(&error))),
        },
        error = copy_in(writer) => Err(error.into()),
    }
}

enum Down {
    Ended(Result<(), ApiError>),
    Unwritable(io::Error),
}

/// Standard input to the stream, then its end. Resolves only if standard input cannot be read.
async fn copy_in(mut writer: WriteHalf<ApiStream>) -> ApiError {
    let mut stdin = tokio::io::stdin();
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = match stdin.read(&mut chunk).await {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) => {
                return ApiError::internal(format!("cannot read standard input: {error}"));
            }
        };
        if writer.write_all(&chunk[..count]).await.is_err() {
            break;
        }
    }
    // Whether the stream ended well is told by its outcome.
    drop(writer.shutdown().await);
    std::future::pending().await
}

/// The stream to standard output, to its end.
///
/// # Errors
/// Standard output cannot be written to.
pub(crate) async fn copy_out(mut reader: ReadHalf<ApiStream>) -> io::Result<()> {
    let mut stdout = tokio::io::stdout();
    let mut chunk = vec![0; CHUNK];
    loop {
        // A read error is the stream's end; its outcome tells why.
        let count = reader.read(&mut chunk).await.unwrap_or(0);
        if count == 0 {
            return stdout.flush().await;
        }
        stdout.write_all(&chunk[..count]).await?;
        stdout.flush().await?;
    }
}
