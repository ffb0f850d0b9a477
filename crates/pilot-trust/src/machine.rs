//! The trust machine's state, and what all its operations share.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use pilot_types::{AgentId, UnixTime};
use pilot_wire::{Grant, KnockTarget, Scope, SignedBytes, Statement};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::Config;
use crate::deadlines::Deadlines;
use crate::event::TrustEvent;
use crate::group::{Group, Groups};
use crate::identity::Identity;
use crate::item::{Item, ItemKey, TrustChange, TrustItem};
use crate::knock::{Knocker, SentKnock};
use crate::log::{LogError, VerifiedLog};
use crate::peer::{HeldGrant, LearntBy, Peer};

/// How long a grant lasts that a command made which only wanted an answer.
const REPLY_ONLY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// What an approval allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// What the other side may do.
    pub scope: Scope,
    /// When it ends; [`UnixTime::FAR_FUTURE`] for never.
    pub not_after: UnixTime,
    /// Whether the other side's grant is not wanted back.
    pub one_way: bool,
}

impl Terms {
    /// Answers to outstanding requests and nothing else, for a day.
    #[must_use]
    pub fn reply_only(now: UnixTime) -> Self {
        Self {
            scope: Scope::reply_only(),
            not_after: now.plus(REPLY_ONLY_LIFETIME),
            one_way: false,
        }
    }

    pub(crate) fn are_valid(&self, now: UnixTime) -> bool {
        self.scope.is_well_formed() && !self.scope.is_revocation() && self.not_after > now
    }
}

/// Why a log does not fit what is pinned of its agent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PinError {
    /// A newer log is known: this one's key is not the current one.
    #[error("a newer identity log is known")]
    Old,
    /// The agent's key is compromised; only a recovery ends that.
    #[error("the agent's key is compromised")]
    Frozen,
    /// It is longer than there is room for.
    #[error("no room for a longer identity log")]
    Full,
    /// It contradicts the pinned log.
    #[error("identity log does not extend the pinned one")]
    Log(#[source] LogError),
}

/// Who is trusted with what: knocks, grants and pins of one agent.
#[derive(Clone, Debug)]
pub struct Trust {
    pub(crate) config: Arc<Config>,
    pub(crate) agent: AgentId,
    /// At most `max_peers`.
    pub(crate) peers: BTreeMap<AgentId, Peer>,
    /// At most `max_pending`, those rejected included.
    pub(crate) pending: BTreeMap<AgentId, Knocker>,
    /// At most `max_sent`.
    pub(crate) sent: BTreeMap<KnockTarget, SentKnock>,
    /// At most `max_tickets`: hash of the secret, end.
    pub(crate) tickets: BTreeMap<[u8; 32], UnixTime>,
    pub(crate) groups: Groups,
    last_serial: u64,
    deadlines: Deadlines,
    /// Items to write; one entry for each, however often it changes.
    dirty: BTreeSet<ItemKey>,
    events: VecDeque<TrustEvent>,
}

impl Trust {
    /// Trusts nobody.
    #[must_use]
    pub fn new(config: Arc<Config>, agent: AgentId) -> Self {
        Self {
            config,
            agent,
            peers: BTreeMap::new(),
            pending: BTreeMap::new(),
            sent: BTreeMap::new(),
            tickets: BTreeMap::new(),
            groups: Groups::default(),
            last_serial: 0,
            deadlines: Deadlines::default(),
            dirty: BTreeSet::new(),
            events: VecDeque::new(),
        }
    }

    /// As it was when the items were written.
    #[must_use]
    pub fn restore(
        config: Arc<Config>,
        agent: AgentId,
        items: impl IntoIterator<Item = TrustItem>,
    ) -> Self {
        let mut trust = Self::new(config, agent);
        for TrustItem(item) in items {
            trust.restore_item(*item);
        }
        trust.dirty.clear();
        trust
    }

    fn restore_item(&mut self, item: Item) {
        let key = match item {
            Item::Sent(knock) => {
                self.last_serial = self.last_serial.max(knock.serial);
                let target = knock.target.clone();
                self.sent.insert(target.clone(), knock);
                ItemKey::Sent(target)
            }
            Item::Pending(knocker) => {
                let agent = knocker.log.agent();
                self.pending.insert(agent, knocker);
                ItemKey::Pending(agent)
            }
            Item::Peer(peer) => {
                let agent = peer.log.agent();
                let given = peer.given.as_ref().map_or(0, |grant| grant.serial);
                self.last_serial = self.last_serial.max(given);
                self.peers.insert(agent, *peer);
                ItemKey::Peer(agent)
            }
            Item::Ticket(hash, not_after) => {
                self.tickets.insert(hash, not_after);
                ItemKey::Ticket(hash)
            }
            Item::Group(group) => ItemKey::Group(self.groups.restore(*group)),
            Item::Invitation(held) => ItemKey::Invitation(self.groups.restore_invitation(held)),
        };
        self.touch(key);
    }

