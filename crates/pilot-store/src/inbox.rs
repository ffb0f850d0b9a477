//! Messages that came, in one redb file, until the owner clears them.

mod message;

use std::path::Path;
use std::time::Duration;

use pilot_types::{AgentId, UnixTime};
use pilot_wire::MessageId;
use redb::TableDefinition;
use thiserror::Error;

use crate::db::{Db, Layout, Table, Txn, key, u64_from};
use crate::error::{DbError, OpenDbError};

pub use self::message::{Finding, InboxHead, InboxMessage, Mailed};

/// By number of arrival: the head.
const HEADS: Table = TableDefinition::new("heads");
/// By number of arrival and place: pieces of the body.
const BODIES: Table = TableDefinition::new("bodies");
/// By message id and sender: number of arrival. Outlives the message, so that a message sent again is known.
const IDS: Table = TableDefinition::new("ids");
/// By number of arrival: message id and sender, to forget the oldest.
const IDS_BY_NUMBER: Table = TableDefinition::new("ids_by_number");
const COUNTERS: Table = TableDefinition::new("counters");
/// By message id and sender: until when a message that came by a mailbox may come again, in milliseconds. Outlives the message and its id.
const LETTERS: Table = TableDefinition::new("letters");
/// By that time, then message id and sender: message id and sender, to forget those whose time is over.
const LETTERS_BY_END: Table = TableDefinition::new("letters_by_end");
/// By sender: bytes of its messages. Files of earlier versions count from when they were first opened by this one.
const SENDERS: Table = TableDefinition::new("senders");

pub(crate) const LAYOUT: Layout = Layout {
    tables: &[
        HEADS,
        BODIES,
        IDS,
        IDS_BY_NUMBER,
        COUNTERS,
        LETTERS,
        LETTERS_BY_END,
        SENDERS,
    ],
    format: 1,
    cache: 2 * 1024 * 1024,
};

const LAST_NUMBER: &[u8] = b"last_number";
const BYTES: &[u8] = b"bytes";
const COUNT: &[u8] = b"count";
/// How far the clocks of sender, rendezvous and recipient may differ.
const CLOCKS: Duration = Duration::from_secs(24 * 3600);
const LETTER_COUNT: &[u8] = b"letters";

/// Bodies are stored in pieces, for a database's page allocation doubles with the size of a value.
const PIECE: usize = 256 * 1024;
/// What a message costs beside its body: head, ids and the tree around them.
const OVERHEAD: u64 = 1024;
/// Ids of cleared messages that are remembered: a sender repeats within minutes, and this is a message a second for hours.
const MAX_CLEARED_IDS: u64 = 16_384;

/// Messages that came by a mailbox and are remembered to their end: 160 bytes each with the tree around them, 40 MiB in all. Of more, those
/// that end first are forgotten.
const MAX_LETTERS: u64 = 262_144;

/// Why a message was not stored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PutError {
    /// There is no room for it.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// Why there is no room for a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum NoRoom {
    /// The inbox is full.
    #[error("the inbox is full ({used} of {quota} bytes): clear it with `pilotctl inbox --clear`")]
    Full {
        /// Bytes in it.
        used: u64,
        /// Bytes that it may hold.
        quota: u64,
    },
    /// Its sender has filled the half that one sender may fill.
    #[error("one sender has filled {used} of {share} bytes, its share of the inbox")]
    Share {
        /// Bytes of the sender's messages.
        used: u64,
        /// Bytes that they may take.
        share: u64,
    },
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// It is on disk now.
    Stored,
    /// It was stored before.
    Duplicate,
}

/// `inbox.redb`. Calls block on the disk; what returns `Ok` is durable.
pub struct Inbox {
    db: Db,
    quota: u64,
}

impl Inbox {
    /// Opens the file at `path`, creating it if there is none; `quota` bounds its messages in bytes.
    ///
    /// # Errors
    /// [`OpenDbError`] if it cannot be read, is damaged, in use, or of a later format. It is left as it is then.
    pub fn open(path: &Path, quota: u64) -> Result<Self, OpenDbError> {
        Ok(Self::over(Db::open(path, &LAYOUT)?, quota))
    }

    pub(crate) const fn over(db: Db, quota: u64) -> Self {
        Self { db, quota }
    }

    /// Stores a message; one with the same id and sender as a message before changes nothing.
    ///
    /// # Errors
    /// [`PutError::NoRoom`] beyond the quota, [`PutError::Db`] if it could not be written: it must not be acknowledged then.
    pub fn put(&self, message: &InboxMessage) -> Result<Put, PutError> {
        let put = self.put_all(std::slice::from_ref(message))?;
        let [put] = put.try_into().expect("one for each message");
        Ok(put?)
    }

    /// Stores messages in their order, with one write to the disk for all of them.
    ///
    /// # Errors
    /// [`DbError`] if they could not be written: none of them must be acknowledged then.
    pub fn put_all(&self, messages: &[InboxMessage]) -> Result<Vec<Result<Put, NoRoom>>, DbError> {
        self.db.write(|txn| {
            let put = |message| put(txn, message, self.quota);
            messages.iter().map(put).collect()
        })
    }

