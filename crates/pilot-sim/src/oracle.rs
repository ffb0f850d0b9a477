//! What the NATs of a network allow, by reasoning from how they are configured.
//!
//! Two hosts meet in the lowest realm that both are in. Their packets go there through the boxes (NATs and firewalls)
//! of each side, to endpoints that are visible in it; or they go on to the outermost NAT that both are behind and are
//! turned back there. In both cases the same rules decide:
//!
//! - A box lets the first packet of a peer in if it filters nothing, or if the host behind it has sent to the peer by the
//!   mapping that the peer knows, and the filter takes the peer's mapping for the one that was sent to.
//! - The answer goes to where the packet came from. It passes if it comes from the endpoint that the packet was sent
//!   to, or if the filters look at addresses only.

use std::net::IpAddr;

use crate::nat::{Dependence, NatConfig};
use crate::network::{HostId, NatId, Network, Place, Topology};

/// How two hosts can reach each other without a relay.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DirectPath {
    /// Not at all.
    Impossible,
    /// By guessing a port: the mapping of one end towards the other is not the one that a STUN server saw, and the
    /// other, whose endpoint is the same for all, sends to many ports of its address.
    BySpray,
    /// By packets that both send to the endpoints that they know.
    Punched,
}

impl Network {
    /// Whether two hosts can reach each other when both send to all endpoints that they know of each other: host
    /// addresses and, where it can be learnt, what a STUN server in the internet saw of the same socket.
    ///
    /// Reasons about mapping, filtering, hairpinning, nesting and blocked UDP with fresh mappings; neither about links
    /// nor about ports that run out. No port is guessed (for that see [`DirectPath::BySpray`]).
    #[must_use]
    pub fn direct_path_possible(&self, a: HostId, b: HostId) -> bool {
        self.direct_path(a, b) == DirectPath::Punched
    }

    /// How two hosts can reach each other: the best of all pairs of their interfaces.
    #[must_use]
    pub fn direct_path(&self, a: HostId, b: HostId) -> DirectPath {
        let (from, to) = (self.ends(a), self.ends(b));
        let pairs = from.iter().flat_map(|a| to.iter().map(move |b| (a, b)));
        pairs
            .filter(|(a, b)| a.ip.is_ipv4() == b.ip.is_ipv4())
            .map(|(a, b)| self.topology.direct_path(a, b))
            .max()
            .unwrap_or(DirectPath::Impossible)
    }

    fn ends(&self, host: HostId) -> Vec<End> {
        if !self.is_up(host) {
            return vec![];
        }
        let interfaces = self.topology.hosts[host.0].interfaces.iter();
        let ends = interfaces.map(|interface| End {
            ip: interface.ip,
            place: interface.place,
            chain: self.topology.chain(interface.place).collect(),
        });
        ends.collect()
    }
}

/// An interface and the boxes between it and the internet, innermost first.
struct End {
    ip: IpAddr,
    place: Place,
    chain: Vec<NatId>,
}

/// The boxes of one side on the way to where the two meet, innermost first, and what the other side knows.
struct Side<'a> {
    boxes: Vec<Behaviour<'a>>,
    /// Whether the other side knows an endpoint that leads here.
    is_known: bool,
}

struct Behaviour<'a> {
    config: &'a NatConfig,
    is_translating: bool,
}

/// Where a packet that goes outwards meets its destination.
#[derive(PartialEq, Eq)]
enum Meeting {
    Owner(Place),
    Hairpin(NatId),
}

impl Topology {
    fn direct_path(&self, a: &End, b: &End) -> DirectPath {
        let meeting = self
            .places(a)
            .find(|place| self.places(b).any(|other| other == *place));
        let meeting = meeting.expect("all places are in the internet");
        let inside = Side::direct_path(&self.side(a, b, meeting), &self.side(b, a, meeting));
        inside.max(self.hairpin_path(a, b, meeting))
    }

    /// Where an end's packets pass when they go outwards.
    fn places(&self, end: &End) -> impl Iterator<Item = Place> {
        let outside = end.chain.iter().map(|nat| self.gateways[nat.0].outside);
        std::iter::once(end.place).chain(outside)
    }

