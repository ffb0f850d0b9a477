//! Clients that say what they should not, or less than they should.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fake::Running;
use crate::raw::{ask, request, upgrade};
use crate::{ECHO, PING, connect, is_refused, is_served, rest, sent, until};

#[tokio::test]
async fn half_a_request_is_no_request() {
    let running = Running::start();
    let whole = request("POST", "/v1/ping", PING);
    for length in 1..whole.len() {
        let mut stream = sent(&running, &whole[..length]).await;
        stream.shutdown().await.unwrap();
        let answer = rest(stream).await;
        assert!(!answer.contains(r#""status":"ok""#), "{length}: {answer}");
    }
    is_served(&running).await;
    until(|| running.load.connections() == 0).await;
}

#[tokio::test]
async fn requests_in_one_piece_are_answered_in_their_order() {
    let running = Running::start();
    let ping = |peer: &str| {
        let body = format!(r#"{{"peer":"{peer}"}}"#);
        let length = body.len();
        format!("POST /v1/ping HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let all = [
        ping("planner"),
        ping("stranger"),
        ping("away"),
        request("GET", "/v1/status", ""),
    ];
    let answer = rest(sent(&running, all.concat()).await).await;
    let statuses: Vec<&str> = answer
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| &answer[..3])
        .collect();
    assert_eq!(statuses, ["200", "403", "502", "200"], "{answer}");
    is_served(&running).await;
}

#[tokio::test]
async fn an_upgrade_needs_all_of_its_headers() {
    let running = Running::start();
    let whole = upgrade("/v1/dial", ECHO);
    for (from, to) in [
        ("Connection: upgrade\r\n", "Connection: close\r\n"),
        (
            "Connection: upgrade\r\n",
            "Connection: keep-alive, close\r\n",
        ),
        ("Upgrade: pilot-stream\r\n", "X: y\r\nConnection: close\r\n"),
        ("Upgrade: pilot-stream", "Upgrade: websocket"),
        ("Upgrade: pilot-stream", "Upgrade: pilot-stream, h2c"),
        ("HTTP/1.1", "HTTP/1.0"),
    ] {
        let wrong = whole.replace(from, to);
        assert_ne!(wrong, whole);
        let answer = rest(sent(&running, wrong).await).await;
        let is_refusal = answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.0 400");
        assert!(is_refusal, "{to}: {answer}");
        assert!(answer.contains("Upgrade: pilot-stream"), "{to}: {answer}");
    }
    let answer = ask(&running.socket(), "GET", "/v1/dial", "").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let listed = whole.replace("Connection: upgrade", "Connection: Keep-Alive, Upgrade");
    let mut stream = sent(&running, listed).await;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 101");
    is_served(&running).await;
}

#[tokio::test]
async fn bytes_right_behind_an_upgrade_are_the_streams_first() {
    let running = Running::start();
    // More than the server reads in one go, and than a pipe takes.
    let early: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
    let words = [upgrade("/v1/dial", ECHO).into_bytes(), early.clone()].concat();
    let (mut reader, mut writer) = connect(&running).await.into_split();
    let writing = async {
        writer.write_all(&words).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut got = vec![];
    let (_, read) = tokio::join!(writing, reader.read_to_end(&mut got));
    read.unwrap();
    let end = got.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    assert!(got.starts_with(b"HTTP/1.1 101"));
    assert!(
        got[end + 4..] == early,
        "{} bytes came back",
        got.len() - end
    );
    is_served(&running).await;
}

#[tokio::test]
async fn a_client_that_goes_while_its_stream_is_opened_leaves_nothing() {
    let running = Running::start();
    for (path, body) in [
        ("/v1/dial", r#"{"peer":"slow","port":7,"timeout_ms":0}"#),
        ("/v1/accept", r#"{"port":1000,"timeout_ms":0}"#),
        ("/v1/dial", ECHO),
    ] {
        let stream = sent(&running, upgrade(path, body)).await;
        drop(stream);
    }
    is_served(&running).await;
    until(|| running.load.streams() == 0 && running.load.connections() == 0).await;
}

#[tokio::test]
async fn a_body_ends_where_it_was_announced_to() {
    let running = Running::start();
    let body = format!("{PING}}}}} and more\r\n\r\n");
    let long = format!(
        "POST /v1/ping HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        PING.len()
    );
    let answer = rest(sent(&running, long).await).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("HTTP/1.1 400"), "{answer}");
    for lengths in [
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: -1",
        "Content-Length: 18446744073709551616",
        "Content-Length: 2\r\nTransfer-Encoding: gzip",
    ] {
        let words = format!("POST /v1/ping HTTP/1.1\r\nHost: x\r\n{lengths}\r\n\r\n{{}}");
        let answer = rest(sent(&running, words).await).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{lengths}: {answer}");
    }
    is_served(&running).await;
}

#[tokio::test]
async fn chunks_are_read_and_broken_ones_refused() {
    let running = Running::start();
    let head = "POST /v1/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = |text: &str| format!("{:x};name=value\r\n{text}\r\n", text.len());
    let (one, other) = PING.split_at(7);
    let good = format!("{head}{}{}0\r\n\r\n", chunk(one), chunk(other));
    let answer = rest(sent(&running, good).await).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for bad in [
        "zz\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}}}}0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\n{}",
    ] {
        let answer = rest(sent(&running, head.to_owned() + bad).await).await;
        is_refused(&answer, 400, "invalid_argument");
    }
    let endless = head.to_owned() + &chunk(&" ".repeat(1000)).repeat(70);
    let mut stream = connect(&running).await;
    let _ = stream.write_all(endless.as_bytes()).await;
    let answer = rest(stream).await;
    is_refused(&answer, 400, "invalid_argument");
    assert!(answer.contains("longer than 65536 bytes"), "{answer}");
    is_served(&running).await;
}

#[tokio::test]
async fn what_is_no_http_or_another_is_answered_or_closed() {
    let running = Running::start();
    let get = "GET /v1/status HTTP/1.1\r\nHost: x\r\n";
    let many: String = (0..200).map(|i| format!("x{i}: y\r\n")).collect();
    for (words, start) in [
        (
            format!("{get}X: {}\r\n\r\n", "y".repeat(20_000)),
            "HTTP/1.1 431",
        ),
        (format!("{get}{many}\r\n"), "HTTP/1.1 431"),
        (
            format!("GET /{} HTTP/1.1\r\n\r\n", "y".repeat(20_000)),
            "HTTP/1.1 431",
        ),
        ("GET /v1/status HTTP/1.0\r\n\r\n".to_owned(), "HTTP/1.0 200"),
        ("GET /v1/status HTTP/3.0\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), ""),
        (
            "GET /v1/\0status HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            "HTTP/1.1 400",
        ),
        (format!("{get}X: \0\r\n\r\n"), "HTTP/1.1 400"),
        ("\0".repeat(100), "HTTP/1.1 400"),
        (
            "CONNECT planner:7 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
            "HTTP/1.1 404",
        ),
        (request("DELETE", "/v1/status", ""), "HTTP/1.1 400"),
    ] {
        let mut stream = connect(&running).await;
        let _ = stream.write_all(words.as_bytes()).await;
        let answer = rest(stream).await;
        let words = &words[..words.len().min(60)];
        assert!(answer.starts_with(start), "{words:?}: {answer:?}");
        assert!(
            !start.is_empty() || answer.is_empty(),
            "{words:?}: {answer:?}"
        );
        is_served(&running).await;
    }
}

#[tokio::test]
async fn a_body_with_nul_bytes_is_json_or_refused() {
    let running = Running::start();
    for body in [
        "\0",
        "{\"peer\":\"plan\0ner\"}",
        r#"{"peer":"plan\u0000ner"}"#,
    ] {
        let answer = ask(&running.socket(), "POST", "/v1/ping", body).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.json()["code"], "invalid_argument");
    }
    is_served(&running).await;
}
