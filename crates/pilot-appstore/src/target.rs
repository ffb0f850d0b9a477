//! Which machines an app is for.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer};
use thiserror::Error;

/// Longest name of a processor or a system.
const MAX_PART: usize = 32;

/// A kind of machine: `x86_64-linux`, the processor and the system as Rust calls them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Target(String);

/// Why a text is no kind of machine.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "invalid target {0:?}: expected a processor and a system, as x86_64-linux or aarch64-linux"
)]
pub struct ParseTargetError(String);

impl Target {
    /// This machine's.
    #[must_use]
    pub fn here() -> Self {
        let (processor, system) = (std::env::consts::ARCH, std::env::consts::OS);
        Self(format!("{processor}-{system}"))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_part = |part: &str| {
            let is_known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
            !part.is_empty() && part.len() <= MAX_PART && part.bytes().all(is_known)
        };
        let parts = text.split_once('-');
        let is_target =
            parts.is_some_and(|(processor, system)| is_part(processor) && is_part(system));
        if is_target {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseTargetError(text.chars().take(80).collect()))
        }
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}
