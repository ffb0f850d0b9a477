//! The service's limits.

use std::time::Duration;

const MIB: u64 = 1024 * 1024;

/// How often one agent may do something: a burst at once, then a steady rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// At once after a rest.
    pub burst: u32,
    /// Milliseconds that each further one takes to become allowed; not 0.
    pub interval_ms: u64,
}

/// How many letters, and how large in all. Each counts with its bytes and [`Quota::OVERHEAD`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// Letters.
    pub count: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Quota {
    /// What a letter costs beside its bytes: a row of 120 bytes, 240 of keys that lead to it, its part of three sums, and the tree around
    /// them.
    pub const OVERHEAD: u64 = 512;
}

/// Limits of a [`crate::Service`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Agent rows, those of agents that left within `retention` included: about 1 KiB each on disk.
    pub max_agents: u64,
    /// Grants and revocations that one agent may have in the store.
    pub max_grants_per_agent: u64,
    /// Knocks that wait for one agent.
    pub max_knocks: usize,
    /// Grants and revocations that wait for one agent.
    pub max_grant_pushes: usize,
    /// Pushes under way to one agent.
    pub max_pushes_in_flight: usize,
    /// Rest after a push that failed.
    pub push_retry: Duration,
    /// How long log, address and grants of an agent are kept after its record ended or was removed.
    pub retention: Duration,
    /// Agents whose last sight is remembered: 120 bytes each.
    pub max_last_seen: usize,
    /// Agents whose quotas are remembered: 160 bytes each.
    pub max_quotas: usize,
    /// Requests of any kind by one agent.
    pub requests: Rate,
    /// Knocks by one agent.
    pub knocks: Rate,
    /// Searches by one agent: each may cost some 20 ms.
    pub searches: Rate,
    /// Terms of public records in the index for searches, summed over all records; below 2^32. A quarter of them may be different ones. A term
    /// takes 12 bytes, a different one 100 more: 640 MiB at worst. Rich records have 40 terms each.
    pub max_search_terms: usize,
    /// Letters in one mailbox.
    pub max_letters: Quota,
    /// Letters of one sender in one mailbox: an eighth of it, so that one that is full of a sender's takes others'.
    pub max_letters_between: Quota,
    /// Letters of one sender in all mailboxes.
    pub max_letters_from: Quota,
    /// Letters in all: 16 GiB at worst on disk, for a store's pages are half full at worst.
    pub max_letters_all: Quota,
    /// Agents, or letters, that one `handle_time` retires or drops.
    pub expiry_batch: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_agents: 2_000_000,
            max_grants_per_agent: 4096,
            max_knocks: 64,
            max_grant_pushes: 256,
            max_pushes_in_flight: 8,
            push_retry: Duration::from_secs(5),
            retention: Duration::from_secs(90 * 24 * 3600),
            max_last_seen: 100_000,
            max_quotas: 100_000,
            requests: Rate {
                burst: 1000,
                interval_ms: 10,
            },
            knocks: Rate {
                burst: 256,
                interval_ms: 1000,
            },
            searches: Rate {
                burst: 30,
                interval_ms: 200,
            },
            max_search_terms: 16_000_000,
            max_letters: Quota {
                count: 4096,
                bytes: 16 * MIB,
            },
            max_letters_between: Quota {
                count: 512,
                bytes: 2 * MIB,
            },
            max_letters_from: Quota {
                count: 16_384,
                bytes: 64 * MIB,
            },
            max_letters_all: Quota {
                count: 4_000_000,
                bytes: 8 * 1024 * MIB,
            },
            expiry_batch: 64,
        }
    }
}
