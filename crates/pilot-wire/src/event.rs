//! Events, port 1002 (`docs/wire.md` §11).

use std::fmt;
use std::str::FromStr;

use pilot_types::AgentId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::MAX_TOPIC;

/// Why a text is no [`Topic`] or [`TopicFilter`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseTopicError {
    /// Too many bytes.
    #[error("topic of {0} bytes, at most {MAX_TOPIC} are allowed")]
    TooLong(usize),
    /// There is nothing, or nothing between two separators.
    #[error("a topic has levels of at least one character, separated by / or .")]
    EmptyLevel,
    /// Another character.
    #[error("a topic's levels have letters, digits, - and _, not {0:?}")]
    Character(char),
    /// A wildcard beside other characters, or `#` before the end.
    #[error("* stands alone in its level, and # alone in the last one")]
    Wildcard,
    /// A wildcard where an event is published.
    #[error("an event's topic has no wildcards")]
    Published,
}

/// What an event is about: levels of letters, digits, `-` and `_`, separated by `/` or `.`, at most [`MAX_TOPIC`] bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Topic(String);

/// Topics that a subscriber wants: a topic in which `*` stands for one level and `#`, as the last one, for the rest,
/// at least one level. `/` and `.` separate alike.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicFilter(String);

impl Topic {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TopicFilter {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the topic is one of them.
    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        let (mut wanted, mut found) = (levels(&self.0), levels(&topic.0));
        loop {
            match (wanted.next(), found.next()) {
                (None, None) | (Some("#"), Some(_)) => return true,
                (Some(wanted), Some(level)) if wanted == "*" || wanted == level => {}
                (Some(_) | None, Some(_) | None) => return false,
            }
        }
    }
}

fn levels(text: &str) -> impl Iterator<Item = &str> {
    text.split(['/', '.'])
}

impl TryFrom<String> for TopicFilter {
    type Error = ParseTopicError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() > MAX_TOPIC {
            return Err(ParseTopicError::TooLong(text.len()));
        }
        let mut left = levels(&text).count();
        for level in levels(&text) {
            left -= 1;
            match level {
                "" => return Err(ParseTopicError::EmptyLevel),
                "*" => {}
                "#" if left == 0 => {}
                _ => check_level(level)?,
            }
        }
        Ok(Self(text))
    }
}

fn check_level(level: &str) -> Result<(), ParseTopicError> {
    let is_legal = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    match level.chars().find(|c| !is_legal(*c)) {
        None => Ok(()),
        Some('*' | '#') => Err(ParseTopicError::Wildcard),
        Some(other) => Err(ParseTopicError::Character(other)),
    }
}

impl TryFrom<String> for Topic {
    type Error = ParseTopicError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let TopicFilter(text) = TopicFilter::try_from(text)?;
        if text.contains(['*', '#']) {
            return Err(ParseTopicError::Published);
        }
        Ok(Self(text))
    }
}

macro_rules! text {
    ($($name:ident)+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseTopicError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }
    )+};
}

text! { Topic TopicFilter }

/// What a stream to a broker asks for: a varint length, at most [`crate::limits::MAX_EVENT_FRAME`], and this in postcard
/// start it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EventRequest {
    /// Hand an event to the broker's subscribers; one [`EventAnswer`] follows.
    Publish {
        /// What it is about.
        topic: Topic,
        /// At most [`crate::limits::MAX_EVENT`] bytes.
        body: Vec<u8>,
    },
    /// Send what is published; one [`EventAnswer`] follows, then [`EventFrame`]s until either side ends the stream.
    Subscribe {
        /// Which topics.
        filter: TopicFilter,
    },
    /// The same, and first what the broker still has of the last events: brokers of earlier versions refuse it in words.
    Replay {
        /// Which topics.
        filter: TopicFilter,
        /// At most so many of them.
        last: u32,
    },
    /// A later version's request.
    #[serde(other)]
    Unknown,
}

/// The broker's answer to a request, framed likewise.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EventAnswer {
    /// It was done.
    Accepted {
        /// Subscribers that the event was queued for; 0 for a subscription.
        subscribers: u64,
    },
    /// It was refused, in words.
    Refused(String),
    /// A later version's word.
    #[serde(other)]
    Unknown,
}

/// What a subscriber gets, framed likewise.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EventFrame {
    /// Something was published.
    Event {
        /// What it is about.
        topic: Topic,
        /// Who published it: the agent whose session brought it to the broker.
        from: AgentId,
        /// What it says.
        body: Vec<u8>,
    },
    /// Here so many events are missing: the subscriber was too slow for them.
    Dropped(u64),
    /// A later version's frame: skipped.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(filter: &str, topic: &str) -> bool {
        let filter: TopicFilter = filter.parse().unwrap();
        filter.matches(&topic.parse().unwrap())
    }

    #[test]
    fn a_star_is_one_level_and_a_hash_the_rest() {
        for (filter, topic, expected) in [
            ("jobs", "jobs", true),
            ("jobs", "jobs/done", false),
            ("jobs/done", "jobs", false),
            ("jobs/*", "jobs/done", true),
            ("jobs/*", "jobs", false),
            ("jobs/*", "jobs/done/7", false),
            ("*/done", "jobs/done", true),
            ("*/done", "jobs/new", false),
            ("jobs/*/end", "jobs/7/end", true),
            ("*", "jobs", true),
            ("*", "jobs.done", false),
            ("#", "jobs", true),
            ("#", "jobs/done/7", true),
            ("jobs/#", "jobs/done/7", true),
            ("jobs/#", "jobs", false),
            ("jobs.*", "jobs/done", true),
            ("jobs", "job", false),
            ("jobs", "JOBS", false),
        ] {
            assert_eq!(is_match(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn what_is_no_topic_is_named() {
        use ParseTopicError::{Character, EmptyLevel, Published, TooLong, Wildcard};
        let long = "x".repeat(MAX_TOPIC + 1);
        for (text, error) in [
            ("", EmptyLevel),
            ("/a", EmptyLevel),
            ("a//b", EmptyLevel),
            ("a.", EmptyLevel),
            ("a b", Character(' ')),
            ("a\nb", Character('\n')),
            ("a*", Wildcard),
            ("#/a", Wildcard),
            (long.as_str(), TooLong(MAX_TOPIC + 1)),
        ] {
            assert_eq!(text.parse::<TopicFilter>(), Err(error.clone()), "{text:?}");
            assert_eq!(text.parse::<Topic>(), Err(error), "{text:?}");
        }
        for text in ["*", "#", "a/*", "a/#"] {
            assert_eq!(text.parse::<Topic>(), Err(Published), "{text:?}");
        }
        assert_eq!(
            "jobs/über_1-a.b".parse::<Topic>().unwrap().as_str(),
            "jobs/über_1-a.b"
        );
    }
}
