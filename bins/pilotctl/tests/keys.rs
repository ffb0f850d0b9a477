//! Other keys with the programs as their users run them: a rotation under way, a thief who is faster, and the owner who comes back.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

fn pilotctl(home: &Path, agent: &str, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pilotctl"))
        .arg("--json")
        .args(line.split(' '))
        .env_clear()
        .env("PILOT_HOME", home.join(agent))
        .env("PILOT_RENDEZVOUS_HOME", home.join("rendezvous"))
        .output()
        .unwrap()
}

/// Agents on an embedded rendezvous of their own.
struct Agents {
    home: TempDir,
    names: Vec<&'static str>,
}

impl Agents {
    /// Two that trust each other.
    fn start() -> Self {
        let agents = Self {
            home: tempfile::tempdir().unwrap(),
            names: vec!["alice", "bob", "thief", "new"],
        };
        for name in ["alice", "bob"] {
            agents.data(name, &format!("daemon start --hostname {name}"));
        }
        agents.data("alice", "handshake bob");
        agents.until("bob", "pending", |data| {
            data["pending"][0]["hostname"] == "alice"
        });
        agents.data("bob", "approve alice");
        agents.until("alice", "ping bob", |data| {
            data["results"][0]["error"].is_null()
        });
        agents
    }

    fn file(&self) -> PathBuf {
        self.home.path().join("alice.recovery")
    }

    fn ask(&self, agent: &str, line: &str) -> (Value, i32) {
        let output = pilotctl(self.home.path(), agent, line);
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let document = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
        (document, output.status.code().unwrap())
    }

    /// The data of a command that must succeed.
    fn data(&self, agent: &str, line: &str) -> Value {
        let (answer, code) = self.ask(agent, line);
        assert_eq!(code, 0, "{agent}: {line}: {answer}");
        answer["data"].clone()
    }

    /// The error of a command that must fail; every one says what to do.
    fn error(&self, agent: &str, line: &str, code: &str) -> Value {
        let (answer, _) = self.ask(agent, line);
        assert_eq!(answer["code"], code, "{agent}: {line}: {answer}");
        answer
    }

    /// Asks until the data are as wanted.
    fn until(&self, agent: &str, line: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let (answer, _) = self.ask(agent, line);
            if !answer["data"].is_null() && is_it(&answer["data"]) {
                return answer["data"].clone();
            }
            assert!(Instant::now() < end, "{agent}: {line}: {answer}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn can_ping(&self, from: &str, to: &str) {
        self.until(from, &format!("ping {to}"), |data| {
            data["results"][0]["error"].is_null()
        });
    }

    /// Alice in a new home, and bob.
    fn trust_again(&self) {
        self.data("new", "handshake bob");
        self.data("bob", "approve alice");
        self.can_ping("new", "bob");
        self.can_ping("bob", "alice");
    }

    /// Gives a copy of the home to somebody else, who starts it.
    fn steal(&self) {
        let (from, to) = (
            self.home.path().join("alice"),
            self.home.path().join("thief"),
        );
        std::fs::create_dir(&to).unwrap();
        for name in ["identity.json", "config.json"] {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        for name in &self.names {
            pilotctl(self.home.path(), name, "daemon stop");
        }
        pilotctl(self.home.path(), "alice", "rendezvous stop");
    }
}

#[test]
fn a_rotation_changes_both_keys_and_nothing_else() {
    let agents = Agents::start();
    let before = agents.data("alice", "info");
    assert_eq!(before["key_state"], "current");
    let changed = agents.data("alice", "rotate-key");
    let after = agents.data("alice", "info");
    for same in ["node_id", "address", "hostname"] {
        assert_eq!(changed[same], before[same], "{same}");
        assert_eq!(after[same], before[same], "{same}");
    }
    assert_eq!(changed["public_key"], after["public_key"]);
    assert_ne!(changed["public_key"], before["public_key"]);
    assert_eq!(
        (&changed["generation"], &changed["seq"]),
        (&json!(0), &json!(1))
    );
    agents.until("bob", "trust", |data| {
        data["trusted"][0]["fingerprint"] == changed["fingerprint"]
    });
    agents.can_ping("alice", "bob");
    agents.can_ping("bob", "alice");
    agents.data("alice", "daemon stop");
    agents.data("bob", "daemon stop");
    agents.data("bob", "daemon start");
    agents.data("alice", "daemon start");
    assert_eq!(
        agents.data("alice", "info")["public_key"],
        changed["public_key"]
    );
    agents.can_ping("bob", "alice");
    agents.can_ping("alice", "bob");
}

#[test]
fn a_recovery_key_is_made_once_and_kept_out_of_the_home() {
    let agents = Agents::start();
    let shown = agents.data("alice", "recovery show");
    assert_eq!(
        (&shown["recoverable"], &shown["state"]),
        (&json!(false), &json!("current"))
    );
    let inside = agents.home.path().join("alice/key");
    agents.error(
        "alice",
        &format!("recovery new {}", inside.display()),
        "invalid_argument",
    );
    agents.error("alice", "recovery new -", "invalid_argument");
    let file = agents.file();
    let new = format!("recovery new {}", file.display());
    let made = agents.data("alice", &new);
    assert_eq!((&made["seq"], &made["file"]), (&json!(1), &json!(file)));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("Whoever has this file can take the agent over"));
    let home = std::fs::read_to_string(agents.home.path().join("alice/identity.json")).unwrap();
    let key = text
        .lines()
        .find(|line| line.starts_with("pilot-recovery-1"))
        .unwrap();
    let secret = key.split(' ').nth(2).unwrap();
    assert!(secret.len() == 64 && !home.contains(secret));
    let shown = agents.data("alice", "recovery show");
    assert_eq!(
        (&shown["recoverable"], &shown["set_in_seq"]),
        (&json!(true), &json!(1))
    );

    // There is one; a file that is there is never touched; another one needs the first.
    let other = agents.home.path().join("other.recovery");
    let refused = agents.error(
        "alice",
        &format!("recovery new {}", other.display()),
        "already_exists",
    );
    assert_eq!(
        refused["hint"],
        "pilotctl recovery new FILE --with OLD_FILE"
    );
    assert!(!other.exists());
    let with = format!("recovery new {} --with {}", other.display(), file.display());
    assert_eq!(agents.data("alice", &with)["generation"], 1);
    agents.error(
        "alice",
        &format!("recovery use {}", file.display()),
        "permission_denied",
    );
    let used = agents.data("alice", &format!("recovery use {}", other.display()));
    assert_eq!((&used["generation"], &used["seq"]), (&json!(2), &json!(0)));
    agents.error(
        "bob",
        &format!("recovery use {}", other.display()),
        "invalid_argument",
    );
    agents.can_ping("bob", "alice");
}

#[test]
fn a_thief_is_faster_and_the_owner_comes_back() {
    let agents = Agents::start();
    let file = agents.file();
    agents.data("alice", &format!("recovery new {}", file.display()));
    let address = agents.data("alice", "info")["address"].clone();
    agents.steal();
    agents.data("alice", "daemon stop");
    agents.data("thief", "daemon start");
    agents.data("thief", "rotate-key");
    // The owner's daemon says in words that the key is no more the agent's.
    let refused = agents.error("alice", "daemon start", "permission_denied");
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .starts_with("superseded"),
        "{refused}"
    );
    assert!(
        refused["hint"].as_str().unwrap().contains("recovery use"),
        "{refused}"
    );

