//! The oracle against brute force: hosts that send to everything they know, in every pair of NATs and in random nests
//! of NATs and firewalls.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use pilot_sim::{
    Dependence, DirectPath, HostId, Machine, NatConfig, NatId, Network, Now, Place, PortAssignment,
    Sim,
};
use pilot_types::{Deadline, Ecn, FourTuple, PathId, PeerAddr, Transmit, TransmitBuf};
use proptest::prelude::*;

const STUN_PORT: u16 = 3478;
const PORT: u16 = 40_000;
const TICK: Duration = Duration::from_millis(100);
/// Ports that a sprayer tries: NATs here assign from 1024 upwards or preserve [`PORT`].
const SPRAYED: [Range<u16>; 2] = [1024..1104, PORT..PORT + 80];

/// A STUN server, or a host that probes every endpoint that it knows of its peer.
struct Prober {
    name: u8,
    local: SocketAddr,
    is_stun: bool,
    outbox: Vec<(SocketAddr, Vec<u8>)>,
    /// How the STUN servers see us: one endpoint if our mapping does not depend on them.
    reflexive: Vec<SocketAddr>,
    targets: BTreeSet<SocketAddr>,
    has_heard: bool,
    tick: Option<Instant>,
}

impl Prober {
    fn new(name: u8, local: SocketAddr) -> Self {
        Self {
            name,
            local,
            is_stun: false,
            outbox: vec![],
            reflexive: vec![],
            targets: BTreeSet::new(),
            has_heard: false,
            tick: None,
        }
    }

    /// Our own address, and what the first STUN server saw.
    fn candidates(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        std::iter::once(self.local).chain(self.reflexive.first().copied())
    }

    fn is_stable(&self) -> bool {
        self.reflexive.iter().all(|seen| *seen == self.reflexive[0])
    }

    fn probe(&mut self) {
        let name = self.name;
        let probes = self
            .targets
            .iter()
            .map(|target| (*target, vec![b'P', name]));
        self.outbox.extend(probes);
    }
}

impl Machine for Prober {
    fn handle_datagram(
        &mut self,
        _now: Now,
        _local: SocketAddr,
        remote: SocketAddr,
        _ecn: Option<Ecn>,
        data: &mut [u8],
    ) {
        match *data {
            [b'S'] if self.is_stun => {
                let seen = format!("R{remote}").into_bytes();
                self.outbox.push((remote, seen));
            }
            [b'R', ref seen @ ..] => {
                let seen = std::str::from_utf8(seen).expect("the answer of our server");
                self.reflexive
                    .push(seen.parse().expect("the answer of our server"));
            }
            // With overlapping private ranges a packet may come back to its sender.
            [b'P', name] if name != self.name => {
                self.has_heard = true;
                self.targets.insert(remote);
            }
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        if self.tick.is_some_and(|tick| tick <= now.instant) {
            self.tick = Some(now.instant + TICK);
            self.probe();
        }
    }

    fn poll_transmit(&mut self, _now: Now, out: &mut TransmitBuf) -> Option<Transmit> {
        let (remote, data) = self.outbox.pop()?;
        out.bind_path(PathId::Udp(FourTuple {
            local: self.local,
            remote: PeerAddr(remote),
        }));
        assert!(out.begin(100));
        out.put_slice(&data);
        out.finish();
        out.transmit(None)
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.tick.map(|at| Deadline { at, timer: "tick" })
    }
}

/// Lets both hosts learn what STUN says, exchange it, and probe; then lets `sprayer` try all ports.
fn probe(mut network: Network, hosts: [HostId; 2], sprayer: Option<usize>) -> bool {
    let servers = [200, 201].map(|last| network.add_public_host(v4(198, 51, 100, last)));
    let mut sim = Sim::new(network);
    let mut requests = vec![];
    for server in servers {
        let local = SocketAddr::new(sim.network.address(server), STUN_PORT);
        requests.push((local, b"S".to_vec()));
        let stun = Prober {
            is_stun: true,
            ..Prober::new(0, local)
        };
        sim.install(server, stun);
    }
    for (name, host) in (1..).zip(hosts) {
        let local = SocketAddr::new(sim.network.address(host), PORT);
        let prober = Prober {
            outbox: requests.clone(),
            ..Prober::new(name, local)
        };
        sim.install(host, prober);
    }
    sim.run_for(Duration::from_secs(1));
    let [a, b] = hosts;
    let candidates = [a, b].map(|host| sim[host].candidates());
    let now = sim.network.instant();
    for (host, targets) in [b, a].into_iter().zip(candidates) {
        sim[host].targets.extend(targets);
        sim[host].tick = Some(now);
    }
    sim.run_for(Duration::from_secs(1));
    if let Some(sprayer) = sprayer.filter(|sprayer| sim[hosts[*sprayer]].is_stable()) {
        let known: BTreeSet<IpAddr> = sim[hosts[sprayer]]
            .targets
            .iter()
            .map(SocketAddr::ip)
            .collect();
        let ports = || SPRAYED.into_iter().flatten();
        let all = known
            .iter()
            .flat_map(|ip| ports().map(|port| SocketAddr::new(*ip, port)));
        let all: Vec<_> = all
            .map(|target| (target, vec![b'P', 1 + sprayer as u8]))
            .collect();
        sim[hosts[sprayer]].outbox.extend(all);
        sim.run_for(Duration::from_secs(1));
    }
    hosts.iter().all(|host| sim[*host].has_heard)
}

fn brute_force(network: &Network, hosts: [HostId; 2]) -> DirectPath {
    if probe(network.clone(), hosts, None) {
        DirectPath::Punched
    } else if (0..2).any(|sprayer| probe(network.clone(), hosts, Some(sprayer))) {
        DirectPath::BySpray
    } else {
        DirectPath::Impossible
    }
}

fn every_nat() -> Vec<NatConfig> {
    let pairs = Dependence::ALL
        .into_iter()
        .flat_map(|mapping| Dependence::ALL.map(|filtering| (mapping, filtering)));
    let config = |(mapping, filtering)| NatConfig {
        ports: PortAssignment::Sequential,
        ..NatConfig::new(mapping, filtering)
    };
    pairs.map(config).collect()
}

fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    Ipv4Addr::new(a, b, c, d).into()
}

