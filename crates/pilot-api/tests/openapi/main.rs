//! The API's document against the server: each call that it describes is made, and each answer is one that it describes.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

mod document;
#[path = "../fake/mod.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod fake;
mod instance;
mod patterns;
#[path = "../raw/mod.rs"]
mod raw;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use document::{Document, Operation};
use fake::Running;
use instance::{minimal, wrong};

async fn started() -> (Running, Document) {
    let running = Running::start();
    let document = Document::read(&running.socket()).await;
    (running, document)
}

/// The least that the operation's schema demands, and a state of the fake that lets it succeed.
async fn prepared(running: &Running, document: &Document, operation: &Operation<'_>) -> Value {
    let mut body = operation
        .body()
        .map_or(Value::Null, |schema| minimal(document, schema));
    match operation.path.as_str() {
        "/v1/accept" => {
            let (near, _) = tokio::io::duplex(64);
            running.fake.inbound.lock().await.push(near);
        }
        "/v1/datagrams/receive" => body["port"] = json!(5000),
        "/v1/streams/outcome" => {
            let request = r#"{"peer":"planner","port":1000}"#;
            let (answer, mut stream) = raw::open(&running.socket(), "/v1/dial", request).await;
            stream.shutdown().await.unwrap();
            stream.read_to_end(&mut vec![]).await.unwrap();
            let number: u64 = answer.header("pilot-stream-id").unwrap().parse().unwrap();
            body["stream"] = json!(number);
        }
        _ => {}
    }
    body
}

#[tokio::test]
async fn every_call_succeeds_as_described() {
    let (_, document) = started().await;
    for operation in document.operations() {
        let running = Running::start();
        let body = prepared(&running, &document, &operation).await;
        if let Some(schema) = operation.body() {
            assert!(document.validator(schema).is_valid(&body), "{body}");
        }
        let answer = operation.ask(&document, &running.socket(), &body).await;
        assert!([101, 200].contains(&answer.status), "{answer:?}");
    }
}

#[tokio::test]
async fn every_call_about_an_agent_fails_as_described() {
    let (running, document) = started().await;
    let mut failed = 0;
    for operation in document.operations() {
        let Some(schema) = operation.body() else {
            continue;
        };
        let mut body = minimal(&document, schema);
        // A knock does not tell what it finds.
        if body["peer"].is_null() || operation.path == "/v1/handshake" {
            continue;
        }
        for (name, status) in [
            ("nobody", 404),
            ("stranger", 403),
            ("flood", 429),
            ("away", 502),
        ] {
            body["peer"] = json!(name);
            let answer = operation.ask(&document, &running.socket(), &body).await;
            assert_eq!(answer.status, status, "{answer:?}");
            failed += 1;
        }
        if !document.resolved(schema)["properties"]["timeout_ms"].is_null() {
            body["peer"] = json!("slow");
            body["timeout_ms"] = json!(10);
            let answer = operation.ask(&document, &running.socket(), &body).await;
            assert_eq!(answer.status, 504, "{answer:?}");
        }
    }
    assert!(failed >= 4 * 8, "{failed} calls failed");
}

#[tokio::test]
async fn requests_that_the_schema_refuses_are_refused_by_the_name_of_the_field() {
    let (running, document) = started().await;
    let mut refused = 0;
    for operation in document.operations() {
        let Some(schema) = operation.body() else {
            continue;
        };
        let validator = document.validator(schema);
        for wrong in wrong(&document, schema) {
            assert!(!validator.is_valid(&wrong.body), "{wrong:?}");
            let answer = operation
                .ask(&document, &running.socket(), &wrong.body)
                .await;
            assert_eq!(
                answer.status, 400,
                "{} {wrong:?}: {answer:?}",
                operation.path
            );
            let error = answer.json();
            assert_eq!(error["code"], "invalid_argument");
            let message = error["message"].as_str().unwrap();
            assert!(message.contains(&wrong.word), "{wrong:?}: {message}");
            assert!(message.len() < 1000, "{} bytes", message.len());
            refused += 1;
        }
    }
    assert!(refused > 100, "{refused} requests were refused");
}

/// The methods of `DaemonApi` as its source lists them.
fn methods() -> BTreeSet<String> {
    let source = include_str!("../../src/daemon_api.rs");
    source
        .lines()
        .filter(|line| line.contains("Request => "))
        .map(|line| line.trim().split(':').next().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_document_has_every_method_of_the_daemon_and_no_other() {
    let (running, document) = started().await;
    let mut expected = methods();
    assert!(
        expected.len() > 20 && expected.contains("dial"),
        "{expected:?}"
    );
    expected.insert("stream_outcome".to_owned());
    let ids = document
        .operations()
        .map(|operation| operation.json["operationId"].as_str().unwrap().to_owned());
    assert_eq!(ids.collect::<BTreeSet<_>>(), expected);
    let answer = raw::ask(&running.socket(), "GET", "/v1/nothing", "").await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn the_manual_has_every_path_and_no_other() {
    let (_, document) = started().await;
    let manual = include_str!("../../../../docs/api.md");
    let calls = manual.split("## Calls").nth(1).unwrap();
    let rows = calls.split("## ").next().unwrap();
    let listed: BTreeSet<&str> = rows
        .split('`')
        .filter(|text| text.starts_with("/v1/"))
        .collect();
    let paths = document.json["paths"].as_object().unwrap();
    assert_eq!(listed, paths.keys().map(String::as_str).collect());
    for operation in document.operations() {
        let row = rows
            .lines()
            .find(|row| row.contains(&format!("`{}`", operation.path)));
        assert!(row.unwrap().contains(&operation.verb), "{}", operation.path);
    }
}

#[tokio::test]
async fn the_document_is_whole_and_speaks_of_the_api_alone() {
    let (_, document) = started().await;
    assert_eq!(document.json["openapi"], "3.1.0");
    assert_eq!(document.json["info"]["version"], env!("CARGO_PKG_VERSION"));
    walk(&document.json, &mut |value| {
        if let Some(reference) = value["$ref"].as_str() {
            let target = document.json.pointer(&reference[1..]);
            assert!(target.is_some_and(Value::is_object), "{reference}");
        }
        for key in ["description", "summary"] {
            let text = value[key].as_str().unwrap_or_default();
            for rust in ["[`", "::", "`POST /", "`GET /"] {
                assert!(!text.contains(rust), "{text}");
            }
        }
    });
    for operation in document.operations() {
        let summary = operation.json["summary"].as_str().unwrap();
        assert!(summary.len() > 5, "{}: {summary:?}", operation.path);
    }
    let schemas = document.json["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas {
        assert!(jsonschema::meta::is_valid(schema), "{name}");
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            let is_said = property["description"].is_string() || name == "ErrorEnvelope";
            assert!(is_said, "{name}.{field} is not described");
        }
    }
}

fn walk(value: &Value, visit: &mut impl FnMut(&Value)) {
    visit(value);
    match value {
        Value::Object(fields) => fields.values().for_each(|value| walk(value, visit)),
        Value::Array(items) => items.iter().for_each(|value| walk(value, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
