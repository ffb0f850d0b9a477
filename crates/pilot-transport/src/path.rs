//! Everything that belongs to one path: round trip, congestion, pacing, validation.

use std::time::{Duration, Instant};

use pilot_types::PathId;
use pilot_wire::limits::BASE_DATAGRAM;

use crate::bbr::Bbr;
use crate::config::{Config, Congestion};
use crate::controller::{AckedPacket, Controller, LostPackets};
use crate::cubic::Cubic;
use crate::delivery_rate::{DeliveryRate, Departure};
use crate::pacer::Pacer;
use crate::rtt::Rtt;
use crate::sent::InFlight;

/// RFC 9000 §8.1: "three times the amount of data received".
const AMPLIFICATION: u64 = 3;
/// Challenges before a path is given up: a probe timeout apart, doubled each time.
const MAX_CHALLENGES: u32 = 5;
/// What an unvalidated path may carry before anything came on it: three padded challenges.
const UNASKED: u64 = 3 * BASE_DATAGRAM as u64;

/// Which path a packet went on: counts the transport's paths up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct PathKey(pub(crate) u32);

/// Challenges on the way (RFC 9000 §8.2).
#[derive(Clone, Debug, Default)]
pub(crate) struct Validation {
    /// The data of each challenge sent, all of them valid answers; at most [`MAX_CHALLENGES`].
    sent: Vec<[u8; 8]>,
    attempts: u32,
    /// Whether a challenge is to be sent.
    is_due: bool,
}

/// One path.
#[derive(Debug)]
pub(crate) struct PathState {
    pub(crate) id: PathId,
    pub(crate) key: PathKey,
    pub(crate) mtu: usize,
    pub(crate) rtt: Rtt,
    controller: Box<dyn Controller>,
    rate: DeliveryRate,
    pacer: Pacer,
    in_flight: u64,
    /// `None` once the path is validated.
    validation: Option<Validation>,
    /// Bytes that may be sent before the path is validated.
    allowance: u64,
    /// Whether the application, and not the window, is what limits sending.
    is_app_limited: bool,
    /// Counts ack-eliciting packets on this path, for its own packet threshold.
    next_sequence: u64,
    /// Sequence of the last packet of this path that was acknowledged.
    pub(crate) largest_acked: Option<u64>,
    /// When the next packet of this path becomes lost.
    pub(crate) loss_at: Option<Instant>,
}

impl PathState {
    /// A validated path that nothing is known of; every path carries the base datagram (RFC 9000 §14.2).
    pub(crate) fn new(id: PathId, key: PathKey, config: &Config, now: Instant) -> Self {
        let mtu = match id {
            // A relay puts its own head before the datagram, and the link below carries 1232 bytes for certain.
            PathId::Relay { .. } => BASE_DATAGRAM,
            PathId::Udp(_) | PathId::Stream(_) => config.max_datagram.max(BASE_DATAGRAM),
        };
        Self {
            id,
            key,
            mtu,
            rtt: Rtt::new(config.initial_rtt),
            controller: controller(config.congestion, mtu),
            rate: DeliveryRate::new(now),
            pacer: Pacer::new(mtu, now),
            in_flight: 0,
            validation: None,
            allowance: 0,
            is_app_limited: true,
            next_sequence: 0,
            largest_acked: None,
            loss_at: None,
        }
    }

    /// Starts validation: until it ends, the path carries little more than it brought, and one that was only heard of
    /// nothing more than three times that.
    pub(crate) fn challenge(&mut self, brought: Option<u64>) {
        self.allowance = brought.map_or(UNASKED, |bytes| AMPLIFICATION.saturating_mul(bytes));
        self.validation = Some(Validation {
            is_due: true,
            ..Validation::default()
        });
    }

    /// The path is known to carry, and its round trip is one that was seen.
    pub(crate) fn validate(&mut self, rtt: Duration) {
        self.validation = None;
        if self.rtt.min().is_none() {
            self.rtt.update(rtt, Duration::ZERO);
        }
    }

    pub(crate) const fn is_validated(&self) -> bool {
        self.validation.is_none()
    }

    /// Whether `data` answers a challenge of ours; the path is validated then.
    pub(crate) fn answer(&mut self, data: &[u8; 8]) -> bool {
        let is_answer = self
            .validation
            .as_ref()
            .is_some_and(|validation| validation.sent.contains(data));
        if is_answer {
            self.validation = None;
        }
        is_answer
    }

    /// Whether a challenge is to be sent.
    pub(crate) fn is_challenge_due(&self) -> bool {
        self.validation.as_ref().is_some_and(|v| v.is_due)
    }

    /// Remembers a challenge that was written.
    pub(crate) fn on_challenge_sent(&mut self, data: [u8; 8]) {
        if let Some(validation) = &mut self.validation {
            validation.is_due = false;
            validation.sent.push(data);
        }
    }

    /// No answer came in time: challenges again and gives how long to wait, or `None` if it did so often enough.
    pub(crate) fn challenge_again(&mut self, max_ack_delay: Duration) -> Option<Duration> {
        let timeout = self.rtt.probe_timeout(max_ack_delay);
        let validation = self.validation.as_mut()?;
        validation.attempts += 1;
        validation.is_due = validation.attempts < MAX_CHALLENGES;
        validation
            .is_due
            .then(|| timeout * (1 << validation.attempts))
    }

