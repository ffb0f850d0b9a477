//! Messages in numbers: many senders to one agent that dies and comes back, and how many a second go between two agents.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]
#![allow(clippy::print_stdout, reason = "the figures of a run are its output")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use pilot_lab::setting;
use serde_json::{Value, json};

/// The program, as built for this test or as `PILOTCTL` names it.
fn program() -> PathBuf {
    let named = std::env::var_os("PILOTCTL").map(PathBuf::from);
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_pilotctl").into())
}

/// Agents in one directory, with a rendezvous of their own, that end with this.
struct Agents {
    dir: tempfile::TempDir,
    names: Vec<String>,
}

impl Agents {
    /// The first is trusted by and trusts the others.
    fn start(count: usize) -> Self {
        let names = (0..count).map(|number| format!("agent{number}")).collect();
        let agents = Self {
            dir: tempfile::tempdir().unwrap(),
            names,
        };
        for number in 0..count {
            agents.run(number);
        }
        for number in 1..count {
            agents.ok(0, &["handshake", &agents.names[number]]);
            let waits = || {
                let pending = agents.ok(number, &["pending"]);
                !pending["pending"].as_array().unwrap().is_empty()
            };
            until("a knock arrives", waits);
            agents.ok(number, &["approve", &agents.names[0]]);
        }
        until("all trust each other", || {
            let trusted = agents.ok(0, &["trust"]);
            let trusted = trusted["trusted"].as_array().unwrap();
            trusted.iter().filter(|it| it["mutual"] == true).count() == count - 1
        });
        agents
    }

    fn home(&self, number: usize) -> PathBuf {
        self.dir.path().join(&self.names[number])
    }

    fn run(&self, number: usize) {
        self.ok(
            number,
            &["daemon", "start", "--hostname", &self.names[number]],
        );
    }

    fn pilotctl(&self, number: usize, words: &[&str]) -> Output {
        Command::new(program())
            .arg("--json")
            .args(words)
            .env_clear()
            .env("PILOT_HOME", self.home(number))
            .env("PILOT_RENDEZVOUS_HOME", self.dir.path().join("rendezvous"))
            .output()
            .unwrap()
    }

    /// The data of a command that works.
    fn ok(&self, number: usize, words: &[&str]) -> Value {
        let output = self.pilotctl(number, words);
        let answer: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{words:?}: {output:?}"));
        assert_eq!(answer["status"], "ok", "{words:?}: {answer}");
        answer["data"].clone()
    }

