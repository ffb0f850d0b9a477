//! Pilot's commands: the command line, what each command asks the daemon, and how the answer is shown.
//!
//! A thin client of [`pilot_api`]. It links the daemon and the rendezvous, and starts them by executing itself again, so
//! that one program suffices on a fresh machine.
//!
//! ```text
//! args → settings → command → Client ──► daemon
//!                      └────► Reply / Failure → output → exit code
//! ```

mod args;
mod commands;
mod context;
mod demo;
mod duration;
mod launch;
mod output;
mod process;
mod settings;
mod style;
mod usage;
mod wait_flag;

use std::ffi::OsString;

use clap::{CommandFactory, Parser};
use tokio::runtime::{Builder, Runtime};

use args::{Cli, Command, DaemonCommand, Global, RendezvousCommand};
use context::Context;
use output::{Output, print};
use pilot_api::ApiError;
use settings::Settings;
use usage::Refused;

/// Runs a command line, its program's name first, and gives the exit code of `docs/cli.md`.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if args.get(1).is_some_and(|word| word == pilot_appstore::WORD) {
        // Before anything starts a thread: the rules of the sandbox are laid upon the one that asks for them.
        return pilot_appstore::enter(args.drain(..).nth(2));
    }
    let args = wait_flag::joined(args);
    match Cli::try_parse_from(&args) {
        Ok(cli) => run_command(cli),
        Err(error) => not_a_command(&error, &args),
    }
}

/// The command line's description, from which its documentation is checked.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// The same whole: each command knows its full name, the options of all, and the places of its arguments.
fn built_command() -> clap::Command {
    let mut program = command();
    program.build();
    program
}

fn run_command(cli: Cli) -> u8 {
    let environment = |name: &str| std::env::var_os(name);
    let settings = Settings::new(&cli.global, &environment);
    let output = Output::new(&settings);
    let context = Context { settings, output };
    let runtime = match runtime(&cli.command) {
        Ok(runtime) => runtime,
        Err(error) => return output.finish(Err(error.into())),
    };
    let result = runtime.block_on(commands::run(&context, cli.command));
    let code = output.finish(result);
    // A read of standard input that nobody waits for any more must not keep the program.
    runtime.shutdown_background();
    code
}

/// One thread for a command, all cores for what stays and carries traffic.
fn runtime(command: &Command) -> Result<Runtime, ApiError> {
    let mut builder = if stays(command) {
        Builder::new_multi_thread()
    } else {
        Builder::new_current_thread()
    };
    builder
        .enable_all()
        .build()
        .map_err(|error| ApiError::internal(format!("cannot start: {error}")))
}

fn stays(command: &Command) -> bool {
    if let Command::Daemon(DaemonCommand::Start(args)) = command {
        return args.foreground;
    }
    matches!(command, Command::Rendezvous(RendezvousCommand::Run(_)))
}

fn not_a_command(error: &clap::Error, args: &[OsString]) -> u8 {
    let global = Global {
        json: usage::wants_json(args),
        ..Global::default()
    };
    let output = Output::new(&Settings::new(&global, &|_| None));
    match usage::refused(error) {
        Refused::Text(text) => match print(text.trim_end()) {
            Ok(()) => 0,
            Err(error) => output.unwritable(&error),
        },
        Refused::Usage(error) => output.finish(Err(error.into())),
    }
}
