//! Agents behind NATs: they meet through the rendezvous, and straight wherever the oracle says that it can be.

use std::net::IpAddr;

use pilot_sim::{Dependence, DirectPath, NatConfig, Place};

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
            let can_be = world.sim.network.direct_path(alice, bob) == DirectPath::Punched;
            for host in [alice, bob] {
                assert_eq!(
                    is_direct(&world, host),
                    can_be,
                    "{a:?} to {b:?}, seed {seed}"
                );
            }
        }
    }
}
