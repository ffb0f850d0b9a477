//! Other keys while running: our own, and those of the agents that we know.

use std::collections::BTreeMap;
use std::time::Duration;

use pilot_session::LocalKeys;
use pilot_trust::{Identity, LogError, PinError, VerifiedLog};
use pilot_types::AgentId;
use pilot_wire::{ErrorCode, KeyStanding, SignedBytes, encode_postcard, limits};
use thiserror::Error;

use crate::event::{DialError, Event, LinkState, SessionKey};
use crate::handshakes::Connecting;
use crate::log_cache::place;
use crate::node::Node;
use crate::now::Now;
use crate::peer_session::Class;
use crate::reconnects::LastSession;
use crate::trust_port::TrustMessage;
use crate::written::Held;

/// How long who dials by the session key that we rotated away is still answered, unless we end before. A key that a recovery replaced
/// answers nobody.
const OLD_KEY_ANSWERS: Duration = Duration::from_secs(24 * 3600);
/// Agents whose word on our key is remembered: the first ones, 40 bytes each.
const MAX_STANDINGS: usize = 64;

/// Why other keys are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeysRefused {
    /// They are another agent's.
    #[error("these are another agent's keys")]
    OtherAgent,
    /// Their log does not go on where ours ends.
    #[error("these keys do not follow the ones in use")]
    NotNewer,
}

/// What others make of our key, and how far a change of it is.
#[derive(Default)]
pub(crate) struct OwnKeys {
    /// Whether the keys are others than at the start: who was away in the meantime is told.
    is_changed: bool,
    /// Who refused our key and why. At most [`MAX_STANDINGS`].
    standings: BTreeMap<AgentId, KeyStanding>,
    /// Which part of a log that does not fit into one hello goes to whom next; bounded as handshakes under way are.
    parts: BTreeMap<AgentId, usize>,
}

impl Node {
    /// Takes other keys of the same agent, which are on disk already. Registries and peers are told, what we gave is signed anew, sessions go on,
    /// and who dials by the session key of before is answered for a day. After a recovery sessions begin anew, and the old key answers nobody:
    /// a thief may have been in our place.
    ///
    /// # Errors
    /// [`KeysRefused`]; nothing changed.
    pub fn change_keys(&mut self, now: Now, identity: Identity) -> Result<(), KeysRefused> {
        if identity.agent() != self.agent() {
            return Err(KeysRefused::OtherAgent);
        }
        let (old, new) = (self.identity.verified(), identity.verified());
        if old == new || !old.is_followed_by(new) {
            return Err(KeysRefused::NotNewer);
        }
        let is_recovery = new.generation() > old.generation();
        let local = LocalKeys {
            agent: identity.agent(),
            dh_secret: identity.dh_secret(),
        };
        let left = if is_recovery {
            self.leave_all(now)
        } else {
            vec![]
        };
        self.identity = identity;
        self.keys.is_changed = true;
        self.keys.standings.clear();
        let until = (!is_recovery).then(|| now.instant + OLD_KEY_ANSWERS);
        let dialled = self.endpoint.replace_keys(local, until);
        self.relaying.own_key_changed();
        self.trust.sign_again(now.unix, &self.identity);
        self.drain_trust(now);
        for (agent, paths) in dialled {
            if let Some(Connecting { log, class }) = self.hellos.connecting.remove(&agent) {
                self.start_handshake(now, &log, class, &paths);
            }
        }
        // What was signed anew is written before anybody sees it.
        self.output.written.hold(Held::OwnKeys);
        for session in left {
            self.reconnects.add(now.instant, session);
        }
        self.handle_reconnect_timeouts(now);
        self.drain(now);
        Ok(())
    }

    /// Forgets all sessions without a word, and gives those with agents: the other ends may have ours or a thief's, and begin a new one with
    /// the next handshake.
    fn leave_all(&mut self, now: Now) -> Vec<LastSession> {
        let mut left = vec![];
        for key in self.table.keys() {
            if let Some(session) = self.table.get(key) {
                left.extend((session.class == Class::Peer).then(|| session.last_seen()));
            }
            self.forget_session(now, key, ErrorCode::PEER_RESTARTED);
        }
        left
    }

