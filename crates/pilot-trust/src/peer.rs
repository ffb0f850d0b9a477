//! An agent with whom something was granted.

use pilot_types::{Hostname, UnixTime};
use pilot_wire::{Grant, KnockTarget, Scope, SignedBytes};
use serde::{Deserialize, Serialize};

use crate::log::VerifiedLog;
use crate::statement::Verified;

/// How the agent was pointed at when trust began, which says how surely its key is the one that was meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LearntBy {
    /// By its address: 48 bits and the work of its inception.
    Address,
    /// By a name: as honest as the rendezvous.
    Hostname,
    /// By its full key.
    Key,
    /// By a ticket: its full key, from its own hand.
    Ticket,
}

impl LearntBy {
    /// As a knock names its target.
    #[must_use]
    pub const fn of(target: &KnockTarget) -> Self {
        match target {
            KnockTarget::Node(_) => Self::Address,
            KnockTarget::Hostname(_) => Self::Hostname,
            KnockTarget::Agent(_) => Self::Key,
        }
    }
}

/// One direction's newest grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldGrant {
    /// As signed, to be handed on unchanged.
    pub(crate) raw: SignedBytes,
    pub(crate) serial: u64,
    pub(crate) generation: u32,
    pub(crate) scope: Scope,
    pub(crate) not_after: UnixTime,
    /// Its end was told.
    pub(crate) is_ended: bool,
}

impl HeldGrant {
    pub(crate) fn new(raw: SignedBytes, verified: Verified<Grant>) -> Self {
        let Verified { head, statement } = verified;
        Self {
            raw,
            serial: head.serial,
            generation: head.generation,
            is_ended: statement.scope.is_revocation(),
            scope: statement.scope,
            not_after: head.not_after,
        }
    }

    /// Whether it allows anything now. What ended stays so, also when the clock goes back.
    pub(crate) fn is_live(&self, now: UnixTime) -> bool {
        !self.is_ended && !self.scope.is_revocation() && now <= self.not_after
    }

    /// Notes the end of its time; says so once.
    fn note_end(&mut self, now: UnixTime) -> bool {
        let ends = !self.is_ended && !self.is_live(now);
        self.is_ended |= ends;
        ends
    }

    /// The first moment at which it is over.
    fn end(&self) -> Option<UnixTime> {
        let after = UnixTime::from_millis(self.not_after.as_millis().saturating_add(1));
        (!self.is_ended).then_some(after)
    }
}

/// An agent with whom something was granted, in either direction, now or before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Peer {
    /// The pin.
    #[serde(with = "crate::log::stored")]
    pub(crate) log: VerifiedLog,
    /// The name that its record claims.
    pub(crate) hostname: Option<Hostname>,
    pub(crate) learnt_by: LearntBy,
    pub(crate) approved_at: UnixTime,
    /// Ours to it.
    pub(crate) given: Option<HeldGrant>,
    /// Its to us.
    pub(crate) received: Option<HeldGrant>,
    /// Serial of its newest knock that was answered: older ones ask nothing any more.
    pub(crate) last_knock: u64,
    /// Its grants to us are not wanted.
    pub(crate) is_one_way: bool,
    /// Two entries of its log contradict each other: its key is compromised, until a recovery.
    pub(crate) is_frozen: bool,
}

impl Peer {
    pub(crate) const fn new(log: VerifiedLog, learnt_by: LearntBy, approved_at: UnixTime) -> Self {
        Self {
            log,
            hostname: None,
            learnt_by,
            approved_at,
            given: None,
            received: None,
            last_knock: 0,
            is_one_way: false,
            is_frozen: false,
        }
    }

    /// Our grant to it, while it holds.
    pub(crate) fn live_given(&self, now: UnixTime) -> Option<&HeldGrant> {
        let given = self.given.as_ref();
        given.filter(|grant| !self.is_frozen && grant.is_live(now))
    }

    /// Its grant to us, while it holds.
    pub(crate) fn live_received(&self, now: UnixTime) -> Option<&HeldGrant> {
        let received = self.received.as_ref();
        received.filter(|grant| !self.is_frozen && grant.is_live(now))
    }

    pub(crate) fn is_mutual(&self, now: UnixTime) -> bool {
        self.live_given(now).is_some() && self.live_received(now).is_some()
    }

    /// Whether our grant lets it open streams, not only answer.
    pub(crate) fn is_admitted(&self, now: UnixTime) -> bool {
        let given = self.live_given(now);
        given.is_some_and(|grant| !grant.scope.is_reply_only)
    }

    /// Whether we ended our grant to it by hand.
    pub(crate) fn is_revoked(&self) -> bool {
        let given = self.given.as_ref();
        given.is_some_and(|grant| grant.scope.is_revocation())
    }

    /// Whether forgetting it changes nothing: no grant holds, and none was revoked by hand.
    pub(crate) fn is_forgettable(&self, now: UnixTime) -> bool {
        !is_live(&self.given, now)
            && !is_live(&self.received, now)
            && !self.is_revoked()
            && !self.is_frozen
    }

    /// Whether there is something to end by hand: ours, or theirs that was not answered by a revocation.
    pub(crate) fn is_untrustable(&self, now: UnixTime) -> bool {
        is_live(&self.given, now) || (is_live(&self.received, now) && !self.is_revoked())
    }

    /// The next end of a grant.
    pub(crate) fn deadline(&self) -> Option<UnixTime> {
        let end = |grant: &Option<HeldGrant>| grant.as_ref().and_then(HeldGrant::end);
        match (end(&self.given), end(&self.received)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Notes which grants (given, received) have come to their end since the last call.
    pub(crate) fn note_ends(&mut self, now: UnixTime) -> (bool, bool) {
        let note = |grant: &mut Option<HeldGrant>| grant.as_mut().is_some_and(|g| g.note_end(now));
        (note(&mut self.given), note(&mut self.received))
    }
}

/// Whether a grant holds, compromised or not.
fn is_live(grant: &Option<HeldGrant>, now: UnixTime) -> bool {
    grant.as_ref().is_some_and(|grant| grant.is_live(now))
}
