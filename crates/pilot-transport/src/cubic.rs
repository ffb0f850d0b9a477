//! CUBIC (RFC 9438) over bytes.

use std::time::{Duration, Instant};

use crate::controller::{AckedPacket, Controller, LostPackets};
use crate::pacer::pacing_rate;

/// RFC 9438 §4.6: multiplicative decrease.
const BETA: f64 = 0.7;
/// RFC 9438 §5: aggressiveness, in segments per second cubed.
const C: f64 = 0.4;
/// RFC 9438 §4.3: additive increase in the Reno-friendly region, `3 * (1 - β) / (1 + β)`.
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// Window growth as a cubic function of the time since the last congestion.
#[derive(Clone, Debug)]
pub(crate) struct Cubic {
    /// Bytes of one full packet.
    mss: u64,
    window: u64,
    /// `u64::MAX` until the first congestion.
    slow_start_threshold: u64,
    /// Packets sent before this belong to a congestion that was already answered (RFC 9002 §7.3.2).
    recovery_start: Option<Instant>,
    /// State of congestion avoidance; `None` in slow start.
    epoch: Option<Epoch>,
    /// The window before the last reduction, in segments.
    last_max: f64,
}

#[derive(Clone, Copy, Debug)]
struct Epoch {
    start: Instant,
    /// Seconds until the cubic reaches `origin`.
    k: f64,
    /// The plateau, in segments.
    origin: f64,
    /// The Reno estimate, in segments.
    reno: f64,
    /// Fractions of a byte that the window has yet to grow.
    credit: f64,
}

impl Cubic {
    pub(crate) fn new(mss: usize) -> Self {
        let mss = mss as u64;
        Self {
            mss,
            // RFC 9002 §7.2: "ten times the maximum datagram size".
            window: 10 * mss,
            slow_start_threshold: u64::MAX,
            recovery_start: None,
            epoch: None,
            last_max: 0.0,
        }
    }

    /// RFC 9002 §7.2: "two times the maximum datagram size".
    const fn minimum(&self) -> u64 {
        2 * self.mss
    }

    const fn is_in_slow_start(&self) -> bool {
        self.window < self.slow_start_threshold
    }

    fn segments(&self) -> f64 {
        self.window as f64 / self.mss as f64
    }

    fn begin_epoch(&self, now: Instant) -> Epoch {
        let window = self.segments();
        let origin = self.last_max.max(window);
        Epoch {
            start: now,
            // RFC 9438 §4.2: K = cbrt((W_max - cwnd_epoch) / C).
            k: ((origin - window) / C).cbrt(),
            origin,
            reno: window,
            credit: 0.0,
        }
    }

    fn avoid_congestion(&mut self, now: Instant, acked: u64, srtt: Duration) {
        let mut epoch = self.epoch.unwrap_or_else(|| self.begin_epoch(now));
        let window = self.segments();
        let acked = acked as f64 / self.mss as f64;
        // RFC 9438 §4.3: W_est grows by α * acked / cwnd, and as Reno does once it passed the old maximum.
        let alpha = if epoch.reno >= self.last_max {
            1.0
        } else {
            ALPHA
        };
        epoch.reno += alpha * acked / window;
        let at = |seconds: f64| C * (seconds - epoch.k).powi(3) + epoch.origin;
        let elapsed = now.saturating_duration_since(epoch.start).as_secs_f64();
        let growth = if at(elapsed) < epoch.reno {
            epoch.reno - window
        } else {
            // RFC 9438 §4.4, §4.5: (target - cwnd) / cwnd for each segment, target between cwnd and 1.5 * cwnd.
            let target = at(elapsed + srtt.as_secs_f64()).clamp(window, 1.5 * window);
            (target - window) * acked / window
        };
        epoch.credit += growth.max(0.0) * self.mss as f64;
        let whole = epoch.credit as u64;
        epoch.credit -= whole as f64;
        self.window += whole;
        self.epoch = Some(epoch);
    }
}

impl Controller for Cubic {
    fn on_acked(&mut self, now: Instant, packet: AckedPacket, srtt: Duration) {
        let is_recovering = self
            .recovery_start
            .is_some_and(|start| packet.sent_at <= start);
        // RFC 9002 §7.8: the window does not grow while it is underutilized; RFC 9438 §5.8: nor does that time count.
        if packet.is_app_limited {
            self.epoch = None;
            return;
        }
        if is_recovering {
            return;
        }
        if self.is_in_slow_start() {
            self.window += packet.size;
        } else {
            self.avoid_congestion(now, packet.size, srtt);
        }
    }

