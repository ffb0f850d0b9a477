//! What is said on the registry's port (`docs/registry.md` §2): postcard, one message a stream and direction.

use std::net::SocketAddr;

use pilot_types::{AgentId, GroupId, Hostname, NetworkId, NodeId, UnixTime};
use pilot_wire::limits::{MAX_LOG_ENTRIES, MAX_LOG_ENTRY, MAX_SEALED_LETTER};
use pilot_wire::{
    DecodeError, GroupBundle, MessageId, SignedBytes, decode_postcard, encode_postcard,
};
use serde::{Deserialize, Serialize};

use crate::limits::{
    MAX_GRANT, MAX_GROUP_REQUEST, MAX_KNOCK, MAX_LETTERS, MAX_LOCATOR, MAX_MESSAGE, MAX_PERMITS,
    MAX_RECORD, MAX_REFUSAL, MAX_SEARCH_ENTRIES,
};
use crate::search::SearchQuery;

/// What an agent asks of its rendezvous. The session says who asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Make the agent known, or change what is known of it.
    Register {
        /// Its whole identity log, oldest entry first.
        log: Vec<Vec<u8>>,
        /// Envelope of a [`pilot_wire::Record`].
        record: SignedBytes,
    },
    /// Say where the agent is.
    Locate {
        /// Envelope of a [`pilot_wire::Locator`].
        locator: SignedBytes,
    },
    /// Ask for another agent's entry.
    Lookup {
        /// Whose.
        target: LookupTarget,
    },
    /// Ask an agent for trust; always answered with [`Response::Sent`].
    Knock {
        /// Envelope of a [`pilot_wire::Knock`].
        knock: SignedBytes,
    },
    /// Store a grant or a revocation and hand it to the grantee.
    PutGrant {
        /// The grantee, as in the grant.
        to: AgentId,
        /// Envelope of a [`pilot_wire::Grant`].
        grant: SignedBytes,
    },
    /// Remove record, locator and name.
    Deregister,
    /// Which address do you see me at?
    Observe,
    /// Who may reach the agent through this rendezvous as a relay; takes the place of what was said before.
    Permit {
        /// Whether anybody may.
        is_open: bool,
        /// Secrets that grantees show; at most [`MAX_PERMITS`] of them.
        permits: Vec<[u8; 16]>,
    },
    /// A channel through this rendezvous to an agent that is connected to it.
    Bind {
        /// To whom.
        to: AgentId,
        /// The secret of its permit, if the asker has one.
        permit: Option<[u8; 16]>,
    },
    /// Ask for agents that fit.
    Search {
        /// What they are to be.
        query: SearchQuery,
    },
    /// Give a group a name and a number, or bring it back.
    CreateGroup {
        /// Log, policy and the owner's certificate at least.
        bundle: Box<GroupBundle>,
        /// The number that it had.
        wanted: Option<NetworkId>,
    },
    /// Ask for a group's log and policy.
    FindGroup {
        /// Its name.
        name: Hostname,
    },
    /// Ask those who may sign for a group.
    AskGroup {
        /// Which.
        group: GroupId,
        /// Envelope of a [`pilot_wire::GroupRequest`].
        request: SignedBytes,
    },
    /// Tell what is known of a group; for members.
    PutGroup {
        /// Which.
        group: GroupId,
        /// Statements.
        bundle: Box<GroupBundle>,
    },
    /// Ask for a part of a group; for members.
    GroupState {
        /// Which.
        group: GroupId,
        /// The member after whom it begins.
        after: Option<AgentId>,
    },
    /// Ask for members' entries; for members.
    GroupMembers {
        /// Of which group.
        group: GroupId,
        /// How many are passed over.
        offset: u32,
    },
    /// Hand an invitation to an agent; for who may sign.
    Invite {
        /// Whom.
        to: AgentId,
        /// Envelope of a [`pilot_wire::Invitation`].
        invitation: SignedBytes,
    },
    /// Leave a letter for an agent that granted the asker something, or is in a group with it.
    Deposit {
        /// For whom.
        to: AgentId,
        /// Which message: a letter that is there already is not left again.
        id: MessageId,
        /// Until when it may be delivered.
        not_after: UnixTime,
        /// Sealed to the recipient's prekey, at most [`MAX_SEALED_LETTER`] bytes.
        sealed: Vec<u8>,
    },
    /// Ask for the letters in the asker's own mailbox.
    FetchLetters {
        /// After which number; 0 for all.
        after: u64,
    },
    /// The asker has these letters on disk: they are deleted.
    TakeLetters {
        /// At most [`MAX_LETTERS`].
        numbers: Vec<u64>,
    },
    /// A later version's request: refused as invalid.
    #[serde(other)]
    Unknown,
}

