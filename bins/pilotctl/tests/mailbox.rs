//! Messages to agents that are away, with the programs as their users run them.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long agents may take to come back and to fetch what waits.
const PATIENCE: Duration = Duration::from_secs(60);

fn pilotctl(home: &Path, agent: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pilotctl"))
        .args(args)
        .env_clear()
        .env("PILOT_HOME", home.join(agent))
        .env("PILOT_RENDEZVOUS_HOME", home.join("rendezvous"))
        .output()
        .unwrap()
}

/// Alice and Bob on an embedded rendezvous, trusting each other.
struct Agents(TempDir);

impl Agents {
    fn start() -> Self {
        let agents = Self(tempfile::tempdir().unwrap());
        for name in ["alice", "bob"] {
            agents.data(name, &format!("daemon start --hostname {name}"));
        }
        agents.data("alice", "handshake bob");
        agents.until("the knock is there", |agents| {
            agents.data("bob", "pending")["pending"]
                .as_array()
                .is_some_and(|all| all.len() == 1)
        });
        agents.data("bob", "approve alice");
        agents.until("both trust", |agents| {
            let trusted = agents.data("alice", "trust");
            trusted["trusted"][0]["mutual"] == true
        });
        agents
    }

    fn ask(&self, agent: &str, line: &str) -> (Value, i32) {
        let args: Vec<&str> = ["--json"].into_iter().chain(line.split(' ')).collect();
        let output = pilotctl(self.0.path(), agent, &args);
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let document = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
        (document, output.status.code().unwrap())
    }

    fn data(&self, agent: &str, line: &str) -> Value {
        let (answer, code) = self.ask(agent, line);
        assert_eq!(code, 0, "{agent}: {line}: {answer}");
        answer["data"].clone()
    }

    fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < end, "not within a minute: {what}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn inbox(&self, agent: &str) -> Vec<Value> {
        let inbox = self.data(agent, "inbox");
        inbox["messages"].as_array().unwrap().clone()
    }

    fn until_inbox_has(&self, agent: &str, count: usize) -> Vec<Value> {
        self.until(&format!("{count} messages"), |agents| {
            agents.inbox(agent).len() >= count
        });
        self.inbox(agent)
    }

    fn kill(&self, agent: &str) {
        let pid = self.data(agent, "daemon status")["pid"].to_string();
        assert!(
            Command::new("kill")
                .args(["-9", &pid])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        for agent in ["alice", "bob"] {
            pilotctl(self.0.path(), agent, &["daemon", "stop"]);
        }
        pilotctl(self.0.path(), "alice", &["rendezvous", "stop"]);
    }
}

#[test]
fn a_message_to_a_stopped_daemon_is_in_its_inbox_once_when_it_starts() {
    let agents = Agents::start();
    agents.data("bob", "daemon stop");
    let sent = agents.data("alice", "send-message bob --data first");
    assert_eq!(sent["ack"], "mailbox", "{sent}");
    assert!(
        sent["kept_until"].as_str().unwrap().ends_with('Z'),
        "{sent}"
    );
    let words = pilotctl(
        agents.0.path(),
        "alice",
        &["send-message", "bob", "--data", "second"],
    );
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(
        words.contains("left in the mailbox of 0:") && words.contains("kept until 2"),
        "{words}"
    );
    agents.data("bob", "daemon start --hostname bob");
    let inbox = agents.until_inbox_has("bob", 2);
    let bodies: Vec<&Value> = inbox.iter().map(|message| &message["data"]).collect();
    assert_eq!(bodies, [&json!("first"), &json!("second")]);
    assert_eq!(inbox[0]["id"], sent["id"]);
    assert_eq!(
        (&inbox[0]["via"], &inbox[0]["trust"]),
        (&json!("mailbox"), &json!("trusted"))
    );
    assert_eq!(inbox[0]["from_hostname"], "alice");
    assert!(
        inbox[0]["sent_at"].as_str() <= inbox[0]["received_at"].as_str(),
        "{inbox:?}"
    );
    // Straight again, and what was taken does not come again.
    let sent = agents.data("alice", "send-message bob --data third");
    assert_eq!(
        (&sent["ack"], &sent["kept_until"]),
        (&json!("stored"), &Value::Null)
    );
    agents.data("bob", "daemon stop");
    agents.data("bob", "daemon start --hostname bob");
    assert_eq!(agents.inbox("bob").len(), 3);
    assert_eq!(agents.inbox("bob")[2]["via"], "direct");
}

