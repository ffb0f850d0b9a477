//! Where a file is put below the receiver's directory.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::name::{FileName, ParseFileNameError};
use crate::limits::{MAX_FILE_DEPTH, MAX_FILE_PATH};

/// Why a text is no [`FilePath`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseFilePathError {
    /// More bytes than are allowed.
    #[error("path of {0} bytes, at most {MAX_FILE_PATH} are allowed")]
    TooLong(usize),
    /// More directories than are allowed.
    #[error("path of {0} names, at most {MAX_FILE_DEPTH} are allowed")]
    TooDeep(usize),
    /// One of its names is none.
    #[error(transparent)]
    Name(#[from] ParseFileNameError),
}

/// A relative path that stays below the directory it is put into: names with `/` between them, at most [`MAX_FILE_DEPTH`] and
/// [`MAX_FILE_PATH`] bytes, each of them a [`FileName`]. So there is no empty one, no `.` and no `..`, and nothing absolute.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FilePath(String);

impl FilePath {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directories from the outermost to the innermost, and the file's own name.
    #[must_use]
    pub fn split(&self) -> (Vec<FileName>, FileName) {
        let names = self.0.split('/').map(|name| {
            let name: Result<FileName, _> = name.parse();
            name.expect("each name was checked when the path was made")
        });
        let mut directories: Vec<FileName> = names.collect();
        let file = directories.pop().expect("a path has at least one name");
        (directories, file)
    }

    /// The file's own name, without the directories.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The path of the `n`-th file of this name, as [`FileName::numbered`] has it; a path that was of the greatest length grows beyond it.
    #[must_use]
    pub fn numbered(&self, n: u32) -> Self {
        let (directories, file) = self.split();
        let mut text = String::with_capacity(self.0.len());
        for directory in directories {
            text.push_str(directory.as_str());
            text.push('/');
        }
        text.push_str(file.numbered(n).as_str());
        Self(text)
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
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for FilePath {
    type Error = ParseFilePathError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() > MAX_FILE_PATH {
            return Err(ParseFilePathError::TooLong(text.len()));
        }
        let names = text.split('/').count();
        if names > MAX_FILE_DEPTH {
            return Err(ParseFilePathError::TooDeep(names));
        }
        for name in text.split('/') {
            name.parse::<FileName>()?;
        }
        Ok(Self(text))
    }
}

impl From<FileName> for FilePath {
    fn from(name: FileName) -> Self {
        Self(name.into())
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> Self {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_could_leave_the_directory_is_no_path() {
        for text in [
            "",
            "/",
            "/etc/passwd",
            "a/",
            "a//b",
            "./a",
            "a/./b",
            "../a",
            "a/../../b",
            "../../.ssh/authorized_keys",
            ".ssh/authorized_keys",
            "a/.ssh/b",
            "a\\..\\b",
            "C:\\a",
            "a/b\0c",
            "a/\u{1b}[31m",
            "a/\u{202e}b",
        ] {
            assert!(text.parse::<FilePath>().is_err(), "{text:?}");
        }
        let deep = vec!["d"; MAX_FILE_DEPTH + 1].join("/");
        let error = deep.parse::<FilePath>().unwrap_err();
        assert_eq!(error, ParseFilePathError::TooDeep(MAX_FILE_DEPTH + 1));
        let long = vec!["x".repeat(240); 5].join("/");
        let error = long.parse::<FilePath>().unwrap_err();
        assert_eq!(error, ParseFilePathError::TooLong(1204));
        for text in ["a", "a/b", "Fotos 2026/März/漢字.jpg", &deep[2..]] {
            assert_eq!(text.parse::<FilePath>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn only_the_last_name_is_numbered() {
        let path: FilePath = "a.d/b/report.pdf".parse().unwrap();
        assert_eq!(path.numbered(0), path);
        assert_eq!(path.numbered(2).as_str(), "a.d/b/report (2).pdf");
        assert_eq!(path.file_name(), "report.pdf");
        let (directories, file) = path.split();
        assert_eq!((directories.len(), file.as_str()), (2, "report.pdf"));
    }

    proptest! {
        /// Whatever is a path has names alone in it, and joined to a directory it lies below.
        #[test]
        fn a_path_stays_below_its_directory(text in "[a./\\\\ \\PC\u{0}\u{202e}]{0,40}") {
            let Ok(path) = text.parse::<FilePath>() else { return Ok(()) };
            let joined = std::path::Path::new("/base").join(path.numbered(3).as_str());
            prop_assert!(joined.starts_with("/base"));
            prop_assert!(joined.components().skip(1).all(|it| matches!(it, std::path::Component::Normal(_))));
            prop_assert_eq!(joined.components().count(), 2 + path.as_str().split('/').count());
        }
    }
}
