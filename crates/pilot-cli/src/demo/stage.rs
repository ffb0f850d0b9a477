//! The demo's processes and their directory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use pilot_api::{ApiError, Envelope};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::launch::SELF;
use crate::process::Process;

/// Keys are made, and a debug build is slow at it.
const START_PATIENCE: Duration = Duration::from_secs(15);
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// Lines of each log that are shown when a step fails.
const LOG_LINES: usize = 5;
/// A socket's path has at most 107 bytes; ours is this directory, an agent's name and `pilot.sock`.
const MAX_DIR: usize = 80;

/// Where everything happens.
pub(super) struct Stage {
    dir: TempDir,
    programs: Vec<Program>,
}

/// A process that stays.
struct Program {
    name: &'static str,
    child: Child,
}

impl Stage {
    pub(super) fn new() -> Result<Self, ApiError> {
        let temporary = std::env::temp_dir();
        let parent = if temporary.as_os_str().len() > MAX_DIR - 20 {
            Path::new("/tmp")
        } else {
            &temporary
        };
        let dir = tempfile::Builder::new()
            .prefix("pilot-demo-")
            .tempdir_in(parent)
            .map_err(|error| {
                ApiError::internal(format!(
                    "cannot make a directory in {}: {error}",
                    parent.display()
                ))
                .with_hint("set TMPDIR to a directory that can be written")
            })?;
        Ok(Self {
            dir,
            programs: vec![],
        })
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A command of this program that answers in JSON.
    pub(super) fn command(&self, who: &str) -> Command {
        let mut command = self.plain_command(who);
        command.arg("--json");
        command
    }

    /// A command of this program, blind to the user's own agents.
    pub(super) fn plain_command(&self, who: &str) -> Command {
        let mut command = Command::new(SELF);
        command
            .arg0("pilotctl")
            .arg("--home")
            .arg(self.home(who))
            .env_remove("PILOT_HOME")
            .env_remove("PILOT_SOCKET")
            .env("PILOT_RENDEZVOUS_HOME", self.home("embedded"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A signal from the terminal is for the demo, which ends its programs itself.
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    fn home(&self, who: &str) -> PathBuf {
        self.dir.path().join(who)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.log"))
    }

    /// Starts a program that stays, and waits for its ready line.
    pub(super) async fn start<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
        args: Vec<OsString>,
    ) -> Result<T, ApiError> {
        let cannot =
            |error: std::io::Error| ApiError::internal(format!("cannot start {name}: {error}"));
        let log = std::fs::File::create(self.log(name)).map_err(cannot)?;
        let mut command = self.command(name);
        command.args(args).stderr(log);
        let mut child = command.spawn().map_err(cannot)?;
        let stdout = child.stdout.take().expect("the output is piped");
        self.programs.push(Program { name, child });
        let mut line = String::new();
        let mut lines = BufReader::new(stdout);
        tokio::time::timeout(START_PATIENCE, lines.read_line(&mut line))
            .await
            .map_err(|_| ApiError::timeout(format!("{name} was not ready in time")))?
            .map_err(cannot)?;
        answer(name, line.as_bytes())
    }

    /// Runs a command to its end and gives its data.
    pub(super) async fn run(&self, who: &str, args: &[&str]) -> Result<Value, ApiError> {
        let output = self
            .command(who)
            .args(args)
            .output()
            .await
            .map_err(|error| ApiError::internal(format!("cannot run a command: {error}")))?;
        answer(&args.join(" "), &output.stdout)
    }

    /// The last lines of every log.
    pub(super) fn log_ends(&self) -> String {
        let mut text = String::new();
        for program in &self.programs {
            let log = std::fs::read_to_string(self.log(program.name)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
            for line in last {
                text.push_str(&format!("    {}: {line}\n", program.name));
            }
        }
        text
    }

    /// Ends every process and removes the directory.
    pub(super) async fn clear(self) {
        let Self { dir, mut programs } = self;
        programs.reverse();
        let ended = tokio::task::spawn_blocking(move || {
            for program in &programs {
                if let Some(process) = program.child.id().and_then(Process::open) {
                    process.end(STOP_PATIENCE);
                }
            }
            programs
        });
        // What is still there is killed as it is dropped.
        drop(ended.await);
        if let Err(error) = dir.close() {
            tracing::debug!(%error, "the directory stays");
        }
    }

    /// Leaves everything as it is, and says how to reach it.
    pub(super) fn keep(self) -> String {
        let Self { dir, programs } = self;
        let dir = dir.keep();
        let mut pids = vec![];
        for program in programs {
            pids.extend(program.child.id().map(|pid| pid.to_string()));
            // Dropping the handle would kill it.
            std::mem::forget(program.child);
        }
        let home = |who: &str| format!("pilotctl --home {} info", dir.join(who).display());
        format!(
            "everything runs on:\n  {}\n  {}\nend it with:\n  kill {} && rm -r {}",
            home("alice"),
            home("bob"),
            pids.join(" "),
            dir.display()
        )
    }
}

/// The data in a command's output.
pub(super) fn answer<T: DeserializeOwned>(what: &str, output: &[u8]) -> Result<T, ApiError> {
    let envelope: Envelope<T> = serde_json::from_slice(output)
        .map_err(|_| ApiError::internal(format!("{what} ended without an answer")))?;
    envelope.into_result()
}
