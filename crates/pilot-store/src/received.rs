//! Files that other agents sent: `HOME/received/`, and beside it `received.jsonl`, one line a file.
//!
//! A file is written under a temporary name, synced, moved into its place without overwriting anything, and only then
//! entered into the list; what is in the list survives any crash.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pilot_types::{AgentId, UnixTime};
use pilot_wire::FileName;
use serde::{Deserialize, Serialize};
use tempfile::{Builder, NamedTempFile};
use thiserror::Error;

use crate::atomic::{self, TEMPORARY};
use crate::db::sync_parent;
use crate::error::is_no_space;

/// Files that are kept at most: a line of the list takes some 500 bytes, 5 MiB in all.
const MAX_FILES: usize = 10_000;
/// What files leave on the disk for everything else: a quarter of what there was without them, and at least this.
const RESERVE: u64 = 64 * 1024 * 1024;
/// Files on their way in at a time; each holds under 1 MiB of memory: 16 MiB in all.
const MAX_COMING: usize = 16;
/// Of them, those of one sender: it takes four senders to keep out the others.
const MAX_FROM_ONE: usize = MAX_COMING / 4;
/// Names tried for one file: `a`, `a (1)`, …
const MAX_NUMBER: u32 = MAX_FILES as u32 + 1;

/// Why a file is not taken or not shown.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReceivedError {
    /// It would not fit.
    #[error("{needed} bytes are needed and {available} are available: free space on the disk of {}", dir.display())]
    Space {
        /// Bytes of the file.
        needed: u64,
        /// Bytes that may be used.
        available: u64,
        /// Where.
        dir: PathBuf,
    },
    /// There are too many.
    #[error("{MAX_FILES} files are kept already: `pilotctl received --clear` deletes them")]
    Full,
    /// Too many come at a time.
    #[error("{MAX_COMING} files come in already, or {MAX_FROM_ONE} of one sender")]
    Busy,
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
    /// Whether room on the disk is what is missing.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Space { .. } => true,
            Self::Io { source, .. } => is_no_space(source),
            Self::Full | Self::Busy => false,
        }
    }
}

/// A file that came whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReceivedFile {
    /// Its name in the directory.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// Who sent it.
    pub from: AgentId,
    /// SHA-256 of its bytes, as they came and were checked.
    pub sha256: [u8; 32],
    /// When it was in its place.
    pub received_at: UnixTime,
}

/// The files of one agent. Every call blocks on the disk.
#[derive(Debug)]
pub struct ReceivedFiles {
    dir: PathBuf,
    list: PathBuf,
    /// Held while the list changes.
    changing: Mutex<()>,
    books: Arc<Mutex<Books>>,
}

/// What is kept, and what is promised to files on their way in.
#[derive(Debug, Default)]
struct Books {
    /// Lines of the list.
    listed: usize,
    /// Bytes of the files in it.
    listed_bytes: u64,
    /// Bytes of all that come, as their senders say.
    coming_bytes: u64,
    /// Those of them that are on the disk.
    written_bytes: u64,
    /// Files that come, by sender: at most [`MAX_COMING`].
    coming: BTreeMap<AgentId, usize>,
}

/// A file on its way in; what is dropped unfinished is removed.
#[derive(Debug)]
pub struct IncomingFile {
    file: NamedTempFile,
    dir: PathBuf,
    promise: Promise,
}

/// A file's entry in the books, for as long as it lives.
#[derive(Debug)]
struct Promise {
    books: Arc<Mutex<Books>>,
    from: AgentId,
    size: u64,
    written: u64,
}

impl ReceivedFiles {
    /// The files of a home; makes the directory, and removes what a crash left half written.
    ///
    /// # Errors
    /// [`ReceivedError::Io`].
    pub fn open(home: &Path) -> Result<Self, ReceivedError> {
        let (dir, list) = (home.join("received"), home.join("received.jsonl"));
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
        let files = Self {
            dir,
            list,
            changing: Mutex::new(()),
            books: Arc::default(),
        };
        files.recount()?;
        Ok(files)
    }

    /// Where they are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes room for a file of `size` bytes.
    ///
    /// # Errors
    /// [`ReceivedError`] if there is none.
    pub fn begin(&self, from: AgentId, size: u64) -> Result<IncomingFile, ReceivedError> {
        let promise = self.promise(from, size)?;
        let file = Builder::new().prefix(TEMPORARY).tempfile_in(&self.dir);
        Ok(IncomingFile {
            file: file.map_err(failed(&self.dir))?,
            dir: self.dir.clone(),
            promise,
        })
    }

    fn promise(&self, from: AgentId, size: u64) -> Result<Promise, ReceivedError> {
        let free = self.free()?;
        let fits = size <= lock(&self.books).room(free);
        if !fits {
            // The owner may have taken files away.
            self.recount()?;
        }
        let mut books = lock(&self.books);
        let available = books.room(free);
        let coming = books.coming.values().sum::<usize>();
        if books.listed + coming >= MAX_FILES {
            return Err(ReceivedError::Full);
        }
        let of_sender = books.coming.get(&from).copied().unwrap_or_default();
        if coming >= MAX_COMING || of_sender >= MAX_FROM_ONE {
            return Err(ReceivedError::Busy);
        }
        if size > available {
            return Err(ReceivedError::Space {
                needed: size,
                available,
                dir: self.dir.clone(),
            });
        }
        books.coming.insert(from, of_sender + 1);
        books.coming_bytes += size;
        Ok(Promise {
            books: Arc::clone(&self.books),
            from,
            size,
            written: 0,
        })
    }

