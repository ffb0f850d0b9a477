//! The demo's steps.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use pilot_api::types::Started;
use pilot_api::{ApiError, ErrorCode};
use pilot_types::Hostname;
use serde_json::Value;
use tokio::process::Child;

use super::report::Report;
use super::stage::{Stage, answer};
use super::{event, pipe};
use crate::args::StartArgs;

/// How long the agents' answers to each other may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at something that comes by itself.
const LOOK: Duration = Duration::from_millis(20);
const PINGS: &str = "5";

/// Everything, in order.
pub(super) async fn tell(stage: &mut Stage, report: &mut Report) -> Result<(), ApiError> {
    set_up(stage, report).await?;
    find(stage, report).await?;
    trust(stage, report).await?;
    ping(stage, report).await?;
    pipe::tell(stage, report).await?;
    message(stage, report).await?;
    file(stage, report).await?;
    event::tell(stage, report).await?;
    bench(stage, report).await
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

/// A file with its hash.
async fn file(stage: &Stage, report: &mut Report) -> Result<(), ApiError> {
    let path = stage.dir().join("report.txt");
    std::fs::write(&path, "everything went well\n".repeat(1000))
        .map_err(|error| ApiError::internal(format!("cannot write {}: {error}", path.display())))?;
    let path = path.display().to_string();
    let (sent, _) = step(
        stage,
        report,
        "alice",
        &["send-file", "bob", &path],
        |sent| {
            let file = &sent["files"][0];
            let hash: String = text(file, "sha256")?.chars().take(16).collect();
            Ok(format!(
                "{} has SHA-256 {hash}… at bob",
                text(file, "filename")?
            ))
        },
    )
    .await?;
    step(stage, report, "bob", &["received"], |received| {
        let file = &received["files"][0];
        if file["sha256"] != sent["files"][0]["sha256"] {
            return Err(ApiError::internal("the file has another hash at bob"));
        }
        Ok(format!("{} is in its place", text(file, "name")?))
    })
    .await?;
    Ok(())
}

/// How fast the two daemons are with each other, without this machine's programs between them.
async fn bench(stage: &Stage, report: &mut Report) -> Result<(), ApiError> {
    let mut rate = 0.0;
    step(stage, report, "alice", &["bench", "bob"], |measured| {
        rate = measured["gbit_per_s"].as_f64().unwrap_or_default();
        let bytes = measured["bytes"].as_u64().unwrap_or_default();
        Ok(format!(
            "{} intact, {rate:.2} Gbit/s",
            crate::style::bytes(bytes)
        ))
    })
    .await?;
    report.figure("bench, daemon to daemon", rate * 1000.0, "Mbit/s");
    Ok(())
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
    reply(stage, report).await?;
    let answered = reply_to(asking).await?;
    let took = began.elapsed();
    if answered != "42" {
        return Err(ApiError::internal(format!("the answer was {answered:?}")));
    }
    let outcome = format!("alice has bob's answer: {answered}");
    report.outcome("alice", &asked, &outcome, took);
    report.time("question and answer, three commands", took);
    Ok(())
}

/// Bob finds the question in his inbox and answers it.
async fn reply(stage: &Stage, report: &mut Report) -> Result<(), ApiError> {
    let inbox = until(report, stage, "bob", &["inbox"], |inbox| {
        let first = inbox["messages"].get(0)?;
        Some(format!("alice asks: {}", first["data"].as_str()?))
    })
    .await?;
    let id = text(&inbox["messages"][0], "id")?;
    let reply = ["send-message", "alice", "--data", "42", "--reply-to", &id];
    step(stage, report, "bob", &reply, |sent| text(sent, "ack")).await?;
    Ok(())
}

/// What the command that asked was answered.
async fn reply_to(asking: Child) -> Result<String, ApiError> {
    let output = tokio::time::timeout(PATIENCE, asking.wait_with_output())
        .await
        .map_err(|_| ApiError::timeout("the question was not answered in time"))?
        .map_err(|error| ApiError::internal(format!("the question got lost: {error}")))?;
    let sent: Value = answer("send-message", &output.stdout)?;
    text(&sent["reply"], "data")
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
pub(super) async fn until(
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
pub(super) fn shown(args: &[&str]) -> String {
    let words: Vec<String> = args
        .iter()
        .map(|arg| {
            if arg.contains([' ', '?', '*']) {
                format!("{arg:?}")
            } else {
                (*arg).to_owned()
            }
        })
        .collect();
    format!("pilotctl {}", words.join(" "))
}

pub(super) fn text(data: &Value, field: &str) -> Result<String, ApiError> {
    data[field]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| ApiError::internal(format!("an answer has no {field}")))
}
