//! Keeps one embedded rendezvous running on this machine, together with the other daemons of its user.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pilot_rendezvous::embedded::{EmbeddedHome, Lock, State};
use thiserror::Error;

use crate::error::describe;

/// Between two starts of a rendezvous that does not stay up; with its start it is back within the promised 5 s.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How often a start is looked after, for as long as it takes.
const LOOK: Duration = Duration::from_millis(20);
/// A log beyond this is begun anew at the next start.
const MAX_LOG: u64 = 4 * 1024 * 1024;

/// Why there is no embedded rendezvous.
#[derive(Debug, Error)]
pub(crate) enum EmbeddedError {
    /// It could not be started.
    #[error("cannot start the embedded rendezvous in {dir}: {reason}")]
    Start {
        /// Its directory.
        dir: String,
        /// What went wrong last.
        reason: String,
    },
    /// None runs, and no program to start one with is known.
    #[error("no rendezvous is configured, and no embedded one runs in {dir}")]
    Missing {
        /// Its directory.
        dir: String,
    },
    /// It did not come up in time.
    #[error("the embedded rendezvous did not come up; its log is {log}")]
    Late {
        /// Its log.
        log: String,
    },
}

/// Starts the embedded rendezvous whenever nobody holds its lock.
///
/// One thread waits for the lock, which the kernel gives to one of all daemons that wait; nothing polls.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    home: EmbeddedHome,
    command: Vec<OsString>,
    is_stopped: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl Keeper {
    /// Begins to keep it. `command` is the program and its arguments; it finds its home in the environment and the lock as
    /// its standard input.
    ///
    /// # Errors
    /// [`EmbeddedError::Start`] if no thread can be started.
    pub(crate) fn start(home: EmbeddedHome, command: Vec<OsString>) -> Result<Self, EmbeddedError> {
        let shared = Arc::new(Shared {
            home,
            command,
            is_stopped: AtomicBool::new(false),
            failure: Mutex::new(None),
        });
        let keeping = Arc::clone(&shared);
        thread::Builder::new()
            .name("embedded-rendezvous".to_owned())
            .spawn(move || keeping.run())
            .map_err(|error| shared.start_error(error.to_string()))?;
        Ok(Self { shared })
    }

    /// The rendezvous that runs already, without keeping it.
    ///
    /// # Errors
    /// [`EmbeddedError::Missing`] if none does.
    pub(crate) fn found(home: &EmbeddedHome) -> Result<State, EmbeddedError> {
        let dir = home.dir().display().to_string();
        match home.running() {
            Ok(Some(state)) => Ok(state),
            Ok(None) => Err(EmbeddedError::Missing { dir }),
            Err(error) => Err(EmbeddedError::Start {
                dir,
                reason: describe(&error),
            }),
        }
    }

    /// Waits until a rendezvous runs, ours or another daemon's.
    ///
    /// # Errors
    /// [`EmbeddedError`] if none runs after `patience`.
    pub(crate) async fn ready(&self, patience: Duration) -> Result<State, EmbeddedError> {
        let deadline = Instant::now() + patience;
        loop {
            match self.shared.home.running() {
                Ok(Some(state)) => return Ok(state),
                Ok(None) => {}
                Err(error) => return Err(self.shared.start_error(describe(&error))),
            }
            if Instant::now() >= deadline {
                return Err(self.shared.late());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The thread may wait for the lock as long as a rendezvous runs; when it gets it, it ends.
        self.shared.is_stopped.store(true, Ordering::Release);
    }
}

impl Shared {
    fn run(&self) {
        while !self.is_stopped.load(Ordering::Acquire) {
            let started = Instant::now();
            if let Err(reason) = self.keep_one() {
                tracing::warn!(%reason, "embedded rendezvous");
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
            }
            thread::sleep(RESTART_PAUSE.saturating_sub(started.elapsed()));
        }
    }

    /// Waits for the lock, starts a rendezvous with it and waits for its end.
    fn keep_one(&self) -> Result<(), String> {
        let lock = Lock::wait(&self.home).map_err(|error| describe(&error))?;
        if self.is_stopped.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut child = self.spawn(lock).map_err(|error| error.to_string())?;
        tracing::info!(pid = child.id(), "embedded rendezvous started");
        let status = child.wait().map_err(|error| error.to_string())?;
        if status.success() {
            tracing::info!("embedded rendezvous ended");
            return Ok(());
        }
        Err(format!("it ended with {status}"))
    }

    fn spawn(&self, lock: Lock) -> io::Result<Child> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(io::Error::other("no program to start it with is known"));
        };
        let path = self.home.log_path();
        let is_long = path.metadata().is_ok_and(|file| file.len() > MAX_LOG);
        let log = OpenOptions::new()
            .write(true)
            .create(true)
            .append(!is_long)
            .truncate(is_long)
            .mode(0o600)
            .open(path)?;
        Command::new(program)
            .args(arguments)
            .env(EmbeddedHome::VARIABLE, self.home.dir())
            .current_dir("/")
            .stdin(lock.into_stdio())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }

    fn late(&self) -> EmbeddedError {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match failure.clone() {
            Some(reason) => self.start_error(reason),
            None => EmbeddedError::Late {
                log: self.home.log_path().display().to_string(),
            },
        }
    }

    fn start_error(&self, reason: String) -> EmbeddedError {
        EmbeddedError::Start {
            dir: self.home.dir().display().to_string(),
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands for the rendezvous: says like one that it runs, on behalf of the shell's pid, until it is killed.
    const FAKE: &str = r#"
        printf %s $$ > "$PILOT_RENDEZVOUS_HOME/lock"
        printf '{"url":"pilot://00@127.0.0.1:1","public_key":"00","listen":"127.0.0.1:1","pid":%s,"started_unix":1}' $$ \
            > "$PILOT_RENDEZVOUS_HOME/rendezvous.json"
        exec sleep 60
    "#;

    fn keeper(dir: &tempfile::TempDir, script: &str) -> Keeper {
        let home = EmbeddedHome::new(dir.path().join("r"));
        let command = ["/bin/sh", "-c", script].map(OsString::from).to_vec();
        Keeper::start(home, command).unwrap()
    }

    fn kill(pid: u32) {
        assert!(
            Command::new("kill")
                .arg("-9")
                .arg(pid.to_string())
                .status()
                .unwrap()
                .success()
        );
    }

    #[tokio::test]
    async fn two_daemons_share_one_and_a_lost_one_comes_back_within_five_seconds() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (keeper(&dir, FAKE), keeper(&dir, FAKE));
        let patience = Duration::from_secs(10);
        let state = first.ready(patience).await.unwrap();
        assert_eq!(second.ready(patience).await.unwrap().pid, state.pid);
        let killed = Instant::now();
        kill(state.pid);
        let next = loop {
            let next = second.ready(patience).await.unwrap();
            if next.pid != state.pid {
                break next;
            }
            tokio::time::sleep(LOOK).await;
        };
        assert!(killed.elapsed() < Duration::from_secs(5));
        drop((first, second));
        kill(next.pid);
    }

    #[tokio::test]
    async fn one_that_cannot_start_is_an_error_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = keeper(&dir, "exit 3");
        let error = keeper.ready(Duration::from_millis(500)).await.unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }
}
