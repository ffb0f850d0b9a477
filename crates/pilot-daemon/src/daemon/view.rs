//! How agents, trust, streams and rendezvous are shown.

use std::collections::BTreeMap;

use pilot::{
    ConnectionStatus, Found, LearntBy, MappingState, PathKind, PeerStatus, PendingKnock, Scope,
    TrustedPeer,
};
use pilot_api::Load;
use pilot_api::types::{
    self, AgentSummary, ApiLoad, ConnectionSummary, NatInfo, PeerSummary, PortMappingInfo,
    PublicKey, RelayInfo, RelayLink, RendezvousInfo, TrustedAgent,
};
use pilot_types::{AgentId, Hostname, NetworkId};

use super::{Daemon, Links, end};

/// How busy the API is.
pub(super) fn load(load: &Load) -> ApiLoad {
    ApiLoad {
        connections: load.connections() as u64,
        streams: load.streams() as u64,
        refusals: load
            .refusals()
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| (reason.to_owned(), count))
            .collect(),
    }
}

impl Daemon {
    /// An agent by the name that it is known by here.
    pub(crate) fn summary(&self, agent: AgentId) -> AgentSummary {
        summary(agent, self.node.hostname_of(&agent))
    }

    /// Names that knockers claim of themselves, to be shown where nothing better is known.
    pub(super) fn claimed_names(&self) -> BTreeMap<AgentId, Hostname> {
        let knocks = self.node.pending().into_iter();
        knocks
            .filter_map(|knock| Some((knock.agent, knock.hostname?)))
            .collect()
    }

    /// An agent by the name that it is known by here, else by the one that it claimed.
    pub(super) fn summary_or_claimed(
        &self,
        agent: AgentId,
        claimed: &BTreeMap<AgentId, Hostname>,
    ) -> AgentSummary {
        let known = self.node.hostname_of(&agent);
        summary(agent, known.or_else(|| claimed.get(&agent).cloned()))
    }

    /// This agent.
    pub(super) fn own_summary(&self) -> AgentSummary {
        summary(self.node.agent(), self.node.hostname())
    }

    /// Each rendezvous and how it stands.
    pub(crate) fn rendezvous(&self) -> Vec<RendezvousInfo> {
        let status = self.node.status();
        status
            .rendezvous
            .iter()
            .map(|link| self.links.info(&link.url, link.state))
            .collect()
    }
}

/// A relay that we use.
pub(super) fn relay_link(link: pilot::RelayLink) -> RelayLink {
    RelayLink {
        url: link.url,
        state: link.state.to_owned(),
        rtt_ms: link.rtt.map(millis),
    }
}

/// What we passed on for others.
pub(super) const fn relay(stats: pilot::RelayStats) -> RelayInfo {
    RelayInfo {
        channels: stats.channels,
        datagrams: stats.datagrams,
        bytes: stats.bytes,
    }
}

/// What a NAT does.
pub(super) fn nat(status: pilot::NatStatus) -> NatInfo {
    NatInfo {
        mapping: status.mapping.to_owned(),
        filtering: status.filtering.to_owned(),
    }
}

impl Links {
    /// The node knows a rendezvous by host and port; people want the key too.
    fn info(&self, host_port: &str, state: &'static str) -> RendezvousInfo {
        let is_same = |url: &&String| {
            let parsed = url.parse::<pilot::RendezvousUrl>();
            parsed.is_ok_and(|url| url.host_port() == host_port)
        };
        RendezvousInfo {
            url: self
                .urls
                .iter()
                .find(is_same)
                .map_or_else(|| host_port.to_owned(), Clone::clone),
            state: if state == "registered" {
                "connected"
            } else {
                state
            }
            .to_owned(),
            embedded: self.is_embedded,
        }
    }
}

pub(crate) fn summary(agent: AgentId, hostname: Option<Hostname>) -> AgentSummary {
    AgentSummary {
        node_id: agent.node(),
        address: agent.address(),
        hostname,
    }
}

pub(super) fn found(found: &Found) -> types::Found {
    types::Found {
        agent: summary(found.agent, found.hostname.clone()),
        public: found.public,
        public_key: PublicKey(found.public_key),
        tags: found.tags.clone(),
    }
}

pub(super) const fn path(path: PathKind) -> types::PathKind {
    match path {
        PathKind::Direct => types::PathKind::Direct,
        PathKind::Relay => types::PathKind::Relay,
    }
}

