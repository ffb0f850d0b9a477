//! Who is shown what: the one place that decides it.
//!
//! An entry is shown to the agent itself, to everybody if its record says so, to the agents that it granted trust, and to fellow
//! members of its groups.
//! For everybody else it does not exist: the answer has the same bytes, after the same reads and checks.

use pilot_types::{AgentId, UnixTime};
use pilot_wire::Visibility;

use crate::asked::{Asked, Outcome, Refusal};
use crate::knocking::NOBODY;
use crate::message::{Entry, LookupTarget, RefusalCode, Response};
use crate::presence::Presence;
use crate::rows::{AgentRow, GrantRow, RecordRow};
use crate::store::{Store, StoreError};
use crate::verify::Verify;

impl<S: Store, V: Verify> Asked<'_, S, V> {
    /// Plans `Lookup`.
    pub(crate) fn lookup(
        &self,
        target: &LookupTarget,
        presence: &Presence,
    ) -> Result<Outcome, Refusal> {
        let row = self.find(target)?;
        let owner = row.as_ref().map_or(self.from, AgentRow::agent);
        let grant = self.store.grant(&owner, &self.from)?;
        let online = presence.is_online(&owner);
        let last_seen = presence.last_seen(self.now, &owner);
        let record = match &row {
            Some(row) => shown_record(row, grant.as_ref(), self)?,
            // The same reads as for one that is there.
            None => self.is_fellow(&NOBODY).map(|_| None)?,
        };
        let response = match row.as_ref().zip(record) {
            Some((row, record)) => Response::Found(Box::new(Entry {
                agent: row.agent(),
                log: row.log.clone(),
                record: record.raw.clone(),
                locator: row.live_locator(self.now).map(|l| l.raw.clone()),
                last_seen,
                online,
            })),
            None => Response::NotFound,
        };
        Ok(self.unchanged(response))
    }

    /// Plans `Observe`.
    pub(crate) fn observe(&self, presence: &Presence) -> Result<Outcome, Refusal> {
        let observed = presence.observed(&self.from);
        let observed =
            observed.ok_or_else(|| Refusal::new(RefusalCode::NotRegistered, "no session is up"))?;
        Ok(self.unchanged(Response::Observed(observed)))
    }

    /// The row that a target names, whoever may see it. An index says who it is; then exactly one row is read, the
    /// asker's own where there is no other.
    pub(crate) fn find(&self, target: &LookupTarget) -> Result<Option<AgentRow>, StoreError> {
        let agent = match target {
            LookupTarget::Hostname(name) => self.store.hostname(name)?,
            LookupTarget::Node(node) => self.store.node(*node)?,
            LookupTarget::Agent(agent) => self.known(agent)?,
            LookupTarget::Key(key) => {
                let by_id = self.known(&AgentId::new(*key))?;
                self.store.key(key)?.or(by_id)
            }
        };
        let row = self.store.agent(&agent.unwrap_or(self.from))?;
        Ok(row.filter(|row| Some(row.agent()) == agent))
    }

    fn known(&self, agent: &AgentId) -> Result<Option<AgentId>, StoreError> {
        let first = self.store.node(agent.node())?;
        Ok(first.filter(|first| first == agent))
    }
}

/// The record that the asker sees of an agent.
pub(crate) fn shown_record<'r, S: Store, V: Verify>(
    row: &'r AgentRow,
    grant: Option<&GrantRow>,
    asked: &Asked<'_, S, V>,
) -> Result<Option<&'r RecordRow>, StoreError> {
    let record = row.live_record(asked.now);
    let is_public = record.is_some_and(is_public);
    let is_own = record.is_some() && row.agent() == asked.from;
    let is_granted = grant.is_some_and(|grant| is_valid(grant, row, asked.now));
    if is_own | is_public | (is_granted && record.is_some()) {
        return Ok(record);
    }
    // Asked of all others, also of those that are not there.
    let is_fellow = asked.is_fellow(&row.agent())?;
    Ok(record.filter(|_| is_fellow))
}

/// The record that everybody sees, as long as it has not ended.
pub(crate) fn public_record(row: &AgentRow) -> Option<&RecordRow> {
    row.record.as_ref().filter(|record| is_public(record))
}

const fn is_public(record: &RecordRow) -> bool {
    match record.visibility {
        Visibility::Public => true,
        Visibility::Trusted | Visibility::Unknown => false,
    }
}

/// A recovery voids what older generations signed (design of the identity log, `docs/trust.md`).
pub(crate) fn is_valid(grant: &GrantRow, grantor: &AgentRow, now: UnixTime) -> bool {
    grant.is_live(now) && grant.generation >= grantor.facts.generation
}
