//! How much of a link transfers use, in virtual time: a table for loss, round trip, rate and queue, compared with a
//! committed one, and how flows share a link.
//!
//! `PILOT_TABLE=write cargo test --release -p pilot-transport --test throughput -- --ignored` makes the table anew.

#![allow(clippy::print_stdout, reason = "the shares are the output of a run")]

mod bottleneck;

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use bottleneck::{Bottleneck, Network};
use pilot_transport::Congestion::{self, Bbr, Cubic};

/// How much worse than the committed table a transfer may be.
const TOLERANCE: f64 = 0.9;
/// Too small a share to be compared.
const NOISE: f64 = 0.02;

/// One row: a link, and which percentage of it each controller used.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Row {
    /// Packets of a thousand, each way.
    loss: u32,
    rtt_ms: u64,
    mbit: u64,
    /// Bandwidth-delay products.
    buffer: f64,
    cubic: f64,
    bbr: f64,
}

impl Row {
    fn measure(loss: u32, rtt_ms: u64, mbit: u64, buffer: f64) -> Self {
        let link = Bottleneck::new(rtt_ms, mbit, buffer, loss);
        Self {
            loss,
            rtt_ms,
            mbit,
            buffer,
            cubic: share(link, Cubic),
            bbr: share(link, Bbr),
        }
    }

    fn again(&self) -> Self {
        Self::measure(self.loss, self.rtt_ms, self.mbit, self.buffer)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace().map(|word| word.parse::<f64>().ok());
        let mut next = || words.next().flatten();
        Some(Self {
            loss: (next()? * 10.0).round() as u32,
            rtt_ms: next()? as u64,
            mbit: next()? as u64,
            buffer: next()?,
            cubic: next()? / 100.0,
            bbr: next()? / 100.0,
        })
    }

    fn print(&self) -> String {
        format!(
            "{:>6.1} {:>6} {:>7} {:>7} {:>7.1} {:>7.1}",
            f64::from(self.loss) / 10.0,
            self.rtt_ms,
            self.mbit,
            self.buffer,
            self.cubic * 100.0,
            self.bbr * 100.0
        )
    }
}

/// What a flow delivers, of the rate of the link: over ten seconds, a look at the round trip among them, after it found
/// its rate.
fn share(link: Bottleneck, congestion: Congestion) -> f64 {
    const MEASURED: Duration = Duration::from_secs(10);
    let mut network = Network::new(link, 1);
    network.add(congestion, Duration::ZERO);
    network.run(Duration::from_secs(1) + link.rtt * 15);
    let received = network.run(MEASURED)[0];
    received as f64 / MEASURED.as_secs_f64() / link.rate as f64
}

/// Shares of two flows, the second of which comes five seconds later, from the fifteenth second to the 45th.
fn shares(link: Bottleneck, flows: [Congestion; 2]) -> [f64; 2] {
    const MEASURED: Duration = Duration::from_secs(30);
    let mut network = Network::new(link, 3);
    network.add(flows[0], Duration::ZERO);
    network.add(flows[1], Duration::from_secs(5));
    network.run(Duration::from_secs(15));
    let received = network.run(MEASURED);
    let share = |flow: usize| received[flow] as f64 / MEASURED.as_secs_f64() / link.rate as f64;
    println!("{flows:?}: {:.3} and {:.3} of {link:?}", share(0), share(1));
    [share(0), share(1)]
}

fn table_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/throughput/table.txt")
}

fn table() -> Vec<Row> {
    let text = std::fs::read_to_string(table_path()).expect("the committed table");
    text.lines().filter_map(Row::parse).collect()
}

/// Measures the rows that `wanted` chooses again.
fn compare(wanted: impl Fn(&Row) -> bool) {
    let rows: Vec<Row> = table().into_iter().filter(wanted).collect();
    assert!(!rows.is_empty());
    for before in rows {
        let now = before.again();
        let holds = |now: f64, before: f64| now >= before * TOLERANCE || before < NOISE;
        assert!(
            holds(now.bbr, before.bbr) && holds(now.cubic, before.cubic),
            "\nbefore {}\nnow    {}",
            before.print(),
            now.print()
        );
    }
}

#[test]
fn a_slow_link_is_used_as_well_as_before() {
    compare(|row| row.mbit == 10 && row.buffer == 0.25);
}

#[test]
fn a_fast_link_is_used_as_well_as_before() {
    compare(|row| row.mbit == 100 && row.buffer == 1.0 && row.rtt_ms <= 40);
}

#[test]
fn a_fast_and_long_link_is_used_as_well_as_before() {
    compare(|row| row.mbit == 100 && row.buffer == 1.0 && row.rtt_ms > 40);
}

#[test]
#[ignore = "takes minutes without optimisation; PILOT_TABLE=write makes the table anew"]
fn the_whole_table() {
    if std::env::var("PILOT_TABLE").is_ok_and(|value| value == "write") {
        let mut text = String::from(
            "# Percentage of a link that one flow delivers to the application: ten seconds of virtual time.\n\
             # loss %, each way; round trip without a queue; queue in products of rate and round trip\n\
             #\n# loss rtt/ms  Mbit/s   queue   cubic     bbr\n",
        );
        for loss in [0, 1, 10, 20, 50] {
            for rtt_ms in [2, 40, 100, 200] {
                for mbit in [10, 100, 200] {
                    for buffer in [0.25, 1.0, 4.0] {
                        let row = Row::measure(loss, rtt_ms, mbit, buffer);
                        writeln!(text, "{}", row.print()).unwrap();
                    }
                }
            }
        }
        std::fs::write(table_path(), text).unwrap();
    }
    compare(|_| true);
}

#[test]
fn random_loss_leaves_most_of_a_link() {
    for (link, least) in [
        (Bottleneck::new(40, 100, 1.0, 20), 0.8),
        (Bottleneck::new(50, 200, 1.0, 10), 0.8),
        (Bottleneck::new(100, 100, 1.0, 1), 0.9),
        (Bottleneck::new(200, 50, 1.0, 30), 0.75),
    ] {
        let share = share(link, Bbr);
        assert!(share >= least, "{share:.3} of {link:?}");
    }
}

/// Rates and round trips with a short, a usual and a long queue.
fn shared_links() -> [Bottleneck; 4] {
    [
        Bottleneck::new(40, 50, 0.25, 0),
        Bottleneck::new(40, 50, 1.0, 0),
        Bottleneck::new(10, 50, 1.0, 0),
        Bottleneck::new(10, 20, 4.0, 0),
    ]
}

#[test]
fn two_flows_share_a_link() {
    for link in shared_links() {
        let [first, second] = shares(link, [Bbr, Bbr]);
        let ratio = first.max(second) / first.min(second);
        assert!(ratio <= 2.0, "{first:.3} and {second:.3} of {link:?}");
        assert!(
            first + second > 0.93,
            "{first:.3} and {second:.3} of {link:?}"
        );
    }
}

#[test]
fn neither_bbr_nor_cubic_starves_beside_the_other() {
    for link in shared_links() {
        for flows in [[Bbr, Cubic], [Cubic, Bbr]] {
            let [first, second] = shares(link, flows);
            let least = first.min(second);
            assert!(
                least > 0.15,
                "{first:.3} and {second:.3} of {link:?} for {flows:?}"
            );
        }
    }
}
