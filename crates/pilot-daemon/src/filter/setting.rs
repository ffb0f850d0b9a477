//! Which app, at which stages, kept in the home.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use pilot_api::types::{FilterOnFailure, FilterStage};
use pilot_appstore::AppId;
use pilot_store::replace_file;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The file in the home.
pub(super) const FILE: &str = "apps-filter.json";

/// What the owner set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Setting {
    /// Which app is asked.
    pub(crate) app: AppId,
    /// About what.
    pub(crate) stages: BTreeSet<FilterStage>,
    /// What becomes of that when it does not answer.
    pub(crate) on_failure: FilterOnFailure,
}

/// Why the setting was not read or kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum FilterError {
    /// The file cannot be read or written.
    #[error("cannot keep {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is damaged.
    #[error("{} is damaged: remove it, and set the filter again", path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

pub(super) fn read(path: &Path) -> Result<Option<Setting>, FilterError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            let path = path.to_owned();
            return Err(FilterError::Io { path, source });
        }
    };
    let read = serde_json::from_slice(&text);
    read.map_err(|source| FilterError::Damaged {
        path: path.to_owned(),
        source,
    })
}

pub(super) fn write(path: &Path, setting: Option<&Setting>) -> Result<(), FilterError> {
    let text = serde_json::to_vec_pretty(&setting).unwrap_or_default();
    replace_file(path, &text).map_err(|source| FilterError::Io {
        path: path.to_owned(),
        source,
    })
}
