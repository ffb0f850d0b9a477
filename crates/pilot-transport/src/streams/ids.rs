//! Which streams exist, existed, and may come to be: counters, so that closed streams take no memory.

use pilot_types::StreamId;

use crate::config::Side;
use crate::error::PeerError;

/// RFC 9000 §19.11: a count that no id within a varint can reach is an error.
pub(crate) const MAX_COUNT: u64 = 1 << 60;

/// Where an id stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// Opened, now or long ago.
    Opened,
    /// The peer opens it, and all its ids below, now.
    Opens,
}

/// Counts of both ends' streams.
#[derive(Debug)]
pub(crate) struct StreamIds {
    side: Side,
    local_opened: u64,
    local_max: u64,
    /// Whether an open was refused since the last MAX_STREAMS.
    is_open_blocked: bool,
    /// Whether a STREAMS_BLOCKED is to be sent.
    pub(crate) is_blocked_due: bool,
    remote_opened: u64,
    remote_closed: u64,
    /// The limit that the peer was last told.
    remote_max: u64,
    /// How many streams of the peer may be open at a time.
    window: u64,
    /// Whether a MAX_STREAMS is to be sent.
    pub(crate) is_max_due: bool,
}

impl StreamIds {
    pub(crate) fn new(side: Side, window: u64, peer_max: u64) -> Self {
        let window = window.min(MAX_COUNT);
        Self {
            side,
            local_opened: 0,
            local_max: peer_max.min(MAX_COUNT),
            is_open_blocked: false,
            is_blocked_due: false,
            remote_opened: 0,
            remote_closed: 0,
            remote_max: window,
            window,
            is_max_due: false,
        }
    }

    /// Whether we open this id.
    pub(crate) const fn is_local(&self, id: StreamId) -> bool {
        id.to_u64() & 1 == self.side.parity()
    }

    /// Our next stream; `None` at the peer's limit.
    pub(crate) const fn open(&mut self) -> Option<StreamId> {
        if self.local_opened >= self.local_max {
            self.is_open_blocked = true;
            self.is_blocked_due = true;
            return None;
        }
        let id = StreamId::new(self.local_opened * 2 + self.side.parity());
        self.local_opened += 1;
        Some(id)
    }

    /// The limit that stops us.
    pub(crate) const fn local_max(&self) -> u64 {
        self.local_max
    }

    /// A MAX_STREAMS came; `true` if who was refused should try again.
    pub(crate) fn on_max_streams(&mut self, max: u64) -> Result<bool, PeerError> {
        if max > MAX_COUNT {
            return Err(PeerError::StreamCount);
        }
        let is_raised = max > self.local_max;
        self.local_max = self.local_max.max(max);
        let is_news = is_raised && self.is_open_blocked;
        if is_raised {
            self.is_open_blocked = false;
            self.is_blocked_due = false;
        }
        Ok(is_news)
    }

    /// Whether a frame's stream may be named by the peer.
    pub(crate) const fn standing(&self, id: StreamId) -> Result<Standing, PeerError> {
        if self.is_local(id) {
            return if id.index() < self.local_opened {
                Ok(Standing::Opened)
            } else {
                Err(PeerError::UnopenedStream)
            };
        }
        if id.index() >= self.remote_max {
            return Err(PeerError::StreamLimit);
        }
        if id.index() < self.remote_opened {
            Ok(Standing::Opened)
        } else {
            Ok(Standing::Opens)
        }
    }

    /// RFC 9000 §3.2: opening a stream opens "all lower-numbered streams of the same type"; gives the next up to `last`.
    pub(crate) fn open_remote(&mut self, last: StreamId) -> Option<StreamId> {
        if self.remote_opened > last.index() {
            return None;
        }
        let parity = 1 - self.side.parity();
        let id = StreamId::new(self.remote_opened * 2 + parity);
        self.remote_opened += 1;
        Some(id)
    }

    /// A stream is over in both directions: the peer may open another one, told after an eighth of the window.
    pub(crate) fn on_closed(&mut self, id: StreamId) {
        if !self.is_local(id) {
            self.remote_closed += 1;
            let untold = self.remote_closed + self.window - self.remote_max;
            self.is_max_due |= untold >= (self.window / 8).max(1);
        }
    }

    /// The peer waits for a higher limit: it is told if there is one.
    pub(crate) const fn on_streams_blocked(&mut self) {
        if self.remote_closed + self.window > self.remote_max {
            self.is_max_due = true;
        }
    }

    /// The limit that a MAX_STREAMS tells now.
    pub(crate) const fn advance(&mut self) -> u64 {
        self.is_max_due = false;
        self.remote_max = self.remote_closed + self.window;
        self.remote_max
    }

    /// A STREAMS_BLOCKED was lost.
    pub(crate) const fn on_blocked_lost(&mut self) {
        self.is_blocked_due = self.is_open_blocked;
    }
}
