//! What the endpoint hands to its caller.

use pilot_types::{AgentId, PacketNumber};
use pilot_wire::{Hello, HelloAnswer};

/// Names a message 1 that waits for a decision; good for one [`crate::Endpoint::accept`] or [`crate::Endpoint::ignore`].
#[derive(PartialEq, Eq, Debug)]
pub struct HelloToken(u64);

impl HelloToken {
    pub(crate) const fn new(id: u64) -> Self {
        Self(id)
    }

    pub(crate) const fn into_id(self) -> u64 {
        self.0
    }
}

/// What a datagram was.
#[derive(Debug)]
pub enum Received<'a> {
    /// Message 1, opened. The caller checks the hello's log against `peer_static`, its freshness and the policy, then calls
    /// `accept` or `ignore`. Nothing that it says is in effect yet.
    Hello {
        /// The X25519 key whose holder sent it.
        peer_static: [u8; 32],
        /// What it says.
        hello: Hello,
        /// For `accept` or `ignore`.
        token: HelloToken,
    },
    /// Message 2, verified; packets to `peer` are sealed under the new epoch from now on. The caller sends one soon, for
    /// the first one confirms the handshake to the peer.
    Answered {
        /// Who answered: it holds the key that was dialled.
        peer: AgentId,
        /// What it says. Another boot than before means that everything of the old one is gone.
        answer: HelloAnswer,
    },
    /// A data packet, opened in place.
    Data {
        /// Who sealed it.
        peer: AgentId,
        /// Its number.
        number: PacketNumber,
        /// Its frames.
        payload: &'a mut [u8],
        /// Set if the packet is the first under an epoch that this end answered: only now the hello takes effect.
        confirmed: Option<Box<Hello>>,
    },
    /// Nothing for the caller: a repeated message 1 was answered again.
    Handled,
}

/// What handshakes cost and came to, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HandshakeStats {
    /// Handshakes that this end started.
    pub started: u64,
    /// Those of them that were answered.
    pub completed: u64,
    /// Messages 1 of others that were opened: two Diffie-Hellman operations each.
    pub opened: u64,
    /// Those of them that were answered: two more each.
    pub accepted: u64,
    /// Cookies handed out instead.
    pub cookies_sent: u64,
    /// Packets of this layer that nobody took in time.
    pub output_lost: u64,
}

/// What happened without a datagram, or beside one.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The epoch in use is due for replacement: call [`crate::Endpoint::connect`] with a fresh hello.
    RekeyDue {
        /// Whom to dial.
        peer: AgentId,
    },
    /// A handshake that this end started got no answer. A live session goes on.
    HandshakeFailed {
        /// Who was dialled.
        peer: AgentId,
    },
    /// Somebody who knows the peer's public key says that the peer speaks only other versions. Not proven: the handshake
    /// goes on.
    VersionRefused {
        /// Who was dialled.
        peer: AgentId,
        /// The versions that it is said to speak, at most 16.
        offered: Vec<u8>,
    },
    /// The last epoch with the peer ended; there is no session any more.
    SessionExpired {
        /// Whose.
        peer: AgentId,
    },
}
