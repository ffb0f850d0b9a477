//! How much an app keeps.

use std::fs;
use std::path::{Path, PathBuf};

/// Files and directories that an app may keep: one look at them stays short.
const MAX_ENTRIES: usize = 10_000;
/// How deep it may nest them.
const MAX_DEPTH: usize = 32;

/// Whether a directory holds more than it may. A file counts with its length.
pub(crate) async fn is_beyond(dir: PathBuf, most: u64) -> bool {
    let looked = tokio::task::spawn_blocking(move || {
        let mut left = Left {
            bytes: most,
            entries: MAX_ENTRIES,
        };
        left.take_dir(&dir, MAX_DEPTH).is_none()
    });
    looked.await.unwrap_or(true)
}

struct Left {
    bytes: u64,
    entries: usize,
}

impl Left {
    /// `None` once there is too much.
    fn take_dir(&mut self, dir: &Path, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        // What is gone meanwhile is not there.
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            self.entries = self.entries.checked_sub(1)?;
            let Ok(meta) = entry.metadata() else {
                continue;
            };
            if meta.is_dir() {
                self.take_dir(&entry.path(), depth)?;
            } else {
                self.bytes = self.bytes.checked_sub(meta.len())?;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_entries_and_depth_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), [0; 600]).unwrap();
        fs::write(dir.path().join("c"), [0; 400]).unwrap();
        assert!(!is_beyond(dir.path().to_owned(), 1000).await);
        assert!(is_beyond(dir.path().to_owned(), 999).await);
        let deep = (0..MAX_DEPTH).fold(dir.path().to_owned(), |path, _| path.join("d"));
        fs::create_dir_all(deep).unwrap();
        assert!(is_beyond(dir.path().to_owned(), 1000).await);
    }
}
