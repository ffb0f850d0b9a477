//! Durations as people write them: `500ms`, `5s`, `2m`, `12h`, `7d`.

use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// Longer is a mistake, and would overflow where milliseconds are added up: a hundred years.
const MAX_SECS: u64 = 100 * 366 * 86_400;

/// Why a text is no [`Span`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid duration {0:?}: expected a number with ms, s, m, h or d, as 500ms, 5s or 2m")]
pub(crate) struct ParseSpanError(String);

/// A duration from the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span(pub(crate) Duration);

impl Span {
    pub(crate) fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).expect("a hundred years of milliseconds fit")
    }
}

impl FromStr for Span {
    type Err = ParseSpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseSpanError(text.chars().take(40).collect());
        let split = text
            .find(|c: char| !c.is_ascii_digit())
            .ok_or_else(refused)?;
        let (digits, unit) = text.split_at(split);
        let number: u64 = digits.parse().map_err(|_| refused())?;
        let millis_each: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(refused()),
        };
        let millis = number
            .checked_mul(millis_each)
            .filter(|millis| *millis <= MAX_SECS * 1000)
            .ok_or_else(refused)?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

/// A deadline from the command line: a duration, or `0` for none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Deadline(pub(crate) Option<Duration>);

impl Deadline {
    /// As the API has it: zero for none.
    pub(crate) fn as_millis(self) -> u64 {
        self.0.map_or(0, |duration| Span(duration).as_millis())
    }
}

impl FromStr for Deadline {
    type Err = ParseSpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "0" {
            return Ok(Self(None));
        }
        let Span(duration) = text.parse()?;
        Ok(Self((!duration.is_zero()).then_some(duration)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_is_read() {
        for (text, millis) in [
            ("500ms", 500),
            ("5s", 5000),
            ("2m", 120_000),
            ("12h", 43_200_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().as_millis(), millis);
        }
        assert_eq!("0".parse(), Ok(Deadline(None)));
        assert_eq!("0s".parse(), Ok(Deadline(None)));
        assert_eq!("1s".parse::<Deadline>().unwrap().as_millis(), 1000);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "5 s",
            "5S",
            "1m30s",
            "99999999999999999999d",
            "40000d",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text:?} was accepted");
        }
        assert!("5".parse::<Deadline>().is_err());
    }
}