    /// What was signed anew is on disk: everybody is told.
    pub(crate) fn tell_own_keys(&mut self, now: Now) {
        self.links.own_key_changed(now.instant);
        self.announce_all(now);
        for key in self.table.keys() {
            self.tell_identity(now, key);
        }
    }

    /// Tells a peer our keys, if they changed since the start: it may have dialled by those of before.
    pub(crate) fn tell_identity_if_changed(&mut self, now: Now, key: SessionKey) {
        if self.keys.is_changed {
            self.tell_identity(now, key);
        }
    }

    fn tell_identity(&mut self, now: Now, key: SessionKey) {
        let Some(session) = self.table.get(key) else {
            return;
        };
        if !matches!(session.class, Class::Peer | Class::Stranger) || session.transport.is_closing()
        {
            return;
        }
        let agent = session.agent;
        let body = encode_postcard(&TrustMessage::Identity {
            log: self.identity.log().entries().to_vec(),
            grant: self.trust.given_grant(&agent).cloned(),
            record: Some(self.own_record(now)),
        });
        if self.start_trust_message(now, agent, body).is_err() {
            tracing::debug!(%agent, "too much at a time: the peer learns our keys by the next handshake");
        }
    }

    /// A peer has other keys, and perhaps a grant by them.
    pub(crate) fn take_identity(
        &mut self,
        now: Now,
        known: &VerifiedLog,
        (entries, grant, record): (&[Vec<u8>], Option<&SignedBytes>, Option<&SignedBytes>),
    ) {
        let is_bounded = entries.len() <= limits::MAX_LOG_ENTRIES
            && entries
                .iter()
                .all(|entry| entry.len() <= limits::MAX_LOG_ENTRY);
        if !is_bounded {
            self.output.drops.count("identity_refused");
            return;
        }
        let newest = self.known_log(&known.agent()).unwrap_or(known).clone();
        match newest.extend(entries) {
            Ok(log) => {
                self.take_log(&log);
                if let Some(grant) = grant {
                    self.take_grant(now, grant, &log, record);
                }
            }
            Err(error) => self.log_refused(&newest.agent(), &error),
        }
    }

    /// A verified log of an agent: everything that is kept of it goes on with its newest keys.
    pub(crate) fn take_log(&mut self, log: &VerifiedLog) {
        let agent = log.agent();
        let before = self.known_log(&agent).map(place);
        match self.trust.update_log(log.clone()) {
            Ok(()) | Err(PinError::Old) => {}
            Err(PinError::Log(error)) => return self.log_refused(&agent, &error),
            Err(error) => tracing::debug!(%agent, %error, "identity log not pinned"),
        }
        self.directory.take_log(log);
        if before.is_some_and(|before| before < place(log)) {
            self.hellos.seen.forget(&agent);
            // Permits follow from its key.
            self.relaying.changed();
        }
        let Some(key) = self.table.key_of(&agent) else {
            return;
        };
        if let Some(session) = self.table.get_mut(key)
            && let Ok(merged) = session.log.merged(log)
            && merged != session.log
        {
            tracing::info!(%agent, generation = merged.generation(), sequence = merged.sequence(), "the peer has other keys");
            session.log = merged;
            session.freshness = 0;
            self.output.event(Event::KeysChanged(agent));
        }
    }

    /// Entries of a log that do not follow what is known; two at one place freeze the agent.
    pub(crate) fn log_refused(&mut self, agent: &AgentId, error: &LogError) {
        self.output.drops.count("identity_refused");
        if matches!(error, LogError::Fork { .. }) && self.trust.note_fork(agent) {
            tracing::warn!(%agent, "two different keys at one place of its log: the agent is frozen until it recovers");
        }
    }

