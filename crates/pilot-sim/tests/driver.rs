//! The driver and the network, with a machine that sends what it is told and notes what it gets.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use pilot_sim::{
    DropCause, HostId, LinkConfig, Machine, NatConfig, NatDrop, Network, Now, Packet, Place,
    Probability, Sim, Step,
};
use pilot_types::{Deadline, Ecn, FourTuple, PathId, PeerAddr, Transmit, TransmitBuf, UnixTime};

const PORT: u16 = 4000;

struct Received {
    at: Now,
    local: SocketAddr,
    remote: SocketAddr,
    ecn: Option<Ecn>,
    data: Vec<u8>,
}

#[derive(Default)]
struct Post {
    to_send: Vec<(SocketAddr, SocketAddr, Vec<Vec<u8>>)>,
    received: Vec<Received>,
    deadline: Option<Instant>,
    /// Answers each packet and never stops its timer.
    is_spinning: bool,
    timeouts: usize,
}

impl Post {
    fn send(&mut self, local: SocketAddr, remote: SocketAddr, data: &[u8]) {
        self.to_send.push((local, remote, vec![data.to_vec()]));
    }
}

impl Machine for Post {
    fn handle_datagram(
        &mut self,
        now: Now,
        local: SocketAddr,
        remote: SocketAddr,
        ecn: Option<Ecn>,
        data: &mut [u8],
    ) {
        if self.is_spinning {
            self.send(local, remote, data);
        }
        self.received.push(Received {
            at: now,
            local,
            remote,
            ecn,
            data: data.to_vec(),
        });
    }

    fn handle_timeout(&mut self, now: Now) {
        self.timeouts += 1;
        if !self.is_spinning && self.deadline.is_some_and(|at| at <= now.instant) {
            self.deadline = None;
        }
    }

    fn poll_transmit(&mut self, _now: Now, out: &mut TransmitBuf) -> Option<Transmit> {
        let (local, remote, datagrams) = self.to_send.pop()?;
        out.bind_path(PathId::Udp(FourTuple {
            local,
            remote: PeerAddr(remote),
        }));
        for data in datagrams {
            assert!(out.begin(data.len()));
            out.put_slice(&data);
            out.finish();
        }
        out.transmit(Some(Ecn::Ect0))
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.deadline.map(|at| Deadline { at, timer: "test" })
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::new(ip("0.0.0.0"), port)
}

/// Two public hosts whose access links take 5 ms.
fn pair(seed: u64) -> (Sim<Post>, HostId, HostId) {
    let mut network = Network::new(seed);
    let a = network.add_public_host(ip("198.51.100.1"));
    let b = network.add_public_host(ip("198.51.100.2"));
    for host in [a, b] {
        network.set_link(host, LinkConfig::delay(Duration::from_millis(5)));
    }
    let mut sim = Sim::new(network);
    sim.install(a, Post::default());
    sim.install(b, Post::default());
    (sim, a, b)
}

fn endpoint(sim: &Sim<Post>, host: HostId) -> SocketAddr {
    SocketAddr::new(sim.network.address(host), PORT)
}

fn send(sim: &mut Sim<Post>, from: HostId, to: HostId, data: &[u8]) {
    let (local, remote) = (endpoint(sim, from), endpoint(sim, to));
    sim[from].send(local, remote, data);
}

#[test]
fn a_datagram_arrives_after_both_links_with_all_its_facts() {
    let (mut sim, a, b) = pair(1);
    let start = sim.network.instant();
    send(&mut sim, a, b, b"hello");
    assert!(sim.run_until(|sim| !sim[b].received.is_empty(), Duration::from_secs(1)));
    let (from, to) = (endpoint(&sim, a), endpoint(&sim, b));
    let received = &sim[b].received[0];
    assert_eq!((received.local, received.remote), (to, from));
    assert_eq!(
        (received.ecn, received.data.as_slice()),
        (Some(Ecn::Ect0), &b"hello"[..])
    );
    assert_eq!(received.at.instant - start, Duration::from_millis(10));
}

#[test]
fn a_batch_is_split_into_its_datagrams() {
    let (mut sim, a, b) = pair(1);
    let (from, to) = (endpoint(&sim, a), endpoint(&sim, b));
    let batch = vec![vec![1; 100], vec![2; 100], vec![3; 7]];
    sim[a].to_send.push((from, to, batch.clone()));
    sim.run_until_quiet(Duration::from_secs(1));
    let received: Vec<_> = sim[b].received.iter().map(|r| r.data.clone()).collect();
    assert_eq!(received, batch);
}

#[test]
fn an_unspecified_source_becomes_the_interface_of_the_destinations_family() {
    let (mut sim, a, b) = pair(1);
    sim.network
        .add_interface(a, Place::Internet, ip("2001:db8::1"));
    sim.network
        .add_interface(b, Place::Internet, ip("2001:db8::2"));
    sim[a].send(any(PORT), "198.51.100.2:9".parse().unwrap(), b"4");
    sim[a].send(any(PORT), "[2001:db8::2]:9".parse().unwrap(), b"6");
    sim.run_until_quiet(Duration::from_secs(1));
    let mut sources: Vec<_> = sim[b]
        .received
        .iter()
        .map(|r| r.remote.to_string())
        .collect();
    sources.sort();
    assert_eq!(sources, ["198.51.100.1:4000", "[2001:db8::1]:4000"]);
}

#[test]
fn time_stands_still_for_nobody_and_jumps_to_deadlines() {
    let (mut sim, a, _) = pair(1);
    let start = sim.network.instant();
    let deadline = start + Duration::from_secs(3600);
    sim[a].deadline = Some(deadline);
    assert!(sim.run_until(|sim| sim[a].timeouts == 1, Duration::from_secs(7200)));
    assert_eq!(sim.network.instant(), deadline);
    sim.run_for(Duration::from_secs(60));
    assert_eq!(sim.network.instant(), deadline + Duration::from_secs(60));
    assert_eq!(sim[a].timeouts, 1);
}

#[test]
fn a_condition_that_does_not_come_ends_at_the_limit() {
    let (mut sim, a, _) = pair(1);
    assert!(!sim.run_until(|sim| sim[a].timeouts > 0, Duration::from_secs(9)));
    assert_eq!(sim.network.elapsed(), Duration::from_secs(9));
}

#[test]
#[should_panic(
    expected = "did not go quiet: HostId(0) was called 10000 times at one moment, its next timer is Some(\"test\")"
)]
fn a_machine_whose_timer_stays_due_is_caught() {
    let (mut sim, a, _) = pair(1);
    sim[a].is_spinning = true;
    sim[a].deadline = Some(sim.network.instant() + Duration::from_secs(1));
    sim.run_for(Duration::from_secs(2));
}

