//! The Pilot daemon: runs one agent in the foreground; once it is registered it prints one ready line.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use pilot_api::{ApiError, Envelope, ErrorCode};
use pilot_daemon::{Config, LogFormat, Ready, RelayFor};
use pilot_rendezvous::embedded::EmbeddedHome;
use pilot_types::{Hostname, Tag};
use pilot_wire::Capability;

/// The argument by which the daemon starts this program as the embedded rendezvous.
const EMBEDDED: &str = "embedded-rendezvous";

/// This program, whatever became of its file.
const SELF: &str = "/proc/self/exe";

/// Runs a Pilot agent in the foreground.
#[derive(Debug, Parser)]
#[command(name = "pilot-daemon", version)]
struct Args {
    /// The agent's directory [default: ~/.pilot]
    #[arg(long, env = "PILOT_HOME", value_name = "DIR")]
    home: Option<PathBuf>,
    /// Where the local API listens [default: HOME/pilot.sock]
    #[arg(long, env = "PILOT_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The name to claim
    #[arg(long, value_name = "NAME")]
    hostname: Option<Hostname>,
    /// pilot://KEY@host:port or host:port; may be given several times [default: the embedded one]
    #[arg(long, value_name = "URL")]
    rendezvous: Vec<String>,
    /// A relay beside the rendezvous, pilot://KEY@host:port or host:port; may be repeated
    #[arg(long, value_name = "URL")]
    relay: Vec<String>,
    /// Where to listen for UDP [default: any address and port]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where to serve health and metrics over HTTP [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    /// Show the agent's record to everybody
    #[arg(long)]
    public: bool,
    /// Approve every knock
    #[arg(long)]
    auto_approve: bool,
    /// Pass sealed packets on for agents that this one trusts [default: nobody]
    #[arg(long, value_name = "nobody|trusted")]
    relay_for: Option<RelayFor>,
    /// Words to be found by
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    tags: Vec<Tag>,
    /// What the agent can do; may be repeated
    #[arg(long = "capability", value_name = "NAME@VERSION")]
    capabilities: Vec<Capability>,
    /// How a line of the log looks
    #[arg(long, value_enum, default_value_t = LogForm::Text)]
    log_format: LogForm,
    /// The ready line and errors as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogForm {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|word| word == pilot_appstore::WORD) {
        return ExitCode::from(pilot_appstore::enter(args.next()));
    }
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == EMBEDDED)
    {
        return ended(embedded(), false);
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    let json = args.json;
    ended(agent(args), json)
}

fn agent(args: Args) -> Result<(), ApiError> {
    let json = args.json;
    let config = config(args)?;
    let run = pilot_daemon::run(config, |ready| print_ready(ready, json));
    runtime()?.block_on(run).map_err(|error| error.0)
}

fn config(args: Args) -> Result<Config, ApiError> {
    let default = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pilot"));
    let home = args.home.or_else(default);
    let home =
        home.ok_or_else(|| ApiError::invalid("no home: give --home, or set PILOT_HOME or HOME"))?;
    let standard = Config::new(home);
    Ok(Config {
        socket: args.socket.unwrap_or_else(|| standard.socket.clone()),
        hostname: args.hostname,
        rendezvous: args.rendezvous,
        relays: args.relay,
        listen: args.listen,
        metrics: args.metrics,
        public: args.public,
        auto_approve: args.auto_approve,
        relay_for: args.relay_for,
        tags: args.tags,
        capabilities: args.capabilities,
        log_format: match args.log_format {
            LogForm::Text => LogFormat::Text,
            LogForm::Json => LogFormat::Json,
        },
        rendezvous_command: Some([SELF, EMBEDDED].map(OsString::from).into()),
        app_command: Some(vec![SELF.into()]),
        ..standard
    })
}

fn embedded() -> Result<(), ApiError> {
    let home = EmbeddedHome::from_environment()
        .ok_or_else(|| ApiError::invalid("PILOT_RENDEZVOUS_HOME is not set"))?;
    let run = pilot_rendezvous::run(pilot_rendezvous::Config::embedded(&home), |_| {});
    runtime()?.block_on(run).map_err(|error| error.to_api())
}

fn runtime() -> Result<tokio::runtime::Runtime, ApiError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.map_err(|error| ApiError::internal(format!("cannot start: {error}")))
}

fn print_ready(ready: &Ready, json: bool) {
    let line = if json {
        envelope(Ok(ready))
    } else {
        let name = ready
            .agent
            .hostname
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        format!(
            "ready: {} {name} pid {} socket {}",
            ready.agent.address,
            ready.pid,
            ready.socket.display()
        )
    };
    // Whoever started it may not read; the agent runs all the same.
    let _ = writeln!(io::stdout(), "{line}");
}

fn ended(result: Result<(), ApiError>, json: bool) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    let code = error.code.exit_code();
    let _ = if json {
        writeln!(io::stdout(), "{}", envelope::<()>(Err(error)))
    } else {
        let hint = error
            .hint
            .map(|hint| format!("\n  {hint}"))
            .unwrap_or_default();
        writeln!(io::stderr(), "error: {}{hint}", error.message)
    };
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
