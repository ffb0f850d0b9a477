//! What a node tells its shell.

use std::net::SocketAddr;
use std::time::Duration;

use pilot_trust::{GroupError, PrekeySecret, TrustChange};
use pilot_types::{AgentId, GroupId, Hostname, PathId, Port, StreamId, UnixTime};
use pilot_wire::{DatagramHeader, ErrorCode, KeyStanding, StreamHeader};
use thiserror::Error;

use crate::directory::{KnownPeer, PeerEntry};
use crate::mailing::ReceivedLetter;
use crate::reconnects::LastSession;

/// One life of a session between two boots; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionKey(pub(crate) u64);

/// A stream of one life of a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamHandle {
    /// The session.
    pub session: SessionKey,
    /// The stream in it.
    pub id: StreamId,
}

impl StreamHandle {
    /// One number for people, below 2^53: 2^24 streams in each of 2^29 sessions.
    #[must_use]
    pub const fn to_u64(&self) -> u64 {
        ((self.session.0 & 0x1FFF_FFFF) << 24) | (self.id.to_u64() & 0xFF_FFFF)
    }
}

/// A dial, ping or delivery under way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DialId(pub(crate) u64);

/// A question to the registry under way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QueryId(pub(crate) u64);

/// Why a dial failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DialError {
    /// Unknown, or not visible to us.
    #[error("no such agent, or it is not visible to you")]
    NotFound,
    /// Visible, but it has not granted us anything.
    #[error("the agent has not granted trust")]
    NotTrusted {
        /// The agent.
        agent: AgentId,
    },
    /// No candidate answered.
    #[error("the agent did not answer")]
    Unreachable,
    /// The deadline passed.
    #[error("the deadline passed")]
    Timeout,
    /// Trust was revoked, or the peer closed the session.
    #[error("the session ended: {0}")]
    Closed(ErrorCode),
    /// No rendezvous answers, and nothing is cached.
    #[error("no rendezvous answers")]
    NoRendezvous,
    /// The target is this agent.
    #[error("the target is this agent itself")]
    Own,
    /// It refused our key: that was replaced, or contradicts another one.
    #[error("the agent refused this agent's key: {}", words(*standing))]
    KeyRefused {
        /// Why.
        standing: KeyStanding,
    },
    /// A datagram that fits no packet.
    #[error("a datagram holds at most {max} bytes")]
    TooLarge {
        /// What fits.
        max: usize,
    },
    /// Too many dials or streams at a time.
    #[error("too much at a time")]
    Busy,
}

/// What a refusal of our key means.
const fn words(standing: KeyStanding) -> &'static str {
    match standing {
        KeyStanding::SUPERSEDED => "it was replaced by another one",
        KeyStanding::FORKED => {
            "two keys claim to be this agent's, so that none is believed until a recovery"
        }
        _ => "it is not believed",
    }
}

/// Why a stream gave an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("stream ended: {code}")]
pub struct StreamError {
    /// The code that the peer or the session ended it with.
    pub code: ErrorCode,
}

/// What of finished streams has not been acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Undelivered {
    /// Streams.
    pub streams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of the streams go to agents that do not answer now.
    pub silent: u64,
}

/// Why the registry did not answer a question.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Unknown, or not visible to us.
    #[error("not found, or not visible to you")]
    NotFound,
    /// No rendezvous is connected, or it did not answer in time.
    #[error("no rendezvous answers")]
    Unreachable,
    /// The rendezvous sent something that does not verify.
    #[error("the rendezvous sent a wrong answer: {0}")]
    Invalid(String),
    /// The group does not allow it.
    #[error(transparent)]
    Group(GroupError),
    /// The agent has no key that letters could be sealed to, or has been away for longer than one lives.
    #[error("the agent has no mailbox")]
    NoPrekey,
    /// Longer than a mailbox takes.
    #[error(
        "a message in a mailbox has at most {} bytes",
        pilot_wire::limits::MAX_LETTER_BODY
    )]
    LetterTooLarge,
    /// It refused.
    #[error("{message}")]
    Refused {
        /// Its code.
        code: pilot_registry::RefusalCode,
        /// In words.
        message: String,
        /// When to try again, 0 for never.
        retry_after_ms: u64,
    },
}

/// How far a rendezvous is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Not answered yet, or lost.
    Connecting,
    /// A session is open.
    Connected,
    /// It accepted our record.
    Registered,
    /// It has another key than the pinned one, or refused us for good.
    Refused,
}

/// What must be written before it is relied upon.
#[derive(Debug, Clone)]
pub enum Persist {
    /// A knock, grant or pin.
    Trust(TrustChange),
    /// A rendezvous was pinned.
    Pinned {
        /// Which.
        url: String,
        /// Its id.
        agent: AgentId,
        /// Its log.
        entries: Vec<Vec<u8>>,
        /// The work of its network.
        work_bits: u8,
    },
    /// What is known of a trusted peer, for days without a rendezvous.
    Peer(Box<KnownPeer>),
    /// A prekey; [`Node::prekey_written`](crate::Node::prekey_written) follows where it is to be kept.
    Prekey(PrekeyChange),
    /// The agents with live sessions, at most 1,024: the next start dials them ([`crate::Restored::sessions`]).
    Sessions(Vec<LastSession>),
    /// The newest freshness stamp of a trusted peer.
    Freshness {
        /// The peer.
        agent: AgentId,
        /// Its stamp.
        stamp: u64,
    },
}

