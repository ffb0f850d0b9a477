//! Sessions and transports together over bad networks: every stream delivers exactly the bytes sent, in order, once; no
//! nonce is used twice; everything goes quiet.
//!
//! `PILOT_SEEDS` sets the number of seeds of each property.

mod agent;
mod flows;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use pilot_session::PeerKeys;
use pilot_sim::{
    BurstLoss, HostId, LinkConfig, NatConfig, Network, Packet, Place, Probability, Sim, SimRng,
};
use pilot_types::AgentId;

use agent::{Agent, Identity, Peer, Sealed, Setup};

/// Far above what any seed needs: at 30 % loss each way, half of all round trips fail.
const LIMIT: Duration = Duration::from_secs(600);
const PORT: u16 = 4000;

fn seeds(default: u64) -> Range<u64> {
    let count = std::env::var("PILOT_SEEDS").ok();
    0..count.map_or(default, |count| {
        count.parse().expect("PILOT_SEEDS is a number")
    })
}

/// Two agents, and how to start them again.
struct Lab {
    sim: Sim<Agent>,
    hosts: [HostId; 2],
    identities: [Identity; 2],
    peers: [Peer; 2],
    setup: Setup,
}

impl Lab {
    /// Two agents in the internet with an access link each.
    fn new(seed: u64, setup: Setup, link: LinkConfig) -> Self {
        let mut network = Network::new(seed);
        let hosts = [1, 2].map(|last| network.add_public_host([198, 51, 100, last].into()));
        // One bad link in each direction.
        network.set_link(hosts[0], link);
        Self::with_network(network, hosts, setup)
    }

    fn with_network(mut network: Network, hosts: [HostId; 2], setup: Setup) -> Self {
        let now = network.instant();
        let identities = hosts.map(|host| Identity {
            agent: AgentId::new(network.rng().seed()),
            secret: network.rng().seed(),
            local: (network.address(host), PORT).into(),
        });
        let peers = identities.clone().map(|identity| Peer {
            keys: PeerKeys {
                agent: identity.agent,
                dh_public: Agent::public_key(&identity, &setup, now),
            },
            address: identity.local,
        });
        let mut lab = Self {
            sim: Sim::new(network),
            hosts,
            identities,
            peers,
            setup,
        };
        for (side, host) in hosts.into_iter().enumerate() {
            let agent = lab.agent(side);
            lab.sim.install(host, agent);
        }
        lab
    }

    fn agent(&mut self, side: usize) -> Agent {
        let seed = self.sim.network.rng().below(u64::MAX);
        let now = self.sim.network.instant();
        let (identity, setup) = (self.identities[side].clone(), self.setup.clone());
        Agent::new(identity, setup, self.peers[1 - side], seed, now)
    }

    fn dial(&mut self, side: usize) {
        self.sim
            .with(self.hosts[side], |agent, now| agent.dial(now.instant));
    }

    /// Ends an agent without a word and starts it again.
    fn restart(&mut self, side: usize) {
        let fresh = self.agent(side);
        let old = self.sim.remove(self.hosts[side]).expect("it runs");
        self.sim.install(self.hosts[side], fresh.after(&old));
    }

    fn run_until_session(&mut self, side: usize, limit: Duration) -> bool {
        let host = self.hosts[side];
        self.sim
            .run_until(|sim| machine(sim, host).has_session(), limit)
    }

    fn run_until_done(&mut self) {
        let hosts = self.hosts;
        let is_done = |sim: &mut Sim<Agent>| hosts.iter().all(|host| machine(sim, *host).is_done());
        assert!(
            self.sim.run_until(is_done, LIMIT),
            "not done after {LIMIT:?}"
        );
    }

    fn run_until_quiet(&mut self) {
        self.sim.run_until_quiet(LIMIT);
    }

    /// Every stream of both sides is complete at both ends.
    fn assert_all_complete(&self) {
        for host in self.hosts {
            assert_eq!(self.sim[host].complete(), 2 * self.setup.streams);
        }
    }
}

/// An agent, without making the driver look for output.
fn machine(sim: &Sim<Agent>, host: HostId) -> &Agent {
    &sim[host]
}

fn setup(streams: usize, max_len: u64) -> Setup {
    Setup {
        session: Arc::default(),
        transport: Arc::default(),
        streams,
        max_len,
        sealed: Sealed::default(),
    }
}

/// Keys that last a second.
fn short_lived(setup: Setup) -> Setup {
    let session = pilot_session::Config {
        rekey_after: Duration::from_secs(1),
        stop_after: Duration::from_secs(60),
        old_epoch_grace: Duration::from_secs(3),
        ..pilot_session::Config::default()
    };
    Setup {
        session: Arc::new(session),
        ..setup
    }
}

