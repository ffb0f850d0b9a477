//! Clients that let the server wait. Its clock is virtual.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::fake::Running;
use crate::raw::ask;
use crate::{connect, count, is_refused, is_served, rest, sent, until};

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_told_so() {
    let running = Running::start();
    for head in ["G", "GET /v1/status HTTP/1.1\r\nHost: x\r\n"] {
        is_refused(&rest(sent(&running, head).await).await, 504, "timeout");
    }
    assert_eq!(count(&running, "slow_head"), 2);
    is_served(&running).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_without_a_word() {
    let running = Running::start();
    assert_eq!(rest(connect(&running).await).await, "");
    let kept = "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = rest(sent(&running, kept).await).await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert_eq!(count(&running, "slow_head"), 0);
    is_served(&running).await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_broken_off() {
    let running = Running::start();
    for path in ["/v1/ping", "/v1/messages"] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n");
        let (reader, mut writer) = sent(&running, head).await.into_split();
        let dripping = tokio::spawn(async move {
            while writer.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        is_refused(&rest(reader).await, 504, "timeout");
        dripping.await.unwrap();
    }
    assert_eq!(count(&running, "slow_body"), 2);
    is_served(&running).await;
}

fn large_head(length: usize) -> String {
    format!(
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    )
}

fn large_body(peer: &str) -> String {
    let data = "x".repeat(2 << 20);
    format!(r#"{{"peer":"{peer}","data":"{data}","type":"text","timeout_ms":0}}"#)
}

#[tokio::test(start_paused = true)]
async fn a_large_body_that_does_not_come_loses_its_permit() {
    let running = Running::start();
    let mut slow = vec![];
    for _ in 0..8 {
        slow.push(sent(&running, large_head(80 << 20)).await);
    }
    let body = large_body("planner");
    let served = sent(&running, large_head(body.len()) + &body).await;
    assert!(rest(served).await.contains(r#""status":"ok""#));
    for stream in slow {
        is_refused(&rest(stream).await, 504, "timeout");
    }
}

#[tokio::test(start_paused = true)]
async fn large_bodies_beyond_their_number_are_refused_and_small_ones_are_not() {
    let running = Running::start();
    let body = large_body("slow");
    let request = large_head(body.len()) + &body;
    let mut busy = vec![];
    for _ in 0..8 {
        busy.push(sent(&running, &request).await);
    }
    let refused = rest(sent(&running, large_head(2 << 20)).await).await;
    is_refused(&refused, 429, "rate_limited");
    assert!(refused.contains("retry_after_ms"), "{refused}");
    assert_eq!(count(&running, "large_bodies"), 1);
    let small = r#"{"peer":"planner","data":"hi","type":"text"}"#;
    let answer = ask(&running.socket(), "POST", "/v1/messages", small).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_answers_is_dropped() {
    let running = Running::start();
    let stream = connect(&running).await;
    let words = "GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    let (reader, mut writer) = stream.into_split();
    let _ = writer.write_all(words.as_bytes()).await;
    while count(&running, "slow_reader") == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    until(|| running.load.connections() == 0).await;
    drop((reader, writer));
    is_served(&running).await;
}