#[test]
fn the_oracle_is_right_for_every_pair_of_nats() {
    let mut found = [0; 3];
    for first in every_nat() {
        for second in every_nat() {
            let mut network = Network::new(1);
            let a = network.add_nat(first.clone(), Place::Internet, v4(203, 0, 113, 1));
            let b = network.add_nat(second.clone(), Place::Internet, v4(203, 0, 113, 2));
            let hosts = [
                network.add_host_behind(a, v4(10, 0, 0, 2)),
                network.add_host_behind(b, v4(10, 1, 0, 2)),
            ];
            let oracle = network.direct_path(hosts[0], hosts[1]);
            assert_eq!(oracle, brute_force(&network, hosts), "{first:?} {second:?}");
            found[oracle as usize] += 1;
        }
    }
    assert!(found.iter().all(|count| *count > 0), "{found:?}");
}

#[test]
fn the_oracle_is_right_for_every_pair_behind_one_nat_that_turns_packets_back_or_not() {
    for outer in every_nat() {
        for is_hairpinning in [true, false] {
            let outer = NatConfig {
                is_hairpinning,
                ..outer.clone()
            };
            for inner in every_nat() {
                let mut network = Network::new(1);
                let carrier = network.add_nat(outer.clone(), Place::Internet, v4(203, 0, 113, 1));
                let behind = Place::Behind(carrier);
                let a = network.add_nat(inner.clone(), behind, v4(100, 64, 0, 1));
                let b = network.add_nat(NatConfig::easy(), behind, v4(100, 64, 0, 2));
                let hosts = [
                    network.add_host_behind(a, v4(10, 0, 0, 2)),
                    network.add_host_behind(b, v4(10, 1, 0, 2)),
                ];
                let oracle = network.direct_path(hosts[0], hosts[1]);
                assert_eq!(oracle, brute_force(&network, hosts), "{outer:?} {inner:?}");
            }
        }
    }
}

