//! Agents behind NATs: they meet through the rendezvous, and straight wherever the oracle says that it can be.

mod peer_relays;

use std::net::{IpAddr, SocketAddr};

use pilot_node::{Filtering, Mapping, PathState, Refusal};
use pilot_sim::{Dependence, DirectPath, NatConfig, Place, Probability, Sim};
use pilot_wire::CandidateKind;

use super::world::{AGENT_PORT, Agent};
use super::*;

/// What an agent is behind.
#[derive(Clone, Copy, Debug)]
enum Behind {
    Nothing,
    Nat(Dependence, Dependence),
    Hard,
    Firewall,
    /// A home router behind a carrier's NAT.
    Two,
}

impl Behind {
    fn all() -> Vec<Self> {
        let nats = Dependence::ALL.into_iter().flat_map(|mapping| {
            let filtering = Dependence::ALL.into_iter();
            filtering.map(move |filtering| Self::Nat(mapping, filtering))
        });
        [Self::Nothing, Self::Hard, Self::Firewall, Self::Two]
            .into_iter()
            .chain(nats)
            .collect()
    }

    /// Where an agent is then, and its address there.
    fn place(self, world: &mut World, number: u8) -> (Place, [u8; 4]) {
        let ip = match self {
            Self::Nothing | Self::Firewall => [203, 0, 113, number],
            Self::Nat(..) | Self::Hard | Self::Two => [10, 0, number, 2],
        };
        (self.boxes(world, number), ip)
    }

    fn boxes(self, world: &mut World, number: u8) -> Place {
        let network = &mut world.sim.network;
        let outside = |last| IpAddr::from([192, 0, 2, last]);
        match self {
            Self::Nothing => Place::Internet,
            Self::Nat(mapping, filtering) => {
                let config = NatConfig::new(mapping, filtering);
                Place::Behind(network.add_nat(config, Place::Internet, outside(number)))
            }
            Self::Hard => {
                let config = NatConfig::hard();
                Place::Behind(network.add_nat(config, Place::Internet, outside(number)))
            }
            Self::Firewall => {
                Place::Behind(network.add_firewall(NatConfig::easy(), Place::Internet))
            }
            Self::Two => {
                let carrier = network.add_nat(NatConfig::easy(), Place::Internet, outside(number));
                let inner = IpAddr::from([100, 64, number, 1]);
                Place::Behind(network.add_nat(NatConfig::easy(), Place::Behind(carrier), inner))
            }
        }
    }
}

/// Two agents that trust each other, each behind something, 20 ms from the rendezvous.
fn behind(seed: u64, kinds: [Behind; 2]) -> (World, HostId, HostId) {
    let link = LinkConfig::delay(Duration::from_millis(10));
    let mut world = World::new(seed, link);
    let places = [0, 1].map(|it| kinds[it].place(&mut world, it as u8 + 1));
    let alice = world.add_agent_at("alice", Profile::default(), link, places[0]);
    let bob = world.add_agent_at("bob", Profile::default(), link, places[1]);
    world.until("both registered", 30 * SECOND, |sim| {
        sim[alice].is_registered() && sim[bob].is_registered()
    });
    befriend(&mut world, alice, bob);
    (world, alice, bob)
}

fn is_direct(world: &World, from: HostId) -> bool {
    let peers = world.sim[from].node.peers();
    peers.first().is_some_and(|peer| peer.path.is_direct())
}

fn run(world: &mut World, time: Duration) {
    world.sim.run_for(time);
}

