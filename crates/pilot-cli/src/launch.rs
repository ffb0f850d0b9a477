//! The daemon and the rendezvous, run in this very program.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use pilot_api::ApiError;
use pilot_api::types::Started;
use pilot_daemon::{Config, LogFormat};

use crate::args::{LogForm, RendezvousRunArgs, StartArgs};
use crate::commands::embedded_home;
use crate::context::Context;
use crate::output::{Failure, Reply, print, to_json};
use crate::style::Style;

/// This program, whatever became of its file.
pub(crate) const SELF: &str = "/proc/self/exe";

/// Where a daemon in the background logs.
pub(crate) fn log_path(home: &Path) -> PathBuf {
    home.join("daemon.log")
}

/// The arguments by which a daemon in the background is this program in the foreground.
pub(crate) fn foreground_args(home: &Path, socket: &Path, start: &StartArgs) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["--json".into(), "--home".into(), home.into()];
    args.extend(["--socket".into(), socket.into()]);
    args.extend(["daemon", "start", "--foreground", "--detached"].map(OsString::from));
    args.extend(start_flags(start));
    args
}

/// The token as the command that starts a daemon hands it on: arguments are everybody's to read.
pub(crate) const TOKEN_VARIABLE: &str = "PILOT_GROUP_TOKEN";

fn token_of_environment() -> Option<String> {
    let token = std::env::var(TOKEN_VARIABLE).ok();
    token.filter(|token| !token.is_empty())
}

/// The flags that say the same again, but for the token.
pub(crate) fn start_flags(start: &StartArgs) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec![];
    let mut option = |name: &str, value: String| args.extend([name.into(), value.into()]);
    if let Some(name) = &start.hostname {
        option("--hostname", name.to_string());
    }
    for url in &start.rendezvous {
        option("--rendezvous", url.clone());
    }
    for url in &start.relay {
        option("--relay", url.clone());
    }
    if let Some(address) = start.listen {
        option("--listen", address.to_string());
    }
    if let Some(address) = start.metrics {
        option("--metrics", address.to_string());
    }
    if let Some(relay_for) = start.relay_for {
        option("--relay-for", relay_for.word().to_owned());
    }
    if let Some(group) = &start.group {
        option("--group", group.0.to_string());
    }
    for tag in &start.tags {
        option("--tags", tag.to_string());
    }
    for capability in &start.capabilities {
        option("--capability", capability.to_string());
    }
    match start.log_format {
        Some(LogForm::Json) => option("--log-format", "json".to_owned()),
        Some(LogForm::Text) => option("--log-format", "text".to_owned()),
        None => {}
    }
    if start.public {
        args.push("--public".into());
    }
    if start.auto_approve {
        args.push("--auto-approve".into());
    }
    args
}

/// Runs the daemon until it is told to end.
pub(crate) async fn foreground(context: &Context, args: &StartArgs) -> Result<Reply, Failure> {
    let home = context.settings.home()?;
    let config = Config {
        socket: context.settings.socket()?,
        hostname: args.hostname.clone(),
        rendezvous: args.rendezvous.clone(),
        relays: args.relay.clone(),
        listen: args.listen,
        metrics: args.metrics,
        public: args.public,
        auto_approve: args.auto_approve,
        relay_for: args.relay_for,
        tags: args.tags.clone(),
        capabilities: args.capabilities.clone(),
        group: args.group.as_ref().map(|group| group.0.clone()),
        group_token: args.token.clone().or_else(token_of_environment),
        log_format: match args.log_format {
            Some(LogForm::Json) => LogFormat::Json,
            Some(LogForm::Text) | None => LogFormat::Text,
        },
        log_file: args.detached.then(|| log_path(&home)),
        rendezvous_command: Some([SELF, "rendezvous", "run"].map(OsString::from).into()),
        app_command: Some(vec![SELF.into()]),
        ..Config::new(home)
    };
    if args.detached {
        leave_terminal();
    }
    pilot_daemon::run(config, |started| is_ready(context, started))
        .await
        .map_err(|error| error.0)?;
    Ok(Reply::Written)
}

/// Its starter's end and its terminal's are none of its own.
fn leave_terminal() {
    if let Err(error) = rustix::process::setsid() {
        tracing::debug!(%error, "no session of its own");
    }
}

/// The ready line: exactly one, then nothing more.
fn is_ready(context: &Context, started: &Started) {
    warn_if_alone(context, started);
    let line = if context.settings.json {
        to_json(started).map(|data| format!(r#"{{"status":"ok","data":{data}}}"#))
    } else {
        Ok(started_words(started, context.output.style))
    };
    // The daemon runs on if nobody reads the line.
    if let Ok(line) = line {
        drop(print(&line));
    }
}

/// What is said of a daemon that is ready, on one line.
pub(crate) fn started_words(started: &Started, style: Style) -> String {
    let name = started
        .agent
        .hostname
        .as_ref()
        .map_or_else(String::new, |name| format!("{name} "));
    style.done(&format!(
        "{name}{} is ready · pid {} · {}",
        started.agent.address,
        started.pid,
        style.faint(&started.socket.display().to_string())
    ))
}

/// A daemon that was registered before starts without a rendezvous too.
pub(crate) fn warn_if_alone(context: &Context, started: &Started) {
    if started.rendezvous.iter().any(|r| r.state == "connected") {
        return;
    }
    let urls: Vec<&str> = started.rendezvous.iter().map(|r| r.url.as_str()).collect();
    context.output.warning(&format!(
        "warning: no rendezvous answers yet ({}); agents that are trusted are reached all the same",
        urls.join(", ")
    ));
}

/// Runs a rendezvous until it is told to end: the embedded one, or one in a directory of its own.
pub(crate) async fn rendezvous(
    context: &Context,
    args: RendezvousRunArgs,
) -> Result<Reply, Failure> {
    let config = match args.dir {
        None => pilot_rendezvous::Config::embedded(&embedded_home()?),
        Some(dir) => {
            let standard = pilot_rendezvous::Config::new(dir);
            pilot_rendezvous::Config {
                listen: args.listen.unwrap_or(standard.listen),
                http: None,
                ..standard
            }
        }
    };
    let json = context.settings.json;
    let ready = |ready: &pilot_rendezvous::Ready| {
        let line = if json {
            to_json(ready).map(|data| format!(r#"{{"status":"ok","data":{data}}}"#))
        } else {
            Ok::<_, ApiError>(ready.url.clone())
        };
        // The rendezvous runs on if nobody reads the line.
        if let Ok(line) = line {
            drop(print(&line));
        }
    };
    pilot_rendezvous::run(config, ready)
        .await
        .map_err(|error| error.to_api())?;
    Ok(Reply::Written)
}
