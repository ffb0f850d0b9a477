//! Real daemons on machines of their own: network namespaces on one switch, MTU 1500. Needs root and `ip`.
//!
//! `PILOTCTL` names the program; `pilot-rendezvous` is expected beside it.

#![allow(clippy::print_stdout, reason = "the figures of a run are its output")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

const POLL: Duration = Duration::from_millis(10);

/// A switch and the machines on it; gone when dropped.
struct Lab {
    name: String,
    dir: tempfile::TempDir,
    machines: Vec<String>,
    children: Vec<Child>,
}

/// A machine with one address.
struct Machine {
    namespace: String,
    address: String,
    home: PathBuf,
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("the program starts");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn ip(arguments: &str) {
    run(Command::new("ip").args(arguments.split_whitespace()));
}

impl Lab {
    fn new() -> Self {
        let name = format!("plt{}", std::process::id());
        ip(&format!("netns add {name}sw"));
        ip(&format!("-n {name}sw link add br0 type bridge"));
        ip(&format!("-n {name}sw link set br0 up"));
        Self {
            dir: tempfile::tempdir().expect("a directory"),
            machines: vec![format!("{name}sw")],
            children: vec![],
            name,
        }
    }

    fn add(&mut self, name: &str) -> Machine {
        let number = self.machines.len();
        let namespace = format!("{}{name}", self.name);
        let switch = &self.machines[0];
        ip(&format!("netns add {namespace}"));
        ip(&format!(
            "-n {switch} link add p{number} mtu 1500 type veth peer name eth0 netns {namespace}"
        ));
        ip(&format!("-n {switch} link set p{number} master br0 up"));
        ip(&format!(
            "-n {namespace} addr add 10.77.0.{number}/24 dev eth0"
        ));
        ip(&format!("-n {namespace} link set lo up"));
        ip(&format!("-n {namespace} link set eth0 up"));
        self.machines.push(namespace.clone());
        Machine {
            namespace,
            address: format!("10.77.0.{number}"),
            home: self.dir.path().join(name),
        }
    }

    /// Starts a rendezvous and gives its URL.
    fn rendezvous(&mut self, machine: &Machine) -> String {
        let program = pilotctl().with_file_name("pilot-rendezvous");
        let mut command = machine.command(&program);
        command.arg("--home").arg(&machine.home);
        command.args([
            "--json",
            "--listen",
            "0.0.0.0:9000",
            "--advertise",
            &format!("{}:9000", machine.address),
        ]);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the rendezvous starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)
            .expect("a ready line");
        self.children.push(child);
        let ready: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        ready["data"]["url"].as_str().expect("a url").to_owned()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for namespace in &self.machines {
            let _ = Command::new("ip")
                .args(["netns", "del", namespace])
                .output();
        }
    }
}

fn pilotctl() -> PathBuf {
    let path = std::env::var_os("PILOTCTL")
        .map_or_else(|| env!("CARGO_BIN_EXE_pilotctl").into(), PathBuf::from);
    fs::canonicalize(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Machine {
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace])
            .arg(program);
        command
            .env_remove("PILOT_HOME")
            .env_remove("PILOT_SOCKET")
            .stdin(Stdio::null());
        command
    }

    fn pilotctl(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&pilotctl());
        command.arg("--home").arg(&self.home).args(arguments);
        command
    }

    /// The envelope and exit code of a command with `--json`.
    fn json(&self, arguments: &[&str]) -> (Value, i32) {
        let output = self
            .pilotctl(&[&["--json"], arguments].concat())
            .output()
            .expect("pilotctl starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!(
                "{arguments:?}: {error}: {text:?} {}",
                String::from_utf8_lossy(&output.stderr)
            )
        });
        (value, output.status.code().expect("an exit code"))
    }

    /// The data of a command that must succeed.
    fn data(&self, arguments: &[&str]) -> Value {
        let (mut value, code) = self.json(arguments);
        assert!(
            code == 0 && value["status"] == "ok",
            "{arguments:?}: {value}"
        );
        value["data"].take()
    }

    fn start(&self, name: &str, url: &str) -> Value {
        self.data(&["daemon", "start", "--hostname", name, "--rendezvous", url])
    }

    /// Ends the daemon as an operator's system does, and waits until it is gone.
    fn terminate(&self) {
        let status = self.data(&["daemon", "status"]);
        let pid = status["pid"].as_u64().expect("a pid").to_string();
        run(Command::new("kill").args(["-TERM", &pid]));
        wait("the daemon ends", Duration::from_secs(5), || {
            !Path::new("/proc").join(&pid).exists()
        });
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.pilotctl(&["daemon", "stop"]).output();
    }
}

/// Polls until it holds; gives how long that took.
fn wait(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        sleep(POLL);
    }
    start.elapsed()
}

