//! Spare receiver indices, so that nobody can link the packets of a session before and after a migration.

use pilot_types::AgentId;

use super::Endpoint;
use crate::index::{IndexSequence, Owner};
use crate::session::Session;

impl Endpoint {
    /// Another index by which this node receives packets of the epoch in use, for a NEW_INDEX frame: its sequence number and
    /// the index. `None` without a session, or while the peer holds four spare ones.
    pub fn issue_index(&mut self, peer: &AgentId) -> Option<(u64, u32)> {
        let session = self.sessions.get_mut(peer);
        let epoch = session.and_then(Session::current_mut)?;
        let count = epoch.local.next_count()?;
        let owner = Owner::Epoch(*peer, epoch.id);
        let index = self.indices.allocate(&mut self.entropy, owner);
        epoch.local.issue(count, index);
        let sequence = IndexSequence {
            epoch: epoch.order,
            count,
        };
        Some((sequence.to_u64(), index))
    }

    /// Takes a NEW_INDEX frame; one for an epoch that is gone, one that was seen, and a fifth spare one are ignored.
    pub fn handle_new_index(&mut self, peer: &AgentId, sequence: u64, index: u32) {
        let Some(sequence) = IndexSequence::from_u64(sequence) else {
            return;
        };
        let session = self.sessions.get_mut(peer);
        if let Some(epoch) = session.and_then(|s| s.epoch_by_order(sequence.epoch)) {
            epoch.remote.add(sequence.count, index);
        }
    }

    /// Takes a RETIRE_INDEX frame: packets with that index of ours are dropped from now on. The last index of an epoch
    /// stays.
    pub fn handle_retire_index(&mut self, peer: &AgentId, sequence: u64) {
        let Some(sequence) = IndexSequence::from_u64(sequence) else {
            return;
        };
        let session = self.sessions.get_mut(peer);
        let epoch = session.and_then(|s| s.epoch_by_order(sequence.epoch));
        if let Some(index) = epoch.and_then(|epoch| epoch.local.retire(sequence.count)) {
            self.indices.release(index);
        }
    }

    /// Seals with a spare index of the peer's from now on, at a migration; `false` if there is none. The index before is
    /// then to be retired: see [`Self::next_retired_index`].
    pub fn use_fresh_index(&mut self, peer: &AgentId) -> bool {
        let session = self.sessions.get_mut(peer);
        session
            .and_then(Session::current_mut)
            .is_some_and(|epoch| epoch.remote.use_fresh())
    }

    /// Sequence number for a RETIRE_INDEX frame, each once.
    pub fn next_retired_index(&mut self, peer: &AgentId) -> Option<u64> {
        let session = self.sessions.get_mut(peer);
        let epoch = session.and_then(Session::current_mut)?;
        let count = epoch.remote.take_retired()?;
        let sequence = IndexSequence {
            epoch: epoch.order,
            count,
        };
        Some(sequence.to_u64())
    }
}
