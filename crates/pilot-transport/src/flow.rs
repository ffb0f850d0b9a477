//! Flow control of a whole session (RFC 9000 §4.1).

use crate::error::PeerError;

/// Credit to receive: moves on as bytes are consumed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceiveWindow {
    window: u64,
    /// The limit that the peer was last told.
    max: u64,
    consumed: u64,
}

impl ReceiveWindow {
    pub(crate) const fn new(window: u64) -> Self {
        Self {
            window,
            max: window,
            consumed: 0,
        }
    }

    pub(crate) const fn max(&self) -> u64 {
        self.max
    }

    /// Bytes left the window's memory; `true` if the peer should be told a higher limit, which is at half a window.
    pub(crate) const fn consume(&mut self, bytes: u64) -> bool {
        self.consumed += bytes;
        self.consumed + self.window - self.max >= self.window.div_ceil(2)
    }

    /// The limit to tell the peer now.
    pub(crate) const fn advance(&mut self) -> u64 {
        self.max = self.consumed + self.window;
        self.max
    }
}

/// Both directions of a session.
#[derive(Debug)]
pub(crate) struct FlowControl {
    peer_max: u64,
    sent: u64,
    window: ReceiveWindow,
    received: u64,
    /// Whether a MAX_DATA is to be sent.
    pub(crate) is_max_due: bool,
}

impl FlowControl {
    pub(crate) const fn new(window: u64, peer_max: u64) -> Self {
        Self {
            peer_max,
            sent: 0,
            window: ReceiveWindow::new(window),
            received: 0,
            is_max_due: false,
        }
    }

    /// New bytes that may be sent.
    pub(crate) const fn room(&self) -> u64 {
        self.peer_max.saturating_sub(self.sent)
    }

    pub(crate) const fn on_sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// A MAX_DATA came; `true` if it raised the limit.
    pub(crate) const fn on_max_data(&mut self, max: u64) -> bool {
        let is_raised = max > self.peer_max;
        if is_raised {
            self.peer_max = max;
        }
        is_raised
    }

    /// The highest offsets of all streams together grew by `bytes`.
    pub(crate) const fn on_received(&mut self, bytes: u64) -> Result<(), PeerError> {
        if bytes > self.window.max() - self.received {
            return Err(PeerError::FlowControl);
        }
        self.received += bytes;
        Ok(())
    }

    /// Bytes were read or discarded.
    pub(crate) const fn on_consumed(&mut self, bytes: u64) {
        if self.window.consume(bytes) {
            self.is_max_due = true;
        }
    }

    /// The limit that a MAX_DATA tells now.
    pub(crate) const fn advance(&mut self) -> u64 {
        self.is_max_due = false;
        self.window.advance()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_moves_at_half_a_window() {
        let mut flow = FlowControl::new(100, 0);
        assert_eq!(flow.on_received(100), Ok(()));
        assert_eq!(flow.on_received(1), Err(PeerError::FlowControl));
        flow.on_consumed(49);
        assert!(!flow.is_max_due);
        flow.on_consumed(1);
        assert!(flow.is_max_due);
        assert_eq!(flow.advance(), 150);
        assert_eq!(flow.on_received(50), Ok(()));
        assert_eq!(flow.on_received(1), Err(PeerError::FlowControl));
    }

    #[test]
    fn a_lower_limit_is_ignored() {
        let mut flow = FlowControl::new(0, 100);
        flow.on_sent(60);
        assert!(!flow.on_max_data(90));
        assert_eq!(flow.room(), 40);
        assert!(flow.on_max_data(110));
        assert_eq!(flow.room(), 50);
    }
}
