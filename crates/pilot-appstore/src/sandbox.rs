//! What holds an app: rules that a process lays upon itself before it becomes the app, and that nothing takes off again.
//!
//! ```text
//! daemon ── spawn ──▶ this program, `enter` ── rules ──▶ execveat(the checked bytes) = the app
//!            │                                              fd 0  requests and answers (a socket pair)
//!            └ empty environment, own directory             fd 1, 2  its log
//! ```

mod calls;
mod enter;
mod files;
mod kernel;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::grant::Grant;
use crate::limits::Limits;
use crate::manifest::AdapterKind;

pub(crate) use enter::FAILED;
pub use enter::enter;
pub use kernel::Kernel;

/// The word by which the daemon starts this program to become an app: `PROGRAM WORD PLAN`.
pub const WORD: &str = "become-an-app";

/// One of the rules. All hold, but in tests that show what each of them is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// Landlock: no file that was not granted.
    Files,
    /// seccomp: the system calls of a computation, and no others.
    Calls,
    /// Namespaces of its own for network and shared memory, as far as the machine permits them.
    Namespaces,
    /// No capability, whoever runs the daemon.
    Capabilities,
    /// The bound of its memory.
    Memory,
    /// The bound of its CPU time.
    Cpu,
    /// The bound of its threads: the kernel's for its user, and the daemon's count.
    Threads,
    /// Its control groups, where the machine has them: memory, threads, share of a processor.
    Groups,
    /// The bound of its open files.
    OpenFiles,
    /// The bound of a file that it writes.
    FileSize,
    /// The broker's look at the grants, for each connection.
    Grants,
    /// The broker's look at the addresses that a name leads to.
    Addresses,
    /// The bound of its connections at a time.
    Connections,
    /// The end of its connections when its publisher is revoked.
    Revocation,
}

/// What a process that becomes an app is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// The process that starts it: its end is the app's.
    pub(crate) parent: u32,
    /// How it is called in lists of processes.
    pub(crate) name: String,
    pub(crate) limits: Limits,
    pub(crate) grants: BTreeSet<Grant>,
    /// What takes its calls, where it has no program.
    pub(crate) adapter: Option<AdapterKind>,
    /// Its own directory, with the grant `data`.
    pub(crate) data: Option<PathBuf>,
    /// Whether what it is given are modules for the machine's Python, and no program.
    pub(crate) is_script: bool,
    /// Files by which it joins its control groups.
    pub(crate) groups: Vec<PathBuf>,
    /// Rules that are left off; none, but in tests.
    pub(crate) without: BTreeSet<Protection>,
}

impl Plan {
    fn has(&self, protection: Protection) -> bool {
        !self.without.contains(&protection)
    }

    fn may_load(&self) -> bool {
        self.grants.contains(&Grant::Libs) || self.grants.contains(&Grant::Python)
    }

    fn may_have_threads(&self) -> bool {
        self.limits.threads > 1
    }

    /// Whether it may name any file.
    fn may_open(&self) -> bool {
        self.may_load() || self.may_write() || self.grants.iter().any(|g| g.path().is_some())
    }

    fn may_write(&self) -> bool {
        let is_writing = |grant: &Grant| matches!(grant, Grant::Data | Grant::Write(_));
        self.grants.iter().any(is_writing)
    }

    /// Whether the daemon connects for it.
    fn may_connect(&self) -> bool {
        self.grants.iter().any(Grant::is_brokered)
    }
}
