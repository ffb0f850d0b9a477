//! The inbox on disk, as the data exchange fills it and the API reads it.

mod retention;
mod wanted;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use pilot_api::ApiError;
use pilot_api::types::{
    Inbox as InboxAnswer, InboxMessage as ApiMessage, InboxRequest, MessageKind, What,
};
use pilot_apps::{Delivery, Inbox, Outcome, PutError};
use pilot_store::{DbError, InboxHead, InboxMessage, Mailed, NoRoom, Put};
use pilot_types::UnixTime;
use pilot_wire::{MessageId, MessageType};

pub(crate) use self::retention::keep_for;
pub(crate) use self::wanted::Wanted;

use crate::error;
use crate::notices::{Board, MAX_BODY};

/// Bytes that the inbox may hold, with their bookkeeping.
pub(crate) const QUOTA: u64 = 1024 * 1024 * 1024;
/// Messages that a list gives unless told otherwise.
const DEFAULT_LIMIT: usize = 100;
/// Bodies of one list; those beyond are read one by one.
const MAX_LISTED: u64 = 16 * 1024 * 1024;

/// The inbox of this agent. Every call blocks on the disk.
pub(crate) struct StoredInbox {
    store: pilot_store::Inbox,
    /// Held while messages come or go, so that clearing removes nothing that was not shown.
    changing: Mutex<()>,
    board: Arc<Board>,
}

