//! What can be asked of the trust machine.

use pilot_types::{AgentId, Hostname, NodeId, Port, UnixTime};
use pilot_wire::{KnockTarget, Scope, SignedBytes};

use crate::keys::fingerprint;
use crate::knock::Knocker;
use crate::log::VerifiedLog;
use crate::machine::Trust;
use crate::peer::{HeldGrant, LearntBy, Peer};

/// A knock that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingKnock {
    /// Who.
    pub agent: AgentId,
    /// The name that its record claims; else the one that the knock claims.
    pub hostname: Option<Hostname>,
    /// Why, in its own words: not to be trusted with a terminal.
    pub justification: String,
    /// When it came.
    pub received_at: UnixTime,
    /// Its signing key for people to compare.
    pub fingerprint: String,
    /// Its log.
    pub log: VerifiedLog,
}

/// An agent to which a grant of ours holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedPeer {
    /// Who.
    pub agent: AgentId,
    /// The name that its record claimed last.
    pub hostname: Option<Hostname>,
    /// Its signing key for people to compare.
    pub fingerprint: String,
    /// How it was pointed at when trust began.
    pub learnt_by: LearntBy,
    /// Whether its grant to us holds too.
    pub mutual: bool,
    /// What it may do.
    pub scope: Scope,
    /// When our grant was made.
    pub approved_at: UnixTime,
    /// When our grant ends; [`UnixTime::FAR_FUTURE`] for never.
    pub expires_at: UnixTime,
    /// Its log.
    pub log: VerifiedLog,
}

impl Trust {
    /// Whether our newest grant, or a group, lets the agent open a stream to the port now.
    #[must_use]
    pub fn admits(&self, now: UnixTime, peer: &AgentId, port: Port) -> bool {
        let scope = self.given_scope(now, peer);
        scope.is_some_and(|scope| scope.allows_port(port)) || self.group_admits(now, peer, port)
    }

    /// Whether we trust the agent now: our grant to it holds, or a group has its members trust each other.
    #[must_use]
    pub fn has_granted(&self, now: UnixTime, peer: &AgentId) -> bool {
        self.given_scope(now, peer).is_some() || self.is_trusted_by_group(now, peer)
    }

    /// Whether our grant lets the agent open streams now, not only answer.
    #[must_use]
    pub fn admits_any(&self, now: UnixTime, peer: &AgentId) -> bool {
        let peer = self.peers.get(peer);
        peer.is_some_and(|peer| peer.is_admitted(now))
    }

    /// Whether it trusts us now: its grant to us holds, or a group has its members trust each other.
    #[must_use]
    pub fn is_granted_by(&self, now: UnixTime, peer: &AgentId) -> bool {
        self.received_scope(now, peer).is_some() || self.is_trusted_by_group(now, peer)
    }

    /// Whether trust holds in both directions now.
    #[must_use]
    pub fn is_mutual(&self, now: UnixTime, peer: &AgentId) -> bool {
        self.has_granted(now, peer) && self.is_granted_by(now, peer)
    }

