//! Why a packet was dropped.

use thiserror::Error;

/// Why a packet was dropped: to be counted and traced, never answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Error)]
#[error("{}", self.name())]
#[non_exhaustive]
pub enum DropReason {
    /// Not the shape of any packet.
    Malformed,
    /// A kind of packet that this layer does not take, or not now.
    Unexpected,
    /// A version that this node does not speak.
    Version,
    /// `mac1` is wrong: not for this node, or from someone who does not know whom it talks to.
    BadMac,
    /// A message 1 without a cookie while many come: its sender was asked to show one.
    CookieAsked,
    /// More handshakes than its source or its key may start.
    HandshakeLimited,
    /// A handshake message does not authenticate, or what it carries does not decode.
    BadHandshake,
    /// No session or handshake here has that receiver index.
    UnknownIndex,
    /// The packet number was received before, or is too old to know.
    Replay,
    /// The packet does not authenticate.
    BadTag,
    /// From a life of the peer that a later one has replaced.
    Stale,
    /// A table has no room.
    TableFull,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 12] = [
        Self::Malformed,
        Self::Unexpected,
        Self::Version,
        Self::BadMac,
        Self::CookieAsked,
        Self::HandshakeLimited,
        Self::BadHandshake,
        Self::UnknownIndex,
        Self::Replay,
        Self::BadTag,
        Self::Stale,
        Self::TableFull,
    ];

    /// The name of the reason's counter.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unexpected => "unexpected",
            Self::Version => "version",
            Self::BadMac => "bad_mac",
            Self::CookieAsked => "cookie_asked",
            Self::HandshakeLimited => "handshake_limited",
            Self::BadHandshake => "bad_handshake",
            Self::UnknownIndex => "unknown_index",
            Self::Replay => "replay",
            Self::BadTag => "bad_tag",
            Self::Stale => "stale",
            Self::TableFull => "table_full",
        }
    }
}
