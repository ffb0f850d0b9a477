//! Mailboxes: leaving messages for agents that are away, and taking those that were left for us.

use std::sync::Arc;
use std::time::Duration;

use pilot_node::{Answer, LetterReceipt, QueryError, ReceivedLetter};
use pilot_registry::RefusalCode;
use pilot_trust::Draft;
use pilot_types::{AgentId, GroupId, Hostname, UnixTime};
use pilot_wire::Message;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use crate::clock;
use crate::node::Node;
use crate::state::Shared;

/// How often it is looked whether letters are still under way: once after a start mostly.
const FETCH_LOOK: Duration = Duration::from_millis(10);

/// Why a message was not left in a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DepositError {
    /// Unknown, not visible to us, or it takes no letters of ours.
    #[error("the agent takes no letters of yours")]
    NotWanted,
    /// It names no key for letters: an earlier version, or it was away for longer than a key lives.
    #[error("the agent has no mailbox")]
    NoMailbox,
    /// Longer than a mailbox takes.
    #[error("a message in a mailbox has at most {max} bytes")]
    TooLarge {
        /// Bytes allowed.
        max: usize,
    },
    /// There is no room, in the rendezvous' words.
    #[error("{0}")]
    Full(String),
    /// No rendezvous answers.
    #[error("no rendezvous answers")]
    NoRendezvous,
    /// Too much at a time, or the rendezvous cannot store now.
    #[error("{message}")]
    Later {
        /// The rendezvous' words.
        message: String,
        /// How long to wait.
        retry_after_ms: u64,
    },
    /// The rendezvous refused, or did not answer as it should.
    #[error("the rendezvous refused: {0}")]
    Refused(String),
    /// The node was shut down.
    #[error("the node was shut down")]
    Shutdown,
}

impl From<QueryError> for DepositError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::NotFound => Self::NotWanted,
            QueryError::NoPrekey => Self::NoMailbox,
            QueryError::LetterTooLarge => Self::TooLarge {
                max: pilot_wire::limits::MAX_LETTER_BODY,
            },
            QueryError::Refused {
                code: RefusalCode::MailboxFull,
                message,
                ..
            } => Self::Full(message),
            QueryError::Refused {
                code: RefusalCode::RateLimited | RefusalCode::Unavailable,
                message,
                retry_after_ms,
            } => Self::Later {
                message,
                retry_after_ms,
            },
            QueryError::Refused { message, .. } => Self::Refused(message),
            QueryError::Invalid(words) => Self::Refused(words),
            QueryError::Group(error) => Self::Refused(error.to_string()),
            QueryError::Unreachable | _ => Self::NoRendezvous,
        }
    }
}

/// A message that was left for us: opened, signed by its sender, and from an agent that may write to us.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Who signed it.
    pub from: AgentId,
    /// The name that it is known by here.
    pub hostname: Option<Hostname>,
    /// The group to all of which it is said.
    pub group: Option<GroupId>,
    /// The message's head.
    pub head: Message,
    /// Its body.
    pub body: Arc<[u8]>,
    /// When it was left, by its sender's clock.
    pub sent_at: UnixTime,
    /// Until when it might have been delivered.
    pub not_after: UnixTime,
    receipt: LetterReceipt,
}

impl Mail {
    /// Whether two came together: where one cannot be stored, those behind it are not to be stored either, for their order.
    #[must_use]
    pub const fn is_of_same_batch(&self, other: &Self) -> bool {
        self.receipt.is_of_same_batch(&other.receipt)
    }
}

/// Brings what was left for us, in the order in which each sender left it.
pub struct Mailbox {
    letters: mpsc::UnboundedReceiver<ReceivedLetter>,
    shared: Arc<Shared>,
}

impl Mailbox {
    /// The next message; `None` once the node has ended. Cancel safe. Each is to be answered with [`Mailbox::done`]; what comes is bounded by
    /// one batch of each rendezvous, the next waits for the answers.
    pub async fn next(&mut self) -> Option<Mail> {
        let letter = self.letters.recv().await?;
        let hostname = self.shared.lock().node.hostname_of(&letter.from);
        Some(Mail {
            from: letter.from,
            hostname,
            group: letter.group,
            head: letter.head,
            body: letter.body.into(),
            sent_at: letter.sent_at,
            not_after: letter.not_after,
            receipt: letter.receipt,
        })
    }

    /// The message is on disk, or of no use: its rendezvous deletes it. Or it could not be stored: it comes again.
    pub fn done(&self, mail: &Mail, is_taken: bool) {
        let receipt = mail.receipt;
        self.shared
            .with(|state| state.node.letter_done(clock::now(), receipt, is_taken));
    }
}

impl Node {
    /// From now on messages may be left for us while we are away: our record names a key for them, which changes every week.
    ///
    /// # Errors
    /// What the file system says of the keys in the home.
    pub async fn open_mailbox(&self) -> Result<Mailbox, pilot_store::HomeError> {
        let home = Arc::clone(&self.home);
        let loaded = spawn_blocking(move || home.load_prekeys()).await;
        let prekeys = loaded.expect("reading keys does not panic")?;
        let (sender, letters) = mpsc::unbounded_channel();
        self.shared.with(|state| {
            state.letters = Some(sender);
            state.node.take_letters(clock::now(), prekeys);
        });
        Ok(Mailbox {
            letters,
            shared: Arc::clone(&self.shared),
        })
    }

    /// Resolves when what was left for us is with us, or after `limit`: what is sent straight comes after it then.
    pub async fn letters_fetched(&self, limit: Duration) {
        let fetched = async {
            while self.shared.lock().node.is_fetching_letters() {
                tokio::time::sleep(FETCH_LOOK).await;
            }
        };
        // Over either way.
        let _ = tokio::time::timeout(limit, fetched).await;
    }

    /// Leaves a message in the mailbox of an agent, sealed so that nobody but it can read it; gives until when it is kept.
    ///
    /// # Errors
    /// [`DepositError`].
    pub async fn deposit(
        &self,
        to: AgentId,
        head: Message,
        body: Vec<u8>,
        group: Option<GroupId>,
    ) -> Result<UnixTime, DepositError> {
        let draft = Draft { head, body, group };
        let receiver = self.shared.with(|state| {
            let id = state.node.deposit(clock::now(), to, draft);
            let (sender, receiver) = oneshot::channel();
            state.waiters.queries.insert(id, sender);
            receiver
        });
        match receiver.await {
            Ok(Ok(Answer::Deposited(not_after))) => Ok(not_after),
            Ok(Ok(_)) => Err(DepositError::Refused("not a word on letters".to_owned())),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(DepositError::Shutdown),
        }
    }
}
