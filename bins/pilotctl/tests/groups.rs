//! Groups with the programs as their users run them: create, join, speak to all, remove.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

fn pilotctl(home: &Path, agent: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pilotctl"))
        .arg("--json")
        .args(args)
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
    fn start(names: &[&'static str]) -> Self {
        let agents = Self {
            home: tempfile::tempdir().unwrap(),
            names: names.to_vec(),
        };
        for name in names {
            agents.data(name, &format!("daemon start --hostname {name}"));
        }
        agents
    }

    fn ask(&self, agent: &str, line: &str) -> (Value, i32) {
        let args: Vec<&str> = line.split(' ').collect();
        let output = pilotctl(self.home.path(), agent, &args);
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
        assert!(answer["hint"].is_string(), "{agent}: {line}: {answer}");
        answer
    }

    /// Asks until the data are as wanted.
    fn until(&self, agent: &str, line: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let (answer, _) = self.ask(agent, line);
            if is_it(&answer["data"]) {
                return answer["data"].clone();
            }
            assert!(Instant::now() < end, "{agent}: {line}: {answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        for name in &self.names {
            drop(pilotctl(self.home.path(), name, &["daemon", "stop"]));
        }
        drop(pilotctl(self.home.path(), "x", &["rendezvous", "stop"]));
    }
}

fn names(members: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let members = members["members"].as_array().cloned().unwrap_or_default();
    let pair = |member: &Value| (text(&member["hostname"]), text(&member["role"]));
    members.iter().map(pair).collect()
}

#[test]
fn a_group_from_its_creation_to_a_kick() {
    let agents = Agents::start(&["alice", "bob"]);
    let created = agents.data("alice", "group create TRADING --join token --auto-trust");
    assert_eq!(
        (&created["name"], &created["role"]),
        (&json!("trading"), &json!("owner"))
    );
    let network = created["network_id"].as_u64().unwrap();
    assert!((1..=65534).contains(&network));
    let token = created["token"].as_str().unwrap();
    let key = agents.home.path().join("alice/groups");
    let key = std::fs::read_dir(key)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    agents.error("bob", "group create trading", "already_exists");
    agents.error("bob", "group join nothing", "not_found");
    agents.error("bob", "group join trading", "permission_denied");
    let wrong = format!("group join trading --token {}", "00".repeat(16));
    agents.error("bob", &wrong, "permission_denied");
    let joined = agents.data("bob", &format!("group join trading --token {token}"));
    assert_eq!(
        joined,
        json!({"network_id": network, "name": "trading", "role": "member"})
    );
    let both = [("alice", "owner"), ("bob", "member")];
    let both = both.map(|(name, role)| (name.to_owned(), role.to_owned()));
    for agent in ["alice", "bob"] {
        let members = agents.until(agent, "group members", |data| names(data) == both);
        assert_eq!(members["members"][1]["online"], true, "{members}");
    }
    let list = agents.data("bob", "network list");
    assert_eq!(
        list["networks"][0],
        json!({"network_id": network, "name": "trading", "join_rule": "token", "role": "member",
            "members": 2, "auto_trust": true})
    );
    // Nobody approved anybody.
    agents.data("bob", "ping alice");
    agents.data("alice", "ping bob");
    let sent = agents.data("bob", "broadcast trading hello");
    assert_eq!(
        sent,
        json!({"network_id": network, "sent": 1, "delivered": 1, "deposited": 0})
    );
    let inbox = agents.data("alice", "inbox");
    let message = &inbox["messages"][0];
    assert_eq!(
        (
            &message["data"],
            &message["network_id"],
            &message["from_hostname"]
        ),
        (&json!("hello"), &json!(network), &json!("bob"))
    );
    agents.data("alice", "send-message bob --data direct");
    let inbox = agents.data("bob", "inbox");
    assert!(inbox["messages"][0].get("network_id").is_none(), "{inbox}");
    agents.error("bob", "group kick alice", "permission_denied");
    agents.error(
        "bob",
        "group policy --set auto_trust=false",
        "permission_denied",
    );
    // A restart changes nothing.
    agents.data("bob", "daemon stop");
    agents.data("bob", "daemon start");
    agents.data("bob", "ping alice");
    let kicked = agents.data("alice", "group kick bob --group trading");
    assert_eq!(kicked["status"], "kicked");
    agents.until("bob", "group list", |data| data["networks"] == json!([]));
    let (refused, _) = agents.ask("bob", "ping alice --timeout 5s");
    assert_eq!(refused["code"], "not_found", "{refused}");
    agents.error("bob", "broadcast trading again", "not_found");
}

#[test]
fn events_for_a_group_reach_every_member() {
    let agents = Agents::start(&["alice", "bob", "stranger"]);
    let created = agents.data("alice", "group create TRADING --join token --auto-trust");
    let token = created["token"].as_str().unwrap();
    agents.data("bob", &format!("group join trading --token {token}"));
    for agent in ["alice", "bob"] {
        agents.until(agent, "group members", |data| {
            let online = data["members"].as_array().into_iter().flatten();
            online.filter(|it| it["online"] == true).count() == 2
        });
    }
    for agent in ["alice", "bob"] {
        let line = format!("publish TRADING prices/oil --data {agent}");
        let published = agents.data(agent, &line);
        assert_eq!(
            (&published["sent"], &published["delivered"]),
            (&json!(1), &json!(1)),
            "{published}"
        );
        let all = published["target"].as_str().unwrap();
        assert!(all.ends_with(":FFFF.FFFF.FFFF"), "{published}");
    }
    for agent in ["alice", "bob"] {
        let line = "subscribe trading prices/* --replay 5 --count 2";
        let events = agents.data(agent, line)["events"].clone();
        let said =
            [&events[0], &events[1]].map(|it| (it["from_hostname"].clone(), it["data"].clone()));
        let both = ["alice", "bob"].map(|name| (json!(name), json!(name)));
        assert_eq!(said, both, "{agent}");
    }
    // What is for all is not at an agent's own broker, and not for others.
    let (elsewhere, _) = agents.ask("bob", "subscribe alice # --replay 5 --count 1 --timeout 1s");
    assert_eq!(elsewhere["code"], "timeout", "{elsewhere}");
    // Who is in no such group is told as of an agent that there is not.
    let (unknown, _) = agents.ask("stranger", "publish trading prices/oil --data x");
    assert_eq!(unknown["code"], "not_found", "{unknown}");
    agents.data("alice", "group policy --set broadcast=owner");
    agents.until("bob", "group policy", |data| data["broadcast"] == "owner");
    agents.error(
        "bob",
        "publish trading prices/oil --data x",
        "permission_denied",
    );
    agents.data("bob", "group leave trading");
    let (gone, _) = agents.ask("bob", "subscribe trading # --count 1");
    assert_eq!(gone["code"], "not_found", "{gone}");
}

#[test]
fn invitations_roles_policies_and_a_start_that_joins() {
    let agents = Agents::start(&["alice", "bob"]);
    let policy = agents.data("alice", "group create desk");
    assert!(policy.get("token").is_none());
    let hidden = agents.error("alice", "group invite bob", "not_found");
    assert!(hidden["hint"].as_str().unwrap().contains("pilotctl ticket"));
    let ticket = agents.data("bob", "ticket");
    let invite = format!("group invite {}", ticket["ticket"].as_str().unwrap());
    assert_eq!(agents.data("alice", &invite)["status"], "invited");
    let invites = agents.until("bob", "group invites", |data| {
        data["invites"]
            .as_array()
            .is_some_and(|invites| invites.len() == 1)
    });
    assert_eq!(invites["invites"][0]["name"], "desk");
    assert_eq!(agents.data("bob", "group accept desk")["role"], "member");
    agents.error("bob", "group accept desk", "not_found");
    // Members see each other, and trust nobody for it.
    agents.until("alice", "group members desk", |data| names(data).len() == 2);
    agents.error("bob", "ping alice", "not_trusted");
    agents.data("alice", "group policy --set auto_trust=true --set ports=7");
    agents.until("bob", "group policy", |data| data["ports"] == "7");
    agents.data("bob", "ping alice");
    assert_eq!(
        agents.data("alice", "group role bob admin")["status"],
        "admin"
    );
    agents.until("bob", "group list", |data| {
        data["networks"][0]["role"] == "admin"
    });
    let opened = agents.data("alice", "group policy --set join=token");
    let token = opened["token"].as_str().unwrap();
    // Without its owner an admin lets others in.
    agents.until("bob", "group policy", |data| data["join_rule"] == "token");
    agents.data("alice", "daemon stop");
    let start = format!("daemon start --hostname carol --group DESK --token {token}");
    let mut agents = agents;
    agents.names.push("carol");
    agents.data("carol", &start);
    let list = agents.data("carol", "group list");
    assert_eq!(list["networks"][0]["name"], "desk");
    agents.data("carol", "ping bob");
    let left = agents.data("carol", "group leave");
    assert_eq!(left["name"], "desk");
    agents.error("carol", "group members", "not_found");
    agents.until("bob", "group members", |data| names(data).len() == 2);
}

/// The message that waits at an agent.
fn message(agents: &Agents, agent: &str) -> String {
    let inbox = agents.until(agent, "inbox", |data| data["total"] == 1);
    inbox["messages"][0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_request_goes_to_a_member_that_can_and_to_the_next_one_when_it_dies() {
    let agents = Agents::start(&["alice", "bob", "carol", "dave"]);
    agents.data("alice", "group create crew --join open --auto-trust");
    for member in ["bob", "carol", "dave"] {
        agents.data(member, "group join crew");
    }
    let nobody = "group route crew --capability translate --data hi";
    agents.error("alice", nobody, "not_found");
    // Dave can do an older version alone.
    agents.data("dave", "set-capabilities translate@1.9.0");
    for member in ["bob", "carol"] {
        agents.data(member, "set-capabilities translate@2.1.0");
    }
    let wanted = "group route crew --capability translate@2 --data hi";
    let ask = || {
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| agents.data("alice", &format!("{wanted} --wait 6s")));
            // Whoever has it dies without a word; the other one answers.
            let first = loop {
                let has = |agent: &&str| agents.data(agent, "inbox")["total"] == 1;
                if let Some(agent) = ["bob", "carol"].into_iter().find(has) {
                    break agent;
                }
            };
            let pid = agents.data(first, "daemon status")["pid"].to_string();
            let killed = Command::new("kill").args(["-9", &pid]).status().unwrap();
            assert!(killed.success());
            let other = if first == "bob" { "carol" } else { "bob" };
            let id = message(&agents, other);
            agents.data(
                other,
                &format!("send-message alice --data bonjour --reply-to {id}"),
            );
            (first, other, waiting.join().unwrap())
        })
    };
    let (first, other, routed) = ask();
    assert_eq!(routed["reply"]["data"], "bonjour");
    assert_eq!(routed["reply"]["from_hostname"], other);
    let attempts = routed["attempts"].as_array().unwrap();
    let asked: Vec<&str> = attempts
        .iter()
        .map(|attempt| attempt["hostname"].as_str().unwrap())
        .collect();
    assert_eq!(asked, [first, other]);
    assert_eq!(attempts[1]["outcome"], "answered");
    assert_ne!(attempts[0]["outcome"], "answered");
    assert_eq!(agents.data("dave", "inbox")["total"], 0);
    // The one that answered goes first from now on.
    let again = agents.data("alice", wanted);
    assert_eq!(again["attempts"][0]["hostname"], other, "{again}");
    assert_eq!(again["attempts"][0]["outcome"], "delivered");
}
