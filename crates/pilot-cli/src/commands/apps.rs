//! Apps that are installed, or could be: asked of the daemon.

use std::io::Read;

use pilot_api::types::{
    AppAudit, AppAuditRequest, AppCaps, AppCapsRequest, AppInstalled, AppStatus, AppStatusRequest,
    AppViewed, Apps, AppsRequest, CallAppRequest, CatalogueListed, CatalogueRequest,
    FilterOnFailure, FilterRequest, FilterState, InstallAppRequest, PeerAppsRequest,
    RestartAppRequest, RollBackAppRequest, SetFilterRequest, UninstallAppRequest, ViewAppRequest,
};
use pilot_api::{ApiError, PeerRef};
use serde_json::Value;

use crate::args::{AppCommand, CallArgs, FilterCommand, InstallArgs, ViewArgs};
use crate::commands::{adapted, publisher};
use crate::context::Context;
use crate::output::{Failure, Reply};
use crate::style::{self, Style, clean, or_dash};

/// Longest arguments that are read from standard input: the daemon takes no more.
const MAX_PARAMS: u64 = 1024 * 1024;

pub(crate) async fn run(context: &Context, command: AppCommand) -> Result<Reply, Failure> {
    let style = context.output.style;
    match command {
        AppCommand::Catalogue(place) => catalogue(context, place.catalogue).await,
        AppCommand::View(args) => view(context, args).await,
        AppCommand::Install(args) => install(context, args).await,
        AppCommand::List { peer: None } => list(context).await,
        AppCommand::List { peer: Some(peer) } => list_of_peer(context, peer).await,
        AppCommand::Call(args) => call(context, args).await,
        AppCommand::Status { app } => {
            let status = context.client()?.call(&AppStatusRequest { app }).await?;
            Reply::new(&status, status_words(&status, style))
        }
        AppCommand::Caps { app } => {
            let caps = context.client()?.call(&AppCapsRequest { app }).await?;
            Reply::new(&caps, caps_words(&caps, style))
        }
        AppCommand::Restart { app } => {
            let status = context.client()?.call(&RestartAppRequest { app }).await?;
            Reply::new(&status, status_words(&status, style))
        }
        AppCommand::Rollback { app } => {
            let installed = context.client()?.call(&RollBackAppRequest { app }).await?;
            Reply::new(&installed, installed_words(&installed, style))
        }
        AppCommand::Uninstall { app, keep_data } => {
            let request = UninstallAppRequest { app, keep_data };
            let gone = context.client()?.call(&request).await?;
            let words = style.done(&format!("{} is gone", clean(&gone.id)));
            Reply::new(&gone, words)
        }
        AppCommand::Audit { app, limit } => {
            let request = AppAuditRequest { app, limit };
            let audit = context.client()?.call(&request).await?;
            Reply::new(&audit, audit_words(&audit, style))
        }
        AppCommand::Filter(command) => filter(context, command).await,
        AppCommand::New { dir, python } => publisher::new(context, &dir, python),
        AppCommand::Adapt(args) => adapted::adapt(context, &args),
        AppCommand::Secret(command) => adapted::secret(context, command).await,
        AppCommand::Sign { dir } => publisher::sign(context, &dir),
        AppCommand::Verify { dir } => publisher::verify(context, &dir),
        AppCommand::Publish(args) => publisher::publish(context, &args),
        AppCommand::Yank(args) => publisher::yank(context, &args),
        AppCommand::Key(command) => publisher::key(context, command),
    }
}

async fn catalogue(context: &Context, catalogue: Option<String>) -> Result<Reply, Failure> {
    let listed = context
        .client()?
        .call(&CatalogueRequest { catalogue })
        .await?;
    warn_stale(context, &listed.stale);
    for unusable in &listed.unusable {
        context
            .output
            .warning(&format!("warning: {}", clean(unusable)));
    }
    let words = catalogue_words(&listed, context.output.style);
    Reply::new(&listed, words)
}

/// Catalogues that are out of reach, and of when what is used of them is.
fn warn_stale(context: &Context, stale: &[String]) {
    for words in stale {
        context
            .output
            .warning(&format!("warning: {}", clean(words)));
    }
}

fn catalogue_words(listed: &CatalogueListed, style: Style) -> String {
    if listed.apps.is_empty() {
        return style.faint("no apps");
    }
    let rows: Vec<[String; 4]> = listed
        .apps
        .iter()
        .map(|app| {
            [
                clean(&app.id),
                clean(&app.version),
                or_dash(app.installed.as_deref().map(clean)),
                clean(&app.description),
            ]
        })
        .collect();
    style.table(["APP", "VERSION", "INSTALLED", "WHAT IT IS FOR"], &rows)
}

async fn view(context: &Context, args: ViewArgs) -> Result<Reply, Failure> {
    let request = ViewAppRequest {
        app: args.app,
        version: args.version,
        catalogue: args.place.catalogue,
    };
    let viewed = context.client()?.call(&request).await?;
    warn_stale(context, &viewed.stale);
    let words = viewed_words(&viewed, context.output.style);
    Reply::new(&viewed, words)
}

