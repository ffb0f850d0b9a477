//! The server as its clients see it, over a stream in memory.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::pin::Pin;
use std::task::{Context, Poll};

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use super::*;

struct Stream(DuplexStream);

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, out)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl Inbound for Stream {
    fn opener(&self) -> String {
        "bob".to_owned()
    }

    fn wants_confirmation(&self) -> bool {
        false
    }

    fn refuse(self) {}
}

/// A directory with one of everything, and a secret beside it.
fn site() -> (TempDir, Directory) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    let root = dir.path().join("site");
    fs::create_dir_all(root.join("sub/with-index")).unwrap();
    fs::create_dir(root.join(".git")).unwrap();
    for (name, content) in [
        ("hello.txt", "hello, world"),
        ("empty", ""),
        ("ü b.html", "<p>"),
        (".env", "secret"),
        (".git/config", "secret"),
        ("sub/a.json", "{}"),
        ("sub/with-index/index.html", "<h1>index</h1>"),
    ] {
        fs::write(root.join(name), content).unwrap();
    }
    symlink("hello.txt", root.join("inner")).unwrap();
    symlink("../secret", root.join("outer")).unwrap();
    symlink("/etc", root.join("absolute")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("sub/../../secret", root.join("winding")).unwrap();
    let directory = Directory::open_root(&root).unwrap();
    (dir, directory)
}

/// All that comes back for what is sent.
async fn talk(directory: &Directory, said: &str) -> String {
    let (mut near, far) = tokio::io::duplex(4096);
    let served = converse(Stream(far), directory.clone());
    let mut answers = vec![];
    let talking = async {
        // Who is refused early has not been read to the end.
        drop(near.write_all(said.as_bytes()).await);
        drop(near.shutdown().await);
        near.read_to_end(&mut answers).await.unwrap();
    };
    tokio::join!(served, talking);
    String::from_utf8(answers).unwrap()
}

async fn get(directory: &Directory, path: &str) -> String {
    ask(directory, "GET", path, "").await
}

async fn ask(directory: &Directory, method: &str, path: &str, headers: &str) -> String {
    let said = format!(
        "{method} {path} HTTP/1.1\r\nHost: bob.pilot\r\nConnection: close\r\n{headers}\r\n"
    );
    talk(directory, &said).await
}

fn assert_answer(answer: &str, status: &str, parts: &[&str]) {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status}")),
        "{answer}"
    );
    for part in parts {
        assert!(answer.contains(part), "no {part:?} in {answer}");
    }
}

