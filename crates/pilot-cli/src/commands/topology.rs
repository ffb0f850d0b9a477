//! What this agent sees of its network: itself, its rendezvous, whom it trusts or has a session with, and how packets go there.

mod drawing;

use std::collections::BTreeMap;

use pilot_api::types::{
    AgentSummary, Info, InfoRequest, PathKind, PeersRequest, TrustRequest, TrustedAgent,
};
use pilot_types::{Address, NodeId};
use serde::Serialize;

use crate::args::{Drawing, TopologyArgs};
use crate::context::Context;
use crate::output::{Failure, Reply};
use crate::style::{self, Style};

/// What a node of the graph is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Own,
    Agent,
    Rendezvous,
}

#[derive(Clone, Debug, Serialize)]
struct Node {
    /// An address, or a rendezvous' URL.
    id: String,
    kind: Kind,
    node_id: Option<NodeId>,
    address: Option<Address>,
    hostname: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Edge {
    from: String,
    to: String,
    /// `direct` or `relay`; `none` without a session.
    path: PathKind,
    relay: Option<String>,
    rtt_ms: Option<f64>,
    /// `mutual`, `given` where only this agent granted, `none`; of a rendezvous its state.
    trust: String,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

pub(crate) async fn topology(context: &Context, args: TopologyArgs) -> Result<Reply, Failure> {
    let client = context.client()?;
    let info = client.call(&InfoRequest {}).await?;
    let peers = client.call(&PeersRequest::default()).await?;
    let trusted = client.call(&TrustRequest::default()).await?;
    let mut graph = Graph::of(&info);
    let mut edges: BTreeMap<NodeId, (AgentSummary, Edge)> = BTreeMap::new();
    for agent in trusted.trusted {
        let edge = graph.edge(&agent.agent, trust_word(&agent));
        edges.insert(agent.agent.node_id, (agent.agent, edge));
    }
    for peer in peers.peers {
        let known = edges
            .entry(peer.agent.node_id)
            .or_insert_with(|| (peer.agent.clone(), graph.edge(&peer.agent, "none")));
        known.1.path = peer.path;
        known.1.relay = peer.relay;
        known.1.rtt_ms = peer.rtt_ms;
    }
    for (agent, edge) in edges.into_values() {
        graph.nodes.push(Node::of(&agent, Kind::Agent));
        graph.edges.push(edge);
    }
    let words = match args.format {
        Drawing::Text => graph.text(context.output.style),
        Drawing::Dot => drawing::dot(&graph),
        Drawing::Svg => drawing::svg(&graph),
        Drawing::Json => crate::output::to_json(&graph)?,
    };
    Reply::new(&graph, words)
}

fn trust_word(agent: &TrustedAgent) -> &'static str {
    if agent.mutual { "mutual" } else { "given" }
}

impl Node {
    fn of(agent: &AgentSummary, kind: Kind) -> Self {
        Self {
            id: agent.address.to_string(),
            kind,
            node_id: Some(agent.node_id),
            address: Some(agent.address),
            hostname: agent.hostname.as_ref().map(ToString::to_string),
        }
    }

    /// What it is called in a drawing.
    fn label(&self) -> String {
        style::clean(self.hostname.as_ref().unwrap_or(&self.id))
    }
}

impl Edge {
    /// How packets go, in a drawing.
    fn label(&self) -> String {
        let rtt = self.rtt_ms.map(style::millis);
        let path = match self.path {
            PathKind::Direct => Some("direct"),
            PathKind::Relay => Some("relay"),
            PathKind::None => None,
        };
        let words = [path.map(str::to_owned), rtt];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    const fn is_live(&self) -> bool {
        !matches!(self.path, PathKind::None)
    }
}

impl Graph {
    /// This agent and its rendezvous.
    fn of(info: &Info) -> Self {
        let own = Node::of(&info.agent, Kind::Own);
        let mut graph = Self {
            nodes: vec![own],
            edges: vec![],
        };
        for rendezvous in &info.rendezvous {
            graph.nodes.push(Node {
                id: rendezvous.url.clone(),
                kind: Kind::Rendezvous,
                node_id: None,
                address: None,
                hostname: None,
            });
            graph.edges.push(Edge {
                from: info.agent.address.to_string(),
                to: rendezvous.url.clone(),
                path: if rendezvous.state == "connecting" {
                    PathKind::None
                } else {
                    PathKind::Direct
                },
                relay: None,
                rtt_ms: None,
                trust: rendezvous.state.clone(),
            });
        }
        graph
    }

    fn edge(&self, to: &AgentSummary, trust: &str) -> Edge {
        Edge {
            from: self.nodes[0].id.clone(),
            to: to.address.to_string(),
            path: PathKind::None,
            relay: None,
            rtt_ms: None,
            trust: trust.to_owned(),
        }
    }

    fn text(&self, style: Style) -> String {
        let own = &self.nodes[0];
        let mut lines = vec![style.bold(&format!("{} {}", own.label(), own.id))];
        for (index, (node, edge)) in self.nodes[1..].iter().zip(&self.edges).enumerate() {
            let branch = if index + 1 == self.edges.len() {
                "└─"
            } else {
                "├─"
            };
            let name = match node.kind {
                Kind::Rendezvous => format!("rendezvous {}", style::clean(&node.id)),
                Kind::Own | Kind::Agent => format!("{} {}", node.label(), node.id),
            };
            let relay = edge.relay.as_ref();
            let relay =
                relay.map_or_else(String::new, |relay| format!(" by {}", style::clean(relay)));
            let how = if edge.is_live() {
                format!("{}{relay}", edge.label())
            } else {
                "no session".to_owned()
            };
            let trust = style::clean(&edge.trust);
            let trust = match node.kind {
                Kind::Rendezvous => trust,
                Kind::Own | Kind::Agent => format!("trust {trust}"),
            };
            lines.push(format!("{branch} {name}  {how} · {trust}"));
        }
        lines.join("\n")
    }
}
