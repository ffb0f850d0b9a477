//! The embedded rendezvous of this machine.

use std::time::Duration;

use pilot_api::{ApiError, ErrorCode};
use pilot_rendezvous::embedded::{EmbeddedHome, State};
use pilot_rendezvous::error::describe;
use serde::Serialize;

use crate::context::{Context, now};
use crate::output::{Failure, Reply};
use crate::process::Process;
use crate::style::{self, Style};

/// It drains its sessions first.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Status {
    running: bool,
    embedded: bool,
    home: std::path::PathBuf,
    url: Option<String>,
    public_key: Option<String>,
    listen: Option<std::net::SocketAddr>,
    pid: Option<u32>,
    uptime_secs: Option<u64>,
}

#[derive(Serialize)]
struct Stopped {
    pid: u32,
    forced: bool,
}

/// Where the embedded rendezvous of this user lives.
pub(crate) fn home() -> Result<EmbeddedHome, ApiError> {
    EmbeddedHome::from_environment().ok_or_else(|| {
        ApiError::invalid(
            "there is no place for the embedded rendezvous: neither $PILOT_RENDEZVOUS_HOME nor $HOME is set",
        )
    })
}

fn running(home: &EmbeddedHome) -> Result<Option<State>, ApiError> {
    home.running()
        .map_err(|error| ApiError::internal(describe(&error)))
}

pub(crate) fn status(context: &Context) -> Result<Reply, Failure> {
    let home = home()?;
    let state = running(&home)?;
    let status = Status {
        running: state.is_some(),
        embedded: true,
        home: home.dir().to_owned(),
        url: state.as_ref().map(|state| state.url.clone()),
        public_key: state.as_ref().map(|state| state.public_key.clone()),
        listen: state.as_ref().map(|state| state.listen),
        pid: state.as_ref().map(|state| state.pid),
        uptime_secs: state
            .as_ref()
            .map(|state| now().as_secs().saturating_sub(state.started_unix)),
    };
    Reply::new(&status, words(&status, context.output.style))
}

fn words(status: &Status, style: Style) -> String {
    let Some(url) = &status.url else {
        return style
            .failed("no embedded rendezvous runs; the next daemon without another starts it");
    };
    let facts = [
        ("url", style::clean(url)),
        ("pid", style::or_dash(status.pid)),
        (
            "uptime",
            style::or_dash(status.uptime_secs.map(style::uptime)),
        ),
        ("home", status.home.display().to_string()),
    ];
    format!(
        "{}\n{}",
        style.done("the embedded rendezvous runs, for this machine only"),
        style.facts(&facts)
    )
}

pub(crate) async fn stop(context: &Context) -> Result<Reply, Failure> {
    let home = home()?;
    let none = || ApiError::new(ErrorCode::NotRunning, "no embedded rendezvous runs");
    let pid = running(&home)?.ok_or_else(none)?.pid;
    let process = Process::open(pid).ok_or_else(none)?;
    // Opened first and looked at again, so that it is the one that holds the lock.
    if running(&home)?.is_none_or(|state| state.pid != pid) {
        return Err(none().into());
    }
    let forced = tokio::task::spawn_blocking(move || process.end(PATIENCE))
        .await
        .map_err(|error| ApiError::internal(format!("ending it failed: {error}")))?;
    let stopped = Stopped { pid, forced };
    let words = context
        .output
        .style
        .done(&format!("stopped, process {pid}"));
    Reply::new(&stopped, words)
}
