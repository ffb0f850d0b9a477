//! An agent's use of its rendezvous as relays: who may reach it through them, and channels to others.
//!
//! A channel is asked for beside each handshake, so that two agents have a path before their NATs have let one straight
//! packet through. The rendezvous matches permits and sees sealed packets.

use std::collections::{BTreeMap, BTreeSet};

use pilot_registry::{Permits, Request, RequestError, Response, limits::MAX_PERMITS};
use pilot_trust::{Permit, VerifiedLog};
use pilot_types::{AgentId, Ecn, FourTuple, PathId, PeerAddr, RelayAddr};
use pilot_wire::{PacketKind, RelayFrame};

use crate::links::QueryUse;
use crate::node::Node;
use crate::now::Now;
use crate::peer_session::Class;

/// What an agent derived and asked for.
#[derive(Default)]
pub(crate) struct Relaying {
    /// Permits that we gave, with the key of the peer that each was derived from: an agreement costs more than a look.
    /// Bounded by [`MAX_PERMITS`].
    given: BTreeMap<AgentId, ([u8; 32], Permit)>,
    /// Channels that were asked for; bounded by the clients' own bound on requests.
    asked: BTreeSet<(usize, AgentId)>,
    /// Whether trust or visibility changed since the rendezvous were told.
    is_stale: bool,
}

impl Relaying {
    /// Who may reach us is another set now.
    pub(crate) const fn changed(&mut self) {
        self.is_stale = true;
    }

    /// A session with an agent that we trust no more ended; a permit that was left to it ends too.
    pub(crate) fn untrusted_session_ended(&mut self, agent: &AgentId) {
        self.is_stale |= self.given.contains_key(agent);
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
    }

    /// Asks every rendezvous that we are connected to for a channel to an agent. What it says is handled by
    /// [`Node::channel_answered`].
    pub(crate) fn ask_for_channels(&mut self, now: Now, log: &VerifiedLog) {
        let agent = log.agent();
        let permit = self
            .trust
            .is_granted_by(now.unix, &agent)
            .then(|| self.identity.permit_of(log));
        for link in self.links.connected() {
            if self.relaying.asked.insert((link, agent)) {
                let request = Request::Bind { to: agent, permit };
                let use_ = QueryUse::Channel { link, agent };
                self.links.ask_one(now.instant, link, request, use_);
            }
        }
    }

    /// Whether a channel to the agent may still come.
    pub(crate) fn is_asking_for_channel(&self, agent: &AgentId) -> bool {
        self.relaying.asked.iter().any(|(_, asked)| asked == agent)
    }

    /// A rendezvous gave a channel, or has none to give.
    pub(crate) fn channel_answered(
        &mut self,
        now: Now,
        (link, agent): (usize, AgentId),
        response: &Result<Response, RequestError>,
    ) {
        self.relaying.asked.remove(&(link, agent));
        let &Ok(Response::Bound(channel)) = response else {
            self.channel_refused(&agent);
            return;
        };
        if let Some(relay) = self.rendezvous_addr(link).map(RelayAddr) {
            self.try_channel(now, agent, PathId::Relay { relay, channel });
        }
    }

    /// Uses a channel for the handshake that waits for a path.
    fn try_channel(&mut self, now: Now, agent: AgentId, path: PathId) {
        if self.endpoint.is_connecting(&agent) {
            self.endpoint.add_path(now.instant, &agent, path);
            return;
        }
        let session = self.table.by_agent(&agent);
        let is_live = session.is_some_and(|session| {
            session.silent_since.is_none() && !session.transport.is_closing()
        });
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
    ) {
        let PeerAddr(addr) = relay.remote;
        if !self.links.has_addr(&addr) {
            self.output.drops.count("relay_unknown");
            return;
        }
        let Ok(RelayFrame { channel, .. }) = RelayFrame::decode(data) else {
            self.output.drops.count("relay_malformed");
            return;
        };
        let path = PathId::Relay {
            relay: RelayAddr(addr),
            channel,
        };
        let packet = &mut data[RelayFrame::HEAD..];
        if PacketKind::of(packet).is_some_and(PacketKind::is_of_session) {
            self.handle_session_packet(now, path, ecn, packet);
        } else {
            self.output.drops.count("relay_payload");
        }
    }
}
