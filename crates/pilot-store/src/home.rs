//! The agent's directory: who may hold it, and the two files that people read.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use pilot_trust::{Identity, PrekeySecret};
use pilot_types::{AgentId, encode_hex};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::atomic::{self, TEMPORARY};
use crate::config_file::{ConfigError, FileConfig};
use crate::error::OpenDbError;
use crate::identity_file::{self, IdentityError};
use crate::inbox::Inbox;
use crate::state_db::StateDb;

/// Where keys of groups are.
const GROUPS: &str = "groups";
/// Where the secret halves of prekeys are.
const PREKEYS: &str = "prekeys";
/// Between two tries for a lock whose holder is gone: one that was killed holds it until its last thread has ended, and
/// who only looks holds it for a moment. A second in all.
const LOCK_WAIT: Duration = Duration::from_millis(10);
const MAX_LOCK_WAITS: usize = 100;

/// Why a home cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HomeError {
    /// The directory is missing and cannot be made, or is no directory.
    #[error("cannot use {} as home: check its path and permissions, or name another one with --home", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another daemon runs on it.
    #[error("{} is in use by another daemon{}", path.display(), pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Locked {
        /// Which.
        path: PathBuf,
        /// The other's process, if its lock says so.
        pid: Option<u32>,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {}: check that the directory may be written and has space left", path.display())]
    Lock {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The agent's directory, by default `~/.pilot`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Home {
    dir: PathBuf,
}

/// The right to run a daemon on a home; ends when dropped, or with the process.
#[derive(Debug)]
pub struct HomeLock {
    _file: File,
}

impl Home {
    /// Uses `dir`, creating it for its owner alone if it is missing.
    ///
    /// # Errors
    /// [`HomeError::Directory`] if it cannot be made or is no directory.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, HomeError> {
        let dir = dir.into();
        match ensure_dir(&dir) {
            Ok(()) => Ok(Self { dir }),
            Err(source) => Err(HomeError::Directory { path: dir, source }),
        }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A file in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// `HOME/identity.json`.
    #[must_use]
    pub fn identity_path(&self) -> PathBuf {
        self.path("identity.json")
    }

