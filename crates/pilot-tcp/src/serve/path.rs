//! The path of a request, read strictly: what it names is below the directory by its form alone.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Segments without `/`, NUL, and none that is empty, `.`, `..` or hidden in any other way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RequestPath {
    segments: Vec<Vec<u8>>,
    /// Whether it ends with a slash.
    is_directory: bool,
    /// Whether a segment begins with a dot: such files are not there.
    is_hidden: bool,
}

impl RequestPath {
    /// `None` if it is malformed: no slash first, an empty segment, an escape that is none, an escaped slash or NUL.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix('/')?;
        let is_directory = rest.is_empty() || rest.ends_with('/');
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let mut path = Self {
            segments: vec![],
            is_directory,
            is_hidden: false,
        };
        if text == "/" {
            return Some(path);
        }
        for segment in rest.split('/') {
            let segment = decoded(segment)?;
            if segment.is_empty() || segment.contains(&b'/') || segment.contains(&0) {
                return None;
            }
            path.is_hidden |= segment[0] == b'.';
            path.segments.push(segment);
        }
        Some(path)
    }

    pub(super) const fn is_directory(&self) -> bool {
        self.is_directory
    }

    pub(super) const fn is_hidden(&self) -> bool {
        self.is_hidden
    }

    pub(super) const fn is_root(&self) -> bool {
        self.segments.is_empty()
    }

    /// Below the directory; `.` for the directory itself.
    pub(super) fn to_relative(&self) -> PathBuf {
        if self.segments.is_empty() {
            return PathBuf::from(".");
        }
        self.segments.iter().map(|s| OsStr::from_bytes(s)).collect()
    }

    /// The last segment.
    pub(super) fn name(&self) -> &[u8] {
        self.segments.last().map_or(b"", Vec::as_slice)
    }
}

/// In the form of a URI, without the slash at its end.
impl fmt::Display for RequestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            write!(f, "/{}", encoded(segment))?;
        }
        Ok(())
    }
}

fn decoded(segment: &str) -> Option<Vec<u8>> {
    let mut bytes = segment.bytes();
    let mut decoded = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            byte => byte,
        });
    }
    Some(decoded)
}

fn digit(byte: u8) -> Option<u8> {
    let value = char::from(byte).to_digit(16)?;
    u8::try_from(value).ok()
}

/// RFC 3986 §2.3: what is unreserved stays, all else is escaped.
pub(super) fn encoded(segment: &[u8]) -> String {
    use fmt::Write;

    let mut text = String::with_capacity(segment.len());
    for byte in segment {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            write!(text, "%{byte:02X}").expect("a String takes what is written");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_paths_are_read_and_printed_back() {
        for (text, relative, is_directory) in [
            ("/", ".", true),
            ("/a", "a", false),
            ("/a/", "a", true),
            ("/a/b.txt", "a/b.txt", false),
            ("/a%20b/%C3%BC", "a b/ü", false),
            ("/a%25b", "a%b", false),
            ("/a~b-c_d", "a~b-c_d", false),
        ] {
            let path = RequestPath::parse(text).unwrap();
            assert_eq!(path.to_relative(), PathBuf::from(relative), "{text}");
            assert_eq!(path.is_directory(), is_directory, "{text}");
            assert!(!path.is_hidden());
            assert_eq!(path.to_string(), text.trim_end_matches('/'));
        }
    }

    #[test]
    fn malformed_paths_are_none() {
        for text in [
            "",
            "a",
            "*",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/%",
            "/%4",
            "/%4x",
            "/%x4",
            "/%+1",
            "/a%00b",
            "/a%2Fb",
            "/..%2f..%2fetc",
            "/%2F",
            "http://a/b",
        ] {
            assert_eq!(RequestPath::parse(text), None, "{text}");
        }
    }

    #[test]
    fn dots_at_the_beginning_hide_however_they_are_written() {
        for text in [
            "/..",
            "/.",
            "/../etc/passwd",
            "/a/../b",
            "/a/%2e%2e/b",
            "/%2E%2E/",
            "/.git/config",
            "/a/.ssh",
            "/%2egit",
            "/.../x",
            "/a/..",
        ] {
            let path = RequestPath::parse(text).unwrap();
            assert!(path.is_hidden(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_not_hidden_stays_below(text in "/[a-c./%02eEfF]{0,24}") {
            let path = RequestPath::parse(&text);
            if let Some(path) = path.filter(|path| !path.is_hidden() && !path.is_root()) {
                let relative = path.to_relative();
                prop_assert!(relative.components().all(|c| matches!(c, Component::Normal(_))));
                let again = RequestPath::parse(&path.to_string()).unwrap();
                prop_assert_eq!(again.to_relative(), relative);
            }
        }
    }
}
