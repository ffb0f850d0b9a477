//! The committed corpus of the local API runs without a fault.

#[path = "../../../../fuzz/replay.rs"]
mod replay;

use super::local_api;

/// Modes of [`local_api`]: bits 0–2 are the length of a piece.
const TEXT: u8 = 0x80;
const SLOW: u8 = 8;
const ENDS: u8 = 16;

#[test]
fn the_corpus_of_the_local_api() {
    replay::replay("local_api", local_api);
}

#[test]
#[ignore = "writes inputs into the checkout"]
fn write_seeds() {
    replay::write_seeds("local_api", requests().into_iter().chain(texts()));
}

fn requests() -> Vec<Vec<u8>> {
    let post = |path: &str, more: &str, body: &str| {
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {length}\r\n\r\n{body}")
    };
    let upgrade = "Connection: upgrade\r\nUpgrade: pilot-stream\r\n";
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let ping = post("/v1/ping", "", r#"{"peer":"planner"}"#);
    let dial = post("/v1/dial", upgrade, r#"{"peer":"planner","port":7}"#);
    let accept = post("/v1/accept", upgrade, r#"{"port":7,"timeout_ms":0}"#);
    let subscribe = r#"{"peer":"planner","topic":"jobs.*"}"#;
    let in_umlauts = r#"{"peer":"planner","topic":"größe/𝒳"}"#;
    let chunked = "POST /v1/tags HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"tags\":[\"gpu\"]}\r\n0\r\n\r\n";
    [
        (0, get("/v1/status")),
        (ENDS, get("/v1/openapi.json")),
        (3, format!("{ping}{}{ping}", get("/v1/nothing"))),
        (SLOW | 5, ping.clone()),
        (0, dial.clone() + "bytes behind it"),
        (ENDS | 3, dial + "bytes behind it"),
        (4, accept),
        (0, post("/v1/events/subscribe", upgrade, subscribe)),
        (0, post("/v1/events/subscribe", upgrade, in_umlauts)),
        (ENDS, post("/v1/dial", "", r#"{"peer":"planner","port":7}"#)),
        (0, chunked.to_owned()),
        (
            0,
            post(
                "/v1/messages",
                "Expect: 100-continue\r\n",
                r#"{"peer":"planner","data":"hi"}"#,
            ),
        ),
        (
            0,
            "HEAD /v1/info HTTP/1.1\r\nHost: x\r\n\r\n".to_owned() + &get("/v1/info"),
        ),
        (
            0,
            "GET /v1/info HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned(),
        ),
        (0, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        (
            0,
            "POST /v1/messages HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n{".to_owned(),
        ),
        (
            0,
            "POST /v1/messages HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n{".to_owned(),
        ),
        (0, "GET\0/v1/info HTTP/1.1\r\nHost: \0\r\n\r\n".to_owned()),
    ]
    .into_iter()
    .map(|(mode, text)| [&[mode][..], text.as_bytes()].concat())
    .collect()
}

fn texts() -> Vec<Vec<u8>> {
    [
        "{}",
        r#"{"peer":"0:4B2E.0000.1A3D","ports":"7,1000-1002","expires_ms":1,"one_way":true}"#,
        r#"{"peer":"planner","data_b64":"/wA=","type":"binary","reply_to":"01010101010101010101010101010101"}"#,
        r#"{"peer":"0xA91F00007C2E","port":7,"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#,
        r#"{"peer":"planner","topic":"jobs/done","data":"7"}"#,
        r#"{"limit":3,"since":"2026-01-01T00:00:00Z","clear":false}"#,
        r#"{"peer":"planner","path":"/tmp/report.pdf"}"#,
        "pilot-ticket:a.b",
        "82566562323005",
        "2026-01-01T00:00:00Z",
        "7,1000-1002",
    ]
    .into_iter()
    .map(|text| [&[TEXT][..], text.as_bytes()].concat())
    .collect()
}
