//! A bundle: the directory that an app is, with every file hashed and nothing else in it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ring::digest::{Context, SHA256};
use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};
use thiserror::Error;

use pilot_adapter::{Description, MAX_DESCRIPTION};

use crate::executable::{self, ExecutableError};
use crate::grant::Grant;
use crate::hash::Sha256;
use crate::manifest::{MAX_MANIFEST, Manifest, ManifestError};
use crate::python;
use crate::signed::{SignedManifest, VerifyError};
use crate::target::Target;

/// The manifest's file.
pub const MANIFEST: &str = "manifest.toml";
/// Its signature's file.
pub const SIGNATURE: &str = "manifest.sig";
/// Files of a bundle, the manifest and its signature not counted.
const MAX_FILES: usize = 1000;
/// Bytes of all of them.
pub const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Longest path in a bundle, and how deep it goes: the walk is recursive.
const MAX_PATH: usize = 200;
const MAX_DEPTH: usize = 8;
/// A signature is 128 hex digits and a line's end.
const MAX_SIGNATURE: u64 = 200;

/// A file's place in its bundle: parts of letters, digits, `-`, `_` and `.` with `/` between them, none beginning with a dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FilePath(String);

/// Why a text is no place in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "invalid file name {0:?}: expected parts of letters, digits, -, _ and . with / between them, none beginning with a dot, at most {MAX_PATH} bytes and {MAX_DEPTH} parts"
)]
pub struct ParseFilePathError(String);

/// Why a directory is no bundle, or not the one that was signed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The manifest is no manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The signature does not hold.
    #[error("manifest.sig: {0}")]
    Signature(#[from] VerifyError),
    /// A name that a bundle's file must not have.
    #[error(transparent)]
    Name(#[from] ParseFilePathError),
    /// A symbolic link, a pipe, a device.
    #[error("{0} is neither a file nor a directory: a bundle holds nothing else")]
    Kind(String),
    /// Too much.
    #[error("the bundle has more than {0}")]
    TooLarge(String),
    /// The manifest has it, the directory does not.
    #[error("file {0} is missing")]
    Missing(FilePath),
    /// The directory has it, the manifest does not.
    #[error("file {0} is not in the manifest")]
    Unknown(FilePath),
    /// Another content than was signed.
    #[error("file {0} is not the one that was signed")]
    Changed(FilePath),
    /// It is for other machines.
    #[error("it is for {targets}, and this machine is {here}")]
    Target {
        /// Those that it names.
        targets: String,
        /// This one.
        here: Target,
    },
    /// The entry is not what an adapter goes by.
    #[error("entry {entry}: {words}")]
    Description {
        /// Which file.
        entry: FilePath,
        /// What is wrong with it.
        words: String,
    },
    /// The entry cannot be run here.
    #[error("entry {entry}: {source}")]
    Entry {
        /// Which file.
        entry: FilePath,
        /// Why.
        #[source]
        source: ExecutableError,
    },
}

/// A directory whose every file is what its publisher signed. Holding one says that it was so when it was opened.
#[derive(Clone, Debug)]
pub struct Bundle {
    dir: PathBuf,
    signed: SignedManifest,
}

impl Bundle {
    /// Opens a directory and checks all of it: signature, names, hashes, and that the entry can be run.
    ///
    /// # Errors
    /// [`BundleError`] with the field or file.
    pub fn open(dir: &Path) -> Result<Self, BundleError> {
        let signed = read_manifest(dir)?;
        let found = hashes(dir)?;
        compare(&signed.manifest().files, &found)?;
        check_entry(dir, signed.manifest())?;
        let dir = dir.to_owned();
        Ok(Self { dir, signed })
    }

    /// The same after its directory was renamed.
    pub(crate) fn moved_to(self, dir: &Path) -> Self {
        let dir = dir.to_owned();
        Self { dir, ..self }
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its manifest, by its publisher.
    #[must_use]
    pub const fn signed(&self) -> &SignedManifest {
        &self.signed
    }

    /// What its manifest says.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        self.signed.manifest()
    }

    /// The names of all its files, the manifest and its signature among them.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let files = self.manifest().files.keys().map(FilePath::as_str);
        files.chain([MANIFEST, SIGNATURE])
    }
}

/// The manifest of a bundle and the check of its signature, without the other files.
pub(crate) fn read_manifest(dir: &Path) -> Result<SignedManifest, BundleError> {
    let text = read(&dir.join(MANIFEST), MAX_MANIFEST as u64)?;
    let signature = read(&dir.join(SIGNATURE), MAX_SIGNATURE)?;
    let signature = String::from_utf8(signature).unwrap_or_default();
    Ok(SignedManifest::verify(
        &text,
        signature.trim_end_matches('\n'),
    )?)
}

/// The hash of every file but the manifest and its signature.
pub(crate) fn hashes(dir: &Path) -> Result<BTreeMap<FilePath, Sha256>, BundleError> {
    let mut walk = Walk {
        root: dir.to_owned(),
        left: MAX_BYTES,
        found: BTreeMap::new(),
    };
    walk.enter(dir, "")?;
    Ok(walk.found)
}