    /// The side of `end` when both meet in `meeting`, by addresses that are visible there.
    fn side(&self, end: &End, other: &End, meeting: Place) -> Side<'_> {
        let above: Vec<NatId> = self.chain(meeting).collect();
        let below = &end.chain[..end.chain.len() - above.len()];
        let is_seen = |ip| self.meeting(other.place, ip) == Some(Meeting::Owner(meeting));
        let outermost = self.outermost(below);
        let by_host_address = outermost.is_none() && is_seen(end.ip);
        let is_reflexive_below = self.outermost(&above).is_none();
        let reflexive = outermost
            .and_then(|nat| self.gateways[nat.0].nat.external())
            .unwrap_or(end.ip);
        let by_reflexive = is_reflexive_below && self.reaches_stun(end) && is_seen(reflexive);
        Side {
            boxes: self.behaviours(below),
            is_known: by_host_address || by_reflexive,
        }
    }

    /// The path by the outermost NAT that both are behind.
    fn hairpin_path(&self, a: &End, b: &End, meeting: Place) -> DirectPath {
        let above: Vec<NatId> = self.chain(meeting).collect();
        let Some(turn) = self.outermost(&above) else {
            return DirectPath::Impossible;
        };
        let nat = &self.gateways[turn.0].nat;
        let external = nat.external().expect("it translates");
        let is_open = [a, b].into_iter().all(|end| {
            self.reaches_stun(end)
                && self.meeting(end.place, external) == Some(Meeting::Hairpin(turn))
        });
        if !is_open || !nat.config().is_hairpinning {
            return DirectPath::Impossible;
        }
        let side = |end: &End| {
            let to_turn = end.chain.iter().position(|nat| *nat == turn);
            let to_turn = to_turn.expect("both are behind it");
            Side {
                boxes: self.behaviours(&end.chain[..=to_turn]),
                is_known: true,
            }
        };
        Side::direct_path(&side(a), &side(b))
    }

    fn behaviours(&self, boxes: &[NatId]) -> Vec<Behaviour<'_>> {
        let behaviours = boxes.iter().map(|nat| Behaviour {
            config: self.gateways[nat.0].nat.config(),
            is_translating: self.is_translating(*nat),
        });
        behaviours.collect()
    }

    fn is_translating(&self, nat: NatId) -> bool {
        self.gateways[nat.0].nat.external().is_some()
    }

    fn outermost(&self, boxes: &[NatId]) -> Option<NatId> {
        let mut outwards = boxes.iter().rev().copied();
        outwards.find(|nat| self.is_translating(*nat))
    }

    fn reaches_stun(&self, end: &End) -> bool {
        let mut configs = end
            .chain
            .iter()
            .map(|nat| self.gateways[nat.0].nat.config());
        configs.all(|config| !config.is_udp_blocked)
    }

    /// The first place on the way outwards from `from` where someone has the address.
    fn meeting(&self, from: Place, ip: IpAddr) -> Option<Meeting> {
        let mut place = from;
        loop {
            if self.owner(place, ip).is_some() {
                return Some(Meeting::Owner(place));
            }
            let Place::Behind(nat) = place else {
                return None;
            };
            let gateway = &self.gateways[nat.0];
            if gateway.nat.external() == Some(ip) {
                return Some(Meeting::Hairpin(nat));
            }
            place = gateway.outside;
        }
    }
}

impl Side<'_> {
    fn direct_path(a: &Self, b: &Self) -> DirectPath {
        let mut boxes = a.boxes.iter().chain(&b.boxes);
        if boxes.any(|b| b.config.is_udp_blocked) {
            return DirectPath::Impossible;
        }
        let either = |rule: fn(&Self, &Self) -> bool| rule(a, b) || rule(b, a);
        if either(Self::punches) {
            DirectPath::Punched
        } else if either(Self::sprays) {
            DirectPath::BySpray
        } else {
            DirectPath::Impossible
        }
    }

    /// Whether a packet from here to the endpoint that is known of `to` arrives, and the answer to it.
    fn punches(&self, to: &Self) -> bool {
        to.is_known && to.lets_in(self) && (to.is_stable() || !self.filters_ports())
    }

    /// Whether the first packet of `from` gets in by the mapping that is known.
    fn lets_in(&self, from: &Self) -> bool {
        // From the inside out: beyond the first mapping that depends on the destination, what was sent to `from` has
        // opened another mapping than the known one.
        let mut is_known_mapping = true;
        self.boxes.iter().all(|b| {
            is_known_mapping &= b.mapping() == Dependence::EndpointIndependent;
            let has_sent = from.is_known && is_known_mapping;
            match b.config.filtering {
                Dependence::EndpointIndependent => true,
                Dependence::AddressDependent => has_sent,
                Dependence::AddressAndPortDependent => has_sent && from.is_stable(),
            }
        })
    }

    /// Whether packets from here to all ports of the other's address find the mapping that the other opened towards
    /// here: they come from the endpoint that it sends to.
    fn sprays(&self, to: &Self) -> bool {
        self.is_known && to.is_known && self.is_stable()
    }

    /// Whether all see the same endpoint of this side.
    fn is_stable(&self) -> bool {
        self.mapping() == Dependence::EndpointIndependent
    }

    fn mapping(&self) -> Dependence {
        let mappings = self.boxes.iter().map(Behaviour::mapping);
        mappings.max().unwrap_or(Dependence::EndpointIndependent)
    }

    fn filters_ports(&self) -> bool {
        let mut filters = self.boxes.iter().map(|b| b.config.filtering);
        filters.any(|filtering| filtering == Dependence::AddressAndPortDependent)
    }
}

impl Behaviour<'_> {
    const fn mapping(&self) -> Dependence {
        if self.is_translating {
            self.config.mapping
        } else {
            Dependence::EndpointIndependent
        }
    }
}
