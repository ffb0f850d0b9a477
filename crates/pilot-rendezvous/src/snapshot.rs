//! The figures of a moment, and how they changed lately.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pilot::{RelayStats, Rendezvous};
use pilot_registry::Stats;

/// What is looked at for figures per second.
const WINDOW: Duration = Duration::from_secs(60);
/// How often a moment is kept: thirteen of them cover the window.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// Everything that pages tell, of one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) url: String,
    pub(crate) uptime: Duration,
    pub(crate) sessions: u64,
    pub(crate) stats: Stats,
    pub(crate) relay: RelayStats,
    pub(crate) drops: Vec<(&'static str, u64)>,
}

impl Snapshot {
    pub(crate) fn of(rendezvous: &Rendezvous, started: Instant) -> Self {
        Self {
            url: rendezvous.url(),
            uptime: started.elapsed(),
            sessions: rendezvous.sessions() as u64,
            stats: rendezvous.stats(),
            relay: rendezvous.relay(),
            drops: rendezvous.drops(),
        }
    }

    fn totals(&self) -> Totals {
        Totals::of(&self.stats, &self.relay)
    }
}

/// Counters that only grow.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    requests: u64,
    refusals: u64,
    relay_datagrams: u64,
    relay_bytes: u64,
}

impl Totals {
    fn of(stats: &Stats, relay: &RelayStats) -> Self {
        Self {
            requests: stats.requests.iter().sum(),
            refusals: stats.refusals.iter().sum(),
            relay_datagrams: relay.datagrams,
            relay_bytes: relay.bytes,
        }
    }
}

/// Each a second, over the last minute or since the start.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Rates {
    pub(crate) requests: f64,
    pub(crate) refusals: f64,
    pub(crate) relay_datagrams: f64,
    pub(crate) relay_bits: f64,
}

/// Counters of the last minute.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<VecDeque<(Duration, Totals)>>);

impl History {
    /// Keeps the counters of this moment; nothing else is looked at, however many sessions there are.
    pub(crate) fn look(&self, rendezvous: &Rendezvous, started: Instant) {
        let totals = Totals::of(&rendezvous.stats(), &rendezvous.relay());
        self.keep(started.elapsed(), totals);
    }

    fn keep(&self, uptime: Duration, totals: Totals) {
        let mut moments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moments.push_back((uptime, totals));
        let from = uptime.saturating_sub(WINDOW);
        while moments.front().is_some_and(|(at, _)| *at < from) {
            moments.pop_front();
        }
    }

    /// What changed from the oldest moment that is kept to this one.
    pub(crate) fn rates(&self, now: &Snapshot) -> Rates {
        let moments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, before) = moments.front().copied().unwrap_or_default();
        drop(moments);
        let seconds = now.uptime.saturating_sub(since).as_secs_f64();
        if seconds < 1.0 {
            return Rates::default();
        }
        let after = now.totals();
        let rate = |of: fn(&Totals) -> u64| of(&after).saturating_sub(of(&before)) as f64 / seconds;
        Rates {
            requests: rate(|it| it.requests),
            refusals: rate(|it| it.refusals),
            relay_datagrams: rate(|it| it.relay_datagrams),
            relay_bits: rate(|it| it.relay_bytes) * 8.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, requests: u64) -> Snapshot {
        let mut now = Snapshot {
            uptime: Duration::from_secs(seconds),
            ..Snapshot::default()
        };
        now.stats.requests[0] = requests;
        now.relay.bytes = requests * 100;
        now
    }

    #[test]
    fn rates_are_those_of_the_last_minute() {
        let history = History::default();
        let start = at(0, 0);
        assert_eq!(history.rates(&start), Rates::default());
        assert!(
            (history.rates(&at(10, 50)).requests - 5.0).abs() < 1e-9,
            "since the start"
        );
        // 10 a second for five minutes, then nothing.
        for step in 0..60 {
            let then = at(step * 5, step * 50);
            history.keep(then.uptime, then.totals());
        }
        let busy = history.rates(&at(295, 2950));
        assert!((busy.requests - 10.0).abs() < 1e-9, "{busy:?}");
        assert!((busy.relay_bits - 8000.0).abs() < 1e-9, "{busy:?}");
        for step in 60..80 {
            let then = at(step * 5, 2950);
            history.keep(then.uptime, then.totals());
        }
        assert_eq!(history.rates(&at(400, 2950)), Rates::default());
        assert!(history.0.lock().unwrap().len() <= 13);
    }
}
