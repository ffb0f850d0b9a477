//! The laboratory itself, on the kernel. Needs root, `ip`, `iptables` and `tcpdump`.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pilot_lab::{Captured, End, Lab, Machine, Nat, Process, run};
use pilot_sim::{LinkConfig, Probability};

fn socket(machine: &Machine) -> UdpSocket {
    let address = SocketAddr::from((machine.address(), 0));
    let socket = machine.inside(|| UdpSocket::bind(address)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket
}

fn payload(packet: &Captured) -> &[u8] {
    // Ethernet, IPv4 without options, UDP.
    packet.frame.get(42..).unwrap_or_default()
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_link_delays_loses_and_marks_real_packets() {
    let lab = Lab::new();
    let (a, b) = (
        lab.machine("a"),
        lab.machine_behind("b", LinkConfig::delay(Duration::from_millis(20))),
    );
    let (from, to) = (socket(&a), socket(&b));
    let destination = to.local_addr().unwrap();
    let mut buffer = [0; 100];
    // The first one asks for the other's hardware address, there and back.
    from.send_to(b"first", destination).unwrap();
    to.recv(&mut buffer).unwrap();
    let sent = Instant::now();
    from.send_to(b"timed", destination).unwrap();
    to.recv(&mut buffer).unwrap();
    assert!(
        sent.elapsed() >= Duration::from_millis(20),
        "{:?}",
        sent.elapsed()
    );

    // ECT(0) is marked above an empty queue; a kernel that finds the header's checksum wrong drops it.
    let cable = &b.cables()[0];
    cable.set_towards(
        End::B,
        LinkConfig {
            rate: Some(64_000),
            mark_above: Some(0),
            ..LinkConfig::default()
        },
    );
    let capture = b.capture("eth0");
    let heard = lab.machine("c");
    let listener = socket(&heard);
    let arrivals = heard.capture("eth0");
    rustix::net::sockopt::set_ip_tos(&to, 0b10).unwrap();
    for _ in 0..5 {
        to.send_to(b"a mark, please", listener.local_addr().unwrap())
            .unwrap();
    }
    for _ in 0..5 {
        listener.recv(&mut buffer).unwrap();
    }
    let marks = |packets: Vec<Captured>| {
        let ours = packets
            .into_iter()
            .filter(|it| payload(it).starts_with(b"a mark"));
        ours.map(|it| it.frame[15] & 0b11).collect::<Vec<_>>()
    };
    assert_eq!(marks(capture.finish()), [0b10; 5]);
    // Five of them take 27 ms to leave, far longer than they took to come.
    assert_eq!(marks(arrivals.finish()).last(), Some(&0b11));
    assert!(cable.counters_towards(End::B).marked >= 1);

    cable.set(LinkConfig {
        loss: Probability::ALWAYS,
        ..LinkConfig::default()
    });
    to.set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    from.send_to(b"lost", destination).unwrap();
    assert!(to.recv(&mut buffer).is_err());
    assert!(cable.counters_towards(End::A).lost >= 1);
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_nat_forwards_between_switches() {
    let lab = Lab::new();
    let inside = lab.add_switch();
    let router = lab.router("nat", &[&inside, lab.switch()]);
    router.masquerade("eth1");
    let mut client = lab.bare_machine("c");
    client.connect(&inside);
    client.route_by(router.address());
    let server = lab.machine("s");
    let (from, to) = (socket(&client), socket(&server));
    from.send_to(b"hello", to.local_addr().unwrap()).unwrap();
    let (_, source) = to.recv_from(&mut [0; 10]).unwrap();
    assert_eq!(source.ip(), router.addresses()[1]);
    to.send_to(b"back", source).unwrap();
    assert_eq!(from.recv(&mut [0; 10]).unwrap(), 4);
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn two_machines_have_a_link_of_their_own_and_an_attacker_on_it() {
    let lab = Lab::new();
    let (mut a, mut b) = (lab.bare_machine("a"), lab.bare_machine("b"));
    let cable = lab.link(&mut a, &mut b, LinkConfig::default());
    let (from, to) = (socket(&a), socket(&b));
    let capture = b.capture("eth0");
    from.send_to(b"once", to.local_addr().unwrap()).unwrap();
    to.recv(&mut [0; 10]).unwrap();
    let packets = capture.finish();
    let packet = packets.iter().find(|it| payload(it) == b"once").unwrap();
    cable.inject(End::B, &packet.frame).unwrap();
    assert_eq!(
        to.recv_from(&mut [0; 10]).unwrap().1,
        from.local_addr().unwrap()
    );
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_wire_joins_two_machines_and_nobody_else() {
    let lab = Lab::new();
    let (mut a, mut b) = (lab.bare_machine("a"), lab.bare_machine("b"));
    lab.wire(&mut a, &mut b);
    let (from, to) = (socket(&a), socket(&b));
    from.send_to(b"over the wire", to.local_addr().unwrap())
        .unwrap();
    let mut buffer = [0; 100];
    let (length, sender) = to.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"over the wire");
    assert_eq!(sender, from.local_addr().unwrap());
    let elsewhere = socket(&lab.machine("c"));
    // No route leads from a wire to a switch.
    let refused = from.send_to(b"out", elsewhere.local_addr().unwrap());
    assert_eq!(
        refused.unwrap_err().kind(),
        std::io::ErrorKind::NetworkUnreachable
    );
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn nothing_is_left_of_a_test_that_panics() {
    let seen = std::panic::catch_unwind(|| {
        let lab = Lab::new();
        let machine = lab.machine("m");
        // Detached from this process, as a daemon is.
        let mut shell = machine.command("sh");
        run(shell
            .args(["-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $! > \"$0\""])
            .arg(lab.directory().join("pid")));
        let pid = std::fs::read_to_string(lab.directory().join("pid")).unwrap();
        let found = (
            machine.namespace().to_owned(),
            pid.trim().to_owned(),
            lab.directory().to_owned(),
        );
        assert!(Path::new("/proc").join(&found.1).exists());
        std::panic::panic_any(found);
    });
    let seen = seen
        .unwrap_err()
        .downcast::<(String, String, std::path::PathBuf)>()
        .unwrap();
    let (namespace, pid, directory) = *seen;
    assert!(!Path::new("/run/netns").join(namespace).exists());
    assert!(!directory.exists());
    pilot_lab::wait("the process is gone", Duration::from_secs(5), || {
        !Path::new("/proc").join(&pid).exists()
    });
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn what_a_killed_laboratory_left_is_removed_by_the_next_one() {
    let mut gone = Process::spawn(&mut Command::new("true"));
    gone.wait(Duration::from_secs(5));
    let name = format!("plt{}x0m", gone.pid());
    run(Command::new("ip").args(["netns", "add", &name]));
    let _lab = Lab::new();
    assert!(!Path::new("/run/netns").join(name).exists());
}

/// What two hosts outside see of a NAT and the host behind it.
struct Seen {
    /// The ports that the host's packets to each come from.
    ports: [u16; 2],
    /// Whether a packet from a socket that it sent nothing to arrives at it.
    takes_from_strangers: bool,
}

fn through(nat: impl Fn(Ipv4Addr) -> Nat) -> Seen {
    let lab = Lab::in_network([203, 0, 113]);
    let inside = lab.add_switch_in([192, 168, 1]);
    let router = lab.nat("nat", nat([192, 168, 1, 2].into()), [&inside, lab.switch()]);
    let mut host = lab.bare_machine("host");
    host.connect(&inside);
    host.route_by(router.address());
    let outside = [lab.machine("x"), lab.machine("y")].map(|it| {
        it.route_to(&inside, router.addresses()[1]);
        (socket(&it), it)
    });
    let from = socket(&host);
    let sources = outside.each_ref().map(|(to, _)| {
        from.send_to(b"out", to.local_addr().unwrap()).unwrap();
        to.recv_from(&mut [0; 10]).unwrap().1
    });
    // One after another on one way: what comes first tells whether the stranger's came.
    let (known, machine) = &outside[1];
    let stranger = socket(machine);
    stranger.send_to(b"stranger", sources[1]).unwrap();
    known.send_to(b"known", sources[1]).unwrap();
    let takes_from_strangers = from.recv(&mut [0; 10]).unwrap() == b"stranger".len();
    let ports = sources.map(|it| it.port());
    // What was refused has left no trace that stands in the way, and what is forgotten is not.
    let mut answered = [stranger.local_addr().unwrap(), known.local_addr().unwrap()];
    router.forget_connections();
    for (socket, answered) in [&stranger, known].into_iter().zip(&mut answered) {
        from.send_to(b"now", *answered).unwrap();
        *answered = socket.recv_from(&mut [0; 10]).unwrap().1;
    }
    let kept = answered.map(|it| it.port() == ports[1]);
    assert_eq!(kept, [ports[0] == ports[1]; 2]);
    Seen {
        ports,
        takes_from_strangers,
    }
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn each_kind_of_router_maps_and_filters_as_it_says() {
    let seen = through(Nat::FullCone);
    assert!(seen.ports[0] == seen.ports[1] && seen.takes_from_strangers);
    for nat in [Nat::Cone, Nat::Firewall] {
        let seen = through(|_| nat);
        let is_same = seen.ports[0] == seen.ports[1];
        assert!(is_same && !seen.takes_from_strangers, "{nat:?}");
    }
    let seen = through(|_| Nat::Symmetric);
    assert!(seen.ports[0] != seen.ports[1] && !seen.takes_from_strangers);
}
