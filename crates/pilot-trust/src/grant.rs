//! Granting, revoking, and what others grant and revoke.

use pilot_types::{AgentId, Hostname, UnixTime};
use pilot_wire::limits::MAX_JUSTIFICATION;
use pilot_wire::{Grant, Scope, SignedBytes};
use thiserror::Error;

use crate::event::TrustEvent;
use crate::identity::Identity;
use crate::item::ItemKey;
use crate::knock::targets_of;
use crate::log::VerifiedLog;
use crate::machine::{PinError, Terms, Trust};
use crate::peer::{HeldGrant, LearntBy, Peer};
use crate::statement::{EnvelopeError, Verified};

/// Why an approval was not made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ApproveError {
    /// The agent neither knocked nor is trusted.
    #[error("no request of this agent is pending")]
    NotPending,
    /// The scope allows nothing, or is malformed.
    #[error("the scope of an approval allows something")]
    Scope,
    /// The end is not later than now.
    #[error("an approval ends later than now")]
    Expired,
    /// The agent's key is compromised.
    #[error("the agent's key is compromised")]
    Frozen,
    /// Grants to too many agents hold.
    #[error("{0} agents are trusted already")]
    Full(usize),
}

/// Why a knock was not rejected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RejectError {
    /// The agent did not knock.
    #[error("no request of this agent is pending")]
    NotPending,
    /// The reason is too long.
    #[error("reason of {0} bytes, at most {MAX_JUSTIFICATION} are kept")]
    TooLong(usize),
}

/// Why trust was not ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UntrustError {
    /// There is none.
    #[error("this agent is not trusted")]
    NotTrusted,
}

/// What became of somebody's grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantReceived {
    /// Trust holds in both directions now.
    Trusted,
    /// It is kept: another scope or end, or one direction of two.
    Updated,
    /// It is a revocation: what they granted has ended.
    Revoked,
}