    /// A datagram arrived on this path.
    pub(crate) const fn on_received(&mut self, size: u64) {
        self.allowance = self.allowance.saturating_add(AMPLIFICATION * size);
    }

    /// Bytes that anti-amplification still allows.
    pub(crate) const fn allowance(&self) -> u64 {
        if self.is_validated() {
            u64::MAX
        } else {
            self.allowance
        }
    }

    /// A datagram left on this path that is neither tracked nor paced.
    pub(crate) const fn on_sent_untracked(&mut self, size: u64) {
        self.allowance = self.allowance.saturating_sub(size);
    }

    /// An ack-eliciting packet left; gives its sequence on this path, and what it remembers of it.
    pub(crate) fn on_sent(&mut self, now: Instant, size: u64) -> (u64, Departure) {
        self.on_sent_untracked(size);
        self.pacer.on_sent(size);
        self.controller.on_sent(now, self.in_flight);
        let departure = self.rate.on_sent(now, self.in_flight, size);
        self.in_flight += size;
        self.next_sequence += 1;
        (self.next_sequence - 1, departure)
    }

    /// Whether the window has room for another full packet.
    pub(crate) fn has_window(&self) -> bool {
        self.in_flight + self.mtu as u64 <= self.controller.window()
    }

    /// When the pacer lets the next full packet go; `None`: now.
    pub(crate) fn pacing_delay(&mut self, now: Instant) -> Option<Instant> {
        let rate = self.controller.pacing_rate(self.rtt.smoothed());
        self.pacer.delay(now, self.mtu as u64, rate)
    }

    /// The window or the pacer holds a packet back.
    pub(crate) const fn set_path_limited(&mut self) {
        self.is_app_limited = false;
    }

    /// There is nothing to send, though the window has room.
    pub(crate) fn set_app_limited(&mut self, now: Instant) {
        self.is_app_limited = true;
        // As long as the pacer would hold it back, nothing is missed.
        if self.pacing_delay(now).is_none() {
            self.rate.set_app_limited(self.in_flight);
        }
    }

    /// A packet of this path was acknowledged.
    pub(crate) fn on_acked(&mut self, now: Instant, packet: &InFlight) {
        self.rate.on_acked(now, packet, self.in_flight);
        self.in_flight -= packet.size;
        self.largest_acked = self.largest_acked.max(Some(packet.sequence));
        let packet = AckedPacket {
            sent_at: packet.sent_at,
            size: packet.size,
            is_app_limited: self.is_app_limited,
        };
        self.controller.on_acked(now, packet, self.rtt.smoothed());
    }

    /// All packets of an ACK were told, and those that it shows to be lost.
    pub(crate) fn on_ack_done(&mut self, now: Instant) {
        let min_rtt = self.rtt.min().unwrap_or_default();
        if let Some(sample) = self.rate.sample(min_rtt, self.in_flight) {
            self.controller.on_sample(now, &sample);
        }
    }

    /// A packet of this path is no longer expected to arrive.
    pub(crate) const fn on_removed(&mut self, size: u64) {
        self.in_flight -= size;
    }

    /// Packets of this path were just found lost, the oldest first.
    pub(crate) fn on_lost(&mut self, now: Instant, lost: &[InFlight]) {
        let Some(newest) = lost.last() else {
            return;
        };
        let packets = LostPackets {
            bytes: lost.iter().map(|packet| packet.size).sum(),
            newest_sent_at: newest.sent_at,
            newest_in_flight: newest.departure.in_flight(),
            latest_rtt: self.rtt.latest(),
        };
        self.in_flight -= packets.bytes;
        self.controller.on_lost(now, &packets);
    }

    pub(crate) fn on_persistent_congestion(&mut self) {
        self.controller.on_persistent_congestion();
    }

    pub(crate) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    pub(crate) fn window(&self) -> u64 {
        self.controller.window()
    }

    /// Moves what was learnt to the same machine's new port: RFC 9000 §9.4, "endpoints MAY" keep the estimates when
    /// only the port changed.
    pub(crate) fn inherit(&mut self, from: &mut Self) {
        self.rtt = from.rtt;
        // A copy: packets in flight on the old path remember its counts.
        self.rate = from.rate.clone();
        std::mem::swap(&mut self.controller, &mut from.controller);
        std::mem::swap(&mut self.pacer, &mut from.pacer);
    }
}

fn controller(congestion: Congestion, mtu: usize) -> Box<dyn Controller> {
    match congestion {
        Congestion::Bbr => Box::new(Bbr::new(mtu)),
        Congestion::Cubic => Box::new(Cubic::new(mtu)),
    }
}

/// Whether the two paths differ in nothing but ports: another interface of ours is another way.
pub(crate) fn is_port_change(from: &PathId, to: &PathId) -> bool {
    match (from, to) {
        (PathId::Udp(from), PathId::Udp(to)) => {
            from.remote.0.ip() == to.remote.0.ip() && from.local.ip() == to.local.ip()
        }
        (PathId::Relay { .. } | PathId::Stream(_), _)
        | (_, PathId::Relay { .. } | PathId::Stream(_)) => false,
    }
}
