//! Agents that only a relay joins.

use std::time::Duration;

use pilot_lab::{LinkConfig, run, setting};
use pilot_wire::RelayFrame;

use super::load::{Count, Load};
use super::sites::{Behind, Internet, befriend_all};

/// What a rendezvous may hold that carries two agents' data: what waits to be sent on (`docs/nat.md` §4), and itself.
const MEMORY: u64 = 64 << 20;

/// `PILOT_BENCH_MB` sets the size of each measurement.
#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_measurement_over_the_relay_counts_every_byte_in_bounded_memory() {
    let megabytes: u64 = setting("PILOT_BENCH_MB", 100);
    let internet = Internet::new(None);
    let mut sites = ["alice", "bob"].map(|name| internet.site(name, Behind::Symmetric, None));
    for site in &sites {
        site.machine.data(&["config", "--set", "auto_approve=true"]);
    }
    let [alice, bob] = &mut sites;
    internet.start(&mut [alice, bob]);
    let [alice, bob] = &sites;
    befriend_all(&[(alice, bob)]);
    let ping = alice.machine.data(&["ping", "bob"]);
    assert_eq!(ping["results"][0]["path"], "relay");
    let size = megabytes.to_string();
    for direction in [&[][..], &["--reverse"]] {
        let before = internet.rendezvous().usage();
        let command = [&["bench", "bob", &size, "--timeout", "120s"], direction].concat();
        let measured = alice.machine.data(&command);
        let after = internet.rendezvous().usage();
        println!(
            "bench by relay {direction:?}: {} Gbit/s, the rendezvous busy for {} ms, {} KiB at most",
            measured["gbit_per_s"],
            (after.ticks - before.ticks) * 10,
            after.peak >> 10
        );
        assert_eq!(measured["bytes"], megabytes << 20);
        assert_eq!(measured["intact"], true);
        assert_eq!(measured["path"], "relay");
        assert!(after.peak <= MEMORY, "{after:?}");
    }
}

/// The rendezvous is 60 ms away, the relay is near: a relayed path goes by the relay, and by the rendezvous when that is killed.
#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_relay_of_its_own_carries_what_it_is_nearer_for() {
    let internet = Internet::new(Some(LinkConfig::delay(Duration::from_millis(30))));
    let machine = internet.lab.machine("relay");
    let relay = machine.relay();
    let mut sites = ["alice", "bob"].map(|name| internet.site(name, Behind::Symmetric, None));
    for site in &sites {
        site.machine
            .data(&["config", "--set", &format!("relays={}", relay.url)]);
        site.machine.data(&["config", "--set", "auto_approve=true"]);
    }
    let [alice, bob] = &mut sites;
    internet.start(&mut [alice, bob]);
    let [alice, bob] = &sites;
    befriend_all(&[(alice, bob)]);
    let info = alice.machine.data(&["info"]);
    println!("relays: {}", info["relays"]);
    assert_eq!(info["relays"][0]["state"], "connected");
    let by = || {
        let ping = alice.machine.data(&["ping", "bob"]);
        assert_eq!(ping["results"][0]["path"], "relay", "{ping}");
        let explained = alice.machine.data(&["explain", "bob"]);
        let by = explained["relay"].as_str().unwrap_or_default().to_owned();
        (by, ping["results"][0]["rtt_ms"].as_f64())
    };
    let (near, rtt) = by();
    println!("by {near}: {rtt:?} ms");
    assert!(near.starts_with(&machine.address().to_string()), "{near}");
    relay.kill();
    let (far, rtt) = by();
    println!("after it was killed by {far}: {rtt:?} ms");
    assert!(
        far.starts_with(&internet.server.address().to_string()),
        "{far}"
    );
}

/// Two symmetric NATs, a rendezvous that is gone, and a third agent that both trust and that relays for those it trusts.
#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_trusted_agent_relays_where_no_rendezvous_answers() {
    let mut internet = Internet::new(None);
    let mut sites = [
        internet.site("alice", Behind::Symmetric, None),
        internet.site("bob", Behind::Symmetric, None),
        internet.site("middle", Behind::Nothing, None),
    ];
    for site in &sites {
        site.machine.data(&["config", "--set", "auto_approve=true"]);
    }
    sites[2]
        .machine
        .data(&["config", "--set", "relay_for=trusted"]);
    internet.start(&mut sites.iter_mut().collect::<Vec<_>>());
    let [alice, bob, middle] = &sites;
    befriend_all(&[(alice, middle), (bob, middle)]);
    // Relays that both know by then are asked when a path is made.
    alice.machine.data(&["ping", "middle"]);
    bob.machine.data(&["ping", "middle"]);
    befriend_all(&[(alice, bob)]);
    alice.machine.data(&["ping", "bob"]);
    internet.rendezvous.take().expect("it runs").kill();
    let ping = alice.machine.data(&["ping", "bob", "--timeout", "20s"]);
    println!("without a rendezvous: {}", ping["results"][0]);
    assert_eq!(ping["results"][0]["path"], "relay", "{ping}");
    let explained = alice.machine.data(&["explain", "bob"]);
    let by = explained["relay"].as_str().unwrap_or_default();
    assert!(
        by.starts_with(&middle.machine.address().to_string()),
        "{explained}"
    );
    let relay = &middle.machine.data(&["info"])["relay"];
    println!("the agent between: {relay}");
    assert!(relay["datagrams"].as_u64() > Some(0), "{relay}");
    // And back.
    let ping = bob.machine.data(&["ping", "alice"]);
    assert_eq!(ping["results"][0]["path"], "relay", "{ping}");
}

