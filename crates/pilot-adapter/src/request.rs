//! A call as a request. Whatever is in an argument, it stays in the place that is its own.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde_json::{Map, Value};
use url::{Position, Url};

use crate::description::{Body, Credential, Operation, Param, Piece, Place, is_dots, pieces};

/// By which a server knows that it was asked before (the IETF's draft `idempotency-key-header`).
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest line of a request: what servers take.
const MAX_TARGET: usize = 8 * 1024;
/// Longest value of a header.
const MAX_VALUE: usize = 4 * 1024;

/// A request, whole but for its connection.
pub(crate) struct Request {
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
    /// The key by which it may be sent again.
    pub(crate) key: Option<String>,
}

/// Makes it, or says in words what is wrong with the arguments. `new_key` makes a key for a request that takes one.
pub(crate) fn request(
    base: &Url,
    operation: &Operation,
    arguments: &Map<String, Value>,
    credentials: &[(&Credential, &str)],
    new_key: impl Fn() -> String,
) -> Result<Request, String> {
    let target = target(base, operation, arguments, credentials)?;
    let host = &base[Position::BeforeHost..Position::AfterPort];
    let mut head = format!(
        "{} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Pilot/{}\r\nAccept: application/json, */*;q=0.5\r\n\
         Accept-Encoding: identity\r\nConnection: close\r\n",
        operation.method.name(),
        env!("CARGO_PKG_VERSION")
    );
    let mut key = None;
    for param in of(operation, Place::Header) {
        let is_key = param.name.eq_ignore_ascii_case(IDEMPOTENCY_KEY);
        let value = match arguments.get(&param.name) {
            Some(value) => text(&param.name, value)?,
            None if is_key => new_key(),
            None if param.required => return Err(missing(&param.name)),
            None => continue,
        };
        push_header(&mut head, &param.name, &value)?;
        if is_key {
            key = Some(value);
        }
    }
    for (credential, value) in credentials {
        match credential {
            Credential::Header(name) => push_header(&mut head, name, value)?,
            Credential::Bearer => {
                push_header(&mut head, "Authorization", &format!("Bearer {value}"))?;
            }
            Credential::Basic => {
                let both = BASE64.encode(value.as_bytes());
                push_header(&mut head, "Authorization", &format!("Basic {both}"))?;
            }
            Credential::Query(_) => {}
        }
    }
    let body = body(operation, arguments)?;
    if let Some(body) = &body {
        let length = body.len();
        head.push_str(&format!(
            "Content-Type: application/json\r\nContent-Length: {length}\r\n"
        ));
    } else if operation.body != Body::None || !operation.method.is_idempotent() {
        head.push_str("Content-Length: 0\r\n");
    }
    head.push_str("\r\n");
    Ok(Request {
        head: head.into_bytes(),
        body: body.unwrap_or_default(),
        key,
    })
}

fn of(operation: &Operation, place: Place) -> impl Iterator<Item = &Param> {
    operation
        .params
        .iter()
        .filter(move |param| param.place == place)
}

fn body(operation: &Operation, arguments: &Map<String, Value>) -> Result<Option<Vec<u8>>, String> {
    match (operation.body, arguments.get("body")) {
        (Body::None, _) | (Body::Optional, None) => Ok(None),
        (Body::Required, None) => Err(missing("body")),
        (Body::Optional | Body::Required, Some(body)) => {
            let written = serde_json::to_vec(body);
            written.map(Some).map_err(|error| error.to_string())
        }
    }
}

fn target(
    base: &Url,
    operation: &Operation,
    arguments: &Map<String, Value>,
    credentials: &[(&Credential, &str)],
) -> Result<String, String> {
    let mut target = base.path().trim_end_matches('/').to_owned();
    let mut path = String::new();
    for piece in pieces(&operation.path)? {
        match piece {
            Piece::Text(text) => path.push_str(text),
            Piece::Param(name) => {
                let value = arguments.get(name).ok_or_else(|| missing(name))?;
                let value = text(name, value)?;
                if value.is_empty() {
                    return Err(format!("{name} is empty, and a part of the path"));
                }
                path.push_str(&encoded(&value));
            }
        }
    }
    // A value that is a whole part of the path is a name there, and no way up.
    if path.split('/').any(is_dots) {
        return Err("a part of the path would be . or ..".to_owned());
    }
    target.push_str(&path);
    let mut sign = '?';
    let mut add = |name: &str, value: &str| {
        target.push(sign);
        target.push_str(&format!("{}={}", encoded(name), encoded(value)));
        sign = '&';
    };
    for param in of(operation, Place::Query) {
        match arguments.get(&param.name) {
            Some(Value::Array(values)) => {
                for value in values {
                    add(&param.name, &scalar(&param.name, value)?);
                }
            }
            Some(value) => add(&param.name, &scalar(&param.name, value)?),
            None if param.required => return Err(missing(&param.name)),
            None => {}
        }
    }
    for (credential, value) in credentials {
        if let Credential::Query(name) = credential {
            add(name, value);
        }
    }
    if target.len() > MAX_TARGET {
        return Err(format!("path and query are longer than {MAX_TARGET} bytes"));
    }
    Ok(target)
}

