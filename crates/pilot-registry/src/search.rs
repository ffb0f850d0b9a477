//! `Search`: which of the agents that the asker may see fit best (`docs/registry.md` §5).
//!
//! Public records are in the index. What else the asker may see, its own record and those of agents that granted it something, is
//! read from the store and held against the question one by one: so nothing that is hidden from it changes an order or a sum.

mod feed;
mod index;
mod query;
mod words;

use std::cmp::Ordering;

use pilot_types::AgentId;
use pilot_wire::Record;

pub(crate) use self::feed::Feed;
pub(crate) use self::index::Index;
use self::query::Question;
pub use self::query::SearchQuery;
use self::words::Terms;
use crate::asked::{Asked, Outcome, Refusal};
use crate::limits::{MAX_SEARCH_ANSWER, MAX_SEARCH_ENTRIES};
use crate::message::{Entry, Response};
use crate::presence::Presence;
use crate::rows::{AgentRow, RecordRow};
use crate::store::{Store, StoreError};
use crate::verify::Verify;
use crate::visibility::shown_record;

/// Agents that granted the asker something and are held against a question: two reads each. Who has more of them finds those with
/// the lowest ids.
const MAX_GRANTORS: usize = 1024;

/// An agent that fits, and how well.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Hit {
    pub(crate) score: f32,
    pub(crate) agent: AgentId,
}

impl Hit {
    /// The best first; among equals the lower id, so that pages do not overlap.
    fn order(&self, other: &Self) -> Ordering {
        let by_score = other.score.total_cmp(&self.score);
        by_score.then_with(|| self.agent.cmp(&other.agent))
    }
}

impl<S: Store, V: Verify> Asked<'_, S, V> {
    /// Plans `Search`.
    pub(crate) fn search(
        &self,
        query: &SearchQuery,
        index: &mut Index,
        presence: &Presence,
    ) -> Result<Outcome, Refusal> {
        let question = Question::new(query);
        let offset = usize::try_from(query.offset).unwrap_or(usize::MAX);
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let last = offset.saturating_add(limit.min(MAX_SEARCH_ENTRIES));
        let (mut hits, mut total) = index.find(&question, last, self.now);
        if !query.is_public_only {
            let hidden = self.hidden_hits(&question, index)?;
            total += hidden.len() as u64;
            hits.extend(hidden);
            hits.sort_unstable_by(Hit::order);
        }
        hits.truncate(last);
        let page = hits.get(offset..).unwrap_or_default();
        let (entries, taken) = self.shown_entries(page, presence)?;
        let next = (offset + taken) as u64;
        let has_more = taken > 0 && next < total;
        Ok(self.unchanged(Response::SearchResults {
            entries,
            total,
            next: u32::try_from(next).ok().filter(|_| has_more),
        }))
    }

    /// What fits of all that is not in the index and that the asker may see.
    fn hidden_hits(&self, question: &Question, index: &Index) -> Result<Vec<Hit>, StoreError> {
        let mut hits = vec![];
        let mut owners = self.store.grantors_to(&self.from, MAX_GRANTORS)?;
        owners.retain(|owner| *owner != self.from);
        owners.push(self.from);
        for owner in owners {
            if index.has(&owner) {
                continue;
            }
            let Some(row) = self.store.agent(&owner)? else {
                continue;
            };
            let grant = self.store.grant(&owner, &self.from)?;
            let record = shown_record(&row, grant.as_ref(), self)?;
            let terms = record.and_then(terms_of);
            if let Some(score) = terms.and_then(|terms| index.score(question, &terms)) {
                let agent = owner;
                hits.push(Hit { score, agent });
            }
        }
        Ok(hits)
    }

    /// Entries as long as they fit into an answer, and for how many hits they stand.
    fn shown_entries(
        &self,
        hits: &[Hit],
        presence: &Presence,
    ) -> Result<(Vec<Entry>, usize), StoreError> {
        let (mut entries, mut len) = (vec![], 0);
        for (count, Hit { agent, .. }) in hits.iter().enumerate() {
            let Some(row) = self.store.agent(agent)? else {
                continue;
            };
            let grant = self.store.grant(agent, &self.from)?;
            let Some(record) = shown_record(&row, grant.as_ref(), self)? else {
                continue;
            };
            let entry = self.entry(&row, record, presence);
            len += entry.len();
            if len > MAX_SEARCH_ANSWER && !entries.is_empty() {
                return Ok((entries, count));
            }
            entries.push(entry);
        }
        Ok((entries, hits.len()))
    }

    /// Without its locator: who was found is asked for before it is dialled.
    pub(crate) fn entry(&self, row: &AgentRow, record: &RecordRow, presence: &Presence) -> Entry {
        let agent = row.agent();
        Entry {
            agent,
            log: row.log.clone(),
            record: record.raw.clone(),
            locator: None,
            last_seen: presence.last_seen(self.now, &agent),
            online: presence.is_online(&agent),
        }
    }
}

/// What a record is found by.
fn terms_of(record: &RecordRow) -> Option<Terms> {
    let envelope = record.raw.envelope().ok()?;
    let record = envelope.statement::<Record>().ok()?;
    Some(Terms::of(&record))
}
