//! Two path agents behind simulated NATs: direct if and only if the oracle says so, and never a packet too many.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use pilot_nat::{
    Candidate, CandidateKind, CandidateSet, Candidates, Filter, Mapping, PathAction, PathAgent,
    PathConfig, Prefix,
};
use pilot_sim::{
    Dependence, HostId, LinkConfig, Machine, NatConfig, Network, Now, Place, PortAssignment, Sim,
};
use pilot_types::{Deadline, Ecn, FourTuple, PathId, PeerAddr, RelayAddr, Transmit, TransmitBuf};

const PORT: u16 = 40_000;
const STUN: u16 = 3478;
const RELAY: PathId = PathId::Relay {
    relay: RelayAddr(SocketAddr::new(
        IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9)),
        9000,
    )),
    channel: 1,
};

/// A host that asks a STUN server, and probes with packets that stand for those of a session: `P` and a number, echoed
/// as `E`. Or, with no agent, the STUN server.
struct Peer {
    local: SocketAddr,
    agent: Option<PathAgent>,
    outbox: Vec<(SocketAddr, Vec<u8>)>,
    reflexive: Option<SocketAddr>,
    sent: BTreeMap<u8, (PathId, Instant)>,
    number: u8,
    name: u8,
    uses: usize,
    probes: usize,
}

impl Peer {
    fn new(name: u8, local: SocketAddr, agent: Option<PathAgent>) -> Self {
        Self {
            local,
            agent,
            outbox: vec![],
            reflexive: None,
            sent: BTreeMap::new(),
            number: 0,
            name,
            uses: 0,
            probes: 0,
        }
    }

    fn candidates(&self) -> CandidateSet {
        let mut set = CandidateSet::new(1, Mapping::Unknown);
        let host = Candidate {
            kind: CandidateKind::Host,
            addr: self.local,
        };
        set.insert(host);
        if let Some(addr) = self.reflexive {
            set.insert(Candidate {
                kind: CandidateKind::Reflexive,
                addr,
            });
        }
        set
    }

    fn current(&self) -> PathId {
        self.agent.as_ref().expect("what the test made").current()
    }

    fn drain(&mut self, now: Instant) {
        let Some(agent) = &mut self.agent else { return };
        while let Some(action) = agent.poll_action() {
            match action {
                PathAction::Probe(PathId::Udp(path)) => {
                    self.number = self.number.wrapping_add(1);
                    self.probes += 1;
                    self.sent.insert(self.number, (PathId::Udp(path), now));
                    let probe = vec![b'P', self.name, self.number];
                    self.outbox.push((path.remote.0, probe));
                }
                PathAction::Probe(_) => {}
                PathAction::Use(_) => self.uses += 1,
                PathAction::Spray(_) => {}
            }
        }
    }
}

impl Machine for Peer {
    fn handle_datagram(
        &mut self,
        now: Now,
        local: SocketAddr,
        remote: SocketAddr,
        _ecn: Option<Ecn>,
        data: &mut [u8],
    ) {
        let now = now.instant;
        let remote_addr = PeerAddr(remote);
        let path = PathId::Udp(FourTuple {
            local,
            remote: remote_addr,
        });
        match (&*data, &mut self.agent) {
            ([b'S'], None) => self
                .outbox
                .push((remote, format!("R{remote}").into_bytes())),
            ([b'R', seen @ ..], _) => {
                let seen = std::str::from_utf8(seen).expect("what the test made");
                self.reflexive = Some(seen.parse().expect("what the test made"));
            }
            // With overlapping private ranges a packet may come back to its sender: no session would take it.
            (&[b'P', name, number], Some(agent)) if name != self.name => {
                agent.handle_heard(now, path);
                self.outbox.push((remote, vec![b'E', self.name, number]));
            }
            (&[b'E', name, number], Some(agent)) if name != self.name => {
                // As PATH_RESPONSE: whichever way it comes back, it says that the probe arrived.
                agent.handle_heard(now, path);
                if let Some((probed, at)) = self.sent.remove(&number) {
                    agent.handle_probed(now, probed, now - at);
                }
            }
            _ => {}
        }
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Now) {
        if let Some(agent) = &mut self.agent {
            agent.handle_timeout(now.instant);
        }
        self.drain(now.instant);
    }

    fn poll_transmit(&mut self, _now: Now, out: &mut TransmitBuf) -> Option<Transmit> {
        let (remote, data) = self.outbox.pop()?;
        let remote = PeerAddr(remote);
        out.bind_path(PathId::Udp(FourTuple {
            local: self.local,
            remote,
        }));
        assert!(out.begin(100));
        out.put_slice(&data);
        out.finish();
        out.transmit(None)
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.agent.as_ref()?.poll_timeout()
    }
}

fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    Ipv4Addr::new(a, b, c, d).into()
}

fn filter(local: SocketAddr) -> Filter {
    Filter {
        prefixes: vec![Prefix::new(local.ip(), 24).expect("what the test made")],
        bound: vec![local],
        ..Filter::default()
    }
}

