//! Real daemons on machines of their own: network namespaces on one switch, MTU 1500. Needs root and `ip`.
//!
//! `PILOTCTL` names the program; `pilot-rendezvous` is expected beside it.

#![allow(clippy::print_stdout, reason = "the figures of a run are its output")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pilot_lab::{Daemon, Lab, Machine, run, wait};
use serde_json::Value;

fn is_mutual(machine: &Machine) -> bool {
    machine.data(&["trust"])["trusted"]
        .as_array()
        .is_some_and(|peers| peers.iter().any(|peer| peer["mutual"] == true))
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn two_agents_on_two_machines() {
    let lab = Lab::new();
    let [server, alice, bob, eve] = ["r", "a", "b", "e"].map(|name| lab.machine(name));
    let rendezvous = server.rendezvous();
    let alice_daemon = start(&alice, "alice", &rendezvous.url);
    let bob_daemon = start(&bob, "bob", &rendezvous.url);
    start(&eve, "eve", &rendezvous.url);

    approve_and_ping(&alice, &bob);
    let is_trusted = alice.data(&["trust"]);
    assert_eq!(is_trusted["trusted"][0]["hostname"], "bob", "{is_trusted}");
    strangers_cannot_tell(&eve);
    pipe(&lab, &alice, &bob);
    restart((&alice, alice_daemon), (&bob, bob_daemon), &rendezvous.url);
}

fn start(machine: &Machine, name: &str, url: &str) -> Daemon {
    machine.daemon(&["--hostname", name, "--rendezvous", url])
}

/// Knock, pending, approve, first ping: each within the time that a person does not notice.
fn approve_and_ping(alice: &Machine, bob: &Machine) {
    let limit = Duration::from_secs(5);
    let sent = alice.data(&["handshake", "bob", "let us talk"]);
    assert_eq!(
        (&sent["status"], &sent["node_id"]),
        (&Value::from("sent"), &Value::Null)
    );
    let pending = wait("pending", limit, || {
        bob.data(&["pending"])["pending"]
            .as_array()
            .is_some_and(|knocks| knocks.len() == 1)
    });
    let knock = bob.data(&["pending"])["pending"][0].take();
    assert_eq!(knock["justification"], "let us talk");

    bob.data(&["approve", knock["address"].as_str().expect("an address")]);
    let approved = wait("approved", limit, || is_mutual(alice) && is_mutual(bob));
    let start = Instant::now();
    let ping = alice.data(&["ping", "bob"]);
    let first = start.elapsed();
    assert!(ping["results"][0]["rtt_ms"].is_number(), "{ping}");
    println!(
        "pending after {pending:?}, trust after {approved:?}, first ping answered after {first:?}"
    );
}

/// A private agent and none are the same to a stranger: in code, words and time.
fn strangers_cannot_tell(eve: &Machine) {
    for command in [vec!["ping"], vec!["connect"], vec!["lookup"], vec!["find"]] {
        let ask = |name: &str| {
            let (mut answer, code) = eve.json(&[&command[..], &[name]].concat());
            answer["message"] = answer["message"]
                .as_str()
                .unwrap_or_default()
                .replace(name, "NAME")
                .into();
            answer["hint"] = answer["hint"]
                .as_str()
                .unwrap_or_default()
                .replace(name, "NAME")
                .into();
            (answer, code)
        };
        let (private, nobody) = (ask("bob"), ask("nob"));
        assert_eq!(private, nobody, "{command:?}");
        assert_eq!(private.1, 3, "{command:?}: {private:?}");
    }
    let (mut private, mut nobody) = (vec![], vec![]);
    for _ in 0..200 {
        for (name, times) in [("bob", &mut private), ("nob", &mut nobody)] {
            let start = Instant::now();
            assert_eq!(eve.json(&["lookup", name]).1, 3);
            times.push(start.elapsed());
        }
    }
    let (private, nobody) = (median(&mut private), median(&mut nobody));
    println!(
        "200 alternated lookups by a stranger, medians: private agent {private:?}, no agent {nobody:?}"
    );
    let allowed = Duration::from_millis(2).max(private.max(nobody) / 10);
    assert!(
        private.abs_diff(nobody) <= allowed,
        "a stranger can tell by the time: {private:?} and {nobody:?}"
    );
}

/// 20 MB through `connect` into `recv`, and an answer's end back.
fn pipe(lab: &Lab, alice: &Machine, bob: &Machine) {
    let (sent, received) = (
        lab.directory().join("sent"),
        lab.directory().join("received"),
    );
    let mut state = 1_u64;
    let bytes: Vec<u8> = (0..20_000_000)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    fs::File::create(&sent)
        .and_then(|mut file| file.write_all(&bytes))
        .expect("the file is written");
    let mut receiver = bob
        .pilotctl(&["recv", "1000", "--count", "1", "--timeout", "60s"])
        .stdout(fs::File::create(&received).expect("a file"))
        .spawn()
        .expect("recv starts");
    let start = Instant::now();
    let mut sender = alice.pilotctl(&["connect", "bob"]);
    sender.stdin(fs::File::open(&sent).expect("the file"));
    run(&mut sender);
    let status = receiver.wait().expect("recv ends");
    let took = start.elapsed();
    assert!(status.success(), "recv: {status}");
    let digest = |path: &Path| run(Command::new("sha256sum").arg(path)).stdout[..64].to_vec();
    assert_eq!(digest(&sent), digest(&received));
    println!("20 MB piped in {took:?}, equal SHA-256");
}

/// SIGTERM and start again: address, name and trust stay, and both sides reach each other.
fn restart((alice, daemon): (&Machine, Daemon), (bob, bob_daemon): (&Machine, Daemon), url: &str) {
    let before = daemon.ready.clone();
    daemon.terminate();
    let after = start(alice, "alice", url).ready;
    assert_eq!(
        (&after["address"], &after["hostname"]),
        (&before["address"], &before["hostname"])
    );
    assert!(is_mutual(alice));
    bob.data(&["ping", "alice"]);
    alice.data(&["ping", "bob"]);
    bob_daemon.terminate();
    start(bob, "bob", url);
    alice.data(&["ping", "bob"]);
    bob.data(&["ping", "alice"]);
}
