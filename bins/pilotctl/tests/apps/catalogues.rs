//! Catalogues on other machines: at an agent, and behind a web server.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::commands::Agent;
use super::peers::Pair;

const ID: &str = "org.example.escape";

/// Lets an agent run apps of this publisher.
fn trust(agent: &Agent, publisher: &Agent) {
    let key = publisher.ok(&["appstore", "key", "show"])["key"].clone();
    agent.ok(&["appstore", "key", "trust", key.as_str().unwrap()]);
}

/// The one app that is listed.
fn listed(agent: &Agent) -> Value {
    agent.ok(&["appstore", "catalogue"])["apps"][0]["version"].clone()
}

#[test]
fn an_agent_shows_its_catalogue_to_those_that_it_lets_read_it() {
    let pair = Pair::new();
    let (worker, planner) = (&pair.worker, &pair.planner);
    worker.ok(&[
        "config",
        "--set",
        &format!("catalogues={}", worker.catalogue()),
    ]);
    let at = ["--catalogue", "pilot://worker"];
    let look = [&["appstore", "catalogue"][..], &at].concat();
    let refused = planner.refused(&look, "not_trusted");
    assert_eq!(
        refused["hint"],
        "run `pilotctl approve planner --catalogue` on worker"
    );
    // To call an app is not to read the catalogue.
    worker.ok(&["approve", "planner", "--apps", "escape"]);
    planner.refused(&look, "permission_denied");
    let approved = worker.ok(&["approve", "planner", "--catalogue"]);
    assert_eq!(
        (&approved["apps"]["ids"], &approved["apps"]["catalogue"]),
        (&json!([]), &json!(true))
    );
    planner.refused(&look, "not_trusted");
    trust(planner, worker);
    planner.ok(&["config", "--set", "catalogues=pilot://worker"]);
    assert_eq!(listed(planner), "1.0.0");
    planner.ok(&["appstore", "install", "escape"]);
    let call = ["appstore", "call", "escape", "try", "{\"try\":\"nothing\"}"];
    assert_eq!(planner.ok(&call), json!({"came_of_it": "done"}));

    // What was seen is there while the other is away, and says of when it is.
    planner.ok(&["appstore", "uninstall", "escape"]);
    worker.ok(&["daemon", "stop"]);
    let away = planner.ok(&["appstore", "catalogue"]);
    assert_eq!(away["apps"][0]["version"], "1.0.0");
    let stale = away["stale"][0].as_str().unwrap();
    assert!(
        stale.starts_with("pilot://worker: ") && stale.contains("used as it was on 20"),
        "{stale}"
    );
    let installed = planner.ok(&["appstore", "install", "escape"]);
    assert!(installed["stale"][0].is_string(), "{installed}");
    assert_eq!(planner.ok(&call), json!({"came_of_it": "done"}));
}

/// Serves a directory over HTTP, as it is.
struct Site {
    url: String,
    is_up: Arc<AtomicBool>,
}

impl Site {
    fn of(dir: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/apps", listener.local_addr().unwrap());
        let is_up = Arc::new(AtomicBool::new(true));
        let up = Arc::clone(&is_up);
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &dir, up.load(Ordering::Relaxed));
            }
        });
        Self { url, is_up }
    }
}

fn answer(mut stream: TcpStream, dir: &Path, is_up: bool) {
    let mut lines = BufReader::new(&stream).lines();
    let first = lines.next().unwrap().unwrap();
    while !lines.next().unwrap().unwrap().is_empty() {}
    let path = first
        .split(' ')
        .nth(1)
        .unwrap()
        .strip_prefix("/apps/")
        .unwrap();
    let file = fs::read(dir.join(path)).ok().filter(|_| is_up);
    let (status, body) = file.map_or(("404 Not Found", vec![]), |body| ("200 OK", body));
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    stream.write_all(&body).unwrap();
}

#[test]
fn a_web_server_has_a_catalogue_and_cannot_turn_it_back() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let agent = Agent::beside(&dir, "agent");
    agent.ok(&["appstore", "key", "new"]);
    agent.published("1.0.0", &[]);
    let far = dir.path().join("catalogue");
    let first = fs::read(far.join("catalogue.jsonl")).unwrap();
    agent.published("1.1.0", &[]);
    let site = Site::of(far.clone());
    agent.ok(&["daemon", "start"]);
    agent.ok(&["config", "--set", &format!("catalogues={}", site.url)]);
    assert_eq!(listed(&agent), "1.1.0");
    // A file that was changed by the way is never installed, and leaves nothing.
    let program = far.join(ID).join("1.1.0/escape");
    let good = fs::read(&program).unwrap();
    fs::write(&program, [&good[..], b"x"].concat()).unwrap();
    let install = ["appstore", "install", "escape"];
    let refused = agent.refused(&install, "invalid_argument");
    let words = refused["message"].as_str().unwrap();
    assert!(
        words.contains("file escape is not the one that was signed"),
        "{words}"
    );
    fs::write(&program, &good).unwrap();
    agent.ok(&install);
    assert_eq!(
        agent.ok(&["appstore", "call", "escape", "help"])["version"],
        "1.1.0"
    );
    // The index of before is refused, and the newer one holds.
    fs::write(far.join("catalogue.jsonl"), &first).unwrap();
    let turned = agent.ok(&["appstore", "catalogue"]);
    assert_eq!(turned["apps"][0]["version"], "1.1.0");
    let stale = turned["stale"][0].as_str().unwrap();
    assert!(
        stale.contains("older than one that was seen") && stale.contains("1.1.0 is gone"),
        "{stale}"
    );
    site.is_up.store(false, Ordering::Relaxed);
    let away = agent.ok(&["appstore", "catalogue"]);
    assert!(
        away["stale"][0]
            .as_str()
            .unwrap()
            .contains("it answered 404"),
        "{away}"
    );
    agent.ok(&["appstore", "view", "escape"]);
    // Nothing is used of a place that nothing was seen of.
    let never = [
        "appstore",
        "catalogue",
        "--catalogue",
        "http://127.0.0.1:9/",
    ];
    agent.refused(&never, "connection_failed");
    agent.refused(
        &[
            "appstore",
            "catalogue",
            "--catalogue",
            "http://example.org/",
        ],
        "invalid_argument",
    );
}
