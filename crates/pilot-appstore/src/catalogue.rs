//! A catalogue: a directory of bundles with a signed index of them.
//!
//! ```text
//! DIR/catalogue.jsonl          the index on the first line, its signature on the second
//! DIR/ID/VERSION/              a bundle
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use pilot_trust::{DocumentError, DocumentKey, DocumentSecret};
use semver::Version;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::bundle::{self, Bundle, BundleError};
use crate::hash::Sha256;
use crate::id::AppId;
use crate::publishers::{Publishers, PublishersError};
use crate::stage::{self, StageError};

/// The index.
pub const INDEX: &str = "catalogue.jsonl";
/// What an index is signed under.
const CONTEXT: &str = "pilot/catalogue/1";
/// The one format that there is.
const FORMAT: u32 = 1;
/// Longest index: 10,000 entries of some 600 bytes.
pub const MAX_INDEX: u64 = 8 * 1024 * 1024;
const MAX_ENTRIES: usize = 10_000;
const SCHEME: &str = "file://";

/// Where a catalogue is: `file:///absolute/path`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatalogueUrl(PathBuf);

/// One version of an app.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The app.
    pub id: AppId,
    /// Which version.
    pub version: Version,
    /// Whose it is.
    #[serde(with = "key_text")]
    pub publisher: DocumentKey,
    /// What it is for.
    pub description: String,
    /// The hash of its manifest, and so of all of it.
    pub manifest_sha256: Sha256,
    /// Whether it is not to be installed any more.
    pub yanked: bool,
}

/// An index that its signer signed, and whose signer is trusted.
#[derive(Clone, Debug)]
pub struct Catalogue {
    dir: PathBuf,
    index: Index,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    format: u32,
    #[serde(with = "key_text")]
    signer: DocumentKey,
    entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureLine {
    signature: String,
}

/// Why a catalogue cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// No place that this version reads.
    #[error("invalid catalogue {0:?}: expected file:///ABSOLUTE/PATH")]
    Url(String),
    /// There is none.
    #[error("there is no catalogue in {}", .0.display())]
    Missing(PathBuf),
    /// It cannot be read or written.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no index.
    #[error("{} is no catalogue: {words}", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        words: String,
    },
    /// Its signer did not sign it so.
    #[error("{}: {source}", path.display())]
    Signature {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// Its signer is not trusted.
    #[error("the catalogue's signer: {0}")]
    Signer(#[from] PublishersError),
    /// Another signs this catalogue.
    #[error("the catalogue is signed by {0}, another key than this home's")]
    Foreign(DocumentKey),
    /// The version is there, with another content.
    #[error("{0} {1} is published already: give it a new version")]
    Published(AppId, Version),
    /// The id is another publisher's.
    #[error("{0} is published by {1}")]
    Taken(AppId, DocumentKey),
    /// Too many.
    #[error("the catalogue has {MAX_ENTRIES} entries already")]
    Full,
    /// What is to be published is no bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// It could not be copied.
    #[error(transparent)]
    Stage(#[from] StageError),
}

impl CatalogueUrl {
    pub(crate) fn of_dir(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0
    }
}

impl std::str::FromStr for CatalogueUrl {
    type Err = CatalogueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix(SCHEME) {
            Some(path) if path.starts_with('/') => Ok(Self(PathBuf::from(path))),
            Some(_) | None => Err(CatalogueError::Url(text.chars().take(200).collect())),
        }
    }
}

impl Catalogue {
    /// Reads an index, and checks its signature and that its signer is trusted.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn open(url: &CatalogueUrl, publishers: &Publishers) -> Result<Self, CatalogueError> {
        let catalogue = Self::read(url)?;
        publishers.check(&catalogue.index.signer)?;
        Ok(catalogue)
    }

    /// What it has, in the order in which it was published.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.index.entries
    }

    /// Where the bundle of an entry is.
    #[must_use]
    pub fn bundle_dir(&self, entry: &Entry) -> PathBuf {
        bundle_dir(&self.dir, &entry.id, &entry.version)
    }

    /// Who signed it.
    pub(crate) const fn signer(&self) -> &DocumentKey {
        &self.index.signer
    }

    /// What an index that was seen before has and this one has not, in words: then this is the older one.
    pub(crate) fn lacks(&self, before: &Self) -> Option<String> {
        if self.index.signer != before.index.signer {
            return Some("it is signed by another key".to_owned());
        }
        let all = self.index.entries.iter();
        let entries: BTreeMap<_, _> = all
            .map(|entry| ((&entry.id, &entry.version), entry))
            .collect();
        before.index.entries.iter().find_map(|old| {
            let name = format!("{} {}", old.id, old.version);
            match entries.get(&(&old.id, &old.version)) {
                None => Some(format!("{name} is gone")),
                Some(new) if new.manifest_sha256 != old.manifest_sha256 => {
                    Some(format!("{name} is another one"))
                }
                Some(new) if old.yanked && !new.yanked => {
                    Some(format!("{name} is no more withdrawn"))
                }
                Some(_) => None,
            }
        })
    }

    /// Keeps its text in its directory.
    pub(crate) fn keep(&self, text: &[u8]) -> io::Result<()> {
        pilot_store::replace_file(&self.dir.join(INDEX), text)
    }

    /// Reads an index and checks its signature, not who signed it.
    pub(crate) fn parse(text: &[u8], dir: &Path) -> Result<Self, CatalogueError> {
        let path = dir.join(INDEX);
        let text = std::str::from_utf8(text).map_err(|error| CatalogueError::Format {
            path: path.clone(),
            words: error.to_string(),
        })?;
        Self::parse_text(text, dir)
    }

    fn read(url: &CatalogueUrl) -> Result<Self, CatalogueError> {
        let text = read_index(&url.dir().join(INDEX))?;
        Self::parse_text(&text, url.dir())
    }

    fn parse_text(text: &str, dir: &Path) -> Result<Self, CatalogueError> {
        let path = dir.join(INDEX);
        let format = |words: String| CatalogueError::Format {
            path: path.clone(),
            words,
        };
        let mut lines = text.split('\n');
        let (Some(body), Some(signature), Some(""), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(format("expected two lines".to_owned()));
        };
        let index: Index = serde_json::from_str(body).map_err(|error| format(error.to_string()))?;
        if index.format != FORMAT || index.entries.len() > MAX_ENTRIES {
            return Err(format(format!("format {}", index.format)));
        }
        let signature: SignatureLine =
            serde_json::from_str(signature).map_err(|error| format(error.to_string()))?;
        index
            .signer
            .verify(CONTEXT, body.as_bytes(), &signature.signature)
            .map_err(|source| CatalogueError::Signature { path, source })?;
        let dir = dir.to_owned();
        Ok(Self { dir, index })
    }
}

