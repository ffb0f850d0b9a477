//! Server and client over a real Unix socket, with a fake daemon behind them.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

#[allow(dead_code, reason = "not every test needs all of it")]
mod fake;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use fake::{PEER, Running};
use pilot_api::types::*;
use pilot_api::{Client, ErrorCode, Payload, Server};
use pilot_types::Port;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

fn client(running: &Running) -> Client {
    Client::new(running.socket())
}

fn ping(peer: &str, timeout_ms: Option<u64>) -> PingRequest {
    PingRequest {
        peer: peer.parse().unwrap(),
        timeout_ms,
    }
}

fn dial(peer: &str, port: u16) -> DialRequest {
    DialRequest {
        peer: peer.parse().unwrap(),
        port: Port::new(port),
        timeout_ms: None,
        traceparent: None,
    }
}

/// Sends bytes, and gives what comes back until the server closes.
async fn raw(running: &Running, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(running.socket()).await.unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = vec![];
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn answers_and_errors_arrive_as_they_were_given() {
    let running = Running::start();
    let client = client(&running);
    assert_eq!(
        client.call(&InfoRequest {}).await.unwrap().tags[0].as_str(),
        "gpu"
    );
    let pong = client.call(&ping("planner", None)).await.unwrap();
    assert_eq!(pong.agent.node_id.to_u64(), PEER);
    let refused = client.call(&ping("stranger", None)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotTrusted);
    assert_eq!(refused.hint.as_deref(), Some("pilotctl handshake stranger"));
    let limited = client.call(&ping("flood", None)).await.unwrap_err();
    assert_eq!(limited.retry_after_ms, Some(1500));
}

#[tokio::test]
async fn a_deadline_ends_a_request_that_hangs() {
    let running = Running::start();
    let late = client(&running)
        .call(&ping("slow", Some(30)))
        .await
        .unwrap_err();
    assert_eq!(late.code, ErrorCode::Timeout);
    assert_eq!(late.message, "the deadline of 30 ms passed");
}

#[tokio::test]
async fn a_silent_server_does_not_hang_the_client() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let _listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let client = Client::new(socket).with_timeout(Some(Duration::from_millis(30)));
    let late = client.call(&InfoRequest {}).await.unwrap_err();
    assert_eq!(late.code, ErrorCode::Timeout);
}

#[tokio::test]
async fn without_a_daemon_the_client_says_how_to_start_one() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let absent = Client::new(socket.clone()).call(&InfoRequest {}).await;
    drop(tokio::net::UnixListener::bind(&socket).unwrap());
    let refused = Client::new(socket).call(&InfoRequest {}).await;
    for error in [absent.unwrap_err(), refused.unwrap_err()] {
        assert_eq!(error.code, ErrorCode::NotRunning);
        assert_eq!(error.hint.as_deref(), Some("pilotctl daemon start"));
    }
}

#[tokio::test]
async fn the_socket_is_the_owners_alone_and_removed_at_the_end() {
    let running = Running::start();
    let mode = std::fs::metadata(running.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let client = client(&running);
    assert_eq!(client.daemon_pid().await.unwrap(), Some(std::process::id()));
    assert!(!client.call(&StopRequest {}).await.unwrap().forced);
    for _ in 0..500 {
        if !running.socket().exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the socket is still there");
}

#[tokio::test]
async fn a_socket_in_use_is_refused_and_a_dead_one_replaced() {
    let running = Running::start();
    let refused = Server::bind(&running.socket()).unwrap_err().to_string();
    assert!(refused.contains("another daemon listens on"), "{refused}");
    let dead = running.directory.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    assert!(Server::bind(&dead).is_ok());
    let file = running.directory.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    assert!(Server::bind(&file).is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    let long = running.directory.path().join("x".repeat(120));
    assert!(Server::bind(&long).is_err());
}

#[tokio::test]
async fn a_stream_carries_bytes_both_ways_and_half_closes() {
    let running = Running::start();
    let client = client(&running);
    let (info, mut stream) = client.dial(&dial("planner", 1000)).await.unwrap();
    assert_eq!(info.agent.address.to_string(), "0:4B2E.0000.1A3D");
    stream.write_all(b"world").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "hello, world");
    let ended = client.outcome(stream.number()).await.unwrap();
    assert_eq!(
        ended,
        StreamEnded {
            sent: 5,
            received: 12
        }
    );
}

#[tokio::test]
async fn a_megabyte_comes_back_whole_from_the_echo() {
    let running = Running::start();
    let client = client(&running);
    let (_, stream) = client.dial(&dial("planner", 7)).await.unwrap();
    let sent: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut got = vec![];
    let (_, read) = tokio::join!(writing, reader.read_to_end(&mut got));
    read.unwrap();
    assert!(got == sent, "{} bytes came back", got.len());
}

#[tokio::test]
async fn a_streams_facts_arrive_in_any_script() {
    let running = Running::start();
    let request = SubscribeRequest {
        peer: "planner".parse().unwrap(),
        topic: "größe/𝒳".parse().unwrap(),
        replay: 0,
        timeout_ms: None,
    };
    let (subscribed, _) = client(&running).subscribe(&request).await.unwrap();
    assert_eq!(subscribed.topic, request.topic);
}

#[tokio::test]
async fn a_stream_that_breaks_off_says_why() {
    let running = Running::start();
    let client = client(&running);
    let (_, mut stream) = client.dial(&dial("planner", 9)).await.unwrap();
    let mut rest = vec![];
    assert_eq!(stream.read_to_end(&mut rest).await.unwrap_or(0), 0);
    let why = client.outcome(stream.number()).await.unwrap_err();
    assert_eq!(why.message, "the peer reset the stream: peer_restarted");
}

#[tokio::test]
async fn a_refused_dial_is_an_ordinary_error() {
    let running = Running::start();
    let refused = client(&running).dial(&dial("planner", 22)).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::ConnectionFailed);
}

#[tokio::test]
async fn a_waiting_stream_is_accepted_and_an_absent_one_times_out() {
    let running = Running::start();
    let (near, mut far) = tokio::io::duplex(64);
    running.fake.inbound.lock().await.push(near);
    let request = AcceptRequest {
        port: Port::STDIO,
        timeout_ms: Some(50),
    };
    let client = client(&running);
    let (info, mut stream) = client.accept(&request).await.unwrap();
    assert_eq!(info.from.to_u64(), PEER);
    far.write_all(b"in").await.unwrap();
    far.shutdown().await.unwrap();
    let mut got = String::new();
    stream.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "in");
    let late = client.accept(&request).await.unwrap_err();
    assert_eq!(late.code, ErrorCode::Timeout);
}

