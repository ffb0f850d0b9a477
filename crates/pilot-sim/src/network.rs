//! Hosts, links and NATs in virtual time.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use pilot_types::{Ecn, UnixTime};

use crate::clock::{Clock, Now, WallClock};
use crate::link::LinkConfig;
use crate::nat::{Nat, NatConfig};
use crate::rng::SimRng;
use crate::trace::{Step, Trace};

mod routing;
mod topology;

use routing::InFlight;
pub(crate) use topology::Topology;
pub use topology::{HostId, NatId, Place};

/// IPv4 (20) and UDP (8) headers.
const V4_HEADERS: usize = 28;
/// IPv6 (40) and UDP (8) headers.
const V6_HEADERS: usize = 48;
/// Steps that a trace keeps unless told otherwise.
const TRACE_LIMIT: usize = 200;

/// A UDP datagram on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Its source, as seen where it is.
    pub source: SocketAddr,
    /// Its destination, as seen where it is.
    pub destination: SocketAddr,
    /// Its ECN field.
    pub ecn: Option<Ecn>,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Packet {
    /// Bytes with IP and UDP headers: what links count.
    #[must_use]
    pub const fn wire_size(&self) -> usize {
        let headers = if self.destination.is_ipv4() {
            V4_HEADERS
        } else {
            V6_HEADERS
        };
        self.payload.len() + headers
    }
}

/// Hosts, links and NATs in virtual time, with one seed for all randomness.
///
/// ```text
///  host ─up─▶ realm behind a NAT ─▶ NAT ─up─▶ internet ─▶ NAT ─down─▶ realm behind it ─down─▶ host
/// ```
///
/// A network has no machines; [`crate::Sim`] puts them on its hosts.
#[derive(Clone, Debug)]
pub struct Network {
    seed: u64,
    clock: Clock,
    rng: SimRng,
    pub(crate) topology: Topology,
    /// By arrival, then by the order of sending.
    in_flight: BTreeMap<(Instant, u64), InFlight>,
    scheduled: u64,
    sent: u64,
    trace: Trace,
    capture: Vec<Packet>,
    capture_limit: usize,
}

/// Building it.
impl Network {
    /// An empty network. All randomness of the simulation follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            clock: Clock::new(),
            rng: SimRng::new(seed),
            topology: Topology::default(),
            in_flight: BTreeMap::new(),
            scheduled: 0,
            sent: 0,
            trace: Trace::new(TRACE_LIMIT),
            capture: vec![],
            capture_limit: 0,
        }
    }

    /// Adds a host without interfaces.
    pub fn add_host(&mut self) -> HostId {
        self.topology.add_host()
    }

    /// Adds a host with a public address.
    ///
    /// # Panics
    /// If the address is taken.
    pub fn add_public_host(&mut self, ip: IpAddr) -> HostId {
        let host = self.topology.add_host();
        self.topology.add_interface(host, Place::Internet, ip);
        host
    }

    /// Adds a host behind a NAT or firewall.
    ///
    /// # Panics
    /// If the address is taken there.
    pub fn add_host_behind(&mut self, nat: NatId, ip: IpAddr) -> HostId {
        let host = self.topology.add_host();
        self.topology.add_interface(host, Place::Behind(nat), ip);
        host
    }

    /// Gives a host another interface, with perfect links.
    ///
    /// # Panics
    /// If the address is taken there.
    pub fn add_interface(&mut self, host: HostId, place: Place, ip: IpAddr) {
        self.topology.add_interface(host, place, ip);
    }

    /// Adds a NAT with its outside at `place`.
    ///
    /// # Panics
    /// If the external address is taken there.
    pub fn add_nat(&mut self, config: NatConfig, place: Place, external: IpAddr) -> NatId {
        self.topology
            .add_gateway(Nat::translating(config, external), place)
    }

    /// Adds a firewall with its outside at `place`: addresses behind it are visible outside of it.
    pub fn add_firewall(&mut self, config: NatConfig, place: Place) -> NatId {
        self.topology.add_gateway(Nat::firewall(config), place)
    }

    /// All NATs and firewalls.
    pub fn nats(&self) -> impl Iterator<Item = NatId> + use<> {
        (0..self.topology.gateways.len()).map(NatId)
    }

    /// Sets both directions of all access links of a host.
    pub fn set_link(&mut self, host: HostId, config: LinkConfig) {
        self.set_links(host, config, config);
    }

    /// Sets all access links of a host: `up` from it, `down` to it.
    pub fn set_links(&mut self, host: HostId, up: LinkConfig, down: LinkConfig) {
        for interface in &mut self.topology.hosts[host.0].interfaces {
            interface.access.set(up, down);
        }
    }

    /// Sets the access link of one interface.
    ///
    /// # Panics
    /// If the host does not have the address.
    pub fn set_interface_links(
        &mut self,
        host: HostId,
        ip: IpAddr,
        up: LinkConfig,
        down: LinkConfig,
    ) {
        let interface = self.topology.interface_mut(host, ip);
        interface
            .expect("the host has this address")
            .access
            .set(up, down);
    }

    /// Sets the link between a NAT and its outside, which all hosts behind it share.
    pub fn set_nat_links(&mut self, nat: NatId, up: LinkConfig, down: LinkConfig) {
        self.topology.gateways[nat.0].access.set(up, down);
    }
}