/// Puts a bundle into a catalogue, making the catalogue if there is none, and signs its index anew.
///
/// # Errors
/// [`CatalogueError`]; the index is the old one then.
pub fn publish(
    dir: &Path,
    url: &CatalogueUrl,
    secret: &DocumentSecret,
) -> Result<Entry, CatalogueError> {
    let bundle = Bundle::open(dir)?;
    let manifest = bundle.manifest();
    let mut index = own_index(url, secret)?;
    let entry = Entry {
        id: manifest.id.clone(),
        version: manifest.version.clone(),
        publisher: manifest.publisher,
        description: manifest.description.clone(),
        manifest_sha256: bundle.signed().hash(),
        yanked: false,
    };
    let is_known = check_new(&index.entries, &entry)?;
    if is_known {
        return Ok(entry);
    }
    let target = bundle_dir(url.dir(), &entry.id, &entry.version);
    stage::copy(&bundle, &target)?;
    index.entries.push(entry.clone());
    save(url, &index, secret)?;
    Ok(entry)
}

/// Marks a version as not to be installed any more.
///
/// # Errors
/// [`CatalogueError`]; gives whether there is such an entry.
pub fn yank(
    id: &AppId,
    version: &Version,
    url: &CatalogueUrl,
    secret: &DocumentSecret,
) -> Result<bool, CatalogueError> {
    let mut index = own_index(url, secret)?;
    let is_it = |entry: &&mut Entry| entry.id == *id && entry.version == *version;
    let Some(entry) = index.entries.iter_mut().find(is_it) else {
        return Ok(false);
    };
    entry.yanked = true;
    save(url, &index, secret)?;
    Ok(true)
}

fn own_index(url: &CatalogueUrl, secret: &DocumentSecret) -> Result<Index, CatalogueError> {
    match Catalogue::read(url) {
        Ok(catalogue) if catalogue.index.signer == secret.public() => Ok(catalogue.index),
        Ok(catalogue) => Err(CatalogueError::Foreign(catalogue.index.signer)),
        Err(CatalogueError::Missing(_)) => Ok(Index {
            format: FORMAT,
            signer: secret.public(),
            entries: vec![],
        }),
        Err(error) => Err(error),
    }
}

/// Whether the very same is there already; what is there never changes.
fn check_new(entries: &[Entry], new: &Entry) -> Result<bool, CatalogueError> {
    for old in entries.iter().filter(|old| old.id == new.id) {
        if old.publisher != new.publisher {
            return Err(CatalogueError::Taken(old.id.clone(), old.publisher));
        }
        if old.version == new.version {
            if old.manifest_sha256 == new.manifest_sha256 {
                return Ok(true);
            }
            return Err(CatalogueError::Published(
                old.id.clone(),
                old.version.clone(),
            ));
        }
    }
    if entries.len() >= MAX_ENTRIES {
        return Err(CatalogueError::Full);
    }
    Ok(false)
}

fn save(url: &CatalogueUrl, index: &Index, secret: &DocumentSecret) -> Result<(), CatalogueError> {
    let body = serde_json::to_string(index).expect("texts serialise");
    let signature = SignatureLine {
        signature: secret.sign(CONTEXT, body.as_bytes()),
    };
    let signature = serde_json::to_string(&signature).expect("a text serialises");
    let path = url.dir().join(INDEX);
    let text = format!("{body}\n{signature}\n");
    pilot_store::replace_file(&path, text.as_bytes())
        .map_err(|source| CatalogueError::Io { path, source })
}

fn bundle_dir(dir: &Path, id: &AppId, version: &Version) -> PathBuf {
    dir.join(id.as_str()).join(version.to_string())
}

fn read_index(path: &Path) -> Result<String, CatalogueError> {
    let failed = |source: io::Error| {
        if source.kind() == io::ErrorKind::NotFound {
            return CatalogueError::Missing(path.parent().unwrap_or(path).to_owned());
        }
        CatalogueError::Io {
            path: path.to_owned(),
            source,
        }
    };
    let file = bundle::open(path).map_err(failed)?;
    let mut text = String::new();
    let mut bounded = file.take(MAX_INDEX);
    bounded.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Every id that the text may mean.
pub(crate) fn ids_called<'a>(
    ids: impl Iterator<Item = &'a AppId>,
    name: &str,
) -> BTreeSet<&'a AppId> {
    let called: BTreeSet<&AppId> = ids.filter(|id| id.is_called(name)).collect();
    let whole = called.iter().find(|id| id.as_str() == name).copied();
    match whole {
        Some(id) => BTreeSet::from([id]),
        None => called,
    }
}

mod key_text {
    use pilot_trust::DocumentKey;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        key: &DocumentKey,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(key)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<DocumentKey, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
