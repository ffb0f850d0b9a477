//! Orders to the model that reads a text.

use crate::fold::{Word, Words, is_invisible};
use crate::report::{Finding, Kind, Rule, Severity};

/// Words between the parts of a phrase.
const MAX_GAP: usize = 4;

const OVERRIDE: Rule = Rule {
    rule: "override",
    kind: Kind::Injection,
    severity: Severity::High,
    looks_for: "ignore, disregard, forget or override what was said before: instructions, rules, prompts",
};
const NEW_ROLE: Rule = Rule {
    rule: "new-role",
    kind: Kind::Injection,
    severity: Severity::Medium,
    looks_for: "another role for the reader: you are now, act as, pretend to be, new instructions",
};
const REVEAL: Rule = Rule {
    rule: "reveal",
    kind: Kind::Injection,
    severity: Severity::High,
    looks_for: "reveal, print, repeat or show the system prompt or hidden instructions",
};
const MARKUP: Rule = Rule {
    rule: "chat-markup",
    kind: Kind::Injection,
    severity: Severity::High,
    looks_for: "marks by which chats are divided into roles: <|im_start|>, [INST], <<SYS>>, </system>",
};

const INVISIBLE: Rule = Rule {
    rule: "invisible",
    kind: Kind::Injection,
    severity: Severity::Low,
    looks_for: "characters that show nothing between two letters or digits",
};

/// Phrases: each part is one of some words, and other words may stand between two parts.
const PHRASES: &[(&Rule, &[&[&str]])] = &[
    (&OVERRIDE, &[IGNORE, EARLIER, ORDERS]),
    (
        &OVERRIDE,
        &[
            &["forget"],
            &["everything", "all"],
            &["told", "said", "before", "above", "previous"],
        ],
    ),
    (&NEW_ROLE, &[&["you"], &["are"], &["now"]]),
    (
        &NEW_ROLE,
        &[
            &["act", "behave"],
            &["as"],
            &["if", "an", "a", "the"],
            &[
                "unrestricted",
                "root",
                "admin",
                "administrator",
                "system",
                "developer",
            ],
        ],
    ),
    (
        &NEW_ROLE,
        &[
            &["new", "updated"],
            &["system"],
            &["instructions", "prompt", "rules"],
        ],
    ),
    (
        &REVEAL,
        &[
            TELL,
            &["your", "the"],
            &["system", "hidden", "initial", "secret", "original"],
            &["prompt", "instructions", "message"],
        ],
    ),
    (&REVEAL, &[TELL, &["your"], &["prompt", "instructions"]]),
];

const IGNORE: &[&str] = &["ignore", "disregard", "override", "bypass", "forget"];
const EARLIER: &[&str] = &["previous", "prior", "above", "earlier", "preceding", "your"];
const ORDERS: &[&str] = &[
    "instructions",
    "instruction",
    "rules",
    "prompts",
    "prompt",
    "directives",
    "guidelines",
];
const TELL: &[&str] = &[
    "reveal", "print", "repeat", "show", "output", "leak", "disclose",
];

const MARKS: &[&str] = &[
    "<|im_start|>",
    "<|im_end|>",
    "<|system|>",
    "[inst]",
    "[/inst]",
    "<<sys>>",
    "</system>",
    "<system>",
];

pub(crate) fn rules() -> Vec<Rule> {
    vec![OVERRIDE, NEW_ROLE, REVEAL, MARKUP, INVISIBLE]
}

pub(crate) fn find(text: &str) -> Vec<Finding> {
    let words = Words::of(text).words;
    let mut findings = vec![];
    for first in 0..words.len() {
        for (rule, parts) in PHRASES {
            if let Some(last) = phrase_at(&words, first, parts) {
                findings.push(Finding::new(
                    rule,
                    text,
                    words[first].start,
                    words[last].end,
                ));
                break;
            }
        }
    }
    findings.extend(marks(text));
    findings.extend(invisible(text));
    findings
}

/// The last word of a phrase that begins at this word.
fn phrase_at(words: &[Word], first: usize, parts: &[&[&str]]) -> Option<usize> {
    let (head, rest) = parts.split_first()?;
    if !head.contains(&words[first].text.as_str()) {
        return None;
    }
    let mut at = first;
    for part in rest {
        let near = words.iter().enumerate().skip(at + 1).take(MAX_GAP);
        let mut near = near.filter(|(_, word)| part.contains(&word.text.as_str()));
        at = near.next()?.0;
    }
    Some(at)
}

fn marks(text: &str) -> impl Iterator<Item = Finding> {
    // ASCII changes its case without changing its length, so that places stay.
    let lower = text.to_ascii_lowercase();
    let mut found: Vec<Finding> = vec![];
    for mark in MARKS {
        let places = lower.match_indices(mark);
        found.extend(places.map(|(at, _)| Finding::new(&MARKUP, text, at, at + mark.len())));
    }
    found.into_iter()
}

/// Runs of them, each with a letter or digit on both sides.
fn invisible(text: &str) -> Vec<Finding> {
    let mut findings = vec![];
    let mut before = ' ';
    let mut run: Option<usize> = None;
    for (at, c) in text.char_indices() {
        if is_invisible(c) {
            run.get_or_insert(at);
            continue;
        }
        if let Some(start) = run.take()
            && before.is_alphanumeric()
            && c.is_alphanumeric()
        {
            findings.push(Finding::new(&INVISIBLE, text, start, at));
        }
        before = c;
    }
    findings
}
