//! Apps: what a catalogue has, what is installed, and calls.

use pilot_types::UnixTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::filter::Filtered;
use super::{field, schema};
use crate::peer_ref::PeerRef;

/// `POST /v1/apps/catalogue`: what the catalogues have.
///
/// Of each app the newest version that is not withdrawn, from the first catalogue that has it.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueRequest {
    /// Look here, `file:///DIR`, `https://HOST/…` or `pilot://PEER`, and not where the configuration says.
    #[serde(default)]
    pub catalogue: Option<String>,
}

/// What the catalogues have.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct CatalogueListed {
    /// By their ids.
    pub apps: Vec<CatalogueApp>,
    /// Catalogues that could not be read, and why.
    pub unusable: Vec<String>,
    /// Catalogues that are out of reach, each with why and of when what is used of it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<String>,
}

/// An app of a catalogue.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct CatalogueApp {
    /// Its id.
    pub id: String,
    /// Its newest version.
    pub version: String,
    /// Its publisher's public key in hex.
    pub publisher: String,
    /// What it is for, in its publisher's words.
    pub description: String,
    /// The version that is installed, if any is.
    pub installed: Option<String>,
    /// Whether apps of this publisher may run here.
    pub trusted: bool,
}

/// `POST /v1/apps/view`: what an app of a catalogue offers and asks for.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewAppRequest {
    /// Its id, or the last part of it where that is unambiguous.
    pub app: String,
    /// Which version; the newest by default.
    #[serde(default)]
    pub version: Option<String>,
    /// Look here, and not where the configuration says.
    #[serde(default)]
    pub catalogue: Option<String>,
}

/// What an app is.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct AppViewed {
    /// Its id.
    pub id: String,
    /// Which version.
    pub version: String,
    /// Its publisher's public key in hex.
    pub publisher: String,
    /// Eight groups of hex digits for people to compare.
    pub fingerprint: String,
    /// Whether apps of this publisher may run here.
    pub trusted: bool,
    /// What it is for.
    pub description: String,
    /// Its licence, as its publisher says.
    pub licence: String,
    /// What can be called.
    pub methods: Vec<AppMethod>,
    /// What it asks for.
    pub grants: Vec<AskedGrant>,
    /// How much it may use, by the names of the manifest's fields.
    pub limits: Value,
    /// The version that is installed, if any is.
    pub installed: Option<String>,
    /// Catalogues that are out of reach, each with why and of when what is used of it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<String>,
}

/// A method of an app.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct AppMethod {
    /// Its name, with the app's short name before it.
    pub name: String,
    /// What it does.
    pub summary: String,
    /// How long that takes, as its publisher says: `instant`, `fast` (less than a second) or `slow`.
    #[serde(default)]
    pub latency: Option<String>,
    /// The JSON Schema of its arguments.
    pub params: Value,
    /// The JSON Schema of its result.
    pub result: Value,
}

/// A right that an app asks for.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct AskedGrant {
    /// As `grants` of an installation has it.
    pub grant: String,
    /// What it means.
    pub words: String,
    /// Why, as the publisher says.
    pub reason: String,
    /// What about it this machine cannot enforce.
    pub unenforced: Option<String>,
}

/// `POST /v1/apps/install`: install an app of a catalogue, or upgrade to it.
///
/// All that it asks for has to be granted; what was granted to an earlier version still is. An app that asks for many hosts or ports
/// (`net:*:443`) gets those that are named in `grants` instead, if any are. The installed version again with more `grants` adds them.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstallAppRequest {
    /// Its id, or the last part of it where that is unambiguous.
    pub app: String,
    /// Which version; the newest by default.
    #[serde(default)]
    pub version: Option<String>,
    /// Look here, and not where the configuration says.
    #[serde(default)]
    pub catalogue: Option<String>,
    /// Grant all that it asks for.
    #[serde(default)]
    pub yes: bool,
    /// Grant these.
    #[serde(default)]
    pub grants: Vec<String>,
    /// Install it although this machine cannot enforce all of it.
    #[serde(default)]
    pub allow_unenforced: bool,
    /// The deadline in milliseconds: none for 30 s, zero for without end.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// An app that is installed.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct AppInstalled {
    /// Its id.
    pub id: String,
    /// The version that is installed now.
    pub version: String,
    /// The one before, to which `rollback` goes back.
    pub previous: Option<String>,
    /// Its publisher's public key in hex.
    pub publisher: String,
    /// What it was granted.
    pub grants: Vec<String>,
    /// Why it does not run: it is started once when it is installed.
    #[serde(default)]
    pub problem: Option<String>,
    /// Catalogues that are out of reach, each with why and of when what is used of it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<String>,
}

/// `POST /v1/apps/rollback`: go back to the version before.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollBackAppRequest {
    /// Its id, or the last part of it where that is unambiguous.
    pub app: String,
}

/// `POST /v1/apps/uninstall`: remove an app and what it keeps.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UninstallAppRequest {
    /// Its id, or the last part of it where that is unambiguous.
    pub app: String,
    /// Leave what it keeps.
    #[serde(default)]
    pub keep_data: bool,
}

/// An app that is gone.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct AppUninstalled {
    /// Its id.
    pub id: String,
    /// Whether what it keeps was left.
    pub data_kept: bool,
}

