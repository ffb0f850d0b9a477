//! Hostile packets to every port.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use pilot_lab::{Capture, Captured, End, Machine, Pair, SimRng, Usage, start, wait};

use serde_json::Value;

use super::{count_in_inbox, datagram, message, perfect, pipe, setting, write_random};

/// What memory may grow by.
const GROWTH: u64 = 2 << 20;
/// Packets between two looks at whether the victim has read them: far below what its socket holds.
const BATCH: usize = 32;
const PATIENCE: Duration = Duration::from_secs(30);

/// A socket of a process, as `/proc` shows it.
#[derive(Clone, Copy, Debug)]
struct Socket {
    port: u16,
    /// Bytes that nobody has read yet.
    waiting: u64,
    /// Datagrams that found no room.
    dropped: u64,
}

/// The UDP sockets of a process' network namespace (proc_net(5)).
fn sockets(pid: u32) -> Vec<Socket> {
    let files = ["udp", "udp6"].map(|name| format!("/proc/{pid}/net/{name}"));
    let text = files.map(|file| fs::read_to_string(file).expect("a living process"));
    let lines = text.iter().flat_map(|text| text.lines().skip(1));
    let socket = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let after = |field: &str| u64::from_str_radix(field.rsplit(':').next()?, 16).ok();
        Some(Socket {
            port: after(fields[1])?.try_into().ok()?,
            waiting: after(fields[4])?,
            dropped: fields.last()?.parse().ok()?,
        })
    };
    lines.filter_map(socket).collect()
}

/// Datagrams that were read from the sockets of a process' namespace, those with a wrong checksum not among them.
fn received(pid: u32) -> u64 {
    let file = format!("/proc/{pid}/net/snmp");
    let text = fs::read_to_string(file).expect("a living process");
    let mut values = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let values = values.next_back().expect("a line of values");
    let first = values.split_whitespace().next();
    first.and_then(|it| it.parse().ok()).expect("a number")
}

/// Who is attacked: a process, its machine, and packets that were really sent to it.
struct Victim<'a> {
    machine: &'a Machine,
    pid: u32,
    real: Vec<&'a Captured>,
}

impl Victim<'_> {
    fn wait_until_read(&self) {
        wait("the packets are read", PATIENCE, || {
            sockets(self.pid).iter().all(|it| it.waiting == 0)
        });
    }

    fn dropped(&self) -> u64 {
        sockets(self.pid).iter().map(|it| it.dropped).sum()
    }

    /// Sends `count` packets to each port; gives how many that were.
    fn attack(&self, eve: &Machine, count: usize, rng: &mut SimRng) -> usize {
        let own = SocketAddr::from((eve.address(), 0));
        let socket = eve.inside(|| UdpSocket::bind(own)).expect("a socket");
        // Sockets of both families, and several of a rendezvous, share a port.
        let ports: BTreeSet<u16> = sockets(self.pid).iter().map(|it| it.port).collect();
        assert!(!ports.is_empty(), "nothing to attack");
        for port in &ports {
            for number in 0..count {
                // A third comes by the wire with its sender's own address, as from an attacker on the path.
                if rng.below(3) == 0 {
                    let frame = forged(
                        &self.real[rng.below(self.real.len() as u64) as usize].frame,
                        rng,
                    );
                    let cable = &self.machine.cables()[0];
                    cable.inject(End::A, &frame).expect("the device is up");
                } else {
                    let target = SocketAddr::from((self.machine.address(), *port));
                    // Sending fails after the kernel has told that a port is closed; the next one goes out.
                    let _ = socket.send_to(&packet(&self.real, rng), target);
                }
                if number % BATCH == 0 {
                    self.wait_until_read();
                }
            }
        }
        self.wait_until_read();
        ports.len() * count
    }
}

/// Random bytes, or a real datagram as it was, cut or changed.
fn packet(real: &[&Captured], rng: &mut SimRng) -> Vec<u8> {
    let random = |rng: &mut SimRng, size: u64| {
        let blocks = (0..size.div_ceil(32)).flat_map(|_| rng.seed());
        blocks.take(size as usize).collect::<Vec<u8>>()
    };
    let kind = rng.below(5);
    if kind == 0 {
        let size = rng.below(1472);
        return random(rng, size);
    }
    let chosen = real[rng.below(real.len() as u64) as usize];
    let mut data = datagram(chosen).expect("chosen for it").1.to_vec();
    match kind {
        1 => data.truncate(rng.below(data.len() as u64 + 1) as usize),
        2 => {
            for _ in 0..=rng.below(4) {
                let at = rng.below(data.len() as u64) as usize;
                data[at] ^= 1 + rng.below(255) as u8;
            }
        }
        // The first byte says what a packet is: real ones of every type with random contents.
        3 => {
            let first = data[0];
            let size = data.len() as u64;
            data = random(rng, size);
            data[0] = first;
        }
        _ => {}
    }
    data
}