    /// The next write that the shell has to make durable.
    pub fn poll_persist(&mut self) -> Option<TrustChange> {
        let key = self.dirty.pop_first()?;
        let bytes = key.encode();
        Some(match self.item(&key) {
            Some(item) => TrustChange::Put(bytes, TrustItem(Box::new(item))),
            None => TrustChange::Delete(bytes),
        })
    }

    fn item(&self, key: &ItemKey) -> Option<Item> {
        match key {
            ItemKey::Sent(target) => self.sent.get(target).cloned().map(Item::Sent),
            ItemKey::Pending(agent) => self.pending.get(agent).cloned().map(Item::Pending),
            ItemKey::Peer(agent) => {
                let peer = self.peers.get(agent).cloned();
                peer.map(|peer| Item::Peer(Box::new(peer)))
            }
            ItemKey::Ticket(hash) => {
                let not_after = self.tickets.get(hash);
                not_after.map(|at| Item::Ticket(*hash, *at))
            }
            ItemKey::Group(group) => {
                let group = self.groups.get(group).cloned();
                group.map(|group| Item::Group(Box::new(group)))
            }
            ItemKey::Invitation(group) => {
                self.groups.invitation(group).cloned().map(Item::Invitation)
            }
        }
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<TrustEvent> {
        self.events.pop_front()
    }

    /// When [`Self::handle_time`] has something to do.
    #[must_use]
    pub fn poll_timeout_unix(&self) -> Option<UnixTime> {
        self.deadlines.next()
    }

    /// Forgets knocks and secrets whose time is over, and tells which grants have ended. Early and repeated calls do nothing.
    pub fn handle_time(&mut self, now: UnixTime) {
        while let Some(key) = self.deadlines.take_due(now) {
            match &key {
                ItemKey::Sent(target) => {
                    self.sent.remove(target);
                }
                ItemKey::Pending(agent) => {
                    self.pending.remove(agent);
                }
                ItemKey::Ticket(hash) => {
                    self.tickets.remove(hash);
                }
                ItemKey::Peer(agent) => self.end_grants(*agent, now),
                ItemKey::Group(group) => self.end_group(now, *group),
                ItemKey::Invitation(group) => {
                    self.forget_invitation(group);
                }
            }
            self.touch(key);
        }
    }

    fn end_grants(&mut self, agent: AgentId, now: UnixTime) {
        let Some(peer) = self.peers.get_mut(&agent) else {
            return;
        };
        let (given, received) = peer.note_ends(now);
        if given {
            self.emit(TrustEvent::Untrusted {
                agent,
                by_peer: false,
            });
        }
        if received {
            self.emit(TrustEvent::Untrusted {
                agent,
                by_peer: true,
            });
        }
    }

    /// After a change of an item: it is to be written, and its moment is set anew.
    pub(crate) fn touch(&mut self, key: ItemKey) {
        let lifetime = self.config.knock_lifetime;
        let at = match &key {
            ItemKey::Sent(target) => self.sent.get(target).map(|k| k.issued.plus(lifetime)),
            ItemKey::Pending(agent) => {
                let knocker = self.pending.get(agent);
                knocker.map(|knocker| knocker.received_at.plus(lifetime))
            }
            ItemKey::Peer(agent) => self.peers.get(agent).and_then(Peer::deadline),
            ItemKey::Ticket(hash) => self.tickets.get(hash).copied(),
            ItemKey::Group(group) => self.groups.get(group).and_then(Group::next_end),
            ItemKey::Invitation(group) => self.groups.invitation(group).map(|held| held.not_after),
        };
        self.deadlines.set(key.clone(), at);
        self.dirty.insert(key);
    }

    pub(crate) fn emit(&mut self, event: TrustEvent) {
        self.events.push_back(event);
    }

    /// Signs with a serial above all before; counted from the time, so that a lost state does not repeat one.
    pub(crate) fn sign<S: Statement>(
        &mut self,
        now: UnixTime,
        identity: &Identity,
        not_after: UnixTime,
        body: &S,
    ) -> (u64, SignedBytes) {
        let serial = (self.last_serial + 1).max(now.as_millis());
        self.last_serial = serial;
        (serial, identity.sign(serial, now, not_after, body))
    }

    /// Terms of an approval that says nothing else: the default scope, for the configured time.
    #[must_use]
    pub fn default_terms(&self, now: UnixTime) -> Terms {
        let lifetime = self.config.approve_lifetime;
        Terms {
            scope: Scope::default_scope(),
            not_after: lifetime.map_or(UnixTime::FAR_FUTURE, |lifetime| now.plus(lifetime)),
            one_way: false,
        }
    }

    /// Signs and keeps a new grant for a peer that is in the table, whatever it is for.
    pub(crate) fn issue(&mut self, now: UnixTime, identity: &Identity, to: AgentId, terms: Terms) {
        let grant = Grant {
            grantee: to,
            scope: terms.scope,
            parent: None,
            depth: 0,
        };
        let (serial, raw) = self.sign(now, identity, terms.not_after, &grant);
        let held = HeldGrant {
            raw: raw.clone(),
            serial,
            generation: identity.verified().generation(),
            is_ended: grant.scope.is_revocation(),
            scope: grant.scope,
            not_after: terms.not_after,
        };
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.is_one_way = terms.one_way;
            peer.approved_at = now;
            peer.given = Some(held);
        }
        self.touch(ItemKey::Peer(to));
        self.emit(TrustEvent::GrantIssued { to, raw });
    }

