//! The directory agent's language: `/data {"search":"weather","limit":10}` in, JSON out. Where the agents come from is its host's matter.

use pilot_types::{Address, Hostname, Tag};
use pilot_wire::limits::{MAX_CAPABILITY_TEXT, MAX_TAGS};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

/// Longest question.
pub const MAX_DIRECTORY_QUESTION: u64 = 16 * 1024;
/// Agents on a page unless the question says otherwise.
const DEFAULT_LIMIT: u64 = 50;
/// Agents on a page at most.
const MAX_LIMIT: u64 = 500;
/// Longest text to search for, as the registry has it.
const MAX_TEXT: usize = 256;

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DirectoryRequest {
    /// `/help`: what may be asked.
    Help,
    /// `/data`, alone or with a question.
    Data(DirectoryQuestion),
}

/// A question for public agents. All that it names must fit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DirectoryQuestion {
    /// Words of names, tags and descriptions.
    pub text: String,
    /// Tags that it has.
    pub tags: Vec<Tag>,
    /// A capability that it has, as `NAME` or `NAME@VERSION`.
    pub capability: Option<String>,
    /// The name that it has.
    pub hostname: Option<Hostname>,
    /// How many to leave out.
    pub offset: u32,
    /// How many to give.
    pub limit: u32,
    /// Which page that is.
    page: u64,
}

/// An agent of the directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DirectoryItem {
    /// Its name.
    pub hostname: Option<Hostname>,
    /// Its address.
    pub address: Address,
    /// What its capabilities say for people.
    pub description: Option<String>,
    /// The words that it is found by.
    pub tags: Vec<Tag>,
    /// `NAME@VERSION` each.
    pub capabilities: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The question is none.
    #[error("{0}")]
    Invalid(String),
    /// Too many questions.
    #[error("too many questions, try again later")]
    RateLimited {
        /// When.
        retry_after_ms: u64,
    },
    /// The registry cannot answer.
    #[error("{0}")]
    Unavailable(String),
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    search: Option<String>,
    tag: Option<OneOrMore>,
    capability: Option<String>,
    hostname: Option<String>,
    limit: Option<u64>,
    page: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl DirectoryRequest {
    /// From a message's body.
    ///
    /// # Errors
    /// [`DirectoryError::Invalid`] with what was expected.
    pub fn parse(body: &[u8]) -> Result<Self, DirectoryError> {
        let invalid = |words: &str| DirectoryError::Invalid(words.to_owned());
        let text = std::str::from_utf8(body).map_err(|_| invalid("expected text in UTF-8"))?;
        let text = text.trim();
        if text == "/help" {
            return Ok(Self::Help);
        }
        let question = match text.strip_prefix("/data") {
            Some("") => "{}",
            Some(rest) if rest.starts_with(|c: char| c.is_whitespace() || c == '{') => rest,
            None if text.starts_with('{') => text,
            Some(_) | None => {
                return Err(invalid("expected /data, /data {\"search\":\"…\"} or /help"));
            }
        };
        let written = serde_json::from_str::<Written>(question).map_err(|error| {
            DirectoryError::Invalid(format!("expected a JSON object after /data: {error}"))
        })?;
        written.question().map(Self::Data)
    }
}

impl Written {
    fn question(self) -> Result<DirectoryQuestion, DirectoryError> {
        let invalid = DirectoryError::Invalid;
        let text = self.search.unwrap_or_default();
        if text.len() > MAX_TEXT {
            let len = text.len();
            return Err(invalid(format!(
                "search of {len} bytes, at most {MAX_TEXT} are allowed"
            )));
        }
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(invalid(format!("limit {limit}: expected 1 to {MAX_LIMIT}")));
        }
        let page = self.page.unwrap_or(1);
        if page == 0 {
            return Err(invalid("page 0: the first page is 1".to_owned()));
        }
        let tags = match self.tag {
            None => vec![],
            Some(OneOrMore::One(tag)) => vec![tag],
            Some(OneOrMore::More(tags)) => tags,
        };
        if tags.len() > MAX_TAGS {
            return Err(invalid(format!("more than {MAX_TAGS} tags")));
        }
        let tags = tags.iter().map(|tag| tag.parse::<Tag>());
        let tags = tags
            .collect::<Result<_, _>>()
            .map_err(|error| invalid(error.to_string()))?;
        let capability = self.capability.as_ref().map_or(0, String::len);
        if capability > 2 * MAX_CAPABILITY_TEXT + 1 {
            return Err(invalid(
                "capability: expected NAME or NAME@VERSION".to_owned(),
            ));
        }
        let hostname = self.hostname.map(|name| name.parse::<Hostname>());
        let hostname = hostname
            .transpose()
            .map_err(|error| invalid(error.to_string()))?;
        let offset = (page - 1).saturating_mul(limit);
        Ok(DirectoryQuestion {
            text,
            tags,
            capability: self.capability,
            hostname,
            // Nobody has so many agents: the page is empty.
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            page,
        })
    }
}

/// The answer to a request: a JSON object, errors included.
#[must_use]
pub fn answer_directory(
    body: &[u8],
    find: impl FnOnce(&DirectoryQuestion) -> Result<(Vec<DirectoryItem>, u64), DirectoryError>,
) -> Value {
    let answered = DirectoryRequest::parse(body).and_then(|request| match request {
        DirectoryRequest::Help => Ok(help()),
        DirectoryRequest::Data(question) => {
            let (items, total) = find(&question)?;
            let last = u64::from(question.offset) + items.len() as u64;
            let has_more = !items.is_empty() && last < total;
            Ok(json!({
                "count": items.len(),
                "items": items,
                "total": total,
                "next": has_more.then_some(question.page + 1),
            }))
        }
    });
    answered.unwrap_or_else(|error| error.to_json())
}