    /// Heads of the newest messages that are wanted, at most `limit`, newest last. `is_wanted` is asked of the newest first, and may read the
    /// inbox.
    ///
    /// # Errors
    /// [`DbError`] if the file cannot be read, a head does not decode, or `is_wanted` says so.
    pub fn list(
        &self,
        limit: usize,
        mut is_wanted: impl FnMut(&InboxHead) -> Result<bool, DbError>,
    ) -> Result<Vec<InboxHead>, DbError> {
        let mut heads = vec![];
        if limit > 0 {
            self.db.scan_back(HEADS, b"", |_, value| {
                let head = self.db.decode::<InboxHead>(value, "a message's head");
                let wanted = head.and_then(|head| Ok(is_wanted(&head)?.then_some(head)));
                heads.extend(wanted.transpose());
                let is_whole = heads.last().is_none_or(Result::is_ok);
                is_whole && heads.len() < limit
            })?;
        }
        heads.into_iter().rev().collect()
    }

    /// Messages in the inbox.
    ///
    /// # Errors
    /// [`DbError`] if the file cannot be read.
    pub fn total(&self) -> Result<u64, DbError> {
        let count = self.db.get(COUNTERS, COUNT)?;
        match count {
            None => Ok(0),
            Some(bytes) => u64_from(&bytes).ok_or_else(|| self.db.damaged("the count")),
        }
    }

