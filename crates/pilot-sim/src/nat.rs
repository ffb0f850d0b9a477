//! A NAT or firewall by the words of RFC 4787, as a pure object: an endpoint in, the translated endpoint out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::rng::SimRng;

#[cfg(test)]
mod tests;

/// What a mapping or a filter depends on (RFC 4787 §4.1, §5). Ordered by how hard it makes hole punching.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Dependence {
    /// The same for every remote endpoint.
    EndpointIndependent,
    /// One for each remote address.
    AddressDependent,
    /// One for each remote address and port.
    AddressAndPortDependent,
}

impl Dependence {
    /// All behaviours, for tests over every pair.
    pub const ALL: [Self; 3] = [
        Self::EndpointIndependent,
        Self::AddressDependent,
        Self::AddressAndPortDependent,
    ];

    const fn of(self, remote: SocketAddr) -> RemoteScope {
        match self {
            Self::EndpointIndependent => RemoteScope::Any,
            Self::AddressDependent => RemoteScope::Address(remote.ip()),
            Self::AddressAndPortDependent => RemoteScope::Endpoint(remote),
        }
    }
}

/// Which external port a new mapping gets (RFC 4787 §4.2). A port is never shared by two mappings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortAssignment {
    /// The internal port if it is free, else the next free one.
    Preserving,
    /// The one after the last assigned.
    Sequential,
    /// Any.
    Random,
}

/// How a NAT behaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NatConfig {
    /// What a mapping depends on; of no meaning for a firewall, which does not translate.
    pub mapping: Dependence,
    /// Whose packets may come in by a mapping.
    pub filtering: Dependence,
    /// Which port a mapping gets.
    pub ports: PortAssignment,
    /// The external ports that there are.
    pub port_range: RangeInclusive<u16>,
    /// How long a mapping and its filters live without a packet that refreshes them.
    pub lifetime: Duration,
    /// Whether inbound packets refresh, too (RFC 4787 §4.3); outbound ones always do.
    pub is_refreshed_inbound: bool,
    /// Whether inner hosts reach each other by external endpoints, with external source endpoints (RFC 4787 §6).
    pub is_hairpinning: bool,
    /// Whether all UDP is dropped.
    pub is_udp_blocked: bool,
}

impl NatConfig {
    /// A NAT that preserves ports, forgets after two minutes (the least that RFC 4787 §4.3 allows) and does hairpinning.
    #[must_use]
    pub const fn new(mapping: Dependence, filtering: Dependence) -> Self {
        Self {
            mapping,
            filtering,
            ports: PortAssignment::Preserving,
            port_range: 1024..=u16::MAX,
            lifetime: Duration::from_secs(120),
            is_refreshed_inbound: false,
            is_hairpinning: true,
            is_udp_blocked: false,
        }
    }

    /// What most homes have: endpoint-independent mapping, address-and-port-dependent filtering.
    #[must_use]
    pub const fn easy() -> Self {
        Self::new(
            Dependence::EndpointIndependent,
            Dependence::AddressAndPortDependent,
        )
    }

    /// A mapping of its own for each remote endpoint, on a random port ("symmetric").
    #[must_use]
    pub const fn hard() -> Self {
        Self {
            ports: PortAssignment::Random,
            ..Self::new(
                Dependence::AddressAndPortDependent,
                Dependence::AddressAndPortDependent,
            )
        }
    }

    /// Lets no UDP through.
    #[must_use]
    pub const fn blocked() -> Self {
        Self {
            is_udp_blocked: true,
            ..Self::easy()
        }
    }
}

/// Why a NAT dropped a packet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum NatDrop {
    /// UDP is blocked.
    Blocked,
    /// No external port is free.
    NoPort,
    /// No mapping for the external endpoint.
    NoMapping,
    /// The filter does not know the sender.
    Filtered,
    /// It does no hairpinning.
    NoHairpin,
}

/// The part of a remote endpoint that a mapping or filter looks at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum RemoteScope {
    Any,
    Address(IpAddr),
    Endpoint(SocketAddr),
}

type MappingKey = (SocketAddr, RemoteScope);

#[derive(Clone, Debug)]
struct Mapping {
    external: SocketAddr,
    expires: Instant,
    /// Who may send to it, and until when.
    permitted: BTreeMap<RemoteScope, Instant>,
}

