//! When a machine wants to be woken, and why.

use std::time::Instant;

/// The next moment at which `handle_timeout` has work to do, and the name of the timer that asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadline {
    /// When.
    pub at: Instant,
    /// Which timer, for traces.
    pub timer: &'static str,
}

impl Deadline {
    /// The earlier of two deadlines.
    #[must_use]
    pub fn earliest(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(if b.at < a.at { b } else { a }),
            (a, None) => a,
            (None, b) => b,
        }
    }
}

/// A fixed table of a machine's timers, indexed by its `enum Timer` (`timer as usize`).
///
/// ```
/// use std::time::{Duration, Instant};
/// use pilot_types::TimerTable;
///
/// let start = Instant::now();
/// let mut timers = TimerTable::new(["idle", "probe"]);
/// timers.set(1, start + Duration::from_secs(1));
/// assert_eq!(timers.next().map(|d| d.timer), Some("probe"));
/// assert!(!timers.take_if_due(1, start));
/// assert!(timers.take_if_due(1, start + Duration::from_secs(2)));
/// assert!(timers.next().is_none());
/// ```
#[derive(Clone, Debug)]
pub struct TimerTable<const N: usize> {
    names: [&'static str; N],
    at: [Option<Instant>; N],
}

impl<const N: usize> TimerTable<N> {
    /// All timers stopped.
    #[must_use]
    pub const fn new(names: [&'static str; N]) -> Self {
        Self {
            names,
            at: [None; N],
        }
    }

    /// Starts or moves a timer.
    ///
    /// # Panics
    /// If `timer` is not below `N`.
    pub const fn set(&mut self, timer: usize, at: Instant) {
        self.at[timer] = Some(at);
    }

    /// Stops a timer.
    ///
    /// # Panics
    /// If `timer` is not below `N`.
    pub const fn stop(&mut self, timer: usize) {
        self.at[timer] = None;
    }

    /// Stops all timers.
    pub const fn stop_all(&mut self) {
        self.at = [None; N];
    }

    /// When a timer fires; `None` while it is stopped.
    ///
    /// # Panics
    /// If `timer` is not below `N`.
    #[must_use]
    pub const fn get(&self, timer: usize) -> Option<Instant> {
        self.at[timer]
    }

    /// Stops the timer and says `true` if it is due at `now`.
    ///
    /// # Panics
    /// If `timer` is not below `N`.
    pub fn take_if_due(&mut self, timer: usize, now: Instant) -> bool {
        let is_due = self.at[timer].is_some_and(|at| at <= now);
        if is_due {
            self.at[timer] = None;
        }
        is_due
    }

    /// The earliest timer.
    #[must_use]
    pub fn next(&self) -> Option<Deadline> {
        let started = self
            .at
            .iter()
            .zip(self.names)
            .filter_map(|(at, timer)| at.map(|at| Deadline { at, timer }));
        started.min_by_key(|deadline| deadline.at)
    }
}
