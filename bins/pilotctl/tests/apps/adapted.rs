//! An API as an app: five shapes against one server, with credentials that nobody sees.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use pilot_adapter::{Options, from_openapi};
use pilot_appstore::{CallError, CallRequest, Consent, Host, Publishers, Secrets, sign};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bench::{pilotctl, secret};

const SPEC: &str = include_str!("api.json");
/// By which the server knows its callers.
const CREDENTIALS: [(&str, &str); 4] = [
    ("key", "header-credential"),
    ("query_key", "query credential/+"),
    ("token", "bearer-credential"),
    ("login", "user:basic-credential"),
];
/// `user:basic-credential` in base64.
const LOGIN: &str = "dXNlcjpiYXNpYy1jcmVkZW50aWFs";

/// A request as the server sees it.
struct Asked {
    line: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

#[derive(Default)]
struct Server {
    /// Entries by their keys.
    ledger: BTreeMap<String, usize>,
    writes: usize,
    looks: usize,
    away: u16,
}

impl Server {
    /// The status, further headers and the body; none breaks the connection off.
    fn answer(&mut self, asked: &Asked) -> Option<(u16, String, Value)> {
        let header = |name: &str| asked.headers.get(name).map_or("", String::as_str);
        let is_known = header("x-api-key") == "header-credential";
        let has_query_key = asked.line.contains("api_key=query%20credential%2F%2B");
        let plain = |body: Value| Some((200, String::new(), body));
        let line = asked.line.trim_end_matches(" HTTP/1.1");
        match line.split(['?', '&']).next().unwrap_or_default() {
            "GET /v1/weather/San%20Jos%C3%A9" if is_known => {
                assert!(line.ends_with("?units=metric"), "{line}");
                plain(json!({ "city": "San José", "degrees": 21.5, "wind": null }))
            }
            "POST /v1/deployments" if header("authorization") == "Bearer bearer-credential" => {
                let body: Value = serde_json::from_slice(&asked.body).unwrap();
                // A server that says what it was asked with.
                let echo = header("authorization");
                Some((
                    201,
                    String::new(),
                    json!({ "of": body["image"], "you_said": [echo], echo: 1 }),
                ))
            }
            "GET /v1/feed" if header("authorization") == format!("Basic {LOGIN}") => {
                plain(json!({ "items": ["one", "two"], "next": 2 }))
            }
            "POST /v1/jobs" if has_query_key => {
                Some((202, "Location: /v1/jobs/7\r\n".to_owned(), Value::Null))
            }
            "GET /v1/jobs/7" if has_query_key => {
                self.looks += 1;
                let state = if self.looks > 1 { "done" } else { "running" };
                plain(json!({ "state": state }))
            }
            "POST /v1/ledger/entries" => {
                self.writes += 1;
                let number = self.ledger.len() + 1;
                let number = *self
                    .ledger
                    .entry(header("idempotency-key").to_owned())
                    .or_insert(number);
                // The first answer gets lost on its way.
                (self.writes > 1).then(|| (200, String::new(), json!({ "number": number })))
            }
            "GET /v1/away" => {
                let to = format!("Location: http://127.0.0.1:{}/stolen\r\n", self.away);
                Some((302, to, Value::Null))
            }
            "GET /v1/wrong" => {
                let words = format!("no such thing for {}", header("x-api-key"));
                Some((404, String::new(), json!({ "error": words })))
            }
            _ => Some((401, String::new(), json!({ "error": "who are you?" }))),
        }
    }
}

fn serve(listener: TcpListener, server: Arc<Mutex<Server>>) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let Some(asked) = read(&stream) else { continue };
            let answer = server.lock().unwrap().answer(&asked);
            let Some((status, further, body)) = answer else {
                continue;
            };
            let body = if body.is_null() {
                String::new()
            } else {
                body.to_string()
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{further}Content-Length: {length}\r\n\r\n"
            );
            // Who asked may have left.
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let line = line.trim_end().to_owned();
    Some(Asked {
        line,
        headers,
        body,
    })
}

struct Bench {
    dir: TempDir,
    host: Host,
    server: Arc<Mutex<Server>>,
    elsewhere: TcpListener,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [here, elsewhere] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let port = here.local_addr().unwrap().port();
        let server = Server {
            away: elsewhere.local_addr().unwrap().port(),
            ..Server::default()
        };
        let server = Arc::new(Mutex::new(server));
        serve(here, Arc::clone(&server));
        let options = Options {
            server: Some(format!("http://127.0.0.1:{port}/v1")),
            ..Options::default()
        };
        let adapted = from_openapi(SPEC, &options).unwrap();
        assert_eq!(
            (adapted.id.as_str(), adapted.left_out.len()),
            ("local.shapes", 1)
        );
        let (home, bundle) = (dir.path().join("home"), dir.path().join("bundle"));
        fs::create_dir_all(&home).unwrap();
        fs::create_dir_all(&bundle).unwrap();
        fs::write(bundle.join("manifest.toml"), &adapted.manifest).unwrap();
        fs::write(bundle.join("api.json"), &adapted.description).unwrap();
        Publishers::new(&home).trust(secret().public(), "").unwrap();
        let bundle = sign(&bundle, &secret()).unwrap();
        let host = Host::start(&home, vec![pilotctl().into()]).unwrap();
        let consent = Consent {
            yes: true,
            ..Consent::default()
        };
        host.store().install(&bundle, &consent).unwrap();
        Self {
            dir,
            host,
            server,
            elsewhere,
        }
    }

    fn set_credentials(&self) {
        let secrets = Secrets::new(&self.dir.path().join("home"));
        for (name, value) in CREDENTIALS {
            secrets
                .set(&"local.shapes".parse().unwrap(), name, value)
                .unwrap();
        }
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value, CallError> {
        let request = CallRequest {
            app: "shapes".to_owned(),
            method: method.to_owned(),
            params,
            caller: "test".into(),
            deadline: None,
        };
        self.host.call(request).await
    }

    /// Everything that the home has in files, but for the credentials' own.
    fn said(&self) -> String {
        let mut all = String::new();
        let mut left = vec![self.dir.path().join("home")];
        while let Some(dir) = left.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.ends_with("apps-secrets") {
                    continue;
                }
                if path.is_dir() {
                    left.push(path);
                } else {
                    all.push_str(&String::from_utf8_lossy(&fs::read(path).unwrap()));
                }
            }
        }
        all
    }
}

