//! How a rendezvous is named: `pilot://KEY@host:port`, or `host:port` to trust whoever answers first.

use std::fmt;
use std::str::FromStr;

use pilot_types::{decode_hex, encode_hex};
use thiserror::Error;

/// Port of a rendezvous where none is given.
const DEFAULT_PORT: u16 = 9000;

/// A parsed rendezvous URL.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RendezvousUrl {
    key: Option<[u8; 32]>,
    host: String,
    port: u16,
}

/// Why a text is not a rendezvous URL.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseUrlError {
    /// The key is not 64 hex digits.
    #[error("invalid rendezvous key in {0:?}: expected 64 hex digits before @")]
    Key(String),
    /// Host or port are missing or malformed.
    #[error("invalid rendezvous {0:?}: expected pilot://KEY@host:port or host:port")]
    HostPort(String),
}

impl RendezvousUrl {
    /// With a key.
    #[must_use]
    pub fn new(key: [u8; 32], host_port: &str) -> Option<Self> {
        format!("pilot://{}@{host_port}", encode_hex(&key))
            .parse()
            .ok()
    }

    /// The key that must answer: an `AgentId` or a signing key.
    #[must_use]
    pub const fn key(&self) -> Option<[u8; 32]> {
        self.key
    }

    /// `host:port`, as it is resolved and pinned.
    #[must_use]
    pub fn host_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for RendezvousUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "pilot://{}@{}", encode_hex(key), self.host_port()),
            None => f.write_str(&self.host_port()),
        }
    }
}

impl FromStr for RendezvousUrl {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("pilot://").unwrap_or(text);
        let (key, host_port) = match rest.split_once('@') {
            Some((key, host_port)) => {
                let key = decode_hex(key).map_err(|_| ParseUrlError::Key(text.to_owned()))?;
                (Some(key), host_port)
            }
            None => (None, rest),
        };
        let (host, port) =
            split_port(host_port).ok_or_else(|| ParseUrlError::HostPort(text.to_owned()))?;
        Ok(Self {
            key,
            host: host.to_owned(),
            port,
        })
    }
}

/// Host and port; the port may be left out, an IPv6 address stands in brackets.
fn split_port(text: &str) -> Option<(&str, u16)> {
    let end = text.rfind(']').map_or(0, |end| end + 1);
    let (host, port) = match text[end..].rfind(':') {
        Some(colon) => (&text[..end + colon], text[end + colon + 1..].parse().ok()?),
        None => (text, DEFAULT_PORT),
    };
    let is_bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    let is_name = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    ((is_bracketed || is_name) && port != 0).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_round_trip() {
        let key = "ab".repeat(32);
        for text in [
            format!("pilot://{key}@host:9000"),
            "host.example:1".to_owned(),
            "[::1]:9000".to_owned(),
            "10.0.0.1:9000".to_owned(),
        ] {
            assert_eq!(text.parse::<RendezvousUrl>().unwrap().to_string(), text);
        }
        assert_eq!(
            "host".parse::<RendezvousUrl>().unwrap().host_port(),
            "host:9000"
        );
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "pilot://",
            "pilot://ab@host:9000",
            "host:0",
            "host:65536",
            "host:",
            ":9000",
            "a b:1",
            "http://x/y",
            "[::1",
            "::1:9000",
        ] {
            assert!(
                text.parse::<RendezvousUrl>().is_err(),
                "{text:?} was accepted"
            );
        }
    }
}
