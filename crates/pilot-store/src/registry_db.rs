//! The registry's store in one redb file.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pilot_registry::{
    AgentRow, Batch, GrantRow, GroupRow, LetterAccount, LetterKey, LetterRow, LetterSum, PushKey,
    PushKind, PushRow, Store, StoreError, Totals, Write,
};
use pilot_types::{AgentId, GroupId, Hostname, NetworkId, NodeId, UnixTime};
use pilot_wire::MessageId;
use redb::TableDefinition;

use crate::db::{Db, Layout, Table, Txn, key, u64_from};
use crate::error::{DbError, OpenDbError};

const AGENTS: Table = TableDefinition::new("agents");
const HOSTNAMES: Table = TableDefinition::new("hostnames");
const NODES: Table = TableDefinition::new("nodes");
const KEYS: Table = TableDefinition::new("keys");
/// Time and agent; no value.
const DUE: Table = TableDefinition::new("due");
/// Grantor and grantee.
const GRANTS: Table = TableDefinition::new("grants");
/// Grantee and grantor of each grant; no value.
const GRANTEES: Table = TableDefinition::new("grantees");
/// Recipient, kind and sender.
const PUSHES: Table = TableDefinition::new("pushes");
/// By group.
const GROUPS: Table = TableDefinition::new("groups");
/// By name.
const GROUP_NAMES: Table = TableDefinition::new("group_names");
/// By number.
const GROUP_NUMBERS: Table = TableDefinition::new("group_numbers");
/// Member and group; no value.
const MEMBERS: Table = TableDefinition::new("members");
const TOTALS: Table = TableDefinition::new("totals");
/// Recipient and number: all of a letter but its bytes.
const LETTERS: Table = TableDefinition::new("letters");
/// Recipient, number and place: pieces of a letter's bytes.
const LETTER_BYTES: Table = TableDefinition::new("letter_bytes");
/// Recipient, sender and message: number.
const LETTER_NUMBERS: Table = TableDefinition::new("letter_numbers");
/// Time, recipient and number; no value.
const LETTERS_DUE: Table = TableDefinition::new("letters_due");
/// By account.
const LETTER_SUMS: Table = TableDefinition::new("letter_sums");

/// Letters are stored in pieces, for a database's page allocation doubles with the size of a value.
const PIECE: usize = 64 * 1024;

pub(crate) const LAYOUT: Layout = Layout {
    tables: &[
        AGENTS,
        HOSTNAMES,
        NODES,
        KEYS,
        DUE,
        GRANTS,
        GRANTEES,
        PUSHES,
        GROUPS,
        GROUP_NAMES,
        GROUP_NUMBERS,
        MEMBERS,
        TOTALS,
        LETTERS,
        LETTER_BYTES,
        LETTER_NUMBERS,
        LETTERS_DUE,
        LETTER_SUMS,
    ],
    format: 1,
    cache: 256 * 1024 * 1024,
};

/// `registry.redb`: every batch is one transaction, on disk before it is acknowledged.
pub struct RegistryDb {
    db: Db,
    sums: Mutex<Sums>,
}

/// The sums, without a look at the disk for each.
#[derive(Clone, Copy)]
struct Sums {
    totals: Totals,
    /// A batch failed, and may be stored all the same: the disk knows.
    is_doubtful: bool,
}

impl RegistryDb {
    /// Opens the file at `path`, creating it if there is none.
    ///
    /// # Errors
    /// [`OpenDbError`] if it cannot be read, is damaged, in use, or of a later format. It is left as it is then.
    pub fn open(path: &Path) -> Result<Self, OpenDbError> {
        Self::over(Db::open(path, &LAYOUT)?)
    }

    #[cfg(test)]
    pub(crate) fn are_sums_stored(&self) -> bool {
        stored_totals(&self.db).is_ok_and(|stored| stored == self.totals())
    }