#[tokio::test]
async fn files_come_with_their_length_and_type() {
    let (_dir, site) = site();
    let answer = get(&site, "/hello.txt").await;
    let parts = [
        "content-length: 12\r\n",
        "content-type: text/plain; charset=utf-8\r\n",
        "accept-ranges: bytes\r\n",
        "nosniff",
        "\r\n\r\nhello, world",
    ];
    assert_answer(&answer, "200", &parts);
    assert_answer(
        &get(&site, "/%C3%BC%20b.html?x=1").await,
        "200",
        &["text/html", "<p>"],
    );
    assert_answer(
        &get(&site, "/empty").await,
        "200",
        &["content-length: 0\r\n"],
    );
    assert_answer(&get(&site, "/inner").await, "200", &["hello, world"]);
    let head = ask(&site, "HEAD", "/hello.txt", "").await;
    assert_answer(&head, "200", &["content-length: 12\r\n"]);
    assert!(head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn nothing_outside_and_nothing_hidden_is_found() {
    let (_dir, site) = site();
    for path in [
        "/outer",
        "/winding",
        "/absolute/passwd",
        "/absolute",
        "/loop",
        "/.env",
        "/.git/config",
        "/.git/",
        "/%2eenv",
        "/../secret",
        "/sub/../../secret",
        "/%2e%2e/secret",
        "/sub/%2e%2e/%2e%2e/secret",
        "/nothing",
        "/hello.txt/",
        "/hello.txt/x",
    ] {
        let answer = get(&site, path).await;
        assert_answer(&answer, "404", &[]);
        assert!(!answer.contains("secret"), "{path}: {answer}");
    }
    for path in [
        "//etc/passwd",
        "/..%2fsecret",
        "/a%00",
        "/%zz",
        "/sub//a.json",
    ] {
        assert_answer(&get(&site, path).await, "400", &[]);
    }
}

#[tokio::test]
async fn directories_show_their_index_or_what_is_in_them() {
    let (_dir, site) = site();
    assert_answer(&get(&site, "/sub").await, "301", &["location: /sub/\r\n"]);
    let listing = get(&site, "/").await;
    assert_answer(
        &listing,
        "200",
        &["./hello.txt", "./sub/", "./%C3%BC%20b.html"],
    );
    assert!(
        !listing.contains("env") && !listing.contains("git"),
        "{listing}"
    );
    assert_answer(&get(&site, "/sub/").await, "200", &["./a.json", "../"]);
    assert_answer(
        &get(&site, "/sub/with-index/").await,
        "200",
        &["<h1>index</h1>"],
    );
    assert_answer(&get(&site, "/sub/with-index").await, "301", &[]);
}

#[tokio::test]
async fn parts_are_given_and_those_behind_the_end_refused() {
    let (_dir, site) = site();
    let part = ask(&site, "GET", "/hello.txt", "Range: bytes=7-\r\n").await;
    assert_answer(
        &part,
        "206",
        &["content-range: bytes 7-11/12\r\n", "\r\n\r\nworld"],
    );
    let last = ask(&site, "GET", "/hello.txt", "Range: bytes=-1\r\n").await;
    assert_answer(&last, "206", &["content-length: 1\r\n", "\r\n\r\nd"]);
    let behind = ask(&site, "GET", "/hello.txt", "Range: bytes=12-\r\n").await;
    assert_answer(&behind, "416", &["content-range: bytes */12\r\n"]);
    let other = "Range: bytes=7-\r\nIf-Range: \"other\"\r\n";
    assert_answer(
        &ask(&site, "GET", "/hello.txt", other).await,
        "200",
        &["hello, world"],
    );
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let (dir, site) = site();
    let tag = |answer: &str| {
        let rest = answer.split("etag: ").nth(1).unwrap();
        rest.split("\r\n").next().unwrap().to_owned()
    };
    let first = tag(&get(&site, "/hello.txt").await);
    let known = format!("If-None-Match: {first}\r\n");
    let again = ask(&site, "GET", "/hello.txt", &known).await;
    assert_answer(&again, "304", &[&first]);
    assert!(!again.contains("hello"), "{again}");
    fs::write(dir.path().join("site/hello.txt"), "HELLO, WORLD!").unwrap();
    assert_answer(
        &ask(&site, "GET", "/hello.txt", &known).await,
        "200",
        &["HELLO, WORLD!"],
    );
}

#[tokio::test]
async fn other_methods_and_what_is_no_http_are_refused() {
    let (_dir, site) = site();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let answer = ask(&site, method, "/hello.txt", "").await;
        assert_answer(&answer, "405", &["allow: GET, HEAD\r\n"]);
    }
    assert_answer(&talk(&site, "hello\r\n\r\n").await, "400", &[]);
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    assert_answer(&talk(&site, &long).await, "431", &[]);
}

#[tokio::test]
async fn several_requests_share_a_stream() {
    let (_dir, site) = site();
    let twice = "GET /hello.txt HTTP/1.1\r\nHost: b\r\n\r\n".repeat(2);
    assert_eq!(talk(&site, &twice).await.matches("hello, world").count(), 2);
}

#[tokio::test]
async fn a_file_of_many_chunks_comes_whole() {
    let (dir, site) = site();
    let content: Vec<u8> = (0..1_000_003_u32).map(|n| b'a' + (n % 23) as u8).collect();
    fs::write(dir.path().join("site/large"), &content).unwrap();
    let answer = get(&site, "/large").await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.as_bytes(), content);
}

#[test]
fn what_is_no_directory_is_refused_with_its_name() {
    let (dir, _) = site();
    for (name, words) in [("nowhere", "no directory"), ("secret", "is no directory")] {
        let error = Directory::open_root(&dir.path().join(name)).unwrap_err();
        assert!(
            error.message.contains(words) && error.message.contains(name),
            "{error}"
        );
    }
}
