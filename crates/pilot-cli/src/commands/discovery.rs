//! Who is there.

use pilot_api::PeerRef;
use pilot_api::types::{
    AgentSummary, ConnectionSummary, ConnectionsRequest, FindRequest, Found, LookupRequest,
    PeerSummary, PeersRequest,
};
use pilot_types::{Hostname, UnixTime};

use crate::context::Context;
use crate::output::{Failure, Reply};
use crate::style::{self, Style};

pub(crate) async fn find(context: &Context, name: Hostname) -> Result<Reply, Failure> {
    let request = FindRequest {
        name,
        timeout_ms: context.timeout_ms(),
    };
    let found = context.client()?.call(&request).await?;
    let facts = found_facts(&found);
    Reply::new(&found, context.output.style.facts(&facts))
}

fn found_facts(found: &Found) -> Vec<(&'static str, String)> {
    let tags: Vec<&str> = found.tags.iter().map(pilot_types::Tag::as_str).collect();
    vec![
        ("address", found.agent.address.to_string()),
        ("hostname", style::or_dash(found.agent.hostname.as_ref())),
        ("node id", found.agent.node_id.to_u64().to_string()),
        ("public key", found.public_key.to_string()),
        ("public", if found.public { "yes" } else { "no" }.to_owned()),
        ("tags", none_or(tags.join(", "))),
    ]
}

fn none_or(text: String) -> String {
    if text.is_empty() {
        "–".to_owned()
    } else {
        text
    }
}

pub(crate) async fn lookup(context: &Context, peer: PeerRef) -> Result<Reply, Failure> {
    let request = LookupRequest {
        peer,
        timeout_ms: context.timeout_ms(),
    };
    let looked = context.client()?.call(&request).await?;
    let mut facts = found_facts(&looked.found);
    let networks: Vec<String> = looked
        .networks
        .iter()
        .map(|network| network.to_u16().to_string())
        .collect();
    facts.extend([
        (
            "can do",
            none_or(style::clean(&looked.capabilities.join(", "))),
        ),
        ("networks", none_or(networks.join(", "))),
        (
            "last seen",
            style::or_dash(looked.last_seen_unix.map(UnixTime::from_secs)),
        ),
    ]);
    if looked.frozen {
        let words =
            "frozen: two keys claim to be its, and nothing holds until its owner recovers it";
        facts.push(("keys", words.to_owned()));
    }
    Reply::new(&looked, context.output.style.facts(&facts))
}

pub(crate) async fn peers(context: &Context, search: Option<String>) -> Result<Reply, Failure> {
    let peers = context.client()?.call(&PeersRequest { search }).await?;
    Reply::new(&peers, peers_words(&peers.peers, context.output.style))
}

fn peers_words(peers: &[PeerSummary], style: Style) -> String {
    if peers.is_empty() {
        return style.faint("no live sessions");
    }
    let rows: Vec<[String; 4]> = peers
        .iter()
        .map(|peer| {
            [
                name_of(&peer.agent),
                peer.agent.address.to_string(),
                peer.relay.as_ref().map_or_else(
                    || peer.path.to_string(),
                    |relay| format!("{} via {}", peer.path, style::clean(relay)),
                ),
                style::or_dash(peer.rtt_ms.map(style::millis)),
            ]
        })
        .collect();
    style.table(["NAME", "ADDRESS", "PATH", "RTT"], &rows)
}

/// An agent's name, or a dash.
pub(crate) fn name_of(agent: &AgentSummary) -> String {
    style::or_dash(agent.hostname.as_ref())
}

/// An agent's name with its address, or the address alone.
pub(crate) fn shown(agent: &AgentSummary) -> String {
    match &agent.hostname {
        Some(name) => format!("{name} ({})", agent.address),
        None => agent.address.to_string(),
    }
}

pub(crate) async fn connections(context: &Context) -> Result<Reply, Failure> {
    let open = context.client()?.call(&ConnectionsRequest {}).await?;
    let words = connections_words(&open.connections, context.output.style);
    Reply::new(&open, words)
}

fn connections_words(connections: &[ConnectionSummary], style: Style) -> String {
    if connections.is_empty() {
        return style.faint("no open streams");
    }
    let rows: Vec<[String; 8]> = connections
        .iter()
        .map(|connection| {
            [
                connection.id.to_string(),
                connection.local_port.to_string(),
                format!("{}:{}", connection.remote_addr, connection.remote_port),
                style::clean(&connection.state),
                style::or_dash(connection.srtt_ms.map(style::millis)),
                connection.bytes_sent.to_string(),
                connection.bytes_recv.to_string(),
                connection.retransmits.to_string(),
            ]
        })
        .collect();
    style.table(
        [
            "ID", "LOCAL", "REMOTE", "STATE", "RTT", "SENT", "RECEIVED", "RESENT",
        ],
        &rows,
    )
}