#[test]
fn letters_survive_the_death_of_the_rendezvous_and_of_who_sent_them() {
    let agents = Agents::start();
    agents.kill("bob");
    let sent = agents.data("alice", "send-message bob --data kept");
    assert_eq!(sent["ack"], "mailbox", "{sent}");
    let status = agents.data("alice", "rendezvous status");
    let pid = status["pid"].to_string();
    assert!(
        Command::new("kill")
            .args(["-9", &pid])
            .status()
            .unwrap()
            .success()
    );
    agents.kill("alice");
    agents.data("bob", "daemon start --hostname bob");
    let inbox = agents.until_inbox_has("bob", 1);
    assert_eq!(
        (&inbox[0]["data"], &inbox[0]["id"]),
        (&json!("kept"), &sent["id"])
    );
}

#[test]
fn an_answer_that_is_waited_for_may_come_after_the_asked_agent_came_back() {
    let agents = Agents::start();
    agents.data("bob", "daemon stop");
    thread::scope(|scope| {
        let asking =
            scope.spawn(|| agents.data("alice", "send-message bob --data question --wait 50s"));
        // Bob starts only once the question waits for him.
        thread::sleep(Duration::from_secs(4));
        agents.data("bob", "daemon start --hostname bob");
        let question = agents.until_inbox_has("bob", 1)[0]["id"].clone();
        let line = format!(
            "send-message alice --data answer --reply-to {}",
            question.as_str().unwrap()
        );
        agents.data("bob", &line);
        let asked = asking.join().unwrap();
        assert_eq!(
            (&asked["ack"], &asked["reply"]["data"]),
            (&json!("mailbox"), &json!("answer"))
        );
    });
}

#[test]
fn what_is_too_long_for_a_mailbox_is_refused_with_what_to_do() {
    let agents = Agents::start();
    agents.data("bob", "daemon stop");
    let path = agents.0.path().join("long");
    std::fs::write(&path, vec![b'x'; 128 * 1024 + 1]).unwrap();
    let line = format!("send-message bob --data @{}", path.display());
    let (answer, _) = agents.ask("alice", &line);
    assert_eq!(answer["status"], "error", "{answer}");
    assert!(
        answer["hint"].as_str().unwrap().contains("128 KiB"),
        "{answer}"
    );
    std::fs::write(&path, vec![b'x'; 128 * 1024]).unwrap();
    assert_eq!(agents.data("alice", &line)["ack"], "mailbox");
}

#[test]
fn a_broadcast_reaches_members_that_are_away_where_the_policy_says_so() {
    let agents = Agents::start();
    agents.data("alice", "group create fleet --auto-trust --join open");
    agents.data("bob", "group join fleet");
    agents.data("bob", "daemon stop");
    agents.until("bob is away", |agents| {
        let members = agents.data("alice", "group members fleet");
        let members = members["members"].as_array().unwrap();
        members
            .iter()
            .filter(|member| member["online"] == true)
            .count()
            == 1
    });
    let sent = agents.data("alice", "broadcast fleet hello");
    assert_eq!(
        (&sent["sent"], &sent["delivered"], &sent["deposited"]),
        (&json!(0), &json!(0), &json!(1)),
        "{sent}"
    );
    let policy = agents.data("alice", "group policy fleet --set mailbox=false");
    assert_eq!(policy["mailbox"], false);
    let sent = agents.data("alice", "broadcast fleet again");
    assert_eq!(sent["deposited"], 0, "{sent}");
    agents.data("bob", "daemon start --hostname bob");
    let inbox = agents.until_inbox_has("bob", 1);
    assert_eq!(
        (&inbox[0]["data"], &inbox[0]["via"]),
        (&json!("hello"), &json!("mailbox"))
    );
    assert!(inbox[0]["network_id"].is_number(), "{inbox:?}");
}
