//! All sessions of a node: which are due, which have something to send, and why the last ones ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use pilot_types::{AgentId, Deadline};
use pilot_wire::ErrorCode;

use crate::event::SessionKey;
use crate::peer_session::PeerSession;

/// Ended sessions whose code is remembered, so that a late call learns why: 24 bytes each.
const MAX_ENDED: usize = 1024;

/// The live sessions, at most one for each agent.
#[derive(Default)]
pub(crate) struct SessionTable {
    sessions: BTreeMap<SessionKey, PeerSession>,
    by_agent: BTreeMap<AgentId, SessionKey>,
    next_key: u64,
    /// Sessions whose transport may have packets.
    ready: BTreeSet<SessionKey>,
    /// Where round robin stands.
    cursor: Option<SessionKey>,
    deadlines: BTreeSet<(Instant, SessionKey)>,
    armed: BTreeMap<SessionKey, Instant>,
    ended: VecDeque<(SessionKey, ErrorCode)>,
}

impl SessionTable {
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn next_key(&mut self) -> SessionKey {
        self.next_key += 1;
        SessionKey(self.next_key)
    }

    /// Adds a session; the agent must have none.
    pub(crate) fn insert(&mut self, session: PeerSession) {
        let (key, agent) = (session.key, session.agent);
        self.by_agent.insert(agent, key);
        self.sessions.insert(key, session);
        self.touch(key);
    }

    pub(crate) fn remove(&mut self, key: SessionKey, code: ErrorCode) -> Option<PeerSession> {
        let session = self.sessions.remove(&key)?;
        self.by_agent.remove(&session.agent);
        self.ready.remove(&key);
        if let Some(at) = self.armed.remove(&key) {
            self.deadlines.remove(&(at, key));
        }
        if self.ended.len() == MAX_ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back((key, code));
        Some(session)
    }

    pub(crate) fn get(&self, key: SessionKey) -> Option<&PeerSession> {
        self.sessions.get(&key)
    }

    /// For a call that may change the session: it counts as touched.
    pub(crate) fn get_mut(&mut self, key: SessionKey) -> Option<&mut PeerSession> {
        let session = self.sessions.get_mut(&key)?;
        self.ready.insert(key);
        Some(session)
    }

    /// For a call that says by itself whether the session may have packets now; an error is why it ended.
    pub(crate) fn live(&mut self, key: SessionKey) -> Result<&mut PeerSession, ErrorCode> {
        let session = self.sessions.get_mut(&key);
        let session = session.ok_or_else(|| code_of(&self.ended, key))?;
        session.closed.map_or(Ok(session), Err)
    }

    pub(crate) fn key_of(&self, agent: &AgentId) -> Option<SessionKey> {
        self.by_agent.get(agent).copied()
    }

    pub(crate) fn by_agent(&self, agent: &AgentId) -> Option<&PeerSession> {
        self.get(self.key_of(agent)?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &PeerSession> {
        self.sessions.values()
    }

    pub(crate) fn keys(&self) -> Vec<SessionKey> {
        self.sessions.keys().copied().collect()
    }

    /// Why a session that is gone ended.
    pub(crate) fn ended_code(&self, key: SessionKey) -> ErrorCode {
        code_of(&self.ended, key)
    }

    /// The session may have packets to send.
    pub(crate) fn touch(&mut self, key: SessionKey) {
        self.ready.insert(key);
    }

    /// The next session that may have packets, in turn.
    pub(crate) fn next_ready(&mut self) -> Option<SessionKey> {
        let after = self.cursor.and_then(|cursor| {
            use std::ops::Bound::{Excluded, Unbounded};
            self.ready.range((Excluded(cursor), Unbounded)).next()
        });
        let key = *after.or_else(|| self.ready.first())?;
        self.cursor = Some(key);
        Some(key)
    }

    /// The session has nothing more to send: only its timer wakes it.
    pub(crate) fn settle(&mut self, key: SessionKey) {
        let deadline = self.sessions.get(&key).and_then(PeerSession::poll_timeout);
        self.rest_until(key, deadline.map(|deadline| deadline.at));
    }

    /// The session sends nothing before `at`.
    pub(crate) fn rest_until(&mut self, key: SessionKey, at: Option<Instant>) {
        self.ready.remove(&key);
        let before = self.armed.get(&key).copied();
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.deadlines.remove(&(before, key));
            self.armed.remove(&key);
        }
        if let Some(at) = at {
            self.deadlines.insert((at, key));
            self.armed.insert(key, at);
        }
    }

    /// Takes a session whose timer is due.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<SessionKey> {
        let (at, key) = *self.deadlines.first()?;
        if at > now {
            return None;
        }
        self.deadlines.remove(&(at, key));
        self.armed.remove(&key);
        Some(key)
    }

    /// The earliest timer; sessions that may have packets are due at once and are the caller's to ask for.
    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        self.deadlines.first().map(|(at, _)| Deadline {
            at: *at,
            timer: "transport",
        })
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }
}

fn code_of(ended: &VecDeque<(SessionKey, ErrorCode)>, key: SessionKey) -> ErrorCode {
    let found = ended.iter().rev().find(|(ended, _)| *ended == key);
    found.map_or(ErrorCode::CANCELLED, |(_, code)| *code)
}
