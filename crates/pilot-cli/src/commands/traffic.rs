//! Datagrams, measurements, and streams that are given up.

use std::time::Instant;

use pilot_api::types::{
    BenchRequest, Benched, Datagram, DisconnectRequest, ReceiveDatagramsRequest,
    SendDatagramRequest,
};
use pilot_api::{ApiError, Client, ErrorCode, Payload};
use serde::Serialize;

use crate::args::{BenchArgs, DgramArgs, ListenArgs};
use crate::context::Context;
use crate::output::{Failure, Reply, print, to_json};
use crate::style;

/// Datagrams that one question to the daemon may bring.
const BATCH: u64 = 64;

pub(crate) async fn dgram(context: &Context, args: DgramArgs) -> Result<Reply, Failure> {
    let request = SendDatagramRequest {
        peer: args.peer,
        port: args.port,
        body: Payload::new(args.data.into_bytes()),
        timeout_ms: context.timeout_ms(),
    };
    let sent = context.client()?.call(&request).await?;
    let words = format!(
        "{} to {} port {}",
        style::bytes(sent.bytes),
        sent.target,
        sent.port
    );
    Reply::new(&sent, context.output.style.done(&words))
}

#[derive(Serialize)]
struct Listened {
    messages: Vec<Datagram>,
    /// Whether the deadline came before the last of them.
    timeout: bool,
}

/// With a count, all of them in one document; without, one line each until the deadline that was asked for.
pub(crate) async fn listen(context: &Context, args: &ListenArgs) -> Result<Reply, Failure> {
    let deadline = match args.count {
        Some(_) => context.settings.deadline().0,
        None => context.settings.timeout.and_then(|deadline| deadline.0),
    };
    let until = deadline.map(|deadline| Instant::now() + deadline);
    // The daemon keeps the deadline.
    let client = Client::new(context.settings.socket()?).with_timeout(None);
    let (mut kept, mut seen) = (vec![], 0);
    while args.count.is_none_or(|count| seen < count) {
        if seen > 0 && until.is_some_and(|until| until <= Instant::now()) {
            return ended(args, kept, true);
        }
        let left = args.count.map_or(u32::MAX, |count| count - seen);
        let came = match receive(&client, args, until, u64::from(left).min(BATCH)).await {
            Ok(came) => came,
            Err(error) if error.code == ErrorCode::Timeout && seen > 0 => {
                return ended(args, kept, true);
            }
            Err(error) => return Err(error.into()),
        };
        for datagram in came {
            seen += 1;
            match (context.settings.json, args.count) {
                (true, Some(_)) => kept.push(datagram),
                (true, None) => print_line(&to_json(&datagram)?)?,
                (false, _) => print_line(&datagram_words(&datagram))?,
            }
        }
    }
    ended(args, kept, false)
}

async fn receive(
    client: &Client,
    args: &ListenArgs,
    until: Option<Instant>,
    max: u64,
) -> Result<Vec<Datagram>, ApiError> {
    let millis = until.map_or(0, |until| {
        let left = until.saturating_duration_since(Instant::now());
        // Zero means without end to the API.
        u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)
    });
    let request = ReceiveDatagramsRequest {
        port: args.port,
        max: Some(max),
        timeout_ms: Some(millis),
    };
    match client.call(&request).await {
        Ok(came) => Ok(came.messages),
        Err(error) if error.code == ErrorCode::Timeout => {
            let words = format!("no datagram came to port {} in time", args.port);
            Err(ApiError::timeout(words))
        }
        Err(error) => Err(error),
    }
}

fn ended(args: &ListenArgs, messages: Vec<Datagram>, timeout: bool) -> Result<Reply, Failure> {
    if args.count.is_none() {
        return Ok(Reply::Written);
    }
    Reply::new(&Listened { messages, timeout }, "")
}

fn print_line(text: &str) -> Result<(), ApiError> {
    let failed = |error| ApiError::internal(format!("cannot write to standard output: {error}"));
    print(text).map_err(failed)
}

fn datagram_words(datagram: &Datagram) -> String {
    let from = datagram
        .src_hostname
        .as_ref()
        .map_or_else(|| datagram.src_addr.to_string(), ToString::to_string);
    let body = match datagram.body.as_text() {
        Some(text) => style::clean(text),
        None => format!("[{} of binary data]", style::bytes(datagram.bytes)),
    };
    format!("{from}:{} {body}", datagram.src_port)
}

pub(crate) async fn bench(context: &Context, args: BenchArgs) -> Result<Reply, Failure> {
    let request = BenchRequest {
        peer: args.peer,
        bytes: args.size_mb << 20,
        reverse: args.reverse,
        timeout_ms: context.timeout_ms(),
    };
    let measured = context.client()?.call(&request).await?;
    if !measured.intact {
        return Err(Failure {
            error: ApiError::internal("what arrived is not what was sent"),
            data: Some(to_json(&measured)?),
        });
    }
    let words = context.output.style.done(&bench_words(&measured));
    Reply::new(&measured, words)
}

fn bench_words(measured: &Benched) -> String {
    let way = if measured.reverse { "from" } else { "to" };
    let mut words = format!(
        "{} {way} {} in {} · {:.3} Gbit/s · intact · {}",
        style::bytes(measured.bytes),
        measured.target,
        style::millis(measured.duration_ms),
        measured.gbit_per_s,
        measured.path
    );
    if let Some(rtt) = measured.rtt_ms {
        words.push_str(&format!(" · round trip {}", style::millis(rtt)));
    }
    words
}

pub(crate) async fn disconnect(context: &Context, id: u64) -> Result<Reply, Failure> {
    let gone = context.client()?.call(&DisconnectRequest { id }).await?;
    let words = format!("the stream with {} is given up", gone.remote_addr);
    Reply::new(&gone, context.output.style.done(&words))
}