impl StoredInbox {
    pub(crate) const fn new(store: pilot_store::Inbox, board: Arc<Board>) -> Self {
        Self {
            store,
            changing: Mutex::new(()),
            board,
        }
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the request asks for, the newest last; cleared if it says so.
    pub(crate) fn list(
        &self,
        request: &InboxRequest,
        wanted: &Wanted,
    ) -> Result<InboxAnswer, ApiError> {
        // A search may take a while, in which messages come.
        let _changing = request.clear.then(|| self.changing());
        let failed = |error| error::db(&error);
        let limit = request.limit.map_or(DEFAULT_LIMIT, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
        let is_wanted = |head: &InboxHead| wanted.is(head, &self.store);
        let heads = self.store.list(limit, is_wanted).map_err(failed)?;
        let total = self.store.total().map_err(failed)?;
        if request.clear && (heads.len() as u64) < total {
            let words = format!(
                "clear deletes all {total} messages, but only {} were asked for",
                heads.len()
            );
            let hint = format!("pilotctl inbox --clear --limit {total}");
            return Err(ApiError::invalid(words).with_hint(hint));
        }
        let messages = self.with_bodies(heads).map_err(failed)?;
        if request.clear {
            self.store.clear().map_err(failed)?;
        }
        Ok(InboxAnswer { messages, total })
    }

    /// Messages in it.
    pub(crate) fn total(&self) -> Result<u64, ApiError> {
        self.store.total().map_err(|error| error::db(&error))
    }

    /// One message, whole.
    pub(crate) fn read(&self, id: MessageId) -> Result<InboxAnswer, ApiError> {
        let failed = |error| error::db(&error);
        let message = self.store.read(&id).map_err(failed)?.ok_or_else(|| {
            let words = format!("no message {id} in the inbox");
            ApiError::new(pilot_api::ErrorCode::NotFound, words).with_hint("pilotctl inbox")
        })?;
        let total = self.store.total().map_err(failed)?;
        Ok(InboxAnswer {
            messages: vec![shown(message.head, Some(message.body))],
            total,
        })
    }

    /// What the exchange is told of a message, and whoever watches of one that came.
    fn settled(
        &self,
        put: Result<Put, NoRoom>,
        message: InboxMessage,
    ) -> Result<Outcome, PutError> {
        match put {
            Ok(Put::Stored) => {
                self.tell(message);
                Ok(Outcome::Stored)
            }
            Ok(Put::Duplicate) => Ok(Outcome::Duplicate),
            Err(NoRoom::Share { used, share }) => {
                let from = message.head.from_address;
                tracing::warn!(%from, used, share, "a sender's share of the inbox is full");
                Err(PutError::ShareFull)
            }
            Err(no_room) => {
                tracing::warn!(%no_room, "the inbox is full");
                Err(PutError::Full)
            }
        }
    }

    /// Tells of a message that came.
    fn tell(&self, message: InboxMessage) {
        let InboxMessage { head, body } = message;
        let at = head.received_at;
        let body = (body.len() <= MAX_BODY).then(|| body.to_vec());
        let message = shown(head, body);
        self.board.tell(at, What::Message { message });
    }

    fn with_bodies(&self, heads: Vec<InboxHead>) -> Result<Vec<ApiMessage>, DbError> {
        let mut listed = 0;
        let mut messages = vec![];
        for head in heads {
            listed += head.len;
            let body = if listed <= MAX_LISTED {
                self.store
                    .read_from(&head.from, &head.id)?
                    .map(|message| message.body)
            } else {
                None
            };
            messages.push(shown(head, body));
        }
        Ok(messages)
    }
}

impl Inbox for StoredInbox {
    fn put(&self, deliveries: &[Delivery]) -> Vec<Result<Outcome, PutError>> {
        let _changing = self.changing();
        let messages: Vec<InboxMessage> = deliveries.iter().map(kept).collect();
        match self.store.put_all(&messages) {
            Ok(put) => {
                let each = put.into_iter().zip(messages);
                each.map(|(put, message)| self.settled(put, message))
                    .collect()
            }
            Err(error) => {
                let words = pilot_rendezvous::error::describe(&error);
                tracing::error!(error = words, "messages could not be stored");
                let is_no_space = matches!(error, DbError::NoSpace { .. });
                let failed = || match is_no_space {
                    true => PutError::NoSpace,
                    false => PutError::Storage(words.clone()),
                };
                deliveries.iter().map(|_| Err(failed())).collect()
            }
        }
    }
}

fn kept(delivery: &Delivery) -> InboxMessage {
    let Delivery {
        sender,
        terms,
        head,
        body,
        mailed,
    } = delivery;
    let trust = if terms.is_reply_only {
        "reply-only"
    } else {
        "trusted"
    };
    InboxMessage {
        head: InboxHead {
            id: head.id,
            from: sender.agent,
            from_address: sender.agent.address(),
            from_hostname: sender.hostname.clone(),
            kind: head.kind,
            len: head.len,
            received_at: now(),
            reply_to: head.reply_to,
            trace: head.trace,
            trust: trust.to_owned(),
            network: terms.network,
            mailed: mailed.map(|mailed| Mailed {
                sent_at: mailed.sent_at,
                not_after: mailed.not_after,
            }),
        },
        body: body.to_vec(),
    }
}

fn shown(head: InboxHead, body: Option<Vec<u8>>) -> ApiMessage {
    ApiMessage {
        id: head.id,
        from: head.from.node(),
        from_address: head.from_address,
        from_hostname: head.from_hostname,
        kind: kind_of(head.kind),
        body: body.map(Into::into),
        bytes: head.len,
        received_at: head.received_at,
        reply_to: head.reply_to,
        trust: head.trust,
        network_id: head.network,
        via: via(head.mailed.as_ref()).to_owned(),
        sent_at: head.mailed.map(|mailed| mailed.sent_at),
    }
}

const fn via(mailed: Option<&Mailed>) -> &'static str {
    match mailed {
        Some(_) => "mailbox",
        None => "direct",
    }
}

/// A later version's type is shown as bytes.
pub(crate) const fn kind_of(kind: MessageType) -> MessageKind {
    match kind {
        MessageType::Text => MessageKind::Text,
        MessageType::Json => MessageKind::Json,
        MessageType::Binary | MessageType::Unknown => MessageKind::Binary,
    }
}

/// Now, by the system's clock.
pub(crate) fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 is wrong; every lifetime that starts in 1970 is over.
    UnixTime::from_millis(since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pilot_apps::{Sender, Terms};
    use pilot_types::AgentId;
    use pilot_wire::Message;

    use super::*;

    fn inbox(quota: u64) -> (tempfile::TempDir, StoredInbox) {
        let dir = tempfile::tempdir().unwrap();
        let store = pilot_store::Inbox::open(&dir.path().join("inbox.redb"), quota).unwrap();
        (dir, StoredInbox::new(store, Arc::new(Board::new(now()))))
    }

    fn delivery(id: u8, body: &[u8]) -> Delivery {
        Delivery {
            sender: Sender {
                agent: AgentId::new([1; 32]),
                hostname: "planner".parse().ok(),
            },
            terms: Terms::default(),
            head: Message {
                id: MessageId::new([id; 16]),
                kind: MessageType::Text,
                len: body.len() as u64,
                reply_to: None,
                trace: None,
            },
            body: Arc::from(body),
            mailed: None,
        }
    }

    fn put(inbox: &StoredInbox, delivery: Delivery) -> Result<Outcome, PutError> {
        inbox.put(&[delivery]).remove(0)
    }

    #[test]
    fn what_came_is_listed_read_and_cleared() {
        let (_dir, inbox) = inbox(QUOTA);
        let cursor = inbox.board.newest();
        assert_eq!(put(&inbox, delivery(1, b"one")).unwrap(), Outcome::Stored);
        assert_eq!(inbox.board.waiting(cursor), 1, "whoever watches is told");
        let again = put(&inbox, delivery(1, b"one")).unwrap();
        assert_eq!(
            (again, inbox.board.waiting(cursor)),
            (Outcome::Duplicate, 1)
        );
        assert_eq!(
            put(&inbox, delivery(1, b"one")).unwrap(),
            Outcome::Duplicate
        );
        assert_eq!(put(&inbox, delivery(2, b"two")).unwrap(), Outcome::Stored);
        let all = inbox
            .list(&InboxRequest::default(), &Wanted::default())
            .unwrap();
        assert_eq!(all.total, 2);
        let bodies: Vec<_> = all
            .messages
            .iter()
            .map(|m| m.body.as_ref().unwrap().as_bytes())
            .collect();
        assert_eq!(bodies, [b"one", b"two"]);
        assert_eq!(all.messages[0].trust, "trusted");
        let one = inbox.read(MessageId::new([1; 16])).unwrap();
        assert_eq!(one.messages[0], all.messages[0]);
        assert!(inbox.read(MessageId::new([9; 16])).is_err());
        let cleared = inbox
            .list(
                &InboxRequest {
                    clear: true,
                    ..InboxRequest::default()
                },
                &Wanted::default(),
            )
            .unwrap();
        assert_eq!(cleared.messages.len(), 2);
        assert_eq!(
            inbox
                .list(&InboxRequest::default(), &Wanted::default())
                .unwrap()
                .total,
            0
        );
    }

    #[test]
    fn messages_are_found_by_sender_and_by_words() {
        let (_dir, inbox) = inbox(QUOTA);
        for (id, text) in (1..).zip(["The report", "a REPORT again", "nothing"]) {
            put(&inbox, delivery(id, text.as_bytes())).unwrap();
        }
        let other = Delivery {
            sender: Sender {
                agent: AgentId::new([2; 32]),
                hostname: None,
            },
            ..delivery(4, b"report of another")
        };
        put(&inbox, other).unwrap();
        let found = |from: Option<&str>, search: Option<&str>| -> Vec<u8> {
            let request = InboxRequest {
                from: from.map(|from| from.parse().unwrap()),
                search: search.map(ToOwned::to_owned),
                ..InboxRequest::default()
            };
            let wanted = Wanted::new(&request, |_| None).unwrap();
            let found = inbox.list(&request, &wanted).unwrap();
            let messages = found.messages.iter();
            messages.map(|it| it.id.as_bytes()[0]).collect()
        };
        assert_eq!(found(None, Some("Report")), [1, 2, 4]);
        assert_eq!(found(Some("planner"), Some("report")), [1, 2]);
        assert_eq!(found(Some("planner"), None), [1, 2, 3]);
        assert_eq!(found(Some("0:0202.0202.0202"), None), [4]);
        assert!(found(None, Some("%")).is_empty());
    }

    #[test]
    fn clearing_removes_nothing_that_was_not_shown() {
        let (_dir, inbox) = inbox(QUOTA);
        for id in 0..3 {
            put(&inbox, delivery(id, b"x")).unwrap();
        }
        let request = InboxRequest {
            limit: Some(2),
            clear: true,
            ..InboxRequest::default()
        };
        let refused = inbox.list(&request, &Wanted::default()).unwrap_err();
        assert_eq!(
            refused.hint.as_deref(),
            Some("pilotctl inbox --clear --limit 3")
        );
        assert_eq!(
            inbox
                .list(&InboxRequest::default(), &Wanted::default())
                .unwrap()
                .total,
            3
        );
    }

    #[test]
    fn a_full_inbox_is_said_to_be_full() {
        let (_dir, inbox) = inbox(3000);
        put(&inbox, delivery(1, b"x")).unwrap();
        assert!(matches!(
            put(&inbox, delivery(2, &[0; 2000])),
            Err(PutError::Full)
        ));
    }
}
