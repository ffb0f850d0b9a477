//! The two clocks, read by the shell.

use std::time::Instant;

use pilot_types::UnixTime;

/// What the shell's clocks showed when it called.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For durations on this machine.
    pub instant: Instant,
    /// For validity of signed statements; may jump.
    pub unix: UnixTime,
}