#[test]
fn every_pair_of_nats_is_connected_within_a_second_and_straight_if_that_can_be() {
    let (mut guessed, mut hits) = (0, 0);
    let mut seed = 31_000;
    for a in Behind::all() {
        for b in Behind::all() {
            seed += 1;
            let (mut world, alice, bob) = behind(seed, [a, b]);
            // Both restart, so that no binding of a NAT is left but that to the rendezvous.
            world.crash_and_restart(alice, 1);
            world.crash_and_restart(bob, 2);
            run(&mut world, SECOND);
            let rtt = ping(&mut world, alice, Target::Hostname(name("bob")));
            let rtt = rtt.unwrap_or_else(|error| panic!("{a:?} to {b:?}: {error}"));
            assert!(rtt < SECOND, "{a:?} to {b:?}: {rtt:?}");
            run(&mut world, 5 * SECOND);
            let are_direct = [alice, bob].map(|host| is_direct(&world, host));
            let hard = [alice, bob].map(|host| is_hard(&world, host));
            let expected = match world.sim.network.direct_path(alice, bob) {
                DirectPath::Punched => true,
                // With one server, a NAT that maps by address is not told from one that maps for all: nothing is guessed
                // where it would help, and what is guessed towards it may hit where filters do not look at ports.
                DirectPath::BySpray if hard == [false, false] => false,
                DirectPath::Impossible if hard[0] != hard[1] => are_direct[0],
                DirectPath::Impossible => false,
                DirectPath::BySpray => {
                    guessed += 1;
                    hits += usize::from(are_direct[0]);
                    are_direct[0]
                }
            };
            assert_eq!(are_direct, [expected; 2], "{a:?} to {b:?}, seed {seed}");
        }
    }
    // Each succeeds with a chance of 98.3 %.
    assert!(
        guessed > 20 && hits * 10 >= guessed * 9,
        "{hits} of {guessed}"
    );
}

fn is_hard(world: &World, host: HostId) -> bool {
    world.sim[host].node.nat().0 == Mapping::AddressAndPortDependent
}

/// What a rendezvous with one address can tell.
fn expected(behind: Behind) -> (Mapping, Filtering) {
    let filtering = |filtering| match filtering {
        Dependence::EndpointIndependent | Dependence::AddressDependent => {
            Filtering::AddressDependent
        }
        Dependence::AddressAndPortDependent => Filtering::AddressAndPortDependent,
    };
    match behind {
        Behind::Nothing => (Mapping::EndpointIndependent, Filtering::AddressDependent),
        Behind::Firewall | Behind::Two => (
            Mapping::EndpointIndependent,
            Filtering::AddressAndPortDependent,
        ),
        Behind::Hard => (
            Mapping::AddressAndPortDependent,
            Filtering::AddressAndPortDependent,
        ),
        Behind::Nat(Dependence::AddressAndPortDependent, by) => {
            (Mapping::AddressAndPortDependent, filtering(by))
        }
        Behind::Nat(_, by) => (Mapping::EndpointIndependent, filtering(by)),
    }
}

#[test]
fn an_agent_learns_what_its_nat_does_and_tells_its_peer() {
    for (seed, behind_what) in (32_000..).zip(Behind::all()) {
        let (mut world, alice, bob) = behind(seed, [behind_what, Behind::Nothing]);
        run(&mut world, 3 * SECOND);
        let nat = world.sim[alice].node.nat();
        assert_eq!(nat, expected(behind_what), "{behind_what:?}");
        ping(&mut world, alice, Target::Hostname(name("bob"))).unwrap();
        run(&mut world, SECOND);
        let alice_id = world.id(alice);
        let told = world.sim[bob].node.mapping_of(&alice_id);
        assert_eq!(told, nat.0, "{behind_what:?}");
    }
}

/// Two agents behind hard NATs; Alice's gave her a port, which she tells.
fn with_port_mapping(seed: u64) -> (World, HostId, HostId, SocketAddr) {
    let (mut world, alice, bob) = behind(seed, [Behind::Hard, Behind::Hard]);
    let nat = world.sim.network.nats().next().unwrap();
    let internal = SocketAddr::from(([10, 0, 1, 2], AGENT_PORT));
    let outer = world.sim.network.map_port(nat, internal).unwrap();
    world.with(alice, |agent, now| {
        agent.node.set_port_mapping(now, Some(outer)).unwrap();
    });
    (world, alice, bob, outer)
}

