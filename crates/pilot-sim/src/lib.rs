//! Virtual clock, links and NATs in which Pilot's machines are tested; a run is determined by its seed.
//!
//! Does no I/O. Reads the clock once in a process, for a first `Instant` to count from.
//!
//! ```text
//!  Sim<M>      the driver: jumps from deadline to deadline, moves datagrams, notices machines that spin
//!   ├ M: Machine …     one per host: what is tested
//!   └ Network  hosts, access links, NATs and firewalls, the packet trace, the oracle
//!      ├ Link  one direction of a link, a pure object
//!      └ Nat   one NAT or firewall, a pure object
//! ```

mod clock;
mod link;
mod machine;
mod nat;
mod network;
mod oracle;
mod rng;
mod sim;
mod trace;

pub use clock::Now;
pub use link::{BurstLoss, Corruption, Deliveries, Delivery, Frame, Link, LinkConfig, LinkDrop};
pub use machine::Machine;
pub use nat::{Dependence, Nat, NatConfig, NatDrop, PortAssignment};
pub use network::{HostId, NatId, Network, Packet, Place};
pub use oracle::DirectPath;
pub use rng::{Probability, SimRng};
pub use sim::Sim;
pub use trace::{DropCause, Step, Trace, TraceEntry};

/// The example of the README runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
