//! TCP programs through two agents, with the programs as their users run them.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

fn pilotctl(home: &Path, agent: &str, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pilotctl"));
    command
        .args(line.split(' '))
        .env_clear()
        .env("PILOT_HOME", home.join(agent))
        .env("PILOT_RENDEZVOUS_HOME", home.join("rendezvous"))
        .stdin(Stdio::null());
    command
}

/// Alice and bob, who trust each other, on an embedded rendezvous of their own.
struct Pair(TempDir);

impl Pair {
    fn new() -> Self {
        let pair = Self(tempfile::tempdir().unwrap());
        for agent in ["alice", "bob"] {
            pair.run(agent, &format!("daemon start --hostname {agent}"));
        }
        pair.run("alice", "handshake bob");
        pair.run("bob", "handshake alice --wait=20s");
        pair.run("alice", "handshake bob --wait=20s");
        pair
    }

    fn run(&self, agent: &str, line: &str) -> Output {
        let output = pilotctl(self.0.path(), agent, line).output().unwrap();
        assert!(output.status.success(), "{agent}: {line}: {output:?}");
        output
    }

    fn start(&self, agent: &str, line: &str) -> Running {
        let mut command = pilotctl(self.0.path(), agent, &format!("--json {line}"));
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["status"], "ok", "{ready}");
        let errors = BufReader::new(child.stderr.take().unwrap());
        Running {
            child,
            out,
            errors,
            data: ready["data"].clone(),
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for (agent, line) in [
            ("alice", "daemon stop"),
            ("bob", "daemon stop"),
            ("alice", "rendezvous stop"),
        ] {
            drop(pilotctl(self.0.path(), agent, line).output());
        }
    }
}

/// A command that stays, after its ready line.
struct Running {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    errors: BufReader<std::process::ChildStderr>,
    data: Value,
}

impl Running {
    fn listen(&self) -> &str {
        self.data["listen"].as_str().unwrap()
    }

    /// Ends it by a signal; its exit code, and that it wrote nothing after its ready line.
    fn end(mut self, signal: Signal) -> Option<i32> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        let status = self.child.wait().unwrap();
        let mut more = String::new();
        self.out.read_line(&mut more).unwrap();
        assert_eq!(more, "", "one line, and nothing behind it");
        status.code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn curl(args: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-q", "--silent", "--show-error", "--max-time", "20"])
        .args(args)
        .env_clear()
        .output()
        .expect("the tests need curl");
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_site_is_read_through_forward_and_proxy_until_they_are_stopped() {
    let pair = Pair::new();
    let site = tempfile::tempdir().unwrap();
    std::fs::write(site.path().join("hello.txt"), "hello").unwrap();
    let directory = site.path().to_str().unwrap();
    let served = pair.start("bob", &format!("serve {directory} --port 8000"));
    assert_eq!(served.data["target"], directory);
    let mut forwarded = pair.start("alice", "forward 0 bob:8000");
    assert_eq!(forwarded.data["target"], "bob:8000");
    let url = format!("http://{}/hello.txt", forwarded.listen());

    // The port is not granted yet: one line says what bob is to run.
    let refused = Command::new("curl")
        .args(["-q", "-s", &url])
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let mut line = String::new();
    forwarded.errors.read_line(&mut line).unwrap();
    let wanted = "pilotctl approve alice --ports 7,1000-1002,8000";
    assert!(
        line.contains(wanted) && line.contains("[1 of 1 failed]"),
        "{line}"
    );
    pair.run("bob", "approve alice --ports 7,1000-1002,8000");
    let trust = pair.run("bob", "--json trust");
    let trust: Value = serde_json::from_slice(&trust.stdout).unwrap();
    assert_eq!(trust["data"]["trusted"][0]["scope"], "7,1000-1002,8000");
    assert_eq!(curl(&[&url]), "hello");

    let proxy = pair.start("alice", "proxy --listen 0");
    assert_eq!(proxy.data["target"], "*.pilot");
    let named = "http://bob.pilot:8000/hello.txt";
    assert_eq!(curl(&["--proxy", proxy.listen(), named]), "hello");
    assert_eq!(curl(&["--socks5-hostname", proxy.listen(), named]), "hello");

    let addr = forwarded.listen().to_owned();
    assert_eq!(forwarded.end(Signal::TERM), Some(0));
    assert!(TcpStream::connect(&addr).is_err(), "{addr} is open");
    assert_eq!(proxy.end(Signal::INT), Some(0));
    assert_eq!(served.end(Signal::TERM), Some(0));
    // Its port is free again.
    let exposed = pair.start("bob", "expose 9 --port 8000");
    assert_eq!(exposed.data["target"], "127.0.0.1:9");
    assert_eq!(exposed.end(Signal::TERM), Some(0));
}
