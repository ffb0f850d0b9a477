//! What is kept over restarts.

use pilot_types::{AgentId, GroupId, UnixTime};
use pilot_wire::{KnockTarget, encode_postcard};
use serde::{Deserialize, Serialize};

use crate::group::{Group, HeldInvitation};
use crate::knock::{Knocker, SentKnock};
use crate::peer::Peer;

/// One thing worth keeping. The shell stores its serde form and hands it back to [`crate::Trust::restore`] unread.
///
/// Logs are verified again when they are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustItem(pub(crate) Box<Item>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Item {
    /// A knock of ours that waits for a grant.
    Sent(SentKnock),
    /// A knock that waits for us, or was rejected.
    Pending(Knocker),
    /// An agent that we granted something, or that granted us something.
    Peer(Box<Peer>),
    /// The hash of a ticket's secret, and its end.
    Ticket([u8; 32], UnixTime),
    /// A group that we are in.
    Group(Box<Group>),
    /// An invitation that waits for us.
    Invitation(HeldInvitation),
}

/// A write that the shell has to make durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustChange {
    /// Insert or replace.
    Put(Vec<u8>, TrustItem),
    /// Remove; it may not be there.
    Delete(Vec<u8>),
}

/// What an item is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum ItemKey {
    Sent(KnockTarget),
    Pending(AgentId),
    Peer(AgentId),
    Ticket([u8; 32]),
    Group(GroupId),
    Invitation(GroupId),
}

impl ItemKey {
    /// The key in the store: postcard, at most 66 bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        encode_postcard(self)
    }
}
