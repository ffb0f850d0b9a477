//! One of our sockets and one address of the peer.

use std::time::{Duration, Instant};

use pilot_wire::CandidateKind;

/// When the probes of a burst go out, after its start. Both ends start when they learn each other's candidates, which
/// is up to one way apart. The first probe opens our NAT and may be dropped by the peer's; one that is sent after the
/// peer's first was passes both. So three probes bridge starts that are 600 ms apart, and a lost one.
const OFFSETS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(200),
    Duration::from_millis(600),
];
/// How long the answer to the last probe is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// A peer that is heard again and again from one address makes us probe it at most this often.
const HEARD_PAUSE: Duration = Duration::from_secs(1);
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    /// Nothing came back yet, if anything was sent.
    Untried,
    /// It was answered, and no burst since then failed.
    Answered,
    /// The last burst was not answered.
    Failed,
}

#[derive(Clone, Copy, Debug)]
struct Burst {
    sent: usize,
    start: Instant,
    next: Instant,
}

#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// `None` for an address that the peer did not name: it was dialled or heard there.
    pub(super) kind: Option<CandidateKind>,
    pub(super) status: Status,
    pub(super) rtt: Option<Duration>,
    /// Samples in a row that were so much better than the path in use that it counts.
    pub(super) faster: u8,
    burst: Option<Burst>,
    heard: Option<Instant>,
}

impl Pair {
    pub(super) const fn new(kind: Option<CandidateKind>) -> Self {
        Self {
            kind,
            status: Status::Untried,
            rtt: None,
            faster: 0,
            burst: None,
            heard: None,
        }
    }

    pub(super) fn is_validated(&self) -> bool {
        self.status == Status::Answered
    }

    pub(super) const fn is_probing(&self) -> bool {
        self.burst.is_some()
    }

    /// Three probes from `at` on, or until the first answer.
    pub(super) const fn start(&mut self, at: Instant) {
        self.burst = Some(Burst {
            sent: 0,
            start: at,
            next: at,
        });
    }

    /// What was known of it may hold no longer.
    pub(super) const fn forget(&mut self) {
        self.status = Status::Untried;
        self.rtt = None;
        self.faster = 0;
    }

    /// An authenticated packet came from there: a probe passes now, if ever.
    pub(super) fn hear(&mut self, now: Instant) {
        let is_recent = self.heard.is_some_and(|at| now < at + HEARD_PAUSE);
        if !self.is_validated() && !is_recent {
            self.heard = Some(now);
            self.start(now);
        }
    }

    pub(super) const fn answer(&mut self, rtt: Duration) {
        self.status = Status::Answered;
        self.rtt = Some(rtt);
        self.burst = None;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.burst.map(|burst| burst.next)
    }

    /// Whether a probe, or the end of the wait for the last one's answer, is due.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|at| at <= now)
    }

    /// Whether the burst is over without an answer.
    pub(super) fn is_exhausted(&self) -> bool {
        self.burst.is_some_and(|burst| burst.sent == OFFSETS.len())
    }

    pub(super) const fn fail(&mut self) {
        self.burst = None;
        self.status = Status::Failed;
        self.rtt = None;
        self.faster = 0;
    }

    /// A probe is on its way.
    pub(super) fn sent(&mut self, now: Instant) {
        let Some(burst) = &mut self.burst else { return };
        burst.sent += 1;
        burst.next = match OFFSETS.get(burst.sent) {
            // After a probe that was late the spacing holds, not the timetable.
            Some(offset) => (burst.start + *offset).max(now + OFFSETS[1]),
            None => now + PATIENCE,
        };
    }

    /// The probe has to wait.
    pub(super) const fn postpone(&mut self, until: Instant) {
        if let Some(burst) = &mut self.burst {
            burst.next = until;
        }
    }
}
