use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use serde_json::json;

use super::*;

/// Answers every request with what `answer` makes of its first line.
fn server(answer: impl Fn(&str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = vec![0; 4096];
            let count = stream.read(&mut request).unwrap_or_default();
            let text = String::from_utf8_lossy(&request[..count]).into_owned();
            let line = text.lines().next().unwrap_or_default();
            // Who asked may have left.
            let _ = stream.write_all(answer(line).as_bytes());
        }
    });
    format!("http://{address}")
}

fn html(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=\"utf-8\"\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn moved(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
}

/// Without a broker, and to this machine alone, as a grant of it would be.
fn client() -> Client {
    let dial = |host: &str, port: u16, deadline: Instant| {
        if host != "127.0.0.1" {
            let words = format!("plainweb was not granted net:{host}:{port}");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, words));
        }
        let stream = TcpStream::connect((host, port))?;
        let left = deadline.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left))?;
        Ok(Box::new(stream) as Box<dyn pilot_web::Stream>)
    };
    Client::with(Box::new(dial)).unwrap()
}

fn asked(url: &str) -> Fetch {
    Fetch {
        url: url.to_owned(),
        main: false,
        max_chars: None,
        timeout_ms: Some(5000),
    }
}

fn refused(url: &str) -> String {
    let answer = fetch(&client(), &asked(url));
    answer.err().unwrap_or_else(|| panic!("{url}")).to_string()
}

#[test]
fn a_page_is_fetched_over_redirects() {
    let base = server(|line| match line {
        "GET /old HTTP/1.1" => moved("/a/../new?q=1#part"),
        "GET /new?q=1 HTTP/1.1" => html("<title>New</title><h1>Hi</h1><a href=x>x</a>"),
        other => panic!("{other}"),
    });
    let page = fetch(&client(), &asked(&format!("{base}/old"))).unwrap();
    assert_eq!(page.url, format!("{base}/new?q=1#part"));
    assert_eq!(page.redirects, [format!("{base}/old")]);
    assert_eq!(page.document.title.as_deref(), Some("New"));
    assert!(page.document.markdown.starts_with("# Hi"));
    assert_eq!((page.status, page.charset), (200, "UTF-8"));
}

#[test]
fn a_redirect_goes_no_further_than_the_grant() {
    let base = server(|_| moved("http://169.254.169.254/secrets"));
    let words = refused(&base);
    assert!(
        words.contains("leads on to http://169.254.169.254/secrets"),
        "{words}"
    );
    assert!(
        words.contains("was not granted net:169.254.169.254:80"),
        "{words}"
    );
    let words = refused("https://example.org/");
    assert_eq!(words, "plainweb was not granted net:example.org:443");
    let base = server(|_| moved("file:///etc/passwd"));
    assert!(
        refused(&base).contains("expected http"),
        "{}",
        refused(&base)
    );
    let base = server(|_| moved("/again"));
    assert!(refused(&base).contains("redirects"), "{}", refused(&base));
}

#[test]
fn what_is_no_page_is_refused_in_words() {
    for (url, words) in [
        ("ftp://127.0.0.1/x", "expected http"),
        ("not a url", "is no URL"),
        ("http://me:secret@127.0.0.1/", "password"),
    ] {
        assert!(refused(url).contains(words), "{url}: {}", refused(url));
    }
    let picture = server(|_| "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\nx".to_owned());
    assert!(refused(&picture).contains("image/png"));
    let garbage = server(|_| "hello\r\n\r\n".to_owned());
    assert!(refused(&garbage).contains("is no HTTP"));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    assert!(refused(&format!("http://{address}")).contains("is not reached"));
    // No TLS behind it.
    let secure = server(|_| html("")).replace("http:", "https:");
    assert!(refused(&secure).contains("is not reached"));
}

#[test]
fn texts_are_given_as_they_are_and_long_pages_are_cut() {
    let base =
        server(|_| "HTTP/1.1 404 No\r\nContent-Type: text/plain\r\n\r\n<b>gone</b>".to_owned());
    let page = fetch(&client(), &asked(&base)).unwrap();
    assert_eq!(
        (page.status, page.document.markdown.as_str()),
        (404, "<b>gone</b>")
    );
    let base = server(|_| html(&format!("<p>{}", "word ".repeat(3_000_000))));
    let page = fetch(&client(), &asked(&base)).unwrap();
    assert_eq!(page.bytes, MAX_BYTES);
    assert!(page.document.truncated && page.document.markdown.len() <= CHARS);
}

/// The least that is a program: the head of an ELF file without segments.
fn program() -> [u8; 64] {
    let mut head = [0; 64];
    head[..6].copy_from_slice(b"\x7fELF\x02\x01");
    head[18] = if cfg!(target_arch = "x86_64") {
        62
    } else {
        183
    };
    head
}

#[test]
fn arguments_and_results_are_as_the_manifest_describes_them() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = include_str!("../bundle/manifest.toml");
    std::fs::write(dir.path().join("manifest.toml"), manifest).unwrap();
    std::fs::write(dir.path().join("app-plainweb"), program()).unwrap();
    let secret = pilot_trust::DocumentSecret::from_seed(pilot_types::Seed::new([1; 32]));
    let bundle = pilot_appstore::sign(dir.path(), &secret).unwrap();
    let manifest = bundle.manifest();
    assert!(manifest.limits.call_ms > MAX_TIMEOUT_MS);
    let method = |name: &str| &manifest.methods[&name.parse().unwrap()];
    let base = server(|_| html("<html lang=de><title>T</title><a href=/b>b</a>"));
    let page = serde_json::to_value(fetch(&client(), &asked(&base)).unwrap()).unwrap();
    assert_eq!(method("fetch").result.check(&page), Ok(()), "{page}");
    let asked = json!({"url": base, "main": true, "max_chars": 10, "timeout_ms": 1000});
    assert_eq!(method("fetch").params.check(&asked), Ok(()));
    assert!(method("fetch").params.check(&json!({})).is_err());
    let asked = json!({"html": "<p>x", "url": "http://a.example/"});
    assert_eq!(method("convert").params.check(&asked), Ok(()));
    let converted = convert(&serde_json::from_value(asked).unwrap()).unwrap();
    let converted = serde_json::to_value(converted).unwrap();
    assert_eq!(
        method("convert").result.check(&converted),
        Ok(()),
        "{converted}"
    );
    assert_eq!(converted["markdown"], "x");
}