/// Both learn what STUN says, then each other's candidates (one a moment later), and probe.
fn meet(mut network: Network, hosts: [HostId; 2]) -> Sim<Peer> {
    let server = network.add_public_host(v4(198, 51, 100, 200));
    for host in [hosts[0], hosts[1], server] {
        network.set_link(
            host,
            LinkConfig {
                delay: Duration::from_millis(10),
                ..LinkConfig::default()
            },
        );
    }
    let stun = SocketAddr::new(network.address(server), STUN);
    let mut sim = Sim::new(network);
    sim.install(server, Peer::new(0, stun, None));
    let now = sim.network.instant();
    for (name, host) in (1..).zip(hosts) {
        let local = SocketAddr::new(sim.network.address(host), PORT);
        let mut agent = PathAgent::new(now, PathConfig::default(), RELAY);
        agent.set_locals(now, &[local]);
        let mut peer = Peer::new(name, local, Some(agent));
        peer.outbox.push((stun, b"S".to_vec()));
        sim.install(host, peer);
    }
    sim.run_for(Duration::from_secs(1));
    let [a, b] = hosts;
    let lists = hosts.map(|host| sim[host].candidates().to_wire());
    for (host, list) in [b, a].into_iter().zip(lists) {
        let skew = Duration::from_millis(sim.network.rng().below(150));
        sim.run_for(skew);
        sim.with(host, |peer, now| {
            let (set, _) = CandidateSet::of_peer(&list, &filter(peer.local));
            peer.agent
                .as_mut()
                .expect("what the test made")
                .set_remote(now.instant, &set);
        });
    }
    sim.run_for(Duration::from_secs(5));
    sim
}

fn every_nat() -> Vec<NatConfig> {
    let pairs = Dependence::ALL
        .into_iter()
        .flat_map(|mapping| Dependence::ALL.map(|filtering| (mapping, filtering)));
    let config = |(mapping, filtering)| NatConfig {
        ports: PortAssignment::Random,
        ..NatConfig::new(mapping, filtering)
    };
    pairs.map(config).collect()
}

fn check(network: Network, hosts: [HostId; 2], what: &str) -> bool {
    let expected = network.direct_path_possible(hosts[0], hosts[1]);
    let mut sim = meet(network, hosts);
    for host in hosts {
        let peer = &sim[host];
        assert_eq!(
            peer.current().is_direct(),
            expected,
            "{what}: {:?}",
            peer.current()
        );
        // Three rounds of at most 3 candidates and a heard one, 3 probes each, and its restarts.
        assert!(peer.probes <= 45, "{what}: {} probes", peer.probes);
        assert!(peer.uses <= 2, "{what}: {} moves", peer.uses);
    }
    sim.run_for(Duration::from_secs(120));
    let before = sim.network.packets_sent();
    sim.run_for(Duration::from_secs(500));
    let packets = sim.network.packets_sent() - before;
    // A probe of the standby and its answer in 20 s from each, and three of those whose mapping has gone.
    assert!(
        packets <= 4 * 25 + 20,
        "{what}: {packets} packets of idle agents"
    );
    for host in hosts {
        assert_eq!(sim[host].current().is_direct(), expected, "{what}, later");
    }
    sim.run_until_quiet(Duration::from_secs(30));
    expected
}

#[test]
fn a_path_is_direct_if_and_only_if_the_nats_allow_it() {
    let mut found = [0; 2];
    for seed in 0..4 {
        for first in every_nat() {
            for second in every_nat() {
                let mut network = Network::new(seed);
                let a = network.add_nat(first.clone(), Place::Internet, v4(203, 0, 113, 1));
                let b = network.add_nat(second.clone(), Place::Internet, v4(203, 0, 113, 2));
                let hosts = [
                    network.add_host_behind(a, v4(10, 0, 0, 2)),
                    network.add_host_behind(b, v4(10, 1, 0, 2)),
                ];
                let what = format!("seed {seed}, {first:?}, {second:?}");
                found[usize::from(check(network, hosts, &what))] += 1;
            }
        }
    }
    assert!(found.iter().all(|count| *count > 0), "{found:?}");
}

#[test]
fn behind_one_nat_the_interfaces_meet() {
    for outer in every_nat() {
        for is_hairpinning in [true, false] {
            let config = NatConfig {
                is_hairpinning,
                ..outer.clone()
            };
            let mut network = Network::new(1);
            let nat = network.add_nat(config, Place::Internet, v4(203, 0, 113, 1));
            let hosts = [3, 2].map(|last| network.add_host_behind(nat, v4(10, 0, 0, last)));
            assert!(check(network, hosts, "one NAT"));
        }
    }
}

