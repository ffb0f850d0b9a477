//! Whose apps may run here, and the key by which this home signs its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pilot_trust::{DocumentKey, DocumentSecret};
use pilot_types::{Seed, decode_hex, encode_hex};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

/// The secret key: 64 hex digits, mode 0600.
const SECRET: &str = "publisher.key";
/// The publishers that are known.
const LIST: &str = "publishers.json";
/// Publishers that a home knows; a person adds each.
const MAX_PUBLISHERS: usize = 1000;
/// Longest name for a publisher.
const MAX_NAME: usize = 100;

/// Why keys cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PublishersError {
    /// A file cannot be read or written.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{} is damaged: {words}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        words: String,
    },
    /// Others may read the secret key.
    #[error("{} is open to others (mode {mode:04o}): run `chmod 600` on it, and make a new key if others may have read it", path.display())]
    TooOpen {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is a secret key already.
    #[error("there is a key already: {0}")]
    Exists(DocumentKey),
    /// There is none.
    #[error("this home has no publisher's key")]
    NoKey,
    /// Nobody said that this publisher is trusted.
    #[error("publisher {0} is not trusted")]
    NotTrusted(DocumentKey),
    /// Somebody said that it no longer is.
    #[error("publisher {0} is revoked")]
    Revoked(DocumentKey),
    /// A name that cannot be shown, or one publisher too many.
    #[error("{0}")]
    Invalid(&'static str),
}

/// A publisher that this home knows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publisher {
    /// What its owner calls it here.
    pub name: String,
    /// Whether nothing of it runs any more.
    pub revoked: bool,
}

/// The publishers of a home. Each question reads the file, so that an answer holds for what it says now.
#[derive(Clone, Debug)]
pub struct Publishers {
    home: PathBuf,
}

impl Publishers {
    /// Those of this home.
    #[must_use]
    pub fn new(home: &Path) -> Self {
        let home = home.to_owned();
        Self { home }
    }

