//! How a caller names an agent.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use pilot_types::{
    Address, Hostname, NodeId, ParseAddressError, ParseHostnameError, decode_hex, encode_hex,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

const TICKET_PREFIX: &str = "pilot-ticket:";
/// A ticket carries a log, endpoints and a secret: under 2 KiB; this leaves room for later versions.
const MAX_TICKET: usize = 16 * 1024;
const KEY_DIGITS: usize = 64;

/// Why a text names no agent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParsePeerError {
    /// It contains `.` or `:` and is no address.
    #[error(transparent)]
    Address(#[from] ParseAddressError),
    /// It starts with `0x` and is no id.
    #[error("invalid id {0:?}: expected 0x and 12 hex digits")]
    HexId(String),
    /// It is a number above 48 bits.
    #[error("invalid node id {0:?}: expected a number below 2^48")]
    DecimalId(String),
    /// It is nothing else and no hostname.
    #[error(transparent)]
    Hostname(#[from] ParseHostnameError),
    /// The ticket is longer than any.
    #[error("invalid ticket: longer than {MAX_TICKET} characters")]
    Ticket,
}

/// An agent as the caller names it. Text is read in this order: `pilot-ticket:…`; contains `.` or `:`: an address;
/// 64 hex digits: a public key; `0x` and 12 hex digits: an id; digits only: a decimal `node_id`; else a hostname.
///
/// Serialised as its text.
#[derive(Clone, PartialEq, Eq)]
pub enum PeerRef {
    /// A ticket, with its prefix, unread: it holds a secret.
    Ticket(String),
    /// An address.
    Address(Address),
    /// A public key.
    Key([u8; 32]),
    /// An id.
    Node(NodeId),
    /// A name.
    Hostname(Hostname),
}

impl FromStr for PeerRef {
    type Err = ParsePeerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with(TICKET_PREFIX) {
            return parse_ticket(text);
        }
        if text.contains(['.', ':']) {
            return Ok(Self::Address(text.parse()?));
        }
        if text.len() == KEY_DIGITS
            && let Ok(key) = decode_hex(text)
        {
            return Ok(Self::Key(key));
        }
        if let Some(digits) = text.strip_prefix("0x") {
            return parse_hex_id(digits).ok_or_else(|| ParsePeerError::HexId(clipped(text)));
        }
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            let node = text.parse().ok().and_then(NodeId::new);
            return node
                .map(Self::Node)
                .ok_or_else(|| ParsePeerError::DecimalId(clipped(text)));
        }
        Ok(Self::Hostname(text.parse()?))
    }
}

fn parse_ticket(text: &str) -> Result<PeerRef, ParsePeerError> {
    if text.len() > MAX_TICKET {
        return Err(ParsePeerError::Ticket);
    }
    Ok(PeerRef::Ticket(text.to_owned()))
}

fn parse_hex_id(digits: &str) -> Option<PeerRef> {
    let bytes: [u8; 6] = decode_hex(digits).ok()?;
    let value = bytes
        .iter()
        .fold(0, |value, byte| (value << 8) | u64::from(*byte));
    NodeId::new(value).map(PeerRef::Node)
}

/// An error repeats at most this much of what it refuses.
fn clipped(text: &str) -> String {
    text.chars().take(64).collect()
}

impl fmt::Display for PeerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ticket(text) => f.write_str(text),
            Self::Address(address) => address.fmt(f),
            Self::Key(key) => f.write_str(&encode_hex(key)),
            Self::Node(node) => write!(f, "{}", node.to_u64()),
            Self::Hostname(name) => name.fmt(f),
        }
    }
}

/// A ticket's text is left out: it holds a secret.
impl fmt::Debug for PeerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ticket(_) => f.write_str("PeerRef(pilot-ticket:…)"),
            Self::Address(_) | Self::Key(_) | Self::Node(_) | Self::Hostname(_) => {
                write!(f, "PeerRef({self})")
            }
        }
    }
}

impl Serialize for PeerRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl JsonSchema for PeerRef {
    fn schema_name() -> Cow<'static, str> {
        "PeerRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An agent: a ticket, an address, a public key, 0x and 12 hex digits, a decimal node_id, or a hostname.",
            "type": "string",
            "maxLength": MAX_TICKET,
            "anyOf": [
                { "pattern": "^pilot-ticket:" },
                { "pattern": r"^((0|[1-9][0-9]{0,4}):)?[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}$" },
                { "pattern": "^[0-9A-Fa-f]{64}$" },
                { "pattern": "^0x[0-9A-Fa-f]{12}$" },
                { "pattern": "^[0-9]+$" },
                { "pattern": "^[a-z][a-z0-9-]{0,62}$" },
            ],
            "examples": ["planner", "0:4B2E.0000.1A3D", "82566562323005"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> PeerRef {
        text.parse().unwrap()
    }

    #[test]
    fn each_form_is_recognised_in_the_contracts_order() {
        let node = NodeId::new(0xA91F_0000_7C2E).unwrap();
        assert_eq!(
            parsed("0:A91F.0000.7C2E"),
            PeerRef::Address("0:A91F.0000.7C2E".parse().unwrap())
        );
        assert_eq!(parsed("A91F.0000.7C2E"), parsed("0:A91F.0000.7C2E"));
        assert_eq!(parsed(&"ab".repeat(32)), PeerRef::Key([0xAB; 32]));
        assert_eq!(parsed(&"12".repeat(32)), PeerRef::Key([0x12; 32]));
        assert_eq!(parsed("0xA91F00007C2E"), PeerRef::Node(node));
        assert_eq!(parsed(&node.to_u64().to_string()), PeerRef::Node(node));
        assert_eq!(
            parsed("planner"),
            PeerRef::Hostname("planner".parse().unwrap())
        );
        assert_eq!(
            parsed("pilot-ticket:a.b:c"),
            PeerRef::Ticket("pilot-ticket:a.b:c".into())
        );
    }

    #[test]
    fn what_is_printed_is_read_back() {
        for text in [
            "0:A91F.0000.7C2E",
            &"ab".repeat(32),
            "186000000000000",
            "planner",
            "pilot-ticket:x",
        ] {
            assert_eq!(parsed(text).to_string(), text);
            let json = serde_json::to_string(&parsed(text)).unwrap();
            assert_eq!(
                serde_json::from_str::<PeerRef>(&json).unwrap(),
                parsed(text)
            );
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "A91F.0000",
            "x:A91F.0000.7C2E",
            "0:A91F.0000.7C2E:7",
            "0x",
            "0xA91F00007C2",
            "0xA91F00007C2E0",
            "281474976710656",
            "99999999999999999999999",
            "Planner",
            "a_b",
            "-a",
            " planner",
            "planner ",
            "é",
            &"z".repeat(64),
            &"pilot-ticket:".repeat(2000),
        ] {
            assert!(text.parse::<PeerRef>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_ticket_is_not_shown_in_debug_output() {
        let shown = format!("{:?}", parsed("pilot-ticket:secret"));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
