//! Whether what the server said is what it may say.

use serde_json::Value;

use crate::error::ErrorCode;
use crate::server::{ID_HEADER, INFO_HEADER};

/// Answers one after another, the last of which may be followed by the bytes of a raw stream: an echo of the request's.
pub(super) fn check(said: &[u8], sent: &[u8]) {
    let mut rest = said;
    while !rest.is_empty() {
        let Some((head, behind)) = split_head(rest) else {
            check_cut_off(rest);
            return;
        };
        let head = Head::parse(head);
        match head.status {
            100 => rest = behind,
            101 => {
                check_upgrade(&head);
                assert!(
                    sent.ends_with(behind),
                    "the stream's bytes are those behind the request"
                );
                return;
            }
            _ => rest = check_body(&head, behind),
        }
    }
}

fn split_head(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).expect("a head is text");
    Some((head, &bytes[end + 4..]))
}

/// hyper's answer to what is no HTTP does not wait for a client that reads none of its answers: it closes, and so ends a head
/// that nobody reads.
fn check_cut_off(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let is_refusal = [400, 414, 431]
        .iter()
        .any(|status| text.starts_with(&format!("HTTP/1.1 {status}")));
    assert!(is_refusal || text.len() < 12, "no head: {text}");
}

struct Head<'a> {
    status: u16,
    lines: Vec<(String, &'a str)>,
}

impl<'a> Head<'a> {
    fn parse(head: &'a str) -> Self {
        let mut lines = head.split("\r\n");
        let first = lines.next().expect("there is a first one");
        let status = first
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| first.strip_prefix("HTTP/1.0 "))
            .and_then(|text| text.get(..3)?.parse().ok());
        let lines = lines.map(|line| {
            let (name, value) = line.split_once(": ").expect("a header has a value");
            (name.to_lowercase(), value)
        });
        Self {
            status: status.unwrap_or_else(|| panic!("no status line: {first}")),
            lines: lines.collect(),
        }
    }

    fn header(&self, wanted: &str) -> Option<&'a str> {
        self.lines
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| *value)
    }
}

fn check_upgrade(head: &Head<'_>) {
    let info = head.header(INFO_HEADER).expect("a stream has its facts");
    assert!(info.is_ascii(), "{info}");
    let facts: Value = serde_json::from_str(info).expect("they are JSON");
    assert!(facts.is_object(), "{info}");
    let id = head.header(ID_HEADER).expect("a stream has its number");
    assert!(id.parse::<u64>().is_ok(), "{id}");
}

/// Gives what follows it.
fn check_body<'a>(head: &Head<'_>, rest: &'a [u8]) -> &'a [u8] {
    let length = head.header("content-length");
    let length: usize = length.map_or(0, |text| text.parse().expect("a length is a number"));
    // An answer to HEAD announces a body, and has none: then the next head follows, or nothing.
    if length == 0 || !rest.starts_with(b"{") {
        let is_foreign = [400, 414, 431].contains(&head.status);
        assert!(length > 0 || is_foreign, "{} without a body", head.status);
        return rest;
    }
    let (body, rest) = rest.split_at_checked(length).expect("the body is whole");
    let kind = head.header("content-type");
    assert_eq!(kind, Some("application/json"));
    check_envelope(head.status, body);
    rest
}

fn check_envelope(http_status: u16, body: &[u8]) {
    let answer: Value = serde_json::from_slice(body).expect("a body is JSON");
    if answer["openapi"].is_string() {
        return;
    }
    match answer["status"].as_str() {
        Some("ok") => assert!(http_status == 200 && answer["data"].is_object(), "{answer}"),
        Some("error") => {
            let code = &answer["code"];
            let known = ErrorCode::ALL
                .into_iter()
                .find(|known| known.name() == code);
            let known = known.unwrap_or_else(|| panic!("no code of ours: {answer}"));
            assert_eq!(known.http_status(), http_status, "{answer}");
            assert_ne!(answer["message"].as_str(), Some(""), "{answer}");
            assert!(answer["message"].is_string(), "{answer}");
            assert_ne!(answer["hint"].as_str(), Some(""), "{answer}");
        }
        _ => panic!("no envelope: {answer}"),
    }
}
