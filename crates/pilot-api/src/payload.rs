//! Bytes in JSON: a string where they are UTF-8, else base64 under another name.

use std::fmt;

use data_encoding::BASE64;
use schemars::JsonSchema;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

const TEXT: &str = "data";
const BASE64_TEXT: &str = "data_b64";

/// Bytes that appear as `data` where they are valid UTF-8 and as `data_b64` otherwise. Meant to be flattened.
#[derive(Clone, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(into = "Fields", try_from = "Fields")]
pub struct Payload(Vec<u8>);

#[derive(Default, JsonSchema, Serialize, Deserialize)]
#[schemars(extend("oneOf" = [{ "required": [TEXT] }, { "required": [BASE64_TEXT] }]))]
struct Fields {
    /// The bytes, where they are UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    data: Option<String>,
    /// The bytes in base64 with padding (RFC 4648 §4), where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
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

/// Reads a payload that is flattened into a request: whatever is neither the request's own field nor the payload's is refused.
///
/// `deny_unknown_fields` cannot do that: serde does not know the fields of what is flattened.
pub(crate) fn closed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Payload, D::Error> {
    deserializer.deserialize_map(Closed)
}

struct Closed;

impl<'de> Visitor<'de> for Closed {
    type Value = Payload;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("data or data_b64")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Payload, M::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<String>()? {
            let field = match name.as_str() {
                TEXT => &mut fields.data,
                BASE64_TEXT => &mut fields.data_b64,
                _ => return Err(de::Error::unknown_field(&name, &[TEXT, BASE64_TEXT])),
            };
            let text: String = map
                .next_value()
                .map_err(|error| de::Error::custom(format_args!("{name}: {error}")))?;
            if field.replace(text).is_some() {
                return Err(de::Error::custom(format_args!("{name} is there twice")));
            }
        }
        fields.try_into().map_err(de::Error::custom)
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
