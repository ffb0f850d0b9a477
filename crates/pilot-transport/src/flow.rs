//! Flow control of a whole session (RFC 9000 §4.1).

use std::time::{Duration, Instant};

use crate::error::PeerError;

/// Now, and how long a round trip takes: what tells a fast reader from a slow one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tempo {
    pub(crate) now: Instant,
    pub(crate) srtt: Duration,
}

/// Credit to receive: moves on as bytes are consumed, and grows for a reader that consumes them as fast as they come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceiveWindow {
    window: u64,
    /// The window never grows beyond.
    largest: u64,
    /// When the limit was told last.
    told_at: Option<Instant>,
    /// The limit that the peer was last told.
    max: u64,
    consumed: u64,
}

impl ReceiveWindow {
    pub(crate) const fn new(window: u64, largest: u64) -> Self {
        Self {
            window,
            largest,
            told_at: None,
            max: window,
            consumed: 0,
        }
    }

    pub(crate) const fn max(&self) -> u64 {
        self.max
    }

    /// Bytes left the window's memory; `true` if the peer should be told a higher limit, which is at a quarter of
    /// a window: later, and it would wait for it after a loss.
    pub(crate) const fn consume(&mut self, bytes: u64) -> bool {
        self.consumed += bytes;
        self.is_late()
    }

    const fn is_late(&self) -> bool {
        self.consumed + self.window - self.max >= self.window.div_ceil(4)
    }

    /// The limit to tell the peer now.
    ///
    /// A quarter of the window in two round trips makes it double, until it holds eight round trips' worth: while a
    /// packet is repaired that was lost twice, three go by, and a limit may be on its way for another.
    pub(crate) fn advance(&mut self, tempo: Tempo) -> u64 {
        let is_fast = |at: Instant| tempo.now.saturating_duration_since(at) < tempo.srtt * 2;
        // A limit that is repeated because it was lost says nothing of the reader.
        if self.is_late() && self.told_at.replace(tempo.now).is_some_and(is_fast) {
            self.window = (self.window * 2).min(self.largest).max(self.window);
        }
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
    pub(crate) const fn new(window: ReceiveWindow, peer_max: u64) -> Self {
        Self {
            peer_max,
            sent: 0,
            window,
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
    pub(crate) fn advance(&mut self, tempo: Tempo) -> u64 {
        self.is_max_due = false;
        self.window.advance(tempo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    fn tempo(now: Instant) -> Tempo {
        Tempo { now, srtt: RTT }
    }

    #[test]
    fn the_limit_moves_at_a_quarter_of_a_window() {
        let mut flow = FlowControl::new(ReceiveWindow::new(100, 100), 0);
        assert_eq!(flow.on_received(100), Ok(()));
        assert_eq!(flow.on_received(1), Err(PeerError::FlowControl));
        flow.on_consumed(24);
        assert!(!flow.is_max_due);
        flow.on_consumed(1);
        assert!(flow.is_max_due);
        assert_eq!(flow.advance(tempo(Instant::now())), 125);
        assert_eq!(flow.on_received(25), Ok(()));
        assert_eq!(flow.on_received(1), Err(PeerError::FlowControl));
    }

    #[test]
    fn a_window_grows_for_a_fast_reader_only_and_not_beyond_its_limit() {
        let start = Instant::now();
        for (gap, grown) in [(RTT * 2, 100), (RTT, 350)] {
            let mut window = ReceiveWindow::new(100, 350);
            let (mut now, mut consumed) = (start, 0);
            for _ in 0..10 {
                window.consume(100);
                consumed += 100;
                let max = window.advance(tempo(now));
                assert!(max <= consumed + grown);
                now += gap;
            }
            assert_eq!(window.max(), consumed + grown);
        }
    }

    #[test]
    fn a_lower_limit_is_ignored() {
        let mut flow = FlowControl::new(ReceiveWindow::new(0, 0), 100);
        flow.on_sent(60);
        assert!(!flow.on_max_data(90));
        assert_eq!(flow.room(), 40);
        assert!(flow.on_max_data(110));
        assert_eq!(flow.room(), 50);
    }
}
