//! `rendezvous.json`: what daemons learn of the embedded rendezvous.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pilot_types::UnixTime;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::lock::LockError;

/// Where the embedded rendezvous listens, and its key. Unknown fields are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// `pilot://KEY@127.0.0.1:PORT`.
    pub url: String,
    /// Its key in hex.
    pub public_key: String,
    /// Its address.
    pub listen: SocketAddr,
    /// Its process.
    pub pid: u32,
    /// When it started, in seconds since 1970.
    pub started_unix: u64,
}

/// Why the state is not known or not published.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// The lock cannot be looked at.
    #[error(transparent)]
    Lock(LockError),
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not what a rendezvous writes.
    #[error("{} is damaged: stop the embedded rendezvous and remove the file", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl State {
    /// The state of this process.
    #[must_use]
    pub fn of_this_process(
        url: String,
        public_key: String,
        listen: SocketAddr,
        now: UnixTime,
    ) -> Self {
        Self {
            url,
            public_key,
            listen,
            pid: std::process::id(),
            started_unix: now.as_secs(),
        }
    }

    pub(super) fn read(path: &Path) -> Result<Option<Self>, StateError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(StateError::Read {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| StateError::Damaged {
                path: path.to_owned(),
                source,
            })
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), StateError> {
        let mut text = serde_json::to_vec_pretty(self).expect("texts and numbers serialise");
        text.push(b'\n');
        write_atomically(path, &text).map_err(|source| StateError::Write {
            path: path.to_owned(),
            source,
        })
    }
}

/// A reader sees the old file or the new one, through any crash.
fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("json.new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let dir = path.parent().expect("the file is in the home");
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::{EmbeddedHome, Lock};
    use super::*;

    fn state() -> State {
        State::of_this_process(
            "pilot://00@127.0.0.1:9000".to_owned(),
            "00".to_owned(),
            "127.0.0.1:9000".parse().unwrap(),
            UnixTime::from_secs(1_800_000_000),
        )
    }

    #[test]
    fn only_a_rendezvous_that_holds_the_lock_is_running() {
        let dir = tempfile::tempdir().unwrap();
        let home = EmbeddedHome::new(dir.path().join("r"));
        assert_eq!(home.running().unwrap(), None);
        let mut lock = Lock::try_take(&home).unwrap().unwrap();
        home.publish(&state()).unwrap();
        assert_eq!(home.running().unwrap(), None, "not claimed yet");
        lock.claim().unwrap();
        assert_eq!(home.running().unwrap(), Some(state()));
        drop(lock);
        assert_eq!(home.running().unwrap(), None);
        assert_eq!(home.last_state().unwrap(), Some(state()));
    }

    #[test]
    fn the_state_of_one_that_ran_before_is_not_taken_for_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let home = EmbeddedHome::new(dir.path().join("r"));
        let mut lock = Lock::try_take(&home).unwrap().unwrap();
        let old = State { pid: 1, ..state() };
        home.publish(&old).unwrap();
        lock.claim().unwrap();
        assert_eq!(home.running().unwrap(), None);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let home = EmbeddedHome::new(dir.path().to_owned());
        fs::write(dir.path().join("rendezvous.json"), b"{\"url\":").unwrap();
        let error = home.last_state().unwrap_err().to_string();
        assert!(error.contains("rendezvous.json is damaged"), "{error}");
    }
}