/// Changing it while it runs.
impl Network {
    /// Cuts a host off or connects it again. What is on its way to it is lost while it is cut off.
    pub fn set_up(&mut self, host: HostId, is_up: bool) {
        self.topology.hosts[host.0].is_up = is_up;
    }

    /// Whether a host is connected.
    #[must_use]
    pub fn is_up(&self, host: HostId) -> bool {
        self.topology.hosts[host.0].is_up
    }

    /// Moves an interface to another place and address; its links move with it.
    ///
    /// # Panics
    /// If the host does not have the address `from`, or `to` is taken at `place`.
    pub fn move_interface(&mut self, host: HostId, from: IpAddr, place: Place, to: IpAddr) {
        let access = self.topology.remove_interface(host, from);
        self.topology.add_interface(host, place, to);
        let interface = self.topology.interface_mut(host, to);
        interface.expect("it has just been added").access = access;
    }

    /// Takes an interface away.
    ///
    /// # Panics
    /// If the host does not have the address.
    pub fn remove_interface(&mut self, host: HostId, ip: IpAddr) {
        self.topology.remove_interface(host, ip);
    }

    /// Makes a NAT forget its mappings, as if it had restarted.
    pub fn restart_nat(&mut self, nat: NatId) {
        self.topology.gateways[nat.0].nat.forget();
    }

    /// Asks a NAT for a port from outside to an endpoint behind it; `None` if it has none.
    pub fn map_port(&mut self, nat: NatId, internal: SocketAddr) -> Option<SocketAddr> {
        let now = self.clock.now();
        let nat = &mut self.topology.gateways[nat.0].nat;
        nat.map_port(now, internal, &mut self.rng)
    }

    /// Sets the wall clock of a host; it goes on from there. The steady clock is not touched.
    pub fn set_wall_clock(&mut self, host: HostId, to: UnixTime) {
        let elapsed = self.clock.elapsed();
        self.topology.hosts[host.0].wall.set(elapsed, to);
    }

    /// Puts a packet into the network at `place`, with any source: what an attacker can do.
    pub fn inject(&mut self, place: Place, packet: Packet) {
        self.note(Step::Injected, &packet);
        let at = self.clock.now();
        self.schedule(at, InFlight::in_realm(packet, place));
    }

    /// Keeps copies of the next `limit` packets that hosts send, as they leave the host.
    pub fn capture(&mut self, limit: usize) {
        self.capture_limit = limit;
    }

    /// Takes the captured packets.
    pub fn take_captured(&mut self) -> Vec<Packet> {
        std::mem::take(&mut self.capture)
    }

    /// Sets how many steps the trace keeps.
    pub fn set_trace_limit(&mut self, limit: usize) {
        self.trace.set_limit(limit);
    }
}

/// Looking at it.
impl Network {
    /// The seed.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The steady clock.
    #[must_use]
    pub const fn instant(&self) -> Instant {
        self.clock.now()
    }

    /// Virtual time since the beginning.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// The steady clock and the right wall time.
    #[must_use]
    pub fn now(&self) -> Now {
        self.read(&WallClock::new())
    }

    /// Both clocks of a host, whose wall clock may be wrong.
    #[must_use]
    pub fn now_at(&self, host: HostId) -> Now {
        self.read(&self.topology.hosts[host.0].wall)
    }

    fn read(&self, wall: &WallClock) -> Now {
        Now {
            instant: self.clock.now(),
            unix: wall.read(self.clock.elapsed()),
        }
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..self.topology.hosts.len()).map(HostId)
    }

    /// The addresses of a host, in the order in which its interfaces were added.
    pub fn addresses(&self, host: HostId) -> impl Iterator<Item = IpAddr> {
        let interfaces = self.topology.hosts[host.0].interfaces.iter();
        interfaces.map(|interface| interface.ip)
    }

    /// The first address of a host.
    ///
    /// # Panics
    /// If it has no interface.
    #[must_use]
    pub fn address(&self, host: HostId) -> IpAddr {
        self.addresses(host)
            .next()
            .expect("the host has an interface")
    }

    /// A NAT or firewall, to look at its mappings.
    #[must_use]
    pub fn nat(&self, nat: NatId) -> &Nat {
        &self.topology.gateways[nat.0].nat
    }

    /// The last steps of packets, and drops by cause.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Packets that hosts sent since the beginning.
    #[must_use]
    pub const fn packets_sent(&self) -> u64 {
        self.sent
    }

    /// Packets on their way, those that wait in queues included.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Randomness of the simulation, for choices of a test.
    pub const fn rng(&mut self) -> &mut SimRng {
        &mut self.rng
    }
}