    pub(crate) fn over(db: Db) -> Result<Self, OpenDbError> {
        let damaged = |error: DbError| OpenDbError::Damaged {
            path: db.path().to_owned(),
            words: error.to_string(),
        };
        index_grantees(&db).map_err(damaged)?;
        let totals = stored_totals(&db).map_err(damaged)?;
        let sums = Mutex::new(Sums {
            totals,
            is_doubtful: false,
        });
        Ok(Self { db, sums })
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the disk after a failure.
    fn settle(&self) -> Result<Sums, DbError> {
        let mut sums = self.sums();
        if sums.is_doubtful {
            sums.totals = stored_totals(&self.db)?;
            sums.is_doubtful = false;
        }
        Ok(*sums)
    }

    fn agent_at(&self, table: Table, key: &[u8]) -> Result<Option<AgentId>, StoreError> {
        let bytes = self.db.get(table, key).map_err(store_error)?;
        let Some(bytes) = bytes else {
            return Ok(None);
        };
        match <[u8; AgentId::LEN]>::try_from(bytes.as_slice()) {
            Ok(agent) => Ok(Some(AgentId::new(agent))),
            Err(_) => Err(store_error(self.db.damaged("an index"))),
        }
    }

    fn group_at(&self, table: Table, key: &[u8]) -> Result<Option<GroupId>, StoreError> {
        Ok(self.agent_at(table, key)?.map(GroupId::of_log))
    }
}

impl Store for RegistryDb {
    fn totals(&self) -> Totals {
        self.settle().unwrap_or_else(|_| *self.sums()).totals
    }

    fn agent(&self, agent: &AgentId) -> Result<Option<AgentRow>, StoreError> {
        self.db
            .get_row(AGENTS, agent.as_bytes(), "an agent's row")
            .map_err(store_error)
    }

    fn hostname(&self, hostname: &Hostname) -> Result<Option<AgentId>, StoreError> {
        self.agent_at(HOSTNAMES, hostname.as_str().as_bytes())
    }

    fn node(&self, node: NodeId) -> Result<Option<AgentId>, StoreError> {
        self.agent_at(NODES, &node.to_u64().to_be_bytes())
    }

    fn key(&self, key: &[u8; 32]) -> Result<Option<AgentId>, StoreError> {
        self.agent_at(KEYS, key)
    }

    fn grant(&self, grantor: &AgentId, grantee: &AgentId) -> Result<Option<GrantRow>, StoreError> {
        self.db
            .get_row(GRANTS, &pair(grantor, grantee), "a grant's row")
            .map_err(store_error)
    }

    fn grant_count(&self, grantor: &AgentId) -> Result<u64, StoreError> {
        let mut count = 0;
        let counted = self.db.scan(GRANTS, grantor.as_bytes(), |_, _| {
            count += 1;
            true
        });
        counted.map(|()| count).map_err(store_error)
    }

    fn grants_by(&self, grantor: &AgentId) -> Result<Vec<GrantRow>, StoreError> {
        self.db
            .rows(GRANTS, grantor.as_bytes(), "a grant's row")
            .map_err(store_error)
    }

    fn grantors_to(&self, grantee: &AgentId, limit: usize) -> Result<Vec<AgentId>, StoreError> {
        let mut grantors = vec![];
        if limit > 0 {
            self.db
                .scan(GRANTEES, grantee.as_bytes(), |key, _| {
                    grantors.push(second_of(key));
                    grantors.len() < limit
                })
                .map_err(store_error)?;
        }
        let grantors: Option<Vec<_>> = grantors.into_iter().collect();
        grantors.ok_or_else(|| store_error(self.db.damaged("an index")))
    }

    fn agents(&self, after: Option<&AgentId>, limit: usize) -> Result<Vec<AgentRow>, StoreError> {
        let mut rows = vec![];
        if limit > 0 {
            let after = after.map(|agent| agent.as_bytes().as_slice());
            self.db
                .scan_after(AGENTS, after, |_, value| {
                    rows.push(self.db.decode(value, "an agent's row"));
                    rows.len() < limit
                })
                .map_err(store_error)?;
        }
        rows.into_iter()
            .collect::<Result<_, _>>()
            .map_err(store_error)
    }

    fn group(&self, group: &GroupId) -> Result<Option<GroupRow>, StoreError> {
        self.db
            .get_row(GROUPS, group.as_bytes(), "a group's row")
            .map_err(store_error)
    }

    fn group_name(&self, name: &Hostname) -> Result<Option<GroupId>, StoreError> {
        self.group_at(GROUP_NAMES, name.as_str().as_bytes())
    }

    fn group_number(&self, number: NetworkId) -> Result<Option<GroupId>, StoreError> {
        self.group_at(GROUP_NUMBERS, &number.to_u16().to_be_bytes())
    }

