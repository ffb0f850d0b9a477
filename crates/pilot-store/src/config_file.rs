//! `config.json`: what the owner wants of the daemon. Flags and environment go before it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use pilot_types::{Address, Hostname, Tag};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::atomic;

/// Why the configuration cannot be loaded or saved. The file was left as it is.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: check its permissions", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no JSON object, or a field is not what it should be.
    #[error("{}: {words}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// The field or place, and what was expected.
        words: String,
    },
    /// It could not be written.
    #[error("cannot write {}: check that its directory may be written and has space left", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The configuration file's content. Every field may be missing.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FileConfig {
    /// `rendezvous`: URLs, tried in order; empty for the embedded one.
    pub rendezvous: Vec<String>,
    /// `hostname`: the name to claim.
    pub hostname: Option<Hostname>,
    /// `tags`: what to be found by.
    pub tags: Vec<Tag>,
    /// `capabilities`: what it says that it can do, `NAME@VERSION` or an object each.
    pub capabilities: Vec<Value>,
    /// `public`: whether everybody may see the agent.
    pub public: bool,
    /// `auto_approve`: whether every knock is approved.
    pub auto_approve: bool,
    /// `listen`: UDP address to bind.
    pub listen: Option<String>,
    /// `port_mapping`: whether a router is asked to hold the UDP port open; if unset, it is.
    pub port_mapping: Option<bool>,
    /// `relay_for`: for whom the agent is a relay; if unset, for nobody.
    pub relay_for: Option<RelayFor>,
    /// `files_from`: which trusted agents may send files; if unset, all.
    pub files_from: Option<FilesFrom>,
    /// `files_max_size`: bytes of the largest file that is taken.
    pub files_max_size: Option<u64>,
    /// `files_quota`: bytes of all files that came and are kept.
    pub files_quota: Option<u64>,
    /// `files_names`: patterns of names that are taken, with `*` and `?`; if empty, all.
    pub files_names: Vec<String>,
    /// `inbox_keep_days`: days after which a message is removed; if unset, none is.
    pub inbox_keep_days: Option<u32>,
    /// `webhook_url`: where notices are posted.
    pub webhook_url: Option<String>,
    /// `webhook_secret`: what signs them.
    pub webhook_secret: Option<String>,
    /// `webhook_kinds`: kinds that are posted; if empty, all but events.
    pub webhook_kinds: Vec<String>,
    /// `relays`: URLs of relays that are no registries.
    pub relays: Vec<String>,
    /// `metrics`: TCP address of the metrics.
    pub metrics: Option<String>,
    /// `catalogues`: where apps are looked for, in order.
    pub catalogues: Vec<String>,
    /// Keys that this version does not know, kept as they are.
    pub other: Map<String, Value>,
}

/// For whom an agent passes sealed packets on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayFor {
    /// Nobody.
    #[default]
    Nobody,
    /// Agents that it trusts.
    Trusted,
}

impl RelayFor {
    /// As the file and commands name it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Trusted => "trusted",
        }
    }
}

impl FromStr for RelayFor {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "nobody" => Ok(Self::Nobody),
            "trusted" => Ok(Self::Trusted),
            other => Err(format!("expected nobody or trusted, found {other:?}")),
        }
    }
}

/// Which of the trusted agents may send files.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(try_from = "Value")]
pub enum FilesFrom {
    /// All of them.
    #[default]
    Trusted,
    /// These; none, if there is none.
    Agents(Vec<Address>),
}

impl FilesFrom {
    /// Whether this agent may.
    #[must_use]
    pub fn allows(&self, agent: Address) -> bool {
        match self {
            Self::Trusted => true,
            Self::Agents(agents) => agents.contains(&agent),
        }
    }

    /// As the file has it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Self::Trusted => "trusted".into(),
            Self::Agents(agents) if agents.is_empty() => "nobody".into(),
            Self::Agents(agents) => agents.iter().map(ToString::to_string).collect(),
        }
    }
}

impl FromStr for FilesFrom {
    type Err = String;

    /// `trusted`, `nobody`, or addresses with commas between them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "trusted" => Ok(Self::Trusted),
            "nobody" => Ok(Self::Agents(vec![])),
            addresses => Self::from_addresses(addresses.split(',')),
        }
    }
}

impl FilesFrom {
    fn from_addresses<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                format!("expected trusted, nobody or addresses of agents, found {text:?}")
            })
        };
        texts.map(parse).collect::<Result<_, _>>().map(Self::Agents)
    }
}

impl TryFrom<Value> for FilesFrom {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        match &value {
            Value::String(text) => text.parse(),
            Value::Array(items) => {
                Self::from_addresses(items.iter().map(|item| item.as_str().unwrap_or_default()))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                Err(format!("expected trusted, nobody or a list, found {value}"))
            }
        }
    }
}

