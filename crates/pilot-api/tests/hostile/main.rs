//! Clients that are broken, slow or many. After each of them one that behaves well is served.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

#[path = "../fake/mod.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod fake;
mod many;
#[path = "../raw/mod.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod raw;
mod slow;
mod words;

use std::time::{Duration, Instant};

use fake::Running;
use raw::ask;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const PING: &str = r#"{"peer":"planner"}"#;
const ECHO: &str = r#"{"peer":"planner","port":7}"#;

async fn connect(running: &Running) -> UnixStream {
    UnixStream::connect(running.socket()).await.unwrap()
}

/// A client that has sent this and nothing more.
async fn sent(running: &Running, bytes: impl AsRef<[u8]>) -> UnixStream {
    let mut stream = connect(running).await;
    stream.write_all(bytes.as_ref()).await.unwrap();
    stream
}

/// All that comes until the server closes. It may break the connection off, having more to read.
async fn rest(mut stream: impl AsyncRead + Unpin) -> String {
    let mut answer = vec![];
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn is_served(running: &Running) {
    let answer = ask(&running.socket(), "GET", "/v1/status", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["status"], "ok");
}

fn count(running: &Running, reason: &str) -> u64 {
    let found = running.load.refusals().find(|(name, _)| *name == reason);
    found.unwrap().1
}

/// Lets everything else go on until it holds.
async fn until(holds: impl Fn() -> bool) {
    // By the real clock: a virtual one stands still meanwhile.
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "it never came to hold");
        tokio::task::yield_now().await;
    }
}

fn error(code: &str) -> String {
    format!(r#"{{"status":"error","code":"{code}","#)
}

fn is_refused(answer: &str, status: u16, code: &str) {
    let is_status = answer.starts_with(&format!("HTTP/1.1 {status} "));
    assert!(is_status && answer.contains(&error(code)), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}
