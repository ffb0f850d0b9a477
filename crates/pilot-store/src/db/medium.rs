//! Where a database's bytes lie, and how it is opened there.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, StorageBackend, StorageError};

use super::{Db, FORMAT, Layout, META};
use crate::atomic;
use crate::error::OpenDbError;

/// What is written again at a time.
const CHUNK: usize = 64 * 1024;

/// Something that keeps the bytes of one database, and outlives the engine that is opened on it.
pub(crate) trait Medium: Send + Sync {
    /// Opens an engine on the bytes as they are. One at a time.
    fn open(&self, builder: &mut Builder, after: After) -> Result<Database, OpenDbError>;
}

/// What came before an opening.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum After {
    /// The start of the program.
    Start,
    /// A write or a sync that failed.
    Failure,
}

/// A file.
pub(crate) struct DbFile {
    pub(crate) path: PathBuf,
}

impl Medium for DbFile {
    fn open(&self, builder: &mut Builder, after: After) -> Result<Database, OpenDbError> {
        let io = |source| OpenDbError::Io {
            path: self.path.clone(),
            source,
        };
        let damaged = |words: &str| OpenDbError::Damaged {
            path: self.path.clone(),
            words: words.to_owned(),
        };
        let file = OpenOptions::new().read(true).write(true).open(&self.path);
        let file = file.map_err(io)?;
        // An empty file would be taken for a new database: what was in it is lost all the same, so say so.
        if file.metadata().is_ok_and(|meta| meta.len() == 0) {
            return Err(damaged("it is empty"));
        }
        let open = || {
            let backend = FileBackend::new(file)?;
            if after == After::Failure {
                rewrite(&backend)?;
            }
            builder.create_with_backend(backend)
        };
        catch_unwind(AssertUnwindSafe(open))
            .map_err(|_| damaged("a page does not hold what it should"))?
            .map_err(|error| open_error(&self.path, error))
    }
}

/// Writes every byte again.
///
/// A system that could not write a page may call it clean all the same, and then syncs it never: what is read is not
/// what the disk has. The engine would build on such pages what it acknowledges later.
pub(crate) fn rewrite(backend: &impl StorageBackend) -> io::Result<()> {
    let len = backend.len()?;
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while at < len {
        let part = usize::try_from(len - at).map_or(CHUNK, |left| left.min(CHUNK));
        backend.read(at, &mut chunk[..part])?;
        backend.write(at, &chunk[..part])?;
        at += part as u64;
    }
    backend.sync_data()
}

/// Makes a file beside its place and moves it there when it is complete: a crash leaves none or a whole one.
pub(super) fn create(path: &Path, layout: &Layout) -> Result<(), OpenDbError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let made = fill(&new, layout).and_then(|()| {
        let io = |source| OpenDbError::Io {
            path: path.to_owned(),
            source,
        };
        fs::rename(&new, path).map_err(io)?;
        sync_parent(path).map_err(io)
    });
    if made.is_err() {
        // Where the disk is full, half a database takes room that is needed.
        atomic::remove_quietly(&new);
    }
    made
}

fn fill(path: &Path, layout: &Layout) -> Result<(), OpenDbError> {
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
        .open(path)
        .map_err(io)?;
    let database = Builder::new()
        .set_cache_size(layout.cache)
        .create_file(file)
        .map_err(|error| open_error(path, error))?;
    let medium = DbFile {
        path: path.to_owned(),
    };
    let db = Db::over(database, path, Box::new(medium), layout);
    let initialised = db.write(|txn| {
        for table in layout.tables {
            txn.inner.open_table(*table)?;
        }
        txn.set_counter(META, FORMAT, layout.format)
    });
    initialised.map_err(|error| io(io::Error::other(error)))
}

pub(crate) fn open_error(path: &Path, error: DatabaseError) -> OpenDbError {
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
