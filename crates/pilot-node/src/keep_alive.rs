//! Silence between an agent and its rendezvous: as long as what lies between bears.

use std::time::Duration;

use pilot_nat::NatPatience;
use pilot_transport::KeepAlive;
use pilot_wire::KeepAlive as KeepAliveFrame;

use crate::event::SessionKey;
use crate::links::KEEP_ALIVE;
use crate::node::Node;
use crate::now::Now;
use crate::paths::KEEP_ALIVE_FRAME;
use crate::peer_session::Class;

impl Node {
    /// Seconds of silence after which our rendezvous are heard from or hear from us: what our NAT bears, as far as is known.
    #[must_use]
    pub fn keep_alive_secs(&self) -> Option<u16> {
        self.links.patience().map(NatPatience::seconds)
    }

    /// A session with a rendezvous began, or how long it may be silent changed: both ends are told.
    pub(crate) fn keep_link_alive(&mut self, now: Now, index: usize) {
        let patience = self.links.patience_of(index).clone();
        let Some(key) = self.link_session(index) else {
            return;
        };
        let Some(session) = self.session_mut(key) else {
            return;
        };
        let seconds = patience.seconds();
        let transport = &mut session.transport;
        transport.set_keep_alive(now.instant, KeepAlive::Always(patience.ours()));
        let body = KeepAliveFrame { seconds }.encode();
        if let Err(error) = transport.send_extension(now.instant, KEEP_ALIVE_FRAME, body) {
            tracing::debug!(%error, "keep-alive not told");
        }
        self.keep_peers_alive(now);
    }

    /// Open streams keep their sessions alive, more often than else if our NAT forgets that soon.
    fn keep_peers_alive(&mut self, now: Now) {
        for key in self.table.keys() {
            self.keep_peer_alive(now, key);
        }
    }

    /// A session with an agent is kept alive while streams are open; with one that is a relay for us always, for others reach us by it.
    pub(crate) fn keep_peer_alive(&mut self, now: Now, key: SessionKey) {
        let patience = self.links.patience().map(NatPatience::theirs);
        let interval = patience.map_or(KEEP_ALIVE, |patience| patience.min(KEEP_ALIVE));
        let agent = self.table.get(key).map(|session| session.agent);
        let is_relay = agent.is_some_and(|agent| self.relaying.is_relay(&agent));
        if let Some(session) = self.session_mut(key)
            && session.class == Class::Peer
        {
            let keep_alive = if is_relay {
                KeepAlive::Always(interval)
            } else {
                KeepAlive::WithStreams(interval)
            };
            session.transport.set_keep_alive(now.instant, keep_alive);
        }
    }

    /// A silence with a rendezvous ended after so long by its word, or by ours.
    pub(crate) fn link_rested(&mut self, now: Now, key: SessionKey, rest: Option<Duration>) {
        let Some(Class::Rendezvous(index)) = self.table.get(key).map(|session| session.class)
        else {
            return;
        };
        let patience = self.links.patience_of(index);
        let has_changed = match rest {
            Some(rest) => patience.handle_rested(rest),
            None => patience.handle_unheard(),
        };
        if has_changed {
            tracing::debug!(seconds = patience.seconds(), "keep-alive changed");
            self.keep_link_alive(now, index);
        }
    }

    /// We are elsewhere: what another NAT bore says nothing.
    pub(crate) fn forget_patience(&mut self, now: Now) {
        for index in self.links.forget_patience() {
            self.keep_link_alive(now, index);
        }
    }

    /// An agent wants to be pinged after another silence than others.
    pub(crate) fn take_keep_alive(&mut self, now: Now, key: SessionKey, body: &[u8]) {
        let Ok(KeepAliveFrame { seconds }) = KeepAliveFrame::decode(body) else {
            self.output.drops.count("keep_alive_malformed");
            return;
        };
        if let Some(session) = self.session_mut(key)
            && session.class == Class::Client
        {
            let interval = NatPatience::clamp(seconds);
            let keep_alive = KeepAlive::Always(interval);
            session.transport.set_keep_alive(now.instant, keep_alive);
        }
    }
}
