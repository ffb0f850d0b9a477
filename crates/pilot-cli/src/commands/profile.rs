//! This agent: what it is, and what it shows of itself.

use std::collections::BTreeMap;

use pilot_api::types::{
    DeregisterRequest, Info, InfoRequest, KeyState, NatInfo, PortMappingInfo, RelayInfo, RelayLink,
    RendezvousInfo, SetHostnameRequest, SetTagsRequest, SetVisibilityRequest, TicketRequest,
};
use pilot_types::{Hostname, Tag};
use serde::Serialize;

use crate::context::Context;
use crate::duration::Span;
use crate::output::{Failure, Reply};
use crate::style::{self, Style};

pub(crate) async fn info(context: &Context) -> Result<Reply, Failure> {
    let info = context.client()?.call(&InfoRequest {}).await?;
    Reply::new(&info, info_words(&info, context.output.style))
}

fn info_words(info: &Info, style: Style) -> String {
    let rendezvous: Vec<String> = info.rendezvous.iter().map(rendezvous_words).collect();
    let mut facts = vec![
        ("address", info.agent.address.to_string()),
        ("hostname", style::or_dash(info.agent.hostname.as_ref())),
        ("node id", info.agent.node_id.to_u64().to_string()),
        ("public key", info.public_key.to_string()),
        ("key state", key_words(info.key_state).to_owned()),
        ("version", style::clean(&info.version)),
        ("uptime", style::uptime(info.uptime_secs)),
        ("visible to", visibility_words(info.public).to_owned()),
        ("tags", listed(&info.tags)),
        ("can do", style::clean(&joined(&info.capabilities))),
        ("peers", info.peers.to_string()),
        ("connections", info.connections.to_string()),
        ("ports", listed(&info.ports)),
        ("rendezvous", joined(&rendezvous)),
        ("nat", nat_words(&info.nat)),
        ("keep-alive", keep_alive_words(info.keep_alive_secs)),
        ("relay", relay_words(info.relay)),
        ("endpoints", joined(&info.endpoints)),
        ("port mapping", mapping_words(&info.port_mapping)),
        ("sent", style::bytes(info.bytes_sent)),
        ("received", style::bytes(info.bytes_recv)),
    ];
    if !info.relays.is_empty() {
        let relays: Vec<String> = info.relays.iter().map(relay_link_words).collect();
        facts.push(("relays", relays.join(", ")));
    }
    if !info.drops.is_empty() {
        facts.push(("dropped", dropped_words(&info.drops)));
    }
    style.facts(&facts)
}

/// What others make of this agent's key.
pub(super) const fn key_words(state: KeyState) -> &'static str {
    match state {
        KeyState::Current => "current",
        KeyState::Superseded => {
            "superseded: it was replaced by another one, and is this agent's no more"
        }
        KeyState::Frozen => {
            "frozen: two keys claim to be this agent's, and nobody believes either until a recovery"
        }
    }
}

/// What a NAT does, as the words of RFC 4787 say it.
pub(super) fn nat_words(nat: &NatInfo) -> String {
    let [mapping, filtering] =
        [&nat.mapping, &nat.filtering].map(|word| style::clean(word).replace('_', " "));
    format!("mapping {mapping}, filtering {filtering}")
}

/// What was passed on for agents that we trust.
fn relay_words(relay: Option<RelayInfo>) -> String {
    let none = || "for nobody".to_owned();
    relay.map_or_else(none, |relay| {
        let bytes = style::bytes(relay.bytes);
        format!(
            "for trusted agents, {} channels, {bytes} passed on",
            relay.channels
        )
    })
}

/// A relay that we use, with its state and round trip.
fn relay_link_words(link: &RelayLink) -> String {
    let rtt = link
        .rtt_ms
        .map_or_else(String::new, |ms| format!(", {ms:.1} ms"));
    format!("{} ({}{rtt})", style::clean(&link.url), link.state)
}

fn keep_alive_words(seconds: Option<u16>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("every {seconds} s"))
}

