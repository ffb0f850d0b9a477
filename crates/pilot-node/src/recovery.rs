//! Sessions that were lost without a word: noticing it, and coming together again.

use std::time::Duration;

use pilot_registry::{LookupTarget, Request};
use pilot_types::{AgentId, PathId};
use pilot_wire::{ErrorCode, limits};

use crate::directory::PeerEntry;
use crate::event::{Event, Persist, QueryError, SessionKey};
use crate::links::QueryUse;
use crate::node::Node;
use crate::now::Now;
use crate::peer_session::{Class, PeerSession};
use crate::reconnects::{LastSession, MAX_RECONNECTING};

/// How long streams outlive the silence of their peer: an outage of the network is often shorter, and somebody waits for
/// what was written. The attempts to reconnect go on after that.
const STREAM_PATIENCE: Duration = Duration::from_secs(30);

impl Node {
    /// Data is in flight and the peer is silent: is it restarted, moved, or gone?
    pub(crate) fn peer_silent(&mut self, now: Now, key: SessionKey) {
        let Some(session) = self.table.get_mut(key) else {
            return;
        };
        if session.silent_since.is_some() || session.transport.is_closing() {
            return;
        }
        session.silent_since = Some(now.instant);
        if let Some(paths) = &mut session.paths {
            paths.handle_silent(now.instant);
        }
        let (agent, class) = (session.agent, session.class);
        let lost = session.last_seen();
        tracing::debug!(%agent, "the peer is silent");
        match class {
            Class::Peer => {
                self.reconnects.add(now.instant, lost);
                self.handle_reconnect_timeouts(now);
            }
            // A rendezvous is tried again by its link; an agent comes back to its rendezvous by itself.
            Class::Rendezvous(_) | Class::Client | Class::Stranger => self.rehandshake(now, agent),
        }
    }

    /// The attempts that are due, and the list for the next start.
    pub(crate) fn handle_reconnect_timeouts(&mut self, now: Now) {
        while let Some(agent) = self.reconnects.take_due(now.instant) {
            self.reconnect(now, agent);
        }
    }

    /// One attempt: a fresh handshake wherever the agent may be, in place of one that was not answered.
    fn reconnect(&mut self, now: Now, agent: AgentId) {
        let is_rendezvous = self.links.find(&agent).is_some();
        if is_rendezvous || !self.trust.is_granted_by(now.unix, &agent) {
            self.reconnects.remove(&agent);
            return;
        }
        if let Some(session) = self.table.by_agent(&agent) {
            match session.silent_since {
                None => {
                    self.reconnects.remove(&agent);
                    return;
                }
                Some(since) if now.instant >= since + STREAM_PATIENCE => {
                    let key = session.key;
                    self.forget_session(now, key, ErrorCode::IDLE_TIMEOUT);
                }
                Some(_) => {}
            }
        }
        let Some(log) = self.known_log(&agent).cloned() else {
            return self.ask_for_reconnect(now, agent);
        };
        let paths = self.paths_to(&agent);
        if !paths.is_empty() {
            self.start_handshake(now, &log, Class::Peer, &paths);
        }
        self.ask_for_channels(now, &log);
        self.ask_for_reconnect(now, agent);
    }

    /// The path of a live session, then the agent's known addresses.
    pub(crate) fn paths_to(&self, agent: &AgentId) -> Vec<PathId> {
        let session = self.table.by_agent(agent);
        let mut paths: Vec<PathId> = session
            .map(|session| session.transport.path())
            .into_iter()
            .collect();
        let seen = self.reconnects.address(agent);
        let seen = seen.and_then(|addr| self.place.path_to(addr));
        for path in seen.into_iter().chain(self.candidate_paths(agent)) {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        paths.truncate(limits::MAX_CANDIDATES);
        paths
    }

    /// Asks where the agent is now: it may be back elsewhere.
    fn ask_for_reconnect(&mut self, now: Now, agent: AgentId) {
        if !self.reconnects.begin_question(&agent) {
            return;
        }
        let request = Request::Lookup {
            target: LookupTarget::Agent(agent),
        };
        let use_ = QueryUse::Reconnect(agent);
        if !self.links.ask(now.instant, request, use_) {
            self.reconnects.end_question(&agent);
        }
    }

    /// The registry answered where an agent is: the handshake goes there too.
    pub(crate) fn reconnect_answered(
        &mut self,
        now: Now,
        agent: AgentId,
        entry: Result<PeerEntry, QueryError>,
    ) {
        if !self.reconnects.end_question(&agent) {
            return;
        }
        let Some(entry) = entry.ok().filter(|entry| entry.agent == agent) else {
            return;
        };
        self.learn(now, &entry);
        let log = self.known_log(&agent).unwrap_or(&entry.log).clone();
        let paths = self.paths_to(&agent);
        if self.is_connecting_to(&log) {
            for path in paths {
                self.endpoint.add_path(now.instant, &agent, path);
            }
        } else if !paths.is_empty() {
            self.start_handshake(now, &log, Class::Peer, &paths);
        }
    }

    /// Has the list of agents that the next start dials written, if it changed.
    pub(crate) fn write_session_list(&mut self, now: Now) {
        if !self.reconnects.is_list_due(now.instant) {
            return;
        }
        let live = self.table.iter().filter(|session| {
            let is_agent = matches!(session.class, Class::Peer | Class::Stranger);
            is_agent
                && !session.transport.is_closing()
                && self.trust.is_granted_by(now.unix, &session.agent)
        });
        let mut list: Vec<LastSession> = live.map(PeerSession::last_seen).collect();
        list.extend(self.reconnects.iter());
        list.sort_unstable();
        list.dedup_by_key(|session| session.agent);
        list.truncate(MAX_RECONNECTING);
        if let Some(list) = self.reconnects.take_list(now.instant, list) {
            self.output.event(Event::Persist(Persist::Sessions(list)));
        }
    }
}
