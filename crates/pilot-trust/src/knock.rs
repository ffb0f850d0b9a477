//! Asking for trust.

use pilot_types::{AgentId, Hostname, UnixTime};
use pilot_wire::limits::MAX_JUSTIFICATION;
use pilot_wire::{Knock, KnockTarget, SignedBytes};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::identity::Identity;
use crate::item::ItemKey;
use crate::log::VerifiedLog;
use crate::machine::{Terms, Trust};
use crate::peer::LearntBy;

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
    pub(crate) log: VerifiedLog,
    pub(crate) serial: u64,
    pub(crate) hostname: Option<Hostname>,
    pub(crate) learnt_by: LearntBy,
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
        let request = KnockRequest {
            learnt_by: LearntBy::of(&target),
            target,
            justification,
            hostname: own_hostname,
            terms: self.default_terms(now),
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

    pub(crate) fn is_own(&self, target: &KnockTarget) -> bool {
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
}

/// The ways in which a knock can have named an agent.
pub(crate) fn targets_of(log: &VerifiedLog, hostname: Option<&Hostname>) -> Vec<KnockTarget> {
    let agent = log.agent();
    let mut targets = vec![KnockTarget::Agent(agent), KnockTarget::Node(agent.node())];
    targets.extend(hostname.cloned().map(KnockTarget::Hostname));
    targets
}
