//! A network of one's own for one test.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pilot::{Rendezvous, StartError};
use pilot_api::types::{
    ApproveRequest, Call, HandshakeRequest, HandshakeStatus, PendingRequest, StopRequest, Stopped,
};
use pilot_api::{ApiError, Client, PeerRef};
use pilot_daemon::{Config, Ready, RunError};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at something that comes by itself.
pub(crate) const LOOK: Duration = Duration::from_millis(5);

/// A rendezvous and a directory for homes.
pub(crate) struct Network {
    dir: TempDir,
    rendezvous: Rendezvous,
}

/// A running daemon.
pub(crate) struct Agent {
    pub(crate) client: Client,
    pub(crate) ready: Ready,
    task: JoinHandle<Result<(), RunError>>,
}

pub(crate) async fn rendezvous(
    home: PathBuf,
    listen: SocketAddr,
) -> Result<Rendezvous, StartError> {
    let builder = Rendezvous::builder().home(home).listen(listen).work_bits(0);
    builder.start().await
}

impl Network {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let rendezvous = rendezvous(dir.path().join("rendezvous"), listen)
            .await
            .unwrap();
        Self { dir, rendezvous }
    }

    pub(crate) fn rendezvous(&self) -> &Rendezvous {
        &self.rendezvous
    }

    pub(crate) fn home(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Settings of an agent of this network that claims a name.
    pub(crate) fn config(&self, name: &str) -> Config {
        Config {
            hostname: name.parse().ok(),
            rendezvous: vec![self.rendezvous.url()],
            ..offline_config(&self.home(name))
        }
    }

    pub(crate) async fn start(&self, name: &str) -> Agent {
        start(self.config(name)).await.unwrap()
    }

    /// Two agents that granted each other what `approve` gives by default.
    pub(crate) async fn friends(&self, one: &str, other: &str) -> (Agent, Agent) {
        let (one, other) = tokio::join!(self.start(one), self.start(other));
        one.befriend(&other).await;
        (one, other)
    }
}

/// Settings with no rendezvous yet.
pub(crate) fn offline_config(home: &Path) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().ok(),
        log_file: Some(home.with_extension("log")),
        embedded_home: Some(home.with_extension("embedded")),
        work_bits: Some(0),
        ..Config::new(home.to_owned())
    }
}

/// Starts a daemon and waits until it is ready, or says why it will not be.
pub(crate) async fn start(config: Config) -> Result<Agent, ApiError> {
    let client = Client::new(config.socket.clone()).with_timeout(Some(PATIENCE));
    let (said, ready) = oneshot::channel();
    let mut task = tokio::spawn(pilot_daemon::run(config, |ready: &Ready| {
        said.send(ready.clone()).unwrap();
    }));
    tokio::select! {
        ended = &mut task => Err(ended.unwrap().unwrap_err().0),
        Ok(ready) = ready => Ok(Agent { client, ready, task }),
    }
}

impl Agent {
    pub(crate) async fn call<C: Call>(&self, call: C) -> Result<C::Answer, ApiError> {
        self.client.call(&call).await
    }

    /// By its address.
    pub(crate) fn peer(&self) -> PeerRef {
        PeerRef::Address(self.ready.agent.address)
    }

    /// By its name.
    pub(crate) fn name(&self) -> PeerRef {
        PeerRef::Hostname(self.ready.agent.hostname.clone().unwrap())
    }

    /// Until somebody's knock waits here.
    pub(crate) async fn until_knocked(&self) {
        until(|| async {
            let waiting = self.call(PendingRequest {}).await.unwrap();
            !waiting.pending.is_empty()
        })
        .await;
    }

    /// This agent knocks, the other approves, and both know of it.
    pub(crate) async fn befriend(&self, other: &Self) {
        let knock = HandshakeRequest {
            wait_ms: Some(10_000),
            ..handshake(other.name())
        };
        let approve = async {
            other.until_knocked().await;
            other.call(approve(self.peer())).await.unwrap();
        };
        let (knocked, ()) = tokio::join!(self.call(knock), approve);
        let knocked = knocked.unwrap();
        assert_eq!(knocked.status, HandshakeStatus::Trusted);
        assert_eq!(knocked.node_id, Some(other.ready.agent.node_id));
        let back = HandshakeRequest {
            wait_ms: Some(10_000),
            ..handshake(self.peer())
        };
        assert_eq!(
            other.call(back).await.unwrap().status,
            HandshakeStatus::Trusted
        );
    }

    /// Ends it as `daemon stop` does.
    pub(crate) async fn stop(self) -> Stopped {
        let stopped = self.call(StopRequest {}).await.unwrap();
        self.task.await.unwrap().unwrap();
        stopped
    }
}

pub(crate) fn handshake(peer: PeerRef) -> HandshakeRequest {
    HandshakeRequest {
        peer,
        reason: None,
        wait_ms: None,
        timeout_ms: None,
    }
}

pub(crate) fn approve(peer: PeerRef) -> ApproveRequest {
    ApproveRequest {
        peer,
        ports: None,
        expires_ms: None,
        one_way: false,
        apps: vec![],
        catalogue: false,
        app_rate: None,
        app_budget: None,
    }
}

/// Waits until something holds that comes by itself.
pub(crate) async fn until<F: Future<Output = bool>>(holds: impl Fn() -> F) {
    let looking = async {
        while !holds().await {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking)
        .await
        .expect("it never came to hold");
}
