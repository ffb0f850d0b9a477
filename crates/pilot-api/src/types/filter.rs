//! The owner's filter: an app that is asked about what comes and goes.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a filter may be asked about.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum FilterStage {
    /// Messages that come.
    Inbox,
    /// Messages and events that go.
    Outbox,
    /// Events that come.
    Events,
    /// Arguments of calls of apps, before the app sees them.
    Arguments,
    /// Results of apps, before the caller does.
    Results,
}

impl FilterStage {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Inbox,
        Self::Outbox,
        Self::Events,
        Self::Arguments,
        Self::Results,
    ];

    /// As JSON and commands have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbox => "inbox",
            Self::Outbox => "outbox",
            Self::Events => "events",
            Self::Arguments => "arguments",
            Self::Results => "results",
        }
    }
}

impl fmt::Display for FilterStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for FilterStage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = Self::ALL.into_iter();
        let mut named = all.filter(|stage| stage.name() == text);
        named.next().ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("expected one of {names}, found {text:?}")
        })
    }
}

/// What becomes of what a filter was asked about and did not answer in time, or not at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilterOnFailure {
    /// The same as if the filter had blocked it.
    #[default]
    Block,
    /// It passes, and is flagged.
    Flag,
    /// It passes.
    Pass,
}

impl FromStr for FilterOnFailure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "block" => Ok(Self::Block),
            "flag" => Ok(Self::Flag),
            "pass" => Ok(Self::Pass),
            other => Err(format!("expected block, flag or pass, found {other:?}")),
        }
    }
}

/// What a filter said that did not just let it pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilteredVerdict {
    /// It passes, and whoever reads it is warned.
    Flag,
    /// It does not pass.
    Block,
}

/// What the owner's filter found.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Filtered {
    /// Which app said so.
    pub app: String,
    /// `flag` or `block`.
    pub verdict: FilteredVerdict,
    /// Why.
    pub reason: String,
    /// What it found, as the app describes it.
    pub findings: Value,
}

impl Filtered {
    /// Whether it does not pass.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.verdict == FilteredVerdict::Block
    }
}

/// `GET /v1/apps/filter`: the owner's filter, and how it does.
#[derive(Clone, Copy, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterRequest {}

/// `POST /v1/apps/filter/set`: ask an app about what comes and goes, or none.
///
/// The app has to be installed, and to answer its method `filter`.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetFilterRequest {
    /// The app's id, or the last part of it where that is unambiguous; none for no filter.
    #[serde(default)]
    pub app: Option<String>,
    /// What it is asked about; at least one with an app.
    #[serde(default)]
    pub stages: Vec<FilterStage>,
    /// What becomes of that when it fails.
    #[serde(default)]
    pub on_failure: FilterOnFailure,
}

/// The owner's filter.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct FilterState {
    /// Which app; null without a filter.
    pub app: Option<String>,
    /// What it is asked about.
    pub stages: Vec<FilterStage>,
    /// What becomes of that when it fails.
    pub on_failure: FilterOnFailure,
    /// What it said since the daemon started.
    pub counts: FilterCounts,
}

/// What a filter said since the daemon started.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
pub struct FilterCounts {
    /// What passed.
    pub passed: u64,
    /// What passed with a warning.
    pub flagged: u64,
    /// What did not pass.
    pub blocked: u64,
    /// How often it failed; these are counted above too.
    pub failed: u64,
    /// Why, the last time.
    pub last_failure: Option<String>,
}