/// A network that lets UDP go to the rendezvous and nowhere else: its agents reach everybody, and are reached, by the relay.
#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn where_udp_to_others_is_blocked_the_relay_carries_all() {
    let internet = Internet::new(None);
    let mut sites = [
        internet.site("walled", Behind::Cone, None),
        internet.site("open", Behind::Nothing, None),
        internet.site("home", Behind::Cone, None),
    ];
    sites[0].routers[0].pass_udp_to(internet.server.address());
    for site in &sites {
        site.machine.data(&["config", "--set", "auto_approve=true"]);
    }
    internet.start(&mut sites.iter_mut().collect::<Vec<_>>());
    let [walled, open, home] = &sites;
    befriend_all(&[(walled, open), (home, walled)]);
    for (from, to) in [
        (walled, open),
        (open, walled),
        (walled, home),
        (home, walled),
    ] {
        let ping = from.machine.data(&["ping", &to.name]);
        println!("{} to {}: {}", from.name, to.name, ping["results"][0]);
        assert_eq!(ping["results"][0]["path"], "relay", "{ping}");
        let explained = from.machine.data(&["explain", &to.name]);
        assert_eq!(explained["chosen"], "relay", "{explained}");
        assert!(explained["next_step"].is_string(), "{explained}");
    }
}

/// Pairs of 15 agents: 100 of them.
fn hundred_pairs() -> Vec<(usize, usize)> {
    let pairs = (0..15).flat_map(|from| (from + 1..15).map(move |to| (from, to)));
    pairs.take(100).collect()
}

/// The machine's thread that this runs on was busy for so long.
fn own_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        used.tv_sec.unsigned_abs(),
        u32::try_from(used.tv_nsec).expect("less than a second"),
    )
}

/// `PILOT_RELAY_SECONDS` sets how long. One packet of each pair at a time, and eight, of 64 bytes before the relay's head.
#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn small_packets_of_a_hundred_pairs_pass_the_relay() {
    let seconds = setting("PILOT_RELAY_SECONDS", 3);
    let internet = Internet::new(None);
    let clients = internet.lab.machine("clients");
    let url = internet.rendezvous().url.clone();
    let rendezvous = internet.rendezvous();
    clients.inside(|| {
        let mut load = Load::new(&url, 15);
        let channels = load.channels(&hundred_pairs());
        for burst in [1, 8] {
            let (before, own) = (rendezvous.usage(), own_time());
            let time = Duration::from_secs(seconds);
            let counts = load.blast(&channels, (64 + RelayFrame::HEAD, burst), None, time);
            let (after, own) = (rendezvous.usage(), own_time() - own);
            let total = |of: fn(&Count) -> u64| counts.iter().map(of).sum::<u64>();
            let (sent, received) = (total(|it| it.sent), total(|it| it.received));
            println!(
                "relay, 100 pairs, {burst} packet(s) of 64 bytes at a time: {} of {} packets/s pass, the rendezvous busy for {} ms of {seconds} s, the generator for {} ms",
                received / seconds,
                sent / seconds,
                (after.ticks - before.ticks) * 10,
                own.as_millis()
            );
            assert!(received > 0 && received <= sent);
            assert!(after.peak <= MEMORY, "{after:?}");
        }
    });
}

/// Packets a second of one who floods the relay: 28 times what the nine pairs send together.
const FLOOD: u64 = 500_000;

/// Nine pairs send 2,000 packets a second each; then a tenth sends 500,000, in its own channel, in ones that there are not, and in
/// somebody else's.
#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn who_floods_the_relay_takes_nothing_from_the_others() {
    let internet = Internet::new(None);
    let clients = internet.lab.machine("clients");
    let flooder = internet.lab.machine("flooder");
    let url = internet.rendezvous().url.clone();
    let time = Duration::from_secs(3);
    let size = 64 + RelayFrame::HEAD;
    let pairs: Vec<(usize, usize)> = (0..9).map(|pair| (pair, pair + 9)).collect();
    let share = |counts: &[Count]| {
        let sent: u64 = counts.iter().map(|it| it.sent).sum();
        let received: u64 = counts.iter().map(|it| it.received).sum();
        assert!(sent > 0);
        received as f64 / sent as f64
    };
    let (url, share) = (&url, &share);
    let mut load = clients.inside(|| Load::new(url, 18));
    let channels = clients.inside(|| load.channels(&pairs));
    let alone = share(&load.blast(&channels, (size, 1), Some(18_000), time));
    println!("relay, nine pairs alone: {:.1} % pass", alone * 100.0);
    let mut enemy = flooder.inside(|| Load::numbered(url, 101..=102));
    let own = flooder.inside(|| enemy.channels(&[(0, 1)]))[0];
    let mut shares = vec![];
    for (what, channel) in [
        ("its own channel", own),
        ("channels that there are not", own.forged()),
        ("another agent's channel", channels[0].stolen_by(0)),
    ] {
        let (beside, flood) = std::thread::scope(|scope| {
            let flood = scope.spawn(|| enemy.blast(&[channel], (size, 32), Some(FLOOD), time));
            let counts = load.blast(&channels, (size, 1), Some(18_000), time);
            let flood = flood.join().expect("a flood ends");
            (share(&counts), flood[channel.from].sent / time.as_secs())
        });
        println!(
            "relay, nine pairs beside {flood} packets/s in {what}: {:.1} % pass",
            beside * 100.0
        );
        let mut metrics = internet.server.command("curl");
        metrics.args(["--silent", "http://127.0.0.1:9080/metrics"]);
        let metrics = String::from_utf8_lossy(&run(&mut metrics).stdout).into_owned();
        for line in metrics
            .lines()
            .filter(|line| line.starts_with("pilot_drops_total{"))
        {
            println!("  {line}");
        }
        shares.push(beside);
    }
    let least = alone * 0.9;
    assert!(
        shares.iter().all(|share| *share >= least),
        "{shares:?} of {alone}"
    );
}