impl FileConfig {
    /// From JSON text.
    ///
    /// # Errors
    /// Words that name the field or place and what was expected.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let mut fields: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| format!("expected a JSON object: {error}"))?;
        Ok(Self {
            rendezvous: take(&mut fields, "rendezvous", "a list of URLs")?,
            hostname: take(&mut fields, "hostname", "a hostname or null")?,
            tags: take(&mut fields, "tags", "a list of tags")?,
            capabilities: take(&mut fields, "capabilities", "a list of capabilities")?,
            public: take(&mut fields, "public", "true or false")?,
            auto_approve: take(&mut fields, "auto_approve", "true or false")?,
            listen: take(&mut fields, "listen", "an address or null")?,
            port_mapping: take(&mut fields, "port_mapping", "true or false")?,
            relays: take(&mut fields, "relays", "a list of URLs")?,
            relay_for: take(&mut fields, "relay_for", "nobody or trusted")?,
            files_from: take(
                &mut fields,
                "files_from",
                "trusted, nobody or a list of addresses",
            )?,
            files_max_size: take(&mut fields, "files_max_size", "a number of bytes")?,
            files_quota: take(&mut fields, "files_quota", "a number of bytes")?,
            files_names: take(&mut fields, "files_names", "a list of patterns")?,
            inbox_keep_days: take(&mut fields, "inbox_keep_days", "a number of days")?,
            webhook_url: take(&mut fields, "webhook_url", "a URL or null")?,
            webhook_secret: take(&mut fields, "webhook_secret", "a string or null")?,
            webhook_kinds: take(&mut fields, "webhook_kinds", "a list of kinds")?,
            metrics: take(&mut fields, "metrics", "an address or null")?,
            catalogues: take(&mut fields, "catalogues", "a list of URLs")?,
            other: fields,
        })
    }

    /// As a JSON object; unset fields are left out.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut fields = self.other.clone();
        let mut put = |name: &str, value: Option<Value>| match value {
            Some(value) => drop(fields.insert(name.to_owned(), value)),
            None => drop(fields.remove(name)),
        };
        let strings = |texts: Vec<&str>| (!texts.is_empty()).then(|| texts.into());
        let rendezvous = self.rendezvous.iter().map(String::as_str).collect();
        put("rendezvous", strings(rendezvous));
        let catalogues = self.catalogues.iter().map(String::as_str).collect();
        put("catalogues", strings(catalogues));
        put("webhook_url", self.webhook_url.as_deref().map(Value::from));
        put(
            "webhook_secret",
            self.webhook_secret.as_deref().map(Value::from),
        );
        let kinds = self.webhook_kinds.iter().map(String::as_str).collect();
        put("webhook_kinds", strings(kinds));
        let relays = self.relays.iter().map(String::as_str).collect();
        put("relays", strings(relays));
        put("tags", strings(self.tags.iter().map(Tag::as_str).collect()));
        put(
            "capabilities",
            (!self.capabilities.is_empty()).then(|| self.capabilities.clone().into()),
        );
        put(
            "hostname",
            self.hostname.as_ref().map(|h| h.as_str().into()),
        );
        put("public", self.public.then_some(true.into()));
        put("auto_approve", self.auto_approve.then_some(true.into()));
        put("listen", self.listen.as_deref().map(Value::from));
        put("port_mapping", self.port_mapping.map(Value::from));
        put("relay_for", self.relay_for.map(|it| it.word().into()));
        put(
            "files_from",
            self.files_from.as_ref().map(FilesFrom::to_value),
        );
        put("files_max_size", self.files_max_size.map(Value::from));
        put("files_quota", self.files_quota.map(Value::from));
        put("inbox_keep_days", self.inbox_keep_days.map(Value::from));
        let names = self.files_names.iter().map(String::as_str).collect();
        put("files_names", strings(names));
        put("metrics", self.metrics.as_deref().map(Value::from));
        Value::Object(fields)
    }

    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => {
                return Err(ConfigError::Read {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        Self::from_json(&text).map_err(|words| ConfigError::Invalid {
            path: path.to_owned(),
            words,
        })
    }

    pub(crate) fn save(&self, path: &Path) -> Result<(), ConfigError> {
        let text = format!("{:#}\n", self.to_value());
        atomic::replace(path, text.as_bytes()).map_err(|source| ConfigError::Write {
            path: path.to_owned(),
            source,
        })
    }
}

fn take<T: DeserializeOwned + Default>(
    fields: &mut Map<String, Value>,
    name: &str,
    expected: &str,
) -> Result<T, String> {
    match fields.remove(name) {
        None => Ok(T::default()),
        Some(value) => serde_json::from_value(value)
            .map_err(|error| format!("field {name}: expected {expected}: {error}")),
    }
}
