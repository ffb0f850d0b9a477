//! What records and questions are cut into.

use std::collections::BTreeMap;

use pilot_types::{Hostname, Tag};
use pilot_wire::{Capability, Record};

/// Longest word that is told apart, in bytes; of a longer one this much counts.
const MAX_WORD: usize = 32;
/// Different words of one record, those of name, tags and capabilities before those of descriptions.
const MAX_WORDS: usize = 64;
/// How much a word counts by where it stands.
const IN_NAME: u8 = 8;
const IN_TAG: u8 = 4;
const IN_CAPABILITY: u8 = 4;
const IN_DESCRIPTION: u8 = 1;

/// What a record is found by: words with their weights, and terms for what a question names exactly, with the weight 0. A word has
/// letters and digits only, a term of the other kind begins with another character: they never meet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) weights: BTreeMap<Box<str>, u8>,
    /// Sum of the weights: how much the record says.
    pub(crate) len: u32,
}

impl Terms {
    pub(crate) fn of(record: &Record) -> Self {
        let mut terms = Self {
            weights: BTreeMap::new(),
            len: 0,
        };
        let mut left = MAX_WORDS;
        if let Some(name) = &record.hostname {
            terms.add_words(name.as_str(), IN_NAME, &mut left);
        }
        for tag in &record.tags {
            terms.add_words(tag.as_str(), IN_TAG, &mut left);
        }
        for capability in &record.capabilities {
            terms.add_words(&capability.name, IN_CAPABILITY, &mut left);
        }
        for capability in &record.capabilities {
            terms.add_words(&capability.description, IN_DESCRIPTION, &mut left);
        }
        let names = record.hostname.iter().map(hostname_term);
        let tags = record.tags.iter().map(tag_term);
        let capabilities = record.capabilities.iter().flat_map(capability_terms);
        let exact = names.chain(tags).chain(capabilities);
        terms.weights.extend(exact.map(|term| (term, 0)));
        terms
    }

    fn add_words(&mut self, text: &str, weight: u8, left: &mut usize) {
        for word in words(text) {
            match self.weights.get_mut(&word) {
                Some(known) => *known = known.saturating_add(weight),
                None if *left == 0 => continue,
                None => {
                    *left -= 1;
                    self.weights.insert(word, weight);
                }
            }
            self.len += u32::from(weight);
        }
    }
}

/// The words of a text, in small letters.
pub(crate) fn words(text: &str) -> impl Iterator<Item = Box<str>> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| {
            let mut word = word.to_lowercase();
            word.truncate(word.floor_char_boundary(MAX_WORD));
            word.into_boxed_str()
        })
}

pub(crate) fn hostname_term(name: &Hostname) -> Box<str> {
    format!("@{name}").into()
}

pub(crate) fn tag_term(tag: &Tag) -> Box<str> {
    format!("#{}", tag.as_str()).into()
}

/// Of a name, or of a name and a version.
pub(crate) fn capability_term(text: &str) -> Box<str> {
    format!("!{text}").into()
}

fn capability_terms(capability: &Capability) -> [Box<str>; 2] {
    let exactly = capability.to_string();
    [&capability.name, &exactly].map(|text| capability_term(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<Box<str>> {
        words(text).collect()
    }

    #[test]
    fn words_are_letters_and_digits_in_small() {
        let expected: [Box<str>; 4] = ["weather", "eu", "1", "é"].map(Into::into);
        assert_eq!(of(" Weather-EU_1\u{0}\u{1b}[É"), expected);
        assert!(of("@#!-_ \n").is_empty());
        assert_eq!(
            of(&"x".repeat(100_000)),
            ["x".repeat(MAX_WORD).into_boxed_str()]
        );
        assert!(of(&"é".repeat(99))[0].len() <= MAX_WORD);
    }

    #[test]
    fn a_record_is_found_by_a_bounded_number_of_terms() {
        let many = |count: usize| (0..count).map(|i| format!("w{i} ")).collect::<String>();
        let record = Record {
            hostname: "planner-one".parse().ok(),
            tags: vec!["gpu".parse().unwrap()],
            capabilities: vec![Capability {
                description: many(5000),
                ..Capability::named("plan.routes", "1.2.3")
            }],
            ..Record::default()
        };
        let terms = Terms::of(&record);
        assert_eq!(terms.weights["planner"], IN_NAME);
        assert_eq!(terms.weights["routes"], IN_CAPABILITY);
        for exact in ["@planner-one", "#gpu", "!plan.routes", "!plan.routes@1.2.3"] {
            assert_eq!(terms.weights[exact], 0, "{exact}");
        }
        assert_eq!(terms.weights.len(), MAX_WORDS + 4);
    }
}
