//! The addresses at which an agent may be reached: collected, in order, and never more than are tried.

use std::net::{IpAddr, SocketAddr};

use pilot_wire::limits::MAX_CANDIDATES;
use pilot_wire::{Candidate, CandidateKind, Candidates, Mapping};

mod filter;

pub(crate) use filter::is_never_unicast;
pub use filter::{Filter, Prefix, Refusal};

/// Candidates of one kind: a machine with many interfaces (bridges of containers, tunnels) still tells where the
/// outside sees it.
const MAX_OF_KIND: usize = 10;

/// At most [`MAX_CANDIDATES`] different addresses, in the order in which they are tried: by kind, then IPv6 first, then
/// as they were found.
///
/// ```
/// use pilot_nat::{Candidate, CandidateKind, CandidateSet, Mapping};
///
/// let mut ours = CandidateSet::new(1, Mapping::Unknown);
/// let candidate = |kind, addr: &str| Candidate { kind, addr: addr.parse().expect("an address") };
/// ours.insert(candidate(CandidateKind::Reflexive, "192.0.2.1:40000"));
/// ours.insert(candidate(CandidateKind::Host, "10.0.0.7:9000"));
/// assert_eq!(ours.iter().next().map(|c| c.kind), Some(CandidateKind::Host));
/// let body = ours.to_wire().encode(); // into a CANDIDATES frame
/// # assert!(!body.is_empty());
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CandidateSet {
    generation: u32,
    mapping: Mapping,
    candidates: Vec<Candidate>,
}

impl CandidateSet {
    /// An empty set. `generation` counts the sets of its owner: a [`PathAgent`](crate::PathAgent) takes none that is
    /// not newer than the last.
    #[must_use]
    pub const fn new(generation: u32, mapping: Mapping) -> Self {
        Self {
            generation,
            mapping,
            candidates: vec![],
        }
    }

    /// What of a peer's list may be tried, and how many addresses `filter` refused.
    #[must_use]
    pub fn of_peer(list: &Candidates, filter: &Filter) -> (Self, usize) {
        let mut set = Self::new(list.generation, list.mapping);
        let mut refused = 0;
        for candidate in list.candidates.iter().take(MAX_CANDIDATES) {
            match filter.check(candidate.addr) {
                Ok(addr) => {
                    set.insert(Candidate { addr, ..*candidate });
                }
                Err(_) => refused += 1,
            }
        }
        (set, refused)
    }

    /// Adds an address; gives whether the set changed. An address that is there keeps the better of both kinds; of a
    /// full set the last is given up for a better one.
    pub fn insert(&mut self, candidate: Candidate) -> bool {
        let candidate = Candidate {
            addr: canonical(candidate.addr),
            ..candidate
        };
        let same = self
            .candidates
            .iter()
            .position(|c| c.addr == candidate.addr);
        if same.is_some_and(|same| self.candidates[same].kind <= candidate.kind) {
            return false;
        }
        let of_kind = self.candidates.iter().filter(|c| c.kind == candidate.kind);
        if of_kind.count() >= MAX_OF_KIND {
            return false;
        }
        if let Some(same) = same {
            self.candidates.remove(same);
        }
        let place = self
            .candidates
            .partition_point(|c| order(c) <= order(&candidate));
        if place >= MAX_CANDIDATES {
            return false;
        }
        self.candidates.insert(place, candidate);
        self.candidates.truncate(MAX_CANDIDATES);
        true
    }

    /// In the order in which they are tried.
    pub fn iter(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter()
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Counts the sets of its owner.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// How the NAT of its owner maps.
    #[must_use]
    pub const fn mapping(&self) -> Mapping {
        self.mapping
    }

    /// The body of a CANDIDATES frame.
    #[must_use]
    pub fn to_wire(&self) -> Candidates {
        Candidates {
            generation: self.generation,
            mapping: self.mapping,
            candidates: self.candidates.clone(),
        }
    }
}

/// An IPv4 address that is written as an IPv6 one is that IPv4 address.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), addr.port()),
        IpAddr::V6(_) => addr,
    }
}

fn order(candidate: &Candidate) -> (CandidateKind, bool) {
    (candidate.kind, candidate.addr.is_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(kind: CandidateKind, addr: &str) -> Candidate {
        let addr = addr.parse().unwrap();
        Candidate { kind, addr }
    }

    #[test]
    fn a_set_is_ordered_deduplicated_and_bounded() {
        let mut set = CandidateSet::new(1, Mapping::Unknown);
        assert!(set.insert(candidate(CandidateKind::Reflexive, "192.0.2.1:1")));
        assert!(set.insert(candidate(CandidateKind::Host, "192.0.2.2:1")));
        assert!(set.insert(candidate(CandidateKind::Host, "[2001:db8::1]:1")));
        assert!(!set.insert(candidate(CandidateKind::LastKnown, "192.0.2.1:1")));
        // The same address, written otherwise.
        assert!(!set.insert(candidate(CandidateKind::Host, "[::ffff:192.0.2.2]:1")));
        let order: Vec<String> = set.iter().map(|c| c.addr.to_string()).collect();
        assert_eq!(order, ["[2001:db8::1]:1", "192.0.2.2:1", "192.0.2.1:1"]);
        for n in 0..10_000 {
            for kind in [CandidateKind::LastKnown, CandidateKind::Host] {
                set.insert(candidate(
                    kind,
                    &format!("198.51.{}.{}:2", n / 256, n % 256),
                ));
            }
            assert!(set.len() <= MAX_CANDIDATES);
        }
        assert_eq!(set.len(), MAX_CANDIDATES);
        let is_reflexive = |c: &Candidate| c.kind == CandidateKind::Reflexive;
        assert!(set.iter().any(is_reflexive), "interfaces crowd it out");
    }

    #[test]
    fn a_set_goes_over_the_wire() {
        let mut set = CandidateSet::new(7, Mapping::AddressDependent);
        set.insert(candidate(CandidateKind::Mapped, "192.0.2.1:1"));
        let read = Candidates::decode(&set.to_wire().encode()).unwrap();
        assert_eq!(CandidateSet::of_peer(&read, &Filter::default()), (set, 0));
    }
}