/// A port that the NAT gives to an inner endpoint on request, as PCP (RFC 6887) lets one ask for: open for everybody, until
/// it is taken back. Answers to who came in by it leave by it.
#[derive(Clone, Debug)]
struct PortMapping {
    external: SocketAddr,
    came_in: BTreeSet<SocketAddr>,
}

/// The state of a NAT, or of a firewall that keeps addresses as they are.
///
/// Its tables are bounded by the external ports of a NAT and by the test that sends through it.
#[derive(Clone, Debug)]
pub struct Nat {
    config: NatConfig,
    /// `None` for a firewall.
    external: Option<IpAddr>,
    mappings: BTreeMap<MappingKey, Mapping>,
    by_external: BTreeMap<SocketAddr, MappingKey>,
    /// By the inner endpoint.
    port_mappings: BTreeMap<SocketAddr, PortMapping>,
    last_port: u16,
}

impl Nat {
    /// A NAT with one external address.
    #[must_use]
    pub const fn translating(config: NatConfig, external: IpAddr) -> Self {
        Self::new(config, Some(external))
    }

    /// A firewall: outbound packets open it for answers, addresses stay.
    #[must_use]
    pub const fn firewall(config: NatConfig) -> Self {
        Self::new(config, None)
    }

    const fn new(config: NatConfig, external: Option<IpAddr>) -> Self {
        let last_port = *config.port_range.end();
        Self {
            config,
            external,
            mappings: BTreeMap::new(),
            by_external: BTreeMap::new(),
            port_mappings: BTreeMap::new(),
            last_port,
        }
    }

    /// How it behaves.
    #[must_use]
    pub const fn config(&self) -> &NatConfig {
        &self.config
    }

    /// Its external address; `None` for a firewall.
    #[must_use]
    pub const fn external(&self) -> Option<IpAddr> {
        self.external
    }

    /// Mappings that are alive at `now`.
    #[must_use]
    pub fn mappings(&self, now: Instant) -> usize {
        self.mappings.values().filter(|m| now < m.expires).count()
    }

    /// Forgets every mapping, as a NAT that restarts does: its inner hosts get new external ports.
    pub fn forget(&mut self) {
        self.mappings.clear();
        self.by_external.clear();
        self.port_mappings.clear();
    }

    /// Gives an inner endpoint a free external port of its own, for packets from anywhere; `None` if there is none, or if
    /// this is a firewall.
    pub fn map_port(
        &mut self,
        now: Instant,
        internal: SocketAddr,
        rng: &mut SimRng,
    ) -> Option<SocketAddr> {
        let ip = self.external?;
        let port = self.free_port(now, ip, internal.port(), rng)?;
        let external = SocketAddr::new(ip, port);
        let mapping = PortMapping {
            external,
            came_in: BTreeSet::new(),
        };
        self.port_mappings.insert(internal, mapping);
        Some(external)
    }

    /// A packet from the inside: gives its source as seen outside.
    ///
    /// # Errors
    /// [`NatDrop::Blocked`] or [`NatDrop::NoPort`].
    pub fn outbound(
        &mut self,
        now: Instant,
        internal: SocketAddr,
        remote: SocketAddr,
        rng: &mut SimRng,
    ) -> Result<SocketAddr, NatDrop> {
        if self.config.is_udp_blocked {
            return Err(NatDrop::Blocked);
        }
        let mapped = self.port_mappings.get(&internal);
        if let Some(mapped) = mapped.filter(|it| it.came_in.contains(&remote)) {
            return Ok(mapped.external);
        }
        let key = (internal, self.mapping_scope(remote));
        if self.mappings.get(&key).is_none_or(|m| m.expires <= now) {
            self.remove(key);
            self.open(now, key, rng)?;
        }
        let until = now + self.config.lifetime;
        let filter = self.config.filtering.of(remote);
        let mapping = self
            .mappings
            .get_mut(&key)
            .expect("it was there or has been opened");
        mapping.expires = until;
        mapping.permitted.insert(filter, until);
        Ok(mapping.external)
    }

