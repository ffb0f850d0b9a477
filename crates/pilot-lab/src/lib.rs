//! A laboratory for system tests: machines in network namespaces, links that do what the simulator's links do, and
//! Pilot's real programs on them. For Linux, and for root.
//!
//! ```text
//!  Lab ─ Switch ─ Machine ─ Process, Daemon, Rendezvous, Capture
//!           └──── Cable ────┘   two TAP devices and a thread for each direction
//!                  └ Emulator   one direction, a pure object around pilot-sim's Link
//! ```
//!
//! Not shipped. The emulator and the cable report errors; the laboratory panics, because it only serves tests.

mod cable;
mod capture;
mod emulator;
mod frame;
mod lab;
mod namespace;
mod spec;

pub use cable::{Cable, End, TapName};
pub use capture::{Capture, Captured};
pub use emulator::{Counters, Emulator, MAX_HELD};
pub use lab::{
    Asked, Daemon, Grants, Lab, Machine, Nat, Pair, Process, Rendezvous, Switch, Usage, befriend,
    is_mutual, run, setting, sha256, start, start_all, wait, write_random,
};
pub use namespace::inside;
pub use pilot_sim::{LinkConfig, SimRng};
pub use spec::{SpecError, parse_link};
