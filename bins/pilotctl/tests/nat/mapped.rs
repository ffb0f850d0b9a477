//! Agents behind symmetric NATs, one of which grants ports by a real `miniupnpd`.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use pilot_lab::{Grants, Process, wait};
use serde_json::Value;

use super::sites::{Behind, Internet, Site, befriend_all};

/// The address that the router says it has: a public one, because `miniupnpd` takes no other.
const OUTER: Ipv4Addr = Ipv4Addr::new(11, 0, 113, 1);
/// Until three protocols were tried, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    alice: Site,
    bob: Site,
    internet: Internet,
    miniupnpd: Process,
}

impl World {
    fn new(grants: Grants, settings: &[&str]) -> Self {
        let internet = Internet::new(None);
        let mut sites = ["alice", "bob"].map(|name| internet.site(name, Behind::Symmetric, None));
        let router = &sites[0].routers[0];
        let miniupnpd = router.miniupnpd(OUTER, grants);
        for machine in [&internet.server, &sites[1].routers[0]] {
            machine.route_to_address(OUTER, router.addresses()[1]);
        }
        for site in &sites {
            for setting in ["auto_approve=true"].iter().chain(settings) {
                site.machine.data(&["config", "--set", setting]);
            }
        }
        let [alice, bob] = &mut sites;
        internet.start(&mut [alice, bob]);
        let [alice, bob] = sites;
        Self {
            alice,
            bob,
            internet,
            miniupnpd,
        }
    }

    fn mapping(&self) -> Value {
        self.alice.machine.data(&["info"])["port_mapping"].clone()
    }

    fn wait_for(&self, state: &str) -> Value {
        let mut mapping = Value::Null;
        wait(&format!("a port mapping is {state}"), PATIENCE, || {
            mapping = self.mapping();
            mapping["state"] == state
        });
        mapping
    }

    /// What `doctor` says of the mapping.
    fn diagnosis(&self) -> String {
        let (answer, _) = self.alice.machine.json(&["doctor"]);
        let found = [&answer["data"], &answer["error"]["data"]]
            .into_iter()
            .filter_map(|data| data["checks"].as_array())
            .flatten()
            .find(|check| check["name"] == "port mapping");
        found
            .and_then(|check| check["message"].as_str())
            .unwrap_or_else(|| panic!("{answer}"))
            .to_owned()
    }

    /// Whether datagrams of a stranger to the mapped address come to the agent, who counts them as dropped.
    fn is_open(&self, outer: &str) -> bool {
        let drops = || {
            let info = self.alice.machine.data(&["info"]);
            info["drops"]["unknown_first_byte"].as_u64().unwrap_or(0)
        };
        let before = drops();
        self.internet.server.inside(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            for _ in 0..3 {
                socket.send_to(&[0x7F; 40], outer).expect("a way to it");
            }
        });
        drops() > before
    }

    fn are_direct(&self) -> bool {
        [(&self.alice, &self.bob), (&self.bob, &self.alice)]
            .iter()
            .all(|(from, to)| from.path_to(to) == "direct")
    }

    /// The kind and address of the candidate of Alice that Bob uses.
    fn used_by_bob(&self) -> (Value, Value) {
        let explained = self.bob.machine.data(&["explain", "alice"]);
        let candidates = explained["candidates"].as_array().cloned();
        let mut candidates = candidates.into_iter().flatten();
        let used = candidates.find(|it| it["state"] == "in_use");
        let used = used.unwrap_or_else(|| panic!("{explained}"));
        (used["kind"].clone(), used["addr"].clone())
    }
}

/// Both symmetric, and yet direct by what the router granted; the port is closed when the agent stops.
fn joins(grants: Grants, protocol: &str) -> World {
    let world = World::new(grants, &[]);
    let mapping = world.wait_for("mapped");
    assert_eq!(mapping["protocol"], protocol);
    let outer = mapping["outer"].as_str().expect("an address").to_owned();
    assert!(outer.starts_with(&format!("{OUTER}:")), "{outer}");
    wait("a stranger's datagram comes in", PATIENCE, || {
        world.is_open(&outer)
    });
    let diagnosis = world.diagnosis();
    assert!(diagnosis.starts_with(&outer), "{diagnosis}");
    befriend_all(&[(&world.bob, &world.alice)]);
    world.bob.machine.data(&["ping", "alice"]);
    let took = wait("both are direct", PATIENCE, || world.are_direct());
    let used = world.used_by_bob();
    println!("{protocol}: direct after {took:.1?}, {} {}", used.0, used.1);
    assert_eq!(used, ("mapped".into(), outer.into()));
    world
}

/// What the router translates from outside.
fn translations(world: &World) -> usize {
    let rules = world.alice.routers[0].nftables();
    rules.matches("dnat").count()
}

fn closes_at_the_end(world: &mut World) {
    assert_eq!(translations(world), 1);
    world.alice.machine.data(&["daemon", "stop"]);
    assert_eq!(
        translations(world),
        0,
        "{}",
        world.alice.routers[0].nftables()
    );
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_port_by_pcp_joins_two_symmetric_nats_until_the_router_says_no_more() {
    let mut world = joins(Grants::All, "pcp");
    world.miniupnpd.kill();
    // Grants are for ten seconds: what was told is taken back when they are over.
    let mapping = world.wait_for("refused");
    assert_eq!(mapping["outer"], Value::Null);
    let diagnosis = world.diagnosis();
    assert!(diagnosis.contains("grants none"), "{diagnosis}");
    let ping = world.bob.machine.data(&["ping", "alice"]);
    println!("without miniupnpd: {}", ping["results"][0]["path"]);
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_port_by_pcp_is_given_back_at_the_end() {
    closes_at_the_end(&mut joins(Grants::All, "pcp"));
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_port_by_nat_pmp_joins_two_symmetric_nats_and_is_given_back() {
    closes_at_the_end(&mut joins(Grants::NoPcp, "nat_pmp"));
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_port_by_upnp_joins_two_symmetric_nats_and_is_given_back() {
    closes_at_the_end(&mut joins(Grants::Upnp, "upnp"));
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_router_is_not_asked_where_it_is_switched_off() {
    let world = World::new(Grants::All, &["port_mapping=false"]);
    befriend_all(&[(&world.bob, &world.alice)]);
    let ping = world.bob.machine.data(&["ping", "alice"]);
    assert_eq!(ping["results"][0]["path"], "relay");
    assert_eq!(world.mapping()["state"], "off");
    assert_eq!(translations(&world), 0);
}
