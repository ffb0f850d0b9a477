//! W3C Trace Context: which request of an application a stream or message belongs to.

use std::fmt;
use std::str::FromStr;

use pilot_types::{decode_hex, encode_hex};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The `traceparent` of W3C Trace Context §3.2, version 00. Text: `00-<32 hex>-<16 hex>-<2 hex>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TraceParent {
    /// The whole trace; not all zero.
    pub trace_id: [u8; 16],
    /// The caller's span; not all zero.
    pub parent_id: [u8; 8],
    /// Bit 0: sampled.
    pub flags: u8,
}

/// Why a text is not a [`TraceParent`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "invalid traceparent: expected 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, ids not all zero"
)]
pub struct ParseTraceParentError;

impl TraceParent {
    /// Bytes on the wire: trace id, parent id, flags.
    pub const LEN: usize = 16 + 8 + 1;

    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..16].copy_from_slice(&self.trace_id);
        bytes[16..24].copy_from_slice(&self.parent_id);
        bytes[24] = self.flags;
        bytes
    }

    /// `None` if an id is all zero.
    pub(crate) fn from_bytes(bytes: [u8; Self::LEN]) -> Option<Self> {
        let (mut trace_id, mut parent_id) = ([0; 16], [0; 8]);
        trace_id.copy_from_slice(&bytes[..16]);
        parent_id.copy_from_slice(&bytes[16..24]);
        Self {
            trace_id,
            parent_id,
            flags: bytes[24],
        }
        .checked()
    }

    fn checked(self) -> Option<Self> {
        (self.trace_id != [0; 16] && self.parent_id != [0; 8]).then_some(self)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{}-{}-{:02x}",
            encode_hex(&self.trace_id),
            encode_hex(&self.parent_id),
            self.flags
        )
    }
}

impl FromStr for TraceParent {
    type Err = ParseTraceParentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('-');
        let mut part = || {
            parts
                .next()
                .filter(|part| !part.bytes().any(|b| b.is_ascii_uppercase()))
                .ok_or(ParseTraceParentError)
        };
        if part()? != "00" {
            return Err(ParseTraceParentError);
        }
        let trace_id = decode_hex(part()?).map_err(|_| ParseTraceParentError)?;
        let parent_id = decode_hex(part()?).map_err(|_| ParseTraceParentError)?;
        let [flags] = decode_hex(part()?).map_err(|_| ParseTraceParentError)?;
        if parts.next().is_some() {
            return Err(ParseTraceParentError);
        }
        Self {
            trace_id,
            parent_id,
            flags,
        }
        .checked()
        .ok_or(ParseTraceParentError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard_round_trips() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parsed: TraceParent = text.parse().unwrap();
        assert_eq!(parsed.to_string(), text);
        assert_eq!(TraceParent::from_bytes(parsed.to_bytes()), Some(parsed));
    }

    #[test]
    fn zero_ids_other_versions_and_upper_case_are_refused() {
        for text in [
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "",
        ] {
            assert!(
                text.parse::<TraceParent>().is_err(),
                "{text:?} was accepted"
            );
        }
    }
}
