//! The daemon's life, seen from outside.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use pilot_api::types::{DaemonStatus, Started, StatusRequest, StopRequest, Stopped};
use pilot_api::{ApiError, Client, Envelope, ErrorCode};
use pilot_rendezvous::error::{describe, home_code};
use pilot_store::Home;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::args::StartArgs;
use crate::context::Context;
use crate::launch::{self, SELF};
use crate::output::{Failure, Reply};
use crate::process::Process;
use crate::style;

/// What a daemon on this machine needs for a question about itself.
const STATUS_PATIENCE: Duration = Duration::from_secs(5);
/// A daemon closes its sessions and flushes its state before it ends.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Starts the daemon in the background and waits until it is ready.
pub(crate) async fn start(context: &Context, args: &StartArgs) -> Result<Reply, Failure> {
    let home = absolute(&context.settings.home()?)?;
    let socket = absolute(&context.settings.socket()?)?;
    let home =
        Home::open(home).map_err(|error| ApiError::new(home_code(&error), describe(&error)))?;
    let log = launch::log_path(home.dir());
    let mut child = spawn(&home, &socket, &log, args)?;
    let deadline = context.settings.deadline().0;
    let ready = read_ready(&mut child, &log);
    let started = match deadline {
        None => ready.await,
        Some(deadline) => match tokio::time::timeout(deadline, ready).await {
            Ok(started) => started,
            Err(_) => return Err(give_up(&child, deadline, &log).into()),
        },
    }?;
    launch::warn_if_alone(context, &started);
    Reply::new(
        &started,
        launch::started_words(&started, context.output.style),
    )
}

fn absolute(path: &Path) -> Result<PathBuf, ApiError> {
    std::path::absolute(path)
        .map_err(|error| ApiError::invalid(format!("invalid path {}: {error}", path.display())))
}

