//! Counters of a service.

use crate::message::{RefusalCode, Request};

/// What was asked, for counters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RequestKind {
    /// [`Request::Register`].
    Register,
    /// [`Request::Locate`].
    Locate,
    /// [`Request::Lookup`].
    Lookup,
    /// [`Request::Knock`].
    Knock,
    /// [`Request::PutGrant`].
    PutGrant,
    /// [`Request::Deregister`].
    Deregister,
    /// [`Request::Observe`].
    Observe,
    /// [`Request::Permit`].
    Permit,
    /// [`Request::Bind`].
    Bind,
    /// [`Request::Search`].
    Search,
    /// [`Request::CreateGroup`].
    CreateGroup,
    /// [`Request::FindGroup`].
    FindGroup,
    /// [`Request::AskGroup`].
    AskGroup,
    /// [`Request::PutGroup`].
    PutGroup,
    /// [`Request::GroupState`].
    GroupState,
    /// [`Request::GroupMembers`].
    GroupMembers,
    /// [`Request::Invite`].
    Invite,
    /// [`Request::Deposit`].
    Deposit,
    /// [`Request::FetchLetters`].
    FetchLetters,
    /// [`Request::TakeLetters`].
    TakeLetters,
    /// A later version's.
    Unknown,
}

impl RequestKind {
    /// Every kind, in the order of [`Stats::requests`].
    pub const ALL: [Self; 21] = [
        Self::Register,
        Self::Locate,
        Self::Lookup,
        Self::Knock,
        Self::PutGrant,
        Self::Deregister,
        Self::Observe,
        Self::Permit,
        Self::Bind,
        Self::Search,
        Self::CreateGroup,
        Self::FindGroup,
        Self::AskGroup,
        Self::PutGroup,
        Self::GroupState,
        Self::GroupMembers,
        Self::Invite,
        Self::Deposit,
        Self::FetchLetters,
        Self::TakeLetters,
        Self::Unknown,
    ];

    /// The kind of a request.
    #[must_use]
    pub const fn of(request: &Request) -> Self {
        match request {
            Request::Register { .. } => Self::Register,
            Request::Locate { .. } => Self::Locate,
            Request::Lookup { .. } => Self::Lookup,
            Request::Knock { .. } => Self::Knock,
            Request::PutGrant { .. } => Self::PutGrant,
            Request::Deregister => Self::Deregister,
            Request::Observe => Self::Observe,
            Request::Permit { .. } => Self::Permit,
            Request::Bind { .. } => Self::Bind,
            Request::Search { .. } => Self::Search,
            Request::CreateGroup { .. } => Self::CreateGroup,
            Request::FindGroup { .. } => Self::FindGroup,
            Request::AskGroup { .. } => Self::AskGroup,
            Request::PutGroup { .. } => Self::PutGroup,
            Request::GroupState { .. } => Self::GroupState,
            Request::GroupMembers { .. } => Self::GroupMembers,
            Request::Invite { .. } => Self::Invite,
            Request::Deposit { .. } => Self::Deposit,
            Request::FetchLetters { .. } => Self::FetchLetters,
            Request::TakeLetters { .. } => Self::TakeLetters,
            Request::Unknown => Self::Unknown,
        }
    }

    /// The kind in words, as in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Locate => "locate",
            Self::Lookup => "lookup",
            Self::Knock => "knock",
            Self::PutGrant => "put_grant",
            Self::Deregister => "deregister",
            Self::Observe => "observe",
            Self::Permit => "permit",
            Self::Bind => "bind",
            Self::Search => "search",
            Self::CreateGroup => "create_group",
            Self::FindGroup => "find_group",
            Self::AskGroup => "ask_group",
            Self::PutGroup => "put_group",
            Self::GroupState => "group_state",
            Self::GroupMembers => "group_members",
            Self::Invite => "invite",
            Self::Deposit => "deposit",
            Self::FetchLetters => "fetch_letters",
            Self::TakeLetters => "take_letters",
            Self::Unknown => "unknown",
        }
    }
}

/// Figures of a service since it started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Agents with a record.
    pub registered: u64,
    /// Agents known, those without a record included.
    pub agents: u64,
    /// Agents connected now.
    pub online: u64,
    /// Requests, in the order of [`RequestKind::ALL`].
    pub requests: [u64; RequestKind::ALL.len()],
    /// Refusals, in the order of [`RefusalCode::ALL`].
    pub refusals: [u64; RefusalCode::ALL.len()],
    /// Knocks for nobody, or for somebody whose queue is full.
    pub knocks_lost: u64,
    /// Pushes handed out, repetitions included.
    pub pushes_sent: u64,
    /// Pushes acknowledged.
    pub pushes_acked: u64,
    /// Pushes that failed and come again.
    pub pushes_failed: u64,
    /// Records that ended.
    pub records_expired: u64,
    /// Agents forgotten after the retention.
    pub agents_forgotten: u64,
    /// Public records that searches find.
    pub searchable: u64,
    /// Public records that found no room in the index for searches.
    pub search_left_out: u64,
    /// Letters that wait.
    pub letters: u64,
    /// Their bytes, with what their rows cost.
    pub letter_bytes: u64,
    /// Letters that were left.
    pub letters_deposited: u64,
    /// Letters that their recipients took.
    pub letters_taken: u64,
    /// Letters that ended before they were taken.
    pub letters_expired: u64,
    /// Letters for nobody, or for somebody who takes none of their sender.
    pub letters_unwanted: u64,
}

impl Stats {
    /// How often a kind was asked.
    #[must_use]
    pub const fn requests_of(&self, kind: RequestKind) -> u64 {
        self.requests[kind as usize]
    }

    /// How often a code was given.
    #[must_use]
    pub fn refusals_of(&self, code: RefusalCode) -> u64 {
        let index = RefusalCode::ALL.iter().position(|known| *known == code);
        index.map_or(0, |index| self.refusals[index])
    }

    pub(crate) const fn count_request(&mut self, kind: RequestKind) {
        self.requests[kind as usize] += 1;
    }

    pub(crate) fn count_refusal(&mut self, code: RefusalCode) {
        if let Some(index) = RefusalCode::ALL.iter().position(|known| *known == code) {
            self.refusals[index] += 1;
        }
    }
}
