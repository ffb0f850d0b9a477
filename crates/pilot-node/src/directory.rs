//! What is known of other agents: verified entries, cached for days without a rendezvous.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use pilot_registry::Entry;
use pilot_trust::{IdentityLog, VerifiedLog};
use pilot_types::{AgentId, Hostname, NodeId, Tag, UnixTime};
use pilot_wire::{Capability, Locator, Record, Visibility, limits};
use serde::{Deserialize, Serialize};

use crate::log_cache::place;

/// Agents that are remembered: about 2 KiB each, 8 MiB in all.
const MAX_KNOWN: usize = 4096;

/// A verified answer of the registry.
#[derive(Debug, Clone)]
pub struct PeerEntry {
    /// Who.
    pub agent: AgentId,
    /// Its verified log.
    pub log: VerifiedLog,
    /// Its verified record.
    pub record: Record,
    /// Where it was seen last, best first.
    pub candidates: Vec<SocketAddr>,
    /// When the rendezvous last heard of it.
    pub last_seen: Option<UnixTime>,
    /// Whether it has a session with the rendezvous now.
    pub is_online: bool,
}

/// What is kept of an agent over restarts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KnownPeer {
    /// Who.
    pub agent: AgentId,
    /// Its log's entries.
    pub entries: Vec<Vec<u8>>,
    /// The name that its record claims.
    pub hostname: Option<Hostname>,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Its capabilities, by name and version alone: the rest may take 12 KiB.
    pub capabilities: Vec<Capability>,
    /// Whether its record is public.
    pub is_public: bool,
    /// Whether it approves every knock.
    pub auto_approves: bool,
    /// Where it was reached or seen, best first.
    pub candidates: Vec<SocketAddr>,
}

/// Why an entry is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryError {
    #[error("identity log: {0}")]
    Log(String),
    #[error("record: {0}")]
    Record(String),
    #[error("another agent's entry")]
    Agent,
}

/// Checks a registry entry with the agents' own keys: the rendezvous is not trusted for truth.
pub(crate) fn verify_entry(
    entry: &Entry,
    min_work_bits: u8,
    now: UnixTime,
) -> Result<PeerEntry, EntryError> {
    let log = IdentityLog::from_entries(entry.log.clone());
    let log = log
        .verify(min_work_bits)
        .map_err(|error| EntryError::Log(error.to_string()))?;
    if log.agent() != entry.agent {
        return Err(EntryError::Agent);
    }
    let record = log
        .verify::<Record>(&entry.record, now)
        .map_err(|error| EntryError::Record(error.to_string()))?;
    let locator = entry
        .locator
        .as_ref()
        .and_then(|raw| log.verify::<Locator>(raw, now).ok());
    let mut candidates = locator
        .map(|locator| locator.statement.reflexive)
        .unwrap_or_default();
    candidates.truncate(limits::MAX_CANDIDATES);
    Ok(PeerEntry {
        agent: entry.agent,
        log,
        record: record.statement,
        candidates,
        last_seen: entry.last_seen,
        is_online: entry.online,
    })
}

fn named(capability: &Capability) -> Capability {
    Capability::named(&*capability.name, &*capability.version)
}

/// Agents whose log and addresses are known.
#[derive(Default)]
pub(crate) struct Directory {
    peers: BTreeMap<AgentId, KnownPeer>,
    logs: BTreeMap<AgentId, VerifiedLog>,
}

impl Directory {
    pub(crate) fn restore(peers: impl IntoIterator<Item = KnownPeer>, min_work_bits: u8) -> Self {
        let mut directory = Self::default();
        for peer in peers {
            let log = IdentityLog::from_entries(peer.entries.clone()).verify(min_work_bits);
            if let Some(log) = log.ok().filter(|log| log.agent() == peer.agent) {
                directory.put(log, peer);
            }
        }
        directory
    }

    pub(crate) fn learn(&mut self, entry: &PeerEntry) -> KnownPeer {
        let known = KnownPeer {
            agent: entry.agent,
            entries: entry.log.log().entries().to_vec(),
            hostname: entry.record.hostname.clone(),
            tags: entry.record.tags.clone(),
            capabilities: entry.record.capabilities.iter().map(named).collect(),
            is_public: entry.record.visibility == Visibility::Public,
            auto_approves: entry.record.auto_approves,
            candidates: entry.candidates.clone(),
        };
        self.put(entry.log.clone(), known.clone());
        known
    }

    pub(crate) fn put(&mut self, log: VerifiedLog, peer: KnownPeer) {
        let agent = peer.agent;
        if self.peers.len() >= MAX_KNOWN
            && !self.peers.contains_key(&agent)
            && let Some((evicted, _)) = self.peers.pop_first()
        {
            self.logs.remove(&evicted);
        }
        // What was learnt of its keys stays, whatever a rendezvous withholds.
        let known = self.logs.remove(&agent);
        let newest = known.filter(|known| place(known) > place(&log) && log.is_followed_by(known));
        self.logs.insert(agent, newest.unwrap_or(log));
        self.peers.insert(agent, peer);
    }

    /// The newest keys of an agent that is known.
    pub(crate) fn take_log(&mut self, log: &VerifiedLog) {
        if let Some(known) = self.logs.get_mut(&log.agent())
            && let Ok(merged) = known.merged(log)
        {
            *known = merged;
        }
    }

    pub(crate) fn peer(&self, agent: &AgentId) -> Option<&KnownPeer> {
        self.peers.get(agent)
    }

    pub(crate) fn log(&self, agent: &AgentId) -> Option<&VerifiedLog> {
        self.logs.get(agent)
    }

    /// Moves the address that answered to the front.
    pub(crate) fn reached(&mut self, agent: &AgentId, addr: SocketAddr) -> Option<&KnownPeer> {
        let peer = self.peers.get_mut(agent)?;
        if peer.candidates.first() == Some(&addr) {
            return None;
        }
        peer.candidates.retain(|candidate| *candidate != addr);
        peer.candidates.insert(0, addr);
        peer.candidates.truncate(limits::MAX_CANDIDATES);
        Some(peer)
    }

    /// Agents whose records had this name.
    pub(crate) fn named(&self, name: &Hostname) -> impl Iterator<Item = AgentId> {
        let peers = self.peers.values();
        let named = peers.filter(move |peer| peer.hostname.as_ref() == Some(name));
        named.map(|peer| peer.agent)
    }

    pub(crate) fn find_node(&self, node: NodeId) -> Option<AgentId> {
        self.peers
            .keys()
            .copied()
            .find(|agent| agent.node() == node)
    }

    pub(crate) fn find_key(&self, key: &[u8; 32]) -> Option<AgentId> {
        let by_sign_key = || {
            self.logs
                .values()
                .find(|log| log.sign_key() == *key)
                .map(VerifiedLog::agent)
        };
        self.peers
            .keys()
            .copied()
            .find(|agent| agent.as_bytes() == key)
            .or_else(by_sign_key)
    }
}
