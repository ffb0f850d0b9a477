//! How fast a path delivers (draft-cheng-iccrg-delivery-rate-estimation-02; draft-ietf-ccwg-bbr-05 §4.1).

use std::time::{Duration, Instant};

use crate::sent::InFlight;

/// What a packet remembers of its path's deliveries when it left. Times are nanoseconds since the path was made, so
/// that the record of a packet stays small.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Departure {
    /// Bytes delivered by then.
    delivered: u64,
    /// When the last of them was known to be.
    delivered_at: u64,
    /// When the packet left that was the newest one acknowledged by then.
    first_sent_at: u64,
    /// Bytes in flight, the packet included.
    in_flight: u32,
    is_app_limited: bool,
}

impl Departure {
    /// Bytes in flight when the packet had left, itself included.
    pub(crate) const fn in_flight(&self) -> u64 {
        self.in_flight as u64
    }
}

/// What one ACK says of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateSample {
    /// Bytes delivered on the path in all.
    pub(crate) total: u64,
    /// The same when the newest acknowledged packet left: a round trip before.
    pub(crate) total_before: u64,
    /// Bytes that this ACK acknowledged.
    pub(crate) acked: u64,
    /// Bytes per second over that round trip; `None` where the interval is too short to tell.
    pub(crate) rate: Option<u64>,
    /// Whether the sender had too little to send in it, so that the rate says little of the path.
    pub(crate) is_app_limited: bool,
    /// Round trip of the newest acknowledged packet.
    pub(crate) rtt: Duration,
    /// Bytes in flight when the newest acknowledged packet had left.
    pub(crate) sent_in_flight: u64,
    /// Bytes in flight before this ACK.
    pub(crate) in_flight_before: u64,
    /// Bytes in flight after this ACK and its losses.
    pub(crate) in_flight: u64,
}

/// Deliveries of one path.
#[derive(Clone, Debug)]
pub(crate) struct DeliveryRate {
    origin: Instant,
    delivered: u64,
    delivered_at: u64,
    first_sent_at: u64,
    /// Samples are limited by the application until as many bytes are delivered.
    app_limited_until: Option<u64>,
    /// The ACK that is being dealt with.
    current: Option<Newest>,
}

/// The newest packet of an ACK.
#[derive(Clone, Copy, Debug)]
struct Newest {
    sequence: u64,
    sent_at: u64,
    departure: Departure,
    /// Bytes that the ACK acknowledged until now.
    acked: u64,
    /// Bytes in flight before it.
    in_flight: u64,
}

