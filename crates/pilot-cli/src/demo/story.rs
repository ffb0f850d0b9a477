//! The demo's steps.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::{Duration, Instant};

use pilot_api::types::Started;
use pilot_api::{ApiError, ErrorCode};
use pilot_types::Hostname;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;

use super::payload::{Bytes, CHUNK, Hash};
use super::report::Report;
use super::stage::{Stage, answer};
use crate::args::StartArgs;

/// How long the agents' answers to each other may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at something that comes by itself.
const LOOK: Duration = Duration::from_millis(20);
/// Through the pipe: a debug build encrypts and copies many times slower.
const PIPE_LEN: usize = if cfg!(debug_assertions) { 4 } else { 64 } * 1024 * 1024;
const PINGS: &str = "5";

/// Everything, in order.
pub(super) async fn tell(stage: &mut Stage, report: &mut Report) -> Result<(), ApiError> {
    set_up(stage, report).await?;
    find(stage, report).await?;
    trust(stage, report).await?;
    ping(stage, report).await?;
    pipe(stage, report).await?;
    message(stage, report).await
}

/// A rendezvous and two agents.
async fn set_up(stage: &mut Stage, report: &mut Report) -> Result<(), ApiError> {
    let started = Instant::now();
    let command = "pilot-rendezvous --listen 127.0.0.1:0";
    report.command("demo", command);
    let dir = stage.dir().join("rendezvous");
    let mut args: Vec<OsString> = ["rendezvous", "run", "--listen", "127.0.0.1:0", "--dir"]
        .map(OsString::from)
        .into();
    args.push(dir.into());
    let ready: Value = stage.start("rendezvous", args).await?;
    let url = text(&ready, "url")?;
    report.outcome("demo", command, &url, started.elapsed());
    for who in ["alice", "bob"] {
        agent(stage, report, who, &url).await?;
    }
    report.time("set-up: a rendezvous and two agents", started.elapsed());
    Ok(())
}

async fn agent(
    stage: &mut Stage,
    report: &mut Report,
    who: &'static str,
    url: &str,
) -> Result<(), ApiError> {
    let is_public = who == "bob";
    let public = if is_public { " --public" } else { "" };
    let shown = format!("pilotctl daemon start --hostname {who} --rendezvous URL{public}");
    report.command(who, &shown);
    let start = StartArgs {
        hostname: who.parse::<Hostname>().ok(),
        rendezvous: vec![url.to_owned()],
        listen: Some(([127, 0, 0, 1], 0).into()),
        public: is_public,
        ..StartArgs::default()
    };
    let began = Instant::now();
    let started: Started = stage.start(who, agent_args(&start)).await?;
    let outcome = format!("{} is registered", started.agent.address);
    report.outcome(who, &shown, &outcome, began.elapsed());
    Ok(())
}

fn agent_args(start: &StartArgs) -> Vec<OsString> {
    let mut args: Vec<OsString> = ["daemon", "start", "--foreground"]
        .map(OsString::from)
        .into();
    args.extend(crate::launch::start_flags(start));
    args
}

async fn find(stage: &Stage, report: &mut Report) -> Result<(), ApiError> {
    let (found, took) = step(stage, report, "alice", &["find", "bob"], |found| {
        Ok(format!("bob is {}", text(found, "address")?))
    })
    .await?;
    report.time("find by name, the command included", took);
    drop(found);
    refused(stage, report).await
}

/// Before both sides have granted, all that a stranger can do is knock.
async fn refused(stage: &Stage, report: &mut Report) -> Result<(), ApiError> {
    let args = ["ping", "bob"];
    let shown = shown(&args);
    report.command("alice", &shown);
    let began = Instant::now();
    match stage.run("alice", &args).await {
        Err(error) if error.code == ErrorCode::NotTrusted => {
            let outcome = format!("refused, as it should be: {}", error.message);
            report.outcome("alice", &shown, &outcome, began.elapsed());
            Ok(())
        }
        Err(error) => Err(error),
        Ok(_) => Err(ApiError::internal(
            "an agent that is not trusted was answered",
        )),
    }
}

async fn trust(stage: &Stage, report: &mut Report) -> Result<(), ApiError> {
    let began = Instant::now();
    let knock = ["handshake", "bob", "shall we talk?"];
    step(stage, report, "alice", &knock, |knocked| {
        text(knocked, "status")
    })
    .await?;
    until(report, stage, "bob", &["pending"], |pending| {
        let first = pending["pending"].get(0)?;
        let why = first["justification"].as_str()?;
        Some(format!("{} asks: {why}", first["hostname"].as_str()?))
    })
    .await?;
    report.time("knock to pending at the other agent", began.elapsed());
    let approved = Instant::now();
    step(stage, report, "bob", &["approve", "alice"], |approved| {
        Ok(format!(
            "alice may reach ports {}",
            text(approved, "scope")?
        ))
    })
    .await?;
    let wait = ["handshake", "bob", "--wait", "10s"];
    step(stage, report, "alice", &wait, |knocked| {
        text(knocked, "status")
    })
    .await?;
    report.time("approval to trust on both sides", approved.elapsed());
    Ok(())
}

