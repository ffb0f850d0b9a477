//! What a file may be called.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::MAX_FILE_NAME;

/// Why a text is no [`FileName`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseFileNameError {
    /// There is nothing.
    #[error("a file name is not empty")]
    Empty,
    /// More bytes than a directory takes.
    #[error("file name of {0} bytes, at most {MAX_FILE_NAME} are allowed")]
    TooLong(usize),
    /// It is hidden, or one of `.` and `..`.
    #[error("a file name does not begin with a dot")]
    Dot,
    /// A separator, a control character, or one that reorders what is read.
    #[error("a file name does not have the character {0:?}")]
    Character(char),
}

/// The final component of a path, safe to use in any directory: not empty, at most [`MAX_FILE_NAME`] bytes of UTF-8, no
/// leading dot, neither `/` nor `\`, no control character and none that reorders text (Unicode TR 9).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(String);

impl FileName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name for the `n`-th file of this name: `report (2).pdf`. Zero is the name itself.
    ///
    /// Where the number does not fit, the stem gives way; where the extension alone is too long, its end does.
    #[must_use]
    pub fn numbered(&self, n: u32) -> Self {
        if n == 0 {
            return self.clone();
        }
        let number = format!(" ({n})");
        let room = MAX_FILE_NAME - number.len();
        let (stem, extension) = match self.0.rfind('.') {
            // One byte for a stem is the least, and a first character may take four.
            Some(dot) if self.0.len() - dot + 4 <= room => self.0.split_at(dot),
            Some(_) | None => (self.0.as_str(), ""),
        };
        let stem = &stem[..stem.floor_char_boundary(room - extension.len())];
        Self(format!("{stem}{number}{extension}"))
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for FileName {
    type Err = ParseFileNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for FileName {
    type Error = ParseFileNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() {
            return Err(ParseFileNameError::Empty);
        }
        if text.len() > MAX_FILE_NAME {
            return Err(ParseFileNameError::TooLong(text.len()));
        }
        if text.starts_with('.') {
            return Err(ParseFileNameError::Dot);
        }
        match text.chars().find(|c| is_unsafe(*c)) {
            Some(c) => Err(ParseFileNameError::Character(c)),
            None => Ok(Self(text)),
        }
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> Self {
        name.0
    }
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '/' | '\\' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_a_directory_or_hide_in_it_are_refused() {
        use ParseFileNameError::{Character, Dot, Empty, TooLong};
        let long = "x".repeat(MAX_FILE_NAME + 1);
        for (name, error) in [
            ("", Empty),
            (".", Dot),
            ("..", Dot),
            (".ssh", Dot),
            ("../../etc/passwd", Dot),
            ("/etc/passwd", Character('/')),
            ("a/../b", Character('/')),
            ("a\\b", Character('\\')),
            ("a\0b", Character('\0')),
            ("a\nb", Character('\n')),
            ("a\u{1b}[31mb", Character('\u{1b}')),
            ("a\u{7f}", Character('\u{7f}')),
            ("exe.\u{202e}fdp", Character('\u{202e}')),
            (long.as_str(), TooLong(MAX_FILE_NAME + 1)),
        ] {
            assert_eq!(name.parse::<FileName>(), Err(error), "{name:?}");
        }
        for name in [
            "a",
            "a b..c",
            "Bericht für 漢字.pdf",
            "-rf",
            "x".repeat(MAX_FILE_NAME).as_str(),
        ] {
            assert_eq!(name.parse::<FileName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn numbered_names_keep_their_extension() {
        let numbered = |name: &str, n| String::from(name.parse::<FileName>().unwrap().numbered(n));
        assert_eq!(numbered("report.pdf", 0), "report.pdf");
        assert_eq!(numbered("report.pdf", 2), "report (2).pdf");
        assert_eq!(numbered("report", 1), "report (1)");
        assert_eq!(numbered("a.tar.gz", 1), "a.tar (1).gz");
        assert_eq!(numbered("a.", 1), "a (1).");
    }

    #[test]
    fn a_numbered_name_is_a_name_whatever_its_length() {
        let extensions = ["", ".", ".pdf", &format!(".{}", "e".repeat(225)), ".漢"];
        for letter in ["x", "ü", "漢", "🦀"] {
            for (extension, len) in extensions
                .iter()
                .flat_map(|it| (1..=MAX_FILE_NAME).map(move |len| (it, len)))
            {
                let Some(room) = len
                    .checked_sub(extension.len())
                    .filter(|room| *room >= letter.len())
                else {
                    continue;
                };
                let text = letter.repeat(room / letter.len()) + extension;
                let name: FileName = text.parse().unwrap();
                for n in [0, 1, 10_001, u32::MAX] {
                    let numbered = name.numbered(n);
                    assert_eq!(
                        numbered.as_str().parse::<FileName>(),
                        Ok(numbered.clone()),
                        "{text} {n}"
                    );
                    assert!(n == 0 || numbered.as_str().contains(&format!(" ({n})")));
                    assert!(
                        extension.len() > 200 || numbered.as_str().ends_with(extension),
                        "{numbered}"
                    );
                }
            }
        }
    }
}
