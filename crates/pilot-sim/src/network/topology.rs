//! Who is where: realms (the internet and the inside of each NAT), hosts with interfaces, gateways between realms.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::clock::WallClock;
use crate::link::{Link, LinkConfig};
use crate::nat::Nat;

/// A host of a [`crate::Network`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostId(pub(crate) usize);

/// A NAT or firewall of a [`crate::Network`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NatId(pub(crate) usize);

/// Where an interface or the outside of a NAT is attached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// In the public internet.
    Internet,
    /// In the network behind a NAT or firewall.
    Behind(NatId),
}

/// Both directions of an access link.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) up: Link,
    pub(crate) down: Link,
}

impl Access {
    fn new() -> Self {
        let link = Link::new(LinkConfig::default());
        Self {
            up: link.clone(),
            down: link,
        }
    }

    pub(crate) const fn set(&mut self, up: LinkConfig, down: LinkConfig) {
        self.up.set_config(up);
        self.down.set_config(down);
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) ip: IpAddr,
    pub(crate) place: Place,
    pub(crate) access: Access,
}

#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) wall: WallClock,
    pub(crate) is_up: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    pub(crate) nat: Nat,
    pub(crate) outside: Place,
    pub(crate) access: Access,
}

/// Who answers for an address in a realm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    Host(HostId),
    /// The external address of a NAT, or an address behind a firewall.
    Gateway(NatId),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Topology {
    pub(crate) hosts: Vec<Host>,
    pub(crate) gateways: Vec<Gateway>,
    owners: BTreeMap<(Place, IpAddr), Owner>,
}

impl Topology {
    pub(crate) fn add_gateway(&mut self, nat: Nat, outside: Place) -> NatId {
        let id = NatId(self.gateways.len());
        if let Some(external) = nat.external() {
            self.claim(outside, external, Owner::Gateway(id));
        }
        self.gateways.push(Gateway {
            nat,
            outside,
            access: Access::new(),
        });
        id
    }

    pub(crate) fn add_host(&mut self) -> HostId {
        let id = HostId(self.hosts.len());
        self.hosts.push(Host {
            interfaces: vec![],
            wall: WallClock::new(),
            is_up: true,
        });
        id
    }

    pub(crate) fn add_interface(&mut self, host: HostId, place: Place, ip: IpAddr) {
        self.claim(place, ip, Owner::Host(host));
        self.hosts[host.0].interfaces.push(Interface {
            ip,
            place,
            access: Access::new(),
        });
    }

    /// Takes an interface out; gives its links back, which go on living at its next place.
    pub(crate) fn remove_interface(&mut self, host: HostId, ip: IpAddr) -> Access {
        let interfaces = &mut self.hosts[host.0].interfaces;
        let position = interfaces.iter().position(|interface| interface.ip == ip);
        let interface = interfaces.remove(position.expect("the host has this address"));
        for place in self.visible_places(interface.place) {
            self.owners.remove(&(place, ip));
        }
        interface.access
    }

    pub(crate) fn owner(&self, place: Place, ip: IpAddr) -> Option<Owner> {
        self.owners.get(&(place, ip)).copied()
    }

    /// The interface that a packet from `local` leaves by: the one with that address or, if it is unspecified, the
    /// first of the destination's family.
    pub(crate) fn interface_for(
        &mut self,
        host: HostId,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<&mut Interface> {
        let wanted = local.ip();
        self.hosts[host.0].interfaces.iter_mut().find(|interface| {
            let is_chosen = wanted.is_unspecified() || interface.ip == wanted;
            is_chosen && interface.ip.is_ipv4() == remote.is_ipv4()
        })
    }

    pub(crate) fn interface_mut(&mut self, host: HostId, ip: IpAddr) -> Option<&mut Interface> {
        let interfaces = &mut self.hosts[host.0].interfaces;
        interfaces.iter_mut().find(|interface| interface.ip == ip)
    }

    /// The gateways between a place and the internet, innermost first.
    pub(crate) fn chain(&self, place: Place) -> impl Iterator<Item = NatId> {
        let inside = |place| match place {
            Place::Internet => None,
            Place::Behind(nat) => Some(nat),
        };
        std::iter::successors(inside(place), move |nat: &NatId| {
            inside(self.gateways[nat.0].outside)
        })
    }

    fn claim(&mut self, place: Place, ip: IpAddr, owner: Owner) {
        let mut owner = owner;
        for place in self.visible_places(place) {
            let before = self.owners.insert((place, ip), owner);
            assert!(before.is_none(), "{ip} is given twice in {place:?}");
            if let Place::Behind(firewall) = place {
                owner = Owner::Gateway(firewall);
            }
        }
    }

    /// The place and those outside of it that see its addresses: up to the first NAT that translates.
    fn visible_places(&self, place: Place) -> Vec<Place> {
        let mut places = vec![place];
        for nat in self.chain(place) {
            let gateway = &self.gateways[nat.0];
            if gateway.nat.external().is_some() {
                break;
            }
            places.push(gateway.outside);
        }
        places
    }
}
