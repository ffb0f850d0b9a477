//! The program as an operator runs it.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A running program; it ends with the test, however that ends.
struct Program {
    child: Child,
    ready: String,
}

impl Program {
    fn start(arguments: &[&str], home: &Path) -> Self {
        let mut child = command(arguments, home)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        Self {
            child,
            ready: ready.trim().to_owned(),
        }
    }

    /// Ends it as an operator does, and gives its exit code.
    fn terminate(&mut self) -> Option<i32> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(arguments: &[&str], home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pilot-rendezvous"));
    command
        .args(arguments)
        .arg("--home")
        .arg(home)
        .stdin(Stdio::null());
    command
}

fn output(arguments: &[&str], home: &Path) -> Output {
    command(arguments, home).output().unwrap()
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

const ANYWHERE: [&str; 4] = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];

#[test]
fn it_says_its_url_serves_and_ends_cleanly() {
    let home = tempfile::tempdir().unwrap();
    let mut program = Program::start(&[&ANYWHERE[..], &["--json"]].concat(), home.path());
    let ready = json(program.ready.as_bytes());
    assert_eq!(ready["status"], "ok");
    let (url, listen) = (
        ready["data"]["url"].as_str().unwrap(),
        ready["data"]["listen"].as_str().unwrap(),
    );
    assert!(
        url.starts_with("pilot://") && url.ends_with(listen),
        "{url}"
    );
    assert_eq!(ready["data"]["public_key"].as_str().unwrap().len(), 64);

    let mut stream = TcpStream::connect(ready["data"]["http"].as_str().unwrap()).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.contains("\npilot_rendezvous_sessions 0\n"), "{page}");

    let said = output(&["url", "--listen", listen], home.path());
    assert_eq!(String::from_utf8(said.stdout).unwrap().trim(), url);
    assert_eq!(program.terminate(), Some(0));
}

#[test]
fn the_url_is_known_before_the_first_start_and_stays() {
    let home = tempfile::tempdir().unwrap();
    let advertised = ["url", "--advertise", "rendezvous.example:9000", "--json"];
    let url = json(&output(&advertised, home.path()).stdout)["data"]["url"].clone();
    assert!(
        url.as_str().unwrap().ends_with("@rendezvous.example:9000"),
        "{url}"
    );
    let program = Program::start(&[&ANYWHERE[..], &advertised[1..]].concat(), home.path());
    assert_eq!(json(program.ready.as_bytes())["data"]["url"], url);
}

#[test]
fn a_taken_port_a_taken_home_and_bad_usage_are_named() {
    let home = tempfile::tempdir().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let refused = output(&["--listen", &addr, "--json"], home.path());
    let error = json(&refused.stdout);
    assert_eq!(
        (refused.status.code(), &error["code"]),
        (Some(8), &Value::from("already_exists"))
    );
    assert!(
        error["message"].as_str().unwrap().contains(&addr),
        "{error}"
    );
    assert!(error["hint"].as_str().unwrap().contains("--listen"));

    let _first = Program::start(&ANYWHERE, home.path());
    let second = output(&[&ANYWHERE[..], &["--json"]].concat(), home.path());
    assert_eq!(second.status.code(), Some(8));

    let usage = output(&["--listen", "nowhere", "--json"], home.path());
    assert_eq!(
        (usage.status.code(), json(&usage.stdout)["code"].as_str()),
        (Some(2), Some("invalid_argument"))
    );
}