fn viewed_words(viewed: &AppViewed, style: Style) -> String {
    let trust = if viewed.trusted {
        "trusted"
    } else {
        "not trusted: its apps do not run here"
    };
    let mut words = style.facts(&[
        (
            "app",
            format!("{} {}", clean(&viewed.id), clean(&viewed.version)),
        ),
        ("for", clean(&viewed.description)),
        (
            "publisher",
            format!("{} ({trust})", clean(&viewed.publisher)),
        ),
        ("licence", clean(&viewed.licence)),
        ("installed", or_dash(viewed.installed.as_deref().map(clean))),
    ]);
    let methods = viewed.methods.iter();
    let rows: Vec<[String; 3]> = methods
        .map(|method| {
            let latency = or_dash(method.latency.as_deref().map(clean));
            [clean(&method.name), latency, clean(&method.summary)]
        })
        .collect();
    words.push_str(&format!(
        "\n\n{}",
        style.table(["METHOD", "LATENCY", "WHAT IT DOES"], &rows)
    ));
    words.push_str("\n\nIt asks to");
    if viewed.grants.is_empty() {
        words.push_str(" do nothing but compute.");
    }
    for grant in &viewed.grants {
        let (what, why) = (clean(&grant.words), clean(&grant.reason));
        words.push_str(&format!("\n  {what}: {why}"));
        let named = match grant.grant.as_str() {
            "read:*" => "read:/PATH".to_owned(),
            other => clean(other),
        };
        words.push_str(&style.faint(&format!(" (--grant {named})")));
        if let Some(unenforced) = &grant.unenforced {
            words.push_str(&format!("\n    not enforced here: {}", clean(unenforced)));
        }
    }
    words
}

async fn install(context: &Context, args: InstallArgs) -> Result<Reply, Failure> {
    let request = InstallAppRequest {
        app: args.app,
        version: args.version,
        catalogue: args.place.catalogue,
        yes: args.yes,
        grants: args.grant.iter().map(ToString::to_string).collect(),
        allow_unenforced: args.allow_unenforced,
        timeout_ms: context.timeout_ms(),
    };
    let installed = context.client()?.call(&request).await?;
    warn_stale(context, &installed.stale);
    let words = installed_words(&installed, context.output.style);
    Reply::new(&installed, words)
}

fn installed_words(installed: &AppInstalled, style: Style) -> String {
    let granted = if installed.grants.is_empty() {
        "it may do nothing but compute".to_owned()
    } else {
        format!("it was granted {}", clean(&installed.grants.join(", ")))
    };
    let (id, version) = (clean(&installed.id), clean(&installed.version));
    let mut words = style.done(&format!("{id} {version} is installed; {granted}"));
    if let Some(problem) = &installed.problem {
        words.push_str(&format!("\n  it does not start: {}", clean(problem)));
    }
    words
}

async fn list(context: &Context) -> Result<Reply, Failure> {
    let apps = context.client()?.call(&AppsRequest {}).await?;
    let words = list_words(&apps, context.output.style);
    Reply::new(&apps, words)
}

fn list_words(apps: &Apps, style: Style) -> String {
    if apps.apps.is_empty() {
        return style.faint("no apps are installed");
    }
    let rows: Vec<[String; 4]> = apps
        .apps
        .iter()
        .map(|app| {
            let last = match &app.reason {
                Some(reason) => clean(reason),
                None => clean(&app.methods.join(" ")),
            };
            [clean(&app.id), clean(&app.version), clean(&app.state), last]
        })
        .collect();
    style.table(["APP", "VERSION", "STATE", "METHODS"], &rows)
}

async fn list_of_peer(context: &Context, peer: PeerRef) -> Result<Reply, Failure> {
    let request = PeerAppsRequest {
        peer,
        timeout_ms: context.timeout_ms(),
    };
    let apps = context.client()?.call(&request).await?;
    if apps.apps.is_empty() {
        let words = "none of the apps that you may call is installed there";
        return Reply::new(&apps, context.output.style.faint(words));
    }
    let rows: Vec<[String; 3]> = apps
        .apps
        .iter()
        .map(|app| {
            let methods = clean(&app.methods.join(" "));
            [clean(&app.id), clean(&app.version), methods]
        })
        .collect();
    let words = context
        .output
        .style
        .table(["APP", "VERSION", "METHODS"], &rows);
    Reply::new(&apps, words)
}

async fn filter(context: &Context, command: FilterCommand) -> Result<Reply, Failure> {
    let client = context.client()?;
    let state = match command {
        FilterCommand::Set(args) => {
            let request = SetFilterRequest {
                app: Some(args.app),
                stages: args.stages,
                on_failure: args.on_failure,
            };
            client.call(&request).await?
        }
        FilterCommand::Clear => client.call(&SetFilterRequest::default()).await?,
        FilterCommand::Status => client.call(&FilterRequest {}).await?,
    };
    Reply::new(&state, filter_words(&state, context.output.style))
}

