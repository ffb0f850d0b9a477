//! Asking for trust, and being asked.

use pilot_types::{AgentId, Hostname, UnixTime};
use pilot_wire::limits::MAX_JUSTIFICATION;
use pilot_wire::{Knock, KnockTarget, SignedBytes};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::event::TrustEvent;
use crate::identity::Identity;
use crate::item::ItemKey;
use crate::log::VerifiedLog;
use crate::machine::{PinError, Terms, Trust};
use crate::peer::LearntBy;
use crate::statement::{EnvelopeError, Verified};

/// A knock of ours that waits for a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SentKnock {
    pub(crate) target: KnockTarget,
    pub(crate) raw: SignedBytes,
    pub(crate) serial: u64,
    pub(crate) issued: UnixTime,
    /// Of the grant that is signed back.
    pub(crate) terms: Terms,
    pub(crate) learnt_by: LearntBy,
}

/// An agent whose knock waits for us, or was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Knocker {
    #[serde(with = "crate::log::stored")]
    pub(crate) log: VerifiedLog,
    /// The name that the knock claims.
    pub(crate) claimed: Option<Hostname>,
    /// The name that its record claims.
    pub(crate) hostname: Option<Hostname>,
    pub(crate) justification: String,
    pub(crate) serial: u64,
    pub(crate) received_at: UnixTime,
    /// Kept so that the same knock does not come back.
    pub(crate) is_rejected: bool,
}

/// Somebody whose knock is approved.
pub(crate) struct Asker {
    log: VerifiedLog,
    serial: u64,
    hostname: Option<Hostname>,
    learnt_by: LearntBy,
}

/// A knock with everything that can be said in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnockRequest<'a> {
    /// For whom.
    pub target: KnockTarget,
    /// Why, at most [`MAX_JUSTIFICATION`] bytes.
    pub justification: &'a str,
    /// Our own name, to be claimed.
    pub hostname: Option<Hostname>,
    /// Of the grant that is signed back once theirs comes.
    pub terms: Terms,
    /// How we know of them.
    pub learnt_by: LearntBy,
}

/// What became of our knock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnockOutcome {
    /// To be brought to the target.
    Send(SignedBytes),
    /// Nothing is to be sent: trust holds, or their own knock was waiting here and is approved by this.
    AlreadyTrusted(AgentId),
}

/// Why a knock was not made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KnockError {
    /// The text is too long.
    #[error("justification of {0} bytes, at most {MAX_JUSTIFICATION} are sent")]
    TooLong(usize),
    /// It is for us.
    #[error("this is our own address")]
    Myself,
    /// The terms allow nothing, are malformed, or are over.
    #[error("the terms of a grant allow something and end later than now")]
    Terms,
    /// Too many knocks wait for an answer.
    #[error("{0} knocks wait for an answer")]
    Full(usize),
}

/// What to do with a knock that nothing else decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// A person decides.
    Ask,
    /// It is approved on these terms, unless trust with that agent was ended by hand.
    Approve(Terms),
}

/// What became of somebody's knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnockReceived {
    /// It waits for a person.
    Pending,
    /// It is granted: by the policy, by a knock of ours that crosses it, or since before (the grant is sent again).
    Approved,
    /// It was known: nothing changes.
    Repeated,
}