impl DeliveryRate {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            origin: now,
            delivered: 0,
            delivered_at: 0,
            first_sent_at: 0,
            app_limited_until: None,
            current: None,
        }
    }

    fn nanos(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    /// A packet of `size` bytes leaves, `in_flight` bytes are on the path before it.
    pub(crate) fn on_sent(&mut self, now: Instant, in_flight: u64, size: u64) -> Departure {
        // After a pause the time without anything in flight is no time of delivery.
        if in_flight == 0 {
            let now = self.nanos(now);
            self.first_sent_at = now;
            self.delivered_at = now;
        }
        Departure {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            in_flight: u32::try_from(in_flight + size).unwrap_or(u32::MAX),
            is_app_limited: self.app_limited_until.is_some(),
        }
    }

    /// A packet was acknowledged, and perhaps more by the same ACK; `in_flight` are the bytes on the path before it.
    pub(crate) fn on_acked(&mut self, now: Instant, packet: &InFlight, in_flight: u64) {
        self.delivered += packet.size;
        self.delivered_at = self.nanos(now);
        let before = self.current.unwrap_or(Newest {
            sequence: packet.sequence,
            sent_at: self.nanos(packet.sent_at),
            departure: packet.departure,
            acked: 0,
            in_flight,
        });
        let newest = if packet.sequence > before.sequence {
            Newest {
                sequence: packet.sequence,
                sent_at: self.nanos(packet.sent_at),
                departure: packet.departure,
                ..before
            }
        } else {
            before
        };
        self.current = Some(Newest {
            acked: before.acked + packet.size,
            ..newest
        });
    }

    /// Everything that an ACK acknowledged was told, and its losses are removed from the bytes `in_flight`: what it
    /// says. `None` if it acknowledged nothing on this path.
    pub(crate) fn sample(&mut self, min_rtt: Duration, in_flight: u64) -> Option<RateSample> {
        let newest = self.current.take()?;
        if self
            .app_limited_until
            .is_some_and(|until| self.delivered > until)
        {
            self.app_limited_until = None;
        }
        let departure = newest.departure;
        let send_elapsed = newest.sent_at.saturating_sub(departure.first_sent_at);
        let ack_elapsed = self.delivered_at.saturating_sub(departure.delivered_at);
        self.first_sent_at = newest.sent_at;
        // The slower of both: neither a burst that left at once nor ACKs that came at once are faster than the path.
        let interval = send_elapsed.max(ack_elapsed);
        let bytes = self.delivered - departure.delivered;
        // "No reliable sample" over less than the path's round trip.
        let is_reliable = interval > 0 && u128::from(interval) >= min_rtt.as_nanos();
        let rate = u128::from(bytes) * 1_000_000_000 / u128::from(interval.max(1));
        Some(RateSample {
            total: self.delivered,
            total_before: departure.delivered,
            acked: newest.acked,
            rate: is_reliable.then(|| u64::try_from(rate).unwrap_or(u64::MAX)),
            is_app_limited: departure.is_app_limited,
            rtt: Duration::from_nanos(self.delivered_at.saturating_sub(newest.sent_at)),
            sent_in_flight: departure.in_flight(),
            in_flight_before: newest.in_flight,
            in_flight,
        })
    }

    /// The application has nothing to send although the path would carry more.
    pub(crate) fn set_app_limited(&mut self, in_flight: u64) {
        self.app_limited_until = Some(self.delivered + in_flight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::PathKey;

    const MS: Duration = Duration::from_millis(1);
    const RTT: Duration = Duration::from_millis(10);

    fn packet(sequence: u64, sent_at: Instant, departure: Departure) -> InFlight {
        InFlight {
            number: sequence,
            sent_at,
            path: PathKey(0),
            sequence,
            size: 1000,
            frames: vec![],
            acked_up_to: None,
            departure,
        }
    }

    /// Packets of 1000 bytes that leave at `sent` and are acknowledged at `acked`, in milliseconds; the last sample.
    fn run(rate: &mut DeliveryRate, start: Instant, packets: &[(u32, u32)]) -> RateSample {
        let (mut flying, mut last) = (vec![], None);
        let end = packets.iter().map(|(_, acked)| *acked).max().unwrap();
        for tick in 0..=end {
            let now = start + MS * tick;
            for (sequence, (sent, _)) in packets.iter().enumerate() {
                if *sent == tick {
                    let departure = rate.on_sent(now, 1000 * flying.len() as u64, 1000);
                    flying.push((sequence, departure));
                }
            }
            flying.retain(|(sequence, departure)| {
                let (sent, acked) = packets[*sequence];
                let is_acked = acked == tick;
                if is_acked {
                    let packet = packet(*sequence as u64, start + MS * sent, *departure);
                    rate.on_acked(now, &packet, 0);
                }
                !is_acked
            });
            last = rate.sample(RTT, 0).or(last);
        }
        last.unwrap()
    }

    #[test]
    fn a_steady_flow_is_measured_at_its_rate() {
        let start = Instant::now();
        let packets: Vec<(u32, u32)> = (0..100).map(|i| (i, i + 10)).collect();
        let sample = run(&mut DeliveryRate::new(start), start, &packets);
        assert_eq!(sample.rate, Some(1_000_000));
        assert_eq!(sample.rtt, RTT);
        assert!(!sample.is_app_limited);
    }

    #[test]
    fn acks_that_come_in_one_burst_show_no_rate_above_that_of_sending() {
        let start = Instant::now();
        let packets: Vec<(u32, u32)> = (0..40).map(|i| (i, (i / 20 + 1) * 20 + 10)).collect();
        let sample = run(&mut DeliveryRate::new(start), start, &packets);
        assert!(sample.rate.unwrap() <= 1_100_000, "{sample:?}");
    }

    #[test]
    fn a_burst_that_left_at_once_shows_the_rate_of_its_acks() {
        let start = Instant::now();
        let packets: Vec<(u32, u32)> = (0..20).map(|i| (0, 10 + i * 2)).collect();
        let sample = run(&mut DeliveryRate::new(start), start, &packets);
        let rate = sample.rate.unwrap();
        assert!((400_000..=500_000).contains(&rate), "{rate}");
    }

    #[test]
    fn a_pause_is_no_time_of_delivery() {
        let start = Instant::now();
        let mut rate = DeliveryRate::new(start);
        let packets: Vec<(u32, u32)> = (0..20).map(|i| (i, i + 10)).collect();
        run(&mut rate, start, &packets);
        let later = start + Duration::from_secs(60);
        let departure = rate.on_sent(later, 0, 1000);
        rate.on_acked(later + RTT, &packet(20, later, departure), 1000);
        let sample = rate.sample(RTT, 0).unwrap();
        assert_eq!(sample.rate, Some(100_000));
    }

    #[test]
    fn samples_are_app_limited_until_what_was_in_flight_is_delivered() {
        let start = Instant::now();
        let mut rate = DeliveryRate::new(start);
        rate.set_app_limited(2_000);
        let packets: Vec<(u32, u32)> = (0..3).map(|i| (i, i + 10)).collect();
        assert!(run(&mut rate, start, &packets).is_app_limited);
        let now = start + RTT * 2;
        let departure = rate.on_sent(now, 0, 1000);
        rate.on_acked(now + RTT, &packet(3, now, departure), 1000);
        assert!(!rate.sample(RTT, 0).unwrap().is_app_limited);
    }

    #[test]
    fn an_interval_shorter_than_a_round_trip_gives_no_rate() {
        let start = Instant::now();
        let mut rate = DeliveryRate::new(start);
        let departure = rate.on_sent(start, 0, 1000);
        rate.on_acked(start + MS, &packet(0, start, departure), 1000);
        assert_eq!(rate.sample(RTT, 0).unwrap().rate, None);
    }
}
