//! What goes wrong with the databases, in words that name the file and the way out.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a database does not open.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenDbError {
    /// The file or its directory cannot be read or written.
    #[error("cannot open {}: check that its directory exists, may be written and has space left", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has it open.
    #[error("{} is in use: stop the other program first", path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// It is no database, or a broken one. It was left as it is.
    #[error("{} is damaged ({words}): put back a copy of it, or move it away to begin anew without what it holds", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        words: String,
    },
    /// A later version of this program wrote it.
    #[error("{} has format {found}, this program knows formats up to {known}: use the newer program", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// Ours.
        known: u64,
    },
}

/// Why a database does not answer, or did not take a change. What was to be written is not acknowledged then. After a
/// failure the next call opens the file anew.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DbError {
    /// The disk is full, or its user's share of it. Once there is room, everything goes on.
    #[error("no space is left for {}: make room on its disk", path.display())]
    NoSpace {
        /// Which file.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("cannot use {}: {words}; check that its disk has space left and is whole", path.display())]
    Failed {
        /// Which file.
        path: PathBuf,
        /// What the engine says.
        words: String,
    },
    /// A row does not decode.
    #[error("{} is damaged: {what} does not decode; put back a copy of it, or move it away to begin anew", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which row.
        what: &'static str,
    },
}

impl DbError {
    pub(crate) fn failed(path: &Path, error: impl Into<redb::Error>) -> Self {
        let path = path.to_owned();
        let error = error.into();
        if let redb::Error::Io(error) = &error
            && is_no_space(error)
        {
            return Self::NoSpace { path };
        }
        let words = error.to_string();
        Self::Failed { path, words }
    }

    /// A failure closed it, and it does not open again.
    pub(crate) fn closed(path: &Path, error: OpenDbError) -> Self {
        let words = match error {
            OpenDbError::Io { source, .. } => return Self::failed(path, redb::Error::Io(source)),
            OpenDbError::Damaged { words, .. } => words,
            error @ (OpenDbError::InUse { .. } | OpenDbError::Newer { .. }) => error.to_string(),
        };
        Self::Failed {
            path: path.to_owned(),
            words,
        }
    }
}

/// Whether the disk, or the share of it that its user has, is full.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