/// Why a knock is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KnockRefused {
    /// The statement is not what it should be.
    #[error("knock")]
    Envelope(#[from] EnvelopeError),
    /// The log is not what is pinned of the knocker.
    #[error("knocker's log")]
    Pin(#[from] PinError),
    /// It is for somebody else.
    #[error("knock for another agent")]
    NotForUs,
    /// We signed it.
    #[error("our own knock")]
    Myself,
    /// The text is too long.
    #[error("knock with too long a justification")]
    TooLong,
    /// It was made too long ago.
    #[error("knock made at {0}")]
    Old(UnixTime),
    /// Too many wait already.
    #[error("{0} knocks wait")]
    Full(usize),
}

impl Trust {
    /// Asks for trust on default terms; crossing requests approve each other.
    ///
    /// # Errors
    /// [`KnockError`]; nothing changed.
    #[expect(
        clippy::too_many_arguments,
        reason = "who, when, and the three words of a knock; `knock_with` takes them as a struct"
    )]
    pub fn knock(
        &mut self,
        now: UnixTime,
        identity: &Identity,
        target: KnockTarget,
        justification: &str,
        own_hostname: Option<Hostname>,
    ) -> Result<KnockOutcome, KnockError> {
        let learnt_by = match target {
            KnockTarget::Node(_) => LearntBy::Address,
            KnockTarget::Hostname(_) => LearntBy::Hostname,
            KnockTarget::Agent(_) => LearntBy::Key,
        };
        let request = KnockRequest {
            target,
            justification,
            hostname: own_hostname,
            terms: self.default_terms(now),
            learnt_by,
        };
        self.knock_with(now, identity, request)
    }

    /// Asks for trust. The grant that comes within the knock's lifetime is answered with ours, on the request's terms.
    ///
    /// # Errors
    /// [`KnockError`]; nothing changed.
    pub fn knock_with(
        &mut self,
        now: UnixTime,
        identity: &Identity,
        request: KnockRequest<'_>,
    ) -> Result<KnockOutcome, KnockError> {
        self.check_request(now, &request)?;
        if let Some(agent) = self.settle(now, identity, &request) {
            return Ok(KnockOutcome::AlreadyTrusted(agent));
        }
        let is_new = !self.sent.contains_key(&request.target);
        if is_new && self.sent.len() >= self.config.max_sent {
            return Err(KnockError::Full(self.sent.len()));
        }
        let knock = Knock {
            target: request.target.clone(),
            justification: request.justification.to_owned(),
            hostname: request.hostname,
        };
        let not_after = now.plus(self.config.knock_lifetime);
        let (serial, raw) = self.sign(now, identity, not_after, &knock);
        let sent = SentKnock {
            target: request.target.clone(),
            raw: raw.clone(),
            serial,
            issued: now,
            terms: request.terms,
            learnt_by: request.learnt_by,
        };
        self.sent.insert(request.target.clone(), sent);
        self.touch(ItemKey::Sent(request.target));
        Ok(KnockOutcome::Send(raw))
    }

    fn check_request(&self, now: UnixTime, request: &KnockRequest<'_>) -> Result<(), KnockError> {
        if request.justification.len() > MAX_JUSTIFICATION {
            return Err(KnockError::TooLong(request.justification.len()));
        }
        if self.is_own(&request.target) {
            return Err(KnockError::Myself);
        }
        if !request.terms.are_valid(now) {
            return Err(KnockError::Terms);
        }
        Ok(())
    }

    fn is_own(&self, target: &KnockTarget) -> bool {
        match target {
            KnockTarget::Node(node) => *node == self.agent.node(),
            KnockTarget::Agent(agent) => *agent == self.agent,
            KnockTarget::Hostname(_) => false,
        }
    }

    /// Whether the request needs no knock: what it asks for is there, or ours alone is missing and given now.
    fn settle(
        &mut self,
        now: UnixTime,
        identity: &Identity,
        request: &KnockRequest<'_>,
    ) -> Option<AgentId> {
        let agent = self.resolve(&request.target)?;
        let wants_little = request.terms.scope.is_reply_only;
        if let Some(peer) = self.peers.get(&agent) {
            let gives_enough =
                peer.is_admitted(now) || (wants_little && peer.live_given(now).is_some());
            if peer.live_received(now).is_some() {
                if !gives_enough {
                    self.grant(now, identity, agent, request.terms.clone());
                }
                return Some(agent);
            }
        }
        // A command that only wants an answer does not decide on what somebody else asked for.
        let asker = self.asker(&agent).filter(|_| !wants_little)?;
        let asker = Asker {
            learnt_by: request.learnt_by,
            ..asker
        };
        self.approve_asker(now, identity, asker, request.terms.clone())?;
        Some(agent)
    }

    /// Who waits for a decision.
    pub(crate) fn asker(&self, agent: &AgentId) -> Option<Asker> {
        let knocker = self.pending.get(agent).filter(|k| !k.is_rejected)?;
        Some(Asker {
            log: knocker.log.clone(),
            serial: knocker.serial,
            hostname: knocker.hostname.clone(),
            learnt_by: LearntBy::Address,
        })
    }

    /// Grants what somebody knocked for; `None` if there is no room.
    pub(crate) fn approve_asker(
        &mut self,
        now: UnixTime,
        identity: &Identity,
        asker: Asker,
        terms: Terms,
    ) -> Option<()> {
        let peer = self.peer_entry(now, &asker.log, asker.learnt_by)?;
        peer.last_knock = peer.last_knock.max(asker.serial);
        peer.hostname = asker.hostname.or_else(|| peer.hostname.take());
        self.grant(now, identity, asker.log.agent(), terms);
        Some(())
    }

    /// The agent that a target names, if it is trusted or pending and the name is its record's.
    fn resolve(&self, target: &KnockTarget) -> Option<AgentId> {
        match target {
            KnockTarget::Node(node) => self.find_node(*node),
            KnockTarget::Agent(agent) => Some(*agent),
            KnockTarget::Hostname(name) => self.find_recorded_hostname(name),
        }
    }

    /// Takes a knock that came straight or through the rendezvous, signed with the current key of `log`.
    ///
    /// # Errors
    /// [`KnockRefused`]: it is dropped, and the knocker is told nothing.
    #[expect(
        clippy::too_many_arguments,
        reason = "time and identity come with every operation, the statement with its signer and what is to be done"
    )]
    pub fn handle_knock(
        &mut self,
        now: UnixTime,
        identity: &Identity,
        raw: &SignedBytes,
        log: &VerifiedLog,
        policy: Policy,
    ) -> Result<KnockReceived, KnockRefused> {
        let verified = log.verify::<Knock>(raw, now)?;
        self.check_knock(now, &verified, log)?;
        self.pin(log)?;
        let agent = log.agent();
        if let Some(given) = self.admitting_grant(now, &agent) {
            self.emit(TrustEvent::GrantIssued {
                to: agent,
                raw: given,
            });
            return Ok(KnockReceived::Approved);
        }
        if self.is_answered(&agent, verified.head.serial) {
            return Ok(KnockReceived::Repeated);
        }
        let Some((terms, learnt_by)) = self.decided_terms(now, log, policy) else {
            return self.keep_waiting(now, verified, log);
        };
        let asker = Asker {
            log: log.clone(),
            serial: verified.head.serial,
            hostname: None,
            learnt_by,
        };
        let known = self.peers.len();
        let approved = self.approve_asker(now, identity, asker, terms);
        approved.ok_or(KnockRefused::Full(known))?;
        Ok(KnockReceived::Approved)
    }

    fn check_knock(
        &self,
        now: UnixTime,
        verified: &Verified<Knock>,
        log: &VerifiedLog,
    ) -> Result<(), KnockRefused> {
        let Verified { head, statement } = verified;
        if log.agent() == self.agent {
            return Err(KnockRefused::Myself);
        }
        // Which agent has a name is the rendezvous' word; the knocker checks whose grant it takes for the answer.
        let is_for_us = matches!(statement.target, KnockTarget::Hostname(_));
        if !is_for_us && !self.is_own(&statement.target) {
            return Err(KnockRefused::NotForUs);
        }
        if statement.justification.len() > MAX_JUSTIFICATION {
            return Err(KnockRefused::TooLong);
        }
        if head.issued.plus(self.config.knock_lifetime) < now {
            return Err(KnockRefused::Old(head.issued));
        }
        Ok(())
    }

    /// Our grant to an agent that may open streams by it.
    fn admitting_grant(&self, now: UnixTime, agent: &AgentId) -> Option<SignedBytes> {
        let peer = self.peers.get(agent).filter(|peer| peer.is_admitted(now))?;
        peer.given.as_ref().map(|given| given.raw.clone())
    }

    /// Whether this knock, or a newer one, waits, was rejected or was answered.
    fn is_answered(&self, agent: &AgentId, serial: u64) -> bool {
        let waits = self.pending.get(agent).map(|knocker| knocker.serial);
        let answered = self.peers.get(agent).map(|peer| peer.last_knock);
        waits.max(answered).is_some_and(|known| known >= serial)
    }

    /// On which terms the knock is approved without asking anybody.
    fn decided_terms(
        &self,
        now: UnixTime,
        log: &VerifiedLog,
        policy: Policy,
    ) -> Option<(Terms, LearntBy)> {
        let peer = self.peers.get(&log.agent());
        let hostname = peer.and_then(|peer| peer.hostname.as_ref());
        if let Some(sent) = self.crossing(now, log, hostname) {
            return Some((sent.terms.clone(), sent.learnt_by));
        }
        let is_revoked = peer.is_some_and(crate::peer::Peer::is_revoked);
        match policy {
            Policy::Approve(terms) if !is_revoked && terms.are_valid(now) => {
                Some((terms, LearntBy::Address))
            }
            Policy::Approve(_) | Policy::Ask => None,
        }
    }

    /// A knock of ours to that very agent, on terms that answer a request of its own.
    fn crossing(
        &self,
        now: UnixTime,
        log: &VerifiedLog,
        hostname: Option<&Hostname>,
    ) -> Option<&SentKnock> {
        let sent = self.sent_to(now, log, hostname)?;
        let is_whole = !sent.terms.scope.is_reply_only && sent.terms.are_valid(now);
        is_whole.then_some(sent)
    }

    /// Our knock that named that agent: by address, key or the name of its record.
    pub(crate) fn sent_to(
        &self,
        now: UnixTime,
        log: &VerifiedLog,
        hostname: Option<&Hostname>,
    ) -> Option<&SentKnock> {
        let targets = targets_of(log, hostname);
        let mut sent = targets.iter().filter_map(|target| self.sent.get(target));
        sent.find(|knock| now <= knock.issued.plus(self.config.knock_lifetime))
    }

    fn keep_waiting(
        &mut self,
        now: UnixTime,
        verified: Verified<Knock>,
        log: &VerifiedLog,
    ) -> Result<KnockReceived, KnockRefused> {
        let agent = log.agent();
        let before = self.pending.get(&agent);
        let is_waiting = before.is_some_and(|knocker| !knocker.is_rejected);
        let hostname = before.and_then(|knocker| knocker.hostname.clone());
        if before.is_none() {
            self.make_room_for_knock()?;
        }
        let Verified { head, statement } = verified;
        let knocker = Knocker {
            log: log.clone(),
            claimed: statement.hostname,
            hostname,
            justification: statement.justification,
            serial: head.serial,
            received_at: now,
            is_rejected: false,
        };
        self.pending.insert(agent, knocker);
        self.touch(ItemKey::Pending(agent));
        if is_waiting {
            return Ok(KnockReceived::Repeated);
        }
        self.emit(TrustEvent::KnockPending { agent });
        Ok(KnockReceived::Pending)
    }

    /// The oldest rejected knock makes way; those that wait do not, or a flood would push them out.
    fn make_room_for_knock(&mut self) -> Result<(), KnockRefused> {
        if self.pending.len() < self.config.max_pending {
            return Ok(());
        }
        let rejected = self
            .pending
            .iter()
            .filter(|(_, knocker)| knocker.is_rejected);
        let oldest = rejected.min_by_key(|(_, knocker)| knocker.received_at);
        let Some((oldest, _)) = oldest else {
            return Err(KnockRefused::Full(self.pending.len()));
        };
        let oldest = *oldest;
        self.pending.remove(&oldest);
        self.touch(ItemKey::Pending(oldest));
        Ok(())
    }

    /// Takes the name of an agent's record, trusted or pending. A knock of ours to that name approves a pending one of its.
    ///
    /// A name that another trusted agent has is not taken from it.
    pub fn set_peer_hostname(
        &mut self,
        now: UnixTime,
        identity: &Identity,
        agent: &AgentId,
        hostname: Option<&Hostname>,
    ) {
        let holder = hostname.and_then(|name| self.find_trusted_hostname(now, name));
        if holder.is_some_and(|holder| holder != *agent) {
            return;
        }
        let peer = self.peers.get_mut(agent);
        if let Some(peer) = peer.filter(|peer| peer.hostname.as_ref() != hostname) {
            peer.hostname = hostname.cloned();
            self.touch(ItemKey::Peer(*agent));
        }
        let knocker = self.pending.get_mut(agent);
        if let Some(knocker) = knocker.filter(|knocker| knocker.hostname.as_ref() != hostname) {
            knocker.hostname = hostname.cloned();
            self.touch(ItemKey::Pending(*agent));
        }
        self.approve_crossing(now, identity, agent, hostname);
    }

    fn approve_crossing(
        &mut self,
        now: UnixTime,
        identity: &Identity,
        agent: &AgentId,
        hostname: Option<&Hostname>,
    ) {
        let Some(asker) = self.asker(agent) else {
            return;
        };
        let Some(sent) = self.crossing(now, &asker.log, hostname) else {
            return;
        };
        let terms = sent.terms.clone();
        let asker = Asker {
            learnt_by: sent.learnt_by,
            ..asker
        };
        if self.approve_asker(now, identity, asker, terms).is_none() {
            tracing::warn!(%agent, "no room for a grant: a crossing knock waits");
        }
    }
}

/// The ways in which a knock can have named an agent.
pub(crate) fn targets_of(log: &VerifiedLog, hostname: Option<&Hostname>) -> Vec<KnockTarget> {
    let agent = log.agent();
    let mut targets = vec![KnockTarget::Agent(agent), KnockTarget::Node(agent.node())];
    targets.extend(hostname.cloned().map(KnockTarget::Hostname));
    targets
}
