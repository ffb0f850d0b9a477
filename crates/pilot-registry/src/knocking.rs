//! Knocks and grants: what agents send each other through the rendezvous.

use pilot_types::{AgentId, UnixTime};
use pilot_wire::limits::{KNOCK_LIFETIME, MAX_JUSTIFICATION, MAX_PORT_RANGES};
use pilot_wire::{EnvelopeHead, Grant, Knock, KnockTarget, SignedBytes};

use crate::asked::{Asked, Outcome, Refusal, check_lifetime};
use crate::changes::Changes;
use crate::message::{LookupTarget, Response};
use crate::rows::{GrantRow, PushId, PushKey, PushKind, PushRow};
use crate::store::Store;
use crate::verify::Verify;

/// Where knocks go that are for nobody, or for somebody whose queue is full: written all the same, so that neither the
/// answer nor its time tells. No agent has this id, for its address is reserved.
pub(crate) const NOBODY: AgentId = AgentId::new([0; AgentId::LEN]);

impl<S: Store, V: Verify> Asked<'_, S, V> {
    /// Plans `Knock`. What can be refused is refused before the target is looked at.
    pub(crate) fn knock(&self, raw: SignedBytes, id: PushId) -> Result<Outcome, Refusal> {
        let own = self.own_row()?;
        let (head, knock) = self.statement::<Knock>(&own.log, &raw)?;
        check_lifetime(&head, KNOCK_LIFETIME)?;
        if knock.justification.len() > MAX_JUSTIFICATION {
            return Err(Refusal::invalid(format!(
                "justification longer than {MAX_JUSTIFICATION} bytes"
            )));
        }
        let target = match knock.target {
            KnockTarget::Node(node) => LookupTarget::Node(node),
            KnockTarget::Hostname(name) => LookupTarget::Hostname(name),
            KnockTarget::Agent(agent) => LookupTarget::Agent(agent),
        };
        let mut outcome = self.unchanged(Response::Sent);
        let to = self.knock_recipient(&target, &mut outcome.changes)?;
        let key = PushKey {
            to,
            kind: PushKind::Knock,
            from: self.from,
        };
        outcome.pushes.push((key, id));
        outcome.changes.put_push(PushRow {
            key,
            id,
            made: self.now,
            not_after: head.not_after,
            raw,
        });
        Ok(outcome)
    }

    /// The target if it exists and has room, else [`NOBODY`]; the reads are the same.
    fn knock_recipient(
        &self,
        target: &LookupTarget,
        changes: &mut Changes,
    ) -> Result<AgentId, Refusal> {
        let found = self.find(target)?.map(|row| row.agent());
        let found = found.filter(|agent| *agent != self.from);
        let waiting = self
            .store
            .pushes(&found.unwrap_or(NOBODY), PushKind::Knock)?;
        let lost = self.store.pushes(&NOBODY, PushKind::Knock)?;
        match found {
            Some(agent) if self.make_room(&waiting, self.config.max_knocks, changes) => Ok(agent),
            Some(_) | None => {
                if !self.make_room(&lost, self.config.max_knocks, changes)
                    && let Some(oldest) = lost.iter().min_by_key(|row| row.made)
                {
                    changes.delete_push(oldest.key);
                }
                Ok(NOBODY)
            }
        }
    }

    /// Whether a push by the asker may join those that wait; ended ones leave.
    pub(crate) fn make_room(&self, waiting: &[PushRow], max: usize, changes: &mut Changes) -> bool {
        let (live, ended): (Vec<_>, Vec<_>) =
            waiting.iter().partition(|row| self.now < row.not_after);
        for row in ended {
            changes.delete_push(row.key);
        }
        live.len() < max || live.iter().any(|row| row.key.from == self.from)
    }

    /// Plans `PutGrant`.
    pub(crate) fn put_grant(
        &self,
        to: AgentId,
        raw: SignedBytes,
        id: PushId,
    ) -> Result<Outcome, Refusal> {
        let own = self.own_row()?;
        let known = self.store.grant(&self.from, &to)?;
        if known.as_ref().is_some_and(|known| known.raw == raw) {
            return Ok(self.unchanged(Response::Stored));
        }
        let (head, grant) = self.statement::<Grant>(&own.log, &raw)?;
        check_grant(&grant, &to, &self.from)?;
        let is_same_key = |known: &GrantRow| known.generation == head.generation;
        if known
            .as_ref()
            .is_some_and(|known| is_same_key(known) && head.serial <= known.serial)
        {
            return Err(Refusal::stale("a later grant for this agent is known"));
        }
        let mut outcome = self.unchanged(Response::Stored);
        if known.is_none() {
            self.claim_grant(&mut outcome.changes)?;
        }
        let key = PushKey {
            to,
            kind: PushKind::Grant,
            from: self.from,
        };
        let row = grant_row(key, raw.clone(), &head, grant.scope.is_revocation());
        let remember_until = known.map_or(head.not_after, |k| k.remember_until.max(head.not_after));
        outcome.changes.put_grant(GrantRow {
            remember_until,
            ..row
        });
        self.queue_push(key, id, (raw, head.not_after), &mut outcome)?;
        Ok(outcome)
    }

    /// A full queue takes no more, and the answer does not tell: a grant is stored all the same, and its grantor's own session can bring it.
    pub(crate) fn queue_push(
        &self,
        key: PushKey,
        id: PushId,
        (raw, not_after): (SignedBytes, UnixTime),
        outcome: &mut Outcome,
    ) -> Result<(), Refusal> {
        let waiting = self.store.pushes(&key.to, key.kind)?;
        if !self.make_room(&waiting, self.config.max_grant_pushes, &mut outcome.changes) {
            return Ok(());
        }
        outcome.pushes.push((key, id));
        outcome.changes.put_push(PushRow {
            key,
            id,
            made: self.now,
            not_after,
            raw,
        });
        Ok(())
    }

    /// Room for one more grant; those whose memory has ended leave first.
    fn claim_grant(&self, changes: &mut Changes) -> Result<(), Refusal> {
        let max = self.config.max_grants_per_agent;
        if self.store.grant_count(&self.from)? < max {
            return Ok(());
        }
        let mut left = 0;
        for row in self.store.grants_by(&self.from)? {
            if row.remember_until <= self.now {
                changes.delete_grant(&row);
            } else {
                left += 1;
            }
        }
        if left < max {
            Ok(())
        } else {
            Err(Refusal::invalid(format!("more than {max} grants")))
        }
    }
}

fn grant_row(key: PushKey, raw: SignedBytes, head: &EnvelopeHead, is_revocation: bool) -> GrantRow {
    GrantRow {
        grantor: key.from,
        grantee: key.to,
        raw,
        serial: head.serial,
        generation: head.generation,
        not_after: head.not_after,
        is_revocation,
        remember_until: head.not_after,
    }
}

fn check_grant(grant: &Grant, to: &AgentId, from: &AgentId) -> Result<(), Refusal> {
    if grant.grantee != *to {
        return Err(Refusal::invalid("the grant names another grantee"));
    }
    if to == from {
        return Err(Refusal::invalid("a grant for oneself"));
    }
    if grant.scope.ports.len() > MAX_PORT_RANGES {
        return Err(Refusal::invalid(format!(
            "more than {MAX_PORT_RANGES} port ranges"
        )));
    }
    Ok(())
}
