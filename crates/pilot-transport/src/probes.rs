//! Challenges on paths that are not in use: whether they carry, and how fast.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pilot_types::PathId;
use pilot_wire::limits::BASE_DATAGRAM;

/// Paths that are remembered: twice the candidates of a peer that are tried. A path takes less than 300 bytes, its
/// challenges and times included; 32 of them are less than 10 KiB a session.
const MAX_PROBED: usize = 32;
/// Challenges of one path whose answer is still accepted.
const MAX_OUTSTANDING: usize = 4;
/// An answer older than this says nothing of the path: the mappings of many NATs live no longer (RFC 4787 §4.3).
const MAX_AGE: Duration = Duration::from_secs(30);
/// RFC 9000 §8.1: "three times the amount of data received".
const AMPLIFICATION: u64 = 3;
/// Datagrams that a path carries in [`UNASKED_PERIOD`] beyond that, or nothing could ever be asked.
const MAX_UNASKED: usize = 3;
const UNASKED_PERIOD: Duration = Duration::from_secs(5);
/// RFC 9000 §8.2.1: a datagram with a challenge is expanded to the smallest size that a path has to carry.
const PROBE_SIZE: u64 = BASE_DATAGRAM as u64;
/// A challenge alone: 25 bytes around a frame of 9.
const MIN_PROBE_SIZE: u64 = 34;

/// The probed paths, the one that was asked for longest ago first.
///
/// A probe is in no packet that loss detection knows: it is not sent again, is no sign of congestion, and its
/// acknowledgement is no sample.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    paths: VecDeque<Probed>,
}

/// One path.
#[derive(Debug)]
pub(crate) struct Probed {
    pub(crate) id: PathId,
    /// Whether a challenge is to be sent.
    is_due: bool,
    /// The oldest first.
    outstanding: VecDeque<([u8; 8], Instant)>,
    /// The round trip of the last answer, and when it came.
    pub(crate) answer: Option<(Duration, Instant)>,
    /// Bytes that it may carry for those that it brought.
    credit: u64,
    /// Whether the peer was heard there before anything was sent there: whoever saw a packet of its may have sent it on
    /// from an address that is not its own, so it carries nothing beyond the credit.
    is_heard_first: bool,
    /// When datagrams left that the credit did not cover, the oldest first.
    unasked: VecDeque<Instant>,
}

impl Probes {
    /// Has a challenge sent on `path`; `false` if the path carried enough for now, or too many others are probed. `brought`
    /// are the bytes that a path brought that was heard of before it is known here.
    pub(crate) fn ask(&mut self, now: Instant, path: PathId, brought: Option<u64>) -> bool {
        let known = self.paths.iter().position(|probed| probed.id == path);
        let mut probed = match known.and_then(|at| self.paths.remove(at)) {
            Some(probed) => probed,
            None if self.make_room(now) => Probed::new(path, brought),
            None => return false,
        };
        let is_allowed = probed.is_allowed(now);
        probed.is_due = is_allowed;
        self.paths.push_back(probed);
        is_allowed
    }