    /// As [`Self::issue`] for a grant that allows something: a knock of theirs is answered by it, and trust may begin.
    pub(crate) fn grant(&mut self, now: UnixTime, identity: &Identity, to: AgentId, terms: Terms) {
        let before = self.peers.get(&to);
        let was_given = before.is_some_and(|peer| peer.live_given(now).is_some());
        let was_mutual = before.is_some_and(|peer| peer.is_mutual(now));
        self.issue(now, identity, to, terms);
        self.answer_pending(&to);
        if !was_mutual && self.is_mutual_by_grants(now, &to) {
            self.emit(TrustEvent::Trusted { agent: to });
        } else if was_given {
            self.emit(TrustEvent::ScopeChanged {
                agent: to,
                by_peer: false,
            });
        }
    }

    /// Drops a pending knock of a peer, and remembers that it was answered.
    pub(crate) fn answer_pending(&mut self, agent: &AgentId) {
        let Some(knocker) = self.pending.remove(agent) else {
            return;
        };
        self.touch(ItemKey::Pending(*agent));
        if let Some(peer) = self.peers.get_mut(agent) {
            peer.last_knock = peer.last_knock.max(knocker.serial);
            self.touch(ItemKey::Peer(*agent));
        }
    }

    /// The entry of an agent, made if there is room for it.
    pub(crate) fn peer_entry(
        &mut self,
        now: UnixTime,
        log: &VerifiedLog,
        learnt_by: LearntBy,
    ) -> Option<&mut Peer> {
        let agent = log.agent();
        if !self.peers.contains_key(&agent) && !self.has_log_room(log) {
            return None;
        }
        if !self.peers.contains_key(&agent) && self.peers.len() >= self.config.max_peers {
            let mut peers = self.peers.iter();
            let (forgotten, _) = peers.find(|(_, peer)| peer.is_forgettable(now))?;
            let forgotten = *forgotten;
            self.peers.remove(&forgotten);
            self.touch(ItemKey::Peer(forgotten));
        }
        let new = || Peer::new(log.clone(), learnt_by, now);
        Some(self.peers.entry(agent).or_insert_with(new))
    }

    /// Whether the log may be kept beside all others. Counted anew: new agents are rare beside the signatures that they cost.
    pub(crate) fn has_log_room(&self, log: &VerifiedLog) -> bool {
        let entries = |log: &VerifiedLog| log.log().entries().len();
        let peers: usize = self.peers.values().map(|peer| entries(&peer.log)).sum();
        let pending: usize = self
            .pending
            .values()
            .map(|knocker| entries(&knocker.log))
            .sum();
        peers + pending + entries(log) <= self.config.max_log_entries
    }