fn mapping_words(found: &PortMappingInfo) -> String {
    let facts = [&found.outer, &found.gateway, &found.protocol];
    let facts = facts.into_iter().flatten().map(|text| style::clean(text));
    let words = found.state.replace('_', " ");
    let all: Vec<String> = std::iter::once(style::clean(&words)).chain(facts).collect();
    all.join(", ")
}

/// How many packets were dropped, and the three reasons that counted most.
fn dropped_words(drops: &BTreeMap<String, u64>) -> String {
    const SHOWN: usize = 3;
    let mut reasons: Vec<(&String, &u64)> = drops.iter().collect();
    reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), *reason));
    let shown = reasons.iter().take(SHOWN);
    let shown: Vec<String> = shown
        .map(|(reason, count)| format!("{} {count}", style::clean(reason)))
        .collect();
    let rest = if reasons.len() > SHOWN { ", …" } else { "" };
    let total: u64 = drops.values().sum();
    format!("{total} packets ({}{rest})", shown.join(", "))
}

/// A rendezvous with its state.
pub(crate) fn rendezvous_words(rendezvous: &RendezvousInfo) -> String {
    let kind = if rendezvous.embedded {
        ", embedded: this machine only"
    } else {
        ""
    };
    format!("{} ({}{kind})", rendezvous.url, rendezvous.state)
}

const fn visibility_words(public: bool) -> &'static str {
    if public {
        "everybody"
    } else {
        "trusted agents only"
    }
}

fn listed<T: ToString>(items: &[T]) -> String {
    let texts: Vec<String> = items.iter().map(T::to_string).collect();
    joined(&texts)
}

fn joined(texts: &[String]) -> String {
    if texts.is_empty() {
        "–".to_owned()
    } else {
        texts.join(", ")
    }
}

pub(crate) async fn set_hostname(
    context: &Context,
    hostname: Option<Hostname>,
) -> Result<Reply, Failure> {
    let request = SetHostnameRequest { hostname };
    let set = context.client()?.call(&request).await?;
    let words = match &set.hostname {
        Some(name) => format!("this agent is {name}"),
        None => "this agent has no name".to_owned(),
    };
    Reply::new(&set, context.output.style.done(&words))
}

pub(crate) async fn set_tags(context: &Context, tags: Vec<Tag>) -> Result<Reply, Failure> {
    let set = context.client()?.call(&SetTagsRequest { tags }).await?;
    let words = format!("tags: {}", listed(&set.tags));
    Reply::new(&set, context.output.style.done(&words))
}

pub(crate) async fn set_visibility(context: &Context, public: bool) -> Result<Reply, Failure> {
    let request = SetVisibilityRequest { public };
    let set = context.client()?.call(&request).await?;
    let words = format!("visible to {}", visibility_words(set.public));
    Reply::new(&set, context.output.style.done(&words))
}

pub(crate) async fn ticket(context: &Context, expires: Option<Span>) -> Result<Reply, Failure> {
    let request = TicketRequest {
        expires_ms: expires.map(Span::as_millis),
    };
    let issued = context.client()?.call(&request).await?;
    Reply::new(&issued, issued.ticket.clone())
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
    api: &'static str,
}

pub(crate) async fn deregister(context: &Context) -> Result<Reply, Failure> {
    let gone = context.client()?.call(&DeregisterRequest {}).await?;
    let words =
        "the registry knows this agent no more; trusted agents still reach it where they know it";
    Reply::new(&gone, context.output.style.done(words))
}

#[derive(Serialize)]
struct Script {
    shell: String,
    script: String,
}

pub(crate) fn completions(shell: clap_complete::Shell) -> Result<Reply, Failure> {
    let mut script = vec![];
    clap_complete::generate(shell, &mut crate::command(), "pilotctl", &mut script);
    let script = String::from_utf8_lossy(&script).trim_end().to_owned();
    let words = script.clone();
    let shell = shell.to_string();
    Reply::new(&Script { shell, script }, words)
}

pub(crate) fn version() -> Result<Reply, Failure> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        api: "v1",
    };
    Reply::new(&version, format!("pilotctl {}", version.version))
}