/// `GET /v1/apps`: installed apps.
#[derive(Clone, Copy, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppsRequest {}

/// Installed apps.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Apps {
    /// By their ids.
    pub apps: Vec<AppSummary>,
}

/// An installed app in short.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct AppSummary {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// `stopped`, `running`, `suspended` after failures, or `refused`: it may not run, `reason` says why.
    pub state: String,
    /// What can be called.
    pub methods: Vec<String>,
    /// Why it may not run.
    pub reason: Option<String>,
}

/// `POST /v1/apps/peer`: apps of another agent that its owner lets this one call.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerAppsRequest {
    /// The agent.
    pub peer: PeerRef,
    /// The deadline in milliseconds: none for 30 s, zero for without end.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// Apps of another agent.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct PeerApps {
    /// By their ids.
    pub apps: Vec<PeerApp>,
}

/// An app of another agent.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct PeerApp {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// What can be called.
    pub methods: Vec<String>,
}

/// `POST /v1/apps/status`: how an app stands.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppStatusRequest {
    /// Its id, or the last part of it where that is unambiguous.
    pub app: String,
}

/// `POST /v1/apps/restart`: end an app's process, and let one that was suspended start again at its next call.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartAppRequest {
    /// Its id, or the last part of it where that is unambiguous.
    pub app: String,
}

/// How an app stands.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct AppStatus {
    /// In short.
    #[serde(flatten)]
    pub app: AppSummary,
    /// The version before, to which `rollback` goes back.
    pub previous: Option<String>,
    /// Its process.
    pub pid: Option<u32>,
    /// For how long that runs.
    pub uptime_secs: Option<u64>,
    /// Calls that it answered since the daemon started.
    pub calls: u64,
    /// How often it was started since then.
    pub starts: u64,
    /// Failures in a row.
    pub failures: u32,
    /// Why its process ended last.
    pub last_end: Option<String>,
}

/// `POST /v1/apps/caps`: what an app may do, and what holds it to that.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppCapsRequest {
    /// Its id, or the last part of it where that is unambiguous.
    pub app: String,
}

/// What an app may do.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct AppCaps {
    /// Its id.
    pub id: String,
    /// What it was granted.
    pub grants: Vec<GrantHeld>,
    /// What it is held to without any grant.
    pub always: Vec<RuleHeld>,
}

/// A grant, and what holds an app to it.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct GrantHeld {
    /// The grant.
    pub grant: String,
    /// What it means.
    pub words: String,
    /// Why it was asked for.
    pub reason: String,
    /// Whether it was granted.
    pub granted: bool,
    /// What holds the app to it.
    pub enforced_by: String,
}

/// A rule for every app.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct RuleHeld {
    /// The rule.
    pub rule: String,
    /// What holds the app to it.
    pub enforced_by: String,
}

/// `POST /v1/apps/call`: call a method of an app.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallAppRequest {
    /// Its id, or the last part of it where that is unambiguous.
    pub app: String,
    /// The agent whose app it is; none for this one.
    #[serde(default)]
    pub peer: Option<PeerRef>,
    /// The method, with or without the app's short name and a dot before it. `help` lists them all.
    pub method: String,
    /// The arguments, at most 1 MiB of JSON; `{}` by default.
    #[serde(default = "no_params")]
    pub params: Value,
    /// The deadline in milliseconds: none for 30 s, zero for without end; the app's own limit holds beside it.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

fn no_params() -> Value {
    Value::Object(serde_json::Map::new())
}

/// What a method gave.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct AppCalled {
    /// Its result, as the method's schema describes it.
    pub result: Value,
    /// What the owner's filter found in the arguments or the result, where it did not just let them pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filtered>,
}

/// `POST /v1/apps/audit`: what apps were asked, and what became of it.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppAuditRequest {
    /// Of this app alone.
    #[serde(default)]
    pub app: Option<String>,
    /// At most so many, the newest; none for 100.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// What apps were asked.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct AppAudit {
    /// The newest last.
    pub entries: Vec<AuditedEvent>,
}

/// One entry of the audit log.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct AuditedEvent {
    /// When it ended.
    #[serde(with = "field::rfc3339")]
    #[schemars(with = "schema::TimeText")]
    pub at: UnixTime,
    /// Which app.
    pub app: String,
    /// Which version of it.
    pub version: Option<String>,
    /// `call`, `connect` (by the app), `stop` (of its process), `install`, `rollback`, `restart`, `uninstall`, or `filter`: what it found as
    /// the owner's filter at the stage `target`, and that it was set.
    pub event: String,
    /// Who asked for it: `owner`, `daemon`, `app`, or another agent's address.
    pub caller: String,
    /// The AgentId of that agent, in hex.
    #[serde(default)]
    pub agent: Option<String>,
    /// What was called.
    pub method: Option<String>,
    /// SHA-256 of the arguments, in hex.
    pub params_sha256: Option<String>,
    /// Where the app wanted to connect to, as a grant for it is written.
    #[serde(default)]
    pub target: Option<String>,
    /// `ok`, or in one word what went wrong.
    pub outcome: String,
    /// The same in words.
    pub reason: Option<String>,
    /// How long it took.
    pub duration_ms: Option<u64>,
}