fn shows_a_credential(text: &str) -> bool {
    let values = CREDENTIALS.iter().map(|(_, value)| *value);
    let others = [LOGIN, "basic-credential", "query%20credential"];
    values.chain(others).any(|value| text.contains(value))
}

#[tokio::test]
async fn five_shapes_of_an_api_are_methods_of_an_app() {
    let bench = Bench::new();
    bench
        .host
        .probe(&"local.shapes".parse().unwrap())
        .await
        .unwrap();
    let weather = json!({ "city": "San José", "units": "metric" });
    let unset = bench
        .call("get_weather", weather.clone())
        .await
        .unwrap_err()
        .to_string();
    assert!(unset.contains("not set: key"), "{unset}");
    bench.host.stop(&"local.shapes".parse().unwrap()).await;
    bench.set_credentials();
    // A query.
    let found = bench.call("get_weather", weather).await.unwrap();
    assert_eq!(found["body"]["degrees"], json!(21.5));
    // A deployment, of a server that tells what it was told.
    let deployment = json!({ "body": { "image": "web:1", "replicas": 2 } });
    let deployed = bench.call("deploy", deployment).await.unwrap();
    assert_eq!(
        (&deployed["status"], &deployed["body"]["of"]),
        (&json!(201), &json!("web:1"))
    );
    assert_eq!(deployed["body"]["you_said"], json!(["Bearer ***"]));
    assert!(!shows_a_credential(&deployed.to_string()), "{deployed}");
    // A feed.
    let feed = bench.call("feed", json!({ "since": 0 })).await.unwrap();
    assert_eq!(feed["body"]["items"], json!(["one", "two"]));
    // A job whose result comes later.
    let begun = bench.call("start_job", json!({})).await.unwrap();
    assert_eq!(
        (&begun["status"], &begun["location"]),
        (&json!(202), &json!("/v1/jobs/7"))
    );
    for state in ["running", "done"] {
        let job = bench
            .call("job_result", json!({ "id": "7" }))
            .await
            .unwrap();
        assert_eq!(job["body"]["state"], state);
    }
    // A ledger: the first answer is lost, and the entry is there once all the same.
    let entry = bench
        .call("add_entry", json!({ "body": { "amount": 5 } }))
        .await
        .unwrap();
    assert_eq!(entry["body"]["number"], json!(1));
    let again = json!({ "body": { "amount": 5 }, "Idempotency-Key": entry["idempotency_key"] });
    assert_eq!(
        bench.call("add_entry", again).await.unwrap()["body"]["number"],
        json!(1)
    );
    let server = bench.server.lock().unwrap();
    assert_eq!((server.ledger.len(), server.writes), (1, 3));
    drop(server);
    assert!(!shows_a_credential(&bench.said()));
}

#[tokio::test]
async fn what_an_api_refuses_is_named_by_its_status_and_redirects_are_not_followed() {
    let bench = Bench::new();
    bench.set_credentials();
    let wrong = bench.call("wrong", json!({})).await.unwrap_err();
    let CallError::App(error) = &wrong else {
        panic!("{wrong}");
    };
    assert_eq!(error.code, 404);
    assert!(
        error.message.contains("HTTP 404") && error.message.contains("for ***"),
        "{wrong}"
    );
    let away = bench.call("away", json!({})).await.unwrap_err().to_string();
    assert!(
        away.contains("HTTP 302") && away.contains("not followed"),
        "{away}"
    );
    bench.elsewhere.set_nonblocking(true).unwrap();
    let followed = bench.elsewhere.accept().map(|_| ());
    assert_eq!(followed.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    // What would climb out of its place, or is none of the document's.
    for (method, params) in [
        ("job_result", json!({ "id": ".." })),
        ("job_result", json!({ "id": "" })),
        (
            "add_entry",
            json!({ "body": { "amount": 1 }, "Idempotency-Key": "a\r\nX: b" }),
        ),
        ("get_weather", json!({ "city": "x", "units": "kelvin" })),
        ("get_weather", json!({ "city": "x", "other": 1 })),
        (
            "deploy",
            json!({ "body": { "image": "x", "replicas": 11 } }),
        ),
        ("feed", json!({})),
    ] {
        let refused = bench.call(method, params.clone()).await;
        assert!(refused.is_err(), "{method} {params}");
    }
    assert_eq!(bench.server.lock().unwrap().writes, 0);
    assert!(!shows_a_credential(&bench.said()));
}
