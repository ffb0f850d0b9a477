//! A daemon from its start to its end.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pilot::{ListenError, Node};
use pilot_api::types::{AgentSummary, JoinGroupRequest, Started};
use pilot_api::{ApiError, DaemonApi, ErrorCode, Server};
use pilot_appstore::Host;
use pilot_store::{FileConfig, Home, HomeError, ReceivedFiles, RelayFor};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::app_streams::AppStreams;
use crate::config::Config;
use crate::daemon::{Apps, Daemon, Links};
use crate::embedded::Keeper;
use crate::error::{self, RunError};
use crate::files::Files;
use crate::filter::Filter;
use crate::inbox::{QUOTA, StoredInbox, keep_for, now};
use crate::log;
use crate::metrics::Metrics;
use crate::notices::Board;
use crate::peer_apps::{AppService, PeerApps};
use crate::services::Services;
use crate::webhook::Webhooks;

/// How long a start waits for a rendezvous.
const REGISTER_PATIENCE: Duration = Duration::from_secs(10);
/// How long a start waits for a group's certificate.
const JOIN_PATIENCE: Duration = Duration::from_secs(10);
/// How long the embedded rendezvous may take to come up: it makes its key at its first start.
const EMBEDDED_PATIENCE: Duration = Duration::from_secs(15);

/// What a daemon says once it is ready: the `data` of the ready line.
pub type Ready = Started;

/// Runs an agent until SIGTERM, SIGINT or `daemon stop`; closes its sessions then, and gives `Ok`.
///
/// `on_ready` is called once it is registered, or, for an agent that was registered before, after 10 s without a rendezvous.
///
/// # Errors
/// [`RunError`] if it does not start.
pub async fn run(config: Config, on_ready: impl FnOnce(&Ready)) -> Result<(), RunError> {
    log::install(config.log_format, config.log_file.as_deref())
        .map_err(|error| error::log(&error))?;
    let mut ended = EndSignals::new()
        .map_err(|error| ApiError::internal(format!("cannot wait for signals: {error}")))?;
    let (config, is_known) = prepare(config).await?;
    let (_keeper, links) = links(&config).await?;
    let node = builder(&config, &links)
        .start()
        .await
        .map_err(|error| error::start(&error))?;
    let served = serve(&config, node.clone(), links).await;
    let (daemon, server) = match served {
        Ok(served) => served,
        Err(error) => return Err(fail(&node, error).await),
    };
    let _metrics = match Metrics::start(config.metrics, &daemon).await {
        Ok(metrics) => metrics,
        Err(error) => {
            server.stop().await;
            return Err(fail(&node, error).await);
        }
    };
    let started = tokio::select! {
        registered = register(&node, is_known) => registered,
        () = ended.next() => return server.end(&daemon, &node, ended).await,
        () = daemon.stopped() => return server.end(&daemon, &node, ended).await,
    };
    if let Err(error) = started {
        server.stop().await;
        return Err(fail(&node, error).await);
    }
    if let Err(error) = join_group(&daemon, &config).await {
        server.stop().await;
        return Err(fail(&node, error).await);
    }
    remember(&daemon, &config).await;
    on_ready(&ready(&daemon, &node, &config));
    tokio::select! {
        () = ended.next() => tracing::info!("signalled to end"),
        () = daemon.stopped() => tracing::info!("told to end"),
    }
    server.end(&daemon, &node, ended).await
}

/// Reads what the home holds, and refuses early what cannot work. Gives the configuration and whether the agent has an identity.
async fn prepare(mut config: Config) -> Result<(Config, bool), ApiError> {
    let absolute = |path: &Path| {
        std::path::absolute(path)
            .map_err(|error| ApiError::invalid(format!("invalid path {}: {error}", path.display())))
    };
    config.home = absolute(&config.home)?;
    config.socket = absolute(&config.socket)?;
    let dir = config.home.clone();
    let read = spawn_blocking(move || {
        let home = Home::open(dir).map_err(|error| error::home(&error))?;
        if let Some(pid) = home.locked_by() {
            return Err(error::home(&HomeError::Locked {
                path: home.dir().to_owned(),
                pid: Some(pid),
            })
            .with_hint("pilotctl daemon status, or another --home"));
        }
        let identity = home
            .load_identity()
            .map_err(|error| error::identity(&error))?;
        let file = home
            .load_config()
            .map_err(|error| error::file_config(&error))?;
        Ok::<(FileConfig, bool), ApiError>((file, identity.is_some()))
    });
    let (file, is_known) = read
        .await
        .map_err(|error| ApiError::internal(error.to_string()))??;
    Ok((config.with_file(&file)?, is_known))
}

