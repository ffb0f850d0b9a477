//! Commands that run in the background and answer by one document.

use std::process::Output;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Machine;

/// A command of `pilotctl --json` that runs; it ends with its machine if nobody waits for it.
pub struct Asked {
    words: String,
    runs: JoinHandle<(Output, Duration)>,
}

impl Machine {
    /// Starts a command with `--json`.
    #[must_use]
    pub fn ask(&self, arguments: &[&str]) -> Asked {
        let mut command = self.pilotctl(&[&["--json"], arguments].concat());
        let runs = thread::spawn(move || {
            let start = Instant::now();
            let output = command.output().expect("pilotctl starts");
            (output, start.elapsed())
        });
        let words = format!("{}: {arguments:?}", self.namespace());
        Asked { words, runs }
    }
}

impl Asked {
    /// The envelope, the exit code, and how long the program ran.
    ///
    /// # Panics
    /// If it does not answer by one document.
    #[must_use]
    pub fn answer(self) -> (Value, i32, Duration) {
        let words = self.words;
        let (output, took) = self.runs.join().expect("pilotctl starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = serde_json::from_str(&text).unwrap_or_else(|error| {
            let complaint = String::from_utf8_lossy(&output.stderr);
            panic!("{words}: {error}: {text:?} {complaint}")
        });
        let code = output.status.code().expect("it ends by itself");
        (value, code, took)
    }

    /// The data of a command that must succeed, and how long the program ran.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn data(self) -> (Value, Duration) {
        let words = self.words.clone();
        let (mut value, code, took) = self.answer();
        let is_ok = code == 0 && value["status"] == "ok";
        assert!(is_ok, "{words}: exit {code}: {value}");
        (value["data"].take(), took)
    }
}