fn is_mutual(machine: &Machine) -> bool {
    machine.data(&["trust"])["trusted"]
        .as_array()
        .is_some_and(|peers| peers.iter().any(|peer| peer["mutual"] == true))
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn two_agents_on_two_machines() {
    let mut lab = Lab::new();
    let (server, alice, bob, eve) = (lab.add("r"), lab.add("a"), lab.add("b"), lab.add("e"));
    let url = lab.rendezvous(&server);
    let alice_start = alice.start("alice", &url);
    bob.start("bob", &url);
    eve.start("eve", &url);

    approve_and_ping(&alice, &bob);
    let is_trusted = alice.data(&["trust"]);
    assert_eq!(is_trusted["trusted"][0]["hostname"], "bob", "{is_trusted}");
    strangers_cannot_tell(&eve);
    pipe(&lab, &alice, &bob);
    restart(&alice, &bob, &url, &alice_start);
}

/// Knock, pending, approve, first ping: each within the time that a person does not notice.
fn approve_and_ping(alice: &Machine, bob: &Machine) {
    let limit = Duration::from_secs(5);
    let sent = alice.data(&["handshake", "bob", "let us talk"]);
    assert_eq!(
        (&sent["status"], &sent["node_id"]),
        (&Value::from("sent"), &Value::Null)
    );
    let pending = wait("pending", limit, || {
        bob.data(&["pending"])["pending"]
            .as_array()
            .is_some_and(|knocks| knocks.len() == 1)
    });
    let knock = bob.data(&["pending"])["pending"][0].take();
    assert_eq!(knock["justification"], "let us talk");

    bob.data(&["approve", knock["address"].as_str().expect("an address")]);
    let approved = wait("approved", limit, || is_mutual(alice) && is_mutual(bob));
    let start = Instant::now();
    let ping = alice.data(&["ping", "bob"]);
    let first = start.elapsed();
    assert!(ping["results"][0]["rtt_ms"].is_number(), "{ping}");
    println!(
        "pending after {pending:?}, trust after {approved:?}, first ping answered after {first:?}"
    );
}

/// A private agent and none are the same to a stranger: in code, words and time.
fn strangers_cannot_tell(eve: &Machine) {
    for command in [vec!["ping"], vec!["connect"], vec!["lookup"], vec!["find"]] {
        let ask = |name: &str| {
            let (mut answer, code) = eve.json(&[&command[..], &[name]].concat());
            answer["message"] = answer["message"]
                .as_str()
                .unwrap_or_default()
                .replace(name, "NAME")
                .into();
            answer["hint"] = answer["hint"]
                .as_str()
                .unwrap_or_default()
                .replace(name, "NAME")
                .into();
            (answer, code)
        };
        let (private, nobody) = (ask("bob"), ask("nob"));
        assert_eq!(private, nobody, "{command:?}");
        assert_eq!(private.1, 3, "{command:?}: {private:?}");
    }
    let (mut private, mut nobody) = (vec![], vec![]);
    for _ in 0..200 {
        for (name, times) in [("bob", &mut private), ("nob", &mut nobody)] {
            let start = Instant::now();
            assert_eq!(eve.json(&["lookup", name]).1, 3);
            times.push(start.elapsed());
        }
    }
    let (private, nobody) = (median(&mut private), median(&mut nobody));
    println!(
        "200 alternated lookups by a stranger, medians: private agent {private:?}, no agent {nobody:?}"
    );
    let allowed = Duration::from_millis(2).max(private.max(nobody) / 10);
    assert!(
        private.abs_diff(nobody) <= allowed,
        "a stranger can tell by the time: {private:?} and {nobody:?}"
    );
}

/// 20 MB through `connect` into `recv`, and an answer's end back.
fn pipe(lab: &Lab, alice: &Machine, bob: &Machine) {
    let (sent, received) = (lab.dir.path().join("sent"), lab.dir.path().join("received"));
    let mut state = 1_u64;
    let bytes: Vec<u8> = (0..20_000_000)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    fs::File::create(&sent)
        .and_then(|mut file| file.write_all(&bytes))
        .expect("the file is written");
    let mut receiver = bob
        .pilotctl(&["recv", "1000", "--count", "1", "--timeout", "60s"])
        .stdout(fs::File::create(&received).expect("a file"))
        .spawn()
        .expect("recv starts");
    let start = Instant::now();
    let mut sender = alice.pilotctl(&["connect", "bob"]);
    sender.stdin(fs::File::open(&sent).expect("the file"));
    run(&mut sender);
    let status = receiver.wait().expect("recv ends");
    let took = start.elapsed();
    assert!(status.success(), "recv: {status}");
    let digest = |path: &Path| run(Command::new("sha256sum").arg(path)).stdout[..64].to_vec();
    assert_eq!(digest(&sent), digest(&received));
    println!("20 MB piped in {took:?}, equal SHA-256");
}

/// SIGTERM and start again: address, name and trust stay, and both sides reach each other.
fn restart(alice: &Machine, bob: &Machine, url: &str, before: &Value) {
    alice.terminate();
    let after = alice.start("alice", url);
    assert_eq!(
        (&after["address"], &after["hostname"]),
        (&before["address"], &before["hostname"])
    );
    assert!(is_mutual(alice));
    bob.data(&["ping", "alice"]);
    alice.data(&["ping", "bob"]);
    bob.terminate();
    bob.start("bob", url);
    alice.data(&["ping", "bob"]);
    bob.data(&["ping", "alice"]);
}
