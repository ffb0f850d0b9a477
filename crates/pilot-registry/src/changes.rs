//! The one place that keeps rows, indexes and sums in step.

use std::collections::BTreeSet;

use pilot_types::{AgentId, UnixTime};

use crate::rows::{
    AgentRow, GrantRow, GroupRow, LetterAccount, LetterRow, LetterSum, PushKey, PushRow, Totals,
};
use crate::store::{Batch, Write};

/// A batch under construction.
///
/// Invariants of every batch: a row with a record that claims a name has the name's index, and no other row has; the
/// index by address leads to each row; `due` holds each row once, under its own `due`.
#[derive(Debug)]
pub(crate) struct Changes {
    writes: Vec<Write>,
    totals: Totals,
}

impl Changes {
    pub(crate) const fn new(totals: Totals) -> Self {
        Self {
            writes: vec![],
            totals,
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    pub(crate) fn letters_deleted(&self) -> u64 {
        let is_letter = |write: &&Write| matches!(write, Write::DeleteLetter(_));
        self.writes.iter().filter(is_letter).count() as u64
    }

    /// Sums as they will be.
    pub(crate) const fn totals(&self) -> Totals {
        self.totals
    }

    /// Inserts a row, or replaces `old`, which is the row that the store has.
    pub(crate) fn put_agent(&mut self, old: Option<&AgentRow>, new: AgentRow) {
        let agent = new.agent();
        if old.is_none() {
            self.totals.agents += 1;
            self.writes.push(Write::PutNode(agent.node(), agent));
        }
        self.count_records(old, Some(&new));
        self.move_name(old, &new);
        self.move_key(old, &new);
        if let Some(old) = old.filter(|old| old.due != new.due) {
            self.writes.push(Write::DeleteDue(old.due, agent));
        }
        if old.is_none_or(|old| old.due != new.due) {
            self.writes.push(Write::PutDue(new.due, agent));
        }
        self.writes.push(Write::PutAgent(Box::new(new)));
    }

    /// Takes record, locator and name from a row; it is dropped when `due` has come.
    pub(crate) fn retire(&mut self, old: &AgentRow, due: UnixTime) {
        let retired = AgentRow {
            record: None,
            locator: None,
            due,
            ..old.clone()
        };
        self.put_agent(Some(old), retired);
    }

    /// Removes a retired row and everything that hangs on it.
    pub(crate) fn drop_agent(&mut self, old: &AgentRow) {
        let agent = old.agent();
        self.count_records(Some(old), None);
        self.totals.agents = self.totals.agents.saturating_sub(1);
        if let Some(name) = name_of(old) {
            self.writes.push(Write::DeleteHostname(name.clone()));
        }
        if old.is_key_indexed {
            self.writes.push(Write::DeleteKey(old.facts.sign_key));
        }
        self.writes.extend([
            Write::DeleteNode(agent.node()),
            Write::DeleteDue(old.due, agent),
            Write::DeleteGrantsBy(agent),
            Write::DeletePushesTo(agent),
            Write::DeleteAgent(agent),
        ]);
    }

    pub(crate) fn put_grant(&mut self, row: GrantRow) {
        self.writes.push(Write::PutGrant(row));
    }

    pub(crate) fn delete_grant(&mut self, row: &GrantRow) {
        self.writes
            .push(Write::DeleteGrant(row.grantor, row.grantee));
    }

    /// Inserts a group, or replaces `old`, which is the row that the store has; names, numbers and members lead to it.
    pub(crate) fn put_group(&mut self, old: Option<&GroupRow>, new: GroupRow) {
        let group = new.group;
        if old.is_none() {
            self.writes.extend([
                Write::PutGroupName(new.name.clone(), group),
                Write::PutGroupNumber(new.network, group),
            ]);
        }
        let members = |row: &GroupRow| -> BTreeSet<AgentId> {
            row.members.iter().map(|member| member.agent).collect()
        };
        let (before, after) = (old.map(members).unwrap_or_default(), members(&new));
        let gone = before.difference(&after);
        let come = after.difference(&before);
        self.writes
            .extend(gone.map(|agent| Write::DeleteMember(*agent, group)));
        self.writes
            .extend(come.map(|agent| Write::PutMember(*agent, group)));
        self.writes.push(Write::PutGroup(Box::new(new)));
    }

    /// Removes a group whose name and number another one takes.
    pub(crate) fn drop_group(&mut self, old: &GroupRow) {
        let members = old.members.iter();
        self.writes
            .extend(members.map(|member| Write::DeleteMember(member.agent, old.group)));
        self.writes.push(Write::DeleteGroup(old.group));
    }

    pub(crate) fn put_push(&mut self, row: PushRow) {
        self.writes.push(Write::PutPush(row));
    }

    pub(crate) fn delete_push(&mut self, key: PushKey) {
        self.writes.push(Write::DeletePush(key));
    }

    pub(crate) fn put_letter(&mut self, row: LetterRow, sealed: Vec<u8>) {
        self.writes.push(Write::PutLetter(row, sealed));
    }

    pub(crate) fn delete_letter(&mut self, row: LetterRow) {
        self.writes.push(Write::DeleteLetter(row));
    }

    pub(crate) fn put_letter_sum(&mut self, account: LetterAccount, sum: LetterSum) {
        self.writes.push(Write::PutLetterSum(account, sum));
    }

    /// For a `due` entry whose row is gone or says another time, which only a damaged store has.
    pub(crate) fn forget_due(&mut self, at: UnixTime, agent: AgentId) {
        self.writes.push(Write::DeleteDue(at, agent));
    }

    pub(crate) fn into_batch(mut self, floor: UnixTime) -> Batch {
        self.totals.floor = floor;
        self.writes.push(Write::Totals(self.totals));
        Batch {
            writes: self.writes,
        }
    }

    fn count_records(&mut self, old: Option<&AgentRow>, new: Option<&AgentRow>) {
        let had = old.is_some_and(|row| row.record.is_some());
        let has = new.is_some_and(|row| row.record.is_some());
        self.totals.registered = self
            .totals
            .registered
            .saturating_add(u64::from(has))
            .saturating_sub(u64::from(had));
    }

    fn move_name(&mut self, old: Option<&AgentRow>, new: &AgentRow) {
        let (before, after) = (old.and_then(name_of), name_of(new));
        if before == after {
            return;
        }
        if let Some(name) = before {
            self.writes.push(Write::DeleteHostname(name.clone()));
        }
        if let Some(name) = after {
            self.writes
                .push(Write::PutHostname(name.clone(), new.agent()));
        }
    }

    fn move_key(&mut self, old: Option<&AgentRow>, new: &AgentRow) {
        let key_of = |row: &AgentRow| row.is_key_indexed.then_some(row.facts.sign_key);
        let (before, after) = (old.and_then(key_of), key_of(new));
        if before == after {
            return;
        }
        if let Some(key) = before {
            self.writes.push(Write::DeleteKey(key));
        }
        if let Some(key) = after {
            self.writes.push(Write::PutKey(key, new.agent()));
        }
    }
}

fn name_of(row: &AgentRow) -> Option<&pilot_types::Hostname> {
    row.record.as_ref()?.hostname.as_ref()
}