    /// All that are known.
    ///
    /// # Errors
    /// [`PublishersError`] if the file cannot be read.
    pub fn list(&self) -> Result<BTreeMap<DocumentKey, Publisher>, PublishersError> {
        let path = self.home.join(LIST);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(source) => return Err(PublishersError::Io { path, source }),
        };
        let damaged = |words: String| PublishersError::Damaged {
            path: path.clone(),
            words,
        };
        let listed: BTreeMap<String, Publisher> =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let key = |text: &str| text.parse().map_err(|_| damaged(format!("key {text:?}")));
        let parsed = listed
            .into_iter()
            .map(|(text, publisher)| Ok((key(&text)?, publisher)));
        parsed.collect()
    }

    /// Whether apps of this publisher may be installed and run.
    ///
    /// # Errors
    /// [`PublishersError::NotTrusted`] or [`PublishersError::Revoked`] if not.
    pub fn check(&self, key: &DocumentKey) -> Result<(), PublishersError> {
        match self.list()?.get(key) {
            Some(publisher) if publisher.revoked => Err(PublishersError::Revoked(*key)),
            Some(_) => Ok(()),
            None => Err(PublishersError::NotTrusted(*key)),
        }
    }

    /// Trusts a publisher; one that was revoked stays so.
    ///
    /// # Errors
    /// [`PublishersError::Revoked`] if it was revoked here, others if the file cannot be written.
    pub fn trust(&self, key: DocumentKey, name: &str) -> Result<(), PublishersError> {
        if name.len() > MAX_NAME || name.contains(char::is_control) {
            return Err(PublishersError::Invalid(
                "invalid name of a publisher: expected one line of at most 100 bytes",
            ));
        }
        let mut list = self.list()?;
        if list.get(&key).is_some_and(|publisher| publisher.revoked) {
            return Err(PublishersError::Revoked(key));
        }
        if list.len() >= MAX_PUBLISHERS && !list.contains_key(&key) {
            return Err(PublishersError::Invalid(
                "1000 publishers are known already",
            ));
        }
        let publisher = Publisher {
            name: name.to_owned(),
            revoked: false,
        };
        list.insert(key, publisher);
        self.save(&list)
    }

    /// Revokes a publisher, known or not: nothing of it is installed or started any more.
    ///
    /// # Errors
    /// [`PublishersError`] if the file cannot be written.
    pub fn revoke(&self, key: DocumentKey) -> Result<(), PublishersError> {
        let mut list = self.list()?;
        let known = list.entry(key).or_insert_with(|| Publisher {
            name: String::new(),
            revoked: true,
        });
        known.revoked = true;
        self.save(&list)
    }

    /// Makes a key to sign with, and trusts it: it is the owner's own.
    ///
    /// # Errors
    /// [`PublishersError::Exists`] if there is one.
    pub fn make_key(&self) -> Result<DocumentKey, PublishersError> {
        match self.secret() {
            Ok(secret) => return Err(PublishersError::Exists(secret.public())),
            Err(PublishersError::NoKey) => {}
            Err(error) => return Err(error),
        }
        let path = self.home.join(SECRET);
        let failed = |source| PublishersError::Io {
            path: path.clone(),
            source,
        };
        let mut bytes = [0; 32];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| failed(io::Error::other("the system has no random numbers")))?;
        let secret = DocumentSecret::from_seed(Seed::new(bytes));
        let text = Zeroizing::new(encode_hex(secret.seed().expose()));
        pilot_store::replace_file(&path, text.as_bytes()).map_err(failed)?;
        self.trust(secret.public(), "this home")?;
        Ok(secret.public())
    }

    /// The key to sign with.
    ///
    /// # Errors
    /// [`PublishersError::NoKey`] if there is none, [`PublishersError::TooOpen`] if others may read it.
    pub fn secret(&self) -> Result<DocumentSecret, PublishersError> {
        let path = self.home.join(SECRET);
        let failed = |source| PublishersError::Io {
            path: path.clone(),
            source,
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(PublishersError::NoKey);
            }
            Err(source) => return Err(failed(source)),
        };
        let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(PublishersError::TooOpen { path, mode });
        }
        let mut text = Zeroizing::new(String::with_capacity(66));
        file.take(65).read_to_string(&mut text).map_err(failed)?;
        let seed = decode_hex(text.trim_end()).map_err(|error| PublishersError::Damaged {
            path: path.clone(),
            words: error.to_string(),
        })?;
        Ok(DocumentSecret::from_seed(Seed::new(seed)))
    }

    fn save(&self, list: &BTreeMap<DocumentKey, Publisher>) -> Result<(), PublishersError> {
        let path = self.home.join(LIST);
        let texts: BTreeMap<String, &Publisher> = list
            .iter()
            .map(|(key, publisher)| (key.to_string(), publisher))
            .collect();
        let text = serde_json::to_string_pretty(&texts).expect("texts and truth values serialise");
        pilot_store::replace_file(&path, text.as_bytes())
            .map_err(|source| PublishersError::Io { path, source })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::testing::secret;

    #[test]
    fn trust_is_said_and_revoked_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let publishers = Publishers::new(dir.path());
        let key = secret(1).public();
        let not_trusted = publishers.check(&key).unwrap_err();
        assert!(matches!(not_trusted, PublishersError::NotTrusted(_)));
        publishers.trust(key, "someone").unwrap();
        publishers.check(&key).unwrap();
        publishers.revoke(key).unwrap();
        assert!(matches!(
            publishers.check(&key),
            Err(PublishersError::Revoked(_))
        ));
        assert!(publishers.trust(key, "again").is_err());
        assert!(publishers.trust(secret(2).public(), "\u{1b}").is_err());
    }

    #[test]
    fn the_own_key_is_made_once_trusted_and_kept_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let publishers = Publishers::new(dir.path());
        assert!(matches!(publishers.secret(), Err(PublishersError::NoKey)));
        let key = publishers.make_key().unwrap();
        publishers.check(&key).unwrap();
        assert_eq!(publishers.secret().unwrap().public(), key);
        assert!(matches!(
            publishers.make_key(),
            Err(PublishersError::Exists(_))
        ));
        let open = fs::Permissions::from_mode(0o640);
        fs::set_permissions(dir.path().join(SECRET), open).unwrap();
        assert!(matches!(
            publishers.secret(),
            Err(PublishersError::TooOpen { .. })
        ));
    }
}
