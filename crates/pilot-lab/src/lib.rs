//! A laboratory for system tests.
mod cable;
mod emulator;
mod frame;
mod namespace;
mod spec;

pub use cable::{Cable, End, TapName};
pub use emulator::{Counters, Emulator, MAX_HELD};
pub use namespace::inside;
pub use spec::{SpecError, parse_link};
