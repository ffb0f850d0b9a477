//! The daemon's state in one redb file: trust, pins, counters, what a restart needs.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use pilot_trust::{TrustChange, TrustItem};
use pilot_types::AgentId;
use redb::TableDefinition;
use serde::{Deserialize, Serialize};

use crate::db::{Db, Layout, Table, u64_from};
use crate::error::{DbError, OpenDbError};

/// Keys are the trust machine's own.
const TRUST: Table = TableDefinition::new("trust");
/// By name: what only counts up.
const COUNTERS: Table = TableDefinition::new("counters");
/// By agent: the highest freshness stamp seen of its newest key.
const FRESHNESS: Table = TableDefinition::new("peer_freshness");
/// By `host:port`.
const PINS: Table = TableDefinition::new("rendezvous_pins");
/// One row: the peers of the last run.
const SESSIONS: Table = TableDefinition::new("last_sessions");
/// By agent: what the node knows of it, in the node's own bytes.
const PEERS: Table = TableDefinition::new("peers");

pub(crate) const LAYOUT: Layout = Layout {
    tables: &[TRUST, COUNTERS, FRESHNESS, PINS, SESSIONS, PEERS],
    format: 1,
    cache: 1024 * 1024,
};

const FRESHNESS_END: &[u8] = b"freshness_end";
const BOOT: &[u8] = b"boot";
const RECORD_SERIAL: &[u8] = b"record_serial";

/// How far freshness stamps are reserved ahead: one write a minute of handshakes, and a restart skips a minute at most.
const FRESHNESS_BLOCK: Duration = Duration::from_secs(60);

/// Peers in the last session list: as many as one daemon dials again at its start.
const MAX_LAST_SESSIONS: usize = 1024;

/// A rendezvous as first met.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RendezvousPin {
    /// Who it is.
    pub agent: AgentId,
    /// Its identity log.
    pub log: Vec<Vec<u8>>,
    /// The work that its network asks of an inception.
    pub work_bits: u8,
}

/// A peer of the last run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LastSession {
    /// Who.
    pub agent: AgentId,
    /// Where its packets came from last; none over a relay.
    pub address: Option<SocketAddr>,
}

/// `state.redb`. Calls block on the disk; what returns `Ok` is durable.
pub struct StateDb {
    db: Db,
}

impl StateDb {
    /// Opens the file at `path`, creating it if there is none.
    ///
    /// # Errors
    /// [`OpenDbError`] if it cannot be read, is damaged, in use, or of a later format. It is left as it is then.
    pub fn open(path: &Path) -> Result<Self, OpenDbError> {
        Ok(Self::over(Db::open(path, &LAYOUT)?))
    }

    pub(crate) const fn over(db: Db) -> Self {
        Self { db }
    }

    /// Everything that the trust machine kept, for its restoration.
    ///
    /// # Errors
    /// [`DbError`] if the file cannot be read or an item does not decode.
    pub fn trust_items(&self) -> Result<Vec<TrustItem>, DbError> {
        self.db.rows(TRUST, b"", "a trust item")
    }

    /// Applies changes of the trust machine, all or none.
    ///
    /// # Errors
    /// [`DbError`] if they could not be written.
    pub fn apply_trust(&self, changes: &[TrustChange]) -> Result<(), DbError> {
        self.db.write(|txn| {
            for change in changes {
                match change {
                    TrustChange::Put(key, item) => txn.put_row(TRUST, key, item)?,
                    TrustChange::Delete(key) => txn.delete(TRUST, key)?,
                }
            }
            Ok(())
        })
    }

    /// Freshness stamps that no run before has used and none after will, from `now_ns` on or later.
    ///
    /// # Errors
    /// [`DbError`] if the reservation could not be written; then no stamp may be used.
    pub fn reserve_freshness(&self, now_ns: u64) -> Result<Range<u64>, DbError> {
        let block = u64::try_from(FRESHNESS_BLOCK.as_nanos()).unwrap_or(u64::MAX);
        self.db.write(|txn| {
            let start = txn.counter(COUNTERS, FRESHNESS_END)?.max(now_ns);
            let end = start.saturating_add(block);
            txn.set_counter(COUNTERS, FRESHNESS_END, end)?;
            Ok(start..end)
        })
    }

    /// The highest freshness stamp seen of each trusted peer under its newest key.
    ///
    /// # Errors
    /// [`DbError`] if the file cannot be read.
    pub fn peer_freshness(&self) -> Result<Vec<(AgentId, u64)>, DbError> {
        let mut stamps = vec![];
        self.db.scan(FRESHNESS, b"", |key, value| {
            let agent = key.try_into().ok().map(AgentId::new);
            stamps.push(agent.zip(u64_from(value)));
            true
        })?;
        let stamps: Option<Vec<_>> = stamps.into_iter().collect();
        stamps.ok_or_else(|| self.db.damaged("a freshness stamp"))
    }

