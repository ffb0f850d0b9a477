//! Agents that only a relay joins.

use pilot_lab::setting;

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