    /// Forgets the path that was asked for longest ago, of those whose limit can be forgotten with it.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.paths.len() < MAX_PROBED {
            return true;
        }
        let is_over = |probed: &Probed| probed.unasked_at(now) == 0;
        let oldest = self.paths.iter().position(is_over);
        oldest.and_then(|at| self.paths.remove(at)).is_some()
    }

    /// A path that a challenge is to be sent on, and how large the datagram may be.
    pub(crate) fn due(&mut self, now: Instant) -> Option<(PathId, u64)> {
        for probed in &mut self.paths {
            // The datagram may leave later than it was asked for, and the limit is one of what leaves.
            probed.is_due = probed.is_due && probed.is_allowed(now);
            if probed.is_due {
                return Some((probed.id, probed.probe_size()));
            }
        }
        None
    }

    /// A challenge left on `path`, in a datagram of `size` bytes.
    pub(crate) fn on_sent(&mut self, now: Instant, path: &PathId, data: [u8; 8], size: u64) {
        if let Some(probed) = self.by_id_mut(path) {
            probed.on_sent(now, data, size);
        }
    }

    /// A datagram that is no probe left beside the path in use.
    pub(crate) fn on_sent_beside(&mut self, path: &PathId, size: u64) {
        if let Some(probed) = self.by_id_mut(path) {
            probed.credit = probed.credit.saturating_sub(size);
        }
    }

    /// A datagram came on a path that is not in use; `false` if the path is not known.
    pub(crate) fn on_received(&mut self, path: &PathId, size: u64) -> bool {
        let Some(probed) = self.by_id_mut(path) else {
            return false;
        };
        let credit = AMPLIFICATION.saturating_mul(size);
        probed.credit = probed.credit.saturating_add(credit);
        true
    }

    /// A response came; gives the path that its challenge was sent on, and the round trip.
    pub(crate) fn on_response(
        &mut self,
        now: Instant,
        data: &[u8; 8],
    ) -> Option<(PathId, Duration)> {
        let answered = |probed: &mut Probed| Some((probed.id, probed.on_response(now, data)?));
        self.paths.iter_mut().find_map(answered)
    }

    /// The round trip of `path`, if it answered lately.
    pub(crate) fn fresh_rtt(&self, now: Instant, path: &PathId) -> Option<Duration> {
        let probed = self.iter().find(|probed| probed.id == *path)?;
        let (rtt, at) = probed.answer?;
        (now.saturating_duration_since(at) <= MAX_AGE).then_some(rtt)
    }

    /// The path is in use from now on: what is to be asked is asked there.
    pub(crate) fn on_used(&mut self, path: &PathId) {
        if let Some(probed) = self.by_id_mut(path) {
            probed.is_due = false;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Probed> {
        self.paths.iter()
    }

    fn by_id_mut(&mut self, path: &PathId) -> Option<&mut Probed> {
        self.paths.iter_mut().find(|probed| probed.id == *path)
    }
}

impl Probed {
    fn new(id: PathId, brought: Option<u64>) -> Self {
        Self {
            id,
            is_due: false,
            outstanding: VecDeque::new(),
            answer: None,
            credit: AMPLIFICATION.saturating_mul(brought.unwrap_or(0)),
            is_heard_first: brought.is_some(),
            unasked: VecDeque::new(),
        }
    }

    /// How many datagrams left lately that the path's credit did not cover.
    fn unasked_at(&self, now: Instant) -> usize {
        let is_late = |at: &&Instant| now.saturating_duration_since(**at) <= UNASKED_PERIOD;
        self.unasked.iter().filter(is_late).count()
    }

    fn is_allowed(&self, now: Instant) -> bool {
        if self.is_heard_first {
            self.credit >= MIN_PROBE_SIZE
        } else {
            self.credit >= PROBE_SIZE || self.unasked_at(now) < MAX_UNASKED
        }
    }

    /// RFC 9000 §8.2.1: expanded, "unless the anti-amplification limit for the path does not permit".
    fn probe_size(&self) -> u64 {
        if self.is_heard_first {
            self.credit.min(PROBE_SIZE)
        } else {
            PROBE_SIZE
        }
    }

    fn on_sent(&mut self, now: Instant, data: [u8; 8], size: u64) {
        self.is_due = false;
        if self.outstanding.len() == MAX_OUTSTANDING {
            self.outstanding.pop_front();
        }
        self.outstanding.push_back((data, now));
        if let Some(credit) = self.credit.checked_sub(size) {
            self.credit = credit;
            return;
        }
        if self.unasked.len() == MAX_UNASKED {
            self.unasked.pop_front();
        }
        self.unasked.push_back(now);
    }

    /// The challenges before the answered one are forgotten: their answers would be older news.
    fn on_response(&mut self, now: Instant, data: &[u8; 8]) -> Option<Duration> {
        let at = self.outstanding.iter().position(|(sent, _)| sent == data)?;
        let (_, sent_at) = self.outstanding.drain(..=at).next_back()?;
        let rtt = now.saturating_duration_since(sent_at);
        self.answer = Some((rtt, now));
        Some(rtt)
    }
}

#[cfg(test)]
mod tests;
