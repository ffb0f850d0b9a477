//! Moving packets: from host to host over links and through NATs.

use std::net::IpAddr;
use std::time::Instant;

use super::topology::{HostId, NatId, Owner, Place, Topology};
use super::{Network, Packet};
use crate::link::{Frame, Link};
use crate::trace::{DropCause, Step, TraceEntry};

/// Realms that a packet crosses at most: far more than NATs are ever nested.
const HOP_LIMIT: u8 = 32;

/// Where a packet that a link carries comes out.
#[derive(Clone, Copy, Debug)]
enum Exit {
    Realm(Place),
    Host(HostId),
}

/// A packet on its way.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    packet: Packet,
    exit: Exit,
    hops: u8,
}

impl InFlight {
    pub(super) const fn in_realm(packet: Packet, place: Place) -> Self {
        Self {
            packet,
            exit: Exit::Realm(place),
            hops: 0,
        }
    }
}

impl Network {
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn advance_to(&mut self, at: Instant) {
        self.clock.advance_to(at);
    }

    /// Sends a host's packet on its way.
    pub(crate) fn send(&mut self, host: HostId, packet: Packet) {
        self.sent += 1;
        let mut packet = packet;
        let Some((place, ip)) = self.exit_of(host, &packet) else {
            self.note(Step::Sent(host), &packet);
            return self.note(Step::Dropped(DropCause::NoRoute), &packet);
        };
        packet.source.set_ip(ip);
        self.note(Step::Sent(host), &packet);
        if self.capture.len() < self.capture_limit {
            self.capture.push(packet.clone());
        }
        if !self.is_up(host) {
            return self.note(Step::Dropped(DropCause::HostDown), &packet);
        }
        let flight = InFlight::in_realm(packet, place);
        self.carry(&flight, |topology| {
            let interface = topology.interface_mut(host, ip);
            &mut interface
                .expect("an interface was found for this packet")
                .access
                .up
        });
    }

    fn exit_of(&mut self, host: HostId, packet: &Packet) -> Option<(Place, IpAddr)> {
        let interface = self
            .topology
            .interface_for(host, packet.source, packet.destination)?;
        Some((interface.place, interface.ip))
    }

    /// Moves packets until one reaches a host; `None` when no more are due now.
    pub(crate) fn poll_arrival(&mut self) -> Option<(HostId, Packet)> {
        while let Some(entry) = self.in_flight.first_entry() {
            if entry.key().0 > self.clock.now() {
                return None;
            }
            let flight = entry.remove();
            match flight.exit {
                Exit::Realm(place) => self.route(place, flight),
                Exit::Host(host) if self.is_up(host) => {
                    self.note(Step::Received(host), &flight.packet);
                    return Some((host, flight.packet));
                }
                Exit::Host(_) => self.note(Step::Dropped(DropCause::HostDown), &flight.packet),
            }
        }
        None
    }

    pub(crate) fn note_no_machine(&mut self, packet: &Packet) {
        self.note(Step::Dropped(DropCause::NoMachine), packet);
    }

    fn route(&mut self, place: Place, mut flight: InFlight) {
        flight.hops += 1;
        let destination = flight.packet.destination.ip();
        if flight.hops > HOP_LIMIT {
            return self.note(Step::Dropped(DropCause::NoRoute), &flight.packet);
        }
        match (self.topology.owner(place, destination), place) {
            (Some(Owner::Host(host)), _) => {
                flight.exit = Exit::Host(host);
                self.carry(&flight, |topology| {
                    let interface = topology.interface_mut(host, destination);
                    &mut interface.expect("an owner has the address").access.down
                });
            }
            (Some(Owner::Gateway(nat)), _) => self.go_in(nat, flight),
            (None, Place::Behind(nat)) => self.go_out(nat, flight),
            (None, Place::Internet) => {
                self.note(Step::Dropped(DropCause::NoRoute), &flight.packet);
            }
        }
    }

    fn go_in(&mut self, nat: NatId, mut flight: InFlight) {
        let gateway = &mut self.topology.gateways[nat.0];
        let packet = &mut flight.packet;
        match gateway
            .nat
            .inbound(self.clock.now(), packet.destination, packet.source)
        {
            Ok(internal) => packet.destination = internal,
            Err(drop) => return self.note(Step::Dropped(DropCause::Nat(drop)), &flight.packet),
        }
        flight.exit = Exit::Realm(Place::Behind(nat));
        self.carry(&flight, |topology| {
            &mut topology.gateways[nat.0].access.down
        });
    }

    fn go_out(&mut self, nat: NatId, mut flight: InFlight) {
        let (now, gateway) = (self.clock.now(), &mut self.topology.gateways[nat.0]);
        let (source, destination) = (flight.packet.source, flight.packet.destination);
        let external = gateway.nat.external();
        if external.is_some_and(|ip| ip.is_ipv4() != destination.is_ipv4()) {
            return self.note(Step::Dropped(DropCause::NoRoute), &flight.packet);
        }
        let is_hairpin = external == Some(destination.ip());
        let translated = if is_hairpin {
            gateway.nat.hairpin(now, source, destination, &mut self.rng)
        } else {
            let source = gateway
                .nat
                .outbound(now, source, destination, &mut self.rng);
            source.map(|source| (source, destination))
        };
        match translated {
            Ok((source, destination)) => {
                flight.packet.source = source;
                flight.packet.destination = destination;
            }
            Err(drop) => return self.note(Step::Dropped(DropCause::Nat(drop)), &flight.packet),
        }
        if is_hairpin {
            flight.exit = Exit::Realm(Place::Behind(nat));
            return self.schedule(now, flight);
        }
        flight.exit = Exit::Realm(gateway.outside);
        self.carry(&flight, |topology| &mut topology.gateways[nat.0].access.up);
    }

    /// Gives a packet to a link and schedules what comes out of it.
    fn carry(&mut self, flight: &InFlight, link: impl FnOnce(&mut Topology) -> &mut Link) {
        let frame = Frame {
            size: flight.packet.wire_size(),
            ecn: flight.packet.ecn,
        };
        let now = self.clock.now();
        let carried = link(&mut self.topology).enqueue(now, frame, &mut self.rng);
        let deliveries = match carried {
            Ok(deliveries) => deliveries,
            Err(drop) => return self.note(Step::Dropped(DropCause::Link(drop)), &flight.packet),
        };
        if deliveries.duplicate.is_some() {
            self.note(Step::Duplicated, &flight.packet);
        }
        for delivery in deliveries {
            let mut copy = flight.clone();
            copy.packet.ecn = delivery.ecn;
            if let Some(corruption) = delivery.corruption
                && !copy.packet.payload.is_empty()
            {
                // A changed header would fail its checksum: what a machine gets to see are changes of the payload.
                let offset = corruption.offset % copy.packet.payload.len();
                copy.packet.payload[offset] ^= corruption.mask;
                self.note(Step::Corrupted, &copy.packet);
            }
            self.schedule(delivery.at, copy);
        }
    }

    pub(super) fn schedule(&mut self, at: Instant, flight: InFlight) {
        self.scheduled += 1;
        self.in_flight.insert((at, self.scheduled), flight);
    }

    pub(super) fn note(&mut self, step: Step, packet: &Packet) {
        self.trace.push(TraceEntry {
            at: self.clock.elapsed(),
            step,
            source: packet.source,
            destination: packet.destination,
            size: packet.payload.len(),
            first_byte: packet.payload.first().copied().unwrap_or_default(),
        });
    }
}
