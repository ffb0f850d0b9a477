//! What happened to the last packets, for the report of a failure.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::link::LinkDrop;
use crate::nat::NatDrop;
use crate::network::HostId;

/// Why a packet did not arrive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum DropCause {
    /// A link swallowed it.
    Link(LinkDrop),
    /// A NAT or firewall refused it.
    Nat(NatDrop),
    /// No interface has the destination, or the sender has no interface for it.
    NoRoute,
    /// The host at its destination is down.
    HostDown,
    /// No machine runs on the host at its destination.
    NoMachine,
}

/// A step on a packet's way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Step {
    /// A host sent it.
    Sent(HostId),
    /// A test put it into the network.
    Injected,
    /// A link delivered a changed byte.
    Corrupted,
    /// A link made a second copy.
    Duplicated,
    /// A host received it.
    Received(HostId),
    /// It went no further.
    Dropped(DropCause),
}

/// One line of the trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceEntry {
    /// Time since the simulation began.
    pub at: Duration,
    /// What happened.
    pub step: Step,
    /// The packet's source at this place.
    pub source: SocketAddr,
    /// The packet's destination at this place.
    pub destination: SocketAddr,
    /// Bytes of payload.
    pub size: usize,
    /// First byte of the payload, which tells kinds of packets apart.
    pub first_byte: u8,
}

impl fmt::Display for TraceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = format!("{:?}", self.step);
        write!(
            f,
            "{:>14.6} s  {step:<28} {} → {}  {} bytes, first {:#04x}",
            self.at.as_secs_f64(),
            self.source,
            self.destination,
            self.size,
            self.first_byte,
        )
    }
}

/// The last steps, and how many packets were dropped for each cause since the beginning.
#[derive(Clone, Debug)]
pub struct Trace {
    limit: usize,
    entries: VecDeque<TraceEntry>,
    forgotten: u64,
    drops: BTreeMap<DropCause, u64>,
}

impl Trace {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            limit,
            entries: VecDeque::new(),
            forgotten: 0,
            drops: BTreeMap::new(),
        }
    }

    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.shorten();
    }

    pub(crate) fn push(&mut self, entry: TraceEntry) {
        if let Step::Dropped(cause) = entry.step {
            *self.drops.entry(cause).or_default() += 1;
        }
        self.entries.push_back(entry);
        self.shorten();
    }

    fn shorten(&mut self) {
        while self.entries.len() > self.limit {
            self.entries.pop_front();
            self.forgotten += 1;
        }
    }

    /// The steps that are still known, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = &TraceEntry> {
        self.entries.iter()
    }

    /// Packets dropped for a cause since the beginning.
    #[must_use]
    pub fn dropped(&self, cause: DropCause) -> u64 {
        self.drops.get(&cause).copied().unwrap_or_default()
    }

    /// Packets dropped for any cause since the beginning.
    #[must_use]
    pub fn all_dropped(&self) -> u64 {
        self.drops.values().sum()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.forgotten > 0 {
            writeln!(f, "  … {} earlier steps", self.forgotten)?;
        }
        for entry in &self.entries {
            writeln!(f, "  {entry}")?;
        }
        write!(f, "  drops: {:?}", self.drops)
    }
}