    /// Whether both grants hold now.
    pub(crate) fn is_mutual_by_grants(&self, now: UnixTime, peer: &AgentId) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.is_mutual(now))
    }

    /// What the agent may do here now.
    #[must_use]
    pub fn given_scope(&self, now: UnixTime, peer: &AgentId) -> Option<&Scope> {
        let given = self.peers.get(peer)?.live_given(now)?;
        Some(&given.scope)
    }

    /// What we may do there now.
    #[must_use]
    pub fn received_scope(&self, now: UnixTime, peer: &AgentId) -> Option<&Scope> {
        let received = self.peers.get(peer)?.live_received(now)?;
        Some(&received.scope)
    }

    /// Our newest grant or revocation for the agent, to be brought to it again when a session with it begins.
    #[must_use]
    pub fn given_grant(&self, peer: &AgentId) -> Option<&SignedBytes> {
        let given = self.peers.get(peer)?.given.as_ref();
        given.map(|grant| &grant.raw)
    }

    /// Our newest grants and revocations, for a registry that may have missed some.
    pub fn given_grants(&self) -> impl Iterator<Item = (AgentId, &SignedBytes)> {
        let agents = self.peers.keys();
        agents.filter_map(|agent| Some((*agent, self.given_grant(agent)?)))
    }

    /// The name that the record of a trusted or pending agent claimed last.
    #[must_use]
    pub fn peer_hostname(&self, peer: &AgentId) -> Option<&Hostname> {
        match self.peers.get(peer) {
            Some(peer) => peer.hostname.as_ref(),
            None => self.pending.get(peer)?.hostname.as_ref(),
        }
    }

    /// Its newest grant or revocation for us.
    #[must_use]
    pub fn received_grant(&self, peer: &AgentId) -> Option<&SignedBytes> {
        let received = self.peers.get(peer)?.received.as_ref();
        received.map(|grant| &grant.raw)
    }

    /// Our knocks that wait for a grant, to be brought to their targets again after an outage.
    pub fn sent_knocks(&self) -> impl Iterator<Item = (&KnockTarget, &SignedBytes)> {
        self.sent.values().map(|knock| (&knock.target, &knock.raw))
    }

    /// Knocks that wait for a person, by agent.
    pub fn pending(&self) -> impl Iterator<Item = PendingKnock> {
        let waiting = self.pending.iter().filter(|(_, k)| !k.is_rejected);
        waiting.map(|(agent, knocker)| pending_view(*agent, knocker))
    }

    /// Agents to which a grant of ours holds, by agent.
    pub fn trusted(&self, now: UnixTime) -> impl Iterator<Item = TrustedPeer> {
        self.peers.iter().filter_map(move |(agent, peer)| {
            let given = peer.live_given(now)?;
            Some(trusted_view(*agent, peer, given, now))
        })
    }

    /// The agent, if a grant of ours to it holds.
    #[must_use]
    pub fn trusted_peer(&self, now: UnixTime, agent: &AgentId) -> Option<TrustedPeer> {
        let peer = self.peers.get(agent)?;
        let given = peer.live_given(now)?;
        Some(trusted_view(*agent, peer, given, now))
    }

    /// Whether two entries of the agent's log contradict each other: nothing holds between us until it recovers.
    #[must_use]
    pub fn is_frozen(&self, peer: &AgentId) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.is_frozen)
    }

    /// Agents that are frozen, with our grants that hold no more.
    pub fn frozen(&self, now: UnixTime) -> impl Iterator<Item = TrustedPeer> {
        let frozen = self.peers.iter().filter(|(_, peer)| peer.is_frozen);
        frozen.filter_map(move |(agent, peer)| {
            let given = peer.given.as_ref()?;
            Some(trusted_view(*agent, peer, given, now))
        })
    }

    /// What is pinned of an agent, trusted or pending.
    #[must_use]
    pub fn peer_log(&self, peer: &AgentId) -> Option<&VerifiedLog> {
        let trusted = self.peers.get(peer).map(|peer| &peer.log);
        trusted.or_else(|| self.pending.get(peer).map(|knocker| &knocker.log))
    }

    /// The one agent with these 48 bits among trusted and pending ones.
    #[must_use]
    pub fn find_node(&self, node: NodeId) -> Option<AgentId> {
        let (first, last) = agents_of(node);
        let peers = self.peers.range(first..=last).map(|(agent, _)| *agent);
        let pending = self.pending.range(first..=last);
        let pending = pending
            .filter(|(_, k)| !k.is_rejected)
            .map(|(agent, _)| *agent);
        only(peers).or_else(|| only(pending))
    }

    /// The agent with this name among trusted and pending ones.
    ///
    /// Names of records go before the names that knocks only claim, and trusted agents before others; a name that two
    /// pending knocks claim is nobody's.
    #[must_use]
    pub fn find_hostname(&self, name: &Hostname) -> Option<AgentId> {
        let claimed = |knocker: &Knocker| {
            knocker.hostname.is_none() && knocker.claimed.as_ref() == Some(name)
        };
        self.find_recorded_hostname(name)
            .or_else(|| only(self.waiting(claimed)))
    }

    /// The agent whose record has this name.
    pub(crate) fn find_recorded_hostname(&self, name: &Hostname) -> Option<AgentId> {
        let mut peers = self.peers.iter();
        let trusted = peers.find(|(_, peer)| peer.hostname.as_ref() == Some(name));
        let recorded = |knocker: &Knocker| knocker.hostname.as_ref() == Some(name);
        trusted
            .map(|(agent, _)| *agent)
            .or_else(|| only(self.waiting(recorded)))
    }

    /// The agent with a live grant in either direction whose record has this name.
    pub(crate) fn find_trusted_hostname(&self, now: UnixTime, name: &Hostname) -> Option<AgentId> {
        let is_live = |peer: &Peer| peer.live_given(now).or(peer.live_received(now)).is_some();
        let mut peers = self.peers.iter();
        let holder = peers.find(|(_, peer)| peer.hostname.as_ref() == Some(name) && is_live(peer));
        holder.map(|(agent, _)| *agent)
    }

    fn waiting(&self, is_it: impl Fn(&Knocker) -> bool) -> impl Iterator<Item = AgentId> {
        let waiting = self.pending.iter().filter(|(_, k)| !k.is_rejected);
        waiting
            .filter(move |(_, knocker)| is_it(knocker))
            .map(|(agent, _)| *agent)
    }
}

fn pending_view(agent: AgentId, knocker: &Knocker) -> PendingKnock {
    PendingKnock {
        agent,
        hostname: knocker.hostname.clone().or_else(|| knocker.claimed.clone()),
        justification: knocker.justification.clone(),
        received_at: knocker.received_at,
        fingerprint: fingerprint(&knocker.log.sign_key()),
        log: knocker.log.clone(),
    }
}

fn trusted_view(agent: AgentId, peer: &Peer, given: &HeldGrant, now: UnixTime) -> TrustedPeer {
    TrustedPeer {
        agent,
        hostname: peer.hostname.clone(),
        fingerprint: fingerprint(&peer.log.sign_key()),
        learnt_by: peer.learnt_by,
        mutual: peer.is_mutual(now),
        scope: given.scope.clone(),
        approved_at: peer.approved_at,
        expires_at: given.not_after,
        log: peer.log.clone(),
    }
}

/// The first and last agent with these 48 bits.
fn agents_of(node: NodeId) -> (AgentId, AgentId) {
    let bits = node.to_u64().to_be_bytes();
    let with = |rest: u8| {
        let mut bytes = [rest; AgentId::LEN];
        bytes[..6].copy_from_slice(&bits[2..]);
        AgentId::new(bytes)
    };
    (with(0), with(u8::MAX))
}

/// The item, if there is exactly one.
fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}