impl DirectoryError {
    fn to_json(&self) -> Value {
        let (code, hint) = match self {
            Self::Invalid(_) => ("invalid_argument", "send /help"),
            Self::RateLimited { .. } => ("rate_limited", "wait"),
            Self::Unavailable(_) => ("connection_failed", "try again later"),
        };
        let mut error = json!({
            "status": "error",
            "code": code,
            "message": self.to_string(),
            "hint": hint,
        });
        if let Self::RateLimited { retry_after_ms } = self {
            error["retry_after_ms"] = (*retry_after_ms).into();
        }
        error
    }
}

fn help() -> Value {
    json!({
        "commands": {
            "/data": "all public agents, a page at a time",
            "/data {…}": "those that fit a JSON object; all that it names must fit",
            "/help": "this",
        },
        "fields": {
            "search": "words of names, tags and descriptions; the best come first",
            "tag": "a tag, or a list of tags",
            "capability": "NAME or NAME@VERSION",
            "hostname": "a whole name",
            "limit": format!("agents a page, 1 to {MAX_LIMIT}; {DEFAULT_LIMIT} if it is not there"),
            "page": "from 1 on; an answer's next is the page after it, or null",
        },
        "answer": { "items": [{ "hostname": "", "address": "", "description": "", "tags": [], "capabilities": [] }],
            "count": 0, "total": 0, "next": null },
        "example": r#"/data {"search":"weather","limit":10}"#,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str) -> DirectoryQuestion {
        match DirectoryRequest::parse(body.as_bytes()) {
            Ok(DirectoryRequest::Data(question)) => question,
            other => panic!("expected a question, found {other:?}"),
        }
    }

    fn answer(body: &str, count: usize, total: u64) -> Value {
        let item = DirectoryItem {
            hostname: "weather".parse().ok(),
            address: "0:A91F.0000.7C2E".parse().unwrap(),
            description: None,
            tags: vec!["gpu".parse().unwrap()],
            capabilities: vec!["forecast@1.0.0".to_owned()],
        };
        answer_directory(body.as_bytes(), |_| Ok((vec![item; count], total)))
    }

    #[test]
    fn a_question_names_what_must_fit() {
        let all = asked("/data");
        assert_eq!((all.offset, all.limit, all.text.as_str()), (0, 50, ""));
        let question = asked(
            r#" /data {"search":"weather","tag":["gpu","eu"],"capability":"forecast","hostname":"oracle","limit":10,"page":3} "#,
        );
        assert_eq!((question.offset, question.limit), (20, 10));
        assert_eq!(
            (question.text.as_str(), question.tags.len()),
            ("weather", 2)
        );
        assert_eq!(question.capability.as_deref(), Some("forecast"));
        assert_eq!(question.hostname, "oracle".parse().ok());
        assert_eq!(
            asked(r#"{"tag":"gpu"}"#).tags,
            ["gpu".parse::<Tag>().unwrap()]
        );
        assert_eq!(
            asked(r#"/data{"limit":500,"page":1000000000}"#).offset,
            u32::MAX
        );
    }

    #[test]
    fn what_is_no_question_is_answered_in_words() {
        let long = format!(r#"/data {{"search":"{}"}}"#, "x".repeat(300));
        let cases = [
            ("", "/help"),
            ("hello", "/help"),
            ("/database", "/help"),
            ("/data {", "JSON object"),
            ("/data []", "JSON object"),
            (r#"/data {"serach":"x"}"#, "serach"),
            (r#"/data {"limit":1000000000}"#, "1 to 500"),
            (r#"/data {"limit":0}"#, "1 to 500"),
            (r#"/data {"limit":-1}"#, "-1"),
            (r#"/data {"page":0}"#, "first page"),
            (r#"/data {"tag":"Not A Tag"}"#, "invalid tag"),
            (r#"/data {"hostname":"Not A Name"}"#, "invalid hostname"),
            (r#"/data {"search":7}"#, "string"),
            ("/data {\"search\":\"\u{1}\"}", "control character"),
            (long.as_str(), "at most 256"),
        ];
        for (body, expected) in cases {
            let error = answer(body, 0, 0);
            assert_eq!(error["status"], "error", "{body}");
            assert_eq!(error["code"], "invalid_argument", "{body}");
            let words = error["message"].as_str().unwrap();
            assert!(words.contains(expected), "{body}: {words}");
        }
        assert_eq!(
            answer_directory(&[0xFF, 0xFE], |_| unreachable!())["code"],
            "invalid_argument"
        );
    }

    #[test]
    fn an_answer_says_which_page_comes_next() {
        let page = answer(r#"/data {"limit":2}"#, 2, 5);
        assert_eq!(
            (&page["count"], &page["total"], &page["next"]),
            (&json!(2), &json!(5), &json!(2))
        );
        assert_eq!(
            page["items"][0],
            json!({"hostname": "weather", "address": "0:A91F.0000.7C2E", "description": null,
                "tags": ["gpu"], "capabilities": ["forecast@1.0.0"]})
        );
        assert_eq!(
            answer(r#"/data {"limit":2,"page":3}"#, 1, 5)["next"],
            Value::Null
        );
        assert_eq!(
            answer(r#"/data {"page":1000000000}"#, 0, 5)["next"],
            Value::Null
        );
    }

    #[test]
    fn a_refusal_says_when_to_come_again() {
        let find = |_: &DirectoryQuestion| Err(DirectoryError::RateLimited { retry_after_ms: 70 });
        let error = answer_directory(b"/data", find);
        assert_eq!(
            (&error["code"], &error["retry_after_ms"]),
            (&json!("rate_limited"), &json!(70))
        );
        assert!(answer_directory(b"/help", |_| unreachable!())["example"].is_string());
    }
}
