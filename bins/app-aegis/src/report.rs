//! What was found.

use serde::Serialize;

/// Findings that a report lists: the gravest and first.
pub(crate) const MAX_FINDINGS: usize = 100;
/// Longest excerpt, in characters.
const MAX_EXCERPT: usize = 80;

/// How grave a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    Low,
    Medium,
    High,
}

/// What a rule is against.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Injection,
    Secret,
    Impersonation,
}

impl Kind {
    /// As JSON has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Injection => "injection",
            Self::Secret => "secret",
            Self::Impersonation => "impersonation",
        }
    }
}

/// A rule, for people.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Rule {
    pub(crate) rule: &'static str,
    pub(crate) kind: Kind,
    pub(crate) severity: Severity,
    pub(crate) looks_for: &'static str,
}

/// A place where a rule holds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) rule: &'static str,
    pub(crate) kind: Kind,
    pub(crate) severity: Severity,
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) excerpt: String,
}

impl Finding {
    /// A finding at these bytes of the text, which are the borders of characters.
    pub(crate) fn new(rule: &Rule, text: &str, start: usize, end: usize) -> Self {
        let found = text.get(start..end).unwrap_or_default();
        let excerpt = match rule.kind {
            Kind::Secret => masked(found),
            Kind::Injection | Kind::Impersonation => found.chars().take(MAX_EXCERPT).collect(),
        };
        Self {
            rule: rule.rule,
            kind: rule.kind,
            severity: rule.severity,
            start,
            end,
            excerpt,
        }
    }
}

/// Enough of a secret to find it again, and no more.
fn masked(secret: &str) -> String {
    let head: String = secret.chars().take(4).collect();
    format!("{head}…")
}

/// All that was found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) verdict: &'static str,
    pub(crate) score: u32,
    pub(crate) findings: Vec<Finding>,
}

impl Report {
    /// The gravest first, of equals the one that comes first in the text.
    pub(crate) fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.start));
        let weight = |finding: &Finding| match finding.severity {
            Severity::Low => 10,
            Severity::Medium => 30,
            Severity::High => 60,
        };
        let sum = findings.iter().map(weight).fold(0_u32, u32::saturating_add);
        let verdict = match findings.first().map(|finding| finding.severity) {
            Some(Severity::High) => "dangerous",
            Some(Severity::Medium | Severity::Low) => "suspicious",
            None => "clean",
        };
        findings.truncate(MAX_FINDINGS);
        Self {
            verdict,
            score: sum.min(100),
            findings,
        }
    }
}