#[test]
fn a_port_mapping_on_one_side_joins_two_hard_nats_straight() {
    for (number, dials) in [(0, true), (1, false)] {
        let (mut world, alice, bob, outer) = with_port_mapping(36_000 + number);
        run(&mut world, SECOND);
        let (from, to) = if dials {
            (alice, "bob")
        } else {
            (bob, "alice")
        };
        ping(&mut world, from, Target::Hostname(name(to))).unwrap();
        run(&mut world, 5 * SECOND);
        assert!(is_direct(&world, alice) && is_direct(&world, bob));
        let report = world.sim[bob].node.path_report(&world.id(alice));
        let used = report.iter().find(|path| path.state == PathState::InUse);
        let used = used.map(|path| (path.path.remote(), path.kind));
        assert_eq!(used, Some((Some(outer), Some(CandidateKind::Mapped))));
    }
}

/// What the rendezvous tells of Alice is enough: no session that could tell more was there before.
#[test]
fn a_port_mapping_is_dialled_without_a_relay() {
    let (mut world, alice, bob, outer) = with_port_mapping(36_100);
    world.crash_and_restart(bob, 2);
    run(&mut world, SECOND);
    ping(&mut world, bob, Target::Hostname(name("alice"))).unwrap();
    let peers = world.sim[bob].node.peers();
    assert_eq!(peers[0].path.remote(), Some(outer));
    assert_eq!(peers[0].agent, world.id(alice));
}

#[test]
fn a_port_mapping_that_is_lost_leaves_the_relay() {
    let (mut world, alice, bob, _) = with_port_mapping(36_200);
    ping(&mut world, bob, Target::Hostname(name("alice"))).unwrap();
    run(&mut world, 5 * SECOND);
    assert!(is_direct(&world, bob));
    let nat = world.sim.network.nats().next().unwrap();
    world.sim.network.restart_nat(nat);
    world.with(alice, |agent, now| {
        agent.node.set_port_mapping(now, None).unwrap();
    });
    ping(&mut world, bob, Target::Hostname(name("alice"))).unwrap();
    run(&mut world, 30 * SECOND);
    ping(&mut world, bob, Target::Hostname(name("alice"))).unwrap();
    assert!(!is_direct(&world, alice) && !is_direct(&world, bob));
}

#[test]
fn an_outer_address_that_nobody_outside_can_use_is_refused_and_not_told() {
    let (mut world, alice, ..) = with_port_mapping(36_300);
    for (outer, refusal) in [
        ("10.0.0.1:4000", Refusal::Private),
        ("100.64.1.1:4000", Refusal::Private),
        ("169.254.1.1:4000", Refusal::Private),
        ("127.0.0.1:4000", Refusal::Loopback),
        ("0.0.0.0:4000", Refusal::NotUnicast),
        ("224.0.0.1:4000", Refusal::NotUnicast),
        ("192.0.2.1:0", Refusal::NotUnicast),
    ] {
        let outer = Some(outer.parse().unwrap());
        let answer = world.with(alice, |agent, now| agent.node.set_port_mapping(now, outer));
        assert_eq!(answer, Err(refusal), "{outer:?}");
        assert_eq!(world.sim[alice].node.port_mapping(), None);
    }
}

/// What came at an agent on the one stream that it was opened, byte by byte the pattern.
fn received(sim: &Sim<Agent>, host: HostId) -> usize {
    sim[host]
        .incoming
        .values()
        .map(|inbox| inbox.bytes.len())
        .max()
        .unwrap_or_default()
}

const SIZE: usize = 10_000_000;

fn pattern() -> Vec<u8> {
    (0..SIZE).map(|i| (i % 251) as u8).collect()
}

/// Two agents behind home routers with 20 Mbit/s, and 10 MB on their way from Alice to Bob.
fn transferring(seed: u64) -> (World, HostId, HostId) {
    let (world, alice, bob) = transferring_between(seed, [Behind::Two, Behind::Two]);
    assert!(is_direct(&world, alice) && is_direct(&world, bob));
    (world, alice, bob)
}

