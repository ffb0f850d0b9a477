//! The Pilot rendezvous: serves in the foreground; once it does, it prints its URL.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pilot_api::{ApiError, Envelope, ErrorCode};
use pilot_rendezvous::{Config, Ready};

/// Runs a Pilot rendezvous in the foreground.
#[derive(Debug, Parser)]
#[command(name = "pilot-rendezvous", version)]
struct Args {
    /// Directory of key and registry [default: ~/.pilot-rendezvous]
    #[arg(long, global = true, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Where to listen for UDP; an unspecified address means all of IPv4 and IPv6
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        default_value = "0.0.0.0:9000"
    )]
    listen: SocketAddr,
    /// host:port for the URL, where agents reach it by another address
    #[arg(long, global = true, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Where to serve the status page, health and metrics over HTTP
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9080")]
    http: SocketAddr,
    /// Be a relay alone, without a registry; agents use it by --relay
    #[arg(long)]
    relay_only: bool,
    /// The ready line and errors as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the URL without starting; makes the key if there is none yet
    Url,
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    let json = args.json;
    ended(run(args), json)
}

fn run(args: Args) -> Result<(), ApiError> {
    let (json, command) = (args.json, args.command);
    let default =
        || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pilot-rendezvous"));
    let home = args.home.or_else(default);
    let home = home.ok_or_else(|| ApiError::invalid("no home: give --home, or set HOME"))?;
    let config = Config {
        listen: args.listen,
        advertise: args.advertise,
        http: Some(args.http),
        relay_only: args.relay_only,
        ..Config::new(home)
    };
    match command {
        Some(Command::Url) => {
            let url = pilot_rendezvous::url(&config).map_err(|error| error.to_api())?;
            print(&if json {
                envelope(Ok(serde_json::json!({ "url": url })))
            } else {
                url
            });
            Ok(())
        }
        None => {
            let served = pilot_rendezvous::run(config, |ready| print_ready(ready, json));
            runtime()?.block_on(served).map_err(|error| error.to_api())
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, ApiError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.map_err(|error| ApiError::internal(format!("cannot start: {error}")))
}

fn print_ready(ready: &Ready, json: bool) {
    print(&if json {
        envelope(Ok(ready))
    } else {
        ready.url.clone()
    });
}

fn print(line: &str) {
    // Whoever started it may not read; it serves all the same.
    let _ = writeln!(io::stdout(), "{line}");
}

fn ended(result: Result<(), ApiError>, json: bool) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    let code = error.code.exit_code();
    if json {
        print(&envelope::<()>(Err(error)));
    } else {
        let hint = error
            .hint
            .map(|hint| format!("\n  {hint}"))
            .unwrap_or_default();
        let _ = writeln!(io::stderr(), "error: {}{hint}", error.message);
    }
    ExitCode::from(code)
}

fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if std::env::args_os().any(|word| word == "--json") {
        let words = error.to_string();
        let words = words
            .trim_start_matches("error: ")
            .lines()
            .next()
            .unwrap_or_default();
        return ended(Err(ApiError::invalid(words)), true);
    }
    let _ = error.print();
    ExitCode::from(ErrorCode::InvalidArgument.exit_code())
}

fn envelope<T: serde::Serialize>(result: Result<T, ApiError>) -> String {
    serde_json::to_string(&Envelope::from(result)).expect("texts and numbers serialise")
}
