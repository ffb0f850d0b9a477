//! Texts that pretend to be somebody else's.

use crate::fold::{folded, is_invisible, is_look_alike};
use crate::report::{Finding, Kind, Rule, Severity};

const fn rule(rule: &'static str, severity: Severity, looks_for: &'static str) -> Rule {
    Rule {
        rule,
        kind: Kind::Impersonation,
        severity,
        looks_for,
    }
}

const SYSTEM: Rule = rule(
    "speaks-as-system",
    Severity::High,
    "a line that begins as one of the system, the developer or the assistant does: system:, [system], ### system",
);
const ANOTHER: Rule = rule(
    "speaks-as-another",
    Severity::Medium,
    "a line From: NAME whose NAME is not the one that is known to have written the text",
);
const MIXED: Rule = rule(
    "mixed-scripts",
    Severity::Medium,
    "a word of Latin letters with Cyrillic or Greek ones in it that look like Latin ones",
);
const REORDERED: Rule = rule(
    "reordered",
    Severity::High,
    "characters that turn the order of what is read around (Unicode TR 9)",
);

const ROLES: &[&str] = &["system", "developer", "assistant"];

pub(crate) fn rules() -> Vec<Rule> {
    vec![SYSTEM, ANOTHER, MIXED, REORDERED]
}

/// `from` is who wrote it; empty if nobody knows.
pub(crate) fn find(text: &str, from: &str) -> Vec<Finding> {
    let mut findings = vec![];
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.trim_end().len();
        if is_of_a_role(line) {
            findings.push(Finding::new(&SYSTEM, text, start, end));
        } else if is_of_another(line, from) {
            findings.push(Finding::new(&ANOTHER, text, start, end));
        }
        start += line.len();
    }
    findings.extend(mixed(text));
    findings.extend(reordered(text));
    findings
}

/// Short enough to be a mark: the line's head as a reader takes it.
fn head(line: &str) -> String {
    let visible = line.trim_start().chars().filter(|c| !is_invisible(*c));
    visible.take(40).map(folded).collect()
}

fn is_of_a_role(line: &str) -> bool {
    let head = head(line);
    let bare = head.trim_start_matches(['#', '[', '<', '*', ' ']);
    let is_marked = bare.len() < head.len();
    ROLES.iter().any(|role| {
        let Some(rest) = bare.strip_prefix(role) else {
            return false;
        };
        let rest = rest.strip_prefix(" message").unwrap_or(rest);
        rest.starts_with(':') || is_marked && (rest.trim().is_empty() || rest.starts_with(']'))
    })
}

fn is_of_another(line: &str, from: &str) -> bool {
    let Some(name) = line.trim().strip_prefix("From:") else {
        return false;
    };
    !from.is_empty() && !name.trim().eq_ignore_ascii_case(from)
}

fn mixed(text: &str) -> Vec<Finding> {
    let is_part = |c: char| c.is_alphanumeric() || is_invisible(c);
    let mut findings = vec![];
    let mut start = 0;
    for piece in text.split_inclusive(|c: char| !is_part(c)) {
        let word = piece.trim_end_matches(|c: char| !is_part(c));
        let has = |of: fn(char) -> bool| word.chars().any(of);
        if has(|c| c.is_ascii_alphabetic()) && has(is_look_alike) {
            findings.push(Finding::new(&MIXED, text, start, start + word.len()));
        }
        start += piece.len();
    }
    findings
}

fn reordered(text: &str) -> impl Iterator<Item = Finding> {
    let places = text.char_indices();
    let turning =
        places.filter(|(_, c)| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'));
    turning.map(|(at, c)| Finding::new(&REORDERED, text, at, at + c.len_utf8()))
}