    fn groups_of(&self, agent: &AgentId, limit: usize) -> Result<Vec<GroupId>, StoreError> {
        let mut groups = vec![];
        if limit > 0 {
            self.db
                .scan(MEMBERS, agent.as_bytes(), |key, _| {
                    groups.push(second_of(key).map(GroupId::of_log));
                    groups.len() < limit
                })
                .map_err(store_error)?;
        }
        let groups: Option<Vec<_>> = groups.into_iter().collect();
        groups.ok_or_else(|| store_error(self.db.damaged("an index")))
    }

    fn push(&self, key: &PushKey) -> Result<Option<PushRow>, StoreError> {
        self.db
            .get_row(PUSHES, &push_key(key), "a push's row")
            .map_err(store_error)
    }

    fn pushes(&self, to: &AgentId, kind: PushKind) -> Result<Vec<PushRow>, StoreError> {
        let prefix = key(&[to.as_bytes(), &[kind_byte(kind)]]);
        self.db
            .rows(PUSHES, &prefix, "a push's row")
            .map_err(store_error)
    }

    fn due(&self, limit: usize) -> Result<Vec<(UnixTime, AgentId)>, StoreError> {
        let mut due = vec![];
        if limit > 0 {
            self.db
                .scan(DUE, b"", |key, _| {
                    due.push(due_from(key));
                    due.len() < limit
                })
                .map_err(store_error)?;
        }
        let due: Option<Vec<_>> = due.into_iter().collect();
        due.ok_or_else(|| store_error(self.db.damaged("a time of expiry")))
    }

    fn letter(&self, key: &LetterKey) -> Result<Option<LetterRow>, StoreError> {
        self.db
            .get_row(LETTERS, &letter_key(key), "a letter's row")
            .map_err(store_error)
    }

    fn letter_bytes(&self, key: &LetterKey) -> Result<Option<Vec<u8>>, StoreError> {
        let mut bytes: Option<Vec<u8>> = None;
        self.db
            .scan(LETTER_BYTES, &letter_key(key), |_, piece| {
                bytes.get_or_insert_default().extend_from_slice(piece);
                true
            })
            .map_err(store_error)?;
        Ok(bytes)
    }