/// Whom a lookup is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum LookupTarget {
    /// By claimed name.
    Hostname(Hostname),
    /// By address.
    Node(NodeId),
    /// By full id.
    Agent(AgentId),
    /// By 32 bytes that are an agent id or a current signing key.
    Key([u8; 32]),
}

/// The rendezvous' answer to one [`Request`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Response {
    /// The record is stored.
    Registered {
        /// The name that the agent now holds.
        hostname: Option<Hostname>,
        /// When the record ends.
        not_after: UnixTime,
        /// Milliseconds after which a new record should be signed; counted, not dated, so that a wrong clock does no harm.
        renew_after_ms: u64,
    },
    /// The locator is stored.
    Located,
    /// The entry asked for.
    Found(Box<Entry>),
    /// Unknown, or not to be shown: the same bytes for both.
    NotFound,
    /// The knock was taken, whether or not it is for anybody.
    Sent,
    /// The grant is stored.
    Stored,
    /// Record, locator and name are gone.
    Deregistered,
    /// Where the asker's packets come from.
    Observed(SocketAddr),
    /// The permits are in force.
    Permitted,
    /// What the asker sends in this channel goes to the agent.
    Bound(u32),
    /// It was not done.
    Refused {
        /// Why, for programs.
        code: RefusalCode,
        /// Why, for people, at most [`MAX_REFUSAL`] bytes.
        message: String,
        /// Milliseconds to wait before the next try; 0 if waiting alone does not help.
        retry_after_ms: u64,
    },
    /// Agents that fit, the best first; at most [`MAX_SEARCH_ENTRIES`], as many as one answer holds.
    SearchResults {
        /// Without their locators.
        entries: Vec<Entry>,
        /// How many fit in all, of those that the asker may see.
        total: u64,
        /// The offset at which the search goes on.
        next: Option<u32>,
    },
    /// The group is stored, under this number.
    GroupCreated(NetworkId),
    /// A group or a part of it.
    Group {
        /// Its number.
        network: NetworkId,
        /// What was asked for.
        bundle: Box<GroupBundle>,
        /// After whom the next part begins.
        next: Option<AgentId>,
    },
    /// The letter is stored.
    Deposited {
        /// Until when it is kept.
        not_after: UnixTime,
    },
    /// The first letters of the asker's mailbox, in the order in which they came; at most [`MAX_LETTERS`], as many as one answer holds.
    Letters {
        /// Each as it was left.
        letters: Vec<HeldLetter>,
        /// Whether there are more behind them.
        has_more: bool,
    },
    /// The letters are deleted.
    Taken,
    /// A later version's answer.
    #[serde(other)]
    Unknown,
}

/// Why a request was refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum RefusalCode {
    /// Another agent holds the hostname.
    AlreadyExists,
    /// Another agent has the same 48 bits and was first.
    AddressTaken,
    /// A signature, field or bound is wrong.
    Invalid,
    /// A later statement of the same kind is known.
    Stale,
    /// Too much; wait `retry_after_ms`.
    RateLimited,
    /// The asker has no entry; it must register first.
    NotRegistered,
    /// The hostname belongs to a service.
    Reserved,
    /// The rendezvous could not store it.
    Unavailable,
    /// Nobody who may sign for the group is connected.
    NobodyOnline,
    /// A mailbox has no room: the recipient's, or what it has for this sender.
    MailboxFull,
    /// A later version's reason.
    #[serde(other)]
    Unknown,
}

impl RefusalCode {
    /// Every code that this version gives, for counters.
    pub const ALL: [Self; 10] = [
        Self::AlreadyExists,
        Self::AddressTaken,
        Self::Invalid,
        Self::Stale,
        Self::RateLimited,
        Self::NotRegistered,
        Self::Reserved,
        Self::Unavailable,
        Self::NobodyOnline,
        Self::MailboxFull,
    ];

    /// The code in words, as in JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AlreadyExists => "already_exists",
            Self::AddressTaken => "address_taken",
            Self::Invalid => "invalid",
            Self::Stale => "stale",
            Self::RateLimited => "rate_limited",
            Self::NotRegistered => "not_registered",
            Self::Reserved => "reserved",
            Self::Unavailable => "unavailable",
            Self::NobodyOnline => "nobody_online",
            Self::MailboxFull => "mailbox_full",
            Self::Unknown => "unknown",
        }
    }
}

/// A letter that waits, as a rendezvous has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeldLetter {
    /// Its place in the mailbox, by which it is taken.
    pub number: u64,
    /// In whose session it came; what is sealed says so too.
    pub from: AgentId,
    /// Sealed to a prekey of the recipient.
    pub sealed: Vec<u8>,
}