/// The walk over a bundle, within its bounds.
struct Walk {
    root: PathBuf,
    left: u64,
    found: BTreeMap<FilePath, Sha256>,
}

impl Walk {
    fn enter(&mut self, dir: &Path, prefix: &str) -> Result<(), BundleError> {
        let failed = |source| BundleError::Read {
            path: dir.to_owned(),
            source,
        };
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if prefix.is_empty() && [MANIFEST, SIGNATURE].contains(&name.as_str()) {
                continue;
            }
            let kind = entry.file_type().map_err(failed)?;
            let path: FilePath = name.parse()?;
            if kind.is_dir() {
                self.enter(&entry.path(), &format!("{name}/"))?;
            } else if kind.is_file() {
                self.add(path)?;
            } else {
                return Err(BundleError::Kind(name));
            }
        }
        Ok(())
    }

    fn add(&mut self, name: FilePath) -> Result<(), BundleError> {
        if self.found.len() == MAX_FILES {
            return Err(BundleError::TooLarge(format!("{MAX_FILES} files")));
        }
        let path = self.root.join(name.as_str());
        let failed = |source| BundleError::Read {
            path: path.clone(),
            source,
        };
        let file = open(&path).map_err(failed)?;
        let (hash, bytes) = hash_of(file.take(self.left + 1)).map_err(failed)?;
        let too_large = || BundleError::TooLarge(format!("{MAX_BYTES} bytes"));
        self.left = self.left.checked_sub(bytes).ok_or_else(too_large)?;
        self.found.insert(name, hash);
        Ok(())
    }
}

fn compare(
    signed: &BTreeMap<FilePath, Sha256>,
    found: &BTreeMap<FilePath, Sha256>,
) -> Result<(), BundleError> {
    for (name, hash) in signed {
        match found.get(name) {
            None => return Err(BundleError::Missing(name.clone())),
            Some(other) if other != hash => return Err(BundleError::Changed(name.clone())),
            Some(_) => {}
        }
    }
    match found.keys().find(|name| !signed.contains_key(*name)) {
        Some(name) => Err(BundleError::Unknown(name.clone())),
        None => Ok(()),
    }
}

pub(crate) fn check_entry(dir: &Path, manifest: &Manifest) -> Result<(), BundleError> {
    let here = Target::here();
    if !manifest.targets.is_empty() && !manifest.targets.contains(&here) {
        let targets: Vec<String> = manifest.targets.iter().map(Target::to_string).collect();
        let targets = targets.join(", ");
        return Err(BundleError::Target { targets, here });
    }
    let entry = manifest.entry.clone();
    if python::is_script(&entry) {
        let checked = python::check(manifest.asks_for(&Grant::Python));
        return checked.map_err(|source| BundleError::Entry { entry, source });
    }
    let path = dir.join(entry.as_str());
    let failed = |source| BundleError::Read {
        path: path.clone(),
        source,
    };
    if manifest.adapter.is_some() {
        let mut bytes = vec![];
        let most = MAX_DESCRIPTION as u64 + 1;
        let read = open(&path).and_then(|file| file.take(most).read_to_end(&mut bytes));
        read.map_err(failed)?;
        return check_description(&bytes, manifest)
            .map_err(|words| BundleError::Description { entry, words });
    }
    let mut head = vec![];
    let file = open(&path).map_err(failed)?;
    let bounded = file.take(executable::HEAD as u64).read_to_end(&mut head);
    bounded.map_err(failed)?;
    executable::check(&head, manifest.asks_for(&Grant::Libs))
        .map_err(|source| BundleError::Entry { entry, source })
}

/// Whether each method is described.
fn check_description(bytes: &[u8], manifest: &Manifest) -> Result<(), String> {
    let description = Description::parse(bytes).map_err(|error| error.to_string())?;
    let mut methods = manifest.methods.keys().map(ToString::to_string);
    match methods.find(|name| !description.operations.contains_key(name)) {
        Some(name) => Err(format!("method {name} is not described")),
        None => Ok(()),
    }
}

/// Opens a regular file that is no symbolic link; one that is a pipe does not make it wait.
///
/// # Errors
/// What the file system says.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

/// A whole small file.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, BundleError> {
    let failed = |source| BundleError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = vec![];
    let file = open(path).map_err(failed)?;
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > most {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        return Err(BundleError::TooLarge(format!("{most} bytes of {name}")));
    }
    Ok(bytes)
}

fn hash_of(mut file: impl Read) -> io::Result<(Sha256, u64)> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 64 * 1024];
    let mut bytes = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((Sha256::finish(context), bytes));
        }
        context.update(&buffer[..count]);
        bytes += count as u64;
    }
}

impl FilePath {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for FilePath {
    type Err = ParseFilePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_part = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        let is_path = text.len() <= MAX_PATH
            && text.split('/').count() <= MAX_DEPTH
            && text.split('/').all(is_part)
            && ![MANIFEST, SIGNATURE].contains(&text);
        if is_path {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseFilePathError(text.chars().take(MAX_PATH).collect()))
        }
    }
}

impl Serialize for FilePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for FilePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
