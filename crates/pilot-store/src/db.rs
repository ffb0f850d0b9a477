//! One redb file: created whole, opened with its format checked, read by key, written durably.

mod medium;

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use pilot_wire::{decode_postcard, encode_postcard};
use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition, TableError, WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::medium::DbFile;
pub(crate) use self::medium::{After, Medium, sync_parent};
#[cfg(test)]
pub(crate) use self::medium::{open_error, rewrite};
use crate::error::{DbError, OpenDbError};

/// Every table maps bytes to bytes: keys are of fixed size and big-endian, so that ranges are by prefix.
pub(crate) type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

const META: Table = TableDefinition::new("meta");
const FORMAT: &[u8] = b"format";

/// What a file holds.
pub(crate) struct Layout {
    pub(crate) tables: &'static [Table],
    /// Counts changes of layout that an older program cannot read.
    pub(crate) format: u64,
    /// Bytes of pages kept in memory.
    pub(crate) cache: usize,
}

/// An open database.
pub(crate) struct Db {
    /// None after a write failed: the engine answers nothing more then, until it is opened anew.
    database: RwLock<Option<Database>>,
    medium: Box<dyn Medium>,
    cache: usize,
    path: PathBuf,
}

impl Drop for Db {
    fn drop(&mut self) {
        self.close();
    }
}

impl Db {
    /// Opens the file, creating it if there is none.
    pub(crate) fn open(path: &Path, layout: &Layout) -> Result<Self, OpenDbError> {
        let is_there = path.try_exists().map_err(|source| OpenDbError::Io {
            path: path.to_owned(),
            source,
        })?;
        if !is_there {
            medium::create(path, layout)?;
        }
        let file = DbFile {
            path: path.to_owned(),
        };
        Self::open_on(path, Box::new(file), layout)
    }

    /// Opens what lies on a medium; `path` is what it is called.
    pub(crate) fn open_on(
        path: &Path,
        medium: Box<dyn Medium>,
        layout: &Layout,
    ) -> Result<Self, OpenDbError> {
        let database = medium.open(&mut builder(layout.cache), After::Start)?;
        let db = Self::over(database, path, medium, layout);
        db.check_format(layout)?;
        db.add_tables(layout)?;
        Ok(db)
    }

