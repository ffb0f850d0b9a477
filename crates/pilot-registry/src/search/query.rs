//! What is asked.

use std::collections::BTreeSet;

use pilot_types::{Hostname, Tag};
use pilot_wire::DecodeError;
use pilot_wire::limits::{MAX_CAPABILITY_TEXT, MAX_TAGS};
use serde::{Deserialize, Serialize};

use super::words::{capability_term, hostname_term, tag_term, words};
use crate::limits::{MAX_SEARCH_TEXT, MAX_SEARCH_WORDS};

/// A question for agents. All that it names must fit, and of the words of `text` at least one; the more of them fit, the better.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SearchQuery {
    /// Words of names, tags and descriptions, at most [`MAX_SEARCH_TEXT`] bytes and [`MAX_SEARCH_WORDS`] words.
    pub text: String,
    /// Tags that it has, at most [`MAX_TAGS`].
    pub tags: Vec<Tag>,
    /// A capability that it has, as `NAME` or `NAME@VERSION`.
    pub capability: Option<String>,
    /// The name that it has.
    pub hostname: Option<Hostname>,
    /// Whether agents that the asker sees by a grant are left out.
    pub is_public_only: bool,
    /// How many of the best to leave out.
    pub offset: u32,
    /// How many to give; fewer come if they do not fit into an answer.
    pub limit: u32,
}

impl SearchQuery {
    /// Holds every field against its bound.
    ///
    /// # Errors
    /// [`DecodeError::Range`] with the field.
    pub fn check(&self) -> Result<(), DecodeError> {
        if self.text.len() > MAX_SEARCH_TEXT {
            return Err(DecodeError::Range("search text length"));
        }
        if words(&self.text).count() > MAX_SEARCH_WORDS {
            return Err(DecodeError::Range("words of a search"));
        }
        if self.tags.len() > MAX_TAGS {
            return Err(DecodeError::Range("tags of a search"));
        }
        let capability = self.capability.as_ref().map_or(0, String::len);
        if capability > 2 * MAX_CAPABILITY_TEXT + 1 {
            return Err(DecodeError::Range("capability of a search"));
        }
        Ok(())
    }
}

/// A question in the index's terms.
#[derive(Debug, Default)]
pub(crate) struct Question {
    /// Of which at least one fits, if there is any.
    pub(crate) words: BTreeSet<Box<str>>,
    /// All of which fit.
    pub(crate) filters: BTreeSet<Box<str>>,
    /// Whether the text has nothing that could fit.
    pub(crate) is_hopeless: bool,
}

impl Question {
    pub(crate) fn new(query: &SearchQuery) -> Self {
        let tags = query.tags.iter().map(tag_term);
        let capability = query.capability.as_deref().map(capability_term);
        let hostname = query.hostname.as_ref().map(hostname_term);
        let words: BTreeSet<_> = words(&query.text).collect();
        Self {
            is_hopeless: words.is_empty() && !query.text.trim().is_empty(),
            words,
            filters: tags.chain(capability).chain(hostname).collect(),
        }
    }
}
