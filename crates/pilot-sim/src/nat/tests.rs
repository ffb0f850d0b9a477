use super::*;

const EXTERNAL: &str = "203.0.113.1";

struct Lab {
    nat: Nat,
    now: Instant,
    rng: SimRng,
}

impl Lab {
    fn new(config: NatConfig) -> Self {
        Self {
            nat: Nat::translating(config, EXTERNAL.parse().unwrap()),
            now: crate::clock::Clock::new().now(),
            rng: SimRng::new(5),
        }
    }

    fn out(&mut self, internal: &str, remote: &str) -> SocketAddr {
        self.try_out(internal, remote).unwrap()
    }

    fn try_out(&mut self, internal: &str, remote: &str) -> Result<SocketAddr, NatDrop> {
        let (internal, remote) = (internal.parse().unwrap(), remote.parse().unwrap());
        self.nat.outbound(self.now, internal, remote, &mut self.rng)
    }

    fn back(&mut self, external: SocketAddr, remote: &str) -> Result<SocketAddr, NatDrop> {
        self.nat
            .inbound(self.now, external, remote.parse().unwrap())
    }

    fn wait(&mut self, secs: u64) {
        self.now += Duration::from_secs(secs);
    }
}

const INSIDE: &str = "10.0.0.2:4000";
const PEER: &str = "198.51.100.1:9000";
const PEER_OTHER_PORT: &str = "198.51.100.1:9001";
const STRANGER: &str = "198.51.100.2:9000";

#[test]
fn endpoint_independent_mapping_is_one_for_all_remotes() {
    let mut lab = Lab::new(NatConfig::easy());
    let external = lab.out(INSIDE, PEER);
    assert_eq!(lab.out(INSIDE, PEER_OTHER_PORT), external);
    assert_eq!(lab.out(INSIDE, STRANGER), external);
    assert_ne!(lab.out("10.0.0.3:4000", PEER), external);
}

#[test]
fn address_dependent_mapping_is_one_for_each_remote_address() {
    use Dependence::AddressDependent;
    let mut lab = Lab::new(NatConfig::new(AddressDependent, AddressDependent));
    let external = lab.out(INSIDE, PEER);
    assert_eq!(lab.out(INSIDE, PEER_OTHER_PORT), external);
    assert_ne!(lab.out(INSIDE, STRANGER), external);
}

#[test]
fn address_and_port_dependent_mapping_is_one_for_each_remote_endpoint() {
    let mut lab = Lab::new(NatConfig::hard());
    let external = lab.out(INSIDE, PEER);
    assert_eq!(lab.out(INSIDE, PEER), external);
    assert_ne!(lab.out(INSIDE, PEER_OTHER_PORT), external);
    assert_ne!(lab.out(INSIDE, STRANGER), external);
}

#[test]
fn a_filter_lets_in_whom_its_kind_allows() {
    use Dependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    let inside = Ok(INSIDE.parse().unwrap());
    for (filtering, same_address, stranger) in [
        (EndpointIndependent, inside, inside),
        (AddressDependent, inside, Err(NatDrop::Filtered)),
        (
            AddressAndPortDependent,
            Err(NatDrop::Filtered),
            Err(NatDrop::Filtered),
        ),
    ] {
        let mut lab = Lab::new(NatConfig::new(EndpointIndependent, filtering));
        let external = lab.out(INSIDE, PEER);
        assert_eq!(lab.back(external, PEER), inside, "{filtering:?}");
        assert_eq!(lab.back(external, PEER_OTHER_PORT), same_address);
        assert_eq!(lab.back(external, STRANGER), stranger);
        lab.out(INSIDE, STRANGER);
        assert_eq!(lab.back(external, STRANGER), inside, "it was sent to");
    }
}

#[test]
fn nothing_comes_in_where_nothing_went_out() {
    let mut lab = Lab::new(NatConfig::easy());
    let external = SocketAddr::new(EXTERNAL.parse().unwrap(), 4000);
    assert_eq!(lab.back(external, PEER), Err(NatDrop::NoMapping));
}

