//! Being asked for trust.

use pilot_types::{AgentId, Hostname, UnixTime};
use pilot_wire::limits::MAX_JUSTIFICATION;
use pilot_wire::{Knock, KnockTarget, SignedBytes};
use thiserror::Error;

use crate::event::TrustEvent;
use crate::identity::Identity;
use crate::item::ItemKey;
use crate::knock::{Asker, Knocker, SentKnock, targets_of};
use crate::log::VerifiedLog;
use crate::machine::{PinError, Terms, Trust};
use crate::peer::{LearntBy, Peer};
use crate::statement::{EnvelopeError, Verified};

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
        let is_revoked = peer.is_some_and(Peer::is_revoked);
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
            if !self.has_log_room(log) {
                return Err(KnockRefused::Full(self.pending.len()));
            }
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
