//! The port that a router in front of us holds open for us, as the shell got it (`docs/nat.md` §7).

use std::net::SocketAddr;

use pilot_nat::{Filter, Refusal};
use pilot_wire::limits::MAX_CANDIDATES;

use crate::node::Node;
use crate::now::Now;

impl Node {
    /// The outer address and port that a router says it passes on to our socket, or that there is none any more. Peers and
    /// the registry are told.
    ///
    /// # Errors
    /// The [`Refusal`] of an address that nobody outside could use, as that of a router that is behind a NAT itself: no
    /// address is told then.
    pub fn set_port_mapping(&mut self, now: Now, outer: Option<SocketAddr>) -> Result<(), Refusal> {
        // Without anything that is ours: what is good for our own networks only is good for none of the peers outside.
        let usable = outer.map(|addr| Filter::default().check(addr)).transpose();
        let mapped = usable.unwrap_or_default();
        if self.place.set_mapped(mapped) {
            self.renew_locators(now);
            self.drain(now);
        }
        usable.map(|_| ())
    }

    /// The port mapping that is told to others.
    #[must_use]
    pub const fn port_mapping(&self) -> Option<SocketAddr> {
        self.place.mapped()
    }

    /// Where somebody outside reaches us: where each rendezvous sees us, and the port mapping.
    #[must_use]
    pub fn outer_addresses(&self) -> Vec<SocketAddr> {
        with_mapping(self.links.observed_by_all(), self.place.mapped())
    }
}

/// Each address once, and no more than are tried.
pub(crate) fn with_mapping(
    observed: impl IntoIterator<Item = SocketAddr>,
    mapped: Option<SocketAddr>,
) -> Vec<SocketAddr> {
    // The mapping first: it is open for everybody, and is not to be crowded out.
    let mut addresses: Vec<SocketAddr> = vec![];
    for addr in mapped.into_iter().chain(observed) {
        if addresses.len() < MAX_CANDIDATES && !addresses.contains(&addr) {
            addresses.push(addr);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_once_and_never_too_many() {
        let addr = |port| SocketAddr::from(([192, 0, 2, 1], port));
        assert_eq!(
            with_mapping([addr(1), addr(2), addr(1)], Some(addr(2))),
            [addr(2), addr(1)]
        );
        let many = with_mapping((1..100).map(addr), Some(addr(200)));
        assert_eq!(many.len(), MAX_CANDIDATES);
        assert_eq!(many[0], addr(200));
    }
}
