//! Files that other agents sent: `HOME/received/`, and beside it `received.jsonl`, one line a file.
//!
//! A file is written under a hidden name, synced, moved into its place without overwriting anything, and only then
//! entered into the list; what is in the list survives any crash. What a broken transfer leaves stays under its hidden name for
//! another try, within bounds ([`partial`]): no journal says what of it is right, whoever goes on hashes it.

mod books;
mod list;
mod partial;
mod place;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pilot_types::{AgentId, UnixTime};
use pilot_wire::{FileId, FilePath};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::books::{Books, MAX_COMING, MAX_FROM_ONE, Promise};
use self::list::List;
pub use self::partial::IncomingFile;
use crate::atomic::{self, TEMPORARY};
use crate::error::is_no_space;

/// Files that are kept at most: a line of the list takes some 500 bytes, and 1.5 KiB with the longest path; 15 MiB in all.
const MAX_FILES: usize = 10_000;

/// Why a file is not taken or not shown.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReceivedError {
    /// It would not fit on the disk.
    #[error("{needed} bytes are needed and {available} are available: free space on the disk of {}", dir.display())]
    Space {
        /// Bytes of the file.
        needed: u64,
        /// Bytes that may be used.
        available: u64,
        /// Where.
        dir: PathBuf,
    },
    /// It would not fit in what the owner allows.
    #[error(
        "{needed} bytes are needed and {available} are left of the quota: `pilotctl received --clear` deletes what came"
    )]
    Quota {
        /// Bytes of the file.
        needed: u64,
        /// Bytes that are left.
        available: u64,
    },
    /// There are too many.
    #[error("{MAX_FILES} files are kept already: `pilotctl received --clear` deletes them")]
    Full,
    /// Too many come at a time.
    #[error("{MAX_COMING} files come in already, or {MAX_FROM_ONE} of one sender")]
    Busy,
    /// What an earlier try left is in use.
    #[error("the file comes in already")]
    Coming {
        /// By the same transfer.
        is_same: bool,
    },
    /// Something that is no directory is where one is to be.
    #[error("{} is in the way: no directory, but one is to be there", path.display())]
    InTheWay {
        /// What.
        path: PathBuf,
    },
    /// The disk's word.
    #[error("cannot use {}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ReceivedError {
    /// Whether room is what is missing.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Space { .. } | Self::Quota { .. } => true,
            Self::Io { source, .. } => is_no_space(source),
            Self::Full | Self::Busy | Self::Coming { .. } | Self::InTheWay { .. } => false,
        }
    }
}

/// A file that is to come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// Who sends it.
    pub from: AgentId,
    /// The sender's name for it: another try has the same.
    pub id: FileId,
    /// Where it is to be, below the directory.
    pub name: FilePath,
    /// Bytes.
    pub size: u64,
}

/// A file that came whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReceivedFile {
    /// Its path below the directory.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// Who sent it.
    pub from: AgentId,
    /// SHA-256 of its bytes, as they came and were checked.
    pub sha256: [u8; 32],
    /// When it was in its place.
    pub received_at: UnixTime,
    /// Its sender's name for the transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<FileId>,
}

/// The files of one agent. Every call blocks on the disk.
#[derive(Debug)]
pub struct ReceivedFiles {
    dir: PathBuf,
    list: List,
    /// Held while the list changes.
    changing: Mutex<()>,
    books: Arc<Mutex<Books>>,
}

