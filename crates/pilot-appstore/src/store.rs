//! Installed apps.
//!
//! ```text
//! HOME/apps/ID/installed.json     which version counts, and what was agreed to: replaced in one step
//! HOME/apps/ID/VERSION/           a bundle; at most two, the current one and the one before
//! HOME/apps-data/ID/              what the app keeps, with the grant `data`
//! HOME/apps-log/ID.log            what it says
//! ```
//!
//! Whatever `installed.json` does not name does not count, and is swept away.

mod error;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pilot_trust::DocumentKey;
use semver::Version;
use serde::{Deserialize, Serialize};

use crate::bundle::Bundle;
use crate::catalogue::ids_called;
use crate::consent::{Agreed, Consent, Place};
use crate::id::AppId;
use crate::journal;
use crate::publishers::Publishers;
use crate::sandbox::Kernel;
use crate::secrets::Secrets;
use crate::stage;

pub use error::StoreError;

const RECORD: &str = "installed.json";
const DATA: &str = "apps-data";
/// Apps of a home.
pub(crate) const MAX_APPS: usize = 256;

/// What is installed of an app.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The version that runs.
    pub current: Version,
    /// The one before, to go back to.
    pub previous: Option<Version>,
    /// Whose it is: another's never takes its place.
    pub publisher: String,
    /// What was agreed to for each version.
    pub agreed: BTreeMap<Version, Agreed>,
}

/// The version of an app that counts, checked when it was opened.
#[derive(Clone, Debug)]
pub struct Installed {
    /// Its files.
    pub bundle: Bundle,
    /// What it was granted.
    pub agreed: Agreed,
    /// Its own directory, with the grant `data`.
    pub data: PathBuf,
}

/// The apps of a home. Calls block on the disk; those that change something are not to be made at the same time.
#[derive(Clone, Debug)]
pub struct Store {
    home: PathBuf,
    kernel: Kernel,
}

impl Store {
    /// The apps of this home.
    #[must_use]
    pub fn new(home: &Path, kernel: Kernel) -> Self {
        let home = home.to_owned();
        Self { home, kernel }
    }

    /// The home.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// What the machine enforces.
    #[must_use]
    pub const fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Whose apps may run.
    #[must_use]
    pub fn publishers(&self) -> Publishers {
        Publishers::new(&self.home)
    }

    /// Removes what crashes left.
    pub fn sweep(&self) {
        stage::sweep(&self.apps());
        stage::sweep(&self.home.join(DATA));
        self.remove_halves();
        for id in self.list().unwrap_or_default() {
            let dir = self.app_dir(&id);
            stage::sweep(&dir);
            if let Ok(record) = self.record(&id) {
                remove_unnamed(&dir, &record);
            }
        }
    }