#[test]
#[should_panic(expected = "did not go quiet: HostId")]
fn machines_that_answer_each_other_at_once_for_ever_are_caught() {
    let (mut sim, a, b) = pair(1);
    for host in [a, b] {
        sim.network.set_link(host, LinkConfig::default());
        sim[host].is_spinning = true;
    }
    send(&mut sim, a, b, b"ping");
    sim.run_for(Duration::from_secs(1));
}

#[test]
#[should_panic(expected = "did not go quiet within 10s of virtual time")]
fn machines_that_answer_each_other_for_ever_are_not_quiet() {
    let (mut sim, a, b) = pair(1);
    for host in [a, b] {
        sim[host].is_spinning = true;
    }
    send(&mut sim, a, b, b"ping");
    sim.run_until_quiet(Duration::from_secs(10));
}

#[test]
fn a_far_deadline_is_quiet_and_a_near_one_is_not() {
    let (mut sim, a, _) = pair(1);
    sim[a].deadline = Some(sim.network.instant() + Duration::from_secs(20));
    sim.run_until_quiet(Duration::from_secs(1));
    assert_eq!(sim.network.elapsed(), Duration::ZERO);
    sim.set_quiet_pause(Duration::from_secs(30));
    sim.run_until_quiet(Duration::from_secs(60));
    assert_eq!(sim.network.elapsed(), Duration::from_secs(20));
}

#[test]
fn a_host_that_is_down_neither_sends_nor_gets() {
    let (mut sim, a, b) = pair(1);
    send(&mut sim, a, b, b"on its way");
    sim.run_for(Duration::from_millis(7));
    sim.network.set_up(b, false);
    send(&mut sim, b, a, b"never sent");
    sim.run_until_quiet(Duration::from_secs(1));
    assert_eq!(sim.network.trace().dropped(DropCause::HostDown), 2);
    sim.network.set_up(b, true);
    send(&mut sim, a, b, b"after");
    sim.run_until_quiet(Duration::from_secs(1));
    assert_eq!(sim[b].received.len(), 1);
    assert!(sim[a].received.is_empty());
}

