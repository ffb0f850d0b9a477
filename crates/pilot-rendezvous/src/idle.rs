//! When nobody needs the embedded rendezvous any longer.

use std::time::{Duration, Instant};

/// Counts how long there was no session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdleWatch {
    limit: Duration,
    since: Instant,
}

impl IdleWatch {
    /// Idle from `now` on, until a session is seen.
    pub(crate) const fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, since: now }
    }

    /// Takes note of the number of sessions; `true` once there was none for the limit.
    pub(crate) fn is_over(&mut self, now: Instant, sessions: usize) -> bool {
        if sessions > 0 {
            self.since = now;
        }
        now.saturating_duration_since(self.since) >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_from_the_last_session() {
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let mut watch = IdleWatch::new(10 * minute, start);
        assert!(!watch.is_over(start + 9 * minute, 0));
        assert!(!watch.is_over(start + 15 * minute, 1));
        assert!(!watch.is_over(start + 24 * minute, 0));
        assert!(watch.is_over(start + 25 * minute, 0));
    }
}
