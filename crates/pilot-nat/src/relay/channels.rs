//! The channels: two numbers each, one for either end.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_core::Rng;

/// Names one session of a client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ClientKey(pub(super) u32);

/// One end of a channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    /// Whose end it is.
    pub(super) owner: ClientKey,
    /// The channel's number at the other end.
    pub(super) other: u32,
    /// When a frame came from this end last.
    used: Instant,
    /// Of the end that was called: the permit that was shown. Of the caller's: nothing.
    role: Role,
}

#[derive(Clone, Copy, Debug)]
enum Role {
    Caller,
    Called(Option<[u8; 16]>),
}

/// Channel numbers are random already.
#[derive(Default)]
struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u32(&mut self, number: u32) {
        // The map takes its buckets from the low bits and its tags from the high ones.
        self.0 = u64::from(number) | u64::from(number) << 32;
    }
}

/// All channels; their number is for [`super::RelayServer`] to bound.
#[derive(Default)]
pub(super) struct Channels {
    /// Never iterated.
    sides: HashMap<u32, Side, BuildHasherDefault<NumberHasher>>,
    /// The caller's number of each pair of clients.
    pairs: BTreeMap<(ClientKey, ClientKey), u32>,
    /// The same, by who was called.
    callers: BTreeSet<(ClientKey, ClientKey)>,
    /// When which channel, by its caller's number, is looked at next, in order.
    checks: VecDeque<(Instant, u32)>,
}

impl Channels {
    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    pub(super) fn between(&self, from: ClientKey, to: ClientKey) -> Option<u32> {
        self.pairs.get(&(from, to)).copied()
    }

    /// Channels that a client asked for.
    pub(super) fn count_from(&self, client: ClientKey) -> usize {
        self.pairs.range(all_of(client)).count()
    }

    /// Channels to a client.
    pub(super) fn count_to(&self, client: ClientKey) -> usize {
        self.callers.range(all_of(client)).count()
    }

    /// Opens a channel; gives the caller's number.
    pub(super) fn open(
        &mut self,
        rng: &mut ChaCha12Rng,
        (from, to): (ClientKey, ClientKey),
        permit: Option<[u8; 16]>,
        (now, check_at): (Instant, Instant),
    ) -> u32 {
        let at_caller = self.free_number(rng);
        let at_called = loop {
            let number = self.free_number(rng);
            if number != at_caller {
                break number;
            }
        };
        let side = |owner, other, role| Side {
            owner,
            other,
            used: now,
            role,
        };
        self.sides
            .insert(at_caller, side(from, at_called, Role::Caller));
        self.sides
            .insert(at_called, side(to, at_caller, Role::Called(permit)));
        self.pairs.insert((from, to), at_caller);
        self.callers.insert((to, from));
        self.checks.push_back((check_at, at_caller));
        at_caller
    }

    fn free_number(&self, rng: &mut ChaCha12Rng) -> u32 {
        loop {
            let number = rng.next_u32();
            if number != 0 && !self.sides.contains_key(&number) {
                return number;
            }
        }
    }

    /// The end that a frame with this number comes from.
    pub(super) fn side(&self, number: u32) -> Option<Side> {
        self.sides.get(&number).copied()
    }

    /// A frame from this end was forwarded.
    pub(super) fn used(&mut self, now: Instant, number: u32) {
        if let Some(side) = self.sides.get_mut(&number) {
            side.used = now;
        }
    }

    pub(super) fn owner(&self, number: u32) -> Option<ClientKey> {
        Some(self.sides.get(&number)?.owner)
    }

    /// Ends all channels of a client, from and to it.
    pub(super) fn remove_client(&mut self, client: ClientKey) {
        let from = self.pairs.range(all_of(client)).map(|(pair, _)| *pair);
        let to = self.callers.range(all_of(client));
        let to = to.map(|(called, caller)| (*caller, *called));
        let gone: Vec<_> = from.chain(to).collect();
        for pair in gone {
            self.remove(pair);
        }
    }

    /// Ends the channels to a client whose permits `is_allowed` does not hold.
    pub(super) fn retain_to(
        &mut self,
        client: ClientKey,
        is_allowed: impl Fn(Option<[u8; 16]>) -> bool,
    ) {
        let callers = self.callers.range(all_of(client));
        let gone: Vec<_> = callers
            .map(|(called, caller)| (*caller, *called))
            .filter(|pair| !is_allowed(self.permit(*pair)))
            .collect();
        for pair in gone {
            self.remove(pair);
        }
    }

    fn permit(&self, pair: (ClientKey, ClientKey)) -> Option<[u8; 16]> {
        let caller = self.sides.get(self.pairs.get(&pair)?)?;
        match self.sides.get(&caller.other)?.role {
            Role::Called(permit) => permit,
            Role::Caller => None,
        }
    }

    fn remove(&mut self, (from, to): (ClientKey, ClientKey)) {
        self.callers.remove(&(to, from));
        if let Some(number) = self.pairs.remove(&(from, to))
            && let Some(caller) = self.sides.remove(&number)
        {
            self.sides.remove(&caller.other);
        }
    }

    pub(super) fn next_check(&self) -> Option<Instant> {
        self.checks.front().map(|(at, _)| *at)
    }

    /// Looks at the channels that are due: one of which either end was used meanwhile is due again later.
    pub(super) fn expire(&mut self, now: Instant, idle: Duration) {
        while let Some((at, number)) = self.checks.front().copied() {
            if at > now {
                return;
            }
            self.checks.pop_front();
            let Some(caller) = self.sides.get(&number) else {
                continue;
            };
            let Some(called) = self.sides.get(&caller.other) else {
                continue;
            };
            if caller.used.max(called.used) + idle <= now {
                let pair = (caller.owner, called.owner);
                self.remove(pair);
            } else {
                // Looked at in a fixed rhythm, so that the queue stays in order.
                self.checks.push_back((now + idle, number));
            }
        }
    }

    /// Bytes of one end of a channel.
    #[cfg(test)]
    pub(super) const fn side_size() -> usize {
        size_of::<(u32, Side)>()
    }
}

fn all_of(client: ClientKey) -> std::ops::RangeInclusive<(ClientKey, ClientKey)> {
    (client, ClientKey(0))..=(client, ClientKey(u32::MAX))
}
