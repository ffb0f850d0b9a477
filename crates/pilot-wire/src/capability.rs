//! What an agent says that it can do, and how the record carries it (`docs/wire.md` §6).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::{
    MAX_CAPABILITIES, MAX_CAPABILITIES_LEN, MAX_CAPABILITY_DESCRIPTION, MAX_CAPABILITY_TEXT,
};

/// What an agent can do, as it says of itself. Text: `NAME@VERSION`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Capability {
    /// `[a-z0-9][a-z0-9._-]{0,63}`.
    pub name: String,
    /// Its semantic version.
    pub version: String,
    /// For people, in one line; may be empty.
    pub description: String,
    /// JSON Schema of what it takes, as JSON text.
    pub input: Option<String>,
    /// JSON Schema of what it gives, as JSON text.
    pub output: Option<String>,
}

/// Why capabilities cannot be said.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CapabilityError {
    /// The text has no `@`.
    #[error("invalid capability {0:?}: expected NAME@VERSION, as translate@1.0.0")]
    Form(String),
    /// The name is none.
    #[error(
        "invalid capability name {0:?}: expected 1 to 64 characters of a-z, 0-9, ., _ or -, the first a letter or digit"
    )]
    Name(String),
    /// The version is none.
    #[error(
        "invalid version {version:?} of capability {name}: expected a semantic version, as 1.0.0"
    )]
    Version {
        /// Whose.
        name: String,
        /// What was found.
        version: String,
    },
    /// The description is too long or no line of text.
    #[error(
        "the description of capability {0} is no line of at most {MAX_CAPABILITY_DESCRIPTION} bytes without control characters"
    )]
    Description(String),
    /// Said twice.
    #[error("capability {0} is there twice")]
    Twice(String),
    /// Too many.
    #[error("{0} capabilities, at most {MAX_CAPABILITIES} are allowed")]
    Count(usize),
    /// Too long together.
    #[error(
        "the capabilities take {0} bytes with their schemas, at most {MAX_CAPABILITIES_LEN} are allowed"
    )]
    Len(usize),
}

impl Capability {
    /// One with a name and a version and nothing more.
    #[must_use]
    pub fn named(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            ..Self::default()
        }
    }

    /// Holds every field against its bound. That schemas are schemas is the signer's to know.
    ///
    /// # Errors
    /// [`CapabilityError`] with the first fault.
    pub fn check(&self) -> Result<(), CapabilityError> {
        if !is_name(&self.name) {
            return Err(CapabilityError::Name(shortened(&self.name)));
        }
        if !is_version(&self.version) {
            return Err(CapabilityError::Version {
                name: self.name.clone(),
                version: shortened(&self.version),
            });
        }
        let is_line = self.description.len() <= MAX_CAPABILITY_DESCRIPTION
            && !self.description.chars().any(char::is_control);
        if is_line {
            Ok(())
        } else {
            Err(CapabilityError::Description(self.name.clone()))
        }
    }

    /// Bytes of its texts.
    fn len(&self) -> usize {
        let schema = |schema: &Option<String>| schema.as_ref().map_or(0, String::len);
        self.name.len()
            + self.version.len()
            + self.description.len()
            + schema(&self.input)
            + schema(&self.output)
    }
}

/// Holds all capabilities of an agent against their bounds.
///
/// # Errors
/// [`CapabilityError`] with the first fault.
pub fn check_capabilities(capabilities: &[Capability]) -> Result<(), CapabilityError> {
    // The sum first: what is far too long is not looked at in detail.
    let len = capabilities.iter().map(Capability::len).sum();
    if len > MAX_CAPABILITIES_LEN {
        return Err(CapabilityError::Len(len));
    }
    if capabilities.len() > MAX_CAPABILITIES {
        return Err(CapabilityError::Count(capabilities.len()));
    }
    let mut known = BTreeSet::new();
    for capability in capabilities {
        capability.check()?;
        if !known.insert((&capability.name, &capability.version)) {
            return Err(CapabilityError::Twice(capability.to_string()));
        }
    }
    Ok(())
}

/// What capabilities say for people, in one line of at most [`MAX_CAPABILITY_DESCRIPTION`] bytes; none if they say nothing.
#[must_use]
pub fn describe(capabilities: &[Capability]) -> Option<String> {
    let said = capabilities.iter().map(|c| c.description.as_str());
    let said: Vec<&str> = said.filter(|text| !text.is_empty()).collect();
    let mut line = said.join("; ");
    line.truncate(line.floor_char_boundary(MAX_CAPABILITY_DESCRIPTION));
    (!line.is_empty()).then_some(line)
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl FromStr for Capability {
    type Err = CapabilityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, version) = text
            .split_once('@')
            .ok_or_else(|| CapabilityError::Form(shortened(text)))?;
        let capability = Self::named(name, version);
        capability.check().map(|()| capability)
    }
}

/// What a record says of a capability in its first fields, which every version reads.
#[derive(Serialize, Deserialize)]
pub(crate) struct Named {
    name: String,
    version: String,
}

/// What it says of it behind all fields of the first version, where earlier readers stop.
#[derive(Serialize, Deserialize)]
pub(crate) struct Details {
    description: String,
    input: Option<String>,
    output: Option<String>,
}