pub(crate) fn millis(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

pub(super) fn peer(status: PeerStatus) -> PeerSummary {
    PeerSummary {
        agent: summary(status.agent, status.hostname),
        path: path(status.path),
        relay: status.relay,
        rtt_ms: status.rtt.map(millis),
        encrypted: true,
        authenticated: true,
    }
}

pub(super) fn connection(status: &ConnectionStatus) -> ConnectionSummary {
    ConnectionSummary {
        id: status.id,
        local_port: status.local_port,
        remote_addr: status.agent.address(),
        remote_node_id: status.agent.node(),
        remote_port: status.remote_port,
        state: status.state.to_owned(),
        cong_win: status.cong_win,
        in_flight: status.in_flight,
        srtt_ms: (!status.srtt.is_zero()).then_some(status.srtt.as_secs_f64() * 1000.0),
        bytes_sent: status.bytes_sent,
        bytes_recv: status.bytes_recv,
        retransmits: status.retransmits,
    }
}

pub(super) fn pending(knock: PendingKnock) -> types::PendingKnock {
    types::PendingKnock {
        agent: summary(knock.agent, knock.hostname),
        justification: knock.justification,
        fingerprint: knock.fingerprint,
        received_at: knock.received_at,
    }
}

pub(super) fn trusted(peer: TrustedPeer) -> TrustedAgent {
    TrustedAgent {
        scope: scope(&peer.scope),
        apps: None,
        agent: summary(peer.agent, peer.hostname),
        fingerprint: peer.fingerprint,
        learnt_by: learnt_by(peer.learnt_by).to_owned(),
        mutual: peer.mutual,
        frozen: false,
        network: NetworkId::BACKBONE,
        approved_at: peer.approved_at,
        expires_at: end(peer.expires_at),
    }
}

/// One of which nothing holds until it recovers.
pub(super) fn frozen(peer: TrustedPeer) -> TrustedAgent {
    TrustedAgent {
        frozen: true,
        ..trusted(peer)
    }
}

/// A scope in one word or a list of ports.
pub(super) fn scope(scope: &Scope) -> String {
    if scope.is_reply_only {
        "reply-only".to_owned()
    } else if scope.is_revocation() {
        "none".to_owned()
    } else {
        scope.ports_text()
    }
}

const fn learnt_by(learnt_by: LearntBy) -> &'static str {
    match learnt_by {
        LearntBy::Address => "address",
        LearntBy::Hostname => "name",
        LearntBy::Key => "key",
        LearntBy::Ticket => "ticket",
    }
}

/// Whether an agent is among those that a search asks for: part of its name or address, in any case.
pub(super) fn matches(agent: &AgentSummary, search: Option<&str>) -> bool {
    let Some(search) = search.map(str::to_lowercase) else {
        return true;
    };
    let name = agent.hostname.as_ref().map_or("", Hostname::as_str);
    name.contains(&search) || agent.address.to_string().to_lowercase().contains(&search)
}

/// By name, then address; those without a name last.
pub(super) fn order(agent: &AgentSummary) -> (bool, Option<Hostname>, pilot_types::Address) {
    (
        agent.hostname.is_none(),
        agent.hostname.clone(),
        agent.address,
    )
}

/// How the search for a port mapping went.
pub(super) fn port_mapping(state: MappingState) -> PortMappingInfo {
    let (word, mapping, gateway) = match state {
        MappingState::Off => ("off", None, None),
        MappingState::NotNeeded => ("not_needed", None, None),
        MappingState::Searching => ("searching", None, None),
        MappingState::NoGateway => ("no_gateway", None, None),
        MappingState::Refused(gateway) => ("refused", None, Some(gateway)),
        MappingState::BehindNat(mapping) => ("behind_nat", Some(mapping), Some(mapping.gateway)),
        MappingState::Mapped(mapping) => ("mapped", Some(mapping), Some(mapping.gateway)),
        MappingState::Expiring(mapping) => ("expiring", Some(mapping), Some(mapping.gateway)),
    };
    PortMappingInfo {
        state: word.to_owned(),
        protocol: mapping.map(|mapping| mapping.protocol.name().to_owned()),
        gateway: gateway.map(|gateway| gateway.to_string()),
        outer: mapping.map(|mapping| mapping.outer.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendezvous_is_shown_with_its_key() {
        let url = format!("pilot://{}@127.0.0.1:9000", "ab".repeat(32));
        let links = Links {
            urls: vec!["other:9000".to_owned(), url.clone()],
            is_embedded: false,
        };
        let info = links.info("127.0.0.1:9000", "registered");
        assert_eq!((info.url, info.state.as_str()), (url, "connected"));
        assert_eq!(links.info("unknown:1", "connecting").url, "unknown:1");
    }

    #[test]
    fn scopes_have_words() {
        assert_eq!(scope(&Scope::default_scope()), "7,1000-1002");
        assert_eq!(scope(&Scope::all_ports()), "all");
        assert_eq!(scope(&Scope::reply_only()), "reply-only");
        assert_eq!(scope(&Scope::default()), "none");
    }

    #[test]
    fn a_search_finds_by_name_and_address() {
        let agent = summary(AgentId::new([0xAB; 32]), "planner".parse().ok());
        for hit in [None, Some("plan"), Some("PLAN"), Some("abab.ab")] {
            assert!(matches(&agent, hit), "{hit:?}");
        }
        assert!(!matches(&agent, Some("worker")));
    }
}
