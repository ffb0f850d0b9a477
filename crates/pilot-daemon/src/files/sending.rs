//! Files that go out: what is sent, and how far each is.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pilot_api::types::FileSending;
use pilot_api::{ApiError, ErrorCode};
use pilot_apps::SendProgress;
use pilot_wire::{FileHead, FileId, FileName, FilePath};
use rustix::fs::OFlags;
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncSeekExt;

/// Files that go out now: one a call of the API, whose number is bounded there.
#[derive(Default)]
pub(crate) struct Sending(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    next: u64,
    entries: BTreeMap<u64, Entry>,
}

struct Entry {
    transfer: Option<u64>,
    path: PathBuf,
    name: FilePath,
    size: u64,
    progress: Arc<SendProgress>,
}

/// A file's line in the table, for as long as it lives.
pub(crate) struct Shown {
    table: Arc<Mutex<Table>>,
    number: u64,
    pub(crate) progress: Arc<SendProgress>,
}

impl Sending {
    /// Shows a file from now on; `transfer` is what its caller knows it by.
    pub(crate) fn show(&self, outgoing: &Outgoing, transfer: Option<u64>) -> Shown {
        let progress = Arc::new(SendProgress::default());
        let mut table = lock(&self.0);
        let number = table.next;
        table.next += 1;
        let entry = Entry {
            transfer,
            path: outgoing.path.clone(),
            name: outgoing.head.name.clone(),
            size: outgoing.head.size,
            progress: Arc::clone(&progress),
        };
        table.entries.insert(number, entry);
        drop(table);
        Shown {
            table: Arc::clone(&self.0),
            number,
            progress,
        }
    }

    /// All that go out, the newest last.
    pub(crate) fn list(&self) -> Vec<FileSending> {
        let table = lock(&self.0);
        let entries = table.entries.values();
        let shown = entries.map(|entry| FileSending {
            transfer: entry.transfer,
            path: entry.path.clone(),
            filename: entry.name.to_string(),
            bytes: entry.size,
            done: entry.progress.done(),
            resumed_from: entry.progress.held(),
            bytes_sent: entry.progress.sent(),
        });
        shown.collect()
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        lock(&self.table).entries.remove(&self.number);
    }
}

/// No panic happens under this lock.
fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file of this machine that is to be sent.
pub(crate) struct Outgoing {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    pub(crate) head: FileHead,
}

impl Outgoing {
    /// Opens a regular file. Without a name of its own it is sent under the last part of its path; with one, it was found in a
    /// directory, and is not what a symbolic link leads to.
    pub(crate) async fn open(
        path: PathBuf,
        name: Option<&str>,
        id: FileId,
    ) -> Result<Self, ApiError> {
        let refused = |words: String| ApiError::invalid(format!("{}: {words}", path.display()));
        if !path.is_absolute() {
            return Err(refused("expected an absolute path".to_owned()));
        }
        let is_found = name.is_some();
        let name = match name {
            Some(name) => name.parse().map_err(|error| refused(format!("{error}")))?,
            None => own_name(&path).map_err(refused)?.into(),
        };
        // Before it is opened: opening a pipe would wait for its writer.
        let before = if is_found {
            tokio::fs::symlink_metadata(&path).await
        } else {
            tokio::fs::metadata(&path).await
        };
        if !before.map_err(|error| unreadable(&path, &error))?.is_file() {
            return Err(refused("expected a regular file".to_owned()));
        }
        let mut options = OpenOptions::new();
        options.read(true);
        if is_found {
            options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        }
        let file = options.open(&path).await;
        let file = file.map_err(|error| unreadable(&path, &error))?;
        let meta = file.metadata().await;
        let size = meta.map_err(|error| unreadable(&path, &error))?.len();
        let head = FileHead {
            id,
            name,
            size,
            trace: None,
        };
        Ok(Self { path, file, head })
    }

    /// For another try.
    pub(crate) async fn rewind(&mut self) -> Result<(), ApiError> {
        let rewound = self.file.rewind().await;
        rewound
            .map(drop)
            .map_err(|error| unreadable(&self.path, &error))
    }
}

fn own_name(path: &Path) -> Result<FileName, String> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| "expected a file name in UTF-8".to_owned())?;
    name.parse().map_err(|error| format!("{error}"))
}

fn unreadable(path: &Path, error: &io::Error) -> ApiError {
    if error.kind() == io::ErrorKind::NotFound {
        let words = format!("there is no file {}", path.display());
        return ApiError::new(ErrorCode::NotFound, words);
    }
    if error.kind() == io::ErrorKind::PermissionDenied {
        let words = format!("cannot read {}: {error}", path.display());
        return ApiError::new(ErrorCode::PermissionDenied, words);
    }
    ApiError::invalid(format!("{}: {error}", path.display()))
}