    fn over(database: Database, path: &Path, medium: Box<dyn Medium>, layout: &Layout) -> Self {
        Self {
            database: RwLock::new(Some(database)),
            medium,
            cache: layout.cache,
            path: path.to_owned(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        let read = |database: &Database| -> Result<_, redb::Error> {
            let table = database.begin_read()?.open_table(table)?;
            Ok(table.get(key)?.map(|guard| guard.value().to_vec()))
        };
        self.guard(read)
    }

    /// Rows of a table; `None` if the file was made before there was such a table.
    pub(crate) fn len(&self, table: Table) -> Result<Option<u64>, DbError> {
        let read = |database: &Database| -> Result<_, redb::Error> {
            match database.begin_read()?.open_table(table) {
                Ok(table) => Ok(Some(table.len()?)),
                Err(TableError::TableDoesNotExist(_)) => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        self.guard(read)
    }

    pub(crate) fn get_row<T: DeserializeOwned>(
        &self,
        table: Table,
        key: &[u8],
        what: &'static str,
    ) -> Result<Option<T>, DbError> {
        let bytes = self.get(table, key)?;
        bytes.map(|bytes| self.decode(&bytes, what)).transpose()
    }

    /// All rows whose keys begin with `prefix`, in order, as long as `take` says so.
    pub(crate) fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        take: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), DbError> {
        self.walk(table, &bounds(prefix), Order::Forward, take)
    }

    /// Likewise, from the last row to the first.
    pub(crate) fn scan_back(
        &self,
        table: Table,
        prefix: &[u8],
        take: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), DbError> {
        self.walk(table, &bounds(prefix), Order::Backward, take)
    }

    /// All rows behind a key, or all, in order, as long as `take` says so.
    pub(crate) fn scan_after(
        &self,
        table: Table,
        after: Option<&[u8]>,
        take: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), DbError> {
        let first = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.to_vec()));
        self.walk(table, &(first, Bound::Unbounded), Order::Forward, take)
    }

    fn walk(
        &self,
        table: Table,
        bounds: &Bounds,
        order: Order,
        mut take: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), DbError> {
        let read = |database: &Database| -> Result<_, redb::Error> {
            let table = database.begin_read()?.open_table(table)?;
            let mut range = table.range::<&[u8]>(as_slices(bounds))?;
            while let Some(row) = order.next(&mut range) {
                let (key, value) = row?;
                if !take(key.value(), value.value()) {
                    break;
                }
            }
            Ok(())
        };
        self.guard(read)
    }

    /// All rows whose keys begin with `prefix`, decoded.
    pub(crate) fn rows<T: DeserializeOwned>(
        &self,
        table: Table,
        prefix: &[u8],
        what: &'static str,
    ) -> Result<Vec<T>, DbError> {
        let mut rows = vec![];
        self.scan(table, prefix, |_, value| {
            rows.push(self.decode(value, what));
            true
        })?;
        rows.into_iter().collect()
    }

    /// Runs `change` as one transaction: durable when this returns `Ok`, without effect otherwise.
    pub(crate) fn write<T>(
        &self,
        change: impl FnOnce(&mut Txn) -> Result<T, redb::Error>,
    ) -> Result<T, DbError> {
        let run = |database: &Database| -> Result<T, redb::Error> {
            let mut inner = database.begin_write()?;
            inner.set_durability(Durability::Immediate)?;
            let mut txn = Txn { inner };
            let value = change(&mut txn)?;
            txn.inner.commit()?;
            Ok(value)
        };
        self.guard(run)
    }

    pub(crate) fn decode<T: DeserializeOwned>(
        &self,
        bytes: &[u8],
        what: &'static str,
    ) -> Result<T, DbError> {
        decode_postcard(bytes, what).map_err(|_| self.damaged(what))
    }

    pub(crate) fn damaged(&self, what: &'static str) -> DbError {
        DbError::Damaged {
            path: self.path.clone(),
            what,
        }
    }

    /// The engine trusts its pages: where a disk has changed one, it panics. Here that ends, as damage.
    fn guard<T>(
        &self,
        run: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, DbError> {
        let done = {
            let open = self.opened()?;
            let database = open.as_ref().expect("it was opened just now");
            catch_unwind(AssertUnwindSafe(|| run(database)))
        };
        let error = match done {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => return Err(self.damaged("a page")),
        };
        if matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo) {
            self.close();
        }
        Err(DbError::failed(&self.path, error))
    }

    /// The engine, opened anew if a failure closed it.
    fn opened(&self) -> Result<RwLockReadGuard<'_, Option<Database>>, DbError> {
        let open = self.database.read().unwrap_or_else(PoisonError::into_inner);
        if open.is_some() {
            return Ok(open);
        }
        drop(open);
        let mut closed = self.closed();
        if closed.is_none() {
            let opened = self.medium.open(&mut builder(self.cache), After::Failure);
            *closed = Some(opened.map_err(|error| DbError::closed(&self.path, error))?);
            tracing::info!(path = %self.path.display(), "the database is open again");
        }
        Ok(RwLockWriteGuard::downgrade(closed))
    }

    /// Closing writes, and meets changed pages as any other use does.
    fn close(&self) {
        let database = self.closed().take();
        if catch_unwind(AssertUnwindSafe(|| drop(database))).is_err() {
            tracing::error!(path = %self.path.display(), "the database is damaged");
        }
    }

    fn closed(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        self.database
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the tables that there were not yet when the file was made.
    fn add_tables(&self, layout: &Layout) -> Result<(), OpenDbError> {
        let damaged = |error: DbError| OpenDbError::Damaged {
            path: self.path.clone(),
            words: error.to_string(),
        };
        for table in layout.tables {
            if self.len(*table).map_err(damaged)?.is_none() {
                self.write(|txn| txn.inner.open_table(*table).map(drop).map_err(Into::into))
                    .map_err(damaged)?;
            }
        }
        Ok(())
    }

    fn check_format(&self, layout: &Layout) -> Result<(), OpenDbError> {
        let damaged = |words: String| OpenDbError::Damaged {
            path: self.path.clone(),
            words,
        };
        let bytes = self
            .get(META, FORMAT)
            .map_err(|error| damaged(error.to_string()))?;
        let bytes = bytes.ok_or_else(|| damaged("it has no format".to_owned()))?;
        let found =
            u64_from(&bytes).ok_or_else(|| damaged("its format is no number".to_owned()))?;
        if found > layout.format {
            return Err(OpenDbError::Newer {
                path: self.path.clone(),
                found,
                known: layout.format,
            });
        }
        Ok(())
    }
}

fn builder(cache: usize) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(cache);
    builder
}

