//! When an app that fails is started again.

use std::time::{Duration, Instant};

/// The first wait; it doubles with each failure in a row.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest one.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Failures in a row after which it is not started again until somebody says so.
const MAX_FAILURES: u32 = 5;

/// Failures in a row. A call that is answered ends the row.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    count: u32,
    not_before: Option<Instant>,
}

/// Whether an app may be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Permit {
    Now,
    After(Duration),
    Suspended,
}

impl Failures {
    pub(crate) fn record(&mut self, now: Instant) {
        self.count = self.count.saturating_add(1);
        let doubled = FIRST_WAIT.saturating_mul(1 << (self.count - 1).min(16));
        self.not_before = Some(now + doubled.min(LONGEST_WAIT));
    }

    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(crate) const fn is_suspended(&self) -> bool {
        self.count >= MAX_FAILURES
    }

    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn permit(&self, now: Instant) -> Permit {
        if self.is_suspended() {
            return Permit::Suspended;
        }
        let left = self.not_before.map(|at| at.saturating_duration_since(now));
        match left {
            Some(left) if !left.is_zero() => Permit::After(left),
            Some(_) | None => Permit::Now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_until_the_app_is_suspended_and_an_answer_ends_the_row() {
        let mut now = Instant::now();
        let mut failures = Failures::default();
        let mut waits = vec![];
        assert_eq!(failures.permit(now), Permit::Now);
        while !failures.is_suspended() {
            failures.record(now);
            if let Permit::After(wait) = failures.permit(now) {
                waits.push(wait.as_millis());
                now += wait;
                assert_eq!(failures.permit(now), Permit::Now);
            }
        }
        assert_eq!(waits, [250, 500, 1000, 2000]);
        assert_eq!(failures.permit(now + LONGEST_WAIT), Permit::Suspended);
        failures.forget();
        assert_eq!(failures.permit(now), Permit::Now);
    }
}