impl ReceivedFiles {
    /// The files of a home, and at most so many bytes of them; makes the directory.
    ///
    /// # Errors
    /// [`ReceivedError::Io`].
    pub fn open(home: &Path, quota: Option<u64>) -> Result<Self, ReceivedError> {
        let dir = home.join("received");
        match fs::create_dir(&dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            Err(source) => return Err(ReceivedError::Io { path: dir, source }),
        }
        for entry in fs::read_dir(&dir).map_err(failed(&dir))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                atomic::remove_quietly(&entry.path());
            }
        }
        let mut books = Books::new(dir.clone(), quota);
        books.find_idle().map_err(failed(&dir))?;
        let files = Self {
            dir,
            list: List::new(home.join("received.jsonl")),
            changing: Mutex::new(()),
            books: Arc::new(Mutex::new(books)),
        };
        for facts in files.recount()? {
            lock(&files.books).remember(&facts);
        }
        Ok(files)
    }

    /// Where they are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What became of an earlier try of this transfer, if it came whole lately.
    #[must_use]
    pub fn stored_before(&self, transfer: &Transfer) -> Option<(FilePath, [u8; 32])> {
        lock(&self.books).stored_before(transfer)
    }

    /// Makes room for a file, and goes on with what an earlier try left.
    ///
    /// # Errors
    /// [`ReceivedError`] if there is none; [`ReceivedError::Coming`] while what was left is in use.
    pub fn begin(&self, transfer: &Transfer) -> Result<IncomingFile, ReceivedError> {
        self.begin_under(transfer, partial::name_of(transfer))
    }

    /// Makes room for a file, and begins anew.
    ///
    /// # Errors
    /// [`ReceivedError`] if there is none.
    pub fn begin_apart(&self, transfer: &Transfer) -> Result<IncomingFile, ReceivedError> {
        self.begin_under(transfer, None)
    }

    fn begin_under(
        &self,
        transfer: &Transfer,
        name: Option<String>,
    ) -> Result<IncomingFile, ReceivedError> {
        let mut promise = self.promise(transfer, name.clone());
        if promise.as_ref().is_err_and(ReceivedError::is_no_space) {
            // The owner may have taken files away.
            self.recount()?;
            promise = self.promise(transfer, name.clone());
        }
        IncomingFile::open(&self.dir, name, promise?)
    }

    fn promise(&self, transfer: &Transfer, name: Option<String>) -> Result<Promise, ReceivedError> {
        lock(&self.books).admit(transfer, name.as_deref())?;
        Ok(Promise::new(Arc::clone(&self.books), transfer, name))
    }

    /// Looks at the list, and at what is there of it.
    fn recount(&self) -> Result<Vec<ReceivedFile>, ReceivedError> {
        let _changing = lock(&self.changing);
        let files = self.list()?;
        let sizes = files.iter().map(|facts| {
            let meta = fs::symlink_metadata(self.dir.join(&facts.name));
            meta.map_or(0, |meta| meta.len())
        });
        let listed_bytes = sizes.sum();
        let mut books = lock(&self.books);
        (books.listed, books.listed_bytes) = (files.len(), listed_bytes);
        Ok(files)
    }

    /// Moves a file that came whole into its place, under the first of its names that is free, and enters it into the
    /// list. Durable when it returns.
    ///
    /// # Errors
    /// [`ReceivedError`]: nothing may be acknowledged.
    pub fn finish(
        &self,
        incoming: IncomingFile,
        name: &FilePath,
        mut facts: ReceivedFile,
    ) -> Result<ReceivedFile, ReceivedError> {
        let _changing = lock(&self.changing);
        let size = incoming.size();
        facts.name = incoming.place(name)?.into();
        if let Err(source) = self.list.enter(&facts) {
            // Its sender is told that it is not stored: it must not lie here, in no list.
            if let Err(error) = place::remove(&self.dir, &facts.name) {
                tracing::error!(%error, name = facts.name, "a file stays that was not kept");
            }
            return Err(failed(self.list.path())(source));
        }
        let mut books = lock(&self.books);
        books.listed += 1;
        books.listed_bytes += size;
        books.remember(&facts);
        drop(books);
        Ok(facts)
    }

    /// All that came, the newest last. A line that a crash cut is no file: its sender was not told that it is stored.
    ///
    /// # Errors
    /// [`ReceivedError::Io`].
    pub fn list(&self) -> Result<Vec<ReceivedFile>, ReceivedError> {
        self.list.read().map_err(failed(self.list.path()))
    }

    /// Deletes what is in the list, and directories that are empty then, and gives it.
    ///
    /// # Errors
    /// [`ReceivedError::Io`]; what could not be deleted stays in the list.
    pub fn clear(&self) -> Result<Vec<ReceivedFile>, ReceivedError> {
        let _changing = lock(&self.changing);
        let files = self.list()?;
        for facts in &files {
            place::remove(&self.dir, &facts.name).map_err(failed(&self.dir.join(&facts.name)))?;
        }
        self.list.clear().map_err(failed(self.list.path()))?;
        let mut books = lock(&self.books);
        (books.listed, books.listed_bytes) = (0, 0);
        drop(books);
        Ok(files)
    }
}

/// No panic happens under these locks; if one did, what they guard is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> ReceivedError + use<> {
    let path = path.to_owned();
    move |source| ReceivedError::Io {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests;