    /// An agent refused our key.
    pub(crate) fn key_refused(&mut self, now: Now, by: AgentId, standing: KeyStanding) {
        tracing::error!(%by, standing = standing.0, "our key is refused");
        if self.keys.standings.len() < MAX_STANDINGS {
            self.keys.standings.insert(by, standing);
        }
        for dial in self.dials.connecting_to(&by) {
            self.fail_dial(dial, DialError::KeyRefused { standing });
        }
        match self.table.key_of(&by) {
            Some(key) => self.forget_session(now, key, ErrorCode::SUPERSEDED),
            None => self.endpoint.close(&by),
        }
        if let Some(url) = self.links.refused_key(&by) {
            let state = LinkState::Refused;
            self.output.event(Event::Link { url, state });
        }
        self.reconnects.remove(&by);
        self.output.event(Event::KeyRefused { by, standing });
    }

    /// Whether an agent is a rendezvous of ours.
    #[must_use]
    pub fn is_rendezvous(&self, agent: &AgentId) -> bool {
        self.links.find(agent).is_some()
    }

    /// Whether a rendezvous of ours says that our key is not the agent's, or not the only one: another one signed by it would contradict those
    /// that others know. The word of a peer is not enough, for it would keep us from changing the key.
    #[must_use]
    pub fn refusing_rendezvous(&self) -> Option<KeyStanding> {
        let standings = self.keys.standings.iter();
        let mut refusals = standings.filter(|(agent, _)| self.is_rendezvous(agent));
        refusals.next().map(|(_, standing)| *standing)
    }

    /// Why an agent refused our key, where the session with it ended for that.
    pub(crate) fn refused_by(&self, agent: &AgentId) -> KeyStanding {
        let standing = self.keys.standings.get(agent).copied();
        standing.unwrap_or(KeyStanding::SUPERSEDED)
    }

    /// The worst that others said of our key since it is in use, and who said so; the word of a rendezvous before that of peers.
    #[must_use]
    pub fn key_standing(&self) -> Option<(AgentId, KeyStanding)> {
        let is_link = |agent: &AgentId| self.links.find(agent).is_some();
        let standings = self.keys.standings.iter();
        let worst = standings.max_by_key(|(agent, standing)| (**standing, is_link(agent)));
        worst.map(|(agent, standing)| (*agent, *standing))
    }

    /// Entries of our log for a hello with `room` bytes for them: the newest, and where more are needed, all of them in turn, one part a
    /// hello, so that who knows nothing of us has all after as many.
    pub(crate) fn hello_entries(&mut self, agent: &AgentId, room: usize) -> Vec<Vec<u8>> {
        let entries = self.identity.log().entries();
        let newest = fitting(entries.iter().rev(), room);
        if newest == entries.len() {
            self.keys.parts.remove(agent);
            return entries.to_vec();
        }
        let part = self.keys.parts.get(agent).copied();
        let next = part.map_or(Some(0), |from| {
            let len = fitting(entries[from.min(entries.len())..].iter(), room).max(1);
            (from + len < entries.len()).then_some(from + len)
        });
        if self.keys.parts.len() >= MAX_PARTS_UNDER_WAY && !self.keys.parts.contains_key(agent) {
            self.keys.parts.pop_first();
        }
        match next {
            Some(next) => drop(self.keys.parts.insert(*agent, next)),
            None => drop(self.keys.parts.remove(agent)),
        }
        match part {
            None => entries[entries.len() - newest..].to_vec(),
            Some(from) => {
                let rest = &entries[from.min(entries.len())..];
                rest[..fitting(rest.iter(), room)].to_vec()
            }
        }
    }

    /// The agent answered a hello of ours: it knows our log.
    pub(crate) fn log_is_known_to(&mut self, agent: &AgentId) {
        self.keys.parts.remove(agent);
    }
}

/// Agents that are told our log in parts at a time.
const MAX_PARTS_UNDER_WAY: usize = 1024;

/// How many entries fit into a hello.
fn fitting<'a>(entries: impl Iterator<Item = &'a Vec<u8>>, room: usize) -> usize {
    // A length of two bytes before each.
    let mut left = room;
    entries
        .take(limits::MAX_HELLO_ENTRIES)
        .take_while(|entry| {
            let fits = entry.len() + 2 <= left;
            left = left.saturating_sub(entry.len() + 2);
            fits
        })
        .count()
}
