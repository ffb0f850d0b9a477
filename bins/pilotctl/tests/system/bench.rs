//! What the daemons measure between each other.

use pilot_lab::Pair;

use super::setting;

/// `PILOT_BENCH_MB` sets the size of each measurement, `PILOT_BENCHES` their number.
#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn a_measurement_over_a_bare_wire_counts_every_byte_in_both_directions() {
    let (size, count): (u64, usize) = (setting("PILOT_BENCH_MB", 100), setting("PILOT_BENCHES", 1));
    let pair = Pair::wired();
    let megabytes = size.to_string();
    for direction in [&[][..], &["--reverse"]] {
        for _ in 0..count {
            let command = [&["bench", "bob", &megabytes], direction].concat();
            let measured = pair.alice.data(&command);
            println!("bench {direction:?}: {}", measured["gbit_per_s"]);
            assert_eq!(measured["bytes"], size << 20);
            assert_eq!(measured["intact"], true);
            assert_eq!(measured["path"], "direct");
        }
    }
}