/// A link whose every fault is drawn: up to 30 % loss, at times in bursts, with everything else beside it.
fn bad_link(rng: &mut SimRng) -> LinkConfig {
    let mut up_to = |most: u64| Probability::percent(rng.below(most * 100 + 1) as f64 / 100.0);
    let burst = BurstLoss {
        enter: up_to(3),
        leave: Probability::percent(25.0),
        loss: up_to(100),
    };
    let (loss, reorder, duplicate, corrupt) = (up_to(30), up_to(20), up_to(10), up_to(5));
    let is_bursty = rng.below(3) == 0;
    LinkConfig {
        delay: Duration::from_millis(1 + rng.below(60)),
        jitter: Duration::from_millis(rng.below(10)),
        loss: if is_bursty { Probability::NEVER } else { loss },
        burst: is_bursty.then_some(burst),
        reorder,
        reorder_by: Duration::from_millis(rng.below(50)),
        duplicate,
        corrupt,
        rate: (rng.below(2) == 0).then(|| 1_000_000 + rng.below(50_000_000)),
        queue: 64 * 1024,
        ..LinkConfig::default()
    }
}

fn bad_lab(seed: u64, setup: Setup) -> Lab {
    let link = bad_link(&mut SimRng::new(seed));
    Lab::new(seed, setup, link)
}

#[test]
fn streams_arrive_exactly_over_bad_links() {
    for seed in seeds(1400) {
        let mut lab = bad_lab(seed, setup(1 + seed as usize % 5, 20_000));
        lab.dial(0);
        lab.run_until_done();
        lab.run_until_quiet();
        lab.assert_all_complete();
    }
}

#[test]
fn streams_arrive_exactly_when_both_dial_at_once() {
    for seed in seeds(300) {
        let mut lab = bad_lab(seed, setup(2, 8_000));
        lab.dial(0);
        if seed % 2 == 0 {
            lab.sim.run_for(Duration::from_millis(seed % 90));
        }
        lab.dial(1);
        lab.run_until_done();
        lab.run_until_quiet();
        lab.assert_all_complete();
        for host in lab.hosts {
            assert_eq!(
                lab.sim[host].outcome.lives, 1,
                "two handshakes, one session"
            );
        }
    }
}

#[test]
fn streams_arrive_exactly_through_rekeys() {
    let mut rekeys = 0;
    for seed in seeds(250) {
        let setup = short_lived(setup(4, 40_000));
        let mut rng = SimRng::new(seed);
        let slow = LinkConfig {
            rate: Some(200_000 + rng.below(400_000)),
            ..bad_link(&mut rng)
        };
        let mut lab = Lab::new(seed, setup, slow);
        lab.dial(0);
        lab.run_until_done();
        lab.run_until_quiet();
        lab.assert_all_complete();
        for host in lab.hosts {
            rekeys += lab.sim[host].outcome.epochs.len() - 1;
            assert_eq!(lab.sim[host].outcome.lives, 1);
        }
    }
    assert!(
        rekeys as u64 > 2 * seeds(250).end,
        "{rekeys} epochs after the first ones"
    );
}

#[test]
fn a_restart_breaks_the_streams_of_the_old_life_and_no_others() {
    let (mut broken, mut found) = (0, 0);
    for seed in seeds(300) {
        let mut lab = bad_lab(seed, setup(3, 20_000));
        lab.dial(0);
        let when = lab.sim.network.rng().below(1000);
        lab.sim.run_for(Duration::from_millis(when));
        let is_dialling = seed % 2 == 0;
        let side = (seed / 2 % 2) as usize;
        lab.restart(side);
        // A peer in the middle of a stream finds the silence and dials; an idle one has no reason to.
        let is_found = !is_dialling && lab.run_until_session(side, Duration::from_secs(5));
        if !is_found {
            lab.dial(side);
        }
        found += usize::from(is_found);
        lab.run_until_done();
        lab.run_until_quiet();
        lab.assert_all_complete();
        let survivor = &lab.sim[lab.hosts[1 - side]].outcome;
        assert!(survivor.lives <= 2);
        broken += survivor.broken;
    }
    assert!(broken > 0, "no restart came in the middle of a stream");
    assert!(found > 0, "no silence was found");
}

#[test]
fn streams_go_on_when_a_nat_forgets_its_mappings() {
    for seed in seeds(100) {
        let mut network = Network::new(seed);
        let server = network.add_public_host([198, 51, 100, 1].into());
        let nat = network.add_nat(NatConfig::hard(), Place::Internet, [203, 0, 113, 1].into());
        let client = network.add_host_behind(nat, [10, 0, 0, 2].into());
        let link = LinkConfig {
            rate: Some(1_000_000),
            loss: Probability::percent((seed % 20) as f64),
            ..LinkConfig::delay(Duration::from_millis(10))
        };
        network.set_link(client, link);
        let mut lab = Lab::with_network(network, [client, server], setup(3, 60_000));
        lab.dial(0);
        assert!(lab.run_until_session(1, LIMIT));
        lab.sim.run_for(Duration::from_millis(200));
        lab.sim.network.restart_nat(nat);
        lab.run_until_done();
        lab.run_until_quiet();
        lab.assert_all_complete();
        assert!(lab.sim[server].outcome.migrations >= 1);
        assert_eq!(lab.sim[client].outcome.lives, 1);
    }
}