#[test]
fn a_restarted_machine_has_forgotten_and_a_removed_one_gets_nothing() {
    let (mut sim, a, b) = pair(1);
    sim[b].deadline = Some(sim.network.instant() + Duration::from_secs(1));
    send(&mut sim, a, b, b"1");
    sim.run_for(Duration::from_millis(20));
    let old = sim.install(b, Post::default()).unwrap();
    assert_eq!(old.received.len(), 1);
    sim.run_for(Duration::from_secs(2));
    assert_eq!((sim[b].received.len(), sim[b].timeouts), (0, 0));
    sim.remove(b);
    send(&mut sim, a, b, b"2");
    sim.run_until_quiet(Duration::from_secs(1));
    assert_eq!(sim.network.trace().dropped(DropCause::NoMachine), 1);
}

#[test]
fn a_moved_interface_is_reached_at_its_new_address_only() {
    let (mut sim, a, b) = pair(1);
    let old = endpoint(&sim, b);
    sim.network
        .move_interface(b, old.ip(), Place::Internet, ip("198.51.100.77"));
    send(&mut sim, a, b, b"new");
    let sent = sim.network.instant();
    sim.run_until_quiet(Duration::from_secs(1));
    let took = sim[b].received[0].at.instant - sent;
    assert_eq!(took, Duration::from_millis(10), "its links moved with it");
    let from = endpoint(&sim, a);
    sim[a].send(from, old, b"old");
    sim.run_until_quiet(Duration::from_secs(1));
    assert_eq!(sim.network.trace().dropped(DropCause::NoRoute), 1);
}

#[test]
fn a_moved_interface_behind_nested_firewalls_leaves_nothing_behind() {
    let mut network = Network::new(1);
    let outer = network.add_firewall(NatConfig::easy(), Place::Internet);
    let inner = network.add_firewall(NatConfig::easy(), Place::Behind(outer));
    let (old, new) = (ip("2001:db8::1"), ip("2001:db8::2"));
    let host = network.add_host_behind(inner, old);
    network.move_interface(host, old, Place::Behind(outer), new);
    let other = network.add_public_host(old);
    assert_eq!(network.address(other), old, "the address is free again");
    assert!(network.direct_path_possible(host, other));
}

#[test]
fn a_wall_clock_jumps_alone() {
    let (mut sim, a, b) = pair(1);
    let before = sim.network.now();
    sim.run_for(Duration::from_secs(10));
    assert_eq!(
        sim.network.now().unix.since(before.unix),
        Duration::from_secs(10)
    );
    sim.network.set_wall_clock(a, UnixTime::from_secs(5));
    sim.run_for(Duration::from_secs(10));
    assert_eq!(sim.network.now_at(a).unix, UnixTime::from_secs(15));
    assert_eq!(sim.network.now_at(b), sim.network.now());
    assert_eq!(sim.network.now_at(a).instant, sim.network.now().instant);
}

#[test]
fn a_corrupted_datagram_differs_in_one_byte() {
    let (mut sim, a, b) = pair(1);
    let corrupting = LinkConfig {
        corrupt: Probability::ALWAYS,
        ..LinkConfig::default()
    };
    sim.network.set_links(a, corrupting, LinkConfig::default());
    send(&mut sim, a, b, &[0; 500]);
    sim.run_until_quiet(Duration::from_secs(1));
    let changed = sim[b].received[0].data.iter().filter(|byte| **byte != 0);
    assert_eq!(changed.count(), 1);
}

#[test]
fn hosts_behind_a_nat_share_its_link() {
    let mut network = Network::new(1);
    let server = network.add_public_host(ip("198.51.100.1"));
    let nat = network.add_nat(NatConfig::easy(), Place::Internet, ip("203.0.113.1"));
    let hosts = ["10.0.0.2", "10.0.0.3"].map(|host| network.add_host_behind(nat, ip(host)));
    // A millisecond for each packet of 1,000 bytes with its headers.
    let slow = LinkConfig {
        rate: Some(8_000_000),
        ..LinkConfig::default()
    };
    network.set_nat_links(nat, slow, LinkConfig::default());
    let mut sim = Sim::new(network);
    sim.install(server, Post::default());
    let start = sim.network.instant();
    for host in hosts {
        sim.install(host, Post::default());
        send(&mut sim, host, server, &[0; 972]);
    }
    sim.run_until_quiet(Duration::from_secs(1));
    let arrivals: Vec<_> = sim[server]
        .received
        .iter()
        .map(|r| r.at.instant - start)
        .collect();
    assert_eq!(
        arrivals,
        [Duration::from_millis(1), Duration::from_millis(2)]
    );
    assert_eq!(sim.network.nat(nat).mappings(sim.network.instant()), 2);
}

