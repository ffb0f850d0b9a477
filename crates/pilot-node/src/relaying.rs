//! An agent's use of relays: its rendezvous, and agents that are relays for it. Who may reach it through them, and channels to others.
//!
//! A channel is asked for beside each handshake, so that two agents have a path before their NATs have let one straight
//! packet through. The relay matches permits and sees sealed packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use pilot_registry::{Permits, Request, RequestError, Response, limits::MAX_PERMITS};
use pilot_trust::{Permit, VerifiedLog};
use pilot_types::{AgentId, Ecn, FourTuple, PathId, PeerAddr, Port, RelayAddr};
use pilot_wire::{Forwards, PacketKind, RelayFrame, StreamHeader};

use crate::event::SessionKey;
use crate::exchange::{Exchange, Purpose};
use crate::links::QueryUse;
use crate::node::{Follows, Node};
use crate::now::Now;
use crate::peer_session::{Class, StreamUse};

/// Agents that are used as relays at a time: sessions with them are kept alive, and each is asked at each dial.
const MAX_PEER_RELAYS: usize = 4;

/// Which relay is meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Via {
    /// A rendezvous, by its link.
    Link(usize),
    /// An agent that we have a session with.
    Peer(AgentId),
}

/// What is asked of an agent that is a relay for us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RelayCall {
    /// A channel to an agent.
    Bind(AgentId),
    /// To let in who shows our permits.
    Permit,
}

/// What an agent derived and asked for.
#[derive(Default)]
pub(crate) struct Relaying {
    /// Permits that we gave, with the key of the peer that each was derived from: an agreement costs more than a look.
    /// Bounded by [`MAX_PERMITS`].
    given: BTreeMap<AgentId, ([u8; 32], Permit)>,
    /// Channels that were asked for; bounded by the clients' own bound on requests, and by the streams of at most
    /// [`MAX_PEER_RELAYS`] sessions.
    asked: BTreeSet<(Via, AgentId)>,
    /// Agents that are relays for us; at most [`MAX_PEER_RELAYS`].
    peers: BTreeSet<AgentId>,
    /// Whether trust or visibility changed since the relays were told.
    is_stale: bool,
}

impl Relaying {
    /// Who may reach us is another set now.
    pub(crate) const fn changed(&mut self) {
        self.is_stale = true;
    }

    /// Each permit follows from our key.
    pub(crate) fn own_key_changed(&mut self) {
        self.given.clear();
        self.is_stale = true;
    }

    /// A session with an agent that we trust no more ended; a permit that was left to it ends too.
    pub(crate) fn untrusted_session_ended(&mut self, agent: &AgentId) {
        self.is_stale |= self.given.contains_key(agent);
    }

    /// The session with an agent ended: it is no relay any more.
    pub(crate) fn relay_lost(&mut self, agent: &AgentId) {
        self.peers.remove(agent);
    }

    /// Whether an agent is a relay for us.
    pub(crate) fn is_relay(&self, agent: &AgentId) -> bool {
        self.peers.contains(agent)
    }
}

impl Node {
    /// Tells every rendezvous who may reach us through it, if that changed.
    pub(crate) fn renew_permits(&mut self, now: Now) {
        if !std::mem::take(&mut self.relaying.is_stale) {
            return;
        }
        let trusted: Vec<_> = self.trust.trusted(now.unix).take(MAX_PERMITS).collect();
        let mut given = BTreeMap::new();
        for peer in &trusted {
            let key = peer.log.dh_key();
            let known = self.relaying.given.get(&peer.agent);
            let known = known.filter(|(before, _)| *before == key).copied();
            let permit = known.unwrap_or_else(|| (key, self.identity.permit_for(&peer.log)));
            given.insert(peer.agent, permit);
        }
        for agent in self.trust.trusted_by_groups(now.unix) {
            if given.len() >= MAX_PERMITS {
                break;
            }
            let log = self
                .known_log(&agent)
                .filter(|_| !given.contains_key(&agent));
            if let Some(log) = log {
                let known = self.relaying.given.get(&agent).copied();
                let known = known.filter(|(before, _)| *before == log.dh_key());
                let permit = known.unwrap_or_else(|| (log.dh_key(), self.identity.permit_for(log)));
                given.insert(agent, permit);
            }
        }
        // A session that ends still has a CLOSE to send, perhaps by the relay: its permit ends with it.
        let closing = self.table.iter().filter(|it| it.transport.is_closing());
        for agent in closing.map(|session| session.agent) {
            if let Some(permit) = self.relaying.given.get(&agent) {
                given.insert(agent, *permit);
            }
        }
        let permits = Permits {
            is_open: self.profile.current.is_public,
            secrets: given.values().map(|(_, permit)| *permit).collect(),
        };
        self.relaying.given = given;
        self.links.set_permits(&permits);
        for relay in self.relaying.peers.clone() {
            let request = Request::Permit {
                is_open: permits.is_open,
                permits: permits.secrets.clone(),
            };
            self.call_relay(now, &relay, RelayCall::Permit, &request);
        }
    }