    fn letters(
        &self,
        to: &AgentId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<LetterRow>, StoreError> {
        let mut rows = vec![];
        if limit > 0 {
            let after = letter_key(&LetterKey {
                to: *to,
                number: after,
            });
            self.db
                .scan_after(LETTERS, Some(&after), |key, value| {
                    let is_theirs = key.starts_with(to.as_bytes());
                    if is_theirs {
                        rows.push(self.db.decode(value, "a letter's row"));
                    }
                    is_theirs && rows.len() < limit
                })
                .map_err(store_error)?;
        }
        rows.into_iter()
            .collect::<Result<_, _>>()
            .map_err(store_error)
    }

    fn letter_number(
        &self,
        to: &AgentId,
        from: &AgentId,
        id: &MessageId,
    ) -> Result<Option<u64>, StoreError> {
        let number = self.db.get(LETTER_NUMBERS, &message_key(to, from, id));
        match number.map_err(store_error)? {
            None => Ok(None),
            Some(bytes) => match u64_from(&bytes) {
                Some(number) => Ok(Some(number)),
                None => Err(store_error(self.db.damaged("a letter's number"))),
            },
        }
    }

    fn letter_sum(&self, account: &LetterAccount) -> Result<LetterSum, StoreError> {
        let sum = self
            .db
            .get_row(LETTER_SUMS, &account_key(account), "a sum of letters");
        Ok(sum.map_err(store_error)?.unwrap_or_default())
    }

    fn letters_due(&self, limit: usize) -> Result<Vec<(UnixTime, LetterKey)>, StoreError> {
        let mut due = vec![];
        if limit > 0 {
            self.db
                .scan(LETTERS_DUE, b"", |key, _| {
                    due.push(letter_due_from(key));
                    due.len() < limit
                })
                .map_err(store_error)?;
        }
        let due: Option<Vec<_>> = due.into_iter().collect();
        due.ok_or_else(|| store_error(self.db.damaged("a time of expiry")))
    }

    fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
        let before = *self.sums();
        let mut totals = self.settle().map_err(store_error)?.totals;
        if totals != before.totals {
            // The batch was made with other sums than are stored.
            return Err(StoreError::new(
                "a change that was refused is stored: try again",
            ));
        }
        let applied = self.db.write(|txn| {
            for write in &batch.writes {
                apply(txn, write)?;
                if let Write::Totals(new) = write {
                    totals = *new;
                }
            }
            Ok(())
        });
        let mut sums = self.sums();
        match applied {
            Ok(()) => sums.totals = totals,
            Err(_) => sums.is_doubtful = true,
        }
        applied.map_err(store_error)
    }
}

fn stored_totals(db: &Db) -> Result<Totals, DbError> {
    let totals = db.get_row(TOTALS, b"", "the sums")?;
    Ok(totals.unwrap_or_default())
}

fn apply(txn: &mut Txn, write: &Write) -> Result<(), redb::Error> {
    match write {
        Write::PutAgent(row) => txn.put_row(AGENTS, row.agent().as_bytes(), row.as_ref()),
        Write::DeleteAgent(agent) => txn.delete(AGENTS, agent.as_bytes()),
        Write::PutHostname(name, agent) => {
            txn.put(HOSTNAMES, name.as_str().as_bytes(), agent.as_bytes())
        }
        Write::DeleteHostname(name) => txn.delete(HOSTNAMES, name.as_str().as_bytes()),
        Write::PutNode(node, agent) => {
            txn.put(NODES, &node.to_u64().to_be_bytes(), agent.as_bytes())
        }
        Write::DeleteNode(node) => txn.delete(NODES, &node.to_u64().to_be_bytes()),
        Write::PutKey(key, agent) => txn.put(KEYS, key, agent.as_bytes()),
        Write::DeleteKey(key) => txn.delete(KEYS, key),
        Write::PutDue(at, agent) => txn.put(DUE, &due_key(*at, agent), b""),
        Write::DeleteDue(at, agent) => txn.delete(DUE, &due_key(*at, agent)),
        Write::PutGrant(row) => {
            txn.put(GRANTEES, &pair(&row.grantee, &row.grantor), b"")?;
            txn.put_row(GRANTS, &pair(&row.grantor, &row.grantee), row)
        }
        Write::DeleteGrant(grantor, grantee) => {
            txn.delete(GRANTEES, &pair(grantee, grantor))?;
            txn.delete(GRANTS, &pair(grantor, grantee))
        }
        Write::DeleteGrantsBy(agent) => {
            for grant in txn.take_prefix(GRANTS, agent.as_bytes())? {
                if let Some(grantee) = second_of(&grant) {
                    txn.delete(GRANTEES, &pair(&grantee, agent))?;
                }
            }
            Ok(())
        }
        Write::PutPush(row) => txn.put_row(PUSHES, &push_key(&row.key), row),
        Write::DeletePush(key) => txn.delete(PUSHES, &push_key(key)),
        Write::DeletePushesTo(agent) => txn.delete_prefix(PUSHES, agent.as_bytes()),
        Write::PutGroup(row) => txn.put_row(GROUPS, row.group.as_bytes(), row.as_ref()),
        Write::DeleteGroup(group) => txn.delete(GROUPS, group.as_bytes()),
        Write::PutGroupName(name, group) => {
            txn.put(GROUP_NAMES, name.as_str().as_bytes(), group.as_bytes())
        }
        Write::PutGroupNumber(number, group) => txn.put(
            GROUP_NUMBERS,
            &number.to_u16().to_be_bytes(),
            group.as_bytes(),
        ),
        Write::PutMember(agent, group) => txn.put(MEMBERS, &pair(agent, &group.signer()), b""),
        Write::DeleteMember(agent, group) => txn.delete(MEMBERS, &pair(agent, &group.signer())),
        Write::PutLetter(row, sealed) => put_letter(txn, row, sealed),
        Write::DeleteLetter(row) => delete_letter(txn, row),
        Write::PutLetterSum(account, LetterSum::EMPTY) => {
            txn.delete(LETTER_SUMS, &account_key(account))
        }
        Write::PutLetterSum(account, sum) => txn.put_row(LETTER_SUMS, &account_key(account), sum),
        Write::Totals(totals) => txn.put_row(TOTALS, b"", totals),
    }
}

fn put_letter(txn: &mut Txn, row: &LetterRow, sealed: &[u8]) -> Result<(), redb::Error> {
    let place = letter_key(&row.key);
    let message = message_key(&row.key.to, &row.from, &row.id);
    txn.put(LETTER_NUMBERS, &message, &row.key.number.to_be_bytes())?;
    txn.put(LETTERS_DUE, &letter_due_key(row), b"")?;
    // A letter in its place goes as a whole.
    txn.delete_prefix(LETTER_BYTES, &place)?;
    for (piece, bytes) in (0u16..).zip(sealed.chunks(PIECE)) {
        txn.put(LETTER_BYTES, &key(&[&place, &piece.to_be_bytes()]), bytes)?;
    }
    txn.put_row(LETTERS, &place, row)
}

fn delete_letter(txn: &mut Txn, row: &LetterRow) -> Result<(), redb::Error> {
    let place = letter_key(&row.key);
    txn.delete(
        LETTER_NUMBERS,
        &message_key(&row.key.to, &row.from, &row.id),
    )?;
    txn.delete(LETTERS_DUE, &letter_due_key(row))?;
    txn.delete_prefix(LETTER_BYTES, &place)?;
    txn.delete(LETTERS, &place)
}

/// Makes the index by grantee of a file that an earlier program wrote to.
fn index_grantees(db: &Db) -> Result<(), DbError> {
    if db.len(GRANTEES)? == db.len(GRANTS)? {
        return Ok(());
    }
    let mut pairs = vec![];
    db.scan(GRANTS, b"", |grant, _| {
        let halves = grant.split_at_checked(AgentId::LEN);
        pairs.extend(halves.map(|(grantor, grantee)| key(&[grantee, grantor])));
        true
    })?;
    db.write(|txn| {
        txn.delete_prefix(GRANTEES, b"")?;
        pairs
            .iter()
            .try_for_each(|pair| txn.put(GRANTEES, pair, b""))
    })
}

fn pair(first: &AgentId, second: &AgentId) -> Vec<u8> {
    key(&[first.as_bytes(), second.as_bytes()])
}

fn second_of(pair: &[u8]) -> Option<AgentId> {
    let (_, second) = pair.split_at_checked(AgentId::LEN)?;
    second.try_into().ok().map(AgentId::new)
}

fn due_key(at: UnixTime, agent: &AgentId) -> Vec<u8> {
    key(&[&at.as_millis().to_be_bytes(), agent.as_bytes()])
}

fn due_from(key: &[u8]) -> Option<(UnixTime, AgentId)> {
    let (at, agent) = key.split_at_checked(8)?;
    let agent = agent.try_into().ok().map(AgentId::new)?;
    Some((UnixTime::from_millis(u64_from(at)?), agent))
}

fn push_key(push: &PushKey) -> Vec<u8> {
    let kind = [kind_byte(push.kind)];
    key(&[push.to.as_bytes(), &kind, push.from.as_bytes()])
}

fn letter_key(letter: &LetterKey) -> Vec<u8> {
    key(&[letter.to.as_bytes(), &letter.number.to_be_bytes()])
}

fn message_key(to: &AgentId, from: &AgentId, id: &MessageId) -> Vec<u8> {
    key(&[to.as_bytes(), from.as_bytes(), id.as_bytes()])
}

fn letter_due_key(row: &LetterRow) -> Vec<u8> {
    let at = row.not_after.as_millis().to_be_bytes();
    key(&[&at, &letter_key(&row.key)])
}

fn letter_due_from(key: &[u8]) -> Option<(UnixTime, LetterKey)> {
    let (at, place) = key.split_at_checked(8)?;
    let (to, number) = place.split_at_checked(AgentId::LEN)?;
    let letter = LetterKey {
        to: to.try_into().ok().map(AgentId::new)?,
        number: u64_from(number)?,
    };
    Some((UnixTime::from_millis(u64_from(at)?), letter))
}

fn account_key(account: &LetterAccount) -> Vec<u8> {
    match account {
        LetterAccount::All => vec![0],
        LetterAccount::To(to) => key(&[&[1], to.as_bytes()]),
        LetterAccount::From(from) => key(&[&[2], from.as_bytes()]),
        LetterAccount::Between(to, from) => key(&[&[3], to.as_bytes(), from.as_bytes()]),
    }
}

const fn kind_byte(kind: PushKind) -> u8 {
    match kind {
        PushKind::Knock => 0,
        PushKind::Grant => 1,
        PushKind::Group => 2,
        PushKind::GroupRequest => 3,
        PushKind::Invitation => 4,
        PushKind::Letters => 5,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is the target of map_err")]
fn store_error(error: DbError) -> StoreError {
    StoreError::new(error.to_string())
}
