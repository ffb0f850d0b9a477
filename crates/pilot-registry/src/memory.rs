//! A store in memory, for tests and simulation.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use pilot_types::{AgentId, GroupId, Hostname, NetworkId, NodeId, UnixTime};
use pilot_wire::MessageId;

use crate::rows::{
    AgentRow, GrantRow, GroupRow, LetterAccount, LetterKey, LetterRow, LetterSum, PushKey,
    PushKind, PushRow, Totals,
};
use crate::store::{Batch, Store, StoreError, Write};

/// A [`Store`] that forgets everything when dropped. What bounds it is the service.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemoryStore {
    totals: Totals,
    agents: BTreeMap<AgentId, AgentRow>,
    hostnames: BTreeMap<Hostname, AgentId>,
    nodes: BTreeMap<NodeId, AgentId>,
    keys: BTreeMap<[u8; 32], AgentId>,
    due: BTreeSet<(UnixTime, AgentId)>,
    grants: BTreeMap<(AgentId, AgentId), GrantRow>,
    /// Grantee and grantor of each grant.
    grantees: BTreeSet<(AgentId, AgentId)>,
    pushes: BTreeMap<PushKey, PushRow>,
    groups: BTreeMap<GroupId, GroupRow>,
    group_names: BTreeMap<Hostname, GroupId>,
    group_numbers: BTreeMap<NetworkId, GroupId>,
    /// Member and group.
    members: BTreeSet<(AgentId, GroupId)>,
    letters: BTreeMap<LetterKey, (LetterRow, Vec<u8>)>,
    /// Recipient, sender and message of each letter.
    letter_numbers: BTreeMap<(AgentId, AgentId, MessageId), u64>,
    letters_due: BTreeSet<(UnixTime, LetterKey)>,
    letter_sums: BTreeMap<LetterAccount, LetterSum>,
}

const FIRST: AgentId = AgentId::new([0; AgentId::LEN]);
const LAST: AgentId = AgentId::new([0xFF; AgentId::LEN]);

impl MemoryStore {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing but the sums is left.
    #[cfg(test)]
    pub(crate) fn is_bare(&self) -> bool {
        let bare = Self {
            totals: self.totals,
            letter_sums: self.letter_sums.clone(),
            ..Self::default()
        };
        *self == bare
    }

    #[cfg(test)]
    pub(crate) fn push_count(&self) -> usize {
        self.pushes.len()
    }

    fn write(&mut self, write: Write) {
        match write {
            Write::PutAgent(row) => drop(self.agents.insert(row.agent(), *row)),
            Write::DeleteAgent(agent) => drop(self.agents.remove(&agent)),
            Write::PutHostname(name, agent) => drop(self.hostnames.insert(name, agent)),
            Write::DeleteHostname(name) => drop(self.hostnames.remove(&name)),
            Write::PutNode(node, agent) => drop(self.nodes.insert(node, agent)),
            Write::DeleteNode(node) => drop(self.nodes.remove(&node)),
            Write::PutKey(key, agent) => drop(self.keys.insert(key, agent)),
            Write::DeleteKey(key) => drop(self.keys.remove(&key)),
            Write::PutDue(at, agent) => drop(self.due.insert((at, agent))),
            Write::DeleteDue(at, agent) => drop(self.due.remove(&(at, agent))),
            Write::PutGrant(row) => {
                self.grantees.insert((row.grantee, row.grantor));
                self.grants.insert((row.grantor, row.grantee), row);
            }
            Write::DeleteGrant(grantor, grantee) => {
                self.grantees.remove(&(grantee, grantor));
                self.grants.remove(&(grantor, grantee));
            }
            Write::DeleteGrantsBy(agent) => {
                self.grantees.retain(|(_, grantor)| *grantor != agent);
                self.grants.retain(|(grantor, _), _| *grantor != agent);
            }
            Write::PutPush(row) => drop(self.pushes.insert(row.key, row)),
            Write::DeletePush(key) => drop(self.pushes.remove(&key)),
            Write::DeletePushesTo(agent) => self.pushes.retain(|key, _| key.to != agent),
            Write::PutGroup(row) => drop(self.groups.insert(row.group, *row)),
            Write::DeleteGroup(group) => drop(self.groups.remove(&group)),
            Write::PutGroupName(name, group) => drop(self.group_names.insert(name, group)),
            Write::PutGroupNumber(number, group) => drop(self.group_numbers.insert(number, group)),
            Write::PutMember(agent, group) => drop(self.members.insert((agent, group))),
            Write::DeleteMember(agent, group) => drop(self.members.remove(&(agent, group))),
            Write::PutLetter(row, sealed) => self.put_letter(row, sealed),
            Write::DeleteLetter(row) => self.delete_letter(&row),
            Write::PutLetterSum(account, LetterSum::EMPTY) => {
                self.letter_sums.remove(&account);
            }
            Write::PutLetterSum(account, sum) => drop(self.letter_sums.insert(account, sum)),
            Write::Totals(totals) => self.totals = totals,
        }
    }
}

impl MemoryStore {
    fn put_letter(&mut self, row: LetterRow, sealed: Vec<u8>) {
        let LetterKey { to, number } = row.key;
        self.letter_numbers.insert((to, row.from, row.id), number);
        self.letters_due.insert((row.not_after, row.key));
        self.letters.insert(row.key, (row, sealed));
    }