    /// An agent is a relay for us from now on, or no more.
    pub(crate) fn take_forwarding(&mut self, now: Now, key: SessionKey, body: &[u8]) {
        let Ok(Forwards { is_on }) = Forwards::decode(body) else {
            self.output.drops.count("forwards_malformed");
            return;
        };
        let session = self.table.get(key);
        let Some(agent) = session
            .filter(|session| session.class == Class::Peer)
            .map(|session| session.agent)
        else {
            return;
        };
        // Only who we trust with more than an answer sees whom we talk to.
        if is_on
            && self.trust.admits_any(now.unix, &agent)
            && self.relaying.peers.len() < MAX_PEER_RELAYS
        {
            self.relaying.peers.insert(agent);
            self.relaying.changed();
        } else if !is_on {
            self.relaying.peers.remove(&agent);
        }
        self.keep_peer_alive(now, key);
    }

    /// Asks an agent that is a relay for us; `false` if there is no way to ask it.
    fn call_relay(
        &mut self,
        now: Now,
        relay: &AgentId,
        call: RelayCall,
        request: &Request,
    ) -> bool {
        let Some(key) = self.table.key_of(relay) else {
            return false;
        };
        let Some(session) = self.session_mut(key) else {
            return false;
        };
        if session.transport.is_closing() || !session.transport.path().is_direct() {
            return false;
        }
        let header = StreamHeader::new(session.ephemeral_port(), Port::REGISTRY);
        let Some(stream) = session.open(now, &header) else {
            return false;
        };
        let exchange = Exchange::asking(Purpose::RelayCall(call), request.encode());
        session
            .streams
            .insert(stream, StreamUse::Internal(exchange));
        self.advance_stream(now, key, stream);
        true
    }

    /// An agent that is a relay for us answered, or did not.
    pub(crate) fn relay_answered(
        &mut self,
        now: Now,
        relay: AgentId,
        call: RelayCall,
        body: Option<Vec<u8>>,
    ) {
        let RelayCall::Bind(agent) = call else {
            return;
        };
        let response = body.and_then(|body| Response::decode(&body).ok());
        let response = response.ok_or(RequestError::Failed);
        self.channel_answered(now, (Via::Peer(relay), agent), &response);
    }

    /// Asks every relay that we are connected to for a channel to an agent. What it says is handled by
    /// [`Node::channel_answered`].
    pub(crate) fn ask_for_channels(&mut self, now: Now, log: &VerifiedLog) {
        let agent = log.agent();
        let permit = self
            .trust
            .is_granted_by(now.unix, &agent)
            .then(|| self.identity.permit_of(log));
        let request = Request::Bind { to: agent, permit };
        for link in self.links.connected() {
            if self.relaying.asked.insert((Via::Link(link), agent)) {
                let use_ = QueryUse::Channel { link, agent };
                self.links.ask_one(now.instant, link, request.clone(), use_);
            }
        }
        for relay in self.relaying.peers.clone() {
            let asked = (Via::Peer(relay), agent);
            if relay != agent && self.relaying.asked.insert(asked) {
                let is_asked = self.call_relay(now, &relay, RelayCall::Bind(agent), &request);
                if !is_asked {
                    self.relaying.asked.remove(&asked);
                }
            }
        }
    }

