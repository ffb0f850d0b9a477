//! Names of apps and of their methods.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};
use thiserror::Error;

/// Longest id, in bytes: it is a directory's name, which may have 255.
const MAX_ID: usize = 128;
/// Longest name of a method.
const MAX_METHOD: usize = 64;

/// The method that the daemon answers itself.
pub const HELP: &str = "help";

/// An app's id: labels of `a-z`, `0-9` and `-` with dots between them, each beginning with a letter: `org.example.aegis`.
///
/// ```
/// use pilot_appstore::AppId;
///
/// let id: AppId = "org.example.aegis".parse()?;
/// assert_eq!(id.short(), "aegis");
/// assert!("../aegis".parse::<AppId>().is_err());
/// # Ok::<(), pilot_appstore::ParseIdError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AppId(String);

/// The name of one of an app's methods: `a-z` first, then `a-z`, `0-9` and `_`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MethodName(String);

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "invalid app id {0:?}: expected labels of a-z, 0-9 and -, a letter first, with dots between them, at most {MAX_ID} bytes"
)]
pub struct ParseIdError(String);

/// Why a text is no method's name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "invalid method name {0:?}: expected a-z first, then a-z, 0-9 or _, at most {MAX_METHOD} bytes, and not {HELP:?}"
)]
pub struct ParseMethodError(String);

impl AppId {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last label, by which people call it where that is unambiguous.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.rsplit('.').next().unwrap_or(&self.0)
    }

    /// Whether a person who writes `name` may mean this app.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.0 == name || self.short() == name
    }
}

impl MethodName {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_label(label: &str) -> bool {
    label.starts_with(|c: char| c.is_ascii_lowercase())
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl FromStr for AppId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() <= MAX_ID && text.split('.').all(is_label) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseIdError(clipped(text)))
        }
    }
}

impl FromStr for MethodName {
    type Err = ParseMethodError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if is_name && text.len() <= MAX_METHOD && text != HELP {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseMethodError(clipped(text)))
        }
    }
}

/// What is repeated of a text that is refused.
fn clipped(text: &str) -> String {
    text.chars().take(MAX_ID).collect()
}

macro_rules! as_text {
    ($($name:ident)+) => {
        $(
            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.pad(&self.0)
                }
            }

            impl Serialize for $name {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.serialize_str(&self.0)
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
                }
            }
        )+
    };
}

as_text!(AppId MethodName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_safe_as_names_of_directories() {
        for good in ["aegis", "org.example.a-1", "a"] {
            assert_eq!(good.parse::<AppId>().unwrap().as_str(), good);
        }
        for bad in [
            "", ".", "..", "a..b", "a/b", "A", "1a", "a-", "a b", ".new-x", "a\0",
        ] {
            assert!(bad.parse::<AppId>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(MAX_ID + 1).parse::<AppId>().is_err());
    }

    #[test]
    fn help_is_not_an_apps_own() {
        assert!("check_2".parse::<MethodName>().is_ok());
        for bad in ["help", "Check", "a.b", "_a", ""] {
            assert!(bad.parse::<MethodName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_app_is_called_by_its_last_label() {
        let id: AppId = "org.example.aegis".parse().unwrap();
        assert!(id.is_called("aegis") && id.is_called("org.example.aegis"));
        assert!(!id.is_called("example.aegis") && !id.is_called("org"));
    }
}
