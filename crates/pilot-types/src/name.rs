//! Hostnames and tags: short texts with one spelling.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Name of the directory agent that every rendezvous is.
const DIRECTORY: &str = "list-agents";

/// Names that belong to services and can be claimed by nobody.
const RESERVED: [&str; 8] = [
    DIRECTORY,
    "registry",
    "beacon",
    "nameserver",
    "rendezvous",
    "directory",
    "broadcast",
    "localhost",
];

/// Why a text is not a [`Hostname`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid hostname {0:?}: expected 1 to 63 characters, a-z first, then a-z, 0-9 or -")]
pub struct ParseHostnameError(String);

/// A claimed name: `[a-z][a-z0-9-]{0,62}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct Hostname(String);

impl Hostname {
    /// Longest name, in bytes.
    pub const MAX_LEN: usize = 63;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Name of the directory agent, as [`NodeId::DIRECTORY`](crate::NodeId::DIRECTORY) is its address.
    #[must_use]
    pub fn directory() -> Self {
        Self(DIRECTORY.to_owned())
    }

    /// Whether the name belongs to a service of the network and cannot be claimed.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        RESERVED.contains(&self.as_str())
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Hostname {
    type Err = ParseHostnameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let starts_with_letter = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if starts_with_letter && text.len() <= Self::MAX_LEN && text.bytes().all(is_name_byte) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseHostnameError(
                text.chars().take(Self::MAX_LEN + 1).collect(),
            ))
        }
    }
}

impl<'de> Deserialize<'de> for Hostname {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// Why a text is not a [`Tag`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid tag {0:?}: expected 1 to 32 characters of a-z, 0-9 or -")]
pub struct ParseTagError(String);

/// A word that an agent is found by: `[a-z0-9-]{1,32}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tag(String);

impl Tag {
    /// Longest tag, in bytes.
    pub const MAX_LEN: usize = 32;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Tag {
    type Err = ParseTagError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if (1..=Self::MAX_LEN).contains(&text.len()) && text.bytes().all(is_name_byte) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseTagError(
                text.chars().take(Self::MAX_LEN + 1).collect(),
            ))
        }
    }
}

impl Serialize for Tag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostnames_have_one_spelling() {
        for text in ["a", "worker-1", &"a".repeat(63)] {
            assert_eq!(text.parse::<Hostname>().unwrap().as_str(), text);
        }
        for text in [
            "",
            "1a",
            "-a",
            "A",
            "a_b",
            "a.b",
            "a b",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(text.parse::<Hostname>().is_err(), "{text:?} was accepted");
        }
        assert!("list-agents".parse::<Hostname>().unwrap().is_reserved());
    }

    #[test]
    fn tags_are_short_words() {
        assert!("gpu".parse::<Tag>().is_ok());
        for text in ["", "GPU", "a b", &"a".repeat(33)] {
            assert!(text.parse::<Tag>().is_err(), "{text:?} was accepted");
        }
    }
}
