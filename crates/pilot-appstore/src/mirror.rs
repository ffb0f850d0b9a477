//! What is kept of a catalogue on another machine: its newest index, and the bundles that were asked for. It is a catalogue itself, checked
//! as any other, and usable while the machine is out of reach.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;

use crate::bundle::{Bundle, BundleError, FilePath, MANIFEST, SIGNATURE};
use crate::catalogue::{Catalogue, CatalogueError, CatalogueUrl, Entry};
use crate::hash::Sha256;
use crate::publishers::Publishers;
use crate::signed::{SignedManifest, VerifyError};
use crate::stage::{self, NEW};

/// The directory in the home.
const DIR: &str = "apps-catalogues";
/// Touched whenever the other machine had nothing newer, or what is newer was taken.
const SEEN: &str = "seen";

/// Why something of another machine was not taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MirrorError {
    /// It is no index, or its signer is not trusted.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// It is not what is known already and more: entries never change and never go.
    #[error(
        "its index is older than one that was seen, or was changed: {words}; if its owner began it anew, remove {}",
        dir.display()
    )]
    Older {
        /// What is missing.
        words: String,
        /// Where the one that was seen is.
        dir: PathBuf,
    },
    /// What came is not the bundle that the index names.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Its manifest is not the one that the index names.
    #[error("{0} {1} is not the one that the catalogue has")]
    Other(String, String),
    /// It cannot be kept.
    #[error("cannot write {}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What is kept of one catalogue.
#[derive(Clone, Debug)]
pub struct Mirror {
    dir: PathBuf,
}

impl Mirror {
    /// Of the catalogue at this URL.
    #[must_use]
    pub fn of(home: &Path, url: &str) -> Self {
        let name = Sha256::of(url.as_bytes()).to_string();
        Self {
            dir: home.join(DIR).join(&name[..32]),
        }
    }

    /// What is kept, as a catalogue.
    #[must_use]
    pub fn url(&self) -> CatalogueUrl {
        CatalogueUrl::of_dir(&self.dir)
    }

    /// When the other machine was reached last.
    #[must_use]
    pub fn seen(&self) -> Option<SystemTime> {
        fs::metadata(self.dir.join(SEEN)).ok()?.modified().ok()
    }

    /// Takes an index that came, if its signer is trusted and it has all that the one before had: the same entries, and what was withdrawn
    /// still withdrawn. An older one is known by that, and nothing in the format had to say which is newer. Blocks on the disk.
    ///
    /// # Errors
    /// [`MirrorError`]; what is kept is as it was.
    pub fn take_index(&self, text: &[u8], publishers: &Publishers) -> Result<(), MirrorError> {
        let new = Catalogue::parse(text, &self.dir)?;
        publishers
            .check(new.signer())
            .map_err(CatalogueError::from)?;
        match Catalogue::open(&self.url(), publishers) {
            Ok(old) => {
                if let Some(words) = new.lacks(&old) {
                    let dir = self.dir.clone();
                    return Err(MirrorError::Older { words, dir });
                }
            }
            Err(CatalogueError::Missing(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let failed = |source| MirrorError::Io {
            path: self.dir.clone(),
            source,
        };
        fs::create_dir_all(&self.dir).map_err(failed)?;
        new.keep(text).map_err(failed)?;
        fs::write(self.dir.join(SEEN), b"").map_err(failed)
    }

    /// Whether the bundle of an entry has to be fetched.
    #[must_use]
    pub fn lacks(&self, entry: &Entry) -> bool {
        let dir = self.dir.join(entry.id.as_str());
        !dir.join(entry.version.to_string()).exists()
    }

    /// Begins to take a bundle: its manifest and signature, which say what else there is. Blocks on the disk.
    ///
    /// # Errors
    /// [`MirrorError`].
    pub fn begin(
        &self,
        entry: &Entry,
        manifest: &[u8],
        signature: &[u8],
    ) -> Result<Arriving, MirrorError> {
        let text = String::from_utf8_lossy(signature);
        let signed = SignedManifest::verify(manifest, text.trim());
        let signed = signed.map_err(|error: VerifyError| BundleError::from(error))?;
        let (id, version) = (&signed.manifest().id, &signed.manifest().version);
        if signed.hash() != entry.manifest_sha256 || *id != entry.id || *version != entry.version {
            return Err(MirrorError::Other(
                entry.id.to_string(),
                entry.version.to_string(),
            ));
        }
        let parent = self.dir.join(entry.id.as_str());
        let failed = |source| MirrorError::Io {
            path: parent.clone(),
            source,
        };
        fs::create_dir_all(&parent).map_err(failed)?;
        stage::sweep(&parent);
        let new = tempfile::Builder::new().prefix(NEW).tempdir_in(&parent);
        let arriving = Arriving {
            dir: new.map_err(failed)?,
            target: parent.join(entry.version.to_string()),
            files: signed.manifest().files.keys().cloned().collect(),
        };
        arriving.write(MANIFEST, manifest)?;
        arriving.write(SIGNATURE, signature)?;
        Ok(arriving)
    }
}

/// A bundle on its way here.
#[derive(Debug)]
pub struct Arriving {
    dir: tempfile::TempDir,
    target: PathBuf,
    files: Vec<FilePath>,
}

impl Arriving {
    /// What else there is to fetch.
    #[must_use]
    pub fn files(&self) -> &[FilePath] {
        &self.files
    }

    /// Keeps one of them. Blocks on the disk.
    ///
    /// # Errors
    /// [`MirrorError::Io`].
    pub fn add(&self, file: &FilePath, bytes: &[u8]) -> Result<(), MirrorError> {
        self.write(file.as_str(), bytes)
    }

    /// Checks all of it as any bundle, and puts it into its place. Blocks on the disk.
    ///
    /// # Errors
    /// [`MirrorError`]; nothing is kept then.
    pub fn finish(self) -> Result<(), MirrorError> {
        Bundle::open(self.dir.path())?;
        let failed = |source| MirrorError::Io {
            path: self.target.clone(),
            source,
        };
        stage::set_aside(&self.target).map_err(failed)?;
        fs::rename(self.dir.path(), &self.target).map_err(failed)?;
        // It is not there any more under the name that would be removed.
        let _ = self.dir.keep();
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), MirrorError> {
        let path = self.dir.path().join(name);
        let written = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, bytes));
        written.map_err(|source| MirrorError::Io { path, source })
    }
}

#[cfg(test)]
mod tests;
