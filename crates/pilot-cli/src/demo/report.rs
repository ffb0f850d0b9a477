//! What the demo tells: each command with its outcome as it goes, the figures at the end.

use std::path::Path;
use std::time::{Duration, Instant};

use pilot_api::ApiError;
use serde::Serialize;

use crate::output::{Output, to_json};
use crate::style;

/// The demo's course so far.
pub(super) struct Report {
    output: Output,
    started: Instant,
    steps: Vec<Step>,
    figures: Vec<Figure>,
}

#[derive(Serialize)]
struct Step {
    who: String,
    command: String,
    outcome: String,
    ms: u128,
}

#[derive(Serialize)]
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
}

#[derive(Serialize)]
struct Data<'a> {
    steps: &'a [Step],
    figures: &'a [Figure],
    total_ms: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<&'a Path>,
}

impl Report {
    pub(super) fn new(output: Output) -> Self {
        Self {
            output,
            started: Instant::now(),
            steps: vec![],
            figures: vec![],
        }
    }

    /// A command is about to run.
    pub(super) fn command(&self, who: &str, command: &str) {
        let style = self.output.style;
        let prompt = style.faint(&format!("{who}$"));
        self.output
            .line(&format!("{prompt} {}", style.bold(command)));
    }

    /// It did what it should.
    pub(super) fn outcome(&mut self, who: &str, command: &str, outcome: &str, took: Duration) {
        let style = self.output.style;
        let time = style.faint(&style::millis(took.as_secs_f64() * 1000.0));
        let words = format!("{} · {time}", style::clean(outcome));
        self.output.line(&format!("  {}", style.done(&words)));
        self.steps.push(Step {
            who: who.to_owned(),
            command: command.to_owned(),
            outcome: outcome.to_owned(),
            ms: took.as_millis(),
        });
    }

    /// A figure for the table at the end.
    pub(super) fn figure(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.figures.push(Figure { name, value, unit });
    }

    pub(super) fn time(&mut self, name: &'static str, took: Duration) {
        self.figure(name, took.as_secs_f64() * 1000.0, "ms");
    }

    /// The demo failed: what the programs logged last may tell why.
    pub(super) fn failed(&self, log_ends: &str) {
        self.output.note(&style::clean_lines(log_ends));
    }

    pub(super) fn to_json(&self, kept: Option<&Path>) -> Result<String, ApiError> {
        to_json(&Data {
            steps: &self.steps,
            figures: &self.figures,
            total_ms: self.started.elapsed().as_millis(),
            kept,
        })
    }

    pub(super) fn table(&self) -> String {
        let style = self.output.style;
        let rows: Vec<[String; 2]> = self
            .figures
            .iter()
            .map(|figure| [figure.name.to_owned(), shown(figure.value, figure.unit)])
            .collect();
        let total = format!(
            "all {} steps in {:.1}s",
            self.steps.len(),
            self.started.elapsed().as_secs_f64()
        );
        format!(
            "\n{}\n\n{}",
            style.table(["FIGURE", "VALUE"], &rows),
            style.done(&total)
        )
    }
}

/// Three digits that mean something.
fn shown(value: f64, unit: &str) -> String {
    if value < 1.0 {
        format!("{value:.3} {unit}")
    } else if value < 10.0 {
        format!("{value:.2} {unit}")
    } else if value < 100.0 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}
