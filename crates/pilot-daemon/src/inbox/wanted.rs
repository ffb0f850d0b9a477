//! Which messages of the inbox are asked for.

use pilot::Target;
use pilot_api::ApiError;
use pilot_api::types::InboxRequest;
use pilot_store::{DbError, Inbox, InboxHead};
use pilot_types::{AgentId, Hostname, NodeId, UnixTime};
use pilot_wire::MessageType;

/// Bytes of what is searched for: a sentence, not a document.
const MAX_WORDS: usize = 1024;
/// Bytes of a body that is searched.
const MAX_SEARCHED: u64 = 4 * 1024 * 1024;

/// What a message has to be, to be listed.
#[derive(Default)]
pub(crate) struct Wanted {
    since: Option<UnixTime>,
    sender: Option<SenderIs>,
    /// In small letters.
    words: Option<String>,
}

/// How the sender is told.
enum SenderIs {
    Agent(AgentId),
    Node(NodeId),
    /// The name that it had when the message came.
    Named(Hostname),
}

impl Wanted {
    /// What a request asks for; `agent_of` tells which agent is behind a target, where that is known.
    ///
    /// # Errors
    /// `invalid_argument` for words that are none, or a sender that no message can have.
    pub(crate) fn new(
        request: &InboxRequest,
        agent_of: impl FnOnce(&Target) -> Option<AgentId>,
    ) -> Result<Self, ApiError> {
        let words = request.search.as_deref().map(str::trim);
        if words.is_some_and(|words| words.is_empty() || words.len() > MAX_WORDS) {
            let expected = format!("search: expected 1 to {MAX_WORDS} bytes of text");
            return Err(ApiError::invalid(expected));
        }
        let target = request.from.as_ref().map(crate::daemon::target);
        Ok(Self {
            since: request.since,
            sender: target
                .transpose()?
                .map(|target| SenderIs::new(&target, agent_of))
                .transpose()?,
            words: words.map(str::to_lowercase),
        })
    }

    /// Whether it is this message. Reads the body where words are looked for.
    ///
    /// # Errors
    /// [`DbError`] if the body cannot be read.
    pub(crate) fn is(&self, head: &InboxHead, store: &Inbox) -> Result<bool, DbError> {
        let is_since = self.since.is_none_or(|since| since <= head.received_at);
        let is_from = self.sender.as_ref().is_none_or(|sender| sender.is(head));
        if !is_since || !is_from {
            return Ok(false);
        }
        let Some(words) = &self.words else {
            return Ok(true);
        };
        let is_hidden = head.finding.as_ref().is_some_and(|it| it.is_blocked);
        if is_hidden || head.kind == MessageType::Binary || head.len > MAX_SEARCHED {
            return Ok(false);
        }
        let message = store.read_from(&head.from, &head.id)?;
        Ok(message.is_some_and(|message| has_words(&message.body, words)))
    }
}

impl SenderIs {
    fn new(
        target: &Target,
        agent_of: impl FnOnce(&Target) -> Option<AgentId>,
    ) -> Result<Self, ApiError> {
        if let Some(agent) = agent_of(target) {
            return Ok(Self::Agent(agent));
        }
        match target {
            Target::Agent(agent) => Ok(Self::Agent(*agent)),
            Target::Node(node) => Ok(Self::Node(*node)),
            Target::Hostname(name) => Ok(Self::Named(name.clone())),
            // Of somebody who is not known any more, the id alone is known.
            Target::Key(key) => Ok(Self::Agent(AgentId::new(*key))),
            Target::Ticket(_) => Err(ApiError::invalid(
                "from: expected a hostname, an address, a node_id or a key, found a ticket",
            )),
        }
    }

    fn is(&self, head: &InboxHead) -> bool {
        match self {
            Self::Agent(agent) => head.from == *agent,
            Self::Node(node) => head.from.node() == *node,
            Self::Named(name) => head.from_hostname.as_ref() == Some(name),
        }
    }
}

/// Whether a text has the words, which are in small letters.
fn has_words(body: &[u8], words: &str) -> bool {
    str::from_utf8(body).is_ok_and(|text| text.to_lowercase().contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(from: Option<&str>, search: Option<&str>) -> InboxRequest {
        InboxRequest {
            from: from.map(|from| from.parse().unwrap()),
            search: search.map(ToOwned::to_owned),
            ..InboxRequest::default()
        }
    }

    #[test]
    fn words_are_found_in_any_letters() {
        assert!(has_words("Grüße aus KÖLN".as_bytes(), "köln"));
        assert!(!has_words(b"\xff koeln", "koeln"), "no text");
    }

    #[test]
    fn what_no_message_can_be_is_refused() {
        let refused = |request| Wanted::new(&request, |_| None).err();
        assert!(refused(request(None, Some("  "))).is_some());
        assert!(refused(request(None, Some(&"x".repeat(2000)))).is_some());
        assert!(refused(request(Some("planner"), Some("x"))).is_none());
    }
}