    /// Every installed app.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the directory cannot be read.
    pub fn list(&self) -> Result<Vec<AppId>, StoreError> {
        let dir = self.apps();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(source) => return Err(StoreError::Io { path: dir, source }),
        };
        let mut ids: Vec<AppId> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|id| self.app_dir(id).join(RECORD).exists())
            .collect();
        ids.sort();
        Ok(ids)
    }

    /// The installed app that a person means by this name.
    ///
    /// # Errors
    /// [`StoreError::NotInstalled`] or [`StoreError::Ambiguous`].
    pub fn find(&self, name: &str) -> Result<AppId, StoreError> {
        let ids = self.list()?;
        let called = ids_called(ids.iter(), name);
        match (called.first(), called.len()) {
            (Some(id), 1) => Ok((*id).clone()),
            (None, _) => Err(StoreError::NotInstalled(name.chars().take(128).collect())),
            (Some(_), _) => Err(StoreError::Ambiguous {
                name: name.to_owned(),
                ids: called.iter().map(ToString::to_string).collect(),
            }),
        }
    }

    /// What is installed of an app.
    ///
    /// # Errors
    /// [`StoreError::NotInstalled`] if nothing is.
    pub fn record(&self, id: &AppId) -> Result<Record, StoreError> {
        let path = self.app_dir(id).join(RECORD);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NotInstalled(id.to_string()));
            }
            Err(source) => return Err(StoreError::Io { path, source }),
        };
        serde_json::from_str(&text).map_err(|error| StoreError::Damaged {
            path,
            words: error.to_string(),
        })
    }

    /// Opens the version that counts, and checks all of it again: files, signature, publisher, what was agreed to and what
    /// the machine enforces.
    ///
    /// # Errors
    /// [`StoreError`] that says what no longer holds.
    pub fn open(&self, id: &AppId) -> Result<Installed, StoreError> {
        let record = self.record(id)?;
        let dir = self.app_dir(id).join(record.current.to_string());
        let bundle = Bundle::open(&dir)?;
        let manifest = bundle.manifest();
        let damaged = |words: &str| StoreError::Damaged {
            path: dir.clone(),
            words: words.to_owned(),
        };
        if manifest.id != *id || manifest.version != record.current {
            return Err(damaged("it holds another app or version"));
        }
        if manifest.publisher.to_string() != record.publisher {
            return Err(damaged("it holds another publisher's app"));
        }
        self.publishers().check(&manifest.publisher)?;
        let agreed = record.agreed.get(&record.current).cloned();
        let agreed = agreed.ok_or_else(|| damaged("nothing was agreed to for this version"))?;
        if !agreed.answers(manifest) {
            return Err(damaged("it asks for other rights than were agreed to"));
        }
        agreed.check(&self.kernel)?;
        let data = self.data_dir(id);
        Ok(Installed {
            bundle,
            agreed,
            data,
        })
    }

    /// Installs a bundle, or upgrades to it. Gives what was agreed to.
    ///
    /// # Errors
    /// [`StoreError`]; what was installed before is as it was then.
    pub fn install(&self, bundle: &Bundle, consent: &Consent) -> Result<Agreed, StoreError> {
        let manifest = bundle.manifest();
        let id = &manifest.id;
        self.publishers().check(&manifest.publisher)?;
        let before = match self.record(id) {
            Ok(record) => Some(record),
            Err(StoreError::NotInstalled(_)) => None,
            Err(error) => return Err(error),
        };
        match &before {
            Some(record) => self.check_upgrade(bundle, record, consent)?,
            None if self.list()?.len() >= MAX_APPS => return Err(StoreError::Full),
            None => {}
        }
        let earlier = before.as_ref().and_then(|r| r.agreed.get(&r.current));
        let place = Place {
            home: &self.home,
            kernel: self.kernel,
        };
        let agreed = consent.check(manifest, earlier, &place)?;
        let dir = self.app_dir(id);
        stage::copy(bundle, &dir.join(manifest.version.to_string()))?;
        stage::sync_dir(&self.apps()).map_err(|source| StoreError::Io {
            path: self.apps(),
            source,
        })?;
        let record = Record::after(
            before,
            manifest.version.clone(),
            manifest.publisher,
            &agreed,
        );
        self.save(id, &record)?;
        remove_unnamed(&dir, &record);
        Ok(agreed)
    }

    /// Goes back to the version before.
    ///
    /// # Errors
    /// [`StoreError::NoPrevious`] if there is none, others if that version is not whole any more.
    pub fn roll_back(&self, id: &AppId) -> Result<Version, StoreError> {
        let record = self.record(id)?;
        let no_previous = || StoreError::NoPrevious(id.clone());
        let previous = record.previous.clone().ok_or_else(no_previous)?;
        Bundle::open(&self.app_dir(id).join(previous.to_string()))?;
        let back = Record {
            current: previous.clone(),
            previous: Some(record.current),
            ..record
        };
        self.save(id, &back)?;
        Ok(previous)
    }

    /// Removes an app, and what it kept and said unless that is to stay.
    ///
    /// # Errors
    /// [`StoreError`]; the app is whole or gone.
    pub fn uninstall(&self, id: &AppId, keep_data: bool) -> Result<(), StoreError> {
        self.record(id)?;
        let mut gone = vec![self.app_dir(id)];
        if !keep_data && self.data_dir(id).exists() {
            gone.push(self.data_dir(id));
        }
        for path in gone {
            stage::set_aside(&path).map_err(|source| StoreError::Io { path, source })?;
        }
        if !keep_data {
            Secrets::new(&self.home).forget(id);
            self.remove_log(id);
        }
        Ok(())
    }

    /// Where all apps are.
    #[must_use]
    pub fn apps(&self) -> PathBuf {
        self.home.join("apps")
    }

    /// Directories of first installations that did not get to their record.
    fn remove_halves(&self) {
        for entry in fs::read_dir(self.apps()).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir()
                && !path.join(RECORD).exists()
                && let Err(error) = stage::set_aside(&path)
            {
                tracing::warn!(path = %path.display(), %error, "half an app stays");
            }
        }
    }

    /// What an app says goes here.
    pub(crate) fn log_path(&self, id: &AppId) -> PathBuf {
        self.home.join("apps-log").join(format!("{id}.log"))
    }

    /// What cannot be removed holds no right and does no harm.
    fn remove_log(&self, id: &AppId) {
        let path = self.log_path(id);
        for path in [journal::earlier(&path), path] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "a log stays");
                }
                Ok(()) | Err(_) => {}
            }
        }
    }

    fn app_dir(&self, id: &AppId) -> PathBuf {
        self.apps().join(id.as_str())
    }

    fn data_dir(&self, id: &AppId) -> PathBuf {
        self.home.join(DATA).join(id.as_str())
    }

    fn check_upgrade(
        &self,
        bundle: &Bundle,
        record: &Record,
        consent: &Consent,
    ) -> Result<(), StoreError> {
        let manifest = bundle.manifest();
        let id = manifest.id.clone();
        if record.publisher != manifest.publisher.to_string() {
            let installed = record.publisher.clone();
            return Err(StoreError::OtherPublisher { id, installed });
        }
        if manifest.version < record.current {
            return Err(StoreError::Downgrade {
                id,
                current: record.current.clone(),
                offered: manifest.version.clone(),
            });
        }
        if manifest.version == record.current
            && let Ok(installed) = self.open(&id)
        {
            // To grant more is a change of its own.
            let is_more = !consent.grants.is_subset(&installed.agreed.grants);
            if !is_more || installed.bundle.signed().hash() != bundle.signed().hash() {
                return Err(StoreError::Exists(id, record.current.clone()));
            }
        }
        Ok(())
    }

    fn save(&self, id: &AppId, record: &Record) -> Result<(), StoreError> {
        let path = self.app_dir(id).join(RECORD);
        let text = serde_json::to_string_pretty(record).expect("texts serialise");
        pilot_store::replace_file(&path, text.as_bytes())
            .map_err(|source| StoreError::Io { path, source })
    }
}

impl Record {
    fn after(
        before: Option<Self>,
        current: Version,
        publisher: DocumentKey,
        agreed: &Agreed,
    ) -> Self {
        let (mut all, previous) = match before {
            Some(record) if record.current == current => (record.agreed, record.previous),
            Some(record) => (record.agreed, Some(record.current)),
            None => (BTreeMap::new(), None),
        };
        all.insert(current.clone(), agreed.clone());
        all.retain(|version, _| *version == current || Some(version) == previous.as_ref());
        Self {
            current,
            previous,
            publisher: publisher.to_string(),
            agreed: all,
        }
    }
}

/// Removes the versions that the record does not name; what stays does no harm.
fn remove_unnamed(dir: &Path, record: &Record) {
    let named = |name: &str| {
        record
            .agreed
            .keys()
            .any(|version| version.to_string() == name)
    };
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_dir || name.to_str().is_some_and(named) {
            continue;
        }
        if let Err(error) = stage::set_aside(&entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "an old version stays");
        }
    }
}

#[cfg(test)]
mod tests;
