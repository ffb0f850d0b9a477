//! Receiver indices: by which number a packet finds its keys.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use pilot_types::{AgentId, Epoch};

use crate::entropy::Entropy;
use crate::epoch::Order;

/// Spare indices that one end may hold of the other, in each epoch.
const MAX_SPARE: usize = 4;
/// The low bits of a sequence number count the indices of one epoch.
const SEQUENCE_BITS: u32 = 8;

/// Whose an index is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// A handshake that this end started.
    Initiation(AgentId),
    /// A handshake that this end answered.
    HalfOpen(u64),
    /// An epoch of a session.
    Epoch(AgentId, Epoch),
}

/// All receiver indices of this node. They are drawn at random by this end, so that no peer chooses a key of the table.
#[derive(Default)]
pub(crate) struct IndexTable {
    owners: HashMap<u32, Owner, BuildHasherDefault<IndexHasher>>,
}

impl IndexTable {
    /// A fresh index for `owner`.
    pub(crate) fn allocate(&mut self, entropy: &mut Entropy, owner: Owner) -> u32 {
        loop {
            let index = entropy.draw_u32();
            // 0 is the receiver of a message 1, which has none.
            if index != 0 && !self.owners.contains_key(&index) {
                self.owners.insert(index, owner);
                return index;
            }
        }
    }

    /// Hands an index over.
    pub(crate) fn assign(&mut self, index: u32, owner: Owner) {
        self.owners.insert(index, owner);
    }

    pub(crate) fn release(&mut self, index: u32) {
        self.owners.remove(&index);
    }

    pub(crate) fn owner(&self, index: u32) -> Option<Owner> {
        self.owners.get(&index).copied()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.owners.len()
    }
}

/// Spreads numbers that are random already (Fibonacci hashing: the table wants its high bits random too).
#[derive(Default)]
pub(crate) struct IndexHasher(u64);

impl Hasher for IndexHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// An index's name between the two ends: the epoch's place in the session's order, and a count within it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct IndexSequence {
    pub(crate) epoch: Order,
    pub(crate) count: u8,
}

impl IndexSequence {
    /// At most 41 bits, which a varint carries.
    pub(crate) fn to_u64(self) -> u64 {
        (self.epoch.to_u64() << SEQUENCE_BITS) | u64::from(self.count)
    }

    pub(crate) fn from_u64(sequence: u64) -> Option<Self> {
        let epoch = Order::from_u64(sequence >> SEQUENCE_BITS)?;
        let count = (sequence & 0xFF) as u8;
        Some(Self { epoch, count })
    }
}

/// Indices of one epoch by which this end receives.
#[derive(Debug)]
pub(crate) struct LocalIndices {
    /// Count and index; at most one in use and [`MAX_SPARE`] more.
    live: Vec<(u8, u32)>,
    issued: u8,
}

impl LocalIndices {
    pub(crate) fn new(first: u32) -> Self {
        Self {
            live: vec![(0, first)],
            issued: 0,
        }
    }

    /// The count for another index; `None` while the peer holds enough, and once the epoch has had 256.
    pub(crate) fn next_count(&self) -> Option<u8> {
        let has_room = self.live.len() <= MAX_SPARE;
        self.issued.checked_add(1).filter(|_| has_room)
    }

    /// Records an index with the count of [`Self::next_count`].
    pub(crate) fn issue(&mut self, count: u8, index: u32) {
        self.issued = count;
        self.live.push((count, index));
    }

    /// The peer gave one up; the last one stays, for the epoch would be unreachable.
    pub(crate) fn retire(&mut self, count: u8) -> Option<u32> {
        let at = self.live.iter().position(|(live, _)| *live == count)?;
        (self.live.len() > 1).then(|| self.live.remove(at).1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.live.iter().map(|(_, index)| *index)
    }
}

/// Indices of one epoch by which the peer receives.
#[derive(Debug)]
pub(crate) struct RemoteIndices {
    current: (u8, u32),
    /// In the order of their counts, at most [`MAX_SPARE`].
    spare: Vec<(u8, u32)>,
    /// Given up and to be told to the peer; as many as were used, at most 255 in an epoch.
    retired: Vec<u8>,
}

impl RemoteIndices {
    pub(crate) const fn new(first: u32) -> Self {
        Self {
            current: (0, first),
            spare: vec![],
            retired: vec![],
        }
    }

    pub(crate) const fn current(&self) -> u32 {
        self.current.1
    }

    /// Takes one that the peer issued; one that was seen before or is too many is ignored.
    pub(crate) fn add(&mut self, count: u8, index: u32) {
        // Spare ones are used in ascending order: none up to the current one is new.
        let is_known =
            count <= self.current.0 || self.spare.iter().any(|(spare, _)| *spare == count);
        if is_known || self.spare.len() >= MAX_SPARE {
            return;
        }
        self.spare.push((count, index));
        self.spare.sort_unstable();
    }

    /// Goes over to a spare one.
    pub(crate) fn use_fresh(&mut self) -> bool {
        if self.spare.is_empty() {
            return false;
        }
        self.retired.push(self.current.0);
        self.current = self.spare.remove(0);
        true
    }

    /// One that was given up and the peer was not told of.
    pub(crate) fn take_retired(&mut self) -> Option<u8> {
        self.retired.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_round_trips_and_fits_a_varint() {
        for (number, by_smaller, count) in [(0, false, 0), (7, true, 255), (u32::MAX, true, 1)] {
            let epoch = Order { number, by_smaller };
            let sequence = IndexSequence { epoch, count };
            assert_eq!(IndexSequence::from_u64(sequence.to_u64()), Some(sequence));
            assert!(sequence.to_u64() < 1 << 41);
        }
        assert_eq!(IndexSequence::from_u64(1 << 41), None);
    }

    #[test]
    fn four_spares_are_issued_and_more_only_for_retired_ones() {
        let mut local = LocalIndices::new(100);
        for expected in 1..=4 {
            let count = local.next_count().unwrap();
            assert_eq!(count, expected);
            local.issue(count, 100 + u32::from(count));
        }
        assert_eq!(local.next_count(), None);
        assert_eq!(local.retire(0), Some(100));
        assert_eq!(local.retire(0), None);
        assert_eq!(local.next_count(), Some(5));
    }

    #[test]
    fn the_last_index_is_never_retired() {
        let mut local = LocalIndices::new(100);
        assert_eq!(local.retire(0), None);
        assert_eq!(local.iter().collect::<Vec<_>>(), [100]);
    }

    #[test]
    fn a_fresh_index_is_used_once_whatever_is_repeated() {
        let mut remote = RemoteIndices::new(1);
        assert!(!remote.use_fresh());
        for _ in 0..3 {
            remote.add(2, 20);
            remote.add(1, 10);
            remote.add(0, 99);
        }
        assert!(remote.use_fresh());
        assert_eq!(remote.current(), 10);
        remote.add(1, 10);
        assert!(remote.use_fresh());
        assert_eq!(remote.current(), 20);
        assert!(!remote.use_fresh());
        assert_eq!(
            (remote.take_retired(), remote.take_retired()),
            (Some(1), Some(0))
        );
        assert_eq!(remote.take_retired(), None);
    }

    #[test]
    fn a_peer_cannot_make_us_hold_more_than_four() {
        let mut remote = RemoteIndices::new(1);
        for count in 1..=255 {
            remote.add(count, u32::from(count));
        }
        let used = std::iter::from_fn(|| remote.use_fresh().then_some(())).count();
        assert_eq!(used, MAX_SPARE);
    }
}