#[test]
fn a_restarted_nat_cuts_what_was_open() {
    let mut network = Network::new(1);
    let server = network.add_public_host(ip("198.51.100.1"));
    let nat = network.add_nat(NatConfig::easy(), Place::Internet, ip("203.0.113.1"));
    let client = network.add_host_behind(nat, ip("10.0.0.2"));
    let mut sim = Sim::new(network);
    sim.install(server, Post::default());
    sim.install(client, Post::default());
    send(&mut sim, client, server, b"open");
    sim.run_until_quiet(Duration::from_secs(1));
    let (local, remote) = (
        sim[server].received[0].local,
        sim[server].received[0].remote,
    );
    assert_eq!(remote, "203.0.113.1:4000".parse().unwrap());
    sim[server].send(local, remote, b"answer");
    sim.run_until_quiet(Duration::from_secs(1));
    assert_eq!(sim[client].received.len(), 1);
    sim.network.restart_nat(nat);
    sim[server].send(local, remote, b"answer");
    sim.run_until_quiet(Duration::from_secs(1));
    assert_eq!(sim[client].received.len(), 1);
    let cause = DropCause::Nat(NatDrop::NoMapping);
    assert_eq!(sim.network.trace().dropped(cause), 1);
}

#[test]
fn an_injected_packet_arrives_with_the_source_that_it_claims() {
    let (mut sim, a, b) = pair(1);
    sim.network.capture(1);
    send(&mut sim, a, b, b"first");
    send(&mut sim, a, b, b"second");
    sim.run_until_quiet(Duration::from_secs(1));
    let captured = sim.network.take_captured();
    assert_eq!(captured.len(), 1, "no more than asked for");
    let forged = Packet {
        source: "192.0.2.1:1".parse().unwrap(),
        ..captured[0].clone()
    };
    sim.network.inject(Place::Internet, forged.clone());
    sim.run_until_quiet(Duration::from_secs(1));
    let last = sim[b].received.last().unwrap();
    assert_eq!((last.remote, &last.data), (forged.source, &forged.payload));
}

fn noisy_run(seed: u64) -> (Vec<(Instant, Vec<u8>)>, String) {
    let (mut sim, a, b) = pair(seed);
    let noisy = LinkConfig {
        jitter: Duration::from_millis(3),
        loss: Probability::percent(20.0),
        reorder: Probability::percent(20.0),
        reorder_by: Duration::from_millis(9),
        duplicate: Probability::percent(10.0),
        corrupt: Probability::percent(10.0),
        ..LinkConfig::default()
    };
    sim.network.set_link(a, noisy);
    for n in 0..100 {
        send(&mut sim, a, b, &[n; 50]);
    }
    sim.run_until_quiet(Duration::from_secs(1));
    let received = sim[b].received.iter();
    let received = received.map(|r| (r.at.instant, r.data.clone())).collect();
    (received, sim.network.trace().to_string())
}

#[test]
fn a_seed_determines_the_run() {
    assert_eq!(noisy_run(3), noisy_run(3));
    assert_ne!(noisy_run(3), noisy_run(4));
}

#[test]
fn the_trace_keeps_the_last_steps_and_counts_all_drops() {
    let (mut sim, a, b) = pair(1);
    sim.network.set_trace_limit(3);
    for n in 0..5 {
        send(&mut sim, a, b, &[n]);
        sim.run_until_quiet(Duration::from_secs(1));
    }
    let trace = sim.network.trace();
    let steps: Vec<_> = trace.entries().map(|entry| entry.step).collect();
    assert_eq!(steps, [Step::Received(b), Step::Sent(a), Step::Received(b)]);
    let text = trace.to_string();
    assert!(text.contains("… 7 earlier steps"), "{text}");
    assert!(
        text.contains("198.51.100.1:4000 → 198.51.100.2:4000  1 bytes, first 0x04"),
        "{text}"
    );
    assert_eq!(trace.all_dropped(), 0);
    let (from, nowhere) = (endpoint(&sim, a), "192.0.2.9:1".parse().unwrap());
    for _ in 0..9 {
        sim[a].send(from, nowhere, b"x");
    }
    sim.run_until_quiet(Duration::from_secs(1));
    assert_eq!(sim.network.trace().dropped(DropCause::NoRoute), 9);
}