    /// The message with this id; of several senders' the one that came first.
    ///
    /// # Errors
    /// [`DbError`] if the file cannot be read or the message does not decode.
    pub fn read(&self, id: &MessageId) -> Result<Option<InboxMessage>, DbError> {
        let mut numbers = vec![];
        self.db.scan(IDS, id.as_bytes(), |_, number| {
            numbers.push(number.to_vec());
            true
        })?;
        numbers.sort();
        for number in numbers {
            if let Some(message) = self.message(&number)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// The message with this id from this sender.
    ///
    /// # Errors
    /// [`DbError`] if the file cannot be read or the message does not decode.
    pub fn read_from(
        &self,
        from: &AgentId,
        id: &MessageId,
    ) -> Result<Option<InboxMessage>, DbError> {
        match self.db.get(IDS, &key(&[id.as_bytes(), from.as_bytes()]))? {
            Some(number) => self.message(&number),
            None => Ok(None),
        }
    }

    /// Removes all messages and says how many there were. Their ids stay known for a while.
    ///
    /// # Errors
    /// [`DbError`] if it could not be written; nothing is removed then.
    pub fn clear(&self) -> Result<u64, DbError> {
        self.db.write(|txn| {
            let count = txn.counter(COUNTERS, COUNT)?;
            txn.delete_prefix(HEADS, b"")?;
            txn.delete_prefix(BODIES, b"")?;
            txn.delete_prefix(SENDERS, b"")?;
            txn.set_counter(COUNTERS, COUNT, 0)?;
            txn.set_counter(COUNTERS, BYTES, 0)?;
            forget_oldest_ids(txn)?;
            Ok(count)
        })
    }

    /// Removes messages that came before `end`, the oldest first, at most `limit`, and says how many there were. Ids stay known as with
    /// [`Self::clear`].
    ///
    /// # Errors
    /// [`DbError`] if it could not be written; nothing is removed then.
    pub fn remove_before(&self, end: UnixTime, limit: usize) -> Result<usize, DbError> {
        let mut old: Vec<(Vec<u8>, InboxHead)> = vec![];
        let mut damaged = None;
        self.db.scan(HEADS, b"", |number, value| {
            match self.db.decode::<InboxHead>(value, "a message's head") {
                // Clocks may have been set back: the first that is young does not say that all after it are.
                Ok(head) if head.received_at < end => old.push((number.to_vec(), head)),
                Ok(_) => {}
                Err(error) => damaged = Some(error),
            }
            old.len() < limit && damaged.is_none()
        })?;
        if let Some(error) = damaged {
            return Err(error);
        }
        if old.is_empty() {
            return Ok(0);
        }
        self.db.write(|txn| {
            let removed = old.iter().map(|(number, head)| remove(txn, number, head));
            let count = removed.sum::<Result<usize, _>>()?;
            forget_oldest_ids(txn)?;
            Ok(count)
        })
    }

    fn message(&self, number: &[u8]) -> Result<Option<InboxMessage>, DbError> {
        let head: Option<InboxHead> = self.db.get_row(HEADS, number, "a message's head")?;
        let Some(head) = head else {
            return Ok(None);
        };
        let mut body = vec![];
        self.db.scan(BODIES, number, |_, piece| {
            body.extend_from_slice(piece);
            true
        })?;
        if body.len() as u64 == head.len {
            Ok(Some(InboxMessage { head, body }))
        } else {
            Err(self.db.damaged("a message's body"))
        }
    }
}

fn put(
    txn: &mut Txn,
    message: &InboxMessage,
    quota: u64,
) -> Result<Result<Put, NoRoom>, redb::Error> {
    let id = id_key(&message.head);
    if txn.get(IDS, &id)?.is_some() || txn.get(LETTERS, &id)?.is_some() {
        return Ok(Ok(Put::Duplicate));
    }
    let (cost, sender) = (cost(message.body.len() as u64), message.head.from);
    let used = txn.counter(COUNTERS, BYTES)?;
    let used_by_sender = txn.counter(SENDERS, sender.as_bytes())?;
    if used.saturating_add(cost) > quota {
        return Ok(Err(NoRoom::Full { used, quota }));
    }
    let share = quota / 2;
    // Its first message may be as large as any.
    if used_by_sender > 0 && used_by_sender.saturating_add(cost) > share {
        let used = used_by_sender;
        return Ok(Err(NoRoom::Share { used, share }));
    }
    txn.set_counter(COUNTERS, BYTES, used + cost)?;
    txn.set_counter(SENDERS, sender.as_bytes(), used_by_sender + cost)?;
    insert(txn, &id, message)?;
    if let Some(mailed) = message.head.mailed {
        remember_letter(txn, &id, message.head.received_at, mailed.not_after)?;
    }
    Ok(Ok(Put::Stored))
}

/// What a message with a body of this length takes of the quota.
const fn cost(len: u64) -> u64 {
    len.saturating_add(OVERHEAD)
}

fn insert(txn: &mut Txn, id: &[u8], message: &InboxMessage) -> Result<(), redb::Error> {
    let number = txn.counter(COUNTERS, LAST_NUMBER)? + 1;
    let count = txn.counter(COUNTERS, COUNT)? + 1;
    txn.set_counter(COUNTERS, LAST_NUMBER, number)?;
    txn.set_counter(COUNTERS, COUNT, count)?;
    let number = number.to_be_bytes();
    let head = InboxHead {
        len: message.body.len() as u64,
        ..message.head.clone()
    };
    txn.put_row(HEADS, &number, &head)?;
    for (place, piece) in (0u32..).zip(message.body.chunks(PIECE)) {
        txn.put(BODIES, &key(&[&number, &place.to_be_bytes()]), piece)?;
    }
    txn.put(IDS, id, &number)?;
    txn.put(IDS_BY_NUMBER, &number, id)
}

/// Removes a message, and says how many that were: it may have been cleared meanwhile.
fn remove(txn: &mut Txn, number: &[u8], head: &InboxHead) -> Result<usize, redb::Error> {
    if txn.get(HEADS, number)?.is_none() {
        return Ok(0);
    }
    txn.delete(HEADS, number)?;
    txn.delete_prefix(BODIES, number)?;
    let mut lower = |table, name: &[u8], by| match txn.counter(table, name)?.saturating_sub(by) {
        // A sender of nothing takes no room.
        0 => txn.delete(table, name),
        left => txn.set_counter(table, name, left),
    };
    lower(COUNTERS, COUNT, 1)?;
    lower(COUNTERS, BYTES, cost(head.len))?;
    lower(SENDERS, head.from.as_bytes(), cost(head.len))?;
    Ok(1)
}

/// Keeps the id of a message that came by a mailbox for as long as it may come again, and a day for clocks that differ.
fn remember_letter(
    txn: &mut Txn,
    id: &[u8],
    now: UnixTime,
    not_after: UnixTime,
) -> Result<(), redb::Error> {
    let end = |at: UnixTime| at.plus(CLOCKS).as_millis().to_be_bytes();
    let over = txn.take_below(LETTERS_BY_END, &now.as_millis().to_be_bytes())?;
    let mut count = txn.counter(COUNTERS, LETTER_COUNT)?;
    for id in &over {
        txn.delete(LETTERS, id)?;
        count = count.saturating_sub(1);
    }
    if count >= MAX_LETTERS
        && let Some((first, id)) = txn.first(LETTERS_BY_END)?
    {
        txn.delete(LETTERS_BY_END, &first)?;
        txn.delete(LETTERS, &id)?;
        count -= 1;
    }
    txn.put(LETTERS, id, &end(not_after))?;
    txn.put(LETTERS_BY_END, &key(&[&end(not_after), id]), id)?;
    txn.set_counter(COUNTERS, LETTER_COUNT, count + 1)
}

/// Keeps the newest [`MAX_CLEARED_IDS`], and those of messages that are there.
fn forget_oldest_ids(txn: &mut Txn) -> Result<(), redb::Error> {
    let last = txn.counter(COUNTERS, LAST_NUMBER)?;
    let newest = last.saturating_sub(MAX_CLEARED_IDS).to_be_bytes().to_vec();
    let first_kept = match txn.first(HEADS)? {
        Some((oldest, _)) => oldest.min(newest),
        None => newest,
    };
    for id in txn.take_below(IDS_BY_NUMBER, &first_kept)? {
        txn.delete(IDS, &id)?;
    }
    Ok(())
}

fn id_key(head: &InboxHead) -> Vec<u8> {
    key(&[head.id.as_bytes(), head.from.as_bytes()])
}
