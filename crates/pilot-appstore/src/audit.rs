//! The audit log: what was called and what became of it, a JSON document a line.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pilot_types::UnixTime;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::hash::Sha256;
use crate::id::AppId;
use crate::journal::{Journal, earlier};

/// The log's file in the home, and its bound: some 15,000 entries.
const FILE: &str = "apps-audit.jsonl";
const MAX_LOG: u64 = 4 * 1024 * 1024;

/// One entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When it ended, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Which app.
    pub app: AppId,
    /// Which version of it, where that is known.
    pub version: Option<Version>,
    /// `call`, `connect`, `stop`, `install`, `rollback`, `restart` or `uninstall`.
    pub event: String,
    /// Who asked for it.
    pub caller: String,
    /// The AgentId of who asked, where it was another agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The hash of its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params_sha256: Option<Sha256>,
    /// Where the app wanted to connect to, as a grant for it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `ok`, or what went wrong, in one word.
    pub outcome: String,
    /// The same in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

impl AuditEntry {
    /// Something that `caller` did about an app, now, and that worked.
    #[must_use]
    pub fn of(app: &AppId, event: &str, caller: &str) -> Self {
        Self {
            caller: caller.to_owned(),
            ..Self::new(app, event, "ok")
        }
    }

    /// An entry about an app, now.
    pub(crate) fn new(app: &AppId, event: &str, outcome: &str) -> Self {
        Self {
            at_unix_ms: now().as_millis(),
            app: app.clone(),
            version: None,
            event: event.to_owned(),
            caller: "daemon".to_owned(),
            agent: None,
            method: None,
            params_sha256: None,
            target: None,
            outcome: outcome.to_owned(),
            reason: None,
            duration_ms: None,
        }
    }
}

/// Wall time.
pub(crate) fn now() -> UnixTime {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    UnixTime::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// The log of a home. Writing goes to the kernel's memory and is not waited for on the disk.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    journal: Mutex<Journal>,
}

impl Audit {
    /// The log of this home.
    #[must_use]
    pub fn new(home: &Path) -> Self {
        let path = home.join(FILE);
        let journal = Mutex::new(Journal::new(path.clone(), MAX_LOG));
        Self { path, journal }
    }

    /// Adds an entry. One that cannot be written goes to the daemon's log.
    pub fn add(&self, entry: &AuditEntry) {
        let mut line = serde_json::to_vec(entry).expect("texts and numbers serialise");
        line.push(b'\n');
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = journal.write(&line) {
            tracing::error!(path = %self.path.display(), %error, ?entry, "no audit");
        }
    }

    /// The newest entries, of one app or of all, the newest last.
    ///
    /// # Errors
    /// What the file system says; there being none yet is no error.
    pub fn last(&self, app: Option<&AppId>, most: usize) -> io::Result<Vec<AuditEntry>> {
        let mut found = std::collections::VecDeque::new();
        for path in [earlier(&self.path), self.path.clone()] {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for line in BufReader::new(file).lines() {
                // A crash may have cut the last line of a life off.
                let Ok(entry) = serde_json::from_str::<AuditEntry>(&line?) else {
                    continue;
                };
                if app.is_none_or(|app| *app == entry.app) {
                    found.push_back(entry);
                    if found.len() > most {
                        found.pop_front();
                    }
                }
            }
        }
        Ok(found.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_entries_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::new(dir.path());
        assert_eq!(audit.last(None, 10).unwrap(), []);
        let apps: [AppId; 2] = ["a.one", "a.two"].map(|id| id.parse().unwrap());
        for number in 0..10 {
            let mut entry = AuditEntry::new(&apps[number % 2], "call", "ok");
            entry.duration_ms = Some(number as u64);
            audit.add(&entry);
        }
        let of = |app, most| {
            let entries = audit.last(app, most).unwrap();
            entries
                .iter()
                .map(|e| e.duration_ms.unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(None, 3), [7, 8, 9]);
        assert_eq!(of(Some(&apps[0]), 3), [4, 6, 8]);
    }
}
