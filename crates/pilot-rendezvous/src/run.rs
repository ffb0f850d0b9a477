//! A rendezvous from its start to its end.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pilot::{Rendezvous, RendezvousUrl, StartError};
use pilot_api::metrics::{Content, Site};
use pilot_store::Home;
use pilot_trust::Identity;
use pilot_types::{Seed, encode_hex};
use pilot_wire::limits;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, Ready, now};
use crate::directory::serve_directory;
use crate::embedded::{EmbeddedHome, Lock, State};
use crate::error::RunError;
use crate::idle::IdleWatch;
use crate::snapshot::{History, INTERVAL, Snapshot};
use crate::{metrics, plain, status};

/// The variable that says what is logged, as `info` or `pilot_node=debug,info`.
const LOG_VARIABLE: &str = "PILOT_LOG";
/// How long the embedded rendezvous stays without a session.
const IDLE_LIMIT: Duration = Duration::from_secs(600);
/// How often it looks whether there is one.
const IDLE_LOOK: Duration = Duration::from_secs(10);

/// Serves until SIGTERM or SIGINT, or, embedded, until nobody needs it; tells its agents then, and gives `Ok`.
///
/// Logs to standard error, unless the process has a subscriber of its own. `on_ready` is called once it serves.
///
/// # Errors
/// [`RunError`] if it does not start.
pub async fn run(config: Config, on_ready: impl FnOnce(&Ready)) -> Result<(), RunError> {
    log_to_stderr();
    let mut signals = Signals::new().map_err(RunError::Signals)?;
    if config.embedded {
        return run_embedded(config, &mut signals, on_ready).await;
    }
    let rendezvous = start(&config, config.home.clone(), config.listen).await?;
    let http = match config.http {
        Some(addr) => Some(bind_http(addr).await?),
        None => None,
    };
    let ready = ready(&rendezvous, http.as_ref());
    tracing::info!(url = ready.url, "serving");
    on_ready(&ready);
    let serving = serve_http(http, &rendezvous);
    tokio::select! {
        () = serving => {}
        () = signals.ended() => {}
    }
    tracing::info!("ending");
    rendezvous.shutdown().await;
    Ok(())
}

/// The URL that a rendezvous with this configuration has; makes its key if there is none yet.
///
/// # Errors
/// [`RunError`] if the key cannot be read or made.
pub fn url(config: &Config) -> Result<String, RunError> {
    let home = Home::open(&config.home)?;
    let identity = match home.load_identity()? {
        Some(identity) => identity,
        None => {
            let bits = config.work_bits.unwrap_or(limits::DEFAULT_WORK_BITS);
            let identity = Identity::generate(seed(), bits);
            home.save_new_identity(&identity)?;
            identity
        }
    };
    let host_port = config.advertise.clone().unwrap_or_else(|| {
        let host = if config.listen.ip().is_unspecified() {
            SocketAddr::from((Ipv4Addr::LOCALHOST, config.listen.port()))
        } else {
            config.listen
        };
        host.to_string()
    });
    let key = encode_hex(identity.agent().as_bytes());
    let url: RendezvousUrl = format!("pilot://{key}@{host_port}")
        .parse()
        .map_err(StartError::Url)?;
    Ok(url.to_string())
}

async fn run_embedded(
    config: Config,
    signals: &mut Signals,
    on_ready: impl FnOnce(&Ready),
) -> Result<(), RunError> {
    let home = EmbeddedHome::new(config.home.clone());
    let inherited = Lock::inherited(&home)?;
    let mut lock = match inherited {
        Some(lock) => lock,
        None => Lock::try_take(&home)?.ok_or(RunError::AlreadyRunning)?,
    };
    // Out of the starter's session: its terminal and its end are none of ours. A process that leads a session stays in it.
    if let Err(error) = rustix::process::setsid() {
        tracing::debug!(%error, "no session of its own");
    }
    let rendezvous = start_on_free_port(&config, &home).await?;
    let ready = ready(&rendezvous, None);
    let state = State::of_this_process(
        ready.url.clone(),
        ready.public_key.clone(),
        ready.listen,
        now(),
    );
    home.publish(&state)?;
    lock.claim()?;
    tracing::info!(url = ready.url, "serving this machine");
    on_ready(&ready);
    tokio::select! {
        () = idle(&rendezvous) => tracing::info!("nobody needs it any longer"),
        () = signals.ended() => tracing::info!("ending"),
    }
    rendezvous.shutdown().await;
    drop(lock);
    Ok(())
}

