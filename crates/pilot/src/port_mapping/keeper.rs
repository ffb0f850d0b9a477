//! The one who asks for the port, renews it, and gives it back.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use pilot_node::Refusal;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::gateway::Route;
use super::{MappingProtocol, MappingState, PortMapping, PortMappingStatus};

#[cfg(test)]
mod tests;

/// After a change of addresses, until routers are asked: the routes come after the addresses.
const SETTLE: Duration = Duration::from_secs(1);
/// RFC 6887 §11.2.1: renewals are at least this far apart.
const MIN_RENEWAL: Duration = Duration::from_secs(4);
/// What is believed of a lifetime: a router that restarts has forgotten the port, which shows at the next renewal.
const MAX_LIFETIME: Duration = Duration::from_secs(2 * 3600);
/// After a search in which no router granted anything; twice as long after each.
const FIRST_RETRY: Duration = Duration::from_secs(30);
/// The longest time between two searches.
const LAST_RETRY: Duration = Duration::from_secs(3600);
/// How long a router may take to take the port back.
const UNMAP_LIMIT: Duration = Duration::from_secs(1);

/// What routers do for us. Futures may be dropped at any time: a port that nobody renews is open no longer than its
/// lifetime.
pub(super) trait Router: Send + Sync + 'static {
    /// A port that was granted, with all that it takes to renew it or to give it back.
    type Lease: Send + Sync;

    /// The routers that may be asked now, the preferred one first.
    fn routes(&self) -> Vec<Route>;

    /// Asks for a port, or for the one of a lease again.
    fn map(
        &self,
        protocol: MappingProtocol,
        route: Route,
        lease: Option<&Self::Lease>,
    ) -> impl Future<Output = Result<Granted<Self::Lease>, MapError>> + Send;

    /// Gives a port back.
    fn unmap(&self, lease: Self::Lease) -> impl Future<Output = ()> + Send;
}

/// A router's answer.
pub(super) struct Granted<L> {
    pub(super) outer: SocketAddr,
    pub(super) lifetime: Duration,
    pub(super) lease: L,
}

/// Why a router granted nothing: its own words, for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct MapError(pub(super) String);

/// A granted port while it is kept.
struct Held<L> {
    mapping: PortMapping,
    route: Route,
    granted: Granted<L>,
    until: Instant,
}

/// What ended a wait.
#[derive(PartialEq, Eq)]
enum Wake {
    Timer,
    NetworkChanged,
    Stop,
}

/// ```text
///          ┌──────── nothing granted: 30 s, 60 s … 1 h ────────┐
///          ▼                                                   │
///      Searching ──granted──▶ Mapped ──no answer──▶ Expiring ──┤ lifetime over
///          ▲                    │ ▲                     │      │
///          │                    │ └──── renewed ────────┘      │
///          └── network changed ─┴───────────────────────────────
/// ```
pub(super) struct Keeper<R, T> {
    router: R,
    /// Changes of the network; closed when the node stops.
    changes: mpsc::Receiver<()>,
    tell: T,
    status: PortMappingStatus,
    retry: Duration,
}

