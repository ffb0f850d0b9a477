//! One redb file: created whole, opened with its format checked, read by key, written durably.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use pilot_wire::{decode_postcard, encode_postcard};
use redb::{
    Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition, WriteTransaction,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

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

/// An open file.
pub(crate) struct Db {
    /// Only `drop` takes it.
    database: Option<Database>,
    path: PathBuf,
}

impl Drop for Db {
    /// Closing writes, and meets changed pages as any other use does.
    fn drop(&mut self) {
        let database = self.database.take();
        if catch_unwind(AssertUnwindSafe(|| drop(database))).is_err() {
            tracing::error!(path = %self.path.display(), "the database is damaged");
        }
    }
}

impl Db {
    /// Opens the file, creating it if there is none.
    pub(crate) fn open(path: &Path, layout: &Layout) -> Result<Self, OpenDbError> {
        let io = |source| OpenDbError::Io {
            path: path.to_owned(),
            source,
        };
        if !path.try_exists().map_err(io)? {
            create(path, layout)?;
        }
        let db = Self {
            database: Some(open_file(path, layout)?),
            path: path.to_owned(),
        };
        db.check_format(layout)?;
        Ok(db)
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, DbError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database().begin_read()?.open_table(table)?;
            Ok(table.get(key)?.map(|guard| guard.value().to_vec()))
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
        self.walk(table, prefix, Order::Forward, take)
    }

    /// Likewise, from the last row to the first.
    pub(crate) fn scan_back(
        &self,
        table: Table,
        prefix: &[u8],
        take: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), DbError> {
        self.walk(table, prefix, Order::Backward, take)
    }

    fn walk(
        &self,
        table: Table,
        prefix: &[u8],
        order: Order,
        mut take: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), DbError> {
        let mut read = || -> Result<_, redb::Error> {
            let table = self.database().begin_read()?.open_table(table)?;
            let bounds = bounds(prefix);
            let mut range = table.range::<&[u8]>(as_slices(&bounds))?;
            while let Some(row) = order.next(&mut range) {
                let (key, value) = row?;
                if !take(key.value(), value.value()) {
                    break;
                }
            }
            Ok(())
        };
        self.guard(&mut read)
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
        let run = || -> Result<T, redb::Error> {
            let mut inner = self.database().begin_write()?;
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

    const fn database(&self) -> &Database {
        self.database.as_ref().expect("it is open until dropped")
    }

    /// The engine trusts its pages: where a disk has changed one, it panics. Here that ends, as damage.
    fn guard<T>(&self, run: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, DbError> {
        let done = catch_unwind(AssertUnwindSafe(run));
        let done = done.map_err(|_| self.damaged("a page"))?;
        done.map_err(|error| DbError::failed(&self.path, error))
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

/// All keys with a prefix, and no others.
fn bounds(prefix: &[u8]) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
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

fn as_slices(bounds: &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> (Bound<&[u8]>, Bound<&[u8]>) {
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

/// Makes a file beside its place and moves it there when it is complete: a crash leaves none or a whole one.
fn create(path: &Path, layout: &Layout) -> Result<(), OpenDbError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let io = |source| OpenDbError::Io {
        path: path.to_owned(),
        source,
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .map_err(io)?;
    let database = Builder::new()
        .set_cache_size(layout.cache)
        .create_file(file)
        .map_err(|error| open_error(&new, error))?;
    let db = Db {
        database: Some(database),
        path: new.clone(),
    };
    let initialised = db.write(|txn| {
        for table in layout.tables {
            txn.inner.open_table(*table)?;
        }
        txn.set_counter(META, FORMAT, layout.format)
    });
    initialised.map_err(|error| io(io::Error::other(error)))?;
    drop(db);
    fs::rename(&new, path).map_err(io)?;
    sync_parent(path).map_err(io)
}

fn open_file(path: &Path, layout: &Layout) -> Result<Database, OpenDbError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|source| OpenDbError::Io {
            path: path.to_owned(),
            source,
        })?;
    // An empty file would be taken for a new database: what was in it is lost all the same, so say so.
    if file.metadata().is_ok_and(|meta| meta.len() == 0) {
        return Err(OpenDbError::Damaged {
            path: path.to_owned(),
            words: "it is empty".to_owned(),
        });
    }
    let open = || {
        Builder::new()
            .set_cache_size(layout.cache)
            .create_file(file)
    };
    let opened = catch_unwind(AssertUnwindSafe(open)).map_err(|_| OpenDbError::Damaged {
        path: path.to_owned(),
        words: "a page does not hold what it should".to_owned(),
    })?;
    opened.map_err(|error| open_error(path, error))
}

fn open_error(path: &Path, error: DatabaseError) -> OpenDbError {
    let path = path.to_owned();
    if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
        return OpenDbError::InUse { path };
    }
    let is_content = |kind| {
        matches!(
            kind,
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
        )
    };
    if let DatabaseError::Storage(StorageError::Io(source)) = error {
        if !is_content(source.kind()) {
            return OpenDbError::Io { path, source };
        }
        let words = source.to_string();
        return OpenDbError::Damaged { path, words };
    }
    // The rest says that the bytes are not what they should be.
    OpenDbError::Damaged {
        path,
        words: error.to_string(),
    }
}

/// Makes a rename or creation durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