    /// A packet from the outside: gives its destination inside.
    ///
    /// # Errors
    /// [`NatDrop::Blocked`], [`NatDrop::NoMapping`] or [`NatDrop::Filtered`].
    pub fn inbound(
        &mut self,
        now: Instant,
        external: SocketAddr,
        remote: SocketAddr,
    ) -> Result<SocketAddr, NatDrop> {
        if self.config.is_udp_blocked {
            return Err(NatDrop::Blocked);
        }
        let mut mapped = self.port_mappings.iter_mut();
        if let Some((internal, mapped)) = mapped.find(|(_, it)| it.external == external) {
            mapped.came_in.insert(remote);
            return Ok(*internal);
        }
        let key = *self.by_external.get(&external).ok_or(NatDrop::NoMapping)?;
        let mapping = self
            .mappings
            .get_mut(&key)
            .expect("both tables change together");
        if mapping.expires <= now {
            return Err(NatDrop::NoMapping);
        }
        let filter = self.config.filtering.of(remote);
        let permitted = mapping.permitted.get_mut(&filter);
        let permitted = permitted.filter(|until| now < **until);
        let until = permitted.ok_or(NatDrop::Filtered)?;
        if self.config.is_refreshed_inbound {
            *until = now + self.config.lifetime;
            mapping.expires = *until;
        }
        Ok(key.0)
    }

    /// A packet from the inside to an external endpoint of this NAT: gives its new source and destination.
    ///
    /// # Errors
    /// [`NatDrop::NoHairpin`], else as [`Self::outbound`] and [`Self::inbound`].
    pub fn hairpin(
        &mut self,
        now: Instant,
        internal: SocketAddr,
        external: SocketAddr,
        rng: &mut SimRng,
    ) -> Result<(SocketAddr, SocketAddr), NatDrop> {
        if !self.config.is_hairpinning {
            return Err(NatDrop::NoHairpin);
        }
        // RFC 4787 §6, REQ-9: the source is the external endpoint of the sender.
        let source = self.outbound(now, internal, external, rng)?;
        let destination = self.inbound(now, external, source)?;
        Ok((source, destination))
    }

    fn mapping_scope(&self, remote: SocketAddr) -> RemoteScope {
        match self.external {
            Some(_) => self.config.mapping.of(remote),
            None => RemoteScope::Any,
        }
    }

    fn open(&mut self, now: Instant, key: MappingKey, rng: &mut SimRng) -> Result<(), NatDrop> {
        let external = match self.external {
            Some(ip) => {
                let port = self.free_port(now, ip, key.0.port(), rng);
                SocketAddr::new(ip, port.ok_or(NatDrop::NoPort)?)
            }
            None => key.0,
        };
        if let Some(expired) = self.by_external.insert(external, key) {
            self.mappings.remove(&expired);
        }
        let mapping = Mapping {
            external,
            expires: now,
            permitted: BTreeMap::new(),
        };
        self.mappings.insert(key, mapping);
        Ok(())
    }

    fn remove(&mut self, key: MappingKey) {
        if let Some(expired) = self.mappings.remove(&key) {
            self.by_external.remove(&expired.external);
        }
    }

    fn free_port(
        &mut self,
        now: Instant,
        ip: IpAddr,
        internal: u16,
        rng: &mut SimRng,
    ) -> Option<u16> {
        let (first, last) = (
            u32::from(*self.config.port_range.start()),
            u32::from(*self.config.port_range.end()),
        );
        let count = (last + 1).checked_sub(first)?;
        let wanted = match self.config.ports {
            PortAssignment::Preserving => u32::from(internal),
            PortAssignment::Sequential => u32::from(self.last_port) + 1,
            PortAssignment::Random => first + rng.below(count.into()) as u32,
        };
        let from = if (first..=last).contains(&wanted) {
            wanted
        } else {
            first
        };
        let mut candidates = (from..=last).chain(first..from);
        let port = candidates.find_map(|port| {
            let port = u16::try_from(port).ok()?;
            self.is_free(now, SocketAddr::new(ip, port)).then_some(port)
        })?;
        self.last_port = port;
        Some(port)
    }

    fn is_free(&self, now: Instant, external: SocketAddr) -> bool {
        let mut mapped = self.port_mappings.values();
        let is_mapped = mapped.any(|it| it.external == external);
        let holder = self.by_external.get(&external);
        let holder = holder.and_then(|key| self.mappings.get(key));
        !is_mapped && holder.is_none_or(|mapping| mapping.expires <= now)
    }
}
