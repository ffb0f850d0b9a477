//! What the document says of texts and numbers against the parsers.

use pilot_api::PeerRef;
use pilot_api::types::{ApproveRequest, DialRequest, InboxReadRequest, InboxRequest, PublicKey};
use pilot_types::{Address, Hostname, NetworkId, NodeId, Port, Tag};
use pilot_wire::{Topic, TopicFilter};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::document::Document;
use crate::started;

/// Texts at the borders of every pattern.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "a",
        "A",
        "-",
        "a-",
        "-a",
        "a_b",
        "é",
        "a b",
        "a\n",
        "planner",
        "0",
        "7",
        "007",
        "65535",
        "65536",
        "281474976710655",
        "281474976710656",
        "0:A91F.0000.7C2E",
        "0:a91f.0000.7c2e",
        "A91F.0000.7C2E",
        "00:A91F.0000.7C2E",
        "65534:A91F.0000.7C2E",
        "65535:A91F.0000.7C2E",
        "99999:A91F.0000.7C2E",
        "-1:A91F.0000.7C2E",
        "0:A91F.0000.7C2E:7",
        "0:A91F.0000.7C2",
        "0xA91F00007C2E",
        "0xa91f00007c2e",
        "0x",
        "0xA91F00007C2E0",
        "pilot-ticket:",
        "pilot-ticket:x",
        "pilot-ticket",
        "all",
        "All",
        "7,1000-1002",
        "7-",
        "-7",
        "7,,8",
        "9-7",
        ",",
        "7 ,8",
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.123Z",
        "2026-01-01T00:00:00.12Z",
        "2026-13-01T00:00:00Z",
        "2026-01-01T00:00:00+00:00",
        "2026-01-01 00:00:00Z",
        "jobs/done",
        "jobs.done",
        "jobs//done",
        "/jobs",
        "jobs/",
        "jobs/*",
        "*",
        "#",
        "jobs/#",
        "#/jobs",
        "job*",
        "größe/½",
        "jobs done",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ]
    .map(str::to_owned)
    .to_vec();
    for digit in ["a", "A", "1", "z", "-"] {
        texts.extend([31, 32, 33, 62, 63, 64, 65].map(|length| digit.repeat(length)));
    }
    texts
}

struct Comparison {
    document: Document,
    /// Texts that a pattern lets through and the parser does not: no more than each test says.
    looser: Vec<String>,
}

impl Comparison {
    async fn new() -> Self {
        let (_, document) = started().await;
        Self {
            document,
            looser: vec![],
        }
    }

    /// `read` is the parser behind the schema `name`. All that it takes, the schema takes.
    fn compare(&mut self, name: &str, values: &[Value], read: impl Fn(Value) -> bool) {
        let validator = self.document.validator(self.document.schema(name));
        let mut taken = 0;
        for value in values {
            let (is_read, is_described) = (read(value.clone()), validator.is_valid(value));
            assert!(is_described || !is_read, "{name} describes {value} not");
            if is_described && !is_read {
                self.looser.push(value.to_string());
            }
            taken += usize::from(is_read);
        }
        assert!(
            taken > 0 && taken < values.len(),
            "{name}: {taken} were taken"
        );
    }
}

fn reads<T: DeserializeOwned>(value: Value) -> bool {
    serde_json::from_value::<T>(value).is_ok()
}

#[tokio::test]
async fn texts_are_described_as_they_are_read() {
    let texts: Vec<Value> = texts().into_iter().map(Value::String).collect();
    let mut comparison = Comparison::new().await;
    comparison.compare("Hostname", &texts, reads::<Hostname>);
    comparison.compare("Tag", &texts, reads::<Tag>);
    comparison.compare("MessageId", &texts, |id| {
        reads::<InboxReadRequest>(json!({ "id": id }))
    });
    comparison.compare("TraceParent", &texts, |trace| {
        reads::<DialRequest>(json!({ "peer": "a", "port": 1, "traceparent": trace }))
    });
    comparison.compare("Topic", &texts, reads::<Topic>);
    comparison.compare("TopicFilter", &texts, reads::<TopicFilter>);
    assert_eq!(comparison.looser, Vec::<String>::new());
    // A regular expression does not count.
    comparison.compare("PeerRef", &texts, reads::<PeerRef>);
    let large = [
        "65535:A91F.0000.7C2E",
        "99999:A91F.0000.7C2E",
        "281474976710656",
    ];
    let large = large.map(|text| json!(text).to_string());
    let looser: Vec<String> = std::mem::take(&mut comparison.looser);
    assert!(large.iter().all(|text| looser.contains(text)), "{looser:?}");
    assert!(
        looser
            .iter()
            .all(|text| large.contains(text) || is_number(text)),
        "{looser:?}"
    );
    comparison.compare("Time", &texts, |since| {
        reads::<InboxRequest>(json!({ "since": since }))
    });
    comparison.compare("Ports", &texts, |ports| {
        reads::<ApproveRequest>(json!({ "peer": "a", "ports": ports }))
    });
    assert_eq!(
        comparison.looser,
        [r#""2026-13-01T00:00:00Z""#, r#""65536""#, r#""9-7""#]
    );
}

fn is_number(text: &str) -> bool {
    text.trim_matches('"')
        .bytes()
        .all(|byte| byte.is_ascii_digit())
}

/// Answers have one spelling where requests have several.
#[tokio::test]
async fn what_answers_print_is_described() {
    let mut comparison = Comparison::new().await;
    let print = |value: Value| reads::<Address>(value.clone()) && is_printed::<Address>(&value);
    let texts: Vec<Value> = texts().into_iter().map(Value::String).collect();
    comparison.compare("Address", &texts, print);
    assert_eq!(
        comparison.looser,
        [r#""65535:A91F.0000.7C2E""#, r#""99999:A91F.0000.7C2E""#]
    );
    comparison.looser.clear();
    comparison.compare("PublicKey", &texts, |value| {
        reads::<PublicKey>(value.clone()) && is_printed::<PublicKey>(&value)
    });
    assert_eq!(comparison.looser, Vec::<String>::new());
}

fn is_printed<T: DeserializeOwned + serde::Serialize>(value: &Value) -> bool {
    let read: T = serde_json::from_value(value.clone()).unwrap();
    serde_json::to_value(read).unwrap() == *value
}

#[tokio::test]
async fn numbers_are_described_as_they_are_read() {
    let numbers = [
        json!(-1),
        json!(0),
        json!(1),
        json!(1.5),
        json!("1"),
        json!(65_534),
        json!(65_535),
        json!(65_536),
        json!((1_u64 << 48) - 1),
        json!(1_u64 << 48),
        json!(u64::MAX),
        Value::Null,
    ];
    let mut comparison = Comparison::new().await;
    comparison.compare("NodeId", &numbers, reads::<NodeId>);
    comparison.compare("NetworkId", &numbers, reads::<NetworkId>);
    comparison.compare("Port", &numbers, reads::<Port>);
    assert_eq!(comparison.looser, Vec::<String>::new());
}
