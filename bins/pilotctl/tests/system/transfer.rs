//! Bulk data over a bad link.

use std::path::Path;
use std::time::Instant;

use pilot_lab::{LinkConfig, Pair, parse_link};

use super::{pipe, setting, sha256, write_random};

/// What a daemon may hold, whatever it carries.
const MEMORY: u64 = 64 << 20;

/// `PILOT_TRANSFER_MB` sets the size.
#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn pipes_and_files_over_loss_and_delay_carry_every_byte_in_bounded_memory() {
    let size: usize = setting("PILOT_TRANSFER_MB", 100);
    let bad = parse_link("delay=20ms,loss=2%").expect("a link");
    let pair = Pair::trusted([LinkConfig::default(), bad, LinkConfig::default()]);
    let file = |name| pair.lab.directory().join(name);
    let (sent, received) = (file("sent"), file("received"));
    write_random(&sent, size * 1_000_000);
    report("pipe", &pair, size, || {
        pipe(&pair.alice, "bob", &pair.bob, (&sent, &received));
    });
    assert_eq!(sha256(&sent), sha256(&received));
    let path = sent.to_str().expect("a path of ours");
    report("send-file", &pair, size, || {
        let sent = pair
            .alice
            .data(&["send-file", "bob", path, "--timeout", "280s"]);
        assert_eq!(sent["files"][0]["verified"], true);
    });
    let list = pair.bob.data(&["received"]);
    let stored = list["files"][0]["path"].as_str().expect("a path");
    assert_eq!(sha256(&sent), sha256(Path::new(stored)));
}

/// Carries, says how fast and at what price, and holds both daemons to their memory.
fn report(what: &str, pair: &Pair, size: usize, carry: impl FnOnce()) {
    let start = Instant::now();
    carry();
    let took = start.elapsed();
    let (alice, bob) = (pair.alice_daemon.usage(), pair.bob_daemon.usage());
    println!(
        "{what}: {size} MB over 20 ms and 2 % loss each way in {took:?}, {:.2} Mbit/s; peak memory {} and {} KiB",
        size as f64 * 8.0 / took.as_secs_f64(),
        alice.peak >> 10,
        bob.peak >> 10
    );
    assert!(alice.peak.max(bob.peak) <= MEMORY, "{alice:?} {bob:?}");
}
