//! How the index learns what the store has: a scan after the start, and each change as it is written.

use pilot_types::{AgentId, UnixTime};

use super::index::{Index, NewDoc};
use super::terms_of;
use crate::config::Config;
use crate::rows::AgentRow;
use crate::store::{Store, StoreError, Write};
use crate::visibility::public_record;

/// Rows that one step of a scan reads: some milliseconds.
const STEP: usize = 256;

/// The index, and how far it knows the store.
#[derive(Debug)]
pub(crate) struct Feed {
    index: Index,
    scan: Option<Scan>,
    /// Whether the whole store was looked at once.
    is_complete: bool,
    /// Records that found no room since the start.
    left_out: u64,
}

/// A walk through all rows by id.
#[derive(Debug)]
struct Scan {
    after: Option<AgentId>,
    /// When it goes on.
    at: UnixTime,
}

/// What a batch changes in the index.
pub(crate) struct Noted(Vec<(AgentId, Option<NewDoc>)>);

impl Feed {
    /// One that has yet to look at the store.
    pub(crate) fn new(config: &Config, now: UnixTime) -> Self {
        Self {
            index: Index::new(config.max_search_terms),
            scan: Some(Scan {
                after: None,
                at: now,
            }),
            is_complete: false,
            left_out: 0,
        }
    }

    /// The index, once it knows all there is.
    pub(crate) const fn index(&mut self) -> Option<&mut Index> {
        if self.is_complete {
            Some(&mut self.index)
        } else {
            None
        }
    }

    /// Records in the index, and how many found no room.
    pub(crate) fn figures(&self) -> (u64, u64) {
        (self.index.len() as u64, self.left_out)
    }

    /// When the scan has work.
    pub(crate) fn due(&self) -> Option<UnixTime> {
        self.scan.as_ref().map(|scan| scan.at)
    }

    /// Reads a few rows more.
    ///
    /// # Errors
    /// The store's; the scan goes on there after a rest.
    pub(crate) fn step<S: Store>(
        &mut self,
        store: &S,
        now: UnixTime,
        config: &Config,
    ) -> Result<(), StoreError> {
        let Some(scan) = &mut self.scan else {
            return Ok(());
        };
        let rows = store.agents(scan.after.as_ref(), STEP).inspect_err(|_| {
            scan.at = now.plus(config.push_retry);
        })?;
        scan.at = now;
        scan.after = rows.last().map(AgentRow::agent);
        if rows.len() < STEP {
            self.scan = None;
            self.is_complete = true;
        }
        let noted = rows.iter().filter_map(|row| self.changed(row)).collect();
        self.take(Noted(noted));
        Ok(())
    }

    /// What these writes change, once they are stored.
    pub(crate) fn note(&self, writes: &[Write]) -> Noted {
        let noted = writes.iter().filter_map(|write| match write {
            Write::PutAgent(row) => self.changed(row),
            Write::DeleteAgent(agent) => Some((*agent, None)),
            Write::PutHostname(..)
            | Write::DeleteHostname(_)
            | Write::PutNode(..)
            | Write::DeleteNode(_)
            | Write::PutKey(..)
            | Write::DeleteKey(_)
            | Write::PutDue(..)
            | Write::DeleteDue(..)
            | Write::PutGrant(_)
            | Write::DeleteGrant(..)
            | Write::DeleteGrantsBy(_)
            | Write::PutPush(_)
            | Write::DeletePush(_)
            | Write::DeletePushesTo(_)
            | Write::PutGroup(_)
            | Write::DeleteGroup(_)
            | Write::PutGroupName(..)
            | Write::PutGroupNumber(..)
            | Write::PutMember(..)
            | Write::DeleteMember(..)
            | Write::PutLetter(..)
            | Write::DeleteLetter(_)
            | Write::PutLetterSum(..)
            | Write::Totals(_) => None,
        });
        Noted(noted.collect())
    }

    /// The writes are stored.
    pub(crate) fn take(&mut self, Noted(noted): Noted) {
        for (agent, doc) in noted {
            match doc {
                Some(doc) => self.left_out += u64::from(!self.index.put(&doc)),
                None => self.index.remove(&agent),
            }
        }
    }

    /// The writes failed, and may be stored all the same: the store is looked at again.
    pub(crate) fn doubt(&mut self, Noted(noted): Noted, now: UnixTime, config: &Config) {
        for (agent, _) in &noted {
            self.index.remove(agent);
        }
        if !noted.is_empty() {
            self.scan = Some(Scan {
                after: None,
                at: now.plus(config.push_retry),
            });
        }
    }

    fn changed(&self, row: &AgentRow) -> Option<(AgentId, Option<NewDoc>)> {
        let agent = row.agent();
        let Some(record) = public_record(row) else {
            return self.index.has(&agent).then_some((agent, None));
        };
        if self.index.has_serial(&agent, row.serial) {
            return None;
        }
        let doc = terms_of(record).map(|terms| NewDoc {
            agent,
            serial: row.serial,
            not_after: record.not_after,
            terms,
        });
        Some((agent, doc))
    }
}
