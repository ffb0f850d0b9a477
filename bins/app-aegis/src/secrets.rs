//! Keys, tokens and passwords.

use crate::report::{Finding, Kind, Rule, Severity};

const fn rule(rule: &'static str, severity: Severity, looks_for: &'static str) -> Rule {
    Rule {
        rule,
        kind: Kind::Secret,
        severity,
        looks_for,
    }
}

const PRIVATE_KEY: Rule = rule(
    "private-key",
    Severity::High,
    "the first line of a private key in PEM",
);
const ASSIGNMENT: Rule = rule(
    "assignment",
    Severity::Medium,
    "password, passwd, secret, token or api key, = or :, and at least 8 characters without a space, a digit among them",
);

/// Tokens that begin with a mark of their own: the mark, and how many characters of which kind follow at least.
const TOKENS: &[(Rule, &str, usize)] = &[
    (
        rule(
            "aws-key",
            Severity::High,
            "AKIA and 16 capitals or digits: a key id of AWS",
        ),
        "AKIA",
        16,
    ),
    (
        rule(
            "github-token",
            Severity::High,
            "ghp_ and 36 letters or digits: a token of GitHub",
        ),
        "ghp_",
        36,
    ),
    (
        rule(
            "github-pat",
            Severity::High,
            "github_pat_ and 40 letters, digits or _: a token of GitHub",
        ),
        "github_pat_",
        40,
    ),
    (
        rule(
            "slack-token",
            Severity::High,
            "xoxb- and 20 letters, digits or -: a token of Slack",
        ),
        "xoxb-",
        20,
    ),
    (
        rule(
            "openai-key",
            Severity::High,
            "sk- and 32 letters, digits, - or _: a key for a model",
        ),
        "sk-",
        32,
    ),
    (
        rule(
            "google-key",
            Severity::High,
            "AIza and 35 letters, digits, - or _: a key of Google",
        ),
        "AIza",
        35,
    ),
    (
        rule(
            "jwt",
            Severity::Medium,
            "eyJ and 40 letters, digits, - or _: a JSON web token",
        ),
        "eyJ",
        40,
    ),
    (
        rule(
            "pilot-ticket",
            Severity::High,
            "pilot-ticket: and 40 letters, digits, - or _: who has it is let in",
        ),
        "pilot-ticket:",
        40,
    ),
];

const NAMES: &[&str] = &[
    "password", "passwd", "secret", "token", "api_key", "apikey", "api-key",
];
/// Shortest and longest value of an assignment.
const MIN_VALUE: usize = 8;
const MAX_VALUE: usize = 200;

pub(crate) fn rules() -> Vec<Rule> {
    let tokens = TOKENS.iter().map(|(rule, ..)| *rule);
    tokens.chain([PRIVATE_KEY, ASSIGNMENT]).collect()
}

pub(crate) fn find(text: &str) -> Vec<Finding> {
    let mut findings = vec![];
    for (rule, mark, least) in TOKENS {
        for (at, _) in text.match_indices(mark) {
            let rest = &text[at + mark.len()..];
            let length = rest
                .bytes()
                .take_while(|b| is_token(*b))
                .take(MAX_VALUE)
                .count();
            if length >= *least && !is_inside_word(text, at) {
                findings.push(Finding::new(rule, text, at, at + mark.len() + length));
            }
        }
    }
    findings.extend(private_keys(text));
    findings.extend(assignments(text));
    findings
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn is_inside_word(text: &str, at: usize) -> bool {
    text[..at].ends_with(|c: char| c.is_ascii_alphanumeric())
}

fn private_keys(text: &str) -> Vec<Finding> {
    let begins = text.match_indices("-----BEGIN ");
    begins
        .filter_map(|(at, begin)| {
            let rest = &text[at + begin.len()..];
            let line = rest.lines().next().unwrap_or_default();
            let kind = line.split("-----").next().unwrap_or_default();
            let end = at + begin.len() + kind.len();
            let is_key = kind.len() < 40 && kind.ends_with("PRIVATE KEY");
            is_key.then(|| Finding::new(&PRIVATE_KEY, text, at, end))
        })
        .collect()
}

fn assignments(text: &str) -> Vec<Finding> {
    let lower = text.to_ascii_lowercase();
    let mut findings = vec![];
    for name in NAMES {
        for (at, _) in lower.match_indices(name) {
            if let Some((start, end)) = value_after(text, at + name.len()) {
                findings.push(Finding::new(&ASSIGNMENT, text, start, end));
            }
        }
    }
    findings
}

/// The place of the value of `NAME = "value"`, `NAME: value` and the like.
fn value_after(text: &str, at: usize) -> Option<(usize, usize)> {
    let is_filling = |c: char| c == ' ' || c == '"' || c == '\'';
    let rest = text[at..].trim_start_matches(is_filling);
    let rest = rest.strip_prefix('=').or_else(|| rest.strip_prefix(':'))?;
    let rest = rest.trim_start_matches(is_filling);
    let start = text.len() - rest.len();
    let is_value = |c: char| c.is_ascii_graphic() && !"\"',;<>{}".contains(c);
    let length = rest
        .chars()
        .take_while(|c| is_value(*c))
        .take(MAX_VALUE)
        .count();
    let value = &rest[..length];
    let is_secret = length >= MIN_VALUE && value.bytes().any(|b| b.is_ascii_digit());
    is_secret.then_some((start, start + length))
}