/// What is shown of an agent to those who may see it. Readers check log and signatures themselves.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Whose.
    pub agent: AgentId,
    /// Its identity log, oldest entry first.
    pub log: Vec<Vec<u8>>,
    /// Its record.
    pub record: SignedBytes,
    /// Its locator, while it is valid.
    pub locator: Option<SignedBytes>,
    /// When it was last connected, as far as this rendezvous remembers.
    pub last_seen: Option<UnixTime>,
    /// Whether it is connected now.
    pub online: bool,
}

/// What a rendezvous brings to an agent, on a stream that it opens itself; answered with [`PushAck`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Push {
    /// Somebody asks for trust.
    Knock {
        /// Envelope of a [`pilot_wire::Knock`].
        knock: SignedBytes,
        /// Who.
        entry: Sender,
    },
    /// Somebody granted, or revoked.
    Grant {
        /// Envelope of a [`pilot_wire::Grant`].
        grant: SignedBytes,
        /// Who.
        entry: Sender,
    },
    /// The same identity runs elsewhere and is fresher; the last word on a session.
    Superseded,
    /// A group has new statements: they are to be asked for.
    GroupChanged {
        /// Which.
        group: GroupId,
    },
    /// Somebody asks to join or leave a group that the recipient may sign for.
    GroupRequest {
        /// Envelope of a [`pilot_wire::GroupRequest`].
        request: SignedBytes,
        /// Who.
        entry: Sender,
    },
    /// Somebody invites the recipient.
    Invitation {
        /// Envelope of a [`pilot_wire::Invitation`].
        invitation: SignedBytes,
        /// The group's number.
        network: NetworkId,
        /// The group's log, whose key may have signed it.
        group: Vec<Vec<u8>>,
        /// Who brought it, and may have signed it.
        entry: Sender,
    },
    /// There are letters in the recipient's mailbox: they are to be asked for.
    LettersWaiting,
    /// A later version's push: acknowledged and ignored.
    #[serde(other)]
    Unknown,
}

/// What a recipient needs to check a knock or grant and the name of who made it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sender {
    /// Its identity log.
    pub log: Vec<Vec<u8>>,
    /// Its record, which signs its name; none beside a revocation, and none if it has no valid one.
    pub record: Option<SignedBytes>,
}

/// The agent's answer to a [`Push`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PushAck {
    /// It was taken over or found wanting; either way it need not come again.
    Taken,
    /// It could not be stored; bring it again later.
    Later,
    /// A later version's word, treated as [`Self::Later`].
    #[serde(other)]
    Unknown,
}

impl Request {
    /// Postcard bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode_postcard(self)
    }

    /// From a stream read to its end; trailing bytes are legal.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes do not decode or a part is longer than its bound.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let request: Self = decode_bounded(bytes, "registry request")?;
        request.check()?;
        Ok(request)
    }

    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        match self {
            Self::Register { log, record } => {
                check_log(log)?;
                check_signed(record, MAX_RECORD, "record length")
            }
            Self::Locate { locator } => check_signed(locator, MAX_LOCATOR, "locator length"),
            Self::Knock { knock } => check_signed(knock, MAX_KNOCK, "knock length"),
            Self::PutGrant { grant, .. } => check_signed(grant, MAX_GRANT, "grant length"),
            Self::Permit { permits, .. } if permits.len() > MAX_PERMITS => {
                Err(DecodeError::Range("permits"))
            }
            Self::Search { query } => query.check(),
            Self::CreateGroup { bundle, .. } | Self::PutGroup { bundle, .. } => bundle.check(),
            Self::AskGroup { request, .. } => {
                check_signed(request, MAX_GROUP_REQUEST, "group request length")
            }
            Self::Invite { invitation, .. } => {
                check_signed(invitation, MAX_GROUP_REQUEST, "invitation length")
            }
            Self::Deposit { sealed, .. } if sealed.len() > MAX_SEALED_LETTER => {
                Err(DecodeError::Range("letter length"))
            }
            Self::TakeLetters { numbers } if numbers.len() > MAX_LETTERS => {
                Err(DecodeError::Range("letters"))
            }
            Self::Deposit { .. }
            | Self::FetchLetters { .. }
            | Self::TakeLetters { .. }
            | Self::FindGroup { .. }
            | Self::GroupState { .. }
            | Self::GroupMembers { .. }
            | Self::Lookup { .. }
            | Self::Deregister
            | Self::Observe
            | Self::Permit { .. }
            | Self::Bind { .. }
            | Self::Unknown => Ok(()),
        }
    }
}