    /// Bytes that are free on the disk.
    fn free(&self) -> Result<u64, ReceivedError> {
        let stat = rustix::fs::statvfs(&self.dir);
        let stat = stat.map_err(|error| failed(&self.dir)(error.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Looks at the list, and at what is there of it.
    fn recount(&self) -> Result<(), ReceivedError> {
        let _changing = lock(&self.changing);
        let files = self.list()?;
        let sizes = files.iter().map(|facts| {
            let meta = fs::symlink_metadata(self.dir.join(&facts.name));
            meta.map_or(0, |meta| meta.len())
        });
        let listed_bytes = sizes.sum();
        let mut books = lock(&self.books);
        (books.listed, books.listed_bytes) = (files.len(), listed_bytes);
        Ok(())
    }

    /// Moves a file that came whole into its place, under the first of its names that is free, and enters it into the
    /// list. Durable when it returns.
    ///
    /// # Errors
    /// [`ReceivedError`]: nothing may be acknowledged.
    pub fn finish(
        &self,
        incoming: IncomingFile,
        name: &FileName,
        mut facts: ReceivedFile,
    ) -> Result<ReceivedFile, ReceivedError> {
        let _changing = lock(&self.changing);
        let IncomingFile { file, dir, promise } = incoming;
        facts.name = place(file, &dir, name)?;
        let path = self.dir.join(&facts.name);
        let kept = sync_parent(&path).map_err(failed(&path));
        let kept = kept.and_then(|()| self.enter(&facts).map_err(failed(&self.list)));
        if kept.is_err() {
            // Its sender is told that it is not stored: it must not lie here, in no list.
            atomic::remove_quietly(&path);
        }
        kept?;
        let mut books = lock(&self.books);
        books.listed += 1;
        books.listed_bytes += promise.size;
        drop(books);
        Ok(facts)
    }

    /// Adds a line to the list; one that is not on the disk for sure is taken back.
    fn enter(&self, facts: &ReceivedFile) -> io::Result<()> {
        let mut list = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.list)?;
        let before = list.metadata()?.len();
        // A line that a crash cut has no end: this one begins anew all the same.
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, facts)?;
        line.push(b'\n');
        let mut written = list.write_all(&line).and_then(|()| list.sync_all());
        if before == 0 {
            written = written.and_then(|()| sync_parent(&self.list));
        }
        if written.is_err()
            && let Err(error) = list.set_len(before)
        {
            tracing::error!(%error, path = %self.list.display(), "a line stays of a file that was not kept");
        }
        written
    }

    /// All that came, the newest last. A line that a crash cut is no file: its sender was not told that it is stored.
    ///
    /// # Errors
    /// [`ReceivedError::Io`].
    pub fn list(&self) -> Result<Vec<ReceivedFile>, ReceivedError> {
        let file = match File::open(&self.list) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(source) => return Err(failed(&self.list)(source)),
        };
        let mut files = vec![];
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(failed(&self.list))?;
            if line.is_empty() {
                continue;
            }
            match serde_json::from_slice(&line) {
                Ok(facts) => files.push(facts),
                Err(error) => tracing::debug!(%error, "a line of the received files is cut"),
            }
        }
        Ok(files)
    }

    /// Deletes what is in the list, and gives it.
    ///
    /// # Errors
    /// [`ReceivedError::Io`]; what could not be deleted stays in the list.
    pub fn clear(&self) -> Result<Vec<ReceivedFile>, ReceivedError> {
        let _changing = lock(&self.changing);
        let files = self.list()?;
        for facts in &files {
            let path = self.dir.join(&facts.name);
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(failed(&path)(source)),
            }
        }
        atomic::replace(&self.list, b"").map_err(failed(&self.list))?;
        let mut books = lock(&self.books);
        (books.listed, books.listed_bytes) = (0, 0);
        drop(books);
        Ok(files)
    }
}

impl Books {
    /// Where so many bytes are free on the disk: what all files may take, without what they take and will take.
    fn room(&self, free: u64) -> u64 {
        let without_files = free
            .saturating_add(self.listed_bytes)
            .saturating_add(self.written_bytes);
        let reserve = RESERVE.max(without_files / 4);
        let promised = self.listed_bytes.saturating_add(self.coming_bytes);
        let share = without_files
            .saturating_sub(reserve)
            .saturating_sub(promised);
        // What others wrote meanwhile is gone, whatever the share says.
        let to_come = self.coming_bytes.saturating_sub(self.written_bytes);
        share.min(free.saturating_sub(RESERVE).saturating_sub(to_come))
    }
}

impl IncomingFile {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`ReceivedError::Io`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ReceivedError> {
        self.file.write_all(bytes).map_err(failed(&self.dir))?;
        self.promise.written += bytes.len() as u64;
        lock(&self.promise.books).written_bytes += bytes.len() as u64;
        Ok(())
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut books = lock(&self.books);
        books.coming_bytes = books.coming_bytes.saturating_sub(self.size);
        books.written_bytes = books.written_bytes.saturating_sub(self.written);
        if let Some(count) = books.coming.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                books.coming.remove(&self.from);
            }
        }
    }
}

/// Gives the name under which it lies in the directory now, if no crash comes before the directory is synced.
fn place(mut file: NamedTempFile, dir: &Path, name: &FileName) -> Result<String, ReceivedError> {
    file.as_file().sync_all().map_err(failed(dir))?;
    for number in 0..MAX_NUMBER {
        let candidate = name.numbered(number);
        let path = dir.join(candidate.as_str());
        match file.persist_noclobber(&path) {
            Ok(_) => return Ok(candidate.into()),
            Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => {
                file = refused.file;
            }
            Err(refused) => return Err(failed(&path)(refused.error)),
        }
    }
    Err(ReceivedError::Full)
}

/// No panic happens under these locks; if one did, what they guard is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> ReceivedError {
    let path = path.to_owned();
    move |source| ReceivedError::Io {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests;