#[test]
fn the_pairs_that_everybody_knows_are_as_everybody_knows() {
    use Dependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    let full_cone = NatConfig::new(EndpointIndependent, EndpointIndependent);
    let restricted = NatConfig::new(EndpointIndependent, AddressDependent);
    let port_restricted = NatConfig::easy();
    let symmetric = NatConfig::new(AddressAndPortDependent, AddressAndPortDependent);
    let expected = |first: &NatConfig, second: &NatConfig| {
        let mut network = Network::new(1);
        let a = network.add_nat(first.clone(), Place::Internet, v4(203, 0, 113, 1));
        let b = network.add_nat(second.clone(), Place::Internet, v4(203, 0, 113, 2));
        let a = network.add_host_behind(a, v4(10, 0, 0, 2));
        let b = network.add_host_behind(b, v4(10, 0, 0, 2));
        network.direct_path(a, b)
    };
    for cone in [&full_cone, &restricted, &port_restricted] {
        assert_eq!(expected(cone, &port_restricted), DirectPath::Punched);
    }
    assert_eq!(expected(&symmetric, &full_cone), DirectPath::Punched);
    assert_eq!(expected(&symmetric, &restricted), DirectPath::Punched);
    assert_eq!(expected(&symmetric, &port_restricted), DirectPath::BySpray);
    assert_eq!(expected(&symmetric, &symmetric), DirectPath::Impossible);
    let blocked = NatConfig::blocked();
    assert_eq!(expected(&full_cone, &blocked), DirectPath::Impossible);
}

/// A box of a random network: its kind and, modulo the places there are, where its outside is.
#[derive(Clone, Debug)]
struct BoxPlan {
    config: NatConfig,
    is_firewall: bool,
    place: usize,
}

fn dependence() -> impl Strategy<Value = Dependence> {
    prop::sample::select(Dependence::ALL.to_vec())
}

fn box_plan() -> impl Strategy<Value = BoxPlan> {
    let ports = prop::sample::select(vec![PortAssignment::Sequential, PortAssignment::Preserving]);
    let flags = (
        prop::bool::weighted(0.7),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.25),
    );
    (dependence(), dependence(), ports, flags, 0..8usize).prop_map(
        |(mapping, filtering, ports, (is_hairpinning, is_udp_blocked, is_firewall), place)| {
            BoxPlan {
                config: NatConfig {
                    ports,
                    is_hairpinning,
                    is_udp_blocked,
                    ..NatConfig::new(mapping, filtering)
                },
                is_firewall,
                place,
            }
        },
    )
}

/// Builds the boxes and the two hosts. Private ranges overlap if `is_overlapping` and no firewall shows one outside.
fn build(boxes: &[BoxPlan], places: [usize; 2], is_overlapping: bool) -> (Network, [HostId; 2]) {
    let mut network = Network::new(1);
    let is_overlapping = is_overlapping && !boxes.iter().any(|plan| plan.is_firewall);
    let mut all = vec![Place::Internet];
    let mut used = vec![0u8];
    let address = |index: usize, used: &mut Vec<u8>| {
        used[index] += 1;
        match index {
            0 => v4(203, 0, 113, used[0]),
            _ if is_overlapping => v4(192, 168, 0, used[index]),
            _ => v4(10, index as u8, 0, used[index]),
        }
    };
    for plan in boxes {
        let outside = plan.place % all.len();
        let id: NatId = if plan.is_firewall {
            network.add_firewall(plan.config.clone(), all[outside])
        } else {
            let external = address(outside, &mut used);
            network.add_nat(plan.config.clone(), all[outside], external)
        };
        all.push(Place::Behind(id));
        used.push(0);
    }
    let hosts = places.map(|place| {
        let place = place % all.len();
        let host = network.add_host();
        network.add_interface(host, all[place], address(place, &mut used));
        host
    });
    (network, hosts)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_oracle_is_right_for_random_nests(
        boxes in prop::collection::vec(box_plan(), 0..6),
        places in [0..8usize, 0..8usize],
        is_overlapping: bool,
    ) {
        let (network, hosts) = build(&boxes, places, is_overlapping);
        let oracle = network.direct_path(hosts[0], hosts[1]);
        prop_assert_eq!(oracle, network.direct_path(hosts[1], hosts[0]));
        prop_assert_eq!(oracle, brute_force(&network, hosts));
    }
}
