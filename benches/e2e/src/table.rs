//! Runs into figures, and figures into a table.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::place::Run;
use crate::setup::{Mode, Name};

/// What a column shows.
#[derive(Clone, Copy)]
struct Column {
    title: &'static str,
    /// Key in JSON.
    key: &'static str,
    digits: usize,
    figure: fn(&Run) -> f64,
}

const fn column(
    title: &'static str,
    key: &'static str,
    digits: usize,
    figure: fn(&Run) -> f64,
) -> Column {
    Column {
        title,
        key,
        digits,
        figure,
    }
}

fn mbit(run: &Run) -> f64 {
    run.done.bytes as f64 * 8.0 / 1e6 / run.done.seconds
}

fn per_second(run: &Run) -> f64 {
    run.done.count as f64 / run.done.seconds
}

fn per_gb(run: &Run, cpu: f64) -> f64 {
    cpu * 1e9 / run.done.bytes as f64
}

fn micros_each(run: &Run, cpu: f64) -> f64 {
    cpu * 1e6 / run.done.count as f64
}

/// The last two columns of every table.
const MEMORY: [Column; 2] = [
    column("client MiB", "client_peak_mib", 1, |run| {
        run.client.peak as f64 / f64::from(1 << 20)
    }),
    column("server MiB", "server_peak_mib", 1, |run| {
        run.server.peak as f64 / f64::from(1 << 20)
    }),
];

/// The columns of a mode; the first is what contestants are compared by.
fn columns(mode: Mode) -> Vec<Column> {
    let own: &[Column] = match mode {
        Mode::Bulk | Mode::Streams => &[
            column("Mbit/s", "mbit_per_second", 1, mbit),
            column("client CPU s/GB", "client_cpu_per_gb", 2, |run| {
                per_gb(run, run.client.cpu)
            }),
            column("server CPU s/GB", "server_cpu_per_gb", 2, |run| {
                per_gb(run, run.server.cpu)
            }),
        ],
        Mode::Rtt | Mode::Rtt64 => &[
            column("p50 µs", "p50_us", 1, |run| run.done.p50),
            column("p99 µs", "p99_us", 1, |run| run.done.p99),
            column("client CPU µs", "client_cpu_us", 1, |run| {
                micros_each(run, run.client.cpu)
            }),
            column("server CPU µs", "server_cpu_us", 1, |run| {
                micros_each(run, run.server.cpu)
            }),
        ],
        Mode::Requests => &[
            column("requests/s", "per_second", 0, per_second),
            column("p50 µs", "p50_us", 0, |run| run.done.p50),
            column("p99 µs", "p99_us", 0, |run| run.done.p99),
            column("client CPU µs", "client_cpu_us", 1, |run| {
                micros_each(run, run.client.cpu)
            }),
            column("server CPU µs", "server_cpu_us", 1, |run| {
                micros_each(run, run.server.cpu)
            }),
        ],
        Mode::Connect => &[
            column("p50 µs", "p50_us", 0, |run| run.done.p50),
            column("until it dials", "start_us", 0, |run| run.done.start),
            column("p99 µs", "p99_us", 0, |run| run.done.p99),
            column("client CPU µs", "client_cpu_us", 0, |run| {
                micros_each(run, run.client.cpu)
            }),
            column("server CPU µs", "server_cpu_us", 0, |run| {
                micros_each(run, run.server.cpu)
            }),
        ],
    };
    own.iter().chain(&MEMORY).copied().collect()
}

/// Whether more of the first column is better.
const fn is_more_better(mode: Mode) -> bool {
    matches!(mode, Mode::Bulk | Mode::Streams | Mode::Requests)
}

/// All runs of one mode on one link.
pub(crate) struct Table {
    link: String,
    mode: Mode,
    runs: Vec<(Name, Vec<Run>)>,
    /// Runs that came to nothing, with their words.
    failures: BTreeMap<String, usize>,
}

