//! Clients that are many.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;

use crate::fake::Running;
use crate::raw::{ask, open, request, upgrade};
use crate::{ECHO, connect, count, is_served, rest, sent, until};

/// Never answered.
const HANGING: &str = r#"{"peer":"slow","timeout_ms":0}"#;

/// For tests that have both ends of many connections.
fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, all).unwrap();
}

#[tokio::test]
async fn a_thousand_idle_connections_give_way() {
    allow_descriptors();
    let running = Running::start();
    let mut idle = vec![];
    for _ in 0..1000 {
        idle.push(connect(&running).await);
    }
    is_served(&running).await;
    assert!(running.load.connections() <= 256);
    assert!(count(&running, "idle") > 700);
    // The oldest is gone.
    assert_eq!(rest(idle.remove(0)).await, "");
    // The newest is not.
    let mut newest = idle.pop().unwrap();
    let words = request("GET", "/v1/status", "");
    newest.write_all(words.as_bytes()).await.unwrap();
    assert!(rest(newest).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn when_all_are_busy_a_new_connection_is_told_so() {
    allow_descriptors();
    let running = Running::start();
    let mut busy = vec![];
    for _ in 0..256 {
        busy.push(sent(&running, request("POST", "/v1/ping", HANGING)).await);
    }
    // The last of them may still be on its way.
    let refused = loop {
        let answer = ask(&running.socket(), "GET", "/v1/status", "").await;
        if answer.status != 200 {
            break answer;
        }
        busy.push(sent(&running, request("POST", "/v1/ping", HANGING)).await);
    };
    assert_eq!(refused.status, 503, "{refused:?}");
    let error = refused.json();
    assert_eq!(error["code"], "rate_limited");
    assert!(error["retry_after_ms"].is_u64() && error["hint"].is_string());
    assert!(count(&running, "connections") > 0);
    drop(busy);
    until(|| running.load.connections() < 256).await;
    is_served(&running).await;
}

#[tokio::test]
async fn streams_do_not_take_the_places_of_commands() {
    allow_descriptors();
    let running = Running::start();
    let mut streams = vec![];
    for _ in 0..512 {
        let (answer, stream) = open(&running.socket(), "/v1/dial", ECHO).await;
        assert_eq!(answer.status, 101);
        streams.push(stream);
    }
    assert_eq!(running.load.streams(), 512);
    is_served(&running).await;
    let (refused, _) = open(&running.socket(), "/v1/dial", ECHO).await;
    assert_eq!(refused.status, 429, "{refused:?}");
    assert_eq!(refused.json()["code"], "rate_limited");
    assert_eq!(count(&running, "streams"), 1);
    drop(streams);
    until(|| running.load.streams() == 0).await;
    let (answer, _) = open(&running.socket(), "/v1/dial", ECHO).await;
    assert_eq!(answer.status, 101);
}

/// Those who wait for a stream count as streams already.
#[tokio::test]
async fn waiting_for_streams_does_not_take_the_places_of_commands() {
    allow_descriptors();
    let running = Running::start();
    let accept = upgrade("/v1/accept", r#"{"port":1000,"timeout_ms":0}"#);
    let mut waiting = vec![];
    for number in 1..=300 {
        waiting.push(sent(&running, &accept).await);
        until(|| running.load.streams() == number).await;
    }
    is_served(&running).await;
    drop(waiting);
    until(|| running.load.streams() == 0).await;
}
