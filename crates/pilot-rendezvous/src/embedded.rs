//! The rendezvous of one machine, shared by all daemons of its user that were given no other.
//!
//! A process of its own in `~/.pilot/rendezvous/` (or `$PILOT_RENDEZVOUS_HOME`), on loopback only:
//!
//! ```text
//! lock             flock: held by the running rendezvous, its pid inside
//! rendezvous.json  where it listens and its key, from which daemons pin it
//! registry/        its identity and its registry
//! rendezvous.log   what it logs
//! ```
//!
//! Whoever gets the lock starts the program with the lock as its standard input: the lock passes on without a moment in
//! which it is free, and the kernel frees it when that process ends, however it ends. So there is one at a time, and each
//! daemon that waits for the lock learns at once that it must start another.

mod lock;
mod state;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

pub use lock::{Lock, LockError};
pub use state::{State, StateError};

/// Where the embedded rendezvous lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedHome {
    dir: PathBuf,
}

impl EmbeddedHome {
    /// Names a directory other than the user's.
    pub const VARIABLE: &'static str = "PILOT_RENDEZVOUS_HOME";

    /// In a directory, which is created when it is needed.
    #[must_use]
    pub const fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// `$PILOT_RENDEZVOUS_HOME`, else `~/.pilot/rendezvous`; `None` if neither it nor `$HOME` is set.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        set(Self::VARIABLE)
            .map(PathBuf::from)
            .or_else(|| set("HOME").map(|home| Path::new(&home).join(".pilot/rendezvous")))
            .map(Self::new)
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where its identity and registry are.
    #[must_use]
    pub fn registry_dir(&self) -> PathBuf {
        self.dir.join("registry")
    }

    /// Where it logs.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.dir.join("rendezvous.log")
    }

    /// The rendezvous that runs now, if one does.
    ///
    /// # Errors
    /// [`StateError`] if the files cannot be read or are damaged.
    pub fn running(&self) -> Result<Option<State>, StateError> {
        let Some(pid) = Lock::holder(self).map_err(StateError::Lock)? else {
            return Ok(None);
        };
        // While another is being started the file is still that of the one before.
        Ok(self.last_state()?.filter(|state| state.pid == pid))
    }

    /// What the last rendezvous that ran here wrote, whether or not it still runs.
    ///
    /// # Errors
    /// [`StateError`] if the file cannot be read or is damaged.
    pub fn last_state(&self) -> Result<Option<State>, StateError> {
        State::read(&self.state_path())
    }

    /// Says where the rendezvous listens, atomically.
    ///
    /// # Errors
    /// [`StateError`] if the file cannot be written.
    pub fn publish(&self, state: &State) -> Result<(), StateError> {
        state.write(&self.state_path())
    }

    fn state_path(&self) -> PathBuf {
        self.dir.join("rendezvous.json")
    }

    fn lock_path(&self) -> PathBuf {
        self.dir.join("lock")
    }

    fn create(&self) -> io::Result<()> {
        match DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
        {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::metadata(&self.dir).map(|_| ())
            }
            created => created,
        }
    }
}
