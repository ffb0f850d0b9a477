//! Pilot's command line: see `docs/cli.md`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(pilot_cli::run(std::env::args_os()))
}