/// A real frame as it was, or with a changed datagram and no UDP checksum, which is legal over IPv4 (RFC 768).
fn forged(frame: &[u8], rng: &mut SimRng) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if rng.below(2) == 0 && frame.len() > 42 {
        frame[40..42].fill(0);
        let at = 42 + rng.below(frame.len() as u64 - 42) as usize;
        frame[at] ^= 1 + rng.below(255) as u8;
    }
    frame
}

/// What alice and the rendezvous are really sent: handshakes, registrations, queries, streams, messages.
fn record(pair: &Pair, eve: &Machine) -> [Vec<Captured>; 2] {
    let file = |name| pair.lab.directory().join(name);
    write_random(&file("sent"), 1_000_000);
    let captures = [&pair.alice, &pair.server].map(|machine| machine.capture("eth0"));
    start(eve, "eve", &pair.rendezvous);
    pair.bob.data(&["daemon", "stop"]);
    start(&pair.bob, "bob", &pair.rendezvous);
    for _ in 0..3 {
        let files = (&*file("sent"), &*file("received"));
        pipe(&pair.bob, "alice", &pair.alice, files);
        pipe(&pair.alice, "bob", &pair.bob, files);
        assert_eq!(pair.bob.json(&["find", "nobody-of-this-name"]).1, 3);
    }
    assert_eq!(message(&pair.bob, "alice", "before"), "stored");
    captures.map(Capture::finish)
}

/// Attacks; then the victim has the memory that it had.
fn hold(victim: &Victim<'_>, eve: &Machine, count: usize, rng: &mut SimRng) {
    // What the first packets make it allocate once, it may keep.
    victim.attack(eve, count / 100, rng);
    let facts = || {
        (
            Usage::of(victim.pid),
            victim.dropped(),
            received(victim.pid),
        )
    };
    let (before, dropped, arrived) = facts();
    let sent = victim.attack(eve, count, rng);
    let (after, dropped_after, arrived_after) = facts();
    let (dropped, arrived) = (dropped_after - dropped, arrived_after - arrived);
    println!(
        "{sent} packets made of {} real ones to {}: {arrived} arrived, {dropped} found no room; {} → {} KiB, {} ticks",
        victim.real.len(),
        victim.machine.address(),
        before.resident >> 10,
        after.resident >> 10,
        after.ticks - before.ticks
    );
    assert!(arrived >= sent as u64 * 9 / 10, "the attack did not arrive");
    assert!(
        after.resident <= before.resident + GROWTH,
        "{before:?} {after:?}"
    );
}

/// Packets that an agent says it has dropped, all reasons together.
fn told(machine: &Machine) -> u64 {
    let info = machine.data(&["info"]);
    let drops = info["drops"].as_object().expect("a count for each reason");
    drops.values().filter_map(Value::as_u64).sum()
}

/// `PILOT_GARBAGE` sets the number of packets to each port.
#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn garbage_and_replayed_packets_to_every_port_harm_nobody() {
    let count = setting("PILOT_GARBAGE", 100_000);
    let pair = Pair::trusted(perfect());
    let eve = pair.lab.machine("eve");
    let [to_alice, to_server] = record(&pair, &eve);
    let mut rng = SimRng::new(7);
    let told_before = told(&pair.alice);
    for (machine, pid, packets) in [
        (&pair.alice, pair.alice_daemon.pid(), &to_alice),
        (&pair.server, pair.rendezvous.pid(), &to_server),
    ] {
        let own = machine.address().octets();
        let is_real = |it: &&Captured| {
            datagram(it).is_some_and(|(_, data)| !data.is_empty()) && it.frame[30..34] == own
        };
        let real = packets.iter().filter(is_real).collect();
        hold(&Victim { machine, pid, real }, &eve, count, &mut rng);
    }
    let (alice, bob) = (&pair.alice, &pair.bob);
    assert!(pair.alice_daemon.is_alive());
    // Real packets among the garbage may still mean something: a repeated first message may be answered.
    let dropped = told(alice) - told_before;
    println!(
        "alice tells of {dropped} drops: {}",
        alice.data(&["info"])["drops"]
    );
    assert!(dropped >= count as u64 * 9 / 10, "drops that nobody counts");
    alice.data(&["ping", "bob"]);
    bob.data(&["ping", "alice"]);
    assert_eq!(message(bob, "alice", "after"), "stored");
    let kept = ["before", "after"].map(|body| count_in_inbox(alice, body));
    assert_eq!(kept, [1, 1]);
    let newcomer = pair.lab.machine("new");
    start(&newcomer, "newcomer", &pair.rendezvous);
}