    /// `HOME/config.json`.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.path("config.json")
    }

    /// Takes the home for one daemon, and sweeps away what a crash left half written.
    ///
    /// # Errors
    /// [`HomeError::Locked`] if another process holds it, [`HomeError::Lock`] if the lock file cannot be used.
    pub fn lock(&self) -> Result<HomeLock, HomeError> {
        let path = self.path("lock");
        let lock = |source| HomeError::Lock {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(lock)?;
        if let Some(pid) = refused_by(&mut file, File::try_lock).map_err(lock)? {
            let path = self.dir.clone();
            return Err(HomeError::Locked { path, pid });
        }
        write_pid(&mut file).map_err(lock)?;
        self.sweep();
        Ok(HomeLock { _file: file })
    }

    /// The process that holds the lock: `None` if nobody does or its number is not known.
    #[must_use]
    pub fn locked_by(&self) -> Option<u32> {
        let mut file = File::open(self.path("lock")).ok()?;
        refused_by(&mut file, File::try_lock_shared).ok()??
    }

    /// The identity, verified; `None` if the home has none yet.
    ///
    /// # Errors
    /// [`IdentityError`] if the file cannot be read, is readable by others, or is damaged.
    pub fn load_identity(&self) -> Result<Option<Identity>, IdentityError> {
        identity_file::load(&self.identity_path())
    }

    /// Writes the identity of a new home: all of it or nothing, and never over an identity that is there.
    ///
    /// # Errors
    /// [`IdentityError::Exists`] if there is one, [`IdentityError::Write`] if it could not be written.
    pub fn save_new_identity(&self, identity: &Identity) -> Result<(), IdentityError> {
        identity_file::save_new(&self.identity_path(), identity)
    }

    /// Writes other keys of the agent in the place of those of before: all of it or nothing, and only keys whose log follows theirs.
    ///
    /// # Errors
    /// [`IdentityError::Exists`] if the home is another agent's or has later keys, [`IdentityError::Write`] if it could not be written: the file
    /// then has the old keys, or the new ones if only their durability is in doubt.
    pub fn replace_identity(&self, identity: &Identity) -> Result<(), IdentityError> {
        identity_file::replace(&self.identity_path(), identity)
    }

    /// Keys of the groups that this agent owns, of `HOME/groups/`.
    ///
    /// # Errors
    /// [`IdentityError`] if a file cannot be read, is readable by others, or is damaged.
    pub fn load_group_keys(&self) -> Result<Vec<Identity>, IdentityError> {
        let mut keys = vec![];
        let dir = self.path(GROUPS);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(keys),
            Err(source) => return Err(IdentityError::Read { path: dir, source }),
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                keys.extend(identity_file::load(&path)?);
            }
        }
        Ok(keys)
    }

    /// Writes the key of a new group, for its owner alone: all of it or nothing.
    ///
    /// # Errors
    /// [`IdentityError::Exists`] if there is one, [`IdentityError::Write`] if it could not be written.
    pub fn save_group_key(&self, key: &Identity) -> Result<(), IdentityError> {
        let dir = self.path(GROUPS);
        ensure_dir(&dir).map_err(|source| IdentityError::Write {
            path: dir.clone(),
            source,
        })?;
        identity_file::save_new(&self.group_key_path(key.agent()), key)
    }

    /// Removes the key of a group that was not created.
    pub fn remove_group_key(&self, group: AgentId) {
        atomic::remove_quietly(&self.group_key_path(group));
    }

    fn group_key_path(&self, group: AgentId) -> PathBuf {
        self.path(GROUPS).join(format!("{group}.json"))
    }

    /// Prekeys whose letters may still come, of `HOME/prekeys/`. A file that is none, or not a whole one, is left out: letters that were sealed
    /// to it are lost.
    ///
    /// # Errors
    /// [`HomeError::Directory`] if the directory cannot be read.
    pub fn load_prekeys(&self) -> Result<Vec<PrekeySecret>, HomeError> {
        let dir = self.path(PREKEYS);
        let failed = |source| HomeError::Directory {
            path: dir.clone(),
            source,
        };
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(source) => return Err(failed(source)),
        };
        let mut secrets = vec![];
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_none_or(|extension| extension != "key") {
                atomic::remove_quietly(&path);
                continue;
            }
            let bytes = Zeroizing::new(fs::read(&path).map_err(failed)?);
            match PrekeySecret::from_bytes(&bytes) {
                Some(secret) => secrets.push(secret),
                None => tracing::warn!(path = %path.display(), "not a prekey"),
            }
        }
        Ok(secrets)
    }

    /// Writes a new prekey, for the owner alone: all of it or nothing.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save_prekey(&self, secret: &PrekeySecret) -> io::Result<()> {
        ensure_dir(&self.path(PREKEYS))?;
        let path = self.prekey_path(&secret.prekey().public);
        atomic::replace(&path, &secret.to_bytes()[..])
    }

    /// Writes zeros over a prekey and removes it; one that is not there is destroyed already.
    ///
    /// # Errors
    /// What the file system says.
    pub fn destroy_prekey(&self, public: &[u8; 32]) -> io::Result<()> {
        let path = self.prekey_path(public);
        match OpenOptions::new().write(true).open(&path) {
            Ok(mut file) => {
                file.write_all(&[0; PrekeySecret::LEN])?;
                file.sync_all()?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        fs::remove_file(&path)
    }

    fn prekey_path(&self, public: &[u8; 32]) -> PathBuf {
        self.path(PREKEYS)
            .join(format!("{}.key", encode_hex(public)))
    }

    /// The configuration; the default if the home has none.
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be read, or a field is not what it should be.
    pub fn load_config(&self) -> Result<FileConfig, ConfigError> {
        FileConfig::load(&self.config_path())
    }

    /// Replaces the configuration, all of it or nothing.
    ///
    /// # Errors
    /// [`ConfigError::Write`] if it could not be written.
    pub fn save_config(&self, config: &FileConfig) -> Result<(), ConfigError> {
        config.save(&self.config_path())
    }

    /// Opens `HOME/state.redb`.
    ///
    /// # Errors
    /// As [`StateDb::open`].
    pub fn open_state(&self) -> Result<StateDb, OpenDbError> {
        StateDb::open(&self.path("state.redb"))
    }

    /// Opens `HOME/inbox.redb`, which takes up to `quota` bytes of messages.
    ///
    /// # Errors
    /// As [`Inbox::open`].
    pub fn open_inbox(&self, quota: u64) -> Result<Inbox, OpenDbError> {
        Inbox::open(&self.path("inbox.redb"), quota)
    }

    /// Removes temporary files of writers that died; what cannot be removed does no harm.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                atomic::remove_quietly(&entry.path());
            }
        }
    }
}

fn ensure_dir(dir: &Path) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::metadata(dir)?.is_dir() {
                Ok(())
            } else {
                Err(io::ErrorKind::NotADirectory.into())
            }
        }
        Err(error) => Err(error),
    }
}

/// Tries to lock, again for a while if the holder is gone; `None` if it succeeded, else the holder's number as far as it is
/// known.
fn refused_by(
    file: &mut File,
    try_lock: fn(&File) -> Result<(), TryLockError>,
) -> io::Result<Option<Option<u32>>> {
    let mut waits = 0..MAX_LOCK_WAITS;
    loop {
        match try_lock(file) {
            Ok(()) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {}
        }
        let pid = read_pid(file);
        if is_alive(pid) || waits.next().is_none() {
            return Ok(Some(pid));
        }
        thread::sleep(LOCK_WAIT);
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    // A process number has at most ten digits.
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether a process of this number runs, and is not on its way out: its first thread may have ended before the others.
fn is_alive(pid: Option<u32>) -> bool {
    let Some(pid) = pid else {
        return false;
    };
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // proc(5): the state follows the name, which is in parentheses and may contain anything.
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !state.starts_with(['Z', 'X'])
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}