fn transferring_between(seed: u64, kinds: [Behind; 2]) -> (World, HostId, HostId) {
    let (mut world, alice, bob) = behind(seed, kinds);
    for host in [alice, bob] {
        let link = LinkConfig {
            rate: Some(20_000_000),
            ..LinkConfig::delay(Duration::from_millis(10))
        };
        world.sim.network.set_link(host, link);
    }
    world.with(bob, |agent, _| assert!(agent.node.listen(Port::ECHO)));
    let bob_id = world.id(bob);
    let dial = world.with(alice, |agent, now| {
        let options = DialOptions::default();
        let target = Target::Agent(bob_id);
        agent.node.dial(now, target, Port::ECHO, options).unwrap()
    });
    let mut stream = None;
    world.until("dialled", 5 * SECOND, |sim| {
        stream = sim[alice].log.iter().find_map(|event| match event {
            Event::Dialed {
                dial: id, stream, ..
            } if *id == dial => Some(*stream),
            _ => None,
        });
        stream.is_some()
    });
    world.with(alice, |agent, now| {
        agent.send(now, stream.unwrap(), &pattern());
    });
    run(&mut world, SECOND);
    (world, alice, bob)
}

/// Lets a transfer come to its end; gives the longest time in which Bob's application got nothing.
fn finish(world: &mut World, bob: HostId) -> Duration {
    const LOOK: Duration = Duration::from_millis(10);
    let (mut before, mut gap, mut longest) =
        (received(&world.sim, bob), Duration::ZERO, Duration::ZERO);
    while before < SIZE {
        run(world, LOOK);
        let now = received(&world.sim, bob);
        gap = if now > before {
            Duration::ZERO
        } else {
            gap + LOOK
        };
        longest = longest.max(gap);
        assert!(
            gap < 10 * SECOND,
            "nothing comes any more after {now} bytes"
        );
        before = now;
    }
    let bytes = world.sim[bob].incoming.values().map(|inbox| &inbox.bytes);
    assert!(bytes.into_iter().any(|bytes| *bytes == pattern()));
    longest
}

/// Another network: a home router of its own.
fn elsewhere(world: &mut World, number: u8) -> Place {
    let outside = IpAddr::from([192, 0, 2, 100 + number]);
    let network = &mut world.sim.network;
    Place::Behind(network.add_nat(NatConfig::easy(), Place::Internet, outside))
}

#[test]
fn a_transfer_goes_on_when_one_side_moves_to_another_network() {
    for seed in 0..seeds(4) {
        let (mut world, alice, bob) = transferring(32_000 + seed);
        let mover = if seed % 2 == 0 { alice } else { bob };
        let place = elsewhere(&mut world, 1);
        world.move_agent(mover, place, [10, 1, 1, 2]);
        let gap = finish(&mut world, bob);
        assert!(gap <= SECOND, "seed {seed}: {gap:?}");
        assert!(is_direct(&world, alice) && is_direct(&world, bob));
    }
}

#[test]
fn a_transfer_goes_on_when_both_sides_move_at_once() {
    for seed in 0..seeds(4) {
        let (mut world, alice, bob) = transferring(33_000 + seed);
        for (number, host) in [(1, alice), (2, bob)] {
            let place = elsewhere(&mut world, number);
            world.move_agent(host, place, [10, 1, number, 2]);
        }
        let gap = finish(&mut world, bob);
        assert!(gap <= 3 * SECOND, "seed {seed}: {gap:?}");
        run(&mut world, 5 * SECOND);
        assert!(is_direct(&world, alice) && is_direct(&world, bob));
    }
}

#[test]
fn a_transfer_goes_on_when_every_nat_forgets_its_bindings() {
    for seed in 0..seeds(4) {
        let (mut world, alice, bob) = transferring(34_000 + seed);
        // The outermost ones: the home routers' carriers.
        for nat in world.sim.network.nats().collect::<Vec<_>>() {
            world.sim.network.restart_nat(nat);
        }
        let gap = finish(&mut world, bob);
        assert!(gap <= SECOND, "seed {seed}: {gap:?}");
        run(&mut world, 5 * SECOND);
        assert!(is_direct(&world, alice) && is_direct(&world, bob));
    }
}

