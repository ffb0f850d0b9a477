//! Loss detection over all paths of a session (RFC 9002 §6).

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::path::PathState;
use crate::sent::{Fate, InFlight, SentPackets};

/// RFC 9002 §6.1.1: "The RECOMMENDED initial value for the packet reordering threshold is 3".
const PACKET_THRESHOLD: u64 = 3;
/// RFC 9002 §7.6.1: probe timeouts without an answer that make a loss persistent.
const PERSISTENT_THRESHOLD: u32 = 3;
/// RFC 9002 §6.2.4: "one or two datagrams" a probe timeout.
const PROBES: u32 = 2;
/// Probe timeouts in a row after which the next probe is at least four of the first away.
const BACKED_OFF: u32 = 2;
/// Probes never come rarer than this: a peer that wakes up is noticed.
const MAX_PROBE_TIMEOUT: Duration = Duration::from_secs(60);
/// 2^10 times any probe timeout is beyond the maximum above.
const MAX_BACKOFF: u32 = 10;

/// Packets in flight and the state of their recovery.
#[derive(Debug, Default)]
pub(crate) struct LossDetector {
    pub(crate) sent: SentPackets,
    next_number: u64,
    /// Probe timeouts in a row without an acknowledgement.
    silence: u32,
    /// [`Self::silence`] when the peer was heard last.
    heard_at: u32,
    /// Ack-eliciting packets to send whatever the window says.
    probes_due: u32,
    last_sent_at: Option<Instant>,
}

impl LossDetector {
    /// The number of the next packet.
    pub(crate) const fn next_number(&self) -> u64 {
        self.next_number
    }

    pub(crate) const fn advance_number(&mut self) {
        self.next_number += 1;
    }

    pub(crate) const fn silence(&self) -> u32 {
        self.silence
    }

    pub(crate) const fn has_probe_due(&self) -> bool {
        self.probes_due > 0
    }

    pub(crate) fn on_sent(&mut self, packet: InFlight) {
        self.last_sent_at = Some(packet.sent_at);
        self.probes_due = self.probes_due.saturating_sub(1);
        self.sent.push(packet);
    }

    /// Moves the acknowledged packets to `out`; gives the largest number of the peer's that we need not acknowledge
    /// again.
    pub(crate) fn take_acked(
        &mut self,
        range: &RangeInclusive<u64>,
        out: &mut Vec<InFlight>,
    ) -> Option<u64> {
        let before = out.len();
        self.sent.take(range, out);
        let ack_only = self.sent.take_ack_only(range);
        let carried = out[before..].iter().filter_map(|packet| packet.acked_up_to);
        carried.max().max(ack_only)
    }

    /// Something in flight was acknowledged: the path is alive.
    pub(crate) const fn on_progress(&mut self) {
        self.silence = 0;
        self.heard_at = 0;
        self.probes_due = 0;
    }

    /// The peer was heard. Whether that is worth a probe out of turn: the next one may be far away by now, and the path
    /// works again. Once for each probe timeout, whatever the peer sends.
    pub(crate) const fn is_back(&mut self) -> bool {
        let is_news = self.silence >= BACKED_OFF && self.silence > self.heard_at;
        self.heard_at = self.silence;
        is_news
    }

    /// Moves the packets of `path` that are lost now to `out`; gives when the next one will be.
    ///
    /// Only packets of the same path are compared: packets that overtake each other on two paths lost nothing.
    pub(crate) fn take_lost(
        &mut self,
        now: Instant,
        path: &PathState,
        out: &mut Vec<InFlight>,
    ) -> Option<Instant> {
        let largest = path.largest_acked?;
        let delay = path.rtt.loss_delay();
        let mut next: Option<Instant> = None;
        let fate = |packet: &InFlight| {
            if packet.path != path.key {
                return Fate::Stays;
            }
            if packet.sequence >= largest {
                return Fate::Last;
            }
            let at = packet.sent_at + delay;
            if packet.sequence + PACKET_THRESHOLD <= largest || at <= now {
                return Fate::Goes;
            }
            next = Some(next.map_or(at, |next| next.min(at)));
            Fate::Stays
        };
        self.sent.take_while(fate, out);
        next
    }

    /// Moves all packets of `path` to `out`, when it is given up.
    pub(crate) fn take_path(&mut self, path: &PathState, out: &mut Vec<InFlight>) {
        let fate = |packet: &InFlight| {
            if packet.path == path.key {
                Fate::Goes
            } else {
                Fate::Stays
            }
        };
        self.sent.take_while(fate, out);
    }

    /// When to probe; `None` while nothing is in flight.
    pub(crate) fn probe_at(&self, timeout: Duration) -> Option<Instant> {
        if self.sent.is_empty() {
            return None;
        }
        // RFC 9002 §6.2.1: "the PTO period MUST be set to twice its current value" each time.
        let factor = 1 << self.silence.min(MAX_BACKOFF);
        let backed_off = timeout.saturating_mul(factor).min(MAX_PROBE_TIMEOUT);
        self.last_sent_at.map(|at| at + backed_off.max(timeout))
    }

    /// The probe timer fired.
    pub(crate) const fn on_probe_timeout(&mut self) -> usize {
        self.silence = self.silence.saturating_add(1);
        self.probes_due = PROBES;
        PROBES as usize
    }
}

/// RFC 9002 §7.6: whether packets of one path, lost in a row, span so long that the path was gone.
pub(crate) fn is_persistent(lost: &[InFlight], path: &PathState, max_ack_delay: Duration) -> bool {
    // "a prior RTT sample exists": before one the timeout is a guess.
    if path.rtt.min().is_none() {
        return false;
    }
    let period = path.rtt.probe_timeout(max_ack_delay) * PERSISTENT_THRESHOLD;
    let mut run_start: Option<&InFlight> = None;
    let mut before: Option<&InFlight> = None;
    for packet in lost {
        let is_in_row = before.is_some_and(|before| before.sequence + 1 == packet.sequence);
        if !is_in_row {
            run_start = Some(packet);
        }
        if run_start.is_some_and(|start| packet.sent_at - start.sent_at > period) {
            return true;
        }
        before = Some(packet);
    }
    false
}