#[test]
fn a_preserving_nat_keeps_the_port_while_it_is_free() {
    let mut lab = Lab::new(NatConfig::easy());
    assert_eq!(lab.out(INSIDE, PEER).port(), 4000);
    assert_eq!(lab.out("10.0.0.3:4000", PEER).port(), 4001);
    assert_eq!(
        lab.out("10.0.0.4:80", PEER).port(),
        1024,
        "outside of the range"
    );
}

#[test]
fn a_sequential_nat_counts_up_and_round() {
    let mut lab = Lab::new(NatConfig {
        ports: PortAssignment::Sequential,
        port_range: 5000..=5002,
        ..NatConfig::easy()
    });
    let ports =
        ["10.0.0.2:1", "10.0.0.3:1", "10.0.0.4:1"].map(|inside| lab.out(inside, PEER).port());
    assert_eq!(ports, [5000, 5001, 5002]);
    assert_eq!(lab.try_out("10.0.0.5:1", PEER), Err(NatDrop::NoPort));
    lab.wait(120);
    assert_eq!(lab.out("10.0.0.5:1", PEER).port(), 5000, "all have expired");
    assert_eq!(lab.nat.mappings(lab.now), 1);
}

#[test]
fn a_random_nat_spreads_over_its_range() {
    let mut lab = Lab::new(NatConfig::hard());
    let ports = (1..=1000).map(|port| lab.out(INSIDE, &format!("198.51.100.9:{port}")).port());
    let mut ports: Vec<_> = ports.collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 1000, "no port is shared");
    let upper_half = ports.iter().filter(|port| **port > 33_000).count();
    assert!((400..600).contains(&upper_half), "{upper_half}");
}

#[test]
fn a_mapping_expires_and_outbound_packets_refresh_it() {
    let mut lab = Lab::new(NatConfig {
        ports: PortAssignment::Random,
        ..NatConfig::easy()
    });
    let external = lab.out(INSIDE, PEER);
    lab.wait(119);
    assert!(lab.back(external, PEER).is_ok());
    assert_eq!(lab.out(INSIDE, PEER), external);
    lab.wait(119);
    assert!(lab.back(external, PEER).is_ok(), "refreshed");
    lab.wait(1);
    assert_eq!(lab.back(external, PEER), Err(NatDrop::NoMapping));
    assert_ne!(lab.out(INSIDE, PEER), external, "a new mapping, a new port");
}

#[test]
fn inbound_packets_refresh_only_where_they_may() {
    for is_refreshed_inbound in [false, true] {
        let mut lab = Lab::new(NatConfig {
            is_refreshed_inbound,
            ..NatConfig::easy()
        });
        let external = lab.out(INSIDE, PEER);
        lab.wait(100);
        assert!(lab.back(external, PEER).is_ok());
        lab.wait(100);
        assert_eq!(lab.back(external, PEER).is_ok(), is_refreshed_inbound);
    }
}

#[test]
fn a_permission_of_a_mapping_that_others_keep_alive_expires_by_itself() {
    let mut lab = Lab::new(NatConfig::easy());
    let external = lab.out(INSIDE, PEER);
    lab.wait(60);
    lab.out(INSIDE, STRANGER);
    lab.wait(60);
    assert_eq!(lab.back(external, PEER), Err(NatDrop::Filtered));
    assert!(lab.back(external, STRANGER).is_ok());
}

#[test]
fn hairpinned_packets_carry_the_external_endpoint_of_their_sender() {
    let mut lab = Lab::new(NatConfig::new(
        Dependence::EndpointIndependent,
        Dependence::EndpointIndependent,
    ));
    let (a, b) = (lab.out(INSIDE, PEER), lab.out("10.0.0.3:4000", PEER));
    let internal = INSIDE.parse().unwrap();
    let turned = lab.nat.hairpin(lab.now, internal, b, &mut lab.rng);
    assert_eq!(turned, Ok((a, "10.0.0.3:4000".parse().unwrap())));
}