    /// Kills the daemon, which has no time to say anything.
    fn kill(&self, number: usize) {
        let status = self.ok(number, &["daemon", "status"]);
        let pid = i32::try_from(status["pid"].as_i64().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        until("it is gone", || {
            rustix::process::test_kill_process(pid).is_err()
        });
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        for number in 0..self.names.len() {
            self.pilotctl(number, &["daemon", "stop"]);
        }
        self.pilotctl(0, &["rendezvous", "stop"]);
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A connection to a daemon that makes one request after the other.
struct Api(BufReader<UnixStream>);

impl Api {
    fn connect(home: &Path) -> Self {
        Self(BufReader::new(
            UnixStream::connect(home.join("pilot.sock")).unwrap(),
        ))
    }

    /// Sends a message and gives the API's answer.
    fn send(&mut self, peer: &str, id: &str, data: &str) -> Value {
        let body = json!({"peer": peer, "id": id, "data": data}).to_string();
        let head = format!(
            "POST /v1/messages HTTP/1.1\r\nhost: pilot\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.0
            .get_mut()
            .write_all((head + &body).as_bytes())
            .unwrap();
        let mut len = 0;
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the API hung up");
            let line = line.trim_end().to_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                len = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; len];
        self.0.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }
}

/// The id of a sender's message.
fn id(sender: usize, number: usize) -> String {
    format!("{sender:016x}{number:016x}")
}

/// `PILOT_SENDERS` and `PILOT_MESSAGES` of each make it as large as one wants.
#[test]
fn messages_of_many_senders_are_there_once_and_in_order_whatever_becomes_of_the_receiver() {
    let senders = usize::try_from(setting("PILOT_SENDERS", 3)).unwrap();
    let messages = usize::try_from(setting("PILOT_MESSAGES", 150)).unwrap();
    let agents = Agents::start(senders + 1);
    let sent = AtomicUsize::new(0);
    let by_mailbox = AtomicUsize::new(0);
    let began = Instant::now();
    thread::scope(|scope| {
        let mut senders_at_work = vec![];
        for sender in 1..=senders {
            let (agents, sent, by_mailbox) = (&agents, &sent, &by_mailbox);
            senders_at_work.push(scope.spawn(move || {
                let mut api = Api::connect(&agents.home(sender));
                for number in 0..messages {
                    let id = id(sender, number);
                    until("a message is taken", || {
                        let answer = api.send("agent0", &id, &number.to_string());
                        let ack = &answer["data"]["ack"];
                        by_mailbox.fetch_add(usize::from(*ack == "mailbox"), Ordering::Relaxed);
                        ack.is_string()
                    });
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        for part in 1..=3 {
            while sent.load(Ordering::Relaxed) < part * senders * messages / 4 {
                let all_ended = senders_at_work.iter().all(ScopedJoinHandle::is_finished);
                assert!(!all_ended, "every sender has ended");
                thread::sleep(Duration::from_millis(5));
            }
            if part == 2 {
                agents.ok(0, &["daemon", "stop"]);
            } else {
                agents.kill(0);
            }
            agents.run(0);
        }
    });
    let took = began.elapsed();
    let total = senders * messages;
    let count = || agents.ok(0, &["inbox", "--limit", "0"])["total"].clone();
    until("what lay in the mailbox arrives", || {
        count() == json!(total)
    });
    println!(
        "{total} messages of {senders} senders in {took:?}, three restarts of the receiver, {} by the mailbox",
        by_mailbox.load(Ordering::Relaxed)
    );
    let inbox = agents.ok(0, &["inbox", "--limit", &total.to_string()]);
    let mut next: BTreeMap<u64, usize> = BTreeMap::new();
    for message in inbox["messages"].as_array().unwrap() {
        let next = next.entry(message["from"].as_u64().unwrap()).or_default();
        assert_eq!(message["data"], next.to_string(), "{message}");
        *next += 1;
    }
    let counts: Vec<usize> = next.into_values().collect();
    assert_eq!(counts, vec![messages; senders]);
}

/// Prints figures; `just messages` runs it alone.
#[test]
#[ignore = "a measurement"]
fn message_rates() {
    let agents = Agents::start(2);
    let clients = usize::try_from(setting("PILOT_CLIENTS", 64)).unwrap();
    let total = usize::try_from(setting("PILOT_MESSAGES", 50_000)).unwrap();
    let next = AtomicUsize::new(0);
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut api = Api::connect(&agents.home(1));
                while let number = next.fetch_add(1, Ordering::Relaxed)
                    && number < total
                {
                    let answer = api.send(
                        "agent0",
                        &id(1, number),
                        "sixty-four bytes of a small message, as agents send them often",
                    );
                    assert_eq!(answer["data"]["ack"], "stored", "{answer}");
                }
            });
        }
    });
    let took = began.elapsed();
    println!(
        "{total} messages, {clients} at a time: {:.0}/s",
        total as f64 / took.as_secs_f64()
    );
    let rate = setting("PILOT_RATE", 1000);
    let count = usize::try_from(rate * 10).unwrap();
    let times = Mutex::new(vec![]);
    let (next, began) = (AtomicUsize::new(0), Instant::now());
    thread::scope(|scope| {
        for _ in 0..clients.min(16) {
            scope.spawn(|| {
                let mut api = Api::connect(&agents.home(1));
                while let number = next.fetch_add(1, Ordering::Relaxed)
                    && number < count
                {
                    let due = Duration::from_secs_f64(number as f64 / rate as f64);
                    thread::sleep(due.saturating_sub(began.elapsed()));
                    let answer = api.send("agent0", &id(2, number), "small");
                    assert_eq!(answer["data"]["ack"], "stored", "{answer}");
                    // From when it was due: a queue in front of the API is no excuse.
                    times
                        .lock()
                        .unwrap()
                        .push(began.elapsed().saturating_sub(due));
                }
            });
        }
    });
    let mut times = times.into_inner().unwrap();
    times.sort();
    let at = |share: usize| times[(times.len() * share / 1000).min(times.len() - 1)];
    println!(
        "{rate}/s for 10 s: p50 {:?}, p99 {:?}, longest {:?}",
        at(500),
        at(990),
        at(1000)
    );
}