#[test]
fn behind_two_levels_of_nat_the_outer_one_turns_packets_back_or_not() {
    for outer in every_nat() {
        for is_hairpinning in [true, false] {
            for inner in every_nat() {
                let config = NatConfig {
                    is_hairpinning,
                    ..outer.clone()
                };
                let mut network = Network::new(1);
                let carrier = network.add_nat(config, Place::Internet, v4(203, 0, 113, 1));
                let behind = Place::Behind(carrier);
                let a = network.add_nat(inner.clone(), behind, v4(100, 64, 0, 1));
                let b = network.add_nat(NatConfig::easy(), behind, v4(100, 64, 0, 2));
                let hosts = [
                    network.add_host_behind(a, v4(10, 0, 0, 2)),
                    network.add_host_behind(b, v4(10, 1, 0, 2)),
                ];
                check(network, hosts, &format!("{outer:?}, {inner:?}"));
            }
        }
    }
}

fn lone_agent(now: Instant) -> PathAgent {
    let mut agent = PathAgent::new(now, PathConfig::default(), RELAY);
    agent.set_locals(now, &["0.0.0.0:9000".parse().expect("what the test made")]);
    agent
}

/// Runs an agent whose probes nobody answers; gives how many it sent.
fn run(agent: &mut PathAgent, start: Instant, span: Duration) -> usize {
    let mut probes = 0;
    loop {
        while let Some(action) = agent.poll_action() {
            probes += usize::from(matches!(action, PathAction::Probe(_)));
        }
        match agent
            .poll_timeout()
            .filter(|deadline| deadline.at <= start + span)
        {
            Some(deadline) => agent.handle_timeout(deadline.at),
            None => return probes,
        }
    }
}

#[test]
fn candidates_that_point_at_others_cause_no_packet() {
    let now = Network::new(1).instant();
    let local = "192.168.1.7:9000".parse().expect("what the test made");
    let rendezvous: SocketAddr = "203.0.113.9:9000".parse().expect("what the test made");
    let hostile = [
        "127.0.0.1:22",
        "[::ffff:127.0.0.1]:22",
        "224.0.0.251:5353",
        "255.255.255.255:67",
        "192.168.1.255:9",
        "10.0.0.1:80",
        "169.254.169.254:80",
        "0.0.0.0:80",
        "203.0.113.9:9000",
        "192.168.1.7:9000",
    ];
    let kind = CandidateKind::Reflexive;
    let candidates = hostile.map(|addr| Candidate {
        kind,
        addr: addr.parse().expect("what the test made"),
    });
    let list = Candidates {
        candidates: candidates.to_vec(),
        ..Candidates::default()
    };
    let filter = Filter {
        rendezvous: vec![rendezvous],
        ..filter(local)
    };
    let (set, refused) = CandidateSet::of_peer(&list, &filter);
    assert_eq!((set.len(), refused), (0, hostile.len()));
    let mut agent = lone_agent(now);
    agent.set_remote(now, &set);
    assert_eq!(run(&mut agent, now, Duration::from_secs(3600)), 0);
}

#[test]
fn a_peer_that_claims_ten_thousand_addresses_gets_few_probes() {
    let now = Network::new(1).instant();
    let mut agent = lone_agent(now);
    let claim = |n: u32| Candidate {
        kind: CandidateKind::Reflexive,
        addr: SocketAddr::new(Ipv4Addr::from_bits(0xC633_0000 + n).into(), 1),
    };
    let all = Candidates {
        candidates: (0..10_000).map(claim).collect(),
        ..Candidates::default()
    };
    assert!(Candidates::decode(&all.encode()).is_err());
    let mut probes = 0;
    // 16 of them in each of 625 lists, ten lists a second.
    for generation in 1..=625 {
        let at = now + Duration::from_millis(100) * generation;
        let mut set = CandidateSet::new(generation, Mapping::Unknown);
        (0..16).for_each(|n| {
            set.insert(claim(generation * 16 + n));
        });
        agent.set_remote(at, &set);
        probes += run(&mut agent, at, Duration::from_millis(100));
    }
    assert!(probes <= 192 + 63 * 4, "{probes} probes in 63 s");
}

#[test]
fn an_unanswered_list_gets_three_probes_an_address_and_then_rare_rounds() {
    let now = Network::new(1).instant();
    let mut agent = lone_agent(now);
    let mut set = CandidateSet::new(1, Mapping::Unknown);
    let addr = "192.0.2.1:1".parse().expect("what the test made");
    set.insert(Candidate {
        kind: CandidateKind::Reflexive,
        addr,
    });
    agent.set_remote(now, &set);
    assert_eq!(run(&mut agent, now, Duration::from_millis(1900)), 3);
    // Rounds after 2, 5, 15 and 60 s more.
    assert_eq!(run(&mut agent, now, Duration::from_secs(100)), 4 * 3);
    assert_eq!(run(&mut agent, now, Duration::from_secs(3600)), 5 * 3);
    agent.handle_network_change(now + Duration::from_secs(3600));
    assert_eq!(run(&mut agent, now, Duration::from_secs(3601)), 3);
}
