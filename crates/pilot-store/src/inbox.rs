//! Messages that came, in one redb file, until the owner clears them.

use std::path::Path;
use std::time::Duration;

use pilot_types::{Address, AgentId, Hostname, NetworkId, UnixTime};
use pilot_wire::{MessageId, MessageType, TraceParent};
use redb::TableDefinition;
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use crate::db::{Db, Layout, Table, Txn, key, u64_from};
use crate::error::{DbError, OpenDbError};

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

pub(crate) const LAYOUT: Layout = Layout {
    tables: &[
        HEADS,
        BODIES,
        IDS,
        IDS_BY_NUMBER,
        COUNTERS,
        LETTERS,
        LETTERS_BY_END,
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
    /// The inbox is full.
    #[error("the inbox is full ({used} of {quota} bytes): clear it with `pilotctl inbox --clear`")]
    Full {
        /// Bytes in it.
        used: u64,
        /// Bytes that it may hold.
        quota: u64,
    },
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// It is on disk now.
    Stored,
    /// It was stored before.
    Duplicate,
}

/// A message without its body.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InboxHead {
    /// Its name, unique with its sender.
    pub id: MessageId,
    /// Its sender.
    pub from: AgentId,
    /// The sender's address.
    pub from_address: Address,
    /// The sender's name when it came.
    pub from_hostname: Option<Hostname>,
    /// How the body is to be read.
    pub kind: MessageType,
    /// Bytes of the body.
    pub len: u64,
    /// When it came.
    pub received_at: UnixTime,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
    /// The application's trace.
    pub trace: Option<TraceParent>,
    /// How the sender was trusted when it came, in words.
    pub trust: String,
    /// The network to all of which it was said. Messages of earlier versions end before it.
    #[serde(deserialize_with = "trailing")]
    pub network: Option<NetworkId>,
    /// That it came by a mailbox. Messages of earlier versions end before it.
    #[serde(deserialize_with = "trailing")]
    pub mailed: Option<Mailed>,
}

/// What is said of a message that came by a mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mailed {
    /// When it was left there, by its sender's clock and signature.
    pub sent_at: UnixTime,
    /// Until when it might have been delivered: so long it is known when it comes again.
    pub not_after: UnixTime,
}

/// A last field, where there is one.
fn trailing<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::deserialize(deserializer).unwrap_or_default())
}

/// A message with its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InboxMessage {
    /// All but the body.
    pub head: InboxHead,
    /// The body.
    pub body: Vec<u8>,
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
    /// [`PutError::Full`] beyond the quota, [`PutError::Db`] if it could not be written: it must not be acknowledged then.
    pub fn put(&self, message: &InboxMessage) -> Result<Put, PutError> {
        let cost = message.body.len() as u64 + OVERHEAD;
        let id = id_key(&message.head);
        let put = self.db.write(|txn| {
            if txn.get(IDS, &id)?.is_some() || txn.get(LETTERS, &id)?.is_some() {
                return Ok(Ok(Put::Duplicate));
            }
            let used = txn.counter(COUNTERS, BYTES)?;
            if used.saturating_add(cost) > self.quota {
                return Ok(Err(used));
            }
            txn.set_counter(COUNTERS, BYTES, used + cost)?;
            insert(txn, &id, message)?;
            if let Some(mailed) = message.head.mailed {
                remember_letter(txn, &id, message.head.received_at, mailed.not_after)?;
            }
            Ok(Ok(Put::Stored))
        })?;
        put.map_err(|used| PutError::Full {
            used,
            quota: self.quota,
        })
    }

    /// Heads of the newest messages that came at `since` or later, at most `limit`, newest last.
    ///
    /// # Errors
    /// [`DbError`] if the file cannot be read or a head does not decode.
    pub fn list(&self, limit: usize, since: Option<UnixTime>) -> Result<Vec<InboxHead>, DbError> {
        let mut heads = vec![];
        if limit > 0 {
            self.db.scan_back(HEADS, b"", |_, value| {
                let head = self.db.decode::<InboxHead>(value, "a message's head");
                let is_wanted = |head: &InboxHead| since.is_none_or(|at| at <= head.received_at);
                if head.as_ref().map_or(true, is_wanted) {
                    heads.push(head);
                }
                heads.len() < limit
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
            txn.set_counter(COUNTERS, COUNT, 0)?;
            txn.set_counter(COUNTERS, BYTES, 0)?;
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

/// After a clearance: keeps the newest [`MAX_CLEARED_IDS`].
fn forget_oldest_ids(txn: &mut Txn) -> Result<(), redb::Error> {
    let last = txn.counter(COUNTERS, LAST_NUMBER)?;
    let first_kept = last.saturating_sub(MAX_CLEARED_IDS).to_be_bytes();
    for id in txn.take_below(IDS_BY_NUMBER, &first_kept)? {
        txn.delete(IDS, &id)?;
    }
    Ok(())
}

fn id_key(head: &InboxHead) -> Vec<u8> {
    key(&[head.id.as_bytes(), head.from.as_bytes()])
}

#[cfg(test)]
mod tests {
    use pilot_wire::{decode_postcard, encode_postcard};

    use super::*;

    #[test]
    fn a_head_of_an_earlier_version_ends_before_the_network() {
        let from = AgentId::new([1; 32]);
        let head = InboxHead {
            id: MessageId::new([2; 16]),
            from,
            from_address: from.address(),
            from_hostname: None,
            kind: MessageType::Text,
            len: 3,
            received_at: UnixTime::from_secs(4),
            reply_to: None,
            trace: None,
            trust: "trusted".to_owned(),
            network: None,
            mailed: None,
        };
        let mut bytes = encode_postcard(&head);
        assert_eq!(
            decode_postcard::<InboxHead>(&bytes, "head"),
            Ok(head.clone())
        );
        assert_eq!(bytes.pop(), Some(0));
        assert_eq!(
            decode_postcard::<InboxHead>(&bytes, "head"),
            Ok(head.clone())
        );
        assert_eq!(bytes.pop(), Some(0));
        assert_eq!(
            decode_postcard::<InboxHead>(&bytes, "head"),
            Ok(head.clone())
        );
        let network = NetworkId::new(7);
        let mailed = Some(Mailed {
            sent_at: UnixTime::from_secs(5),
            not_after: UnixTime::from_secs(6),
        });
        let head = InboxHead {
            network,
            mailed,
            ..head
        };
        assert_eq!(
            decode_postcard::<InboxHead>(&encode_postcard(&head), "head"),
            Ok(head)
        );
    }
}
