//! The numbers that a deployment may change.

use std::time::Duration;

use crate::rate::Rate;

/// Lifetimes, limits and intervals of handshakes and epochs.
///
/// The defaults are the protocol's; both ends need not have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Age at which an epoch that carried application data is due for replacement.
    pub rekey_after: Duration,
    /// Age at which an idle epoch is due for replacement.
    pub rekey_idle: Duration,
    /// Age at which an epoch that carried application data stops sealing. An idle one stops as long after
    /// `rekey_idle` as this is after `rekey_after`.
    pub stop_after: Duration,
    /// Packets in one direction after which an epoch is due for replacement.
    pub rekey_packets: u64,
    /// Packets after which an epoch stops sealing.
    pub stop_packets: u64,
    /// How long an epoch opens late packets after the peer was seen to use a newer one.
    pub old_epoch_grace: Duration,
    /// Interval before the first repetition of message 1; it doubles with each.
    pub retransmit_first: Duration,
    /// Longest interval between repetitions of message 1.
    pub retransmit_max: Duration,
    /// Age at which a handshake without an answer fails.
    pub handshake_timeout: Duration,
    /// Copies of message 1 to each direct path when several paths are tried: candidates come from peers, and must not
    /// be a way to point traffic at others. A lone path and relayed ones get a copy at each repetition.
    pub copies_per_candidate: u32,
    /// Handshakes of others that are opened but not confirmed by a data packet, in all.
    pub half_open: usize,
    /// How long each of them is kept.
    pub half_open_lifetime: Duration,
    /// Messages 1 that are opened without a cookie, from everybody together; beyond that there is a load. Each costs two
    /// Diffie-Hellman operations, 0.1 ms: 256 a second are 3 % of a core. The burst lets a fleet of 500 agents in at once.
    pub unproven: Rate,
    /// Handshakes of one source (IPv4 address, IPv6 /64, relay channel) that shows its cookie under load, and answers to one
    /// source without. 1,024 agents behind one NAT get in at once, and 256 a second after them.
    pub per_source: Rate,
    /// Handshakes of one key from one source. An agent needs one at its start and one each 2 minutes; a start each second is
    /// more than a supervisor does.
    pub per_key: Rate,
    /// Peers with a session, in all.
    pub sessions: usize,
    /// Bits of an idle epoch's replay window; a multiple of 64.
    pub replay_idle: usize,
    /// Bits of a busy epoch's replay window; a multiple of 64.
    pub replay_active: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rekey_after: Duration::from_secs(120),
            rekey_idle: Duration::from_secs(3600),
            stop_after: Duration::from_secs(180),
            rekey_packets: 1 << 23,
            stop_packets: 1 << 24,
            old_epoch_grace: Duration::from_secs(10),
            retransmit_first: Duration::from_millis(300),
            retransmit_max: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(10),
            copies_per_candidate: 3,
            half_open: 1024,
            half_open_lifetime: Duration::from_secs(5),
            unproven: Rate {
                burst: 512,
                per_second: 256,
            },
            per_source: Rate {
                burst: 1024,
                per_second: 256,
            },
            per_key: Rate {
                burst: 32,
                per_second: 1,
            },
            sessions: 1 << 16,
            replay_idle: 1024,
            replay_active: 1 << 16,
        }
    }
}
