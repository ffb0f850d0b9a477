//! The demo's event: one agent waits for it, the other one publishes it.

use std::time::Instant;

use pilot_api::ApiError;
use serde_json::Value;
use tokio::process::Child;

use super::report::Report;
use super::stage::{Stage, answer};
use super::story::{PATIENCE, shown, text, until};

const SUBSCRIBE: [&str; 5] = ["subscribe", "bob", "build/*", "--count", "1"];
const PUBLISH: [&str; 5] = ["publish", "bob", "build/done", "--data", "all green"];

/// Alice subscribes at bob; he publishes to his own broker once she has.
pub(super) async fn tell(stage: &Stage, report: &mut Report) -> Result<(), ApiError> {
    let subscribed = shown(&SUBSCRIBE);
    report.command("alice", &subscribed);
    let began = Instant::now();
    let waiting = stage
        .command("alice")
        .args(SUBSCRIBE)
        .spawn()
        .map_err(|error| ApiError::internal(format!("cannot run a command: {error}")))?;
    until(report, stage, "bob", &PUBLISH, |published| {
        let subscribers = published["subscribers"].as_u64()?;
        (subscribers > 0).then(|| format!("{subscribers} subscribed"))
    })
    .await?;
    let event = came(waiting).await?;
    let outcome = format!("{}: {}", text(&event, "topic")?, text(&event, "data")?);
    report.outcome("alice", &subscribed, &outcome, began.elapsed());
    Ok(())
}

async fn came(waiting: Child) -> Result<Value, ApiError> {
    let output = tokio::time::timeout(PATIENCE, waiting.wait_with_output())
        .await
        .map_err(|_| ApiError::timeout("the event did not come in time"))?
        .map_err(|error| ApiError::internal(format!("the event got lost: {error}")))?;
    let came: Value = answer("subscribe", &output.stdout)?;
    Ok(came["events"][0].clone())
}
