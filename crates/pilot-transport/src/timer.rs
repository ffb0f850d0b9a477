//! The transport's timers.

use pilot_types::TimerTable;

/// What wakes a transport. Each is stopped when the session closes, but for [`Timer::Drain`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Timer {
    /// A packet before an acknowledged one becomes lost (RFC 9002 §6.1.2). Stopped when none is left.
    Loss,
    /// Nothing was heard of what is in flight (RFC 9002 §6.2). Stopped when nothing is.
    Probe,
    /// Nothing of what is in flight was acknowledged for so long that the peer may be gone. Stopped when nothing is.
    Silence,
    /// An ACK was delayed for long enough. Stopped when it is sent.
    Ack,
    /// The pacer lets the next packet go. Set anew by each `poll_transmit` that it held back.
    Pacing,
    /// Nothing was heard for the idle timeout.
    Idle,
    /// A PING keeps the session alive.
    KeepAlive,
    /// A stream's bytes came, and no more do: a PING asks whether the path still carries. Fires once after the last of
    /// them; stopped when no stream is left.
    Lull,
    /// The challenge on a new path is repeated, or the path given up. Stopped by the response.
    Validation,
    /// What is in flight on the path before a migration is lost. Fires once after a migration.
    Retire,
    /// The session is drained.
    Drain,
}

const COUNT: usize = Timer::Drain as usize + 1;

/// Their table.
pub(crate) type Timers = TimerTable<COUNT>;

/// All stopped; the names stand in the order of [`Timer`].
pub(crate) const fn timers() -> Timers {
    TimerTable::new([
        "loss",
        "probe",
        "silence",
        "ack",
        "pacing",
        "idle",
        "keep_alive",
        "lull",
        "validation",
        "retire",
        "drain",
    ])
}
