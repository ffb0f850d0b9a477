//! Files that other agents sent: `HOME/received/`, and beside it `received.jsonl`, one line a file.
//!
//! A file is written under a temporary name, synced, moved into its place without overwriting anything, and only then
//! entered into the list; what is in the list survives any crash.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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
/// What a transfer leaves free on the disk for everything else.
const RESERVE: u64 = 64 * 1024 * 1024;
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
            Self::Full => false,
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
}

/// A file on its way in; what is dropped unfinished is removed.
#[derive(Debug)]
pub struct IncomingFile {
    file: NamedTempFile,
    dir: PathBuf,
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
        Ok(Self {
            dir,
            list,
            changing: Mutex::new(()),
        })
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
    pub fn begin(&self, size: u64) -> Result<IncomingFile, ReceivedError> {
        if self.list()?.len() >= MAX_FILES {
            return Err(ReceivedError::Full);
        }
        let stat = rustix::fs::statvfs(&self.dir).map_err(|error| ReceivedError::Io {
            path: self.dir.clone(),
            source: error.into(),
        })?;
        let available = stat.f_bavail.saturating_mul(stat.f_frsize);
        let available = available.saturating_sub(RESERVE);
        if size > available {
            return Err(ReceivedError::Space {
                needed: size,
                available,
                dir: self.dir.clone(),
            });
        }
        let file = Builder::new().prefix(TEMPORARY).tempfile_in(&self.dir);
        Ok(IncomingFile {
            file: file.map_err(failed(&self.dir))?,
            dir: self.dir.clone(),
        })
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
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        facts.name = incoming.place(name)?;
        let path = self.dir.join(&facts.name);
        let kept = sync_parent(&path).map_err(failed(&path));
        let kept = kept.and_then(|()| self.enter(&facts).map_err(failed(&self.list)));
        if kept.is_err() {
            // Its sender is told that it is not stored: it must not lie here, in no list.
            atomic::remove_quietly(&path);
        }
        kept.map(|()| facts)
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
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
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
        Ok(files)
    }
}

impl IncomingFile {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`ReceivedError::Io`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ReceivedError> {
        self.file.write_all(bytes).map_err(failed(&self.dir))
    }

    /// The name under which it lies in the directory now, if no crash comes before the directory is synced.
    fn place(self, name: &FileName) -> Result<String, ReceivedError> {
        let Self { mut file, dir } = self;
        file.as_file().sync_all().map_err(failed(&dir))?;
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
}

fn failed(path: &Path) -> impl Fn(io::Error) -> ReceivedError {
    let path = path.to_owned();
    move |source| ReceivedError::Io {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(byte: u8) -> ReceivedFile {
        ReceivedFile {
            name: String::new(),
            bytes: 4,
            from: AgentId::new([byte; 32]),
            sha256: [byte; 32],
            received_at: UnixTime::from_secs(u64::from(byte)),
        }
    }

    fn store(files: &ReceivedFiles, name: &str, bytes: &[u8]) -> ReceivedFile {
        let mut incoming = files.begin(bytes.len() as u64).unwrap();
        incoming.write(bytes).unwrap();
        files
            .finish(incoming, &name.parse().unwrap(), facts(1))
            .unwrap()
    }

    #[test]
    fn nothing_that_exists_is_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let files = ReceivedFiles::open(home.path()).unwrap();
        fs::write(files.dir().join("a.txt"), b"mine").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", files.dir().join("a (1).txt")).unwrap();
        assert_eq!(store(&files, "a.txt", b"new!").name, "a (2).txt");
        assert_eq!(store(&files, "a.txt", b"next").name, "a (3).txt");
        assert_eq!(fs::read(files.dir().join("a.txt")).unwrap(), b"mine");
        assert_eq!(fs::read(files.dir().join("a (2).txt")).unwrap(), b"new!");
    }

    #[test]
    fn the_list_survives_a_restart_and_what_was_half_written_does_not() {
        let home = tempfile::tempdir().unwrap();
        let files = ReceivedFiles::open(home.path()).unwrap();
        let stored = store(&files, "a", b"data");
        let mut broken = files.begin(10).unwrap();
        broken.write(b"half").unwrap();
        // As a process that was killed leaves it, with half a line.
        let (_, path) = broken.file.keep().unwrap();
        OpenOptions::new()
            .append(true)
            .open(&files.list)
            .unwrap()
            .write_all(b"{\"name\":\"b")
            .unwrap();
        assert!(path.exists());
        let files = ReceivedFiles::open(home.path()).unwrap();
        assert!(!path.exists());
        assert_eq!(files.list().unwrap(), vec![stored.clone()]);
        let next = store(&files, "b", b"more");
        let files = ReceivedFiles::open(home.path()).unwrap();
        assert_eq!(files.list().unwrap(), vec![stored, next]);
    }

    #[test]
    fn clearing_deletes_what_came_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let files = ReceivedFiles::open(home.path()).unwrap();
        store(&files, "a", b"data");
        fs::write(files.dir().join("mine"), b"mine").unwrap();
        assert_eq!(files.clear().unwrap().len(), 1);
        assert!(files.list().unwrap().is_empty());
        assert!(files.dir().join("mine").exists() && !files.dir().join("a").exists());
    }

    #[test]
    fn a_second_file_with_the_longest_name_is_listed_under_a_name_that_fits() {
        let home = tempfile::tempdir().unwrap();
        let files = ReceivedFiles::open(home.path()).unwrap();
        let long = format!("{}.pdf", "x".repeat(236));
        assert_eq!(store(&files, &long, b"one").name, long);
        let second = store(&files, &long, b"two").name;
        assert_eq!(second, format!("{} (1).pdf", "x".repeat(232)));
        assert_eq!(fs::read(files.dir().join(second)).unwrap(), b"two");
    }

    #[test]
    fn a_file_that_cannot_be_listed_does_not_stay() {
        let home = tempfile::tempdir().unwrap();
        let files = ReceivedFiles::open(home.path()).unwrap();
        store(&files, "a", b"data");
        let listed = fs::read(&files.list).unwrap();
        let mut incoming = files.begin(4).unwrap();
        incoming.write(b"more").unwrap();
        fs::rename(&files.list, home.path().join("aside")).unwrap();
        std::os::unix::fs::symlink("/dev/full", &files.list).unwrap();
        let name = "b".parse().unwrap();
        let error = files.finish(incoming, &name, facts(2)).unwrap_err();
        assert!(error.is_no_space(), "{error:?}");
        assert!(error.to_string().contains("received.jsonl"), "{error}");
        assert!(!files.dir().join("b").exists());
        fs::rename(home.path().join("aside"), &files.list).unwrap();
        assert_eq!(fs::read(&files.list).unwrap(), listed);
        assert_eq!(store(&files, "b", b"more").name, "b");
        assert_eq!(files.list().unwrap().len(), 2);
    }

    #[test]
    fn what_does_not_fit_is_refused_before_a_byte_comes() {
        let home = tempfile::tempdir().unwrap();
        let files = ReceivedFiles::open(home.path()).unwrap();
        let refused = files.begin(u64::MAX / 2).unwrap_err();
        assert!(matches!(refused, ReceivedError::Space { .. }), "{refused}");
        assert_eq!(fs::read_dir(files.dir()).unwrap().count(), 0);
    }
}
