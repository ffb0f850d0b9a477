//! What each method of an adapted app asks of its API: the bundle's `api.json`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::{Position, Url};

/// Longest description: 64 operations of some KiB.
pub const MAX_DESCRIPTION: usize = 1024 * 1024;
/// As many as an app may have methods.
const MAX_OPERATIONS: usize = 64;
/// Parameters of one operation, and credentials of all.
const MAX_PARAMS: usize = 64;
const MAX_CREDENTIALS: usize = 16;
/// What a request says by itself (RFC 9110), and what credentials are for.
const OWN_HEADERS: [&str; 13] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// An API, as far as an app offers it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The format's version: 1.
    pub format: u32,
    /// Where the API is: `http://` or `https://`, a host, perhaps a port and a path.
    pub base: String,
    /// How it knows its callers.
    #[serde(default)]
    pub credentials: BTreeMap<String, Credential>,
    /// What can be asked, by the method's name.
    pub operations: BTreeMap<String, Operation>,
}

/// Where a credential goes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Credential {
    /// A header of this name.
    Header(String),
    /// A parameter of the query.
    Query(String),
    /// `Authorization: Bearer`.
    Bearer,
    /// `Authorization: Basic`, of `USER:PASSWORD`.
    Basic,
}

/// One request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// HTTP's method.
    pub method: Method,
    /// Below the base, with `{name}` for parameters.
    pub path: String,
    /// What goes into path, query and headers.
    #[serde(default)]
    pub params: Vec<Param>,
    /// Whether it has a body of JSON.
    #[serde(default)]
    pub body: Body,
    /// Credentials: any one of these sets. None at all: it takes none.
    #[serde(default)]
    pub security: Vec<Vec<String>>,
}

/// HTTP's methods, as far as APIs use them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "RFC 9110 has them")]
pub enum Method {
    Get,
    Head,
    Put,
    Post,
    Patch,
    Delete,
}

impl Method {
    /// As HTTP has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether twice is as good as once (RFC 9110 §9.2.2).
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        !matches!(self, Self::Post | Self::Patch)
    }
}

/// Whether a request has a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// It has none.
    #[default]
    None,
    /// If the argument `body` is there.
    Optional,
    /// Always.
    Required,
}

/// A parameter, by the argument's name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Param {
    /// As the API and the caller call it.
    pub name: String,
    /// Where it goes.
    pub place: Place,
    /// Whether it has to be there.
    #[serde(default)]
    pub required: bool,
}

/// Where a parameter goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "OpenAPI has them")]
pub enum Place {
    Path,
    Query,
    Header,
}

/// Why a text is no description.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DescriptionError {
    /// Too long.
    #[error("it is longer than {MAX_DESCRIPTION} bytes")]
    TooLong,
    /// No JSON, or other fields.
    #[error("{0}")]
    Form(String),
    /// Not where an API can be.
    #[error("base {0:?}: expected http:// or https://, a host, and no user, query or fragment")]
    Base(String),
    /// A credential that cannot be sent.
    #[error(
        "credential {0:?}: expected a name of letters, digits, -, _ and ., and a header's name"
    )]
    Credential(String),
    /// An operation that cannot be asked for.
    #[error("operation {name}: {words}")]
    Operation {
        /// Which.
        name: String,
        /// What is wrong with it.
        words: String,
    },
}

impl Description {
    /// Reads and checks it.
    ///
    /// # Errors
    /// [`DescriptionError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DescriptionError> {
        if bytes.len() > MAX_DESCRIPTION {
            return Err(DescriptionError::TooLong);
        }
        let parsed: Self = serde_json::from_slice(bytes)
            .map_err(|error| DescriptionError::Form(error.to_string()))?;
        parsed.check()?;
        Ok(parsed)
    }

    /// Whether requests can be made by it.
    ///
    /// # Errors
    /// [`DescriptionError`].
    pub fn check(&self) -> Result<(), DescriptionError> {
        if self.format != 1 {
            let words = format!("format {}: this version knows 1", self.format);
            return Err(DescriptionError::Form(words));
        }
        if self.operations.is_empty() || self.operations.len() > MAX_OPERATIONS {
            let words = format!("expected 1 to {MAX_OPERATIONS} operations");
            return Err(DescriptionError::Form(words));
        }
        self.url()?;
        if self.credentials.len() > MAX_CREDENTIALS {
            let words = format!("expected at most {MAX_CREDENTIALS} credentials");
            return Err(DescriptionError::Form(words));
        }
        for (name, credential) in &self.credentials {
            let is_sendable = match credential {
                Credential::Header(header) => is_token(header) && is_free(header),
                Credential::Query(name) => !name.is_empty(),
                Credential::Bearer | Credential::Basic => true,
            };
            if !is_credential_name(name) || !is_sendable {
                return Err(DescriptionError::Credential(name.clone()));
            }
        }
        for (name, operation) in &self.operations {
            let name = name.clone();
            operation
                .check(&self.credentials)
                .map_err(|words| DescriptionError::Operation { name, words })?;
        }
        Ok(())
    }

    /// Where the API is.
    ///
    /// # Errors
    /// [`DescriptionError::Base`].
    pub fn url(&self) -> Result<Url, DescriptionError> {
        let refused = || DescriptionError::Base(self.base.chars().take(200).collect());
        let url = Url::parse(&self.base).map_err(|_| refused())?;
        let is_plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url[Position::AfterPath..].is_empty();
        if is_plain { Ok(url) } else { Err(refused()) }
    }
}