/// The configured rendezvous, or the embedded one, kept running.
async fn links(config: &Config) -> Result<(Option<Keeper>, Links), ApiError> {
    if !config.rendezvous.is_empty() {
        return Ok((
            None,
            Links {
                urls: config.rendezvous.clone(),
                is_embedded: false,
            },
        ));
    }
    let home = config.embedded_home()?;
    let failed = |error| error::embedded(&error);
    let (keeper, state) = match &config.rendezvous_command {
        Some(command) => {
            let keeper = Keeper::start(home, command.clone()).map_err(failed)?;
            let state = keeper.ready(EMBEDDED_PATIENCE).await.map_err(failed)?;
            (Some(keeper), state)
        }
        None => (None, Keeper::found(&home).map_err(failed)?),
    };
    Ok((
        keeper,
        Links {
            urls: vec![state.url],
            is_embedded: true,
        },
    ))
}

fn builder(config: &Config, links: &Links) -> pilot::Builder {
    let mut builder = Node::builder()
        .home(config.home.clone())
        .tags(config.tags.clone())
        .capabilities(config.capabilities.clone())
        .public(config.public)
        .auto_approve(config.auto_approve)
        .port_mapping(config.port_mapping.unwrap_or(true))
        .relay_for_trusted(config.relay_for == Some(RelayFor::Trusted));
    for url in &links.urls {
        builder = builder.rendezvous(url.clone());
    }
    for url in &config.relays {
        builder = builder.relay(url.clone());
    }
    if let Some(name) = &config.hostname {
        builder = builder.hostname(name.clone());
    }
    if let Some(addr) = config.listen {
        builder = builder.listen(addr);
    }
    if let Some(bits) = config.work_bits {
        builder = builder.work_bits(bits).min_work_bits(bits);
    }
    builder
}

/// Opens the inbox, takes the ports and serves the API.
async fn serve(
    config: &Config,
    node: Node,
    links: Links,
) -> Result<(Arc<Daemon>, Running), ApiError> {
    let home = node.home().clone();
    let inbox = spawn_blocking(move || home.open_inbox(QUOTA)).await;
    let inbox = inbox.map_err(|error| ApiError::internal(error.to_string()))?;
    let board = Arc::new(Board::new(now()));
    let inbox = inbox.map_err(|error| error::open_db(&error))?;
    // Before anything comes that the filter is to see.
    let apps = open_apps(config, &node).await?;
    let filter = (Arc::clone(&apps.filter), node.clone());
    let inbox = StoredInbox::new(inbox, Arc::clone(&board), Some(filter));
    let dir = node.home().dir().to_owned();
    let quota = config.files.quota();
    let files = spawn_blocking(move || ReceivedFiles::open(&dir, quota)).await;
    let files = files.map_err(|error| ApiError::internal(error.to_string()))?;
    let files = files.map_err(|error| error::received(&error))?;
    let files = Files::new(files, config.files.clone(), Arc::clone(&board));
    let filter = Arc::clone(&apps.filter);
    let services = Services::start(node.clone(), inbox, files, filter).await;
    let services = services.map_err(|error| ApiError::internal(error.to_string()))?;
    if let Some(days) = config.inbox_keep_days {
        tokio::spawn(keep_for(Arc::clone(services.exchange().inbox()), days));
    }
    let opened = services.open_mailbox().await;
    opened.map_err(|error| error::home(&error))?;
    serve_apps(&node, &apps)
        .await
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let server = Server::bind(&config.socket).map_err(|error| error::bind(&error))?;
    let webhooks = Webhooks::new(node, board, config.webhook.clone());
    let daemon = Arc::new(Daemon::new(services, apps, webhooks, links, &server));
    daemon.tell_and_post();
    Ok((Arc::clone(&daemon), Running::start(server, daemon)))
}

/// The apps of the home.
async fn open_apps(config: &Config, node: &Node) -> Result<Apps, ApiError> {
    let command = config.app_command.clone().unwrap_or_default();
    let dir = config.home.clone();
    let opened = spawn_blocking(move || {
        let host = Host::start(&dir, command);
        let host =
            host.map_err(|error| ApiError::internal(format!("cannot start apps: {error}")))?;
        let host = Arc::new(host);
        let peers = PeerApps::open(&dir);
        let peers = peers.map_err(|error| ApiError::internal(error::describe(&error)))?;
        let filter = Filter::open(&dir, Arc::clone(&host));
        let filter = filter.map_err(|error| ApiError::internal(error::describe(&error)))?;
        Ok::<_, ApiError>(Apps {
            host,
            peers: Arc::new(peers),
            filter: Arc::new(filter),
        })
    });
    let opened = opened.await;
    let apps = opened.map_err(|error| ApiError::internal(error.to_string()))??;
    apps.host
        .set_overlay(Arc::new(AppStreams::new(node.clone())));
    Ok(apps)
}

