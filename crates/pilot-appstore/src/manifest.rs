//! `manifest.toml`: what an app is, offers and asks for (`docs/apps.md`).

use std::collections::{BTreeMap, BTreeSet};

use pilot_trust::DocumentKey;
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::bundle::FilePath;
use crate::grant::Grant;
use crate::hash::Sha256;
use crate::id::{AppId, MethodName};
use crate::limits::Limits;
use crate::schema::Schema;
use crate::target::Target;

/// Longest manifest: 64 methods with schemas of some KiB, 1,000 files of a line each.
pub(crate) const MAX_MANIFEST: usize = 512 * 1024;
/// Methods of an app.
const MAX_METHODS: usize = 64;
/// Grants that one asks for; a person reads them all.
const MAX_GRANTS: usize = 32;
/// Kinds of machines that one names.
const MAX_TARGETS: usize = 16;
/// Longest description, summary or reason, in bytes.
const MAX_WORDS: usize = 400;

/// What an app is. Holding one means that it is valid; that it is its publisher's is [`crate::SignedManifest`]'s to say.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its name everywhere.
    pub id: AppId,
    /// Which version of it.
    pub version: Version,
    /// Who signs it.
    pub publisher: DocumentKey,
    /// What it is for.
    pub description: String,
    /// An SPDX expression, as its publisher says.
    pub licence: String,
    /// The machines that it is for; none named: whatever its program runs on.
    pub targets: BTreeSet<Target>,
    /// What takes its calls where it has no program of its own.
    pub adapter: Option<AdapterKind>,
    /// The program, one of the files; with an adapter the description that it goes by.
    pub entry: FilePath,
    /// Every file of the bundle but the manifest and its signature.
    pub files: BTreeMap<FilePath, Sha256>,
    /// What can be called.
    pub methods: BTreeMap<MethodName, Method>,
    /// What it asks for.
    pub grants: Vec<Ask>,
    /// How much it may use.
    pub limits: Limits,
}

/// What an app is that has a description in the place of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// Requests to an API over HTTP (`pilot-adapter`).
    Http,
}

/// How long a method takes, as its publisher says: so that a caller knows whether to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Latency {
    /// Some milliseconds.
    Instant,
    /// Less than a second.
    Fast,
    /// Seconds or longer.
    Slow,
}

impl Latency {
    /// As a manifest has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Instant => "instant",
            Self::Fast => "fast",
            Self::Slow => "slow",
        }
    }
}

/// Something that can be called.
#[derive(Clone, Debug)]
pub struct Method {
    /// What it does.
    pub summary: String,
    /// How long that takes, where it says so.
    pub latency: Option<Latency>,
    /// What it takes.
    pub params: Schema,
    /// What it gives.
    pub result: Schema,
}

/// A grant that is asked for, and why.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// What.
    pub grant: Grant,
    /// Why, in the publisher's words.
    pub reason: String,
    /// Whether the app does without it.
    #[serde(default)]
    pub optional: bool,
}

/// Why a manifest is none: the field and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("manifest.toml: {0}")]
pub struct ManifestError(pub(crate) String);

/// A manifest as it is written. `publisher` and `files` are put there by signing.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Draft {
    pub(crate) id: AppId,
    pub(crate) version: Version,
    pub(crate) publisher: Option<String>,
    pub(crate) description: String,
    pub(crate) licence: String,
    #[serde(default)]
    pub(crate) targets: BTreeSet<Target>,
    pub(crate) adapter: Option<AdapterKind>,
    pub(crate) entry: FilePath,
    #[serde(default)]
    pub(crate) files: BTreeMap<FilePath, Sha256>,
    pub(crate) methods: BTreeMap<MethodName, DraftMethod>,
    #[serde(default)]
    pub(crate) grants: Vec<Ask>,
    #[serde(default)]
    pub(crate) limits: Limits,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DraftMethod {
    summary: String,
    latency: Option<Latency>,
    params: Value,
    result: Value,
}

