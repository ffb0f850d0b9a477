//! SHA-256 as text.

use std::fmt;
use std::str::FromStr;

use pilot_types::{DecodeHexError, decode_hex, encode_hex};
use ring::digest::{Context, SHA256, digest};
use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

/// The hash of some bytes; 64 hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// Hashes the bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_digest(digest(&SHA256, bytes).as_ref())
    }

    /// The hash of what the context was given.
    pub(crate) fn finish(context: Context) -> Self {
        Self::from_digest(context.finish().as_ref())
    }

    fn from_digest(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(bytes);
        Self(hash)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&encode_hex(&self.0))
    }
}

impl FromStr for Sha256 {
    type Err = DecodeHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        decode_hex(text).map(Self)
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = |_| de::Error::custom("expected a SHA-256 of 64 hex digits");
        text.parse().map_err(expected)
    }
}