    /// Whether a channel to the agent may still come.
    pub(crate) fn is_asking_for_channel(&self, agent: &AgentId) -> bool {
        self.relaying.asked.iter().any(|(_, asked)| asked == agent)
    }

    /// A relay gave a channel, or has none to give.
    pub(crate) fn channel_answered(
        &mut self,
        now: Now,
        (via, agent): (Via, AgentId),
        response: &Result<Response, RequestError>,
    ) {
        self.relaying.asked.remove(&(via, agent));
        let &Ok(Response::Bound(channel)) = response else {
            self.channel_refused(&agent);
            return;
        };
        let addr = match via {
            Via::Link(link) => self.rendezvous_addr(link),
            Via::Peer(relay) => self.relay_addr(&relay),
        };
        if let Some(relay) = addr.map(RelayAddr) {
            self.try_channel(now, agent, PathId::Relay { relay, channel });
        }
    }

    /// Where an agent that is a relay for us is.
    fn relay_addr(&self, relay: &AgentId) -> Option<SocketAddr> {
        self.table.by_agent(relay)?.transport.path().remote()
    }

    /// Whether a relay of ours is at an address.
    pub(crate) fn is_relay(&self, addr: &SocketAddr) -> bool {
        let mut peers = self.relaying.peers.iter();
        self.links.has_addr(addr) || peers.any(|relay| self.relay_addr(relay) == Some(*addr))
    }

    /// Uses a channel for the handshake that waits for a path; one to an agent that is there already is a standby.
    fn try_channel(&mut self, now: Now, agent: AgentId, path: PathId) {
        let known = self.known_log(&agent);
        if known.map_or_else(
            || self.endpoint.is_connecting(&agent),
            |log| self.is_connecting_to(log),
        ) {
            self.endpoint.add_path(now.instant, &agent, path);
            return;
        }
        let session = self.table.by_agent(&agent);
        let is_live = session.is_some_and(|session| {
            session.silent_since.is_none() && !session.transport.is_closing()
        });
        if is_live
            && let Some(key) = self.table.key_of(&agent)
            && let Some(session) = self.session_mut(key)
            && let Some(paths) = &mut session.paths
        {
            paths.add_path(now.instant, path);
            return;
        }
        let is_wanted =
            self.reconnects.contains(&agent) || !self.dials.connecting_to(&agent).is_empty();
        if !is_live
            && is_wanted
            && let Some(log) = self.known_log(&agent).cloned()
        {
            self.start_handshake(now, &log, Class::Peer, &[path]);
        }
    }

    /// Dials that waited for nothing else fail.
    fn channel_refused(&mut self, agent: &AgentId) {
        let dials = self.dials.connecting_to(agent);
        let is_hopeless = !self.endpoint.is_connecting(agent)
            && !self.is_asking_for_channel(agent)
            && !self.links.is_asked_for_dials(&dials);
        if is_hopeless {
            self.dials_unreachable(agent);
        }
    }

    /// A datagram that a relay forwarded: what is in it came on the channel's path.
    pub(crate) fn handle_relayed(
        &mut self,
        now: Now,
        relay: FourTuple,
        ecn: Option<Ecn>,
        data: &mut [u8],
    ) -> Follows {
        let PeerAddr(addr) = relay.remote;
        if !self.is_relay(&addr) {
            self.output.drops.count("relay_unknown");
            return Follows::Nothing;
        }
        let Ok(RelayFrame { channel, .. }) = RelayFrame::decode(data) else {
            self.output.drops.count("relay_malformed");
            return Follows::Nothing;
        };
        let path = PathId::Relay {
            relay: RelayAddr(addr),
            channel,
        };
        let packet = &mut data[RelayFrame::HEAD..];
        if PacketKind::of(packet).is_some_and(PacketKind::is_of_session) {
            self.handle_session_packet(now, path, ecn, packet)
        } else {
            self.output.drops.count("relay_payload");
            Follows::Nothing
        }
    }
}
