//! Why a process of an app is no more.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::sandbox::FAILED;

/// How the life of an app's process ended: by a rule that it broke, by itself, or because it was told to.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Ending {
    /// The kernel ended it for a system call that no app may make.
    ForbiddenCall,
    /// It used up its CPU time.
    Cpu,
    /// It wrote a file beyond the bound.
    FileSize,
    /// It got no more memory, and gave up.
    Memory,
    /// It had more threads than it may.
    Threads,
    /// Its own directory holds more than it may.
    Data,
    /// It did not answer for as long as a call may take.
    Stuck,
    /// It said something that is no answer.
    Malformed(String),
    /// An answer was longer than the bound.
    TooLong,
    /// Its log grew faster than a log may.
    LogFlood,
    /// The sandbox could not be set up.
    NotStarted(String),
    /// It ended itself, with this code.
    Exited(i32),
    /// A signal ended it; what it said last.
    Signalled(i32, String),
    /// Nobody called it for long enough.
    Idle,
    /// It was told to: restarted, upgraded, removed, or the daemon ends.
    Told,
}

impl Ending {
    /// What a process' exit means.
    pub(crate) fn of(status: ExitStatus, last_words: &str) -> Self {
        let words = || last_words.to_owned();
        match (status.signal(), status.code()) {
            (Some(libc::SIGSYS), _) => Self::ForbiddenCall,
            (Some(libc::SIGXCPU), _) => Self::Cpu,
            (Some(libc::SIGXFSZ), _) => Self::FileSize,
            (Some(libc::SIGABRT), _) if last_words.contains("memory allocation") => Self::Memory,
            (Some(signal), _) => Self::Signalled(signal, words()),
            (None, Some(code)) if code == i32::from(FAILED) => Self::NotStarted(words()),
            (None, code) => Self::Exited(code.unwrap_or_default()),
        }
    }

    /// One word for it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ForbiddenCall => "forbidden_call",
            Self::Cpu => "cpu",
            Self::FileSize => "file_size",
            Self::Memory => "memory",
            Self::Threads => "threads",
            Self::Data => "data",
            Self::Stuck => "deadline",
            Self::Malformed(_) => "malformed_answer",
            Self::TooLong => "answer_too_long",
            Self::LogFlood => "log_flood",
            Self::NotStarted(_) => "not_started",
            Self::Exited(_) => "exited",
            Self::Signalled(..) => "signalled",
            Self::Idle => "idle",
            Self::Told => "told",
        }
    }

    /// Whether the app is to blame, so that it waits before it is started again.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        !matches!(self, Self::Idle | Self::Told)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForbiddenCall => f.write_str(
                "it made a system call that no app may make (another program, process or thread, a socket, a signal, others' memory)",
            ),
            Self::Cpu => f.write_str("it used up its CPU time"),
            Self::FileSize => f.write_str("it wrote a file longer than it may"),
            Self::Memory => f.write_str("it needed more memory than it may have"),
            Self::Threads => f.write_str("it had more threads than it may"),
            Self::Data => f.write_str("its directory holds more than it may"),
            Self::Stuck => f.write_str("it did not answer within the time of a call"),
            Self::Malformed(words) => write!(f, "it said something that is no answer: {words}"),
            Self::TooLong => f.write_str("its answer was longer than it may be"),
            Self::LogFlood => f.write_str("it filled its log faster than it may"),
            Self::NotStarted(words) => f.write_str(words),
            Self::Exited(code) => write!(f, "it ended by itself with exit code {code}"),
            Self::Signalled(signal, words) if words.is_empty() => {
                write!(f, "signal {signal} ended it")
            }
            Self::Signalled(signal, words) => write!(f, "signal {signal} ended it: {words}"),
            Self::Idle => f.write_str("nobody called it"),
            Self::Told => f.write_str("it was told to end"),
        }
    }
}