/// On the port of the time before, which daemons still know; else on the usual one; else on any.
async fn start_on_free_port(config: &Config, home: &EmbeddedHome) -> Result<Rendezvous, RunError> {
    let last = home.last_state().ok().flatten().map(|state| state.listen);
    let any = SocketAddr::new(config.listen.ip(), 0);
    for addr in last.into_iter().chain([config.listen]) {
        match start(config, home.registry_dir(), addr).await {
            Err(StartError::Bind { source, .. }) => {
                tracing::info!(%addr, %source, "port not free");
            }
            started => return Ok(started?),
        }
    }
    Ok(start(config, home.registry_dir(), any).await?)
}

async fn start(
    config: &Config,
    home: std::path::PathBuf,
    listen: SocketAddr,
) -> Result<Rendezvous, StartError> {
    let mut builder = Rendezvous::builder()
        .home(home)
        .listen(listen)
        .advertise(config.advertise.clone())
        .relay_only(config.relay_only);
    if let Some(bits) = config.work_bits {
        builder = builder.work_bits(bits);
    }
    let rendezvous = builder.start().await?;
    if !config.relay_only {
        serve_directory(&rendezvous).expect("the ports of a new rendezvous are free");
    }
    Ok(rendezvous)
}

fn ready(rendezvous: &Rendezvous, http: Option<&TcpListener>) -> Ready {
    Ready {
        url: rendezvous.url(),
        public_key: encode_hex(&rendezvous.public_key()),
        listen: rendezvous.listen(),
        http: http.and_then(|listener| listener.local_addr().ok()),
    }
}

async fn bind_http(addr: SocketAddr) -> Result<TcpListener, RunError> {
    TcpListener::bind(addr)
        .await
        .map_err(|source| RunError::Http { addr, source })
}

/// Pages beside `/healthz`.
const PATHS: &[&str] = &["/", "/metrics", "/plain"];

async fn serve_http(listener: Option<TcpListener>, rendezvous: &Rendezvous) {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    let (started, history) = (Instant::now(), Arc::new(History::default()));
    let kept = keep(Arc::clone(&history), rendezvous, started);
    let looked_at = {
        let rendezvous = rendezvous.clone();
        move || Snapshot::of(&rendezvous, started)
    };
    let page = move |path: &str| match path {
        "/metrics" => Content::Metrics(metrics::page(&looked_at())),
        "/plain" => Content::Plain(plain::page()),
        _ => {
            let now = looked_at();
            Content::Html(status::page(&now, &history.rates(&now)))
        }
    };
    tokio::select! {
        () = pilot_api::metrics::serve(listener, Site { paths: PATHS, page }) => {}
        () = kept => {}
    }
}

/// Keeps what the status page compares with.
async fn keep(history: Arc<History>, rendezvous: &Rendezvous, started: Instant) {
    loop {
        history.look(rendezvous, started);
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn idle(rendezvous: &Rendezvous) {
    let mut watch = IdleWatch::new(IDLE_LIMIT, Instant::now());
    while !watch.is_over(Instant::now(), rendezvous.sessions()) {
        tokio::time::sleep(IDLE_LOOK).await;
    }
}

/// SIGTERM and SIGINT: both mean a clean end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn ended(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn seed() -> Seed {
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the system has randomness");
    Seed::new(bytes)
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    // An error says that a subscriber is set already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .try_init();
}
