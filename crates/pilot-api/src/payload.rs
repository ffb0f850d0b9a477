//! Bytes in JSON: a string where they are UTF-8, else base64 under another name.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

/// Bytes that appear as `data` where they are valid UTF-8 and as `data_b64` otherwise. Meant to be flattened.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(into = "Fields", try_from = "Fields")]
pub struct Payload(Vec<u8>);

#[derive(Serialize, Deserialize)]
struct Fields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data_b64: Option<String>,
}

impl Payload {
    /// Wraps the bytes.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, by value.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The text, if they are UTF-8.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The bytes in base64 (RFC 4648 §4).
    #[must_use]
    pub fn to_base64(&self) -> String {
        BASE64.encode(&self.0)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<Payload> for Fields {
    fn from(payload: Payload) -> Self {
        match String::from_utf8(payload.0) {
            Ok(text) => Self {
                data: Some(text),
                data_b64: None,
            },
            Err(error) => Self {
                data: None,
                data_b64: Some(BASE64.encode(error.as_bytes())),
            },
        }
    }
}

impl TryFrom<Fields> for Payload {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        match (fields.data, fields.data_b64) {
            (Some(text), None) => Ok(Self(text.into_bytes())),
            (None, Some(text)) => BASE64
                .decode(text.as_bytes())
                .map(Self)
                .map_err(|_| "data_b64: expected base64 with padding"),
            (Some(_), Some(_)) => Err("data and data_b64 are both given"),
            (None, None) => Err("data or data_b64 is missing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text_and_bytes_become_base64() {
        for (bytes, json) in [
            (&b"hi"[..], r#"{"data":"hi"}"#),
            (b"", r#"{"data":""}"#),
            (b"\xff\x00", r#"{"data_b64":"/wA="}"#),
        ] {
            let payload = Payload::new(bytes.to_vec());
            assert_eq!(serde_json::to_string(&payload).unwrap(), json);
            assert_eq!(serde_json::from_str::<Payload>(json).unwrap(), payload);
        }
    }

    #[test]
    fn neither_both_and_bad_base64_are_refused() {
        for json in [
            "{}",
            r#"{"data":"a","data_b64":"YQ=="}"#,
            r#"{"data_b64":"YQ"}"#,
        ] {
            assert!(serde_json::from_str::<Payload>(json).is_err(), "{json}");
        }
    }
}