impl Table {
    pub(crate) fn new(link: &str, mode: Mode, names: &[Name]) -> Self {
        Self {
            link: link.into(),
            mode,
            runs: names.iter().map(|name| (*name, vec![])).collect(),
            failures: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, name: Name, run: Run) {
        let row = self.runs.iter_mut().find(|(it, _)| *it == name);
        row.expect("a table has all names").1.push(run);
    }

    pub(crate) fn fail(&mut self, name: Name, error: &str) {
        *self
            .failures
            .entry(format!("{}: {error}", word(name)))
            .or_default() += 1;
    }

    /// How many times better than `name` pilot is, by the first column.
    fn ratio(&self, name: Name) -> Option<f64> {
        let first = columns(self.mode)[0].figure;
        let figure = |name| {
            let (_, runs) = self
                .runs
                .iter()
                .find(|(it, runs)| *it == name && !runs.is_empty())?;
            Some(median(runs.iter().map(first).collect()))
        };
        let (pilot, other) = (figure(Name::Pilot)?, figure(name)?);
        Some(if is_more_better(self.mode) {
            pilot / other
        } else {
            other / pilot
        })
    }

    /// As Markdown.
    pub(crate) fn markdown(&self) -> String {
        let columns = columns(self.mode);
        let titles: Vec<_> = columns.iter().map(|column| column.title).collect();
        let mut text = format!("\n{}, {}\n\n", word(self.mode), self.link);
        let [first, rest @ ..] = &titles[..] else {
            return text;
        };
        text += &format!(
            "| | {first} | least–most | pilot is × | {} |\n",
            rest.join(" | ")
        );
        text += &format!("|---|{}\n", "--:|".repeat(titles.len() + 2));
        for (name, runs) in self.runs.iter().filter(|(_, runs)| !runs.is_empty()) {
            let cells = columns.iter().map(|column| {
                let figure = median(runs.iter().map(column.figure).collect());
                format!("{figure:.*}", column.digits)
            });
            let cells: Vec<_> = cells.collect();
            let first = runs.iter().map(columns[0].figure);
            let (least, most) = first.fold((f64::MAX, 0.0), |(least, most), it| {
                (it.min(least), it.max(most))
            });
            let digits = columns[0].digits;
            let ratio = self
                .ratio(*name)
                .map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            text += &format!(
                "| {} | {} | {least:.digits$}–{most:.digits$} | {ratio} | {} |\n",
                word(*name),
                cells[0],
                cells[1..].join(" | ")
            );
        }
        for (failure, times) in &self.failures {
            text += &format!("\nfailed {times} times: {failure}\n");
        }
        text
    }

    /// Every run's figures, and the medians.
    pub(crate) fn json(&self) -> Value {
        let columns = columns(self.mode);
        let rows = self.runs.iter().map(|(name, runs)| {
            let figures = columns.iter().map(|column| {
                let figures: Vec<_> = runs.iter().map(column.figure).collect();
                (
                    column.key.to_owned(),
                    json!({ "median": median(figures.clone()), "runs": figures }),
                )
            });
            json!({
                "name": word(*name),
                "pilot_is_better_by": self.ratio(*name),
                "figures": figures.collect::<serde_json::Map<_, _>>(),
            })
        });
        json!({
            "link": self.link,
            "mode": word(self.mode),
            "rows": rows.collect::<Vec<_>>(),
            "failures": self.failures,
        })
    }
}

/// The name as the user writes it.
pub(crate) fn word(value: impl clap::ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// The one in the middle; of an even number the mean of both.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(figures[middle - 1], figures[middle]),
        _ => figures[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::{Done, Usage};

    fn run(bytes: u64) -> Run {
        let used = Usage {
            cpu: 1.0,
            peak: 1 << 20,
        };
        let done = Done {
            seconds: 1.0,
            bytes,
            count: 10,
            p50: 1e9 / bytes as f64,
            ..Done::default()
        };
        Run {
            done,
            client: used,
            server: used,
        }
    }

    fn table(mode: Mode) -> Table {
        let mut table = Table::new("veth", mode, &[Name::Pilot, Name::Quinn]);
        for bytes in [3_000_000, 1_000_000, 2_000_000] {
            table.add(Name::Pilot, run(bytes));
            table.add(Name::Quinn, run(bytes / 2));
        }
        table
    }

    #[test]
    fn rows_show_medians_and_how_pilot_compares() {
        let text = table(Mode::Bulk).markdown();
        assert!(
            text.contains("| pilot | 16.0 | 8.0–24.0 | 1.00 | 500.00 |"),
            "{text}"
        );
        assert!(
            text.contains("| quinn | 8.0 | 4.0–12.0 | 2.00 | 1000.00 |"),
            "{text}"
        );
        // Less time is better.
        assert_eq!(table(Mode::Rtt).ratio(Name::Quinn), Some(2.0));
    }

    #[test]
    fn failures_are_told() {
        let mut table = table(Mode::Bulk);
        table.fail(Name::Quinn, "no answer");
        table.fail(Name::Quinn, "no answer");
        assert!(
            table
                .markdown()
                .contains("failed 2 times: quinn: no answer")
        );
        assert_eq!(table.json()["failures"]["quinn: no answer"], 2);
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![3.0, 1.0]), 2.0);
        assert!(median(vec![]).is_nan());
    }
}