fn missing(name: &str) -> String {
    format!("the argument {name} is missing")
}

/// Lists with commas, as OpenAPI's style `simple` has it.
fn text(name: &str, value: &Value) -> Result<String, String> {
    let Value::Array(values) = value else {
        return scalar(name, value);
    };
    let each: Result<Vec<_>, _> = values.iter().map(|value| scalar(name, value)).collect();
    Ok(each?.join(","))
}

fn scalar(name: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(format!(
            "{name}: expected a text, a number, a truth or a list of them"
        )),
    }
}

/// RFC 3986 §2.1, of all but what is unreserved.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// A value that ended its line would begin another header.
fn push_header(head: &mut String, name: &str, value: &str) -> Result<(), String> {
    let is_plain =
        value.len() <= MAX_VALUE && !value.contains(char::is_control) && value.is_ascii();
    if !is_plain {
        return Err(format!(
            "{name}: expected one line of ASCII, at most {MAX_VALUE} bytes"
        ));
    }
    head.push_str(&format!("{name}: {value}\r\n"));
    Ok(())
}

/// How a credential may stand in what a server says of its request.
pub(crate) fn forms(credentials: &BTreeMap<String, String>) -> Vec<String> {
    let each = credentials.values().flat_map(|value| {
        let password = value.split_once(':').map_or("", |(_, password)| password);
        let basic = BASE64.encode(value.as_bytes());
        [
            value.clone(),
            encoded(value),
            basic,
            password.to_owned(),
            encoded(password),
        ]
    });
    // What is that short is in any text.
    let mut forms: Vec<String> = each.filter(|form| form.len() >= 4).collect();
    // A longer one first: a shorter one may be a part of it.
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.dedup();
    forms
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::description::Method;

    fn operation(method: Method, path: &str, params: &[(&str, Place)]) -> Operation {
        let params = params.iter().map(|(name, place)| Param {
            name: (*name).to_owned(),
            place: *place,
            required: *place == Place::Path,
        });
        Operation {
            method,
            path: path.to_owned(),
            params: params.collect(),
            body: Body::Optional,
            security: vec![],
        }
    }

    #[allow(
        clippy::needless_pass_by_value,
        reason = "`json!` stands where it is used"
    )]
    fn made(operation: &Operation, arguments: Value) -> Result<String, String> {
        let base = Url::parse("http://h.example:81/v1/").unwrap();
        let arguments = arguments.as_object().unwrap();
        let key = || "new-key".to_owned();
        let made = request(&base, operation, arguments, &[], key)?;
        Ok(String::from_utf8([made.head, made.body].concat()).unwrap())
    }

    #[test]
    fn arguments_stay_in_their_places() {
        let get = operation(
            Method::Get,
            "/a/{id}/b",
            &[
                ("id", Place::Path),
                ("q", Place::Query),
                ("X-H", Place::Header),
            ],
        );
        let hostile = json!({ "id": "x/../?#", "q": ["a&b=c", 7, true], "X-H": "plain" });
        let text = made(&get, hostile).unwrap();
        let first = text.lines().next().unwrap();
        assert_eq!(
            first,
            "GET /v1/a/x%2F..%2F%3F%23/b?q=a%26b%3Dc&q=7&q=true HTTP/1.1"
        );
        assert!(text.contains("\r\nHost: h.example:81\r\n") && text.contains("\r\nX-H: plain\r\n"));
        for arguments in [
            json!({ "id": ".." }),
            json!({ "id": "." }),
            json!({ "id": "" }),
            json!({ "id": { "a": 1 } }),
            json!({ "id": "1", "X-H": "a\r\nX-Other: b" }),
            json!({ "id": "1", "X-H": "ü" }),
            json!({ "id": "1", "q": "x".repeat(9000) }),
            json!({}),
        ] {
            assert!(made(&get, arguments.clone()).is_err(), "{arguments}");
        }
    }

    #[test]
    fn a_body_is_json_and_a_key_is_the_callers_or_a_new_one() {
        let post = operation(Method::Post, "/p", &[("Idempotency-Key", Place::Header)]);
        let text = made(&post, json!({ "body": { "a": "\r\n" } })).unwrap();
        assert!(
            text.ends_with("Content-Length: 12\r\n\r\n{\"a\":\"\\r\\n\"}"),
            "{text}"
        );
        assert!(text.contains("\r\nIdempotency-Key: new-key\r\n"));
        let text = made(&post, json!({ "Idempotency-Key": "mine" })).unwrap();
        assert!(text.contains("\r\nIdempotency-Key: mine\r\n") && text.contains("Length: 0\r\n"));
    }
}