/// The port on which peers call those that they may.
async fn serve_apps(node: &Node, apps: &Apps) -> Result<(), ListenError> {
    let (host, peers) = (Arc::clone(&apps.host), Arc::clone(&apps.peers));
    AppService::start(node.clone(), host, peers, Arc::clone(&apps.filter)).await
}

/// Waits for the first registration. Without a rendezvous, an agent that has been registered before goes on.
async fn register(node: &Node, is_known: bool) -> Result<(), ApiError> {
    match timeout(REGISTER_PATIENCE, node.registered()).await {
        Ok(registered) => registered.map_err(|error| error::register(&error)),
        Err(_) if is_known => {
            tracing::warn!("no rendezvous answered within 10 s; connecting goes on");
            Ok(())
        }
        Err(_) => {
            let words = "no rendezvous answered within 10 s";
            Err(ApiError::new(ErrorCode::ConnectionFailed, words)
                .with_hint("check that the rendezvous runs and that its UDP port is reachable"))
        }
    }
}

/// Joins the group that a flag names, as long as the agent is not in it.
async fn join_group(daemon: &Daemon, config: &Config) -> Result<(), ApiError> {
    let Some(name) = config.group.clone().filter(|name| !daemon.is_in(name)) else {
        return Ok(());
    };
    let request = JoinGroupRequest {
        name: name.clone(),
        token: config.group_token.clone(),
        timeout_ms: None,
    };
    match timeout(JOIN_PATIENCE, daemon.join(request)).await {
        Ok(joined) => joined.map(|_| ()),
        Err(_) => {
            let words = format!("no certificate of the group {name} came within 10 s");
            Err(ApiError::timeout(words)
                .with_hint("its owner's daemon may have refused: ask for an invitation"))
        }
    }
}

/// Keeps name and rendezvous given by flags: the next start without them is the same agent in the same place.
async fn remember(daemon: &Daemon, config: &Config) {
    let (hostname, rendezvous) = (config.hostname.clone(), config.rendezvous.clone());
    let kept = daemon.change_config(move |file| {
        if hostname.is_some() {
            file.hostname = hostname;
        }
        if !rendezvous.is_empty() {
            file.rendezvous = rendezvous;
        }
    });
    if let Err(error) = kept.await {
        tracing::warn!(%error, "config.json is as it was");
    }
}

fn ready(daemon: &Daemon, node: &Node, config: &Config) -> Ready {
    Ready {
        agent: AgentSummary {
            node_id: node.agent().node(),
            address: node.address(),
            hostname: node.hostname(),
        },
        pid: std::process::id(),
        socket: config.socket.clone(),
        log_file: config.log_file.clone(),
        rendezvous: daemon.rendezvous(),
    }
}

async fn fail(node: &Node, error: ApiError) -> RunError {
    node.shutdown().await;
    RunError(error)
}

/// The API's server in a task of its own.
struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    fn start<D: DaemonApi>(server: Server, daemon: Arc<D>) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let ended = async move {
            // An error says that the sender is gone: the daemon ends.
            let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
        };
        let task = tokio::spawn(server.serve(daemon, ended));
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the API ended badly");
        }
    }

    /// The clean end, or one at once if a signal says so again.
    async fn end(
        self,
        daemon: &Daemon,
        node: &Node,
        mut again: EndSignals,
    ) -> Result<(), RunError> {
        tokio::select! {
            () = self.end_cleanly(daemon, node) => tracing::info!("ended"),
            () = again.next() => tracing::warn!("signalled again: ended at once"),
        }
        Ok(())
    }

    /// No more commands, then no more sessions.
    async fn end_cleanly(self, daemon: &Daemon, node: &Node) {
        self.stop().await;
        daemon.end_apps().await;
        let undelivered = daemon.drain().await;
        node.shutdown_within(Duration::ZERO).await;
        if undelivered > 0 {
            tracing::warn!(undelivered, "bytes of ended streams did not arrive");
        }
    }
}

/// SIGTERM and SIGINT: both mean a clean end, and said again an end at once.
struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