#[tokio::test]
async fn a_large_message_is_carried_and_one_beyond_the_bound_refused() {
    let running = Running::start();
    let client = client(&running);
    let message = |bytes: usize| SendMessageRequest {
        peer: "planner".parse().unwrap(),
        body: Payload::new(vec![0xFF; bytes]),
        kind: MessageKind::Binary,
        id: None,
        reply_to: None,
        wait_ms: None,
        timeout_ms: None,
        traceparent: None,
    };
    let sent = client.call(&message(4 * 1024 * 1024)).await.unwrap();
    assert_eq!(sent.bytes, 4 * 1024 * 1024);
    let refused = raw(
        &running,
        format!(
            "POST /v1/ping HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n{}",
            " ".repeat(99_999)
        )
        .as_bytes(),
    )
    .await;
    assert!(refused.contains("invalid_argument"), "{refused}");
}

#[tokio::test]
async fn what_is_no_request_is_refused_in_words() {
    let running = Running::start();
    let post = |path: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for (request, status, words) in [
        (post("/v1/nothing", ""), "404", "no such path"),
        (post("/v1/info", ""), "400", "another method"),
        (post("/v1/ping", "{"), "400", "invalid request to /v1/ping"),
        (post("/v1/ping", ""), "400", "missing field `peer`"),
        (
            post("/v1/ping", r#"{"peer":"A b"}"#),
            "400",
            "invalid hostname",
        ),
        (
            post("/v1/approve", r#"{"peer":"planner","port":"7"}"#),
            "400",
            "unknown field `port`",
        ),
        (
            post("/v1/approve", r#"{"peer":"planner","ports":"9-7"}"#),
            "400",
            "the range ends before it begins",
        ),
        (
            post("/v1/dial", r#"{"peer":"planner","port":7}"#),
            "400",
            "Upgrade",
        ),
    ] {
        let answer = raw(&running, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}\n{answer}"
        );
        assert!(answer.contains(words), "{request}\n{answer}");
        assert!(answer.contains(r#""status":"error""#), "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_is_announced_too_long_is_refused_before_it_comes() {
    let running = Running::start();
    for path in ["/v1/ping", "/v1/messages"] {
        let mut stream = UnixStream::connect(running.socket()).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 999999999999\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("is longer than"), "{answer}");
    }
}

#[tokio::test]
async fn hostile_bytes_do_not_hurt_the_server() {
    let running = Running::start();
    let mut state = 0x9E37_79B9_u32;
    for round in 0..200usize {
        let bytes: Vec<u8> = (0..round * 7)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        raw(&running, &bytes).await;
    }
    raw(
        &running,
        "GET / HTTP/1.1\r\nX: y\r\n".repeat(4000).as_bytes(),
    )
    .await;
    raw(
        &running,
        b"POST /v1/ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n",
    )
    .await;
    assert!(client(&running).call(&StatusRequest {}).await.is_ok());
}
