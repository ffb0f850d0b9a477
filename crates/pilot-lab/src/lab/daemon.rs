//! Our long-lived programs on a machine.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::process::{is_alive, signal};
use super::{Machine, Process, Usage, wait};

/// Where a rendezvous listens.
const PORT: u16 = 9000;
/// How long an ordered end may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A rendezvous; killed when it is dropped.
pub struct Rendezvous {
    /// What agents are told.
    pub url: String,
    process: Process,
}

impl Rendezvous {
    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it has used.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage::of(self.pid())
    }

    /// Ends it at once (SIGKILL). Start it again by [`Machine::rendezvous`]: key and state stay in the home.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Ends it as an operator's system does (SIGTERM).
    pub fn terminate(mut self) {
        signal(self.pid(), "TERM");
        self.process.wait(PATIENCE);
    }
}

/// An agent's daemon in the background. It outlives this value, and ends with its machine.
pub struct Daemon {
    /// Data of `daemon start`.
    pub ready: Value,
    pid: u32,
}

impl Daemon {
    /// Its process.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has used.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage::of(self.pid)
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        is_alive(self.pid)
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&self) {
        self.end("KILL");
    }

    /// Ends it as an operator's system does (SIGTERM).
    pub fn terminate(&self) {
        self.end("TERM");
    }

    /// Stops it where it stands (SIGSTOP), as a machine that sleeps.
    pub fn suspend(&self) {
        signal(self.pid, "STOP");
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) {
        signal(self.pid, "CONT");
    }

    fn end(&self, name: &str) {
        signal(self.pid, name);
        wait("the daemon ends", PATIENCE, || !self.is_alive());
    }
}

impl Machine {
    /// Starts a rendezvous on this machine's first address and waits until it serves.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn rendezvous(&self) -> Rendezvous {
        self.server(&[])
    }

    /// The same without a registry: a relay alone.
    ///
    /// # Panics
    /// If it does not serve.
    #[must_use]
    pub fn relay(&self) -> Rendezvous {
        self.server(&["--relay-only"])
    }

    fn server(&self, arguments: &[&str]) -> Rendezvous {
        let mut command = self.product("pilot-rendezvous");
        let advertise = format!("{}:{PORT}", self.address());
        command.arg("--home").arg(self.home());
        command.args(["--json", "--listen", &format!("0.0.0.0:{PORT}")]);
        command.args(["--advertise", &advertise]).args(arguments);
        let mut process = Process::spawn(command.stdout(Stdio::piped()));
        let stdout = process.child.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("a pipe can be read");
        let ready: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("no ready line: {error}: {line:?}"));
        Rendezvous {
            url: ready["data"]["url"].as_str().expect("a url").into(),
            process,
        }
    }

    /// Starts this machine's agent in the background by `daemon start` with these arguments.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn daemon(&self, arguments: &[&str]) -> Daemon {
        let start = self.ask(&[&["daemon", "start"], arguments].concat());
        self.daemon_of(start.data().0)
    }

    /// The daemon that is ready by the data of `daemon start`.
    pub(super) fn daemon_of(&self, ready: Value) -> Daemon {
        let pid = ready["pid"].as_u64().and_then(|pid| pid.try_into().ok());
        let pid = pid.unwrap_or_else(|| panic!("no pid in {ready}"));
        assert!(self.is_home_of(pid), "{pid} runs elsewhere: {ready}");
        Daemon { ready, pid }
    }
}
