//! Ports for TCP programs: open until the command is stopped.

use std::io;
use std::path::Path;

use pilot_api::types::{
    Call, ExposeRequest, ForwardRequest, ProxyRequest, ServeRequest, TcpFault, TcpOpened,
};
use pilot_api::{ApiError, ApiStream, Client, ErrorCode};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, ReadHalf};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::{ExposeArgs, ForwardArgs, ProxyArgs, ServeArgs};
use crate::context::Context;
use crate::output::{Failure, Output, Reply};
use crate::style;

pub(crate) async fn forward(context: &Context, args: ForwardArgs) -> Result<Reply, Failure> {
    let request = ForwardRequest {
        listen: args.local.to_string(),
        peer: args.remote.peer,
        port: args.remote.port,
    };
    hold(context, &request).await
}

pub(crate) async fn expose(context: &Context, args: ExposeArgs) -> Result<Reply, Failure> {
    let request = ExposeRequest {
        target: args.target,
        port: args.port,
    };
    hold(context, &request).await
}

pub(crate) async fn serve(context: &Context, args: &ServeArgs) -> Result<Reply, Failure> {
    let request = ServeRequest {
        directory: absolute(&args.directory)?,
        port: args.port,
    };
    hold(context, &request).await
}

pub(crate) async fn proxy(context: &Context, args: &ProxyArgs) -> Result<Reply, Failure> {
    let request = ProxyRequest {
        listen: args.listen.to_string(),
    };
    hold(context, &request).await
}

/// The daemon has a working directory of its own.
fn absolute(path: &Path) -> Result<std::path::PathBuf, ApiError> {
    std::path::absolute(path).map_err(|error| {
        ApiError::invalid(format!("invalid directory {}: {error}", path.display()))
    })
}

/// Keeps the port open until a signal, and tells of each connection that fails.
async fn hold<R>(context: &Context, request: &R) -> Result<Reply, Failure>
where
    R: Call<Answer = TcpOpened>,
{
    let mut signals = Signals::new()?;
    let client = context.client()?;
    let (opened, stream) = client.open_port(request).await?;
    ready(&context.output, &opened)?;
    let number = stream.number();
    let (reader, mut writer) = tokio::io::split(stream);
    let mut lines = BufReader::new(reader).lines();
    let ended = loop {
        tokio::select! {
            () = signals.next() => break Ended::Stopped,
            fault = next(&mut lines) => match fault {
                Ok(Some(fault)) => context.output.warning(&words(&context.output, &fault)),
                Ok(None) => break Ended::ByDaemon,
                Err(error) => return Err(error.into()),
            },
        }
    };
    match ended {
        Ended::Stopped => {
            let closing = async {
                // Who is gone has closed it, too.
                drop(writer.shutdown().await);
                while let Ok(Some(_)) = next(&mut lines).await {}
            };
            tokio::select! {
                () = closing => {}
                () = signals.next() => {}
            }
            Ok(Reply::Written)
        }
        Ended::ByDaemon => {
            let untimed = Client::new(client.socket().to_owned());
            untimed.outcome(number).await?;
            let words = "the daemon closed the port";
            Err(ApiError::new(ErrorCode::ConnectionFailed, words).into())
        }
    }
}

enum Ended {
    Stopped,
    ByDaemon,
}

fn ready(output: &Output, opened: &TcpOpened) -> Result<(), ApiError> {
    let sentence = format!(
        "{} leads to {}, until this is stopped",
        style::clean(&opened.listen),
        style::clean(&opened.target)
    );
    output.ready(opened, &sentence)
}

async fn next(
    lines: &mut Lines<BufReader<ReadHalf<ApiStream>>>,
) -> Result<Option<TcpFault>, ApiError> {
    // How a broken stream ended is told by its outcome.
    let Some(line) = lines.next_line().await.ok().flatten() else {
        return Ok(None);
    };
    serde_json::from_str(&line)
        .map(Some)
        .map_err(|error| ApiError::internal(format!("the daemon sent what is no fault: {error}")))
}

/// One line, whatever is in it.
fn words(output: &Output, fault: &TcpFault) -> String {
    let mut text = format!(
        "{} → {}: {}",
        style::clean(&fault.from),
        style::clean(&fault.target),
        style::clean(&fault.error.message)
    );
    if let Some(hint) = &fault.error.hint {
        text.push_str(&format!(" (try: {})", style::clean(hint)));
    }
    text.push_str(&format!(
        " [{} of {} failed]",
        fault.failed, fault.connections
    ));
    output.failed(&text)
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, ApiError> {
        let failed =
            |error: io::Error| ApiError::internal(format!("cannot wait for signals: {error}"));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