impl<R: Router, T> Keeper<R, T>
where
    T: Fn(&PortMappingStatus) -> Result<(), Refusal> + Send + 'static,
{
    /// `tell` takes each new status; it refuses one whose outer address is of no use.
    pub(super) fn new(router: R, changes: mpsc::Receiver<()>, tell: T) -> Self {
        Self {
            router,
            changes,
            tell,
            status: PortMappingStatus::default(),
            retry: FIRST_RETRY,
        }
    }

    /// Runs until the sender of changes is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let _ = self.set(MappingState::Searching);
            let wake = match self.search().await {
                Ok(Some(held)) => self.keep(held).await,
                Ok(None) => {
                    let retry = self.retry;
                    self.retry = (retry * 2).min(LAST_RETRY);
                    self.wait(Instant::now() + retry).await
                }
                Err(wake) => wake,
            };
            match wake {
                Wake::Timer => {}
                Wake::NetworkChanged => {
                    self.retry = FIRST_RETRY;
                    if self.settle().await == Wake::Stop {
                        return;
                    }
                }
                Wake::Stop => return,
            }
        }
    }

    fn set(&mut self, state: MappingState) -> Result<(), Refusal> {
        match state.mapping() {
            Some(mapping) if self.status.state != state => {
                tracing::info!(?mapping, "a router holds a port open for us");
            }
            Some(_) | None => tracing::debug!(?state, "port mapping"),
        }
        self.status.state = state;
        (self.tell)(&self.status)
    }

    /// Waits until no more changes come for a while.
    async fn settle(&mut self) -> Wake {
        loop {
            match self.wait(Instant::now() + SETTLE).await {
                Wake::NetworkChanged => {}
                wake @ (Wake::Timer | Wake::Stop) => return wake,
            }
        }
    }

    async fn wait(&mut self, until: Instant) -> Wake {
        tokio::select! {
            biased;
            change = self.changes.recv() => woken(change),
            () = sleep_until(until) => Wake::Timer,
        }
    }

    /// Asks every router by every protocol until one grants a port that is of use.
    async fn search(&mut self) -> Result<Option<Held<R::Lease>>, Wake> {
        let routes = self.router.routes();
        let first = routes.first().map(|route| route.gateway);
        let mut outcome = first.map_or(MappingState::NoGateway, MappingState::Refused);
        for route in routes {
            for protocol in MappingProtocol::ALL {
                let Some(held) = self.ask(protocol, route, None).await? else {
                    continue;
                };
                if self.set(MappingState::Mapped(held.mapping)).is_ok() {
                    self.retry = FIRST_RETRY;
                    return Ok(Some(held));
                }
                outcome = MappingState::BehindNat(held.mapping);
                self.unmap(held.granted.lease).await;
                break;
            }
        }
        let _ = self.set(outcome);
        Ok(None)
    }

    /// One question; `None` if nothing is granted.
    async fn ask(
        &mut self,
        protocol: MappingProtocol,
        route: Route,
        lease: Option<&R::Lease>,
    ) -> Result<Option<Held<R::Lease>>, Wake> {
        let asked = timeout(patience(protocol), self.router.map(protocol, route, lease));
        let answer = tokio::select! {
            biased;
            change = self.changes.recv() => return Err(woken(change)),
            answer = asked => answer,
        };
        let error = match answer {
            Ok(Ok(granted)) => return Ok(Some(held(protocol, route, granted))),
            Ok(Err(error)) => error,
            Err(_) => MapError("no answer in time".to_owned()),
        };
        tracing::debug!(protocol = protocol.name(), gateway = %route.gateway, %error, "no port mapping");
        self.status.failures[protocol as usize] += 1;
        Ok(None)
    }

    /// Renews a port until it is lost.
    async fn keep(&mut self, mut held: Held<R::Lease>) -> Wake {
        let mut wake = self.wait(next_renewal(held.until)).await;
        loop {
            if wake == Wake::NetworkChanged {
                wake = self.settle().await;
                if wake == Wake::Timer && !self.router.routes().contains(&held.route) {
                    // Another network, and a router that may be out of reach: what it granted is told no longer.
                    let _ = self.set(MappingState::Searching);
                    self.unmap(held.granted.lease).await;
                    return Wake::Timer;
                }
            }
            if wake == Wake::Stop {
                self.unmap(held.granted.lease).await;
                return Wake::Stop;
            }
            let (protocol, route) = (held.mapping.protocol, held.route);
            let answer = self.ask(protocol, route, Some(&held.granted.lease)).await;
            wake = match answer {
                Ok(answer) => {
                    if !self.take_renewal(&mut held, answer) {
                        return Wake::Timer;
                    }
                    self.wait(next_renewal(held.until)).await
                }
                Err(wake) => wake,
            };
        }
    }

    /// Whether the port is still open, and of use.
    fn take_renewal(&mut self, held: &mut Held<R::Lease>, answer: Option<Held<R::Lease>>) -> bool {
        match answer {
            Some(renewed) => {
                *held = renewed;
                self.set(MappingState::Mapped(held.mapping)).is_ok()
            }
            None if held.until <= Instant::now() => false,
            None => self.set(MappingState::Expiring(held.mapping)).is_ok(),
        }
    }

    /// Best effort: the router forgets the port by itself when its lifetime is over.
    async fn unmap(&mut self, lease: R::Lease) {
        if timeout(UNMAP_LIMIT, self.router.unmap(lease))
            .await
            .is_err()
        {
            tracing::debug!("the router does not take the port back");
        }
    }
}

const fn woken(change: Option<()>) -> Wake {
    match change {
        Some(()) => Wake::NetworkChanged,
        None => Wake::Stop,
    }
}

fn held<L>(protocol: MappingProtocol, route: Route, granted: Granted<L>) -> Held<L> {
    Held {
        mapping: PortMapping {
            protocol,
            gateway: route.gateway,
            outer: granted.outer,
        },
        route,
        until: Instant::now() + granted.lifetime.clamp(MIN_RENEWAL, MAX_LIFETIME),
        granted,
    }
}

/// RFC 6887 §11.2.1: at half of the lifetime, then at half of what is left of it; the last time when it is over.
fn next_renewal(until: Instant) -> Instant {
    let now = Instant::now();
    let left = until.saturating_duration_since(now);
    now + (left / 2).max(MIN_RENEWAL).min(left)
}

/// How long a router may take to answer: repeated requests, and for UPnP the 3 s by which it may be late (MX) and a few
/// exchanges over TCP.
const fn patience(protocol: MappingProtocol) -> Duration {
    match protocol {
        MappingProtocol::Pcp | MappingProtocol::NatPmp => Duration::from_secs(4),
        MappingProtocol::Upnp => Duration::from_secs(8),
    }
}
