//! How much an app may use.

use std::time::Duration;

use serde::{Deserialize, Serialize};

const MIB: u64 = 1024 * 1024;

/// Limits, as a manifest has them; what it leaves out is as here by default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Memory that it may write to, in MiB, 8–4096.
    pub memory_mb: u64,
    /// Seconds of CPU in a life of its process, 1–3600. A process that used them up is ended, and the next call starts another.
    pub cpu_seconds: u64,
    /// Open files, the three standard ones counted, 4–256.
    pub open_files: u64,
    /// Threads, the first one counted, 1–16.
    pub threads: u64,
    /// Longest call, in milliseconds, 1–600,000.
    pub call_ms: u64,
    /// Calls that it has at a time, 1–64.
    pub in_flight: usize,
    /// Longest answer, in KiB, 1–16,384.
    pub answer_kb: usize,
    /// Seconds without a call after which its process is ended, 1–86,400.
    pub idle_seconds: u64,
    /// What its own directory may hold, in MiB, 1–65,536: with the grant `data`.
    pub data_mb: u64,
    /// Connections that it has at a time, 1–64: with grants `net` or `overlay`.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_mb: 64,
            cpu_seconds: 60,
            open_files: 16,
            threads: 1,
            call_ms: 10_000,
            in_flight: 32,
            answer_kb: 1024,
            idle_seconds: 60,
            data_mb: 64,
            connections: 8,
        }
    }
}

impl Limits {
    /// Whether each is within its range.
    ///
    /// # Errors
    /// Words that name the field and its range.
    pub(crate) fn check(&self) -> Result<(), String> {
        let fields = [
            ("memory_mb", self.memory_mb, 8, 4096),
            ("cpu_seconds", self.cpu_seconds, 1, 3600),
            ("open_files", self.open_files, 4, 256),
            ("threads", self.threads, 1, 16),
            ("call_ms", self.call_ms, 1, 600_000),
            ("in_flight", self.in_flight as u64, 1, 64),
            ("answer_kb", self.answer_kb as u64, 1, 16_384),
            ("idle_seconds", self.idle_seconds, 1, 86_400),
            ("data_mb", self.data_mb, 1, 65_536),
            ("connections", self.connections as u64, 1, 64),
        ];
        for (name, value, least, most) in fields {
            if !(least..=most).contains(&value) {
                return Err(format!(
                    "field limits.{name}: expected {least} to {most}, found {value}"
                ));
            }
        }
        Ok(())
    }

    pub(crate) const fn memory(&self) -> u64 {
        self.memory_mb * MIB
    }

    pub(crate) const fn data(&self) -> u64 {
        self.data_mb * MIB
    }

    pub(crate) const fn answer(&self) -> usize {
        self.answer_kb * 1024
    }

    pub(crate) const fn call(&self) -> Duration {
        Duration::from_millis(self.call_ms)
    }

    pub(crate) const fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_seconds)
    }
}
