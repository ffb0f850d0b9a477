//! Parts of files (RFC 9110 §14) and the tags of their versions (§8.8.3).

/// What a `Range` asks for of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    /// Everything: it says something else, several parts, or nothing that can be understood (§14.2: it may be ignored).
    Whole,
    /// Bytes from the first to the last of these.
    Part {
        /// The first.
        first: u64,
        /// The last, within the file.
        last: u64,
    },
    /// A part behind the end.
    Nothing,
}

impl Wanted {
    /// What the header's value asks of a file of so many bytes.
    pub(super) fn parse(text: &str, length: u64) -> Self {
        let Some((first, last)) = text
            .strip_prefix("bytes=")
            .and_then(|spec| spec.split_once('-'))
        else {
            return Self::Whole;
        };
        match (number(first), number(last)) {
            (Number::None, Number::Some(count)) => Self::suffix(count, length),
            (Number::Some(first), Number::None) => Self::within(first, u64::MAX, length),
            (Number::Some(first), Number::Some(last)) if first <= last => {
                Self::within(first, last, length)
            }
            _ => Self::Whole,
        }
    }

    fn within(first: u64, last: u64, length: u64) -> Self {
        if first >= length {
            return Self::Nothing;
        }
        let last = last.min(length - 1);
        Self::Part { first, last }
    }

    fn suffix(count: u64, length: u64) -> Self {
        if count == 0 || length == 0 {
            return Self::Nothing;
        }
        Self::Part {
            first: length.saturating_sub(count),
            last: length - 1,
        }
    }
}

enum Number {
    None,
    Some(u64),
    Malformed,
}

fn number(text: &str) -> Number {
    if text.is_empty() {
        return Number::None;
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Number::Malformed;
    }
    // What is too large to be counted lies behind every end.
    Number::Some(text.parse().unwrap_or(u64::MAX))
}

/// Whether an `If-None-Match` has the tag, weakly compared (§13.1.2).
pub(super) fn names(tags: &str, tag: &str) -> bool {
    let strip = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    tags.trim() == "*" || tags.split(',').any(|known| strip(known) == tag)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_part_is_given_and_anything_else_is_all_or_nothing() {
        let part = |first, last| Wanted::Part { first, last };
        for (text, wanted) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=2-4", part(2, 4)),
            ("bytes=2-", part(2, 9)),
            ("bytes=2-99", part(2, 9)),
            ("bytes=2-99999999999999999999999", part(2, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-99", part(0, 9)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=10-11", Wanted::Nothing),
            ("bytes=99999999999999999999999-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=4-2", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=0-1,4-5", Wanted::Whole),
            ("bytes= 0-1", Wanted::Whole),
            ("bytes=+0-1", Wanted::Whole),
            ("bytes=0-1-2", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
            ("", Wanted::Whole),
        ] {
            assert_eq!(Wanted::parse(text, 10), wanted, "{text}");
        }
        assert_eq!(Wanted::parse("bytes=0-", 0), Wanted::Nothing);
        assert_eq!(Wanted::parse("bytes=-1", 0), Wanted::Nothing);
    }

    #[test]
    fn tags_are_found_in_lists() {
        assert!(names("\"a\"", "\"a\""));
        assert!(names("W/\"b\", \"a\"", "\"a\""));
        assert!(names("W/\"a\"", "\"a\""));
        assert!(names("*", "\"a\""));
        assert!(!names("\"ab\"", "\"a\""));
        assert!(!names("", "\"a\""));
    }

    proptest! {
        #[test]
        fn a_part_lies_within(text in "(bytes=)?[0-9-]{0,24}", length in 0_u64..100) {
            if let Wanted::Part { first, last } = Wanted::parse(&text, length) {
                prop_assert!(first <= last && last < length);
            }
        }
    }
}