    /// Takes what a log adds to what is pinned of its agent, trusted or pending. Nothing is pinned of strangers.
    ///
    /// # Errors
    /// [`PinError`]. A fork freezes the agent: its grants and ours to it hold no more until it recovers.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the log becomes the pin; that it is copied into it is this machine's affair"
    )]
    pub fn update_log(&mut self, log: VerifiedLog) -> Result<(), PinError> {
        self.pin(&log)
    }

    /// Two entries of an agent's log contradict each other, as [`VerifiedLog::extend`] of what is pinned of it said: its grants and ours to it
    /// hold no more until it recovers. Whether that is news.
    pub fn note_fork(&mut self, agent: &AgentId) -> bool {
        let was_frozen = self.is_frozen(agent);
        let fork = LogError::Fork {
            generation: 0,
            sequence: 0,
        };
        self.freeze(*agent, fork);
        !was_frozen && self.is_frozen(agent)
    }

    /// After a change of our keys: signs what we gave with other keys anew, as far as it holds, our revocations, and what we said as an admin of
    /// groups. Each peer and registry is to be brought the grants ([`Self::given_grants`]).
    pub fn sign_again(&mut self, now: UnixTime, identity: &Identity) {
        let own = identity.verified();
        let is_ours = |given: &HeldGrant| {
            let envelope = given.raw.envelope();
            let head = envelope.map(|envelope| (envelope.head.generation, envelope.head.sequence));
            head.is_ok_and(|head| head == (own.generation(), own.sequence()))
        };
        let held = |peer: &Peer| {
            let given = peer.given.as_ref()?;
            let is_needed = !is_ours(given) && (given.is_live(now) || given.scope.is_revocation());
            is_needed.then(|| (given.scope.clone(), given.not_after))
        };
        let peers = self.peers.iter();
        let given: Vec<_> = peers
            .filter_map(|(agent, peer)| Some((*agent, held(peer)?)))
            .collect();
        for (to, (scope, not_after)) in given {
            let grant = Grant {
                grantee: to,
                scope,
                parent: None,
                depth: 0,
            };
            let (serial, raw) = self.sign(now, identity, not_after, &grant);
            let generation = identity.verified().generation();
            if let Some(given) = self.peers.get_mut(&to).and_then(|peer| peer.given.as_mut()) {
                (given.raw, given.serial, given.generation) = (raw, serial, generation);
            }
            self.touch(ItemKey::Peer(to));
        }
        let groups: Vec<_> = self.groups.iter().map(|group| group.set().id()).collect();
        for group in groups {
            let signed = self.sign_in_group(now, &group, |set| set.sign_again(now, identity));
            if let Err(error) = signed {
                tracing::warn!(%group, %error, "what was said in the group is not signed anew");
            }
        }
    }

    pub(crate) fn pin(&mut self, log: &VerifiedLog) -> Result<(), PinError> {
        let agent = log.agent();
        let pinned = self.peer_log(&agent);
        if pinned.is_some_and(|pinned| pinned != log) && !self.has_log_room(log) {
            return Err(PinError::Full);
        }
        if let Some(peer) = self.peers.get(&agent) {
            match peer.log.merged(log) {
                Ok(merged) => self.repin(agent, merged),
                Err(error) => return Err(self.freeze(agent, error)),
            }
        }
        if let Some(knocker) = self.pending.get_mut(&agent) {
            let merged = knocker.log.merged(log).map_err(PinError::Log)?;
            if knocker.log != merged {
                knocker.log = merged;
                self.touch(ItemKey::Pending(agent));
            }
        }
        let is_frozen = self.peers.get(&agent).is_some_and(|peer| peer.is_frozen);
        let is_old = self
            .peer_log(&agent)
            .is_some_and(|pinned| pinned.head() != log.head());
        match (is_frozen, is_old) {
            (true, _) => Err(PinError::Frozen),
            (false, true) => Err(PinError::Old),
            (false, false) => Ok(()),
        }
    }

    fn repin(&mut self, agent: AgentId, log: VerifiedLog) {
        let Some(peer) = self.peers.get_mut(&agent).filter(|peer| peer.log != log) else {
            return;
        };
        let recovered = log.generation() > peer.log.generation();
        peer.log = log;
        let mut is_void = false;
        if recovered {
            // What older generations signed may be the thief's.
            peer.is_frozen = false;
            peer.last_knock = 0;
            if let Some(received) = &mut peer.received {
                // One that is signed by the new key takes its place, whatever serial the thief gave his.
                is_void = !received.is_ended;
                (received.is_ended, received.serial) = (true, 0);
            }
            self.pending.remove(&agent);
            self.touch(ItemKey::Pending(agent));
        }
        self.touch(ItemKey::Peer(agent));
        if is_void {
            self.emit(TrustEvent::Untrusted {
                agent,
                by_peer: true,
            });
        }
    }

    fn freeze(&mut self, agent: AgentId, error: LogError) -> PinError {
        let peer = self.peers.get_mut(&agent);
        let is_fork = matches!(error, LogError::Fork { .. });
        if let Some(peer) = peer.filter(|peer| is_fork && !peer.is_frozen) {
            peer.is_frozen = true;
            self.touch(ItemKey::Peer(agent));
            self.emit(TrustEvent::Untrusted {
                agent,
                by_peer: false,
            });
        }
        PinError::Log(error)
    }
}