/// What becomes of a prekey on disk.
#[derive(Debug, Clone)]
pub enum PrekeyChange {
    /// It is kept, for the owner alone.
    Put(PrekeySecret),
    /// It is written over and removed.
    Destroy([u8; 32]),
}

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A dial opened its stream.
    Dialed {
        /// Which.
        dial: DialId,
        /// The stream.
        stream: StreamHandle,
        /// The other end.
        agent: AgentId,
        /// Our port.
        local: Port,
    },
    /// A dial, ping or delivery failed.
    DialFailed {
        /// Which.
        dial: DialId,
        /// Why.
        error: DialError,
    },
    /// A ping was answered.
    Pong {
        /// Which.
        dial: DialId,
        /// Who.
        agent: AgentId,
        /// Between sending and the answer.
        rtt: Duration,
        /// On which path.
        path: PathId,
    },
    /// A trust message reached its peer, or a datagram was sent.
    Delivered {
        /// Which.
        dial: DialId,
        /// The peer.
        agent: AgentId,
    },
    /// A peer opened a stream to a port that we listen on and it may use.
    Incoming {
        /// The stream.
        stream: StreamHandle,
        /// The other end.
        agent: AgentId,
        /// What it said.
        header: StreamHeader,
    },
    /// A peer sent a datagram to a port that we listen on and it may use.
    Datagram {
        /// The sender.
        agent: AgentId,
        /// Between which ports.
        header: DatagramHeader,
        /// What it carries.
        data: Vec<u8>,
    },
    /// A stream has bytes, its end or an error to read.
    Readable(StreamHandle),
    /// A stream takes bytes again.
    Writable(StreamHandle),
    /// All that was written, and its end, arrived.
    Finished(StreamHandle),
    /// A session and all its streams ended.
    SessionClosed {
        /// Which.
        session: SessionKey,
        /// With whom.
        agent: AgentId,
        /// Why.
        code: ErrorCode,
    },
    /// A question to the registry was answered.
    Answered {
        /// Which.
        query: QueryId,
        /// How.
        result: Result<Answer, QueryError>,
    },
    /// A rendezvous changed its state.
    Link {
        /// Which.
        url: String,
        /// To what.
        state: LinkState,
    },
    /// So many more sockets of IPv4 are wanted, to be told by [`Node::add_sockets`](crate::Node::add_sockets).
    SocketsWanted {
        /// At most 256.
        count: usize,
    },
    /// Sockets that were opened for [`Self::SocketsWanted`] and are to be closed.
    SocketsUnused(Vec<SocketAddr>),
    /// A rendezvous has not answered for some time: its name may lead elsewhere now, see
    /// [`Node::set_rendezvous_addrs`](crate::Node::set_rendezvous_addrs).
    RendezvousSilent {
        /// As the shell named it.
        url: String,
    },
    /// A rendezvous has another key than the pinned one.
    KeyMismatch {
        /// Which.
        url: String,
        /// Hex of the pinned key or id.
        expected: String,
        /// Hex of the id that answered.
        found: String,
    },
    /// The first registration of this profile ended.
    Registered {
        /// With whom.
        url: String,
        /// How.
        result: Result<(), QueryError>,
    },
    /// Trust with an agent holds in both directions.
    Trusted(AgentId),
    /// Trust with an agent ended.
    Untrusted(AgentId),
    /// Somebody knocked.
    Knocked {
        /// Who.
        agent: AgentId,
        /// The name that it claims.
        hostname: Option<Hostname>,
    },
    /// The same identity is in use elsewhere and fresher.
    Superseded,
    /// An agent or rendezvous refused our key: it was replaced, or contradicts another one.
    KeyRefused {
        /// Who.
        by: AgentId,
        /// Why.
        standing: KeyStanding,
    },
    /// A peer has other keys; the session goes on.
    KeysChanged(AgentId),
    /// Write this.
    Persist(Persist),
    /// The block of freshness stamps nears its end: reserve another and call `extend_freshness`.
    FreshnessLow,
    /// The rendezvous sees us here.
    Observed(SocketAddr),
    /// A message was left for us while we were away: store it, then call [`Node::letter_done`](crate::Node::letter_done).
    Letter(Box<ReceivedLetter>),
    /// A group of ours, or an invitation to one, came, changed or went.
    GroupChanged(GroupId),
}

/// What the registry answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// An agent's verified entry.
    Entry(Box<PeerEntry>),
    /// Agents that fit a search.
    Page(SearchPage),
    /// The request was carried out.
    Done,
    /// The letter is in the mailbox, until then at most.
    Deposited(UnixTime),
    /// The group was created, or asked to take us in.
    Group(GroupId),
}

/// A part of what a search found.
#[derive(Debug, Clone)]
pub struct SearchPage {
    /// Verified entries, the best first. What did not verify is left out.
    pub entries: Vec<PeerEntry>,
    /// How many fit in all.
    pub total: u64,
    /// The offset at which the search goes on.
    pub next: Option<u32>,
}
