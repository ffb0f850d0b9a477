//! Processes, and what the system knows of them.

use std::fs;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use super::wait;

/// Runs a command that must succeed.
///
/// # Panics
/// If it does not, with its standard error.
pub fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A child that is killed when it is dropped.
pub struct Process {
    /// The child, for its pipes.
    pub child: Child,
}

impl Process {
    /// Starts a command.
    ///
    /// # Panics
    /// If it does not start.
    pub fn spawn(command: &mut Command) -> Self {
        let child = command.spawn();
        Self {
            child: child.unwrap_or_else(|error| panic!("{command:?}: {error}")),
        }
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// If it takes longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        wait("a process ends", limit, || {
            status = self.child.try_wait().expect("a child of ours");
            status.is_some()
        });
        status.expect("waited for")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal by name; a process that is gone already is no failure.
pub(crate) fn signal(pid: u32, name: &str) {
    let mut kill = Command::new("kill");
    kill.arg(format!("-{name}")).arg(pid.to_string());
    let _ = kill.stderr(Stdio::null()).status();
}

/// Whether a process exists and is more than an unread exit status.
pub(super) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !matches!(after_name(&stat).first(), Some(&"Z" | &"X")))
}

/// What a process has used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Resident memory in bytes.
    pub resident: u64,
    /// The most that it was.
    pub peak: u64,
    /// Processor time of all its threads, in ticks of 10 ms.
    pub ticks: u64,
}

impl Usage {
    /// Of a process, from `/proc`.
    ///
    /// # Panics
    /// If there is no such process.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let read = |name| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
        };
        let (status, stat) = (read("status"), read("stat"));
        let size = |name| {
            let mut lines = status.lines().filter_map(|line| line.strip_prefix(name));
            let value = lines.next().and_then(|it| it.split_whitespace().next());
            let kib: u64 = value
                .and_then(|it| it.parse().ok())
                .unwrap_or_else(|| panic!("no {name} in {status}"));
            kib << 10
        };
        // utime and stime are the 14th and 15th field (proc_pid_stat(5)), the state is the third.
        let fields = after_name(&stat);
        let times = fields[11..13].iter();
        Self {
            resident: size("VmRSS:"),
            peak: size("VmHWM:"),
            ticks: times.map(|it| it.parse::<u64>().expect("a number")).sum(),
        }
    }
}

/// The fields after the name, which may have spaces itself.
fn after_name(stat: &str) -> Vec<&str> {
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    fields.split_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_memory_and_time() {
        let own = Usage::of(std::process::id());
        assert!(
            own.resident > 100_000 && own.peak >= own.resident,
            "{own:?}"
        );
        let burnt = (0..400_000_000_u64).fold(1_u64, |sum, it| std::hint::black_box(sum ^ it));
        assert!(Usage::of(std::process::id()).ticks > own.ticks, "{burnt}");
    }

    #[test]
    fn a_child_that_was_killed_is_not_alive() {
        let mut child = Process::spawn(Command::new("sleep").arg("1000"));
        let pid = child.pid();
        assert!(is_alive(pid));
        signal(pid, "KILL");
        child.wait(Duration::from_secs(10));
        assert!(!is_alive(pid));
        let dropped = Process::spawn(Command::new("sleep").arg("1000"));
        let pid = dropped.pid();
        drop(dropped);
        assert!(!is_alive(pid));
    }
}