fn spawn(home: &Home, socket: &Path, log: &Path, args: &StartArgs) -> Result<Child, ApiError> {
    let unwritten = |error: std::io::Error| {
        ApiError::internal(format!(
            "cannot write the log {}: check that its directory may be written and has space left: {error}",
            log.display()
        ))
    };
    Command::new(SELF)
        .arg0("pilotctl")
        .args(launch::foreground_args(home.dir(), socket, args))
        .envs(
            args.token
                .iter()
                .map(|token| (launch::TOKEN_VARIABLE, token)),
        )
        .current_dir(home.dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(open_log(log).map_err(unwritten)?)
        .spawn()
        .map_err(|error| ApiError::internal(format!("cannot start the daemon: {error}")))
}

/// What goes wrong before the daemon logs, and panics, go to the same file.
fn open_log(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// The daemon's one line: that it is ready, or why it is not.
async fn read_ready(child: &mut Child, log: &Path) -> Result<Started, ApiError> {
    let stdout = child.stdout.take().expect("the output is piped");
    let mut line = String::new();
    let read = BufReader::new(stdout).read_line(&mut line).await;
    let envelope = read
        .ok()
        .and_then(|_| serde_json::from_str::<Envelope<Started>>(&line).ok());
    match envelope {
        Some(envelope) => envelope.into_result(),
        None => Err(ApiError::internal("the daemon ended before it was ready")
            .with_hint(format!("read {}", log.display()))),
    }
}

fn give_up(child: &Child, deadline: Duration, log: &Path) -> ApiError {
    if let Some(process) = child.id().and_then(Process::open) {
        process.end(STATUS_PATIENCE);
    }
    ApiError::timeout(format!(
        "the daemon was not ready within {} ms and was stopped again",
        deadline.as_millis()
    ))
    .with_hint(format!("read {}", log.display()))
}

/// Asks the daemon to end, and ends it if it does not.
pub(crate) async fn stop(context: &Context) -> Result<Reply, Failure> {
    let client = context.client()?.with_timeout(Some(STATUS_PATIENCE));
    let pid = match client.daemon_pid().await {
        Ok(pid) => pid,
        Err(error) => Some(pid_of_lock(context).ok_or(error)?),
    };
    let process = pid.and_then(Process::open);
    // It delivers first what was written.
    let client = client.with_timeout(Some(STOP_PATIENCE));
    let stopping = client.call(&StopRequest {}).await;
    let stopped = match (process, pid) {
        (Some(process), Some(pid)) => {
            let has_answered = stopping.is_ok();
            let undelivered_bytes = stopping.ok().and_then(|it| it.undelivered_bytes);
            let forced = tokio::task::spawn_blocking(move || {
                !(has_answered && process.ends_within(STOP_PATIENCE)) && process.end(STOP_PATIENCE)
            });
            let forced = forced
                .await
                .map_err(|error| ApiError::internal(format!("ending it failed: {error}")))?;
            Stopped {
                pid,
                forced,
                undelivered_bytes,
            }
        }
        // In another PID namespace, or gone since: its word is all there is.
        _ => stopping?,
    };
    let words = if stopped.forced {
        format!("killed process {}, which did not end", stopped.pid)
    } else {
        format!("stopped, process {}", stopped.pid)
    };
    if let Some(bytes) = stopped.undelivered_bytes.filter(|bytes| *bytes > 0) {
        let size = style::bytes(bytes);
        context.output.warning(&format!(
            "{size} of ended streams did not arrive: their peers did not answer"
        ));
    }
    Reply::new(&stopped, context.output.style.done(&words))
}

/// The daemon that holds the home, if it has no socket.
fn pid_of_lock(context: &Context) -> Option<u32> {
    let home = context.settings.home().ok().filter(|home| home.is_dir())?;
    Home::open(home).ok()?.locked_by()
}

/// Whether the daemon runs. `check` gives an exit code alone.
pub(crate) async fn status(context: &Context, check: bool) -> Result<Reply, Failure> {
    let status = look(context).await?;
    if check {
        let code = if status.responsive {
            0
        } else {
            ErrorCode::NotRunning.exit_code()
        };
        return Ok(Reply::Exit(code));
    }
    let words = status_words(context, &status);
    Reply::new(&status, words)
}

async fn look(context: &Context) -> Result<DaemonStatus, ApiError> {
    let client: Client = context.client()?.with_timeout(Some(STATUS_PATIENCE));
    let pid = match client.daemon_pid().await {
        Ok(pid) => pid,
        Err(error) if error.code == ErrorCode::NotRunning => {
            let pid = pid_of_lock(context);
            return Ok(silent(&client, pid.is_some(), pid));
        }
        Err(error) => return Err(error),
    };
    match client.call(&StatusRequest {}).await {
        Ok(status) => Ok(status),
        Err(error) if error.code == ErrorCode::PermissionDenied => Err(error),
        Err(_) => Ok(silent(&client, true, pid)),
    }
}

fn silent(client: &Client, running: bool, pid: Option<u32>) -> DaemonStatus {
    DaemonStatus {
        running,
        responsive: false,
        pid,
        socket: client.socket().to_owned(),
        node_id: None,
        address: None,
        hostname: None,
        uptime_secs: None,
        peers: None,
        connections: None,
    }
}

fn status_words(context: &Context, status: &DaemonStatus) -> String {
    let style = context.output.style;
    if !status.running {
        return style.failed("the daemon does not run; start it with: pilotctl daemon start");
    }
    if !status.responsive {
        return style.failed("the daemon runs and does not answer");
    }
    let facts = [
        ("address", style::or_dash(status.address)),
        ("hostname", style::or_dash(status.hostname.as_ref())),
        ("pid", style::or_dash(status.pid)),
        ("socket", status.socket.display().to_string()),
        (
            "uptime",
            style::or_dash(status.uptime_secs.map(style::uptime)),
        ),
        ("peers", style::or_dash(status.peers)),
        ("connections", style::or_dash(status.connections)),
    ];
    format!("{}\n{}", style.done("the daemon runs"), style.facts(&facts))
}
