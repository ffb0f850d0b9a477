//! Who may start the embedded rendezvous, and whether one runs.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::{FlockOperation, flock, fstat};
use rustix::io::Errno;
use thiserror::Error;

use super::EmbeddedHome;

/// Longest pid in decimal, with room.
const MAX_PID_TEXT: u64 = 32;

/// Why the lock cannot be used.
#[derive(Debug, Error)]
#[error("cannot lock {}", path.display())]
pub struct LockError {
    path: PathBuf,
    source: io::Error,
}

/// The lock, held. It is free again when the last process that holds this file ends or drops it.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Waits until the lock is free and takes it: blocks the thread for as long as a rendezvous runs.
    ///
    /// # Errors
    /// [`LockError`] if the directory or file cannot be made.
    pub fn wait(home: &EmbeddedHome) -> Result<Self, LockError> {
        loop {
            match Self::take(home, FlockOperation::LockExclusive) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    /// [`LockError`] if the directory or file cannot be made.
    pub fn try_take(home: &EmbeddedHome) -> Result<Option<Self>, LockError> {
        Self::take(home, FlockOperation::NonBlockingLockExclusive)
    }

    /// The lock that the starter of this process handed over as its standard input.
    ///
    /// # Errors
    /// [`LockError`] if standard input is the lock's file and cannot be used.
    pub fn inherited(home: &EmbeddedHome) -> Result<Option<Self>, LockError> {
        let path = home.lock_path();
        let refused = |error: io::Error| LockError {
            path: path.clone(),
            source: error,
        };
        let Ok(expected) = std::fs::metadata(&path) else {
            return Ok(None);
        };
        let stdin = fstat(rustix::stdio::stdin()).map_err(|error| refused(error.into()))?;
        if (stdin.st_dev, stdin.st_ino) != (expected.dev(), expected.ino()) {
            return Ok(None);
        }
        let file = rustix::stdio::stdin()
            .try_clone_to_owned()
            .map_err(refused)?;
        let lock = Self {
            file: file.into(),
            path: path.clone(),
        };
        // The same open file: this succeeds at once if the starter held the lock, and takes it if it did not.
        Ok(lock
            .flock(FlockOperation::NonBlockingLockExclusive)?
            .then_some(lock))
    }

    /// Pid of the rendezvous that holds the lock; `None` if none does or one is being started.
    pub(super) fn holder(home: &EmbeddedHome) -> Result<Option<u32>, LockError> {
        let path = home.lock_path();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LockError { path, source }),
        };
        let mut lock = Self { file, path };
        // Shared, so that two who look do not take each other for a rendezvous.
        if lock.flock(FlockOperation::NonBlockingLockShared)? {
            return Ok(None);
        }
        lock.read_pid()
    }

    /// Writes this process' pid: from now on the lock is a running rendezvous'.
    ///
    /// # Errors
    /// [`LockError`] if the file cannot be written.
    pub fn claim(&mut self) -> Result<(), LockError> {
        self.write_pid(&std::process::id().to_string())
    }

    /// The lock as a child's standard input.
    #[must_use]
    pub fn into_stdio(self) -> Stdio {
        self.file.into()
    }

    fn take(home: &EmbeddedHome, how: FlockOperation) -> Result<Option<Self>, LockError> {
        let path = home.lock_path();
        let file = home.create().and_then(|()| open(&path));
        let file = file.map_err(|source| LockError {
            path: path.clone(),
            source,
        })?;
        let mut lock = Self { file, path };
        if !lock.flock(how)? {
            return Ok(None);
        }
        lock.write_pid("")?;
        Ok(Some(lock))
    }

    /// `false` if another holds it.
    fn flock(&self, how: FlockOperation) -> Result<bool, LockError> {
        loop {
            match flock(self.file.as_fd(), how) {
                Ok(()) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return Ok(false),
                Err(error) => return Err(self.error(error.into())),
            }
        }
    }

    fn write_pid(&mut self, pid: &str) -> Result<(), LockError> {
        let written = self
            .file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .and_then(|_| self.file.write_all(pid.as_bytes()));
        written.map_err(|error| self.error(error))
    }

    fn read_pid(&mut self) -> Result<Option<u32>, LockError> {
        let mut text = String::new();
        let read = (&self.file).take(MAX_PID_TEXT).read_to_string(&mut text);
        read.map_err(|error| self.error(error))?;
        Ok(text.trim().parse().ok())
    }

    fn error(&self, source: io::Error) -> LockError {
        LockError {
            path: self.path.clone(),
            source,
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    fn home() -> (tempfile::TempDir, EmbeddedHome) {
        let dir = tempfile::tempdir().unwrap();
        let home = EmbeddedHome::new(dir.path().join("rendezvous"));
        (dir, home)
    }

    #[test]
    fn one_holds_the_lock_and_is_named_once_it_claims_it() {
        let (_dir, home) = home();
        assert_eq!(Lock::holder(&home).unwrap(), None);
        let mut lock = Lock::try_take(&home).unwrap().unwrap();
        assert!(Lock::try_take(&home).unwrap().is_none());
        assert_eq!(
            Lock::holder(&home).unwrap(),
            None,
            "it is only being started"
        );
        lock.claim().unwrap();
        assert_eq!(Lock::holder(&home).unwrap(), Some(std::process::id()));
        drop(lock);
        assert_eq!(Lock::holder(&home).unwrap(), None);
        assert!(Lock::try_take(&home).unwrap().is_some());
    }

    #[test]
    fn a_child_holds_the_lock_that_is_its_standard_input() {
        let (_dir, home) = home();
        let lock = Lock::try_take(&home).unwrap().unwrap();
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(lock.into_stdio())
            .spawn()
            .unwrap();
        assert!(
            Lock::try_take(&home).unwrap().is_none(),
            "the lock was free for a moment"
        );
        let waiting = std::thread::spawn({
            let home = home.clone();
            move || Lock::wait(&home).map(|_| Instant::now())
        });
        child.kill().unwrap();
        child.wait().unwrap();
        let ended = Instant::now();
        let taken = waiting.join().unwrap().unwrap();
        assert!(taken.saturating_duration_since(ended) < Duration::from_secs(5));
    }

    #[test]
    fn another_standard_input_is_not_the_lock() {
        let (_dir, home) = home();
        assert!(Lock::inherited(&home).unwrap().is_none());
        drop(Lock::try_take(&home).unwrap());
        assert!(Lock::inherited(&home).unwrap().is_none());
    }
}
