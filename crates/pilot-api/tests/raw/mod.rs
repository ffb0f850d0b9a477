//! A client that writes bytes as they are.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// What came back, up to the end of the connection.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A request whose connection the server closes after its answer.
pub(crate) fn request(verb: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{verb} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// A request for a raw stream.
pub(crate) fn upgrade(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: pilot-stream\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Makes a request.
pub(crate) async fn ask(socket: &Path, verb: &str, path: &str, body: &str) -> Answer {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream
        .write_all(request(verb, path, body).as_bytes())
        .await
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    parse(&text)
}

/// Asks for a raw stream; on 101 the connection is one.
pub(crate) async fn open(socket: &Path, path: &str, body: &str) -> (Answer, UnixStream) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream
        .write_all(upgrade(path, body).as_bytes())
        .await
        .unwrap();
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let mut answer = parse(std::str::from_utf8(&head).unwrap());
    if let Some(length) = answer.header("content-length") {
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).await.unwrap();
        answer.body = String::from_utf8(body).unwrap();
    }
    (answer, stream)
}

/// Watches; the body is the first event's data.
#[allow(dead_code, reason = "not every test watches")]
pub(crate) async fn first_of_feed(socket: &Path, path: &str) -> Answer {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = request("GET", path, "");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let data = loop {
        text.push(char::from(stream.read_u8().await.unwrap()));
        let data = text.split_once("\ndata: ").map(|(_, data)| data);
        if let Some(data) = data.and_then(|data| data.strip_suffix('\n')) {
            break data.to_owned();
        }
    };
    Answer {
        body: data,
        ..parse(&text)
    }
}

fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").expect("a head ends");
    let status = head.split(' ').nth(1).expect("a status follows");
    // Names of headers in lower case; values here are JSON, numbers and our own words.
    let head = head
        .lines()
        .map(|line| match line.split_once(": ") {
            Some((name, value)) => format!("{}: {value}", name.to_lowercase()),
            None => line.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("\n");
    Answer {
        status: status.parse().unwrap(),
        head,
        body: body.to_owned(),
    }
}