async fn ping(stage: &Stage, report: &mut Report) -> Result<(), ApiError> {
    let args = ["ping", "bob", "--count", PINGS];
    let mut best = f64::INFINITY;
    step(stage, report, "alice", &args, |pings| {
        let times: Vec<f64> = pings["results"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|result| result["rtt_ms"].as_f64())
            .collect();
        best = times.iter().copied().fold(best, f64::min);
        Ok(format!("{} replies, best {best:.2}ms", times.len()))
    })
    .await?;
    report.figure("round trip, best of 5", best, "ms");
    Ok(())
}

/// Bytes from alice's standard input to bob's standard output, their hashes compared.
async fn pipe(stage: &Stage, report: &mut Report) -> Result<(), ApiError> {
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

/// A question that waits, and the other agent's answer to it.
async fn message(stage: &Stage, report: &mut Report) -> Result<(), ApiError> {
    let question = [
        "send-message",
        "bob",
        "--data",
        "what is 6 × 7?",
        "--wait",
        "10s",
    ];
    let asked = shown(&question);
    report.command("alice", &asked);
    let began = Instant::now();
    let asking = stage
        .command("alice")
        .args(question)
        .spawn()
        .map_err(|error| ApiError::internal(format!("cannot run a command: {error}")))?;
    let inbox = until(report, stage, "bob", &["inbox"], |inbox| {
        let first = inbox["messages"].get(0)?;
        Some(format!("alice asks: {}", first["data"].as_str()?))
    })
    .await?;
    let id = text(&inbox["messages"][0], "id")?;
    let reply = ["send-message", "alice", "--data", "42", "--reply-to", &id];
    step(stage, report, "bob", &reply, |sent| text(sent, "ack")).await?;
    let output = tokio::time::timeout(PATIENCE, asking.wait_with_output())
        .await
        .map_err(|_| ApiError::timeout("the question was not answered in time"))?
        .map_err(|error| ApiError::internal(format!("the question got lost: {error}")))?;
    let took = began.elapsed();
    let sent: Value = answer("send-message", &output.stdout)?;
    let answered = text(&sent["reply"], "data")?;
    if answered != "42" {
        return Err(ApiError::internal(format!("the answer was {answered:?}")));
    }
    report.outcome(
        "alice",
        &asked,
        &format!("alice has bob's answer: {answered}"),
        took,
    );
    report.time("question and answer, five commands", took);
    Ok(())
}

/// Runs a command and tells its outcome.
async fn step(
    stage: &Stage,
    report: &mut Report,
    who: &str,
    args: &[&str],
    outcome: impl FnOnce(&Value) -> Result<String, ApiError>,
) -> Result<(Value, Duration), ApiError> {
    let shown = shown(args);
    report.command(who, &shown);
    let began = Instant::now();
    let data = stage.run(who, args).await?;
    let took = began.elapsed();
    report.outcome(who, &shown, &outcome(&data)?, took);
    Ok((data, took))
}

/// Runs a command until it shows what comes by itself.
async fn until(
    report: &mut Report,
    stage: &Stage,
    who: &str,
    args: &[&str],
    outcome: impl Fn(&Value) -> Option<String>,
) -> Result<Value, ApiError> {
    let shown = shown(args);
    report.command(who, &shown);
    let began = Instant::now();
    loop {
        let data = stage.run(who, args).await?;
        if let Some(words) = outcome(&data) {
            report.outcome(who, &shown, &words, began.elapsed());
            return Ok(data);
        }
        if began.elapsed() > PATIENCE {
            return Err(ApiError::timeout(format!("{shown} showed nothing in time")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The command as a person types it.
fn shown(args: &[&str]) -> String {
    let words: Vec<String> = args
        .iter()
        .map(|arg| {
            if arg.contains([' ', '?']) {
                format!("{arg:?}")
            } else {
                (*arg).to_owned()
            }
        })
        .collect();
    format!("pilotctl {}", words.join(" "))
}

fn text(data: &Value, field: &str) -> Result<String, ApiError> {
    data[field]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| ApiError::internal(format!("an answer has no {field}")))
}