fn filter_words(state: &FilterState, style: Style) -> String {
    let Some(app) = &state.app else {
        return style.faint("no app is asked about what comes and goes");
    };
    let stages: Vec<_> = state.stages.iter().map(|stage| stage.name()).collect();
    let on_failure = match state.on_failure {
        FilterOnFailure::Block => "block",
        FilterOnFailure::Flag => "flag",
        FilterOnFailure::Pass => "pass",
    };
    let counts = &state.counts;
    style.facts(&[
        ("app", clean(app)),
        ("asked about", stages.join(", ")),
        ("when it fails", on_failure.to_owned()),
        ("passed", counts.passed.to_string()),
        ("flagged", counts.flagged.to_string()),
        ("blocked", counts.blocked.to_string()),
        ("failed", counts.failed.to_string()),
        (
            "last failure",
            or_dash(counts.last_failure.as_deref().map(clean)),
        ),
    ])
}

/// The method's own result is the whole answer.
async fn call(context: &Context, args: CallArgs) -> Result<Reply, Failure> {
    let text = match args.params.as_str() {
        "-" => from_input()?,
        text => text.to_owned(),
    };
    let params: Value = serde_json::from_str(&text)
        .map_err(|error| ApiError::invalid(format!("the arguments are no JSON: {error}")))?;
    let (peer, app) = of_whom(&args.app)?;
    let request = CallAppRequest {
        app,
        peer,
        method: args.method,
        params,
        timeout_ms: context.timeout_ms(),
    };
    let called = context.client()?.call(&request).await?;
    if let Some(filter) = &called.filter {
        let words = format!(
            "flagged by {}: {}",
            clean(&filter.app),
            clean(&filter.reason)
        );
        context.output.warning(&words);
    }
    let words = match called.result.as_str() {
        Some(text) => style::clean_lines(text),
        None => style::clean_lines(&format!("{:#}", called.result)),
    };
    Reply::new(&called.result, words)
}

/// `PEER/APP`: no app's name has a slash in it.
fn of_whom(named: &str) -> Result<(Option<PeerRef>, String), ApiError> {
    let Some((peer, app)) = named.rsplit_once('/') else {
        return Ok((None, named.to_owned()));
    };
    let peer = peer.parse();
    let peer = peer.map_err(|error| ApiError::invalid(format!("{error}")))?;
    Ok((Some(peer), app.to_owned()))
}

fn from_input() -> Result<String, ApiError> {
    let mut text = String::new();
    let input = std::io::stdin().lock();
    input
        .take(MAX_PARAMS + 1)
        .read_to_string(&mut text)
        .map_err(|error| ApiError::invalid(format!("cannot read standard input: {error}")))?;
    Ok(text)
}

fn status_words(status: &AppStatus, style: Style) -> String {
    let app = &status.app;
    let mut facts = vec![
        ("app", format!("{} {}", clean(&app.id), clean(&app.version))),
        ("state", clean(&app.state)),
        ("before", or_dash(status.previous.as_deref().map(clean))),
        ("pid", or_dash(status.pid)),
        ("uptime", or_dash(status.uptime_secs.map(style::uptime))),
        ("calls", status.calls.to_string()),
        ("starts", status.starts.to_string()),
        ("failures", status.failures.to_string()),
        ("last end", or_dash(status.last_end.as_deref().map(clean))),
    ];
    if let Some(reason) = &app.reason {
        facts.push(("refused", clean(reason)));
    }
    style.facts(&facts)
}

fn caps_words(caps: &AppCaps, style: Style) -> String {
    let grants = caps.grants.iter();
    let granted: Vec<[String; 3]> = grants
        .map(|held| {
            let granted = if held.granted { "yes" } else { "no" };
            [
                clean(&held.grant),
                granted.to_owned(),
                clean(&held.enforced_by),
            ]
        })
        .collect();
    let always = caps.always.iter();
    let always: Vec<[String; 2]> = always
        .map(|held| [clean(&held.rule), clean(&held.enforced_by)])
        .collect();
    let always = style.table(["ALWAYS", "ENFORCED BY"], &always);
    if granted.is_empty() {
        return always;
    }
    let granted = style.table(["GRANT", "GRANTED", "ENFORCED BY"], &granted);
    format!("{granted}\n\n{always}")
}

fn audit_words(audit: &AppAudit, style: Style) -> String {
    if audit.entries.is_empty() {
        return style.faint("nothing was asked");
    }
    let rows: Vec<[String; 5]> = audit
        .entries
        .iter()
        .map(|entry| {
            let what = entry.method.as_ref().or(entry.target.as_ref());
            let what = what.unwrap_or(&entry.event);
            let outcome = match &entry.reason {
                Some(reason) => format!("{}: {}", clean(&entry.outcome), clean(reason)),
                None => clean(&entry.outcome),
            };
            [
                entry.at.to_string(),
                clean(&entry.app),
                clean(what),
                clean(&entry.caller),
                outcome,
            ]
        })
        .collect();
    style.table(["AT", "APP", "WHAT", "WHO", "OUTCOME"], &rows)
}
