//! `identity.json`: the one file that cannot be made again.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pilot_trust::{Identity, IdentityFileError};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::atomic;

/// A whole identity log (256 entries of 512 bytes) in hex is 256 KiB; the keys are a few hundred bytes.
const MAX_IDENTITY: u64 = 1024 * 1024;

/// Why the identity cannot be loaded or saved. The file was left as it is.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file cannot be read.
    #[error("cannot read the identity {}: check its permissions", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than its owner may read or write it.
    #[error("the identity {} is open to others (mode {mode:04o}): run `chmod 600 {}`, and make a new identity if others may have read it", path.display(), path.display())]
    TooOpen {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no identity, or not a whole one.
    #[error("the identity {} is damaged: put back a copy of it; only if there is none, move it away to become a new agent with another address", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong; `None` if it is no text of a sensible length.
        #[source]
        source: Option<IdentityFileError>,
    },
    /// There is an identity already.
    #[error("the identity {} exists already and is never overwritten", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// It could not be written.
    #[error("cannot write the identity {}: check that its directory may be written and has space left", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

pub(crate) fn load(path: &Path) -> Result<Option<Identity>, IdentityError> {
    let text = match read(path) {
        Ok(text) => text,
        Err(IdentityError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let damaged = |source| IdentityError::Damaged {
        path: path.to_owned(),
        source,
    };
    let text = std::str::from_utf8(&text).map_err(|_| damaged(None))?;
    let identity = Identity::from_json(text).map_err(|error| damaged(Some(error)))?;
    Ok(Some(identity))
}

pub(crate) fn save_new(path: &Path, identity: &Identity) -> Result<(), IdentityError> {
    let text = Zeroizing::new(identity.to_json());
    atomic::create_new(path, text.as_bytes()).map_err(|source| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::AlreadyExists {
            IdentityError::Exists { path }
        } else {
            IdentityError::Write { path, source }
        }
    })
}

/// Other keys of the same agent in place of those that are there: the old ones or the new ones, whatever happens meanwhile.
pub(crate) fn replace(path: &Path, identity: &Identity) -> Result<(), IdentityError> {
    let known = load(path)?;
    let is_follower = known
        .as_ref()
        .is_none_or(|known| known.verified().is_followed_by(identity.verified()));
    if !is_follower {
        return Err(IdentityError::Exists {
            path: path.to_owned(),
        });
    }
    let text = Zeroizing::new(identity.to_json());
    atomic::replace(path, text.as_bytes()).map_err(|source| IdentityError::Write {
        path: path.to_owned(),
        source,
    })
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let failed = |source| IdentityError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    let mode = meta.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    if meta.len() > MAX_IDENTITY {
        return Err(IdentityError::Damaged {
            path: path.to_owned(),
            source: None,
        });
    }
    // Room at once: a buffer that grows leaves copies of the secrets behind.
    let room = usize::try_from(meta.len()).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_IDENTITY)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}
