//! Where the index is kept: files of the app's own directory, each read once and held in memory. Nothing is mapped, so that a file
//! that is cut from outside is an error and no crash.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    AntiCallToken, Directory, DirectoryLock, FileHandle, Lock, OwnedBytes, TerminatingWrite,
    WatchCallback, WatchHandle, WritePtr,
};

/// How names end of files that are not whole.
const UNFINISHED: &str = "unfinished";

/// A directory of the index's files, which never change once they are written.
#[derive(Clone, Debug)]
pub(crate) struct OwnDirectory {
    dir: PathBuf,
    /// As many as the index has: what is deleted goes from here too.
    held: Arc<Mutex<BTreeMap<PathBuf, OwnedBytes>>>,
}

impl OwnDirectory {
    /// Opens it, or makes it.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        // What a process that was killed had not finished.
        for entry in fs::read_dir(dir)?.flatten() {
            if entry
                .path()
                .extension()
                .is_some_and(|end| end == UNFINISHED)
            {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            held: Arc::default(),
        })
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<PathBuf, OwnedBytes>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Directory for OwnDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        if let Some(bytes) = self.held().get(path) {
            return Ok(Arc::new(bytes.clone()));
        }
        let bytes = OwnedBytes::new(self.atomic_read(path)?);
        self.held().insert(path.to_owned(), bytes.clone());
        Ok(Arc::new(bytes))
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        self.held().remove(path);
        fs::remove_file(self.dir.join(path)).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                DeleteError::FileDoesNotExist(path.to_owned())
            } else {
                DeleteError::IoError {
                    io_error: Arc::new(error),
                    filepath: path.to_owned(),
                }
            }
        })
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        let exists = self.dir.join(path).try_exists();
        exists.map_err(|error| OpenReadError::wrap_io_error(error, path.to_owned()))
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        let file = File::create_new(self.dir.join(path)).map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                OpenWriteError::FileAlreadyExists(path.to_owned())
            } else {
                OpenWriteError::wrap_io_error(error, path.to_owned())
            }
        })?;
        Ok(BufWriter::new(Box::new(OwnFile { file })))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        fs::read(self.dir.join(path)).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                OpenReadError::FileDoesNotExist(path.to_owned())
            } else {
                OpenReadError::wrap_io_error(error, path.to_owned())
            }
        })
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        // Two threads may write at the same time.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let new = self.dir.join(format!("{number}.{UNFINISHED}"));
        let mut file = File::create(&new)?;
        file.write_all(data)?;
        file.sync_data()?;
        fs::rename(new, self.dir.join(path))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    /// The daemon runs one process of an app: nobody else is there. A file as a lock would outlive a process that is killed.
    fn acquire_lock(&self, _: &Lock) -> Result<DirectoryLock, LockError> {
        Ok(DirectoryLock::from(Box::new(())))
    }

    /// Readers are told by the one who writes.
    fn watch(&self, _: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}

struct OwnFile {
    file: File,
}

impl Write for OwnFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl TerminatingWrite for OwnFile {
    fn terminate_ref(&mut self, _: AntiCallToken) -> io::Result<()> {
        self.file.sync_data()
    }
}