    /// Keeps freshness stamps of peers in place of those of before. They rise, but for the first under another key: a thief of the one before
    /// may have said any number.
    ///
    /// # Errors
    /// [`DbError`] if they could not be written.
    pub fn put_peer_freshness(&self, stamps: &[(AgentId, u64)]) -> Result<(), DbError> {
        self.db.write(|txn| {
            for (agent, stamp) in stamps {
                txn.set_counter(FRESHNESS, agent.as_bytes(), *stamp)?;
            }
            Ok(())
        })
    }

    /// Forgets what is kept of a peer that is trusted no more: its stamp and what the node knew of it.
    ///
    /// # Errors
    /// [`DbError`] if it could not be written.
    pub fn forget_peer(&self, agent: &AgentId) -> Result<(), DbError> {
        self.db.write(|txn| {
            txn.delete(FRESHNESS, agent.as_bytes())?;
            txn.delete(PEERS, agent.as_bytes())
        })
    }

    /// Counts a start of the daemon: 1 for the first.
    ///
    /// # Errors
    /// [`DbError`] if the count could not be written.
    pub fn next_boot(&self) -> Result<u64, DbError> {
        self.count(BOOT, 0)
    }

    /// The next serial for the agent's own record, higher than any before and than `at_least`.
    ///
    /// # Errors
    /// [`DbError`] if it could not be written; then it may not be used.
    pub fn next_record_serial(&self, at_least: u64) -> Result<u64, DbError> {
        self.count(RECORD_SERIAL, at_least)
    }

    /// The rendezvous pinned at `host:port`.
    ///
    /// # Errors
    /// [`DbError`] if the file cannot be read or the pin does not decode.
    pub fn pin(&self, host_port: &str) -> Result<Option<RendezvousPin>, DbError> {
        self.db
            .get_row(PINS, host_port.as_bytes(), "a rendezvous' pin")
    }

    /// Pins a rendezvous, in place of what was pinned there.
    ///
    /// # Errors
    /// [`DbError`] if it could not be written.
    pub fn put_pin(&self, host_port: &str, pin: &RendezvousPin) -> Result<(), DbError> {
        self.db
            .write(|txn| txn.put_row(PINS, host_port.as_bytes(), pin))
    }

    /// Forgets a pin.
    ///
    /// # Errors
    /// [`DbError`] if it could not be written.
    pub fn delete_pin(&self, host_port: &str) -> Result<(), DbError> {
        self.db.write(|txn| txn.delete(PINS, host_port.as_bytes()))
    }

    /// The peers of the last run.
    ///
    /// # Errors
    /// [`DbError`] if the file cannot be read or the list does not decode.
    pub fn last_sessions(&self) -> Result<Vec<LastSession>, DbError> {
        let sessions = self.db.get_row(SESSIONS, b"", "the last session list")?;
        Ok(sessions.unwrap_or_default())
    }

    /// Replaces the list of the last run's peers; of more than 1,024 the first are kept.
    ///
    /// # Errors
    /// [`DbError`] if it could not be written.
    pub fn put_last_sessions(&self, sessions: &[LastSession]) -> Result<(), DbError> {
        let kept = &sessions[..sessions.len().min(MAX_LAST_SESSIONS)];
        self.db.write(|txn| txn.put_row(SESSIONS, b"", &kept))
    }

    /// What is known of peers, as the node wrote it.
    ///
    /// # Errors
    /// [`DbError`] if the file cannot be read.
    pub fn peers(&self) -> Result<Vec<Vec<u8>>, DbError> {
        let mut peers = vec![];
        self.db.scan(PEERS, b"", |_, value| {
            peers.push(value.to_vec());
            true
        })?;
        Ok(peers)
    }

    /// Keeps what is known of a trusted peer, so that it can be reached without a registry; the bytes are the node's.
    ///
    /// # Errors
    /// [`DbError`] if it could not be written.
    pub fn put_peer(&self, agent: &AgentId, known: &[u8]) -> Result<(), DbError> {
        self.db.write(|txn| txn.put(PEERS, agent.as_bytes(), known))
    }

    fn count(&self, counter: &[u8], at_least: u64) -> Result<u64, DbError> {
        self.db.write(|txn| {
            let next = txn
                .counter(COUNTERS, counter)?
                .max(at_least)
                .saturating_add(1);
            txn.set_counter(COUNTERS, counter, next)?;
            Ok(next)
        })
    }
}
