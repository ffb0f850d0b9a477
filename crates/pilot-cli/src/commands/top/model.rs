//! What `top` shows: the last look at the daemon, and what changed since the one before.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use pilot_api::ApiError;
use pilot_api::types::{AgentSummary, ConnectionSummary, Info, PathKind, PeerSummary};
use pilot_types::NodeId;
use serde::Serialize;

/// Looks whose rates are remembered: two minutes at one a second.
const HISTORY: usize = 120;

/// One look at the daemon.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) info: Info,
    pub(super) peers: Vec<PeerSummary>,
    pub(super) streams: Vec<ConnectionSummary>,
    pub(super) messages: u64,
    pub(super) at: Instant,
}

/// Bytes a second each way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub(super) struct Rates {
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// A peer with what goes to and from it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PeerRow {
    #[serde(flatten)]
    pub(super) agent: AgentSummary,
    pub(super) path: PathKind,
    pub(super) relay: Option<String>,
    pub(super) rtt_ms: Option<f64>,
    pub(super) streams: usize,
    /// Of the streams that are open.
    pub(super) bytes_per_second: Rates,
}

/// By what peers are sorted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    Traffic,
    Name,
    RoundTrip,
}

/// One picture as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Summary<'a> {
    #[serde(flatten)]
    agent: &'a AgentSummary,
    version: &'a str,
    uptime_secs: u64,
    rendezvous: &'a [pilot_api::types::RendezvousInfo],
    bytes_per_second: Rates,
    inbox_total: u64,
    peers: &'a [PeerRow],
    connections: &'a [ConnectionSummary],
}

pub(super) struct Model {
    last: Sample,
    rates: Rates,
    peers: Vec<PeerRow>,
    history: VecDeque<Rates>,
    order: Order,
    /// Rows of peers that lie above the first one shown.
    scrolled: usize,
    error: Option<String>,
}

impl Model {
    pub(super) fn new(first: Sample) -> Self {
        let mut model = Self {
            rates: Rates::default(),
            peers: vec![],
            history: VecDeque::new(),
            order: Order::Traffic,
            scrolled: 0,
            error: None,
            last: first,
        };
        model.peers = rows(&model.last, &BTreeMap::new());
        model.sort();
        model
    }

    /// Takes the next look.
    pub(super) fn take(&mut self, sample: Sample) {
        let since = |bytes: u64, before: u64| per_second(bytes, before, &sample, &self.last);
        self.rates = Rates {
            sent: since(sample.info.bytes_sent, self.last.info.bytes_sent),
            received: since(sample.info.bytes_recv, self.last.info.bytes_recv),
        };
        let mut traffic: BTreeMap<NodeId, Rates> = BTreeMap::new();
        let before: BTreeMap<u64, &ConnectionSummary> =
            self.last.streams.iter().map(|it| (it.id, it)).collect();
        for stream in &sample.streams {
            let (sent, received) = before
                .get(&stream.id)
                .map_or((0, 0), |it| (it.bytes_sent, it.bytes_recv));
            let of_peer = traffic.entry(stream.remote_node_id).or_default();
            of_peer.sent += since(stream.bytes_sent, sent);
            of_peer.received += since(stream.bytes_recv, received);
        }
        self.peers = rows(&sample, &traffic);
        self.sort();
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(self.rates);
        self.error = None;
        self.last = sample;
        self.scroll_by(0);
    }

    /// The daemon did not answer.
    pub(super) fn failed(&mut self, error: &ApiError) {
        self.error = Some(error.message.clone());
    }

    pub(super) fn sort_by_next(&mut self) {
        self.order = match self.order {
            Order::Traffic => Order::Name,
            Order::Name => Order::RoundTrip,
            Order::RoundTrip => Order::Traffic,
        };
        self.sort();
    }

    pub(super) fn scroll_by(&mut self, rows: isize) {
        let last = self.peers.len().saturating_sub(1);
        self.scrolled = self.scrolled.saturating_add_signed(rows).min(last);
    }

    fn sort(&mut self) {
        let name = |row: &PeerRow| (row.agent.hostname.is_none(), row.agent.hostname.clone());
        let busy = |row: &PeerRow| row.bytes_per_second.sent + row.bytes_per_second.received;
        self.peers.sort_by(|a, b| {
            let by = match self.order {
                Order::Traffic => busy(b).cmp(&busy(a)),
                Order::Name => std::cmp::Ordering::Equal,
                Order::RoundTrip => {
                    let rtt = |row: &PeerRow| row.rtt_ms.unwrap_or(f64::INFINITY);
                    rtt(a).total_cmp(&rtt(b))
                }
            };
            by.then_with(|| name(a).cmp(&name(b)))
                .then_with(|| a.agent.node_id.cmp(&b.agent.node_id))
        });
    }

    pub(super) const fn info(&self) -> &Info {
        &self.last.info
    }

    pub(super) const fn rates(&self) -> Rates {
        self.rates
    }

    pub(super) const fn messages(&self) -> u64 {
        self.last.messages
    }

    pub(super) fn peers(&self) -> &[PeerRow] {
        &self.peers
    }

    pub(super) fn streams(&self) -> &[ConnectionSummary] {
        &self.last.streams
    }

    pub(super) const fn history(&self) -> &VecDeque<Rates> {
        &self.history
    }

    pub(super) const fn order(&self) -> Order {
        self.order
    }

    pub(super) const fn scrolled(&self) -> usize {
        self.scrolled
    }

    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    pub(super) fn summary(&self) -> Summary<'_> {
        Summary {
            agent: &self.last.info.agent,
            version: &self.last.info.version,
            uptime_secs: self.last.info.uptime_secs,
            rendezvous: &self.last.info.rendezvous,
            bytes_per_second: self.rates,
            inbox_total: self.last.messages,
            peers: &self.peers,
            connections: &self.last.streams,
        }
    }
}

fn rows(sample: &Sample, traffic: &BTreeMap<NodeId, Rates>) -> Vec<PeerRow> {
    let row = |peer: &PeerSummary| PeerRow {
        agent: peer.agent.clone(),
        path: peer.path,
        relay: peer.relay.clone(),
        rtt_ms: peer.rtt_ms,
        streams: (sample.streams.iter())
            .filter(|it| it.remote_node_id == peer.agent.node_id)
            .count(),
        bytes_per_second: traffic
            .get(&peer.agent.node_id)
            .copied()
            .unwrap_or_default(),
    };
    sample.peers.iter().map(row).collect()
}

/// A counter that began anew (the daemon was started again) counts from zero.
fn per_second(bytes: u64, before: u64, now: &Sample, last: &Sample) -> u64 {
    let millis = now.at.saturating_duration_since(last.at).as_millis().max(1);
    let bytes = u128::from(bytes.checked_sub(before).unwrap_or(bytes));
    u64::try_from(bytes * 1000 / millis).unwrap_or(u64::MAX)
}
