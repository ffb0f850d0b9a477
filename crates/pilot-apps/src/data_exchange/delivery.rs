//! What comes in, on which terms, and where it is kept.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use pilot_types::{AgentId, Hostname, NetworkId, UnixTime};
use pilot_wire::limits::MAX_MESSAGE;
use pilot_wire::{Message, Scope};
use thiserror::Error;

use super::codec::ReadMessageError;

/// What one receiver takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one body.
    pub message: u64,
    /// Bytes of all bodies that are on their way in, at least one of the largest; further messages wait for their turn.
    pub in_flight: u64,
    /// How long one message may take from its first byte to its last.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: MAX_MESSAGE as u64,
            // Two of the largest: one slow sender leaves room for another.
            in_flight: 2 * MAX_MESSAGE as u64,
            // 64 MiB in ten minutes are 112 KiB/s.
            patience: Duration::from_secs(600),
        }
    }
}

/// Who brings a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The agent that holds the session.
    pub agent: AgentId,
    /// Its name as far as we know it.
    pub hostname: Option<Hostname>,
}

/// What the sender's grant allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Terms {
    /// Only answers to messages of ours.
    pub is_reply_only: bool,
    /// Bytes of one body, 0 for the receiver's own limit.
    pub max_size: u64,
    /// Messages a minute, 0 for the receiver's own limit.
    pub rate: u32,
    /// The group to all of which the sender speaks.
    pub network: Option<NetworkId>,
}

impl From<&Scope> for Terms {
    fn from(scope: &Scope) -> Self {
        Self {
            is_reply_only: scope.is_reply_only,
            max_size: scope.max_size,
            rate: scope.rate,
            network: None,
        }
    }
}

/// What is said of a message that was left in a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mailed {
    /// When it was left there, by its sender's clock and signature.
    pub sent_at: UnixTime,
    /// Until when it might have been delivered.
    pub not_after: UnixTime,
}

/// A message that came in whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Who brought it.
    pub sender: Sender,
    /// What its grant allowed.
    pub terms: Terms,
    /// Its head.
    pub head: Message,
    /// Its body, shared by the inbox and whoever waits for it.
    pub body: Arc<[u8]>,
    /// That it came by a mailbox, and not straight from its sender.
    pub mailed: Option<Mailed>,
    /// What the owner's filter said of it.
    pub finding: Option<Finding>,
}

/// What the owner's filter said of a message that it did not just let pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which app.
    pub app: String,
    /// Whether the message goes into quarantine.
    pub is_blocked: bool,
    /// Why, in words.
    pub reason: String,
    /// What was found, as JSON.
    pub findings: String,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the inbox and will stay there through any crash.
    Stored,
    /// It was there before.
    Duplicate,
}

/// Why the inbox did not take a message.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PutError {
    /// Its quota is used up.
    #[error("the inbox is full")]
    Full,
    /// The sender's share of its quota is used up.
    #[error("your share of the inbox is full")]
    ShareFull,
    /// The disk is full.
    #[error("no space is left for the inbox")]
    NoSpace,
    /// It could not be written.
    #[error("the inbox cannot be written: {0}")]
    Storage(String),
}

/// Where messages are kept. `put` blocks until messages are durable.
pub trait Inbox: Send + Sync + 'static {
    /// Stores messages in their order, each once for its sender and id, and says what became of each: one answer a message. Where it is an
    /// error, nothing was stored of it, and nothing may be acknowledged.
    fn put(&self, deliveries: &[Delivery]) -> Vec<Result<Outcome, PutError>>;

    /// What the owner's filter says of a message that is about to be stored; without a filter nothing.
    fn screen(&self, _delivery: &Delivery) -> impl Future<Output = Option<Finding>> + Send {
        std::future::ready(None)
    }
}

/// Why a message did not get into the inbox.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// What came is not a message.
    #[error("not a message")]
    Read(#[from] ReadMessageError),
    /// The sender was too slow.
    #[error("the message took too long")]
    TooSlow,
    /// Its body is longer than allowed.
    #[error("message of {len} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Bytes announced.
        len: u64,
        /// Bytes allowed to this sender.
        limit: u64,
    },
    /// The sender's grant allows only answers, and this is none.
    #[error("only answers to outstanding messages are allowed")]
    ReplyOnly,
    /// Too many messages a minute.
    #[error("too many messages, try again later")]
    RateLimited,
    /// The inbox did not take it.
    #[error("the inbox did not take it")]
    Inbox(#[from] PutError),
    /// The message is stored, but its sender does not know.
    #[error("the acknowledgement could not be sent")]
    Ack(#[source] std::io::Error),
}

impl ServeError {
    /// What the sender is told: what it can act on, nothing about this machine.
    pub(crate) fn to_peer(&self) -> Option<String> {
        match self {
            Self::TooLarge { .. } | Self::ReplyOnly | Self::RateLimited | Self::TooSlow => {
                Some(self.to_string())
            }
            Self::Inbox(PutError::Full) => Some("the inbox is full".to_owned()),
            Self::Inbox(error @ (PutError::NoSpace | PutError::ShareFull)) => {
                Some(error.to_string())
            }
            Self::Inbox(PutError::Storage(_)) => {
                Some("the inbox cannot store it now, try again later".to_owned())
            }
            Self::Read(ReadMessageError::Io(_)) | Self::Ack(_) => None,
            Self::Read(error) => Some(error.to_string()),
        }
    }
}
