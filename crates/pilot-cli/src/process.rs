//! Ending a process of ours, and no other that got its number.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process that is held by a descriptor: its number may be given to another, this cannot.
pub(crate) struct Process {
    pidfd: OwnedFd,
}

impl Process {
    /// `None` if there is none of that number.
    pub(crate) fn open(pid: u32) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        Some(Self { pidfd })
    }

    /// Whether it ends within `patience`; blocks the thread.
    pub(crate) fn ends_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).expect("seconds of patience fit");
            let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return false,
                Ok(_) => return true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Asks it to end, and ends it if it does not within `patience`. Gives whether that was needed.
    pub(crate) fn end(&self, patience: Duration) -> bool {
        self.signal(Signal::TERM);
        if self.ends_within(patience) {
            return false;
        }
        self.signal(Signal::KILL);
        self.ends_within(patience);
        true
    }

    fn signal(&self, signal: Signal) {
        if let Err(error) = pidfd_send_signal(&self.pidfd, signal) {
            tracing::debug!(%error, "the process was gone before its signal");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_that_ends_when_asked_is_not_forced() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::open(child.id()).unwrap();
        assert!(!process.ends_within(Duration::ZERO));
        assert!(!process.end(Duration::from_secs(5)));
        child.wait().unwrap();
        assert!(Process::open(child.id()).is_none());
    }

    #[test]
    fn one_that_does_not_is() {
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; echo ready; while :; do sleep 1; done"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        let process = Process::open(child.id()).unwrap();
        assert!(process.end(Duration::from_millis(100)));
        child.wait().unwrap();
    }
}
