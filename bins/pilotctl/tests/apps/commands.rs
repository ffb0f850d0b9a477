//! The whole way by the commands alone: a key, a bundle, a catalogue, a daemon, an app that answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bench::{Setting, write_bundle};

const ID: &str = "org.example.escape";

/// An agent's home beside a directory of bundles and a catalogue.
pub(crate) struct Agent {
    pub(crate) dir: Arc<TempDir>,
    pub(crate) home: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.run(&["daemon", "stop"]);
        self.run(&["rendezvous", "stop"]);
    }
}

impl Agent {
    fn new() -> Self {
        let agent = Self::beside(&Arc::new(tempfile::tempdir().unwrap()), "agent");
        agent.ok(&["appstore", "key", "new"]);
        agent
    }

    /// One of several with one rendezvous.
    pub(crate) fn beside(dir: &Arc<TempDir>, name: &str) -> Self {
        Self {
            dir: Arc::clone(dir),
            home: dir.path().join(name),
        }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pilotctl"));
        command
            .arg("--json")
            .args(args)
            .env_clear()
            .env("PILOT_HOME", &self.home)
            .env("PILOT_RENDEZVOUS_HOME", self.dir.path().join("rendezvous"));
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub(crate) fn answer(&self, args: &[&str]) -> (Value, i32) {
        let output = self.run(args);
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let document = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
        (document, output.status.code().unwrap())
    }

    /// The data of a command that works.
    pub(crate) fn ok(&self, args: &[&str]) -> Value {
        let (answer, code) = self.answer(args);
        assert_eq!(code, 0, "{args:?}: {answer}");
        answer["data"].clone()
    }

    /// The error of one that does not, with its code.
    pub(crate) fn refused(&self, args: &[&str], code: &str) -> Value {
        let (answer, exit) = self.answer(args);
        assert_eq!(answer["code"], code, "{args:?}: {answer}");
        assert_ne!(exit, 0);
        answer
    }

    pub(crate) fn catalogue(&self) -> String {
        format!("file://{}", self.dir.path().join("catalogue").display())
    }

    fn bundle(&self, version: &str, grants: &[&str]) -> PathBuf {
        let dir = self.dir.path().join(format!("bundle-{version}"));
        let grants = grants.iter().map(|grant| (*grant).to_owned()).collect();
        write_bundle(
            &dir,
            &Setting {
                grants,
                ..Setting::default()
            },
            version,
        );
        self.ok(&["appstore", "sign", path(&dir)]);
        dir
    }

    pub(crate) fn published(&self, version: &str, grants: &[&str]) {
        let dir = self.bundle(version, grants);
        self.ok(&[
            "appstore",
            "publish",
            path(&dir),
            "--catalogue",
            &self.catalogue(),
        ]);
    }

    fn attempt(&self, what: &str) -> Value {
        self.ok(&[
            "appstore",
            "call",
            "escape",
            "try",
            &json!({ "try": what }).to_string(),
        ])
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn an_app_is_published_installed_called_upgraded_and_removed() {
    let agent = Agent::new();
    agent.published("1.0.0", &["data"]);
    agent.ok(&[
        "config",
        "--set",
        &format!("catalogues={}", agent.catalogue()),
    ]);
    agent.ok(&["daemon", "start", "--hostname", "worker"]);
    let listed = agent.ok(&["appstore", "catalogue"]);
    assert_eq!(listed["apps"][0]["id"], ID);
    assert_eq!(listed["apps"][0]["installed"], Value::Null);
    let viewed = agent.ok(&["appstore", "view", "escape"]);
    assert_eq!(viewed["grants"][0]["grant"], "data");
    let refused = agent.refused(&["appstore", "install", "escape"], "permission_denied");
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("a directory of its own; to try"),
        "{refused}"
    );
    assert_eq!(refused["hint"], "add --grant data, or --yes for all");
    agent.refused(&["appstore", "call", "escape", "help"], "not_found");
    let installed = agent.ok(&["appstore", "install", "escape", "--grant", "data"]);
    assert_eq!(installed["grants"], json!(["data"]));
    assert_eq!(installed["problem"], Value::Null);
    let status = agent.ok(&["appstore", "status", "escape"]);
    assert_eq!(
        (&status["state"], &status["calls"]),
        (&json!("running"), &json!(0))
    );
    let help = agent.ok(&["appstore", "call", "escape", "escape.help", "{}"]);
    assert_eq!(help["methods"][0]["name"], "escape.try");
    assert_eq!(agent.attempt("write mine"), json!({"came_of_it": "done"}));
    let wrong = ["appstore", "call", "escape", "try", "{\"tri\":1}"];
    let wrong = agent.refused(&wrong, "invalid_argument");
    assert!(
        wrong["message"].as_str().unwrap().contains("$: \"try\""),
        "{wrong}"
    );
    let caps = agent.ok(&["appstore", "caps", "escape"]);
    assert_eq!(caps["grants"][0]["granted"], true);
    let status = agent.ok(&["appstore", "status", "escape"]);
    assert_eq!(
        (&status["state"], &status["calls"]),
        (&json!("running"), &json!(1))
    );
    agent.published("1.1.0", &["data", "libs"]);
    agent.refused(&["appstore", "install", "escape"], "permission_denied");
    let upgraded = agent.ok(&["appstore", "install", "escape", "--grant", "libs"]);
    assert_eq!(
        (&upgraded["version"], &upgraded["previous"]),
        (&json!("1.1.0"), &json!("1.0.0"))
    );
    let older = [
        "appstore",
        "install",
        "escape",
        "--version",
        "1.0.0",
        "--yes",
    ];
    agent.refused(&older, "permission_denied");
    assert_eq!(
        agent.attempt("read mine"),
        json!({"came_of_it": "written by an app"})
    );
    assert_eq!(
        agent.ok(&["appstore", "rollback", "escape"])["version"],
        "1.0.0"
    );
    assert_eq!(
        agent.ok(&["appstore", "list"])["apps"][0]["version"],
        "1.0.0"
    );
    let audit = agent.ok(&["appstore", "audit", "escape"]);
    let entries = audit["entries"].as_array().unwrap().iter();
    let told: Vec<_> = entries
        .map(|e| (e["event"].as_str().unwrap(), e["outcome"].as_str().unwrap()))
        .collect();
    for expected in [
        ("install", "refused"),
        ("install", "ok"),
        ("call", "ok"),
        ("call", "invalid_params"),
        ("stop", "told"),
        ("rollback", "ok"),
    ] {
        assert!(told.contains(&expected), "{expected:?}: {told:?}");
    }
    agent.ok(&["appstore", "uninstall", "escape"]);
    assert_eq!(agent.ok(&["appstore", "list"])["apps"], json!([]));
    assert!(!agent.dir.path().join("agent/apps-data").join(ID).exists());
}

#[test]
fn what_was_changed_withdrawn_or_is_anothers_is_not_installed() {
    let agent = Agent::new();
    agent.published("1.0.0", &[]);
    agent.ok(&["daemon", "start"]);
    let catalogue = agent.catalogue();
    let install = ["appstore", "install", "escape", "--catalogue", &catalogue];
    let program = agent
        .dir
        .path()
        .join("catalogue")
        .join(ID)
        .join("1.0.0/escape");
    let good = fs::read(&program).unwrap();
    fs::write(&program, [&good[..], b"x"].concat()).unwrap();
    let refused = agent.refused(&install, "invalid_argument");
    assert_eq!(
        refused["message"],
        "file escape is not the one that was signed"
    );
    fs::write(&program, &good).unwrap();
    let other = Agent::new();
    other.ok(&["daemon", "start"]);
    let refused = other.refused(&install, "not_trusted");
    let hint = refused["hint"]
        .as_str()
        .unwrap()
        .strip_prefix("pilotctl ")
        .unwrap()
        .to_owned();
    other.ok(&hint.split(' ').collect::<Vec<_>>());
    other.ok(&install);
    let key = hint.rsplit(' ').next().unwrap();
    other.ok(&["appstore", "key", "revoke", key]);
    other.refused(&["appstore", "call", "escape", "help"], "permission_denied");
    assert_eq!(
        other.ok(&["appstore", "list"])["apps"][0]["state"],
        "refused"
    );
    agent.ok(&["appstore", "yank", ID, "1.0.0", "--catalogue", &catalogue]);
    agent.refused(&install, "not_found");
}

#[test]
fn an_app_that_does_not_start_says_so_when_it_is_installed() {
    let agent = Agent::new();
    let bundle = agent.dir.path().join("bundle");
    write_bundle(&bundle, &Setting::default(), "1.0.0");
    // Its head is a program's, and nothing follows.
    let program = fs::read(bundle.join("escape")).unwrap();
    fs::write(bundle.join("escape"), &program[..4096]).unwrap();
    agent.ok(&["appstore", "sign", path(&bundle)]);
    let catalogue = agent.catalogue();
    agent.ok(&[
        "appstore",
        "publish",
        path(&bundle),
        "--catalogue",
        &catalogue,
    ]);
    agent.ok(&["daemon", "start"]);
    let installed = agent.ok(&["appstore", "install", "escape", "--catalogue", &catalogue]);
    let problem = installed["problem"].as_str().unwrap();
    assert!(problem.contains("ended"), "{problem}");
}

/// Hosts are granted in the place of the internet, more of them later, and the errors on the way say how.
#[test]
fn an_owner_grants_hosts_instead_of_the_internet_and_adds_to_them() {
    let agent = Agent::new();
    agent.published("1.0.0", &["net:*:443"]);
    agent.ok(&["daemon", "start"]);
    let catalogue = agent.catalogue();
    let port = super::connections::echo();
    let install = ["appstore", "install", "escape", "--catalogue", &catalogue];
    let refused = agent.refused(&install, "permission_denied");
    assert_eq!(refused["hint"], "add --grant 'net:*:443', or --yes for all");
    let hosts = ["--grant", "net:*.example.org:443"];
    let installed = agent.ok(&[&install[..], &hosts].concat());
    assert_eq!(installed["grants"], json!(["net:*.example.org:443"]));
    let asking = format!("exchange 127.0.0.1 {port}");
    let came_of_it = agent.attempt(&asking)["came_of_it"]
        .as_str()
        .unwrap()
        .to_owned();
    let grant = format!("net:127.0.0.1:{port}");
    let hint = format!("pilotctl appstore install escape --grant {grant}");
    assert!(came_of_it.contains(&hint), "{came_of_it}");
    agent.ok(&[&install[..], &["--grant", &grant]].concat());
    assert_eq!(agent.attempt(&asking), json!({"came_of_it": "done hello"}));
    agent.refused(
        &[&install[..], &["--grant", &grant]].concat(),
        "already_exists",
    );
    let caps = agent.ok(&["appstore", "caps", "escape"]);
    let held = |wanted: &str| {
        let grants = caps["grants"].as_array().unwrap().iter();
        let mut held = grants.filter(|held| held["grant"] == wanted);
        held.next().unwrap().clone()
    };
    assert_eq!(held("net:*:443")["granted"], false);
    assert_eq!(held(&grant)["granted"], true);
    let by = held(&grant)["enforced_by"].as_str().unwrap().to_owned();
    assert!(by.contains("the daemon's broker"), "{by}");
    let audit = agent.ok(&["appstore", "audit", "escape"]);
    let entries = audit["entries"].as_array().unwrap();
    let connections = entries.iter().filter(|entry| entry["event"] == "connect");
    let told: Vec<_> = connections
        .map(|entry| (&entry["target"], &entry["outcome"]))
        .collect();
    let (target, refused, ok) = (json!(grant), json!("not_granted"), json!("ok"));
    assert_eq!(told, [(&target, &refused), (&target, &ok)]);
}

/// The process of a daemon or of an app, as the kernel lists it.
fn is_alive(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty()
        && !stat
            .rsplit(')')
            .next()
            .unwrap()
            .trim_start()
            .starts_with('Z')
}

#[test]
fn a_daemon_that_is_killed_leaves_no_app_behind() {
    let agent = Agent::new();
    agent.published("1.0.0", &[]);
    let daemon = agent.ok(&["daemon", "start"])["pid"].as_u64().unwrap();
    agent.ok(&[
        "appstore",
        "install",
        "escape",
        "--catalogue",
        &agent.catalogue(),
    ]);
    agent.attempt("nothing");
    let app = agent.ok(&["appstore", "status", "escape"])["pid"]
        .as_u64()
        .unwrap();
    assert!(is_alive(app));
    Command::new("kill")
        .args(["-9", &daemon.to_string()])
        .status()
        .unwrap();
    let begun = Instant::now();
    while is_alive(app) {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "the app lives on"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    agent.ok(&["daemon", "start"]);
    assert_eq!(agent.attempt("nothing"), json!({"came_of_it": "done"}));
}

#[test]
fn the_template_builds_signs_and_answers() {
    let agent = Agent::new();
    let app = agent.dir.path().join("hello");
    agent.ok(&["appstore", "new", path(&app)]);
    // The workspace's own lock names versions that are at hand.
    let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock");
    fs::copy(lock, app.join("Cargo.lock")).unwrap();
    let built = Command::new("sh")
        .arg(app.join("build.sh"))
        .env("CARGO_NET_OFFLINE", "true")
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let bundle = app.join("bundle");
    agent.ok(&["appstore", "sign", path(&bundle)]);
    agent.ok(&["appstore", "verify", path(&bundle)]);
    agent.ok(&[
        "appstore",
        "publish",
        path(&bundle),
        "--catalogue",
        &agent.catalogue(),
    ]);
    agent.ok(&["daemon", "start"]);
    agent.ok(&[
        "appstore",
        "install",
        "hello",
        "--catalogue",
        &agent.catalogue(),
    ]);
    let greeting = agent.ok(&[
        "appstore",
        "call",
        "hello",
        "hello.greet",
        "{\"name\":\"you\"}",
    ]);
    assert_eq!(greeting, "Hello, you!");
}

/// Whenever the daemon dies while it upgrades an app, the old version counts or the new one does, and it answers.
#[test]
fn a_daemon_that_is_killed_while_it_upgrades_leaves_one_of_both_versions() {
    let agent = Agent::new();
    agent.published("1.0.0", &[]);
    agent.ok(&[
        "config",
        "--set",
        &format!("catalogues={}", agent.catalogue()),
    ]);
    let mut daemon = agent.ok(&["daemon", "start"])["pid"].as_u64().unwrap();
    agent.ok(&["appstore", "install", "escape"]);
    let mut current = 0;
    for round in 1..=6_u64 {
        let next = current + 1;
        let bundle = agent.dir.path().join(format!("bundle-1.{next}.0"));
        if !bundle.exists() {
            agent.published(&format!("1.{next}.0"), &[]);
        }
        std::thread::scope(|threads| {
            let installing = threads.spawn(|| agent.run(&["appstore", "install", "escape"]));
            std::thread::sleep(Duration::from_millis(round * 8));
            Command::new("kill")
                .args(["-9", &daemon.to_string()])
                .status()
                .unwrap();
            installing.join().unwrap();
        });
        daemon = agent.ok(&["daemon", "start"])["pid"].as_u64().unwrap();
        let listed = agent.ok(&["appstore", "list"]);
        let version = listed["apps"][0]["version"].as_str().unwrap().to_owned();
        let expected = [current, next].map(|minor| format!("1.{minor}.0"));
        assert!(expected.contains(&version), "{version} of {expected:?}");
        assert_eq!(agent.attempt("nothing"), json!({"came_of_it": "done"}));
        let apps = agent.dir.path().join("agent/apps").join(ID);
        let names = fs::read_dir(apps).unwrap().flatten();
        let left: Vec<_> = names
            .filter(|e| e.file_name().to_string_lossy().starts_with('.'))
            .collect();
        let log = agent.dir.path().join("agent/daemon.log");
        let log = fs::read_to_string(log).unwrap_or_default();
        assert!(left.is_empty(), "round {round}: {left:?}\n{log}");
        current += u64::from(version == expected[1]);
    }
}