#[test]
fn hairpinned_packets_pass_the_filter_like_others() {
    let mut lab = Lab::new(NatConfig::easy());
    let (a, b) = (lab.out(INSIDE, PEER), lab.out("10.0.0.3:4000", PEER));
    let (first, second) = (INSIDE.parse().unwrap(), "10.0.0.3:4000".parse().unwrap());
    let turned = lab.nat.hairpin(lab.now, first, b, &mut lab.rng);
    assert_eq!(turned, Err(NatDrop::Filtered));
    let turned = lab.nat.hairpin(lab.now, second, a, &mut lab.rng);
    assert_eq!(turned, Ok((b, first)), "the first one has sent to it");
}

#[test]
fn a_nat_without_hairpinning_and_one_that_blocks_udp_say_so() {
    let mut lab = Lab::new(NatConfig {
        is_hairpinning: false,
        ..NatConfig::easy()
    });
    let external = lab.out(INSIDE, PEER);
    let turned = lab
        .nat
        .hairpin(lab.now, INSIDE.parse().unwrap(), external, &mut lab.rng);
    assert_eq!(turned, Err(NatDrop::NoHairpin));
    let mut lab = Lab::new(NatConfig::blocked());
    assert_eq!(lab.try_out(INSIDE, PEER), Err(NatDrop::Blocked));
    assert_eq!(lab.back(external, PEER), Err(NatDrop::Blocked));
}

#[test]
fn a_firewall_keeps_addresses_and_opens_for_answers() {
    let mut lab = Lab::new(NatConfig::easy());
    lab.nat = Nat::firewall(NatConfig::easy());
    let inside: SocketAddr = "[2001:db8::2]:4000".parse().unwrap();
    let (peer, stranger) = ("[2001:db8:1::1]:9000", "[2001:db8:1::2]:9000");
    assert_eq!(lab.back(inside, peer), Err(NatDrop::NoMapping));
    assert_eq!(lab.out("[2001:db8::2]:4000", peer), inside);
    assert_eq!(lab.back(inside, peer), Ok(inside));
    assert_eq!(lab.back(inside, stranger), Err(NatDrop::Filtered));
}

#[test]
fn a_nat_that_forgets_gives_new_ports() {
    let mut lab = Lab::new(NatConfig {
        ports: PortAssignment::Sequential,
        ..NatConfig::easy()
    });
    let external = lab.out(INSIDE, PEER);
    lab.nat.forget();
    assert_eq!(lab.back(external, PEER), Err(NatDrop::NoMapping));
    assert_ne!(lab.out(INSIDE, PEER), external);
}

#[test]
fn a_port_mapping_is_open_for_everybody_and_answers_leave_by_it() {
    let mut lab = Lab::new(NatConfig::hard());
    let (internal, now) = (INSIDE.parse().unwrap(), lab.now);
    let external = lab.nat.map_port(now, internal, &mut lab.rng).unwrap();
    assert_ne!(lab.out(INSIDE, PEER), external, "nobody came in yet");
    assert_eq!(lab.back(external, STRANGER), Ok(internal));
    assert_eq!(lab.out(INSIDE, STRANGER), external);
    lab.wait(10_000);
    assert_eq!(lab.back(external, PEER), Ok(internal));
    lab.nat.forget();
    assert_eq!(lab.back(external, PEER), Err(NatDrop::NoMapping));
}

#[test]
fn a_mapped_port_is_given_to_nobody_else() {
    let mut lab = Lab::new(NatConfig {
        port_range: 5000..=5001,
        ..NatConfig::easy()
    });
    let (internal, now) = (INSIDE.parse().unwrap(), lab.now);
    let external = lab.nat.map_port(now, internal, &mut lab.rng).unwrap();
    assert_ne!(lab.out("10.0.0.3:5000", PEER), external);
    let full = lab.try_out("10.0.0.4:5000", PEER);
    assert_eq!(full, Err(NatDrop::NoPort));
}
