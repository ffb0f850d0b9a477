//! What a daemon tells monitoring.

use std::net::SocketAddr;

use std::sync::Arc;

use pilot::{MappingProtocol, NodeStatus};
use pilot_api::metrics::{Content, Page, Site, serve};
use pilot_api::{ApiError, Load};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::daemon::Daemon;

/// The metrics' server in a task of its own, which ends with this.
pub(crate) struct Metrics(Option<JoinHandle<()>>);

impl Metrics {
    /// Serves at `addr`, if there is one.
    ///
    /// # Errors
    /// `invalid_argument` if nothing can listen there.
    pub(crate) async fn start(
        addr: Option<SocketAddr>,
        daemon: &Arc<Daemon>,
    ) -> Result<Self, ApiError> {
        let Some(addr) = addr else {
            return Ok(Self(None));
        };
        let listener = TcpListener::bind(addr).await.map_err(|error| {
            ApiError::invalid(format!("cannot serve metrics on {addr}: {error}"))
                .with_hint("give another address with --metrics, or stop what listens there")
        })?;
        let addr = listener.local_addr().unwrap_or(addr);
        tracing::info!(%addr, "metrics");
        let daemon = Arc::clone(daemon);
        let page = move |_: &str| {
            // A count that cannot be read is left out, and the log of the inbox says why.
            let inbox = daemon.inbox_total().ok();
            Content::Metrics(page(&daemon.node_status(), inbox, daemon.load()))
        };
        let paths = &["/metrics"];
        let serving = serve(listener, Site { paths, page });
        Ok(Self(Some(tokio::spawn(serving))))
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

fn page(status: &NodeStatus, inbox: Option<u64>, load: &Load) -> String {
    let mut page = Page::default();
    for (name, help, value) in [
        (
            "pilot_uptime_seconds",
            "Since the start.",
            status.uptime.as_secs(),
        ),
        (
            "pilot_sessions",
            "Live sessions, with rendezvous too.",
            status.sessions as u64,
        ),
        (
            "pilot_peers",
            "Live sessions with agents.",
            status.peers as u64,
        ),
        ("pilot_streams", "Open streams.", status.connections as u64),
        // Of sessions that live: the sums fall when one ends.
        (
            "pilot_session_bytes_sent",
            "Bytes sent in live sessions.",
            status.bytes_sent,
        ),
        (
            "pilot_session_bytes_received",
            "Bytes received in live sessions.",
            status.bytes_recv,
        ),
        (
            "pilot_session_packets_sent",
            "Packets sent in live sessions.",
            status.packets_sent,
        ),
        (
            "pilot_session_packets_received",
            "Packets received in live sessions.",
            status.packets_recv,
        ),
        (
            "pilot_session_packets_lost",
            "Packets of live sessions that were lost and repeated.",
            status.packets_lost,
        ),
    ] {
        page.gauge(name, help, value);
    }
    if let Some(inbox) = inbox {
        page.gauge("pilot_inbox_messages", "Messages in the inbox.", inbox);
    }
    page.counters(
        ("pilot_handshakes_total", "Handshakes by stage."),
        "stage",
        [
            ("started", status.handshakes_started),
            ("completed", status.handshakes_completed),
            ("opened", status.handshakes_opened),
            ("accepted", status.handshakes_accepted),
        ],
    );
    page.counter(
        "pilot_cookies_sent_total",
        "Cookies asked of others under load.",
        status.cookies_sent,
    );
    page.counters(
        ("pilot_drops_total", "Packets dropped by reason."),
        "reason",
        status.drops.iter().copied(),
    );
    add_surroundings(&mut page, status);
    add_api(&mut page, load);
    page.into_text()
}

/// What lies between us and others.
fn add_surroundings(page: &mut Page, status: &NodeStatus) {
    page.gauge(
        "pilot_keep_alive_seconds",
        "Silence that the NAT bears, as far as is known.",
        status.keep_alive_secs.unwrap_or_default().into(),
    );
    if let Some(relay) = status.relay {
        page.relay(relay.channels as u64, relay.datagrams, relay.bytes);
    }
    let mapped = status.port_mapping.state.mapping();
    page.gauges(
        (
            "pilot_port_mapping",
            "Whether a router holds our port open, by protocol.",
        ),
        "protocol",
        MappingProtocol::ALL.map(|protocol| {
            let is_held = mapped.is_some_and(|mapping| mapping.protocol == protocol);
            (protocol.name(), is_held.into())
        }),
    );
    page.counters(
        (
            "pilot_port_mapping_failures_total",
            "Requests that a router did not grant, by protocol.",
        ),
        "protocol",
        MappingProtocol::ALL
            .map(MappingProtocol::name)
            .into_iter()
            .zip(status.port_mapping.failures),
    );
}

fn add_api(page: &mut Page, load: &Load) {
    page.gauge(
        "pilot_api_connections",
        "Connections to the local API, but for those of streams.",
        load.connections() as u64,
    );
    page.gauge(
        "pilot_api_streams",
        "Connections to the local API that carry a stream.",
        load.streams() as u64,
    );
    page.counters(
        (
            "pilot_api_refusals_total",
            "Connections and requests refused or broken off by the local API, by reason.",
        ),
        "reason",
        load.refusals(),
    );
}
