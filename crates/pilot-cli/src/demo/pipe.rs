//! The demo's piped stream.

use std::process::Stdio;
use std::time::{Duration, Instant};

use pilot_api::ApiError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;

use super::payload::{Bytes, CHUNK, Hash};
use super::report::Report;
use super::stage::Stage;

/// For all bytes, and for each command to end after them.
const PATIENCE: Duration = Duration::from_secs(10);
/// Through the pipe: a debug build encrypts and copies many times slower.
const PIPE_LEN: usize = if cfg!(debug_assertions) { 4 } else { 64 } * 1024 * 1024;

/// Bytes from alice's standard input to bob's standard output, their hashes compared.
pub(super) async fn tell(stage: &Stage, report: &mut Report) -> Result<(), ApiError> {
    let size = PIPE_LEN / (1024 * 1024);
    let (recv, connect) = (
        "pilotctl recv 1000",
        format!("pilotctl connect bob < {size}MiB"),
    );
    report.command("bob", recv);
    report.command("alice", &connect);
    let began = Instant::now();
    let mut receiver = piped(stage, "bob", &["recv", "1000"], Stdio::null())?;
    let mut sender = piped(stage, "alice", &["connect", "bob"], Stdio::piped())?;
    let feed = feed(&mut sender);
    let drain = drain(&mut receiver);
    let both = async { tokio::try_join!(feed, drain) };
    let (sent, got) = tokio::time::timeout(PATIENCE, both)
        .await
        .map_err(|_| ApiError::timeout("the pipe did not end in time"))??;
    ended(&mut sender, "connect").await?;
    ended(&mut receiver, "recv").await?;
    let took = began.elapsed();
    if sent != got {
        return Err(ApiError::internal(format!(
            "the hashes differ: sent {sent}, received {got}"
        )));
    }
    let outcome = format!("both ends have SHA-256 {}…", &got[..16]);
    report.outcome("alice", &connect, &outcome, took);
    let megabits = PIPE_LEN as f64 * 8.0 / 1e6 / took.as_secs_f64();
    report.figure("pipe, process to process", megabits, "Mbit/s");
    Ok(())
}

/// A command whose standard output is bytes, not an answer.
fn piped(stage: &Stage, who: &str, args: &[&str], stdin: Stdio) -> Result<Child, ApiError> {
    let mut command = stage.plain_command(who);
    command
        .args(args)
        .stdin(stdin)
        .spawn()
        .map_err(|error| ApiError::internal(format!("cannot run {}: {error}", args.join(" "))))
}

async fn feed(sender: &mut Child) -> Result<String, ApiError> {
    let broken = |error| ApiError::internal(format!("connect took no more bytes: {error}"));
    let mut stdin = sender.stdin.take().expect("the input is piped");
    let mut bytes = Bytes::new(PIPE_LEN);
    loop {
        let chunk = bytes.next();
        if chunk.is_empty() {
            break;
        }
        stdin.write_all(&chunk).await.map_err(broken)?;
    }
    stdin.shutdown().await.map_err(broken)?;
    Ok(bytes.hash())
}

async fn drain(receiver: &mut Child) -> Result<String, ApiError> {
    let mut stdout = receiver.stdout.take().expect("the output is piped");
    let (mut hash, mut chunk) = (Hash::default(), vec![0; CHUNK]);
    loop {
        let count = stdout
            .read(&mut chunk)
            .await
            .map_err(|error| ApiError::internal(format!("recv gave no more bytes: {error}")))?;
        if count == 0 {
            return Ok(hash.finish());
        }
        hash.add(&chunk[..count]);
    }
}

async fn ended(child: &mut Child, what: &str) -> Result<(), ApiError> {
    let status = tokio::time::timeout(PATIENCE, child.wait())
        .await
        .map_err(|_| ApiError::timeout(format!("{what} did not end")))?;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(ApiError::internal(format!("{what} ended with {status}"))),
        Err(error) => Err(ApiError::internal(format!("{what}: {error}"))),
    }
}