/// Changed bytes are changed channels too, and end with their owners or with nobody.
#[test]
fn a_relay_that_drops_delays_swaps_doubles_and_changes_packets_changes_no_byte() {
    for seed in 0..seeds(3) {
        let kinds = [Behind::Hard, Behind::Hard];
        let (mut world, alice, bob) = transferring_between(36_000 + seed, kinds);
        let relay = world.rendezvous;
        world.sim.network.set_link(
            relay,
            LinkConfig {
                loss: Probability::percent(3.0),
                jitter: Duration::from_millis(20),
                reorder: Probability::percent(5.0),
                reorder_by: Duration::from_millis(50),
                duplicate: Probability::percent(5.0),
                corrupt: Probability::percent(3.0),
                ..LinkConfig::delay(Duration::from_millis(10))
            },
        );
        finish(&mut world, bob);
        assert!(!is_direct(&world, alice) && !is_direct(&world, bob));
    }
}

#[test]
fn a_straight_transfer_needs_no_rendezvous() {
    let (mut world, _, bob) = transferring(35_000);
    world.crash_rendezvous();
    let gap = finish(&mut world, bob);
    assert!(gap <= Duration::from_millis(100), "{gap:?}");
}

/// Two agents, the first of which is behind a NAT that forgets after `lifetime` seconds unless it hears from within.
fn behind_impatient(seed: u64, lifetime: u64, mapping: Dependence) -> (World, HostId, HostId) {
    let link = LinkConfig::delay(Duration::from_millis(10));
    let mut world = World::new(seed, link);
    let config = NatConfig {
        lifetime: Duration::from_secs(lifetime),
        ..NatConfig::new(mapping, Dependence::AddressAndPortDependent)
    };
    let outside = IpAddr::from([192, 0, 2, 1]);
    let nat = world.sim.network.add_nat(config, Place::Internet, outside);
    let place = (Place::Behind(nat), [10, 0, 1, 2]);
    let alice = world.add_agent_at("alice", Profile::default(), link, place);
    let place = (Place::Internet, [203, 0, 113, 2]);
    let bob = world.add_agent_at("bob", Profile::default(), link, place);
    world.until("both registered", 30 * SECOND, |sim| {
        sim[alice].is_registered() && sim[bob].is_registered()
    });
    befriend(&mut world, alice, bob);
    (world, alice, bob)
}

#[test]
fn silence_with_a_rendezvous_lasts_as_long_as_the_nat_bears() {
    for (seed, lifetime, borne) in [
        (38_000, 11, 10),
        (38_001, 18, 15),
        (38_002, 30, 25),
        (38_003, 62, 58),
        (38_004, 120, 95),
        (38_005, 300, 120),
    ] {
        for mapping in Dependence::ALL {
            let (mut world, alice, bob) = behind_impatient(seed, lifetime, mapping);
            run(&mut world, 900 * SECOND);
            let learnt = world.sim[alice].node.keep_alive_secs();
            assert_eq!(learnt, Some(borne), "{lifetime} s, {mapping:?}");
            // Whenever somebody wants something of her, she is there.
            for _ in 0..20 {
                run(&mut world, 37 * SECOND);
                let rtt = ping(&mut world, bob, Target::Hostname(name("alice")));
                let rtt = rtt.unwrap_or_else(|error| panic!("{lifetime} s: {error}"));
                assert!(rtt < SECOND, "{lifetime} s, {mapping:?}: {rtt:?}");
                run(&mut world, 70 * SECOND);
            }
            let before = world.sim[alice].node.status().packets_sent;
            run(&mut world, 1200 * SECOND);
            let sent = world.sim[alice].node.status().packets_sent - before;
            let expected = 1200 / u64::from(borne);
            assert!(sent <= expected + 8, "{sent} packets, {expected} expected");
        }
    }
}

#[test]
fn another_network_may_have_another_patience() {
    let (mut world, alice, _) = behind_impatient(38_100, 18, Dependence::EndpointIndependent);
    run(&mut world, 300 * SECOND);
    assert_eq!(world.sim[alice].node.keep_alive_secs(), Some(15));
    world.with(alice, |agent, now| agent.node.network_changed(now));
    assert_eq!(world.sim[alice].node.keep_alive_secs(), Some(20));
}
