//! Requests between nodes: one stream each, body and end in both directions.

use std::time::Instant;

use pilot_registry::{PushId, RequestId};

use crate::event::DialId;
use crate::relaying::RelayCall;

/// Largest body of a request or answer between nodes: a record with its log fits many times.
pub(crate) const MAX_EXCHANGE: usize = 256 * 1024;

/// What an exchange is about, and whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// We asked a registry.
    RegistryCall { link: usize, request: RequestId },
    /// We asked an agent that is a relay for us.
    RelayCall(RelayCall),
    /// An agent asks our registry or relay.
    RegistryServe,
    /// Our registry tells an agent something.
    PushSend { push: PushId },
    /// A registry tells us something.
    PushServe,
    /// We sent a trust message; the dial that waits for it, if any.
    TrustSend { dial: Option<DialId> },
    /// A peer sends a trust message.
    TrustServe,
    /// We ping.
    PingSend { dial: DialId, sent: Instant },
    /// A peer pings.
    PingServe,
    /// Our answer is on its way; nothing more is expected.
    Answering,
}

/// The state of one exchange.
pub(crate) struct Exchange {
    pub(crate) purpose: Purpose,
    received: Vec<u8>,
    outbound: Vec<u8>,
    sent: usize,
    /// Whether there is something to send (an asker from the start, a server after it answered).
    has_outbound: bool,
    is_finished: bool,
}

impl Exchange {
    /// We send `body` first.
    pub(crate) const fn asking(purpose: Purpose, body: Vec<u8>) -> Self {
        Self {
            purpose,
            received: vec![],
            outbound: body,
            sent: 0,
            has_outbound: true,
            is_finished: false,
        }
    }

    /// We wait for the peer's body.
    pub(crate) const fn serving(purpose: Purpose) -> Self {
        Self {
            purpose,
            received: vec![],
            outbound: vec![],
            sent: 0,
            has_outbound: false,
            is_finished: false,
        }
    }

    /// Our answer to what was received.
    pub(crate) const fn answering(body: Vec<u8>) -> Self {
        Self::asking(Purpose::Answering, body)
    }

    /// What is still to be written; empty: the end. `None`: nothing.
    pub(crate) fn unsent(&self) -> Option<&[u8]> {
        (self.has_outbound && !self.is_finished).then(|| &self.outbound[self.sent..])
    }

    pub(crate) const fn mark_sent(&mut self, len: usize) {
        self.sent += len;
    }

    pub(crate) const fn mark_finished(&mut self) {
        self.is_finished = true;
    }

    /// `false` if the body grows beyond its bound.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> bool {
        self.received.extend_from_slice(bytes);
        self.received.len() <= MAX_EXCHANGE
    }

    pub(crate) fn take_received(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }
}