    fn on_lost(&mut self, now: Instant, lost: &LostPackets) {
        let is_answered = |start| lost.newest_sent_at <= start;
        if self.recovery_start.is_some_and(is_answered) {
            return;
        }
        self.recovery_start = Some(now);
        let window = self.segments();
        // RFC 9438 §4.7, fast convergence: give room to newer flows when the maximum sank.
        self.last_max = if window < self.last_max {
            window * (1.0 + BETA) / 2.0
        } else {
            window
        };
        self.window = ((self.window as f64 * BETA) as u64).max(self.minimum());
        self.slow_start_threshold = self.window;
        self.epoch = None;
    }

    fn on_persistent_congestion(&mut self) {
        self.window = self.minimum();
        self.epoch = None;
        self.recovery_start = None;
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn pacing_rate(&self, srtt: Duration) -> u64 {
        pacing_rate(self.window, srtt, self.is_in_slow_start())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    fn ack(cubic: &mut Cubic, now: Instant, size: u64) {
        let packet = AckedPacket {
            sent_at: now - RTT,
            size,
            is_app_limited: false,
        };
        cubic.on_acked(now, packet, RTT);
    }

    fn lose(cubic: &mut Cubic, now: Instant, sent_at: Instant) {
        let lost = LostPackets {
            bytes: 1200,
            newest_sent_at: sent_at,
            newest_in_flight: 1200,
            latest_rtt: RTT,
        };
        cubic.on_lost(now, &lost);
    }

    #[test]
    fn slow_start_doubles_the_window_in_a_round() {
        let (mut cubic, now) = (Cubic::new(1200), Instant::now() + RTT);
        let before = cubic.window();
        ack(&mut cubic, now, before);
        assert_eq!(cubic.window(), 2 * before);
    }

    #[test]
    fn one_round_of_losses_is_one_reduction() {
        let (mut cubic, start) = (Cubic::new(1200), Instant::now());
        ack(&mut cubic, start + RTT, 88_000);
        let now = start + 2 * RTT;
        lose(&mut cubic, now, start);
        lose(&mut cubic, now, start + RTT);
        assert_eq!(cubic.window(), 70_000);
        lose(&mut cubic, now + RTT, now + Duration::from_millis(1));
        assert_eq!(cubic.window(), 49_000);
    }

    #[test]
    fn after_a_reduction_it_returns_to_the_old_maximum_in_k_seconds_and_then_passes_it() {
        let (mut cubic, start) = (Cubic::new(1200), Instant::now());
        let before = 1200 * 200;
        let missing = before - cubic.window();
        ack(&mut cubic, start + RTT, missing);
        let loss = start + 2 * RTT;
        lose(&mut cubic, loss, loss - RTT);
        // RFC 9438 §4.2: K = cbrt(200 * 0.3 / 0.4) = 5.3 s.
        let at_k = loss + Duration::from_millis(5_313);
        let (mut now, mut at_plateau) = (loss + 2 * RTT, 0);
        while now < at_k + Duration::from_secs(5) {
            let window = cubic.window();
            ack(&mut cubic, now, window);
            now += RTT;
            if now <= at_k {
                at_plateau = cubic.window();
            }
        }
        assert!(
            at_plateau.abs_diff(before) < before / 20,
            "{at_plateau} at K"
        );
        assert!(cubic.window() > before + before / 10);
    }

    #[test]
    fn an_idle_sender_does_not_grow_its_window() {
        let (mut cubic, now) = (Cubic::new(1200), Instant::now() + RTT);
        let before = cubic.window();
        let packet = AckedPacket {
            sent_at: now - RTT,
            size: 1200,
            is_app_limited: true,
        };
        cubic.on_acked(now, packet, RTT);
        assert_eq!(cubic.window(), before);
    }

    /// Time in which nothing tried the window says nothing of what the path carries.
    #[test]
    fn a_pause_does_not_open_the_window() {
        let (mut cubic, start) = (Cubic::new(1200), Instant::now() + RTT);
        ack(&mut cubic, start, 240_000);
        lose(&mut cubic, start + RTT, start);
        let mut now = start + 3 * RTT;
        ack(&mut cubic, now, 1200);
        let before = cubic.window();
        now += Duration::from_secs(30);
        let packet = AckedPacket {
            sent_at: now - RTT,
            size: 1200,
            is_app_limited: true,
        };
        cubic.on_acked(now, packet, RTT);
        ack(&mut cubic, now + RTT, 1200);
        assert!(cubic.window() - before < 1200, "{}", cubic.window());
    }

    #[test]
    fn the_window_never_falls_below_two_packets() {
        let (mut cubic, mut now) = (Cubic::new(1200), Instant::now());
        for _ in 0..50 {
            lose(&mut cubic, now, now);
            now += RTT;
        }
        assert_eq!(cubic.window(), 2400);
        cubic.on_persistent_congestion();
        assert_eq!(cubic.window(), 2400);
    }
}
