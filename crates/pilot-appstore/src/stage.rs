//! Putting a bundle into its place: whole, durable, or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::bundle::{self, Bundle, BundleError, MAX_BYTES};

/// How names of directories under construction begin. No app's id begins with a dot.
pub(crate) const NEW: &str = ".new-";
/// And those of directories on their way out.
pub(crate) const OLD: &str = ".old-";

/// Why a bundle did not get into its place.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StageError {
    /// A file or directory cannot be made.
    #[error("cannot write {}: check that its disk has space left", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What arrived is not what was signed.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

/// Copies a bundle to `target`, which replaces what is there. What is at `target` afterwards was checked after it was copied.
///
/// # Errors
/// [`StageError`]; `target` is as it was then.
pub(crate) fn copy(bundle: &Bundle, target: &Path) -> Result<Bundle, StageError> {
    let parent = target.parent().unwrap_or(Path::new("/"));
    let failed = |source| StageError::Io {
        path: target.to_owned(),
        source,
    };
    fs::create_dir_all(parent).map_err(failed)?;
    let new = tempfile::Builder::new().prefix(NEW).tempdir_in(parent);
    let new = new.map_err(failed)?;
    copy_files(bundle, new.path())?;
    let staged = Bundle::open(new.path())?;
    if staged.signed().hash() != bundle.signed().hash() {
        let entry = bundle.manifest().entry.clone();
        return Err(BundleError::Changed(entry).into());
    }
    set_aside(target).map_err(failed)?;
    fs::rename(new.path(), target).map_err(failed)?;
    // It is not there any more under the name that would be removed.
    let _ = new.keep();
    sync_dir(parent).map_err(failed)?;
    Ok(staged.moved_to(target))
}

/// Moves what is at `path` out of the way, in one step, and then removes it; what a crash leaves is swept later.
pub(crate) fn set_aside(path: &Path) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    let old = tempfile::Builder::new().prefix(OLD).tempdir_in(parent)?;
    match fs::rename(path, old.path().join("it")) {
        Ok(()) => sync_dir(parent),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes what crashes left in a directory.
pub(crate) fn sweep(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(NEW) && !name.starts_with(OLD) {
            continue;
        }
        // Directories of this module, and files that `pilot_store::replace_file` was writing.
        let removed = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            fs::remove_dir_all(entry.path())
        } else {
            fs::remove_file(entry.path())
        };
        if let Err(error) = removed {
            tracing::warn!(path = %entry.path().display(), %error, "what a crash left stays");
        }
    }
}

/// The files that the manifest names, each with its bound; whether they are the right ones is checked afterwards.
fn copy_files(bundle: &Bundle, target: &Path) -> Result<(), StageError> {
    let mut left = MAX_BYTES;
    for name in bundle.names() {
        let to = target.join(name);
        let failed = |source| StageError::Io {
            path: to.clone(),
            source,
        };
        let parent = to.parent().unwrap_or(target);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(failed)?;
        let from = bundle::open(&bundle.dir().join(name)).map_err(failed)?;
        left -= copy_file(from.take(left), &to).map_err(failed)?;
        sync_dir(parent).map_err(failed)?;
    }
    sync_dir(target).map_err(|source| StageError::Io {
        path: target.to_owned(),
        source,
    })
}

/// Every file for its owner alone, and none of them executable: an app's program runs from memory.
fn copy_file(mut from: impl Read, to: &Path) -> io::Result<u64> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    let count = io::copy(&mut from, &mut file)?;
    file.flush()?;
    file.sync_all()?;
    Ok(count)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
