//! How our NAT maps and filters, as servers see one socket of ours (RFC 5780).

mod discovery;

use std::net::SocketAddr;

use pilot_wire::Mapping;

use crate::candidates::canonical;

pub use discovery::{Filtering, NatDiscovery};

/// Answers that are remembered: two addresses with two ports each tell all there is to tell.
const MAX_OBSERVATIONS: usize = 8;

/// What servers saw of one of our sockets. A socket of another address needs one of its own; so does a new network.
///
/// ```
/// use pilot_nat::{Mapping, MappingProbe};
///
/// let mut probe = MappingProbe::default();
/// probe.observe("192.0.2.1:3478".parse()?, "203.0.113.7:40000".parse()?);
/// assert_eq!(probe.mapping(), Mapping::Unknown);
/// probe.observe("198.51.100.1:3478".parse()?, "203.0.113.7:40000".parse()?);
/// assert_eq!(probe.mapping(), Mapping::EndpointIndependent);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MappingProbe {
    /// A server and what it saw; the oldest first.
    seen: Vec<(SocketAddr, SocketAddr)>,
}

impl MappingProbe {
    /// `server` says that our packet came from `mapped`. Its last word counts.
    pub fn observe(&mut self, server: SocketAddr, mapped: SocketAddr) {
        let (server, mapped) = (canonical(server), canonical(mapped));
        self.seen.retain(|(other, _)| *other != server);
        if self.seen.len() == MAX_OBSERVATIONS {
            self.seen.remove(0);
        }
        self.seen.push((server, mapped));
    }

    /// What a server said last.
    fn last(&self, server: SocketAddr) -> Option<SocketAddr> {
        let server = canonical(server);
        let mut seen = self.seen.iter();
        seen.find(|(known, _)| *known == server)
            .map(|(_, mapped)| *mapped)
    }

    /// What the answers say. Two that agree are enough: a NAT that maps by the address alone is so rare that two ports of
    /// one address count too. Where answers of two addresses differ, only a second port of one of them tells by what;
    /// without one the harder is assumed: the easier would be waited for in vain.
    #[must_use]
    pub fn mapping(&self) -> Mapping {
        let pairs = || {
            let seen = self.seen.iter().enumerate();
            seen.flat_map(|(n, a)| self.seen[n + 1..].iter().map(move |b| (a, b)))
        };
        let is_near = |a: &SocketAddr, b: &SocketAddr| a.ip() == b.ip();
        let differs = |near: bool| {
            let pairs = pairs().filter(|((a, _), (b, _))| is_near(a, b) == near);
            pairs
                .map(|((_, a), (_, b))| a != b)
                .reduce(|any, this| any || this)
        };
        match (differs(true), differs(false)) {
            (Some(true), _) | (None, Some(true)) => Mapping::AddressAndPortDependent,
            (Some(false), Some(true)) => Mapping::AddressDependent,
            (_, Some(false)) | (Some(false), None) => Mapping::EndpointIndependent,
            (None, None) => Mapping::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(seen: &[(&str, u16)]) -> Mapping {
        let mut probe = MappingProbe::default();
        for (server, port) in seen {
            let mapped = SocketAddr::from(([203, 0, 113, 7], *port));
            probe.observe(server.parse().unwrap(), mapped);
        }
        probe.mapping()
    }

    #[test]
    fn answers_tell_what_the_mapping_depends_on() {
        let (a, a2, b) = ("192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1");
        assert_eq!(mapping(&[]), Mapping::Unknown);
        assert_eq!(mapping(&[(a, 5)]), Mapping::Unknown);
        assert_eq!(mapping(&[(a, 5), (a2, 5)]), Mapping::EndpointIndependent);
        assert_eq!(mapping(&[(a, 5), (b, 5)]), Mapping::EndpointIndependent);
        assert_eq!(mapping(&[(a, 5), (b, 6)]), Mapping::AddressAndPortDependent);
        assert_eq!(
            mapping(&[(a, 5), (a2, 6)]),
            Mapping::AddressAndPortDependent
        );
        assert_eq!(
            mapping(&[(a, 5), (a2, 5), (b, 6)]),
            Mapping::AddressDependent
        );
        assert_eq!(
            mapping(&[(a, 5), (b, 6), (b, 5)]),
            Mapping::EndpointIndependent
        );
    }

    #[test]
    fn observations_are_bounded() {
        let mut probe = MappingProbe::default();
        for port in 1..1000 {
            let server = SocketAddr::from(([192, 0, 2, 1], port));
            probe.observe(server, server);
        }
        assert_eq!(probe.seen.len(), MAX_OBSERVATIONS);
    }
}
