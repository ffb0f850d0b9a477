//! Bounds of the trust machine.

use std::time::Duration;

use pilot_wire::limits::KNOCK_LIFETIME;

/// How much the machine keeps, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Knocks that wait for an answer or were rejected: at most 1 KiB each (text, names) without their logs, 256 KiB in all.
    pub max_pending: usize,
    /// Our own knocks that were not answered: at most 1.5 KiB each, 1.5 MiB in all.
    pub max_sent: usize,
    /// Agents that we granted something, or that granted us something: at most 2 KiB each without their logs (two grants of
    /// 32 port ranges), mostly a fourth of it; 128 MiB in all.
    pub max_peers: usize,
    /// Entries of all logs that are kept: at most 656 bytes each (the entry and what it leaves for the next), 164 MiB in all.
    /// Most agents have one or two.
    pub max_log_entries: usize,
    /// Secrets of tickets that nobody used yet: 48 bytes each.
    pub max_tickets: usize,
    /// How long a knock waits, here and there.
    pub knock_lifetime: Duration,
    /// How long an approval holds unless told otherwise; `None` for ever.
    pub approve_lifetime: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_pending: 256,
            max_sent: 1024,
            max_peers: 65_536,
            max_log_entries: 4 * 65_536,
            max_tickets: 64,
            knock_lifetime: KNOCK_LIFETIME,
            approve_lifetime: None,
        }
    }
}
