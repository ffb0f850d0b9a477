//! Credentials of adapted apps: `HOME/apps-secrets/ID.json`, for this user alone (0600). They go from there into the app's own
//! process and nowhere else.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::id::AppId;

/// Credentials of an app, and bytes of each: tokens are some KiB at most.
const MAX_NAMES: usize = 32;
const MAX_VALUE: usize = 8 * 1024;
/// What is so short is found in any text, and could not be kept out of results.
const MIN_VALUE: usize = 4;
const MAX_NAME: usize = 64;

/// The credentials of a home's apps. Calls block on the disk.
#[derive(Clone, Debug)]
pub struct Secrets {
    dir: PathBuf,
}

/// Why a credential is not kept, or not known.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SecretsError {
    /// A name that no credential has.
    #[error("invalid name {0:?}: expected letters, digits, -, _ and ., at most {MAX_NAME} bytes")]
    Name(String),
    /// A value that cannot be sent.
    #[error("a credential is one line of ASCII of {MIN_VALUE} to {MAX_VALUE} bytes")]
    Value,
    /// Too many.
    #[error("an app has at most {MAX_NAMES} credentials")]
    Full,
    /// No such one.
    #[error("no credential {0:?} is set")]
    Unknown(String),
    /// The file is none of ours.
    #[error("{} is damaged; remove it and set the credentials again", .0.display())]
    Damaged(PathBuf),
    /// It cannot be read or written.
    #[error("cannot keep {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl SecretsError {
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::Io { source, .. } => source,
            other @ (Self::Name(_)
            | Self::Value
            | Self::Full
            | Self::Unknown(_)
            | Self::Damaged(_)) => io::Error::other(other.to_string()),
        }
    }
}

impl Secrets {
    /// Of this home.
    #[must_use]
    pub fn new(home: &Path) -> Self {
        let dir = home.join("apps-secrets");
        Self { dir }
    }

    /// Keeps a value, in the place of an earlier one.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub fn set(&self, id: &AppId, name: &str, value: &str) -> Result<(), SecretsError> {
        let is_char = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_char) {
            return Err(SecretsError::Name(name.chars().take(MAX_NAME).collect()));
        }
        let is_line = value.bytes().all(|b| (b' '..=b'~').contains(&b));
        if !(MIN_VALUE..=MAX_VALUE).contains(&value.len()) || !is_line {
            return Err(SecretsError::Value);
        }
        let mut values = self.values(id)?;
        values.insert(name.to_owned(), value.to_owned());
        if values.len() > MAX_NAMES {
            return Err(SecretsError::Full);
        }
        self.save(id, &values)
    }

    /// Forgets a value.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub fn remove(&self, id: &AppId, name: &str) -> Result<(), SecretsError> {
        let mut values = self.values(id)?;
        if values.remove(name).is_none() {
            return Err(SecretsError::Unknown(name.chars().take(MAX_NAME).collect()));
        }
        self.save(id, &values)
    }

    /// What is set, by its names alone.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub fn names(&self, id: &AppId) -> Result<Vec<String>, SecretsError> {
        Ok(self.values(id)?.into_keys().collect())
    }

    /// All values, by their names.
    pub(crate) fn values(&self, id: &AppId) -> Result<BTreeMap<String, String>, SecretsError> {
        let path = self.path(id);
        match fs::read(&path).map(Zeroizing::new) {
            Ok(text) => serde_json::from_slice(&text).map_err(|_| SecretsError::Damaged(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(source) => Err(SecretsError::Io { path, source }),
        }
    }

    /// Forgets all of an app. What cannot be removed is read by nobody but this user.
    pub(crate) fn forget(&self, id: &AppId) {
        let path = self.path(id);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "credentials stay");
        }
    }

    fn save(&self, id: &AppId, values: &BTreeMap<String, String>) -> Result<(), SecretsError> {
        let path = self.path(id);
        let text = Zeroizing::new(serde_json::to_vec(values).expect("texts serialise"));
        let saved =
            fs::create_dir_all(&self.dir).and_then(|()| pilot_store::replace_file(&path, &text));
        saved.map_err(|source| SecretsError::Io { path, source })
    }

    fn path(&self, id: &AppId) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn values_are_kept_for_this_user_alone_and_shown_by_name() {
        let home = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(home.path());
        let id: AppId = "org.example.api".parse().unwrap();
        secrets.set(&id, "key", "token-1").unwrap();
        secrets.set(&id, "key", "token-2").unwrap();
        assert_eq!(secrets.names(&id).unwrap(), ["key"]);
        assert_eq!(secrets.values(&id).unwrap()["key"], "token-2");
        let file = home.path().join("apps-secrets/org.example.api.json");
        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        for (name, value) in [
            ("key", "a\r\nX: b"),
            ("../key", "value"),
            ("key", "abc"),
            ("", "value"),
        ] {
            assert!(secrets.set(&id, name, value).is_err(), "{name} {value}");
        }
        assert!(matches!(
            secrets.remove(&id, "other"),
            Err(SecretsError::Unknown(_))
        ));
        secrets.remove(&id, "key").unwrap();
        secrets.set(&id, "key", "token-3").unwrap();
        fs::write(&file, "{").unwrap();
        assert!(matches!(secrets.names(&id), Err(SecretsError::Damaged(_))));
        secrets.forget(&id);
        assert!(secrets.names(&id).unwrap().is_empty());
    }
}
