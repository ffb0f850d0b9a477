//! What can go wrong, one enum an operation, each variant something that a caller can act on.

use std::io;
use std::path::PathBuf;

use pilot_types::{AgentId, Hostname};
use pilot_wire::{ErrorCode, KeyStanding};
use thiserror::Error;

use crate::target::ParseTargetError;
use crate::url::ParseUrlError;

/// Why a node does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// No home directory was given.
    #[error("no home directory given")]
    NoHome,
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] pilot_store::HomeError),
    /// The identity in the home cannot be used; it is never overwritten.
    #[error(transparent)]
    Identity(#[from] pilot_store::IdentityError),
    /// The state in the home cannot be used.
    #[error(transparent)]
    State(#[from] pilot_store::OpenDbError),
    /// The state in the home cannot be read or written.
    #[error(transparent)]
    Db(#[from] pilot_store::DbError),
    /// The socket cannot be bound.
    #[error("cannot listen on {addr}")]
    Bind {
        /// Where.
        addr: std::net::SocketAddr,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// A rendezvous URL is malformed.
    #[error(transparent)]
    Url(#[from] ParseUrlError),
    /// A rendezvous' host cannot be resolved.
    #[error("cannot resolve rendezvous {host_port}")]
    Resolve {
        /// The host.
        host_port: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread for {}", home.display())]
    Thread {
        /// Whose.
        home: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
}

/// Why the first registration failed for good.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Another agent holds the name.
    #[error("hostname {name} is taken")]
    HostnameTaken {
        /// The name.
        name: String,
    },
    /// Another agent has the same 48 bits.
    #[error("another agent has this address already")]
    AddressTaken,
    /// The rendezvous has another key than the pinned one.
    #[error("rendezvous {url} has key {found}, but {expected} is pinned")]
    KeyMismatch {
        /// Which.
        url: String,
        /// Hex of the pinned id or key.
        expected: String,
        /// Hex of the id that answered.
        found: String,
    },
    /// The rendezvous refused.
    #[error("the rendezvous refused: {message}")]
    Refused {
        /// Its words.
        message: String,
    },
    /// The rendezvous knows other keys of this agent.
    #[error("{}", key_words(*standing))]
    KeyRefused {
        /// Why.
        standing: KeyStanding,
    },
    /// The node was shut down.
    #[error("the node was shut down")]
    Shutdown,
}

/// What it means that our key is refused, in a sentence that begins with one word for it.
pub(crate) const fn key_words(standing: KeyStanding) -> &'static str {
    match standing {
        KeyStanding::SUPERSEDED => {
            "superseded: the key in this home was replaced by another one, and is this agent's no more"
        }
        _ => {
            "frozen: two different keys were signed for this agent's next one, so that nobody believes either until it is recovered"
        }
    }
}

/// Why a dial or ping failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DialError {
    /// The text names no agent and port.
    #[error(transparent)]
    Target(#[from] ParseTargetError),
    /// Unknown, or not visible to us.
    #[error("no such agent, or it is not visible to you")]
    NotFound,
    /// Visible, but it has not granted us trust, or not for this port.
    #[error("the agent has not granted trust")]
    NotTrusted {
        /// Who, if known.
        agent: Option<AgentId>,
    },
    /// No candidate answered.
    #[error("the agent did not answer")]
    Unreachable,
    /// The deadline passed.
    #[error("the deadline passed")]
    Timeout,
    /// Nobody listens on the port.
    #[error("nobody listens on that port")]
    Refused,
    /// The session ended.
    #[error("the session ended: {0}")]
    Closed(ErrorCode),
    /// No rendezvous answers, and nothing is cached.
    #[error("no rendezvous answers")]
    NoRendezvous,
    /// The target is this agent.
    #[error("the target is this agent itself")]
    Own,
    /// The ticket is expired or does not verify.
    #[error("the ticket is not valid: {0}")]
    Ticket(String),
    /// A datagram that fits no packet.
    #[error("a datagram holds at most {max} bytes: send a message or a stream instead")]
    TooLarge {
        /// What fits.
        max: usize,
    },
    /// Too many dials at a time.
    #[error("too many dials at a time")]
    Busy,
    /// The agent knows other keys of ours, or that ours contradict each other.
    #[error("{}", key_words(*standing))]
    KeyRefused {
        /// Why.
        standing: KeyStanding,
    },
    /// The node was shut down.
    #[error("the node was shut down")]
    Shutdown,
}

impl From<pilot_node::DialError> for DialError {
    fn from(error: pilot_node::DialError) -> Self {
        match error {
            pilot_node::DialError::NotFound => Self::NotFound,
            pilot_node::DialError::NotTrusted { agent } => Self::NotTrusted { agent: Some(agent) },
            pilot_node::DialError::Unreachable => Self::Unreachable,
            pilot_node::DialError::Timeout => Self::Timeout,
            pilot_node::DialError::Closed(ErrorCode::REFUSED) => Self::Refused,
            pilot_node::DialError::Closed(ErrorCode::NOT_TRUSTED) => {
                Self::NotTrusted { agent: None }
            }
            pilot_node::DialError::Closed(code) => Self::Closed(code),
            pilot_node::DialError::NoRendezvous => Self::NoRendezvous,
            pilot_node::DialError::KeyRefused { standing } => Self::KeyRefused { standing },
            pilot_node::DialError::Own => Self::Own,
            pilot_node::DialError::TooLarge { max } => Self::TooLarge { max },
            pilot_node::DialError::Busy | _ => Self::Busy,
        }
    }
}

/// Why a port cannot be listened on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Somebody listens on it already.
    #[error("port {0} is in use")]
    InUse(pilot_types::Port),
    /// Somebody takes all other ports already.
    #[error("all other ports are in use")]
    AnyInUse,
    /// The port belongs to the protocol.
    #[error("port {0} is reserved")]
    Reserved(pilot_types::Port),
}

/// Why no more streams come.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the node was shut down")]
pub struct AcceptError;

/// The code with which a stream ended; inside the `io::Error` of a read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("stream ended: {code}")]
pub struct StreamError {
    /// The code.
    pub code: ErrorCode,
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match error.code {
            ErrorCode::REFUSED => io::ErrorKind::ConnectionRefused,
            ErrorCode::NOT_TRUSTED | ErrorCode::REVOKED => io::ErrorKind::PermissionDenied,
            ErrorCode::IDLE_TIMEOUT => io::ErrorKind::TimedOut,
            ErrorCode::SHUTDOWN => io::ErrorKind::ConnectionAborted,
            _ => io::ErrorKind::ConnectionReset,
        };
        Self::new(kind, error)
    }
}

/// Why an agent's entry cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LookupError {
    /// Unknown, or not visible to us.
    #[error("not found, or not visible to you")]
    NotFound,
    /// No rendezvous answers.
    #[error("no rendezvous answers")]
    NoRendezvous,
    /// The rendezvous' answer does not verify.
    #[error("the rendezvous sent a wrong answer: {0}")]
    Invalid(String),
    /// Too much, or too early; wait.
    #[error("{message}")]
    RateLimited {
        /// The rendezvous' words.
        message: String,
        /// How long to wait.
        retry_after_ms: u64,
    },
    /// The rendezvous refused.
    #[error("the rendezvous refused: {0}")]
    Refused(String),
    /// The node was shut down.
    #[error("the node was shut down")]
    Shutdown,
}

impl From<pilot_node::QueryError> for LookupError {
    fn from(error: pilot_node::QueryError) -> Self {
        match error {
            pilot_node::QueryError::NotFound => Self::NotFound,
            pilot_node::QueryError::Invalid(words) => Self::Invalid(words),
            pilot_node::QueryError::Refused {
                code: pilot_registry::RefusalCode::RateLimited,
                message,
                retry_after_ms,
            } => Self::RateLimited {
                message,
                retry_after_ms,
            },
            // It says when it can: it is starting, or its disk is full.
            pilot_node::QueryError::Refused {
                code: pilot_registry::RefusalCode::Unavailable,
                message,
                retry_after_ms,
            } => Self::RateLimited {
                message,
                retry_after_ms,
            },
            pilot_node::QueryError::Refused { message, .. } => Self::Refused(message),
            pilot_node::QueryError::Group(error) => Self::Invalid(error.to_string()),
            pilot_node::QueryError::Unreachable | _ => Self::NoRendezvous,
        }
    }
}

/// Why a profile change did not take effect; the profile is as before.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// Another agent holds the name.
    #[error("hostname {0} is taken")]
    HostnameTaken(Hostname),
    /// The name belongs to a service.
    #[error("hostname {0} is reserved")]
    HostnameReserved(Hostname),
    /// Too many tags.
    #[error("at most {0} tags")]
    TooManyTags(usize),
    /// Capabilities beyond their bounds.
    #[error(transparent)]
    Capabilities(#[from] pilot_wire::CapabilityError),
    /// The rendezvous refused.
    #[error("the rendezvous refused: {0}")]
    Refused(String),
    /// No rendezvous answered in time; the change is sent when one does.
    #[error("no rendezvous answers")]
    NoRendezvous,
    /// The node was shut down.
    #[error("the node was shut down")]
    Shutdown,
}

/// Why something about a group was not done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GroupCallError {
    /// The group's rules or statements do not allow it.
    #[error(transparent)]
    Group(#[from] pilot_trust::GroupError),
    /// There is no such group, or it does not show.
    #[error("no such group")]
    NotFound,
    /// Another group has the name.
    #[error("there is a group of this name already")]
    NameTaken,
    /// Neither the owner's daemon nor an admin's is connected: nobody can certify a new member.
    #[error("neither the group's owner nor an admin is connected")]
    NobodyOnline,
    /// It could not be stored.
    #[error("{0}")]
    Store(String),
    /// The rendezvous did not answer as it should.
    #[error(transparent)]
    Rendezvous(LookupError),
    /// The node was shut down.
    #[error("the node was shut down")]
    Shutdown,
}

impl From<pilot_node::QueryError> for GroupCallError {
    fn from(error: pilot_node::QueryError) -> Self {
        use pilot_registry::RefusalCode;
        match error {
            pilot_node::QueryError::Group(error) => Self::Group(error),
            pilot_node::QueryError::NotFound => Self::NotFound,
            pilot_node::QueryError::Refused {
                code: RefusalCode::AlreadyExists | RefusalCode::Reserved,
                ..
            } => Self::NameTaken,
            pilot_node::QueryError::Refused {
                code: RefusalCode::NobodyOnline,
                ..
            } => Self::NobodyOnline,
            other @ (pilot_node::QueryError::Unreachable
            | pilot_node::QueryError::Invalid(_)
            | pilot_node::QueryError::Refused { .. }
            | _) => Self::Rendezvous(LookupError::from(other)),
        }
    }
}

impl From<TrustError> for GroupCallError {
    fn from(error: TrustError) -> Self {
        match error {
            TrustError::Shutdown => Self::Shutdown,
            TrustError::NotFound
            | TrustError::Invalid(_)
            | TrustError::Busy(_)
            | TrustError::NoRendezvous
            | TrustError::Store(_)
            | TrustError::Ticket(_) => Self::Store(error.to_string()),
        }
    }
}

/// Why trust was not changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The agent neither knocked nor is trusted.
    #[error("no such knock or trusted agent")]
    NotFound,
    /// The request is malformed.
    #[error("{0}")]
    Invalid(String),
    /// Too much at a time.
    #[error("{0}")]
    Busy(String),
    /// No rendezvous answers.
    #[error("no rendezvous answers")]
    NoRendezvous,
    /// It could not be stored.
    #[error("{0}")]
    Store(String),
    /// The ticket is expired or does not verify.
    #[error("the ticket is not valid: {0}")]
    Ticket(String),
    /// The node was shut down.
    #[error("the node was shut down")]
    Shutdown,
}

/// Why no ticket was issued.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct TicketError(pub String);