    let used = agents.data("alice", &format!("recovery use {}", file.display()));
    assert_eq!(
        (&used["address"], &used["generation"]),
        (&address, &json!(1))
    );
    let started = agents.data("alice", "daemon start");
    assert_eq!(started["address"], address);
    agents.can_ping("alice", "bob");
    agents.can_ping("bob", "alice");
    agents.until("bob", "trust", |data| {
        data["trusted"][0]["fingerprint"] == used["fingerprint"]
    });
    let stolen = agents.until("thief", "recovery show", |data| {
        data["state"] == "superseded"
    });
    assert_eq!(stolen["generation"], 0);
    let (doctor, code) = agents.ask("thief", "doctor");
    assert_eq!(code, 9, "{doctor}");
    assert!(
        doctor["message"].as_str().unwrap().contains("superseded"),
        "{doctor}"
    );
    // Whatever the thief does next, it is the owner that bob talks to.
    let refused = agents.error("thief", "rotate-key", "permission_denied");
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .starts_with("superseded"),
        "{refused}"
    );
    agents.can_ping("bob", "alice");
    let trusted = agents.data("bob", "trust");
    assert_eq!(trusted["trusted"][0]["fingerprint"], used["fingerprint"]);
}

#[test]
fn an_agent_moves_into_a_new_home_with_its_recovery_file_alone() {
    let agents = Agents::start();
    let file = agents.file();
    agents.data("alice", &format!("recovery new {}", file.display()));
    agents.data("alice", "rotate-key");
    let address = agents.data("alice", "info")["address"].clone();
    agents.data("alice", "daemon stop");
    std::fs::remove_dir_all(agents.home.path().join("alice")).unwrap();

    let use_file = format!("recovery use {}", file.display());
    assert_eq!(agents.data("new", &use_file)["address"], address);
    let started = agents.data("new", "daemon start --hostname alice");
    assert_eq!(started["address"], address);
    // Bob's grant names the agent and holds, but who has it and what the agent gave were in its home: both say so again.
    agents.trust_again();
    // The file was brought up to date: used again in another home, it goes on from there.
    agents.data("new", "daemon stop");
    std::fs::remove_dir_all(agents.home.path().join("new")).unwrap();
    assert_eq!(agents.data("new", &use_file)["generation"], 2);
    agents.data("new", "daemon start");
    agents.trust_again();
}
