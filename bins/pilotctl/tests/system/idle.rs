//! Agents that were used and rest.

use std::thread::sleep;
use std::time::Duration;

use pilot_lab::{Captured, Pair, Usage, wait};

use super::{datagram, message, perfect, pipe, write_random};

/// How long rest is watched, and what it may cost: one keep-alive in 20 s, and its answer, between each two of the three.
const WATCH: Duration = Duration::from_secs(10);
const TICKS: u64 = 2;
/// A machine that is stopped in the middle of a wake-up counts ticks that nobody used. What does work at rest does so in each watch.
const WATCHES: usize = 3;
const PACKETS: usize = 3 * 2;
/// A keep-alive or its acknowledgement: header, tag, a frame or two, padding.
const SMALL: usize = 100;

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn agents_at_rest_use_no_processor_and_send_keep_alives_only() {
    let pair = Pair::trusted(perfect());
    let file = |name| pair.lab.directory().join(name);
    write_random(&file("sent"), 1_000_000);
    pipe(
        &pair.alice,
        "bob",
        &pair.bob,
        (&file("sent"), &file("received")),
    );
    assert_eq!(message(&pair.bob, "alice", "good night"), "stored");
    pair.alice.data(&["ping", "bob"]);
    let pids = [
        pair.alice_daemon.pid(),
        pair.bob_daemon.pid(),
        pair.rendezvous.pid(),
    ];
    let ticks = || pids.map(|pid| Usage::of(pid).ticks);
    // What use has begun (acknowledgements, writes to disk) comes to its end.
    let mut last = ticks();
    wait("a second without work", Duration::from_secs(20), || {
        sleep(Duration::from_secs(1));
        let now = ticks();
        std::mem::replace(&mut last, now) == now
    });

    let mut used = Vec::new();
    while used.len() < WATCHES && !used.last().is_some_and(is_rest) {
        used.push(watched(&pair, ticks));
    }
    assert!(
        used.last().is_some_and(is_rest),
        "ticks of alice, bob, the rendezvous: {used:?}"
    );
}

fn is_rest(used: &[u64; 3]) -> bool {
    used.iter().all(|it| *it <= TICKS)
}

/// What the three use in one watch, in which they send no more than they should.
fn watched(pair: &Pair, ticks: impl Fn() -> [u64; 3]) -> [u64; 3] {
    let machines = [&pair.alice, &pair.bob, &pair.server];
    let captures = machines.map(|machine| machine.capture("eth0"));
    let before = ticks();
    sleep(WATCH);
    let after = ticks();
    let used = [0, 1, 2].map(|it| after[it] - before[it]);
    for (capture, name) in captures.into_iter().zip(["alice", "bob", "the rendezvous"]) {
        let packets: Vec<Captured> = capture.finish();
        let sizes: Vec<_> = packets
            .iter()
            .filter_map(datagram)
            .map(|(_, it)| it.len())
            .collect();
        println!("{name}: {used:?} ticks of 10 ms, datagrams {sizes:?} in {WATCH:?}");
        assert!(
            sizes.len() <= PACKETS && sizes.iter().all(|it| *it <= SMALL),
            "{name}: {sizes:?}"
        );
    }
    used
}