impl Operation {
    fn check(&self, credentials: &BTreeMap<String, Credential>) -> Result<(), String> {
        if self.params.len() > MAX_PARAMS {
            return Err(format!("expected at most {MAX_PARAMS} parameters"));
        }
        let mut names = BTreeSet::from(["body"]);
        for param in &self.params {
            if !names.insert(&param.name) {
                return Err(format!("two arguments would be called {:?}", param.name));
            }
            let is_header = is_token(&param.name) && is_free(&param.name);
            if param.place == Place::Header && !is_header {
                return Err(format!("{:?} is no header of its own", param.name));
            }
            if param.place == Place::Path && !param.required {
                return Err(format!("{:?} is in the path, and not required", param.name));
            }
        }
        self.check_path()?;
        let mut named = self.security.iter().flatten();
        match named.find(|name| !credentials.contains_key(*name)) {
            Some(unknown) => Err(format!(
                "it takes a credential {unknown:?}, which is not described"
            )),
            None => Ok(()),
        }
    }

    fn check_path(&self) -> Result<(), String> {
        let of_path = |param: &&Param| param.place == Place::Path;
        let known: BTreeSet<&str> = self
            .params
            .iter()
            .filter(of_path)
            .map(|p| p.name.as_str())
            .collect();
        let mut used = BTreeSet::new();
        let plain =
            pieces(&self.path)?
                .into_iter()
                .fold(String::new(), |plain, piece| match piece {
                    Piece::Text(text) => plain + text,
                    Piece::Param(name) => {
                        used.insert(name);
                        // Stands for a value, which is looked at when it is there.
                        plain + "x"
                    }
                });
        if used != known {
            return Err("the parameters of its path are not those in its path".to_owned());
        }
        let is_plain = |b: u8| b.is_ascii_graphic() && !b"?#\\\"<>".contains(&b);
        let climbs = plain.split('/').skip(1).any(is_dots);
        if !plain.starts_with('/') || climbs || !plain.bytes().all(is_plain) {
            return Err(format!("{:?} is no path", self.path));
        }
        Ok(())
    }
}

/// A part of a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    Param(&'a str),
}

/// `/a/{b}/c` as its parts.
pub(crate) fn pieces(path: &str) -> Result<Vec<Piece<'_>>, String> {
    let unpaired = || format!("{path:?} has a brace without the other");
    let mut pieces = vec![];
    let mut rest = path;
    while let Some(open) = rest.find(['{', '}']) {
        let (text, from) = rest.split_at(open);
        let inner = from.strip_prefix('{').ok_or_else(unpaired)?;
        let (name, after) = inner.split_once('}').ok_or_else(unpaired)?;
        if name.is_empty() || name.contains('{') {
            return Err(unpaired());
        }
        pieces.extend([Piece::Text(text), Piece::Param(name)]);
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

/// `.` and `..`, also as servers may decode them.
pub(crate) fn is_dots(segment: &str) -> bool {
    let decoded = segment.to_ascii_lowercase().replace("%2e", ".");
    decoded == "." || decoded == ".."
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let is_char = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.len() <= 128 && text.bytes().all(is_char)
}

fn is_free(header: &str) -> bool {
    !OWN_HEADERS.contains(&header.to_ascii_lowercase().as_str())
}

/// What a credential may be called: by it a person sets it.
pub(crate) fn is_credential_name(name: &str) -> bool {
    let is_char = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    !name.is_empty() && name.len() <= 64 && name.bytes().all(is_char)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(path: &str, params: &str) -> Result<Description, DescriptionError> {
        Description::parse(
            format!(
                "{{\"format\":1,\"base\":\"https://api.example.org/v1\",\"credentials\":{{\"key\":{{\"header\":\"X-Key\"}}}},\
                 \"operations\":{{\"one\":{{\"method\":\"GET\",\"path\":\"{path}\",\"params\":[{params}],\"security\":[[\"key\"]]}}}}}}"
            )
            .as_bytes(),
        )
    }

    #[test]
    fn a_description_is_read_and_its_paths_do_not_climb() {
        let id = "{\"name\":\"id\",\"place\":\"path\",\"required\":true}";
        description("/a/{id}", id).unwrap();
        for (path, params) in [
            ("a", ""),
            ("/a/../b", ""),
            ("/a/%2E%2e/b", ""),
            ("/a?x=1", ""),
            ("/a b", ""),
            ("/a\\r\\nX: y", ""),
            ("/{id}", ""),
            ("/{id", id),
            ("/a", id),
            ("/a", "{\"name\":\"Host\",\"place\":\"header\"}"),
            ("/a", "{\"name\":\"a\\r\\nb\",\"place\":\"header\"}"),
            ("/a", "{\"name\":\"body\",\"place\":\"query\"}"),
            (
                "/a",
                "{\"name\":\"a\",\"place\":\"query\"},{\"name\":\"a\",\"place\":\"query\"}",
            ),
        ] {
            assert!(description(path, params).is_err(), "{path} {params}");
        }
    }

    #[test]
    fn a_base_names_a_host_and_nothing_secret() {
        for base in [
            "ftp://a",
            "https://u:p@a",
            "https://a/?k=v",
            "https://a/#x",
            "/v1",
            "",
        ] {
            let mut whole = description("/a", "").unwrap();
            whole.base = base.to_owned();
            assert!(whole.check().is_err(), "{base}");
        }
    }
}