    fn delete_letter(&mut self, row: &LetterRow) {
        self.letter_numbers.remove(&(row.key.to, row.from, row.id));
        self.letters_due.remove(&(row.not_after, row.key));
        self.letters.remove(&row.key);
    }
}

impl Store for MemoryStore {
    fn totals(&self) -> Totals {
        self.totals
    }

    fn agent(&self, agent: &AgentId) -> Result<Option<AgentRow>, StoreError> {
        Ok(self.agents.get(agent).cloned())
    }

    fn hostname(&self, hostname: &Hostname) -> Result<Option<AgentId>, StoreError> {
        Ok(self.hostnames.get(hostname).copied())
    }

    fn node(&self, node: NodeId) -> Result<Option<AgentId>, StoreError> {
        Ok(self.nodes.get(&node).copied())
    }

    fn key(&self, key: &[u8; 32]) -> Result<Option<AgentId>, StoreError> {
        Ok(self.keys.get(key).copied())
    }

    fn grant(&self, grantor: &AgentId, grantee: &AgentId) -> Result<Option<GrantRow>, StoreError> {
        Ok(self.grants.get(&(*grantor, *grantee)).cloned())
    }

    fn grant_count(&self, grantor: &AgentId) -> Result<u64, StoreError> {
        let range = (*grantor, FIRST)..=(*grantor, LAST);
        Ok(self.grants.range(range).count() as u64)
    }

    fn grants_by(&self, grantor: &AgentId) -> Result<Vec<GrantRow>, StoreError> {
        let range = (*grantor, FIRST)..=(*grantor, LAST);
        Ok(self
            .grants
            .range(range)
            .map(|(_, row)| row.clone())
            .collect())
    }

    fn grantors_to(&self, grantee: &AgentId, limit: usize) -> Result<Vec<AgentId>, StoreError> {
        let range = (*grantee, FIRST)..=(*grantee, LAST);
        let grantors = self.grantees.range(range).map(|(_, grantor)| *grantor);
        Ok(grantors.take(limit).collect())
    }

    fn agents(&self, after: Option<&AgentId>, limit: usize) -> Result<Vec<AgentRow>, StoreError> {
        let first = after.map_or(Bound::Unbounded, |after| Bound::Excluded(*after));
        let rows = self.agents.range((first, Bound::Unbounded));
        Ok(rows.take(limit).map(|(_, row)| row.clone()).collect())
    }

    fn group(&self, group: &GroupId) -> Result<Option<GroupRow>, StoreError> {
        Ok(self.groups.get(group).cloned())
    }

    fn group_name(&self, name: &Hostname) -> Result<Option<GroupId>, StoreError> {
        Ok(self.group_names.get(name).copied())
    }

    fn group_number(&self, number: NetworkId) -> Result<Option<GroupId>, StoreError> {
        Ok(self.group_numbers.get(&number).copied())
    }

    fn groups_of(&self, agent: &AgentId, limit: usize) -> Result<Vec<GroupId>, StoreError> {
        let first = (*agent, GroupId::new([0; 32]));
        let groups = self.members.range(first..);
        let groups = groups.take_while(|(member, _)| member == agent);
        Ok(groups.take(limit).map(|(_, group)| *group).collect())
    }

    fn push(&self, key: &PushKey) -> Result<Option<PushRow>, StoreError> {
        Ok(self.pushes.get(key).cloned())
    }

    fn pushes(&self, to: &AgentId, kind: PushKind) -> Result<Vec<PushRow>, StoreError> {
        let at = |from| PushKey {
            to: *to,
            kind,
            from,
        };
        let range = at(FIRST)..=at(LAST);
        Ok(self
            .pushes
            .range(range)
            .map(|(_, row)| row.clone())
            .collect())
    }

    fn due(&self, limit: usize) -> Result<Vec<(UnixTime, AgentId)>, StoreError> {
        Ok(self.due.iter().take(limit).copied().collect())
    }

    fn letter(&self, key: &LetterKey) -> Result<Option<LetterRow>, StoreError> {
        Ok(self.letters.get(key).map(|(row, _)| *row))
    }

    fn letter_bytes(&self, key: &LetterKey) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.letters.get(key).map(|(_, sealed)| sealed.clone()))
    }

    fn letters(
        &self,
        to: &AgentId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<LetterRow>, StoreError> {
        let at = |number| LetterKey { to: *to, number };
        let range = (Bound::Excluded(at(after)), Bound::Included(at(u64::MAX)));
        let rows = self.letters.range(range).take(limit);
        Ok(rows.map(|(_, (row, _))| *row).collect())
    }

    fn letter_number(
        &self,
        to: &AgentId,
        from: &AgentId,
        id: &MessageId,
    ) -> Result<Option<u64>, StoreError> {
        Ok(self.letter_numbers.get(&(*to, *from, *id)).copied())
    }

    fn letter_sum(&self, account: &LetterAccount) -> Result<LetterSum, StoreError> {
        Ok(self.letter_sums.get(account).copied().unwrap_or_default())
    }

    fn letters_due(&self, limit: usize) -> Result<Vec<(UnixTime, LetterKey)>, StoreError> {
        Ok(self.letters_due.iter().take(limit).copied().collect())
    }

    fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
        for write in batch.writes {
            self.write(write);
        }
        Ok(())
    }
}