#[test]
fn streams_arrive_exactly_while_both_keep_dialling() {
    for seed in seeds(60) {
        let mut rng = SimRng::new(seed);
        let mut setup = setup(3, 40_000);
        setup.session = Arc::new(pilot_session::Config {
            rekey_after: Duration::from_millis(100),
            stop_after: Duration::from_secs(20),
            old_epoch_grace: Duration::from_millis(400),
            ..pilot_session::Config::default()
        });
        let slow = LinkConfig {
            rate: Some(300_000),
            ..bad_link(&mut rng)
        };
        let mut lab = Lab::new(seed, setup, slow);
        for _ in 0..20 {
            for side in 0..2 {
                lab.dial(side);
                lab.sim.run_for(Duration::from_millis(rng.below(200)));
            }
        }
        lab.run_until_done();
        lab.run_until_quiet();
        lab.assert_all_complete();
        for host in lab.hosts {
            assert_eq!(lab.sim[host].outcome.lives, 1);
        }
    }
}

#[test]
fn streams_go_on_after_an_outage() {
    for seed in seeds(150) {
        let mut rng = SimRng::new(seed);
        let mut lab = bad_lab(seed, short_lived(setup(3, 60_000)));
        lab.dial(0);
        lab.sim.run_for(Duration::from_millis(rng.below(1500)));
        let host = lab.hosts[rng.below(2) as usize];
        lab.sim.network.set_up(host, false);
        lab.sim.run_for(Duration::from_millis(rng.below(30_000)));
        lab.sim.network.set_up(host, true);
        lab.run_until_done();
        lab.run_until_quiet();
        lab.assert_all_complete();
        for host in lab.hosts {
            assert_eq!(lab.sim[host].outcome.lives, 1);
        }
    }
}

#[test]
fn restarts_upon_restarts_end_with_a_session_that_works() {
    for seed in seeds(60) {
        let mut rng = SimRng::new(seed);
        let mut lab = bad_lab(seed, short_lived(setup(3, 20_000)));
        lab.dial(0);
        for _ in 0..8 {
            lab.sim.run_for(Duration::from_millis(rng.below(700)));
            let side = rng.below(2) as usize;
            lab.restart(side);
            let is_found = rng.below(3) == 0;
            lab.dial(if is_found { 1 - side } else { side });
        }
        lab.run_until_done();
        lab.run_until_quiet();
        lab.assert_all_complete();
    }
}

/// Replays a packet to where it went, or a damaged copy of it that claims any source.
fn attack(lab: &mut Lab, seen: &[Packet]) {
    let network = &mut lab.sim.network;
    let mut packet = seen[network.rng().below(seen.len() as u64) as usize].clone();
    let len = packet.payload.len() as u64;
    match network.rng().below(3) {
        0 => {}
        1 => {
            let at = network.rng().below(len) as usize;
            packet.payload[at] ^= 1 + network.rng().below(255) as u8;
            packet.source.set_port(network.rng().below(1 << 16) as u16);
        }
        _ => packet.payload.truncate(network.rng().below(len) as usize),
    }
    network.inject(Place::Internet, packet);
}

#[test]
fn replayed_and_forged_packets_change_nothing() {
    let mut refused = 0;
    for seed in seeds(150) {
        let mut lab = bad_lab(seed, short_lived(setup(3, 20_000)));
        let mut seen = vec![];
        lab.dial(0);
        for step in 0..60 {
            lab.sim.network.capture(100);
            lab.sim.run_for(Duration::from_millis(50));
            seen.extend(lab.sim.network.take_captured());
            if step == 30 && seed % 3 == 0 {
                lab.restart(1);
                lab.dial(1);
            }
            for _ in 0..5 {
                attack(&mut lab, &seen);
            }
        }
        lab.run_until_done();
        lab.run_until_quiet();
        lab.assert_all_complete();
        let lives = lab.hosts.map(|host| lab.sim[host].outcome.lives);
        let expected = if seed % 3 == 0 { [2, 1] } else { [1, 1] };
        assert!(lives == expected || lives == [1, 1], "{lives:?}");
        let drops = lab.hosts.map(|host| lab.sim[host].outcome.drops.len());
        refused += drops.iter().sum::<usize>();
    }
    assert!(refused as u64 > 100 * seeds(150).end, "{refused} refused");
}
