//! Why packets travel as they do, and how long they take.

use std::time::{Duration, Instant};

use pilot_api::PeerRef;
use pilot_api::types::{AgentSummary, ExplainRequest, Explained, PathKind, PingRequest};
use serde::Serialize;

use super::discovery::shown;
use super::profile::nat_words;
use crate::context::Context;
use crate::output::{Failure, Reply};
use crate::style::{self, Style};

/// Round trips after the first one.
const SAMPLES: usize = 5;
/// Between two round trips.
const INTERVAL: Duration = Duration::from_millis(100);

pub(crate) async fn explain(context: &Context, peer: PeerRef) -> Result<Reply, Failure> {
    let request = ExplainRequest {
        peer,
        timeout_ms: context.timeout_ms(),
    };
    let explained = context.client()?.call(&request).await?;
    let words = explain_words(&explained, context.output.style);
    Reply::new(&explained, words)
}

fn explain_words(explained: &Explained, style: Style) -> String {
    let chosen = match (&explained.relay, explained.chosen) {
        (Some(relay), _) => format!("relay via {}", style::clean(relay)),
        (None, PathKind::None) => "none: there is no session".to_owned(),
        (None, path) => path.to_string(),
    };
    let links: Vec<String> = explained
        .rendezvous
        .iter()
        .map(|link| format!("{} {}", style::clean(&link.url), style::clean(&link.state)))
        .collect();
    let facts = style.facts(&[
        ("agent", shown(&explained.agent)),
        ("path", chosen),
        (
            "round trip",
            style::or_dash(explained.rtt_ms.map(style::millis)),
        ),
        (
            "trusts us",
            if explained.trusted { "yes" } else { "no" }.to_owned(),
        ),
        ("our NAT", nat_words(&explained.nat)),
        ("its NAT", nat_words(&explained.peer_nat)),
        ("rendezvous", links.join(", ")),
        (
            "next step",
            style::clean(explained.next_step.as_deref().unwrap_or("–")),
        ),
    ]);
    if explained.candidates.is_empty() {
        return facts;
    }
    let rows: Vec<[String; 5]> = explained
        .candidates
        .iter()
        .map(|path| {
            [
                style::clean(&path.kind),
                style::or_dash(path.addr.as_deref().map(style::clean)),
                style::clean(&path.state),
                style::or_dash(path.rtt_ms.map(style::millis)),
                style::clean(&path.why),
            ]
        })
        .collect();
    let table = style.table(["KIND", "ADDRESS", "STATE", "RTT", "WHY"], &rows);
    format!("{facts}\n\n{table}")
}

#[derive(Serialize)]
struct Traced {
    target: String,
    #[serde(flatten)]
    agent: AgentSummary,
    /// The first round trip, with the handshake where there was no session.
    setup_ms: f64,
    rtt_samples: Vec<f64>,
    /// How the last answer came.
    path: PathKind,
    /// The relay, if it came through one.
    relay: Option<String>,
}

pub(crate) async fn traceroute(context: &Context, peer: PeerRef) -> Result<Reply, Failure> {
    let client = context.client()?;
    let request = PingRequest {
        peer: peer.clone(),
        timeout_ms: context.timeout_ms(),
    };
    let started = Instant::now();
    let mut last = client.call(&request).await?;
    let setup_ms = started.elapsed().as_secs_f64() * 1000.0;
    let mut rtt_samples = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        tokio::time::sleep(INTERVAL).await;
        last = client.call(&request).await?;
        rtt_samples.push(last.rtt_ms);
    }
    let request = ExplainRequest {
        peer,
        timeout_ms: context.timeout_ms(),
    };
    let explained = client.call(&request).await?;
    let traced = Traced {
        target: last.agent.address.to_string(),
        agent: last.agent,
        setup_ms,
        rtt_samples,
        path: last.path,
        relay: explained.relay.filter(|_| last.path == PathKind::Relay),
    };
    let words = traced_words(&traced, context.output.style);
    Reply::new(&traced, words)
}

fn traced_words(traced: &Traced, style: Style) -> String {
    let samples: Vec<String> = traced
        .rtt_samples
        .iter()
        .map(|ms| style::millis(*ms))
        .collect();
    let path = traced.relay.as_ref().map_or_else(
        || traced.path.to_string(),
        |relay| format!("{} via {}", traced.path, style::clean(relay)),
    );
    style.facts(&[
        ("agent", shown(&traced.agent)),
        ("path", path),
        ("setup", style::millis(traced.setup_ms)),
        ("round trips", samples.join(" ")),
    ])
}
