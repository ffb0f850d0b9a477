//! Everything that agents do, over and over.

use std::time::{Duration, Instant};

use pilot_lab::{Daemon, Pair, start, wait};

use super::{message, perfect, pipe, setting, sha256, write_random};

/// What memory may grow by after the first half of the time.
const GROWTH: u64 = 2 << 20;
/// How long it may take to let go of what the last round needed.
const SETTLING: Duration = Duration::from_secs(20);
/// Rounds between two restarts of the other agent.
const LIFE: u32 = 20;

/// `PILOT_CHURN_SECONDS` sets for how long.
#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn an_agent_in_use_keeps_its_memory_and_leaks_nothing() {
    let length = Duration::from_secs(setting("PILOT_CHURN_SECONDS", 30));
    let mut pair = Pair::trusted(perfect());
    let files = ["sent", "received"].map(|name| pair.lab.directory().join(name));
    write_random(&files[0], 100_000);
    let began = Instant::now();
    let mut half = None;
    let mut rounds = 0;
    while began.elapsed() < length {
        rounds += 1;
        use_everything(&pair, rounds, &files);
        if rounds % LIFE == 0 {
            pair.bob_daemon.kill();
            pair.bob_daemon = start(&pair.bob, "bob", &pair.rendezvous);
            assert_eq!(
                pair.alice.data(&["ping", "bob"])["results"][0]["error"],
                serde_json::Value::Null
            );
        }
        if half.is_none() && began.elapsed() > length / 2 {
            half = Some(resting(&pair));
        }
    }
    let half = half.expect("half of the time is over");
    let end = settled(&pair, &half);
    println!("{rounds} rounds: {half:?} after half of the time, {end:?} at the end");
    assert!(
        end.within(&half),
        "{half:?} after half of the time, {end:?} at the end"
    );
}

/// One of each thing that agents do.
fn use_everything(pair: &Pair, round: u32, [sent, received]: &[std::path::PathBuf; 2]) {
    let (alice, bob) = (&pair.alice, &pair.bob);
    alice.data(&["ping", "bob"]);
    pipe(alice, "bob", bob, (sent, received));
    assert_eq!(sha256(sent), sha256(received));
    assert_eq!(message(alice, "bob", &format!("{round}, to bob")), "stored");
    assert_eq!(
        message(bob, "alice", &format!("{round}, to alice")),
        "stored"
    );
    alice.data(&["send-file", "bob", sent.to_str().expect("a path of ours")]);
    alice.data(&["publish", "bob", "churn/round", "--data", "round"]);
    alice.data(&["bench", "bob", "1"]);
    alice.data(&["lookup", "bob"]);
    bob.data(&["received", "--clear"]);
    bob.data(&["inbox", "--clear"]);
    alice.data(&["inbox", "--clear"]);
}

/// What an agent holds that has nothing to do.
#[derive(Debug)]
struct Held {
    resident: u64,
    descriptors: usize,
}

impl Held {
    fn within(&self, half: &Self) -> bool {
        self.resident <= half.resident + GROWTH && self.descriptors <= half.descriptors
    }
}

/// What it holds at the end. A connection of the last command and the stacks of threads that waited for a disk go a moment later, on a
/// busy machine some seconds; what leaks stays.
fn settled(pair: &Pair, half: &Held) -> Held {
    let began = Instant::now();
    loop {
        let held = resting(pair);
        if held.within(half) || began.elapsed() > SETTLING {
            return held;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn resting(pair: &Pair) -> Held {
    wait("no stream is open", Duration::from_secs(10), || {
        let [alice, bob] = [&pair.alice, &pair.bob].map(|it| it.data(&["connections"]));
        [alice, bob]
            .iter()
            .all(|it| it["connections"].as_array().is_some_and(Vec::is_empty))
    });
    let daemon: &Daemon = &pair.alice_daemon;
    let descriptors = format!("/proc/{}/fd", daemon.pid());
    Held {
        resident: daemon.usage().resident,
        descriptors: std::fs::read_dir(descriptors)
            .expect("its process runs")
            .count(),
    }
}
