//! What a process of a measurement is told by the one that started it, and what it answers.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::ValueEnum;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Whatever goes wrong ends the measurement with its text.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
/// A result of anything here.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Name {
    /// Crate `pilot`, embedded
    Pilot,
    /// Two programs, each by the Unix socket of its pilot daemon
    Daemon,
    /// quinn with rustls and ring
    Quinn,
    /// The same with its BBR instead of CUBIC
    QuinnBbr,
    /// iroh without relays and discovery
    Iroh,
    /// Plain TCP: no encryption
    Tcp,
    /// A Unix socket: no network
    Unix,
    /// Datagrams sealed by AES-256-GCM over UDP with GSO and GRO: no reliability
    Udp,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// Bytes of one stream
    Bulk,
    /// Bytes of many streams at once
    Streams,
    /// Round trips of one byte on an open stream
    Rtt,
    /// Round trips of 64 bytes on an open stream
    Rtt64,
    /// Requests and answers of 1 KiB, each on a stream of its own
    Requests,
    /// From nothing to the first byte back
    Connect,
}

/// How much is done at most; the first bound that is reached ends a run.
#[derive(Clone, Copy, Debug, clap::Args, Serialize, Deserialize)]
pub(crate) struct Bounds {
    /// Longest time of one run, in seconds
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// Most bytes of one run of bulk and streams, in MB
    #[arg(long, default_value_t = 2000)]
    pub(crate) megabytes: u64,
    /// Streams at once in `streams`
    #[arg(long, default_value_t = 16)]
    pub(crate) streams: u32,
    /// Most round trips of one run
    #[arg(long, default_value_t = 5000)]
    pub(crate) round_trips: u32,
    /// Most requests of one run
    #[arg(long, default_value_t = 50_000)]
    pub(crate) requests: u32,
    /// Requests at once
    #[arg(long, default_value_t = 32)]
    pub(crate) in_flight: u32,
    /// Connects of one run
    #[arg(long, default_value_t = 20)]
    pub(crate) connects: u32,
    /// Threads of the runtime; 0 for the process' own thread alone
    #[arg(long, default_value_t = 2)]
    pub(crate) threads: usize,
}

/// One process of a measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) name: Name,
    pub(crate) mode: Mode,
    pub(crate) bounds: Bounds,
    /// The process' own address.
    pub(crate) address: Ipv4Addr,
    /// A directory of its own.
    pub(crate) home: PathBuf,
    /// What the serving side said; for it, what its contestant needs besides.
    pub(crate) ticket: String,
}

/// Processor time and memory of a process.
#[derive(Clone, Copy, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Seconds of processor time of all its threads, system's time among it.
    pub(crate) cpu: f64,
    /// Most resident memory in bytes.
    pub(crate) peak: u64,
}

impl Usage {
    /// Of this process.
    pub(crate) fn own() -> Self {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Self {
            cpu: time.tv_sec as f64 + time.tv_nsec as f64 / 1e9,
            peak: pilot_lab::Usage::of(std::process::id()).peak,
        }
    }

    /// Of another process, in steps of 10 ms.
    pub(crate) fn of(pid: u32) -> Self {
        let usage = pilot_lab::Usage::of(pid);
        Self {
            cpu: usage.ticks as f64 / 100.0,
            peak: usage.peak,
        }
    }

    /// What was used since `before`; memory as it is now.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu - before.cpu,
            peak: self.peak,
        }
    }
}

/// What a dialling process did in one run.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) seconds: f64,
    /// Bytes of payload that the other side confirmed.
    pub(crate) bytes: u64,
    /// In `connect`, the part of `p50` until there was an end that could dial.
    pub(crate) start: f64,
    /// Round trips, requests or connects.
    pub(crate) count: u64,
    /// Of each of them, in microseconds: the median and the 99th of 100.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) usage: Usage,
}

impl Done {
    /// Takes times, in nanoseconds, of what was counted.
    pub(crate) fn with_times(mut self, nanos: Vec<u64>) -> Self {
        self.count = nanos.len() as u64;
        [self.p50, self.p99] = quantiles(nanos);
        self
    }

    /// Takes times, in nanoseconds, until an end could dial.
    pub(crate) fn with_starts(mut self, nanos: Vec<u64>) -> Self {
        [self.start, _] = quantiles(nanos);
        self
    }
}

/// The median and the 99th of 100, in microseconds.
fn quantiles(mut nanos: Vec<u64>) -> [f64; 2] {
    nanos.sort_unstable();
    [0.5, 0.99].map(|share| {
        let index = (nanos.len().saturating_sub(1)) as f64 * share;
        let nanos = nanos.get(index.round() as usize);
        nanos.map_or(0.0, |it| *it as f64 / 1e3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_occurred() {
        let done = Done::default().with_times((1..=101).rev().map(|it| it * 1000).collect());
        assert_eq!((done.count, done.p50, done.p99), (101, 51.0, 100.0));
        assert_eq!(Done::default().with_times(vec![]).p99, 0.0);
    }
}