impl Draft {
    /// Reads it.
    ///
    /// # Errors
    /// [`ManifestError`] with the field or line.
    pub(crate) fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() > MAX_MANIFEST {
            let words = format!("{} bytes, at most {MAX_MANIFEST} are allowed", text.len());
            return Err(ManifestError(words));
        }
        let document = toml::Deserializer::parse(text).map_err(|error| at_line(text, &error))?;
        serde_path_to_error::deserialize(document).map_err(|error| {
            let path = error.path().to_string();
            let inner = at_line(text, error.inner());
            if path == "." {
                return inner;
            }
            ManifestError(format!("field {path}: {}", inner.0))
        })
    }
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// [`ManifestError`] with the field or line, and what was expected.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let draft = Draft::parse(text)?;
        let publisher = draft.publisher.as_deref().ok_or_else(|| {
            ManifestError(
                "field publisher: missing; `pilotctl appstore sign` puts it there".to_owned(),
            )
        })?;
        let publisher = publisher
            .parse()
            .map_err(|error| ManifestError(format!("field publisher: {error}")))?;
        draft.check().map_err(ManifestError)?;
        if !draft.files.contains_key(&draft.entry) {
            return Err(ManifestError(format!(
                "field entry: {} is none of the files",
                draft.entry
            )));
        }
        Ok(Self {
            id: draft.id,
            version: draft.version,
            publisher,
            description: draft.description,
            licence: draft.licence,
            targets: draft.targets,
            adapter: draft.adapter,
            entry: draft.entry,
            files: draft.files,
            methods: compiled(draft.methods)?,
            grants: draft.grants,
            limits: draft.limits,
        })
    }

    /// What it asks for, without the reasons.
    #[must_use]
    pub fn asked(&self) -> BTreeSet<Grant> {
        self.grants.iter().map(|ask| ask.grant.clone()).collect()
    }

    /// Whether it asks for this.
    pub(crate) fn asks_for(&self, grant: &Grant) -> bool {
        self.grants.iter().any(|ask| ask.grant == *grant)
    }
}

impl Draft {
    fn check(&self) -> Result<(), String> {
        words("description", &self.description)?;
        words("licence", &self.licence)?;
        if self.methods.is_empty() || self.methods.len() > MAX_METHODS {
            return Err(format!(
                "field methods: expected 1 to {MAX_METHODS} of them"
            ));
        }
        if self.targets.len() > MAX_TARGETS {
            return Err(format!("field targets: at most {MAX_TARGETS} are allowed"));
        }
        if self.grants.len() > MAX_GRANTS {
            return Err(format!("field grants: at most {MAX_GRANTS} are allowed"));
        }
        for (place, ask) in self.grants.iter().enumerate() {
            words(&format!("grants[{place}].reason"), &ask.reason)?;
            if self.grants[..place]
                .iter()
                .any(|other| other.grant == ask.grant)
            {
                return Err(format!(
                    "field grants[{place}]: {} is there twice",
                    ask.grant
                ));
            }
        }
        self.limits.check()
    }
}

fn compiled(
    methods: BTreeMap<MethodName, DraftMethod>,
) -> Result<BTreeMap<MethodName, Method>, ManifestError> {
    let mut compiled = BTreeMap::new();
    for (name, method) in methods {
        let field = |part: &str| format!("methods.{name}.{part}");
        words(&field("summary"), &method.summary).map_err(ManifestError)?;
        let schema = |part: &str, value: Value| {
            let failed = |error| ManifestError(format!("field {}: {error}", field(part)));
            Schema::new(value).map_err(failed)
        };
        let params = schema("params", method.params)?;
        let result = schema("result", method.result)?;
        let (summary, latency) = (method.summary, method.latency);
        compiled.insert(
            name,
            Method {
                summary,
                latency,
                params,
                result,
            },
        );
    }
    Ok(compiled)
}

/// Words for people: there are some, not too many, and none of them steers a terminal.
fn words(field: &str, text: &str) -> Result<(), String> {
    if text.trim().is_empty() || text.len() > MAX_WORDS || text.contains(char::is_control) {
        return Err(format!(
            "field {field}: expected one line of 1 to {MAX_WORDS} bytes"
        ));
    }
    Ok(())
}

fn at_line(text: &str, error: &toml::de::Error) -> ManifestError {
    let message = error.message();
    ManifestError(match error.span() {
        Some(span) => {
            let before = text.get(..span.start).unwrap_or(text);
            format!("line {}: {message}", before.matches('\n').count() + 1)
        }
        None => message.to_owned(),
    })
}

#[cfg(test)]
mod tests;
