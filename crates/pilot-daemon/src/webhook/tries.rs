//! When a notice is tried again, when it is given up, and when the receiver is left alone.

use std::time::Duration;

use super::post::PostError;

/// Tries of one notice.
const MAX_TRIES: u32 = 5;
/// Tries that fail in a row before the receiver is left alone.
const BREAKS_AT: u32 = MAX_TRIES;
/// After the first failed try; doubled after each further one: 1 + 2 + 4 + 8 s for five tries.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait between two tries, whatever a receiver asks for.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long a receiver that fails on and on is left alone at first.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// And at last.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What follows a failed try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Another try of this notice after a wait.
    Again(Duration),
    /// The next notice.
    GiveUp,
    /// The next notice, after a pause in which nothing is posted.
    Pause(Duration),
}

/// What failed so far.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// Of this notice.
    of_notice: u32,
    /// In a row.
    in_a_row: u32,
    /// Pauses since the last success.
    pauses: u32,
}

impl Tries {
    /// Another notice.
    pub(super) const fn begin(&mut self) {
        self.of_notice = 0;
    }

    /// The receiver took it.
    pub(super) const fn succeeded(&mut self) {
        self.in_a_row = 0;
        self.pauses = 0;
    }

    /// A try failed.
    pub(super) fn failed(&mut self, error: &PostError) -> Next {
        self.of_notice += 1;
        self.in_a_row += 1;
        if !error.may_pass() {
            // The receiver answered: it is there, and does not want this one.
            self.in_a_row = 0;
            return Next::GiveUp;
        }
        if self.in_a_row >= BREAKS_AT {
            self.pauses += 1;
            let pause = FIRST_PAUSE.saturating_mul(1 << (self.pauses - 1).min(8));
            return Next::Pause(pause.min(LONGEST_PAUSE));
        }
        let wait = FIRST_WAIT * (1 << (self.of_notice - 1));
        let asked = error.retry_after().unwrap_or_default();
        Next::Again(wait.max(asked).min(LONGEST_WAIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(next: Next) -> u64 {
        match next {
            Next::Again(wait) | Next::Pause(wait) => wait.as_secs(),
            Next::GiveUp => 0,
        }
    }

    #[test]
    fn a_notice_has_five_tries_then_the_receiver_has_rest() {
        let mut tries = Tries::default();
        tries.begin();
        let waits: Vec<u64> = (0..4)
            .map(|_| secs(tries.failed(&PostError::Timeout)))
            .collect();
        assert_eq!(waits, [1, 2, 4, 8]);
        let mut pauses = vec![];
        for _ in 0..6 {
            let next = tries.failed(&PostError::Timeout);
            assert!(matches!(next, Next::Pause(_)));
            pauses.push(secs(next));
            tries.begin();
        }
        assert_eq!(pauses, [60, 120, 240, 480, 600, 600]);
        tries.succeeded();
        tries.begin();
        assert_eq!(
            tries.failed(&PostError::Timeout),
            Next::Again(FIRST_WAIT),
            "a success ends it"
        );
    }

    #[test]
    fn what_will_not_pass_is_not_tried_again() {
        let mut tries = Tries::default();
        let refused = |status| PostError::Status {
            status,
            retry_after: None,
        };
        for status in [301, 400, 404, 413] {
            tries.begin();
            assert_eq!(tries.failed(&refused(status)), Next::GiveUp, "{status}");
        }
        for status in [408, 429, 500, 503] {
            tries.succeeded();
            tries.begin();
            assert_eq!(
                tries.failed(&refused(status)),
                Next::Again(FIRST_WAIT),
                "{status}"
            );
        }
    }

    #[test]
    fn a_receiver_may_ask_for_more_time_within_reason() {
        let asks = |secs| PostError::Status {
            status: 503,
            retry_after: Some(Duration::from_secs(secs)),
        };
        let mut tries = Tries::default();
        tries.begin();
        assert_eq!(secs(tries.failed(&asks(20))), 20);
        assert_eq!(secs(tries.failed(&asks(100_000))), 60);
    }
}
