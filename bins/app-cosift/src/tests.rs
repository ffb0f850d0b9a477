use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use super::*;

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn sources(index: &Index, query: &str) -> Vec<String> {
    let hits = index.search(query, 10).unwrap();
    hits.into_iter().map(|hit| hit.source).collect()
}

#[test]
fn a_folder_is_read_once_and_again_only_where_it_changed() {
    let (home, notes) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut index = Index::open(&home.path().join("index")).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(notes.path().join(name), format!("text of {name}, otters")).unwrap();
    }
    let again = |index: &mut Index| {
        let outcome = index_folder(index, notes.path(), later()).unwrap();
        index.commit().unwrap();
        assert!(outcome.complete);
        (outcome.indexed, outcome.unchanged, outcome.removed)
    };
    assert_eq!(again(&mut index), (3, 0, 0));
    assert_eq!(again(&mut index), (0, 3, 0));
    fs::remove_file(notes.path().join("a")).unwrap();
    fs::write(notes.path().join("b"), "other words: newts").unwrap();
    assert_eq!(again(&mut index), (1, 1, 1));
    assert_eq!(sources(&index, "newts").len(), 1);
    assert_eq!(sources(&index, "otters").len(), 1);
}

#[test]
fn what_takes_too_long_goes_on_with_the_next_call() {
    let (home, notes) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut index = Index::open(&home.path().join("index")).unwrap();
    fs::write(notes.path().join("a"), "otters").unwrap();
    let none = index_folder(&mut index, notes.path(), Instant::now()).unwrap();
    assert_eq!((none.complete, none.indexed), (false, 0));
    let all = index_folder(&mut index, notes.path(), later()).unwrap();
    assert_eq!((all.complete, all.indexed), (true, 1));
    // A call whose time is over removes nothing: it has not seen everything.
    fs::write(notes.path().join("0"), "new").unwrap();
    let cut = index_folder(&mut index, notes.path(), Instant::now()).unwrap();
    assert_eq!((cut.complete, cut.removed), (false, 0));
}

#[test]
fn a_folder_that_is_not_there_is_refused_in_words() {
    let home = tempfile::tempdir().unwrap();
    let mut index = Index::open(&home.path().join("index")).unwrap();
    for path in ["/no/such/folder", "relative"] {
        let refused = index_folder(&mut index, Path::new(path), later());
        assert!(matches!(refused, Err(PutError::Full(words)) if words.starts_with(path)));
    }
    assert!(index.state().sources.is_empty());
}

/// Without a broker.
fn client() -> Client {
    let dial = |host: &str, port: u16, _| {
        let stream = TcpStream::connect((host, port))?;
        Ok(Box::new(stream) as Box<dyn pilot_web::Stream>)
    };
    Client::with(Box::new(dial)).unwrap()
}

/// Answers every request by its path.
fn server(answer: impl Fn(&str) -> (u16, &'static str, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = vec![0; 4096];
            let count = stream.read(&mut request).unwrap_or_default();
            let text = String::from_utf8_lossy(&request[..count]).into_owned();
            let path = text.split(' ').nth(1).unwrap_or_default();
            let (status, kind, body) = answer(path);
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
            );
            // Who asked may have left.
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    format!("http://{address}")
}

#[test]
fn pages_and_feeds_are_found_by_what_they_say() {
    let url = server(|path| match path {
        "/feed" => {
            let item = |n: &str| {
                format!("<item><title>About {n}</title><link>http://x.example/{n}</link></item>")
            };
            let items = [item("newts"), item("stoats")].concat();
            let feed = format!("<rss version=\"2.0\"><channel>{items}</channel></rss>");
            (200, "application/rss+xml", feed)
        }
        "/page" => (
            200,
            "text/html",
            "<title>Otters</title><p>They swim".to_owned(),
        ),
        _ => (404, "text/html", "no otters here".to_owned()),
    });
    let home = tempfile::tempdir().unwrap();
    let mut index = Index::open(&home.path().join("index")).unwrap();
    let time = Duration::from_secs(20);
    let page = format!("{url}/page");
    let text = pages::page(&client(), &page, time).unwrap();
    index_texts(&mut index, &page, Kind::Page, vec![text]).unwrap();
    let feed = format!("{url}/feed");
    for expected in [(2, 0), (0, 2)] {
        let texts = pages::feed(&client(), &feed, time).unwrap();
        let outcome = index_texts(&mut index, &feed, Kind::Feed, texts).unwrap();
        assert_eq!((outcome.indexed, outcome.unchanged), expected);
    }
    index.commit().unwrap();
    assert_eq!(sources(&index, "swim"), [page]);
    assert_eq!(sources(&index, "stoats"), ["http://x.example/stoats"]);
    let missing = pages::page(&client(), &format!("{url}/none"), time);
    assert!(missing.err().unwrap().contains("status 404"));
}
