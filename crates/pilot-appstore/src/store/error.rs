//! Why something about installed apps did not work.

use std::io;
use std::path::PathBuf;

use semver::Version;
use thiserror::Error;

use super::MAX_APPS;
use crate::bundle::BundleError;
use crate::consent::ConsentError;
use crate::id::AppId;
use crate::publishers::PublishersError;
use crate::stage::StageError;

/// Why something about installed apps did not work.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No such app.
    #[error("no app {0} is installed")]
    NotInstalled(String),
    /// The short name may mean several.
    #[error("{name} may mean {}", ids.join(" or "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// What it may mean.
        ids: Vec<String>,
    },
    /// It is there already.
    #[error("{0} {1} is installed already")]
    Exists(AppId, Version),
    /// An older version than the one that runs.
    #[error(
        "{id} {current} is installed: {offered} is older, and no app is replaced by an older one"
    )]
    Downgrade {
        /// The app.
        id: AppId,
        /// What runs.
        current: Version,
        /// What was offered.
        offered: Version,
    },
    /// Another publisher's app of the same id.
    #[error("{id} is installed from publisher {installed}: another one's does not take its place")]
    OtherPublisher {
        /// The app.
        id: AppId,
        /// Whose is installed.
        installed: String,
    },
    /// There is no version to go back to.
    #[error("there is no earlier version of {0}")]
    NoPrevious(AppId),
    /// Too many.
    #[error("{MAX_APPS} apps are installed already")]
    Full,
    /// A file cannot be used.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A record is not what was written.
    #[error("{} is damaged: {words}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        words: String,
    },
    /// Its publisher is not trusted.
    #[error(transparent)]
    Publisher(#[from] PublishersError),
    /// Its files are not what was signed.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// It did not get into its place.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// It was not agreed to.
    #[error(transparent)]
    Consent(#[from] ConsentError),
}
