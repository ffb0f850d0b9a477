//! What happened of late, for everybody who reads it at a pace of their own.
//!
//! ```text
//! inbox, files, node ── tell ──▶ Board: the last 256 ──▶ reader with a cursor   a client that watches
//!                                                    └─▶ reader with a cursor   the webhook
//! ```
//! Nobody is waited for: who is slower than the board forgets is told how many notices are missing.

mod reader;
mod sources;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pilot_api::types::{Notice, What};
use pilot_types::UnixTime;
use tokio::sync::watch;

pub(crate) use self::reader::Reader;
pub(crate) use self::sources::tell_of_node;

/// Notices that are kept.
const MAX_KEPT: usize = 256;
/// Longest body of a message in a notice: with all that are kept 4 MiB. The inbox has the rest.
pub(crate) const MAX_BODY: usize = 16 * 1024;

/// The last notices, numbered.
#[derive(Debug)]
pub(crate) struct Board {
    kept: Mutex<VecDeque<Arc<Notice>>>,
    /// The number before the first one. It grows from one run of the daemon to the next, so that no number means two notices.
    origin: u64,
    newest: watch::Sender<u64>,
}

/// What a cursor meets next.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Seen {
    Notice(Arc<Notice>),
    /// Notices that are kept no more; how many, if that is known.
    Missed(Option<u64>),
}

impl Board {
    /// An empty board.
    pub(crate) fn new(now: UnixTime) -> Self {
        let origin = now.as_millis();
        Self {
            kept: Mutex::default(),
            origin,
            newest: watch::Sender::new(origin),
        }
    }

    /// Adds a notice; the oldest one gives way.
    pub(crate) fn tell(&self, at: UnixTime, what: What) {
        let mut kept = self.kept();
        let id = *self.newest.borrow() + 1;
        if kept.len() == MAX_KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::new(Notice {
            id: Some(id),
            at,
            what,
        }));
        self.newest.send_replace(id);
    }

    /// The number of the newest notice, or the one before the first.
    pub(crate) fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    /// Where a cursor stands that begins after a notice: zero is before all that are kept.
    fn cursor_after(&self, id: u64) -> u64 {
        if id == 0 { self.origin } else { id }
    }

    /// How many there are behind a cursor.
    pub(crate) fn waiting(&self, cursor: u64) -> u64 {
        self.newest().saturating_sub(cursor.max(self.origin))
    }

    /// What stands behind a cursor, which moves on; `None` if nothing does yet.
    fn take(&self, cursor: &mut u64) -> Option<Seen> {
        let kept = self.kept();
        let newest = self.newest();
        if *cursor < self.origin || *cursor > newest {
            // Of another run. What this one has is not what was missed, and comes too.
            *cursor = self.origin;
            return Some(Seen::Missed(None));
        }
        let oldest = newest + 1 - kept.len() as u64;
        if *cursor + 1 < oldest {
            let missed = oldest - 1 - *cursor;
            *cursor = oldest - 1;
            return Some(Seen::Missed(Some(missed)));
        }
        let index = usize::try_from(*cursor + 1 - oldest).ok()?;
        let notice = kept.get(index)?;
        *cursor += 1;
        Some(Seen::Notice(Arc::clone(notice)))
    }

    /// What stands behind a cursor, once something does. Cancel safe.
    pub(crate) async fn next(&self, cursor: &mut u64) -> Seen {
        let mut newest = self.newest.subscribe();
        loop {
            newest.mark_unchanged();
            if let Some(seen) = self.take(cursor) {
                return seen;
            }
            // The sender lives as long as this borrow.
            let _ = newest.changed().await;
        }
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<Notice>>> {
        // A panic in between leaves the queue whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixTime = UnixTime::from_millis(1_000);

    fn board(count: u64) -> Board {
        let board = Board::new(START);
        for index in 0..count {
            let what = What::Missed { count: Some(index) };
            board.tell(START, what);
        }
        board
    }

    fn number(seen: Option<Seen>) -> Option<u64> {
        match seen? {
            Seen::Notice(notice) => notice.id,
            Seen::Missed(_) => None,
        }
    }

    #[test]
    fn a_cursor_meets_each_notice_once_and_in_order() {
        let board = board(3);
        let mut cursor = 1_000;
        let ids: Vec<_> = std::iter::from_fn(|| number(board.take(&mut cursor))).collect();
        assert_eq!(ids, [1_001, 1_002, 1_003]);
        assert_eq!((board.take(&mut cursor), board.waiting(1_001)), (None, 2));
    }

    #[test]
    fn who_is_too_slow_is_told_how_many_are_missing() {
        let board = board(300);
        let mut cursor = 1_010;
        assert_eq!(board.take(&mut cursor), Some(Seen::Missed(Some(34))));
        assert_eq!(number(board.take(&mut cursor)), Some(1_045));
    }

    #[test]
    fn a_cursor_of_an_earlier_run_misses_what_nobody_counted() {
        let board = board(1);
        for other in [3, 5_000] {
            let mut cursor = other;
            assert_eq!(board.take(&mut cursor), Some(Seen::Missed(None)));
            assert_eq!(number(board.take(&mut cursor)), Some(1_001));
        }
    }

    #[tokio::test]
    async fn waiting_ends_with_the_next_notice() {
        let board = Arc::new(board(0));
        let mut cursor = board.newest();
        let waits = Arc::clone(&board);
        let waiting = tokio::spawn(async move { waits.next(&mut cursor).await });
        tokio::task::yield_now().await;
        board.tell(START, What::Missed { count: None });
        assert_eq!(number(Some(waiting.await.unwrap())), Some(1_001));
    }
}