/// Key and value.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// A transaction under way.
pub(crate) struct Txn {
    inner: WriteTransaction,
}

impl Txn {
    pub(crate) fn put(
        &mut self,
        table: Table,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), redb::Error> {
        self.inner.open_table(table)?.insert(key, value)?;
        Ok(())
    }

    pub(crate) fn put_row<T: Serialize>(
        &mut self,
        table: Table,
        key: &[u8],
        row: &T,
    ) -> Result<(), redb::Error> {
        self.put(table, key, &encode_postcard(row))
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, redb::Error> {
        let table = self.inner.open_table(table)?;
        Ok(table.get(key)?.map(|guard| guard.value().to_vec()))
    }

    pub(crate) fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), redb::Error> {
        self.inner.open_table(table)?.remove(key)?;
        Ok(())
    }

    /// Deletes every row whose key begins with `prefix`.
    pub(crate) fn delete_prefix(&mut self, table: Table, prefix: &[u8]) -> Result<(), redb::Error> {
        let bounds = bounds(prefix);
        self.inner
            .open_table(table)?
            .retain_in::<&[u8], _>(as_slices(&bounds), |_, _| false)?;
        Ok(())
    }

    /// Deletes every row whose key begins with `prefix`, and returns the keys.
    pub(crate) fn take_prefix(
        &mut self,
        table: Table,
        prefix: &[u8],
    ) -> Result<Vec<Vec<u8>>, redb::Error> {
        let (bounds, mut taken) = (bounds(prefix), vec![]);
        self.inner
            .open_table(table)?
            .retain_in::<&[u8], _>(as_slices(&bounds), |key, _| {
                taken.push(key.to_vec());
                false
            })?;
        Ok(taken)
    }

    /// Deletes every row whose key is below `end`, and returns the values.
    pub(crate) fn take_below(
        &mut self,
        table: Table,
        end: &[u8],
    ) -> Result<Vec<Vec<u8>>, redb::Error> {
        let mut taken = vec![];
        self.inner
            .open_table(table)?
            .retain_in::<&[u8], _>(..end, |_, value| {
                taken.push(value.to_vec());
                false
            })?;
        Ok(taken)
    }

    /// The row with the lowest key.
    pub(crate) fn first(&self, table: Table) -> Result<Option<Row>, redb::Error> {
        let table = self.inner.open_table(table)?;
        let first = table.first()?;
        Ok(first.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())))
    }

    /// A counter's value; 0 before its first write.
    pub(crate) fn counter(&self, table: Table, key: &[u8]) -> Result<u64, redb::Error> {
        let bytes = self.get(table, key)?;
        match bytes {
            None => Ok(0),
            Some(bytes) => u64_from(&bytes)
                .ok_or_else(|| redb::Error::Corrupted("a counter is no number".to_owned())),
        }
    }

    pub(crate) fn set_counter(
        &mut self,
        table: Table,
        key: &[u8],
        value: u64,
    ) -> Result<(), redb::Error> {
        self.put(table, key, &value.to_be_bytes())
    }
}

#[derive(Clone, Copy)]
enum Order {
    Forward,
    Backward,
}

impl Order {
    fn next<T>(self, iterator: &mut impl DoubleEndedIterator<Item = T>) -> Option<T> {
        match self {
            Self::Forward => iterator.next(),
            Self::Backward => iterator.next_back(),
        }
    }
}

type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// All keys with a prefix, and no others.
fn bounds(prefix: &[u8]) -> Bounds {
    let mut after = prefix.to_vec();
    while after.last() == Some(&0xFF) {
        after.pop();
    }
    let end = match after.last_mut() {
        Some(last) => {
            *last += 1;
            Bound::Excluded(after)
        }
        None => Bound::Unbounded,
    };
    (Bound::Included(prefix.to_vec()), end)
}

fn as_slices(bounds: &Bounds) -> (Bound<&[u8]>, Bound<&[u8]>) {
    let (first, end) = bounds;
    (
        first.as_ref().map(Vec::as_slice),
        end.as_ref().map(Vec::as_slice),
    )
}

pub(crate) fn u64_from(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// Keys made of parts.
pub(crate) fn key(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}
