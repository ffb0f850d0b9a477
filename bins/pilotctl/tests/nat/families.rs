//! Agents with IPv4 alone, with IPv6 alone, and with both.

use std::net::Ipv6Addr;

use pilot_lab::{Daemon, Lab, Machine, Rendezvous, befriend, wait};

use super::roaming::PATIENCE;

/// On the one switch, in the one subnet that the IPv6 addresses are of.
const fn address(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xDB8, 0, 0, 0, 0, 0, host)
}

/// The rendezvous' URL for who has no IPv4.
fn url_by_ipv6(rendezvous: &Rendezvous, server: &Machine) -> String {
    let by_ipv4 = server.address().to_string();
    let by_ipv6 = format!("[{}]", address(1));
    rendezvous.url.replace(&by_ipv4, &by_ipv6)
}

fn start(machine: &Machine, name: &str, url: &str) -> Daemon {
    machine.daemon(&["--hostname", name, "--rendezvous", url])
}

/// The path by which a ping is answered.
fn path_of_ping(from: &Machine, to: &str) -> String {
    let data = from.data(&["ping", to]);
    String::from(data["results"][0]["path"].as_str().expect("a path"))
}

fn has_path(from: &Machine, to: &str, kind: &str) -> bool {
    path_of_ping(from, to) == kind
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn agents_of_both_families_meet_directly_and_those_of_different_ones_by_relay() {
    let lab = Lab::in_network([198, 51, 100]);
    let server = lab.machine("server");
    let [six, four, both] = ["six", "four", "both"].map(|name| lab.machine(name));
    for (machine, host) in [(&server, 1), (&six, 2), (&both, 3)] {
        machine.add_ipv6(0, address(host));
    }
    six.drop_ipv4(0);
    let rendezvous = server.rendezvous();
    let by_ipv6 = url_by_ipv6(&rendezvous, &server);
    let _daemons = [
        start(&six, "six", &by_ipv6),
        start(&four, "four", &rendezvous.url),
        start(&both, "both", &rendezvous.url),
    ];
    befriend(&six, "both", &both);
    befriend(&four, "both", &both);
    befriend(&four, "six", &six);
    wait("IPv6", PATIENCE, || has_path(&six, "both", "direct"));
    wait("IPv4", PATIENCE, || has_path(&four, "both", "direct"));
    assert_eq!(path_of_ping(&six, "four"), "relay");
    assert_eq!(path_of_ping(&four, "six"), "relay");
    let explained = six.data(&["explain", "both"]);
    println!("six to both: {}", explained["chosen"]);
    // It loses the family that they have in common: the session goes on by the relay.
    both.drop_ipv6(0);
    wait("a relay instead", PATIENCE, || {
        let (answer, code) = six.json(&["ping", "both", "--timeout", "2s"]);
        code == 0 && answer["data"]["results"][0]["path"] == "relay"
    });
}
