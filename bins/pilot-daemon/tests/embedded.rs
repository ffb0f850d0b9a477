//! Daemons without a configured rendezvous: the program and the one that it starts.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use pilot_api::Client;
use pilot_api::types::{
    ApproveRequest, HandshakeRequest, HandshakeStatus, Info, InfoRequest, PendingRequest,
    PingRequest, Started,
};
use pilot_rendezvous::embedded::{EmbeddedHome, State};
use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that comes by itself.
const LOOK: Duration = Duration::from_millis(20);

/// A directory for homes, and the rendezvous that daemons start there; it ends with the test.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn embedded(&self) -> EmbeddedHome {
        EmbeddedHome::new(self.dir.path().join("rendezvous"))
    }

    fn state(&self) -> Option<State> {
        self.embedded().running().unwrap()
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pilot-daemon"));
        command
            .args([
                "--json",
                "--hostname",
                name,
                "--listen",
                "127.0.0.1:0",
                "--home",
            ])
            .arg(self.dir.path().join(name))
            .env(EmbeddedHome::VARIABLE, self.embedded().dir())
            .stdin(Stdio::null());
        command
    }

    fn start(&self, name: &str) -> Daemon {
        let mut command = self.command(name);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: pilot_api::Envelope<Started> = serde_json::from_str(&line).unwrap();
        let ready = ready.into_result().unwrap();
        Daemon {
            client: Client::new(ready.socket.clone()),
            ready,
            child,
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // One that is still starting is started by a daemon, which a test drops first.
        if let Ok(Some(state)) = self.embedded().running() {
            signal(state.pid, Signal::KILL);
        }
    }
}

struct Daemon {
    client: Client,
    ready: Started,
    child: Child,
}

impl Daemon {
    async fn info(&self) -> Info {
        self.client.call(&InfoRequest {}).await.unwrap()
    }

    fn terminate(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "it never came");
        tokio::time::sleep(LOOK).await;
    }
}

async fn befriend(one: &Daemon, other: &Daemon) {
    let knock = HandshakeRequest {
        peer: "other".parse().unwrap(),
        reason: None,
        wait_ms: Some(20_000),
        timeout_ms: None,
    };
    let approve = async {
        until(async || {
            let pending = other.client.call(&PendingRequest {}).await.unwrap();
            (!pending.pending.is_empty()).then_some(())
        })
        .await;
        let approve = ApproveRequest {
            peer: "one".parse().unwrap(),
            ports: None,
            expires_ms: None,
            one_way: false,
            apps: vec![],
            catalogue: false,
            app_rate: None,
            app_budget: None,
        };
        other.client.call(&approve).await.unwrap();
    };
    let (knocked, ()) = tokio::join!(one.client.call(&knock), approve);
    assert_eq!(knocked.unwrap().status, HandshakeStatus::Trusted);
}

fn output(mut command: Command) -> (Option<i32>, serde_json::Value) {
    let Output { status, stdout, .. } = command.output().unwrap();
    (status.code(), serde_json::from_slice(&stdout).unwrap())
}

#[tokio::test]
async fn two_daemons_share_one_rendezvous_that_comes_back_when_it_is_lost() {
    let machine = Machine::new();
    let (one, other) = (machine.start("one"), machine.start("other"));
    let state = machine.state().unwrap();
    assert!(state.listen.ip().is_loopback());
    for daemon in [&one, &other] {
        let info = daemon.info().await;
        assert!(info.embedded && info.rendezvous[0].embedded);
        assert_eq!(info.rendezvous[0].url, state.url);
    }
    befriend(&one, &other).await;

    signal(state.pid, Signal::KILL);
    let killed = Instant::now();
    let next = until(async || machine.state().filter(|next| next.pid != state.pid)).await;
    assert!(
        killed.elapsed() < Duration::from_secs(5),
        "after {:?}",
        killed.elapsed()
    );
    assert_eq!((&next.url, next.listen), (&state.url, state.listen));
    until(async || (one.info().await.rendezvous[0].state == "connected").then_some(())).await;
    let ping = PingRequest {
        peer: "other".parse().unwrap(),
        timeout_ms: None,
    };
    assert_eq!(
        one.client.call(&ping).await.unwrap().agent.node_id,
        other.ready.agent.node_id
    );

    assert_eq!(one.terminate(), Some(0));
    assert!(
        machine.state().is_some_and(|left| left.pid == next.pid),
        "it ended with the daemon that started it"
    );
    assert_eq!(other.terminate(), Some(0));
    signal(next.pid, Signal::TERM);
    until(async || machine.state().is_none().then_some(())).await;
}

#[tokio::test]
async fn failures_before_the_ready_line_are_one_envelope_and_an_exit_code() {
    let machine = Machine::new();
    let _first = machine.start("one");
    let (code, error) = output(machine.command("one"));
    assert_eq!(
        (code, error["code"].as_str()),
        (Some(8), Some("already_exists"))
    );
    let mut usage = machine.command("two");
    usage.args(["--listen", "nowhere"]);
    let (code, error) = output(usage);
    assert_eq!(
        (code, error["code"].as_str()),
        (Some(2), Some("invalid_argument"))
    );
    std::fs::create_dir(machine.dir.path().join("three")).unwrap();
    std::fs::write(
        machine.dir.path().join("three/identity.json"),
        "not an identity",
    )
    .unwrap();
    let file = Permissions::from_mode(0o600);
    std::fs::set_permissions(machine.dir.path().join("three/identity.json"), file).unwrap();
    let (code, error) = output(machine.command("three"));
    assert_eq!(code, Some(2));
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("three/identity.json"),
        "{error}"
    );
    assert!(!Path::new(&machine.dir.path().join("three/pilot.sock")).exists());
}