impl From<&Capability> for Named {
    fn from(capability: &Capability) -> Self {
        Self {
            name: capability.name.clone(),
            version: capability.version.clone(),
        }
    }
}

impl From<Named> for Capability {
    fn from(named: Named) -> Self {
        Self::named(named.name, named.version)
    }
}

/// The details of each capability in turn; none at all if there are none.
pub(crate) fn details(capabilities: &[Capability]) -> Vec<Details> {
    let has_some =
        |c: &Capability| !c.description.is_empty() || c.input.is_some() || c.output.is_some();
    if !capabilities.iter().any(has_some) {
        return vec![];
    }
    let of = |c: &Capability| Details {
        description: c.description.clone(),
        input: c.input.clone(),
        output: c.output.clone(),
    };
    capabilities.iter().map(of).collect()
}

/// Adds details to the capabilities in turn. Details of none are left out, capabilities without some have none.
pub(crate) fn add_details(capabilities: &mut [Capability], details: Vec<Details>) {
    for (capability, details) in capabilities.iter_mut().zip(details) {
        capability.description = details.description;
        capability.input = details.input;
        capability.output = details.output;
    }
}

fn is_name(name: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=MAX_CAPABILITY_TEXT).contains(&name.len())
        && name.bytes().next().is_some_and(is_inner)
        && name
            .bytes()
            .all(|b| is_inner(b) || matches!(b, b'.' | b'_' | b'-'))
}

/// Semantic Versioning 2.0.0 §2, §9 and §10.
fn is_version(version: &str) -> bool {
    if version.len() > MAX_CAPABILITY_TEXT {
        return false;
    }
    let (version, build) = cut(version, '+');
    let (core, pre) = cut(version, '-');
    let is_number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let is_word = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let is_pre = |part: &str| {
        is_word(part) && (is_number(part) || !part.bytes().all(|b| b.is_ascii_digit()))
    };
    core.split('.').count() == 3
        && core.split('.').all(is_number)
        && pre.is_none_or(|pre| pre.split('.').all(is_pre))
        && build.is_none_or(|build| build.split('.').all(is_word))
}

fn cut(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// As much of a wrong text as helps to recognise it.
fn shortened(text: &str) -> String {
    text.chars().take(MAX_CAPABILITY_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_semantic_version_are_a_capability() {
        for text in [
            "translate@1.0.0",
            "pdf.extract_text-v2@0.1.0-rc.1+build.7",
            "0@10.20.30",
            "a@1.0.0-alpha-x.0",
        ] {
            assert_eq!(text.parse::<Capability>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_none_says_what_was_expected() {
        for text in [
            "translate",
            "@1.0.0",
            "-a@1.0.0",
            "A@1.0.0",
            "a b@1.0.0",
            "a\n@1.0.0",
        ] {
            let words = text.parse::<Capability>().unwrap_err().to_string();
            assert!(words.contains("expected"), "{text}: {words}");
        }
        for version in [
            "", "1", "1.0", "1.0.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.x", "1.0.0+", "1 .0.0",
        ] {
            let error = format!("a@{version}").parse::<Capability>().unwrap_err();
            assert!(
                matches!(error, CapabilityError::Version { .. }),
                "{version}: {error}"
            );
        }
        let long = format!("{}@1.0.0", "a".repeat(1 << 20)).parse::<Capability>();
        assert!(long.unwrap_err().to_string().len() < 300);
    }

    #[test]
    fn a_description_is_one_bounded_line() {
        let said = |text: &str| Capability {
            description: text.to_owned(),
            ..Capability::named("a", "1.0.0")
        };
        assert_eq!(describe(&[said(""), said("")]), None);
        assert_eq!(
            describe(&[said("one"), said(""), said("two")]).unwrap(),
            "one; two"
        );
        let long = describe(&[said(&"é".repeat(200)), said(&"é".repeat(200))]).unwrap();
        assert!(long.len() <= MAX_CAPABILITY_DESCRIPTION);
    }

    #[test]
    fn all_together_are_bounded() {
        let many = |count: usize| -> Vec<Capability> {
            (0..count)
                .map(|i| Capability::named(format!("c{i}"), "1.0.0"))
                .collect()
        };
        assert_eq!(check_capabilities(&many(MAX_CAPABILITIES)), Ok(()));
        let count = MAX_CAPABILITIES + 1;
        assert_eq!(
            check_capabilities(&many(count)),
            Err(CapabilityError::Count(count))
        );
        let twice = [many(1), many(1)].concat();
        assert_eq!(
            check_capabilities(&twice),
            Err(CapabilityError::Twice("c0@1.0.0".to_owned()))
        );
        let large = Capability {
            input: Some(" ".repeat(1 << 20)),
            ..Capability::named("large", "1.0.0")
        };
        let words = check_capabilities(&[large]).unwrap_err().to_string();
        assert!(words.contains("take 1048586 bytes"), "{words}");
        for description in [
            "two\nlines".to_owned(),
            "x".repeat(MAX_CAPABILITY_DESCRIPTION + 1),
        ] {
            let capability = Capability {
                description,
                ..Capability::named("a", "1.0.0")
            };
            assert!(matches!(
                capability.check(),
                Err(CapabilityError::Description(_))
            ));
        }
    }
}