/// Why a grant is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GrantRefused {
    /// The statement is not what it should be.
    #[error("grant")]
    Envelope(#[from] EnvelopeError),
    /// The log is not what is pinned of the grantor.
    #[error("grantor's log")]
    Pin(#[from] PinError),
    /// It is for somebody else.
    #[error("grant for another agent")]
    NotForUs,
    /// We signed it.
    #[error("our own grant")]
    Myself,
    /// The scope is malformed.
    #[error("malformed scope")]
    Scope,
    /// It narrows another grant, which this version does not take.
    #[error("delegated grant")]
    Delegated,
    /// One with this serial, or a higher one, is known.
    #[error("grant with serial {found}, newest is {known}")]
    Stale {
        /// Its serial.
        found: u64,
        /// The newest serial that is known.
        known: u64,
    },
    /// We asked for nothing, or too long ago, or ended it.
    #[error("unsolicited grant")]
    Unsolicited,
    /// We granted, and wanted nothing back.
    #[error("grant in return for a one-way approval")]
    OneWay,
    /// Grants with too many agents hold.
    #[error("{0} agents are trusted already")]
    Full(usize),
}

impl Trust {
    /// Approves an agent whose knock is pending, or that has granted us; or changes the scope of one that is trusted.
    ///
    /// # Errors
    /// [`ApproveError`]; nothing changed.
    pub fn approve(
        &mut self,
        now: UnixTime,
        identity: &Identity,
        peer: &AgentId,
        terms: Terms,
    ) -> Result<(), ApproveError> {
        check_terms(now, &terms)?;
        if let Some(asker) = self.asker(peer) {
            if self.peers.get(peer).is_some_and(|peer| peer.is_frozen) {
                return Err(ApproveError::Frozen);
            }
            let known = self.peers.len();
            let approved = self.approve_asker(now, identity, asker, terms);
            return approved.ok_or(ApproveError::Full(known));
        }
        self.check_trusted(now, peer)?;
        self.grant(now, identity, *peer, terms);
        Ok(())
    }

    fn check_trusted(&self, now: UnixTime, peer: &AgentId) -> Result<(), ApproveError> {
        let peer = self.peers.get(peer).ok_or(ApproveError::NotPending)?;
        if peer.is_frozen {
            return Err(ApproveError::Frozen);
        }
        if peer.live_given(now).is_none() && peer.live_received(now).is_none() {
            return Err(ApproveError::NotPending);
        }
        Ok(())
    }

    /// Refuses a pending knock; the knocker is told nothing, and the same knock does not come back.
    ///
    /// # Errors
    /// [`RejectError`]; nothing changed.
    pub fn reject(
        &mut self,
        now: UnixTime,
        peer: &AgentId,
        reason: &str,
    ) -> Result<(), RejectError> {
        if reason.len() > MAX_JUSTIFICATION {
            return Err(RejectError::TooLong(reason.len()));
        }
        let knocker = self.pending.get_mut(peer);
        let knocker = knocker.filter(|knocker| !knocker.is_rejected);
        let knocker = knocker.ok_or(RejectError::NotPending)?;
        knocker.is_rejected = true;
        tracing::info!(agent = %peer, waited = ?now.since(knocker.received_at), reason, "knock rejected");
        self.touch(ItemKey::Pending(*peer));
        Ok(())
    }

    /// Ends trust: our grant is revoked with a higher serial, and nothing that they granted or asked before brings it back.
    ///
    /// # Errors
    /// [`UntrustError`] if no grant holds in either direction.
    pub fn untrust(
        &mut self,
        now: UnixTime,
        identity: &Identity,
        peer: &AgentId,
    ) -> Result<(), UntrustError> {
        let entry = self.peers.get(peer).ok_or(UntrustError::NotTrusted)?;
        if !entry.is_untrustable(now) {
            return Err(UntrustError::NotTrusted);
        }
        let targets = targets_of(&entry.log, entry.hostname.as_ref());
        for target in targets {
            if self.sent.remove(&target).is_some() {
                self.touch(ItemKey::Sent(target));
            }
        }
        self.answer_pending(peer);
        let nothing = Terms {
            scope: Scope::default(),
            not_after: UnixTime::FAR_FUTURE,
            one_way: false,
        };
        self.issue(now, identity, *peer, nothing);
        self.emit(TrustEvent::Untrusted {
            agent: *peer,
            by_peer: false,
        });
        Ok(())
    }

    /// Takes a grant or revocation that came straight or through the registry, signed with the current key of `grantor`.
    ///
    /// `grantor_hostname` is the name of the grantor's verified record: it matches a knock that was sent to a name.
    ///
    /// # Errors
    /// [`GrantRefused`]: it is dropped.
    #[expect(
        clippy::too_many_arguments,
        reason = "time and identity come with every operation, the statement with its signer and its signer's name"
    )]
    pub fn handle_grant(
        &mut self,
        now: UnixTime,
        identity: &Identity,
        raw: &SignedBytes,
        grantor: &VerifiedLog,
        grantor_hostname: Option<&Hostname>,
    ) -> Result<GrantReceived, GrantRefused> {
        let verified = grantor.verify::<Grant>(raw, now)?;
        self.check_grant(&verified, grantor)?;
        self.pin(grantor)?;
        self.check_serial(&verified, grantor)?;
        let sent = self.sent_to(now, grantor, grantor_hostname);
        let answered = sent.map(|sent| (sent.terms.clone(), sent.learnt_by));
        if answered.is_none() {
            self.check_solicited(now, &verified, grantor)?;
        }
        let learnt_by = answered.as_ref().map_or(LearntBy::Address, |(_, by)| *by);
        let known = self.peers.len();
        let hostname = self.free_hostname(now, grantor, grantor_hostname);
        let peer = self.peer_entry(now, grantor, learnt_by);
        let peer = peer.ok_or(GrantRefused::Full(known))?;
        peer.hostname = hostname.or_else(|| peer.hostname.take());
        let was_mutual = peer.is_mutual(now);
        let grant = HeldGrant::new(raw.clone(), verified);
        let had = peer.received.replace(grant);
        self.touch(ItemKey::Peer(grantor.agent()));
        if self.told_revocation(now, grantor.agent(), had.as_ref()) {
            return Ok(GrantReceived::Revoked);
        }
        self.forget_sent(grantor, grantor_hostname);
        if let Some((terms, _)) = answered {
            self.grant_back(now, identity, grantor.agent(), terms);
        }
        Ok(self.tell_grant(now, grantor.agent(), was_mutual, had.as_ref()))
    }

    fn check_grant(
        &self,
        verified: &Verified<Grant>,
        grantor: &VerifiedLog,
    ) -> Result<(), GrantRefused> {
        let grant = &verified.statement;
        if grantor.agent() == self.agent {
            return Err(GrantRefused::Myself);
        }
        if grant.grantee != self.agent {
            return Err(GrantRefused::NotForUs);
        }
        if !grant.scope.is_well_formed() {
            return Err(GrantRefused::Scope);
        }
        if grant.parent.is_some() {
            return Err(GrantRefused::Delegated);
        }
        Ok(())
    }

    fn check_serial(
        &self,
        verified: &Verified<Grant>,
        grantor: &VerifiedLog,
    ) -> Result<(), GrantRefused> {
        let peer = self.peers.get(&grantor.agent());
        let newest = peer.and_then(|peer| peer.received.as_ref());
        match newest {
            Some(newest) if newest.serial >= verified.head.serial => Err(GrantRefused::Stale {
                found: verified.head.serial,
                known: newest.serial,
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Without a knock of ours, a grant counts in return for ours, or in place of one that was taken before.
    fn check_solicited(
        &self,
        now: UnixTime,
        verified: &Verified<Grant>,
        grantor: &VerifiedLog,
    ) -> Result<(), GrantRefused> {
        let peer = self.peers.get(&grantor.agent());
        let peer = peer.ok_or(GrantRefused::Unsolicited)?;
        if verified.statement.scope.is_revocation() || peer.received.is_some() {
            return Ok(());
        }
        match peer.live_given(now) {
            Some(_) if peer.is_one_way => Err(GrantRefused::OneWay),
            Some(_) => Ok(()),
            None => Err(GrantRefused::Unsolicited),
        }
    }

    /// The name, unless another trusted agent has it.
    fn free_hostname(
        &self,
        now: UnixTime,
        grantor: &VerifiedLog,
        hostname: Option<&Hostname>,
    ) -> Option<Hostname> {
        let name = hostname?;
        let holder = self.find_trusted_hostname(now, name);
        (holder.is_none() || holder == Some(grantor.agent())).then(|| name.clone())
    }

    /// Our knocks to that agent are answered.
    fn forget_sent(&mut self, grantor: &VerifiedLog, hostname: Option<&Hostname>) {
        for target in targets_of(grantor, hostname) {
            if self.sent.remove(&target).is_some() {
                self.touch(ItemKey::Sent(target));
            }
        }
    }

    /// Whether what was just received revokes; tells it if something ended by it.
    fn told_revocation(&mut self, now: UnixTime, agent: AgentId, had: Option<&HeldGrant>) -> bool {
        let peer = self.peers.get(&agent);
        let received = peer.and_then(|peer| peer.received.as_ref());
        let is_revocation = received.is_some_and(|grant| grant.scope.is_revocation());
        if is_revocation && had.is_some_and(|grant| grant.is_live(now)) {
            self.emit(TrustEvent::Untrusted {
                agent,
                by_peer: true,
            });
        }
        is_revocation
    }

    /// Ours for theirs, unless ours is there and allows more than answers; nothing that was granted grows by it.
    fn grant_back(&mut self, now: UnixTime, identity: &Identity, agent: AgentId, terms: Terms) {
        let is_given = |peer: &Peer| {
            peer.is_admitted(now) || (terms.scope.is_reply_only && peer.live_given(now).is_some())
        };
        let is_there = self.peers.get(&agent).is_some_and(is_given);
        if !is_there && terms.are_valid(now) {
            self.issue(now, identity, agent, terms);
            self.answer_pending(&agent);
        }
    }

    fn tell_grant(
        &mut self,
        now: UnixTime,
        agent: AgentId,
        was_mutual: bool,
        had: Option<&HeldGrant>,
    ) -> GrantReceived {
        if !was_mutual && self.is_mutual_by_grants(now, &agent) {
            self.emit(TrustEvent::Trusted { agent });
            return GrantReceived::Trusted;
        }
        if had.is_some_and(|grant| grant.is_live(now)) {
            self.emit(TrustEvent::ScopeChanged {
                agent,
                by_peer: true,
            });
        }
        GrantReceived::Updated
    }
}

fn check_terms(now: UnixTime, terms: &Terms) -> Result<(), ApproveError> {
    if terms.scope.is_revocation() || !terms.scope.is_well_formed() {
        return Err(ApproveError::Scope);
    }
    if terms.not_after <= now {
        return Err(ApproveError::Expired);
    }
    Ok(())
}