impl Response {
    /// Postcard bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode_postcard(self)
    }

    /// From a stream read to its end; trailing bytes are legal.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes do not decode or a part is longer than its bound.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let response: Self = decode_bounded(bytes, "registry response")?;
        match &response {
            Self::Found(entry) => entry.check()?,
            Self::Refused { message, .. } if message.len() > MAX_REFUSAL => {
                return Err(DecodeError::Range("refusal length"));
            }
            Self::SearchResults { entries, .. } => {
                if entries.len() > MAX_SEARCH_ENTRIES {
                    return Err(DecodeError::Range("entries of a search"));
                }
                entries.iter().try_for_each(Entry::check)?;
            }
            Self::Group { bundle, .. } => bundle.check()?,
            Self::Letters { letters, .. } => {
                let is_long = |letter: &HeldLetter| letter.sealed.len() > MAX_SEALED_LETTER;
                if letters.len() > MAX_LETTERS || letters.iter().any(is_long) {
                    return Err(DecodeError::Range("letters"));
                }
            }
            Self::Deposited { .. }
            | Self::Taken
            | Self::GroupCreated(_)
            | Self::Registered { .. }
            | Self::Located
            | Self::NotFound
            | Self::Sent
            | Self::Stored
            | Self::Deregistered
            | Self::Observed(_)
            | Self::Permitted
            | Self::Bound(_)
            | Self::Refused { .. }
            | Self::Unknown => {}
        }
        Ok(response)
    }
}

impl Entry {
    /// About how many bytes it takes, never fewer than it does.
    pub(crate) fn len(&self) -> usize {
        // Lengths, times and the id.
        const FIXED: usize = 80;
        let log: usize = self.log.iter().map(|entry| entry.len() + 4).sum();
        let locator = self.locator.as_ref().map_or(0, |raw| raw.as_bytes().len());
        FIXED + log + self.record.as_bytes().len() + locator
    }

    fn check(&self) -> Result<(), DecodeError> {
        check_log(&self.log)?;
        check_signed(&self.record, MAX_RECORD, "record length")?;
        match &self.locator {
            Some(locator) => check_signed(locator, MAX_LOCATOR, "locator length"),
            None => Ok(()),
        }
    }
}

impl Push {
    /// Postcard bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode_postcard(self)
    }

    /// From a stream read to its end; trailing bytes are legal.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes do not decode or a part is longer than its bound.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let push: Self = decode_bounded(bytes, "registry push")?;
        match &push {
            Self::Knock { knock, entry } => {
                check_signed(knock, MAX_KNOCK, "knock length")?;
                check_sender(entry)?;
            }
            Self::Grant { grant, entry } => {
                check_signed(grant, MAX_GRANT, "grant length")?;
                check_sender(entry)?;
            }
            Self::GroupRequest { request, entry } => {
                check_signed(request, MAX_GROUP_REQUEST, "group request length")?;
                check_sender(entry)?;
            }
            Self::Invitation {
                invitation,
                group,
                entry,
                ..
            } => {
                check_signed(invitation, MAX_GROUP_REQUEST, "invitation length")?;
                check_log(group)?;
                check_sender(entry)?;
            }
            Self::GroupChanged { .. } | Self::Superseded | Self::LettersWaiting | Self::Unknown => {
            }
        }
        Ok(push)
    }
}

impl PushAck {
    /// Postcard bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode_postcard(self)
    }

    /// From a stream read to its end; trailing bytes are legal.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes do not decode.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode_bounded(bytes, "registry push ack")
    }
}

fn check_sender(entry: &Sender) -> Result<(), DecodeError> {
    check_log(&entry.log)?;
    match &entry.record {
        Some(record) => check_signed(record, MAX_RECORD, "record length"),
        None => Ok(()),
    }
}

fn decode_bounded<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<T, DecodeError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(DecodeError::Range("registry message length"));
    }
    decode_postcard(bytes, what)
}

fn check_log(log: &[Vec<u8>]) -> Result<(), DecodeError> {
    let is_bounded =
        log.len() <= MAX_LOG_ENTRIES && log.iter().all(|entry| entry.len() <= MAX_LOG_ENTRY);
    if is_bounded {
        Ok(())
    } else {
        Err(DecodeError::Range("identity log length"))
    }
}

fn check_signed(raw: &SignedBytes, max: usize, what: &'static str) -> Result<(), DecodeError> {
    if raw.as_bytes().len() <= max {
        Ok(())
    } else {
        Err(DecodeError::Range(what))
    }
}

#[cfg(test)]
mod tests;
