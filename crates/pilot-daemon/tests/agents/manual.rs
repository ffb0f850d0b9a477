//! The examples of the API's manual, run as they stand there.

use std::path::Path;
use std::process::Stdio;

use pilot_api::Payload;
use pilot_api::types::{InboxRequest, MessageKind, PublishRequest, SendMessageRequest};
use pilot_daemon::Config;
use serde_json::Value;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::harness::{Agent, LOOK, Network, offline_config, start, until};

/// What is typed, and what comes back.
struct Example {
    command: &'static str,
    answer: Value,
}

fn examples() -> Vec<Example> {
    let manual = include_str!("../../../../docs/api.md");
    let mut lines = manual.lines();
    let mut examples = vec![];
    while let Some(line) = lines.next() {
        let Some(command) = line.strip_prefix("$ ") else {
            assert!(!line.starts_with("curl "), "no prompt: {line}");
            continue;
        };
        let answer = lines.next().unwrap();
        let answer = serde_json::from_str(answer);
        examples.push(Example {
            command,
            answer: answer.unwrap_or_else(|error| panic!("{command}: {error}")),
        });
    }
    examples
}

/// A program whose `~/.pilot` is the agent's home.
fn shell(home: &Path, command: &str) -> Child {
    Command::new("sh")
        .args(["-c", command])
        .env("HOME", home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// One JSON document, whatever follows it.
async fn document(stdout: ChildStdout, command: &str) -> Value {
    let mut stdout = BufReader::new(stdout);
    let mut text = vec![];
    loop {
        let mut some = [0; 4096];
        let length = stdout.read(&mut some).await.unwrap();
        text.extend_from_slice(&some[..length]);
        let mut documents = serde_json::Deserializer::from_slice(&text).into_iter();
        match documents.next() {
            Some(Ok(document)) => return document,
            _ if length > 0 => {}
            _ => panic!("{command} (is curl installed?): {text:?}"),
        }
    }
}

/// All that the manual shows is there, and of the same kind. Null stands for what may be something.
fn check(shown: &Value, found: &Value, at: &str) {
    match (shown, found) {
        (Value::Object(shown), Value::Object(found)) => {
            for (name, value) in shown {
                let found = found.get(name);
                let found = found.unwrap_or_else(|| panic!("{at}.{name} is missing"));
                check(value, found, &format!("{at}.{name}"));
            }
        }
        (Value::Array(shown), Value::Array(found)) => {
            assert_eq!(shown.len(), found.len(), "{at}");
            for (shown, found) in shown.iter().zip(found) {
                check(shown, found, at);
            }
        }
        (Value::String(shown), Value::String(found)) if is_word(at) => {
            let is_said = match shown.strip_suffix('…') {
                Some(start) => found.starts_with(start),
                None => shown == found,
            };
            assert!(is_said, "{at}: {shown:?} is {found:?}");
        }
        (Value::Null, _)
        | (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_)) => {}
        _ => assert_eq!(shown, found, "{at}"),
    }
}

/// Whether it is the same on every machine.
fn is_word(at: &str) -> bool {
    let name = at.rsplit('.').next().unwrap();
    [
        "status", "code", "message", "hint", "hostname", "type", "data", "ack", "trust", "openapi",
        "topic",
    ]
    .contains(&name)
}

fn message(peer: &Agent) -> SendMessageRequest {
    SendMessageRequest {
        peer: peer.peer(),
        body: Payload::new(b"hi".to_vec()),
        kind: MessageKind::Text,
        id: None,
        reply_to: None,
        wait_ms: None,
        timeout_ms: None,
        traceparent: None,
    }
}

/// Publishes until it is dropped.
async fn publish(from: &Agent, broker: &Agent) -> Value {
    loop {
        let event = PublishRequest {
            peer: broker.peer(),
            topic: "jobs/done".parse().unwrap(),
            body: Payload::new(b"7".to_vec()),
            timeout_ms: None,
        };
        from.call(event).await.unwrap();
        tokio::time::sleep(LOOK).await;
    }
}

#[tokio::test]
async fn every_example_of_the_manual_runs_and_answers_as_it_says() {
    let network = Network::new().await;
    let home = network.home("user");
    std::fs::create_dir(&home).unwrap();
    let named = network.config("worker");
    let config = Config {
        hostname: named.hostname,
        rendezvous: named.rendezvous,
        ..offline_config(&home.join(".pilot"))
    };
    let (worker, planner) = tokio::join!(start(config), network.start("planner"));
    let worker = worker.unwrap();
    worker.befriend(&planner).await;
    planner.call(message(&worker)).await.unwrap();
    let inbox = || async { worker.call(InboxRequest::default()).await.unwrap() };
    until(|| async { inbox().await.total == 1 }).await;
    let examples = examples();
    assert!(examples.len() >= 8, "{}", examples.len());
    for Example { command, answer } in examples {
        let mut child = shell(&home, command);
        let stdout = child.stdout.take().unwrap();
        let found = tokio::select! {
            found = document(stdout, command) => found,
            found = publish(&worker, &planner), if command.contains("subscribe") => found,
        };
        check(&answer, &found, command);
    }
}
