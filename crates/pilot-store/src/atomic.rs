//! Files that are written whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

use crate::db::sync_parent;

/// How names of files under construction begin.
pub(crate) const TEMPORARY: &str = ".new-";

/// Replaces the file at `path`, for its owner alone: the old content or the new one, whatever happens meanwhile.
///
/// # Errors
/// What the file system says; the old content stays.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_beside(path, bytes)?.persist(path)?;
    sync_parent(path)
}

/// Makes the file at `path`.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if there is one, even if it appeared just now.
pub(crate) fn create_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_beside(path, bytes)?.persist_noclobber(path)?;
    sync_parent(path)
}

pub(crate) fn remove_quietly(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "a temporary file stays");
    }
}

/// For the owner alone (`tempfile` makes mode 0600), in the same directory, on disk.
fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    let mut file = Builder::new()
        .prefix(TEMPORARY)
        .tempfile_in(parent.unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}
