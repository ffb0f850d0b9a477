//! Acknowledgements and losses, and what becomes of the frames.

use std::time::{Duration, Instant};

use pilot_wire::Ack;

use crate::error::PeerError;
use crate::loss::is_persistent;
use crate::path::{PathKey, PathState};
use crate::sent::InFlight;
use crate::timer::Timer;
use crate::transport::Transport;
use crate::writer::SentFrame;

/// Probe timeouts after which a peer without an answer counts as silent.
const SILENT_PROBES: u32 = 3;
/// A shorter silence is a burst of losses.
const MIN_SILENCE: Duration = Duration::from_millis(500);
/// A longer one is not waited for, however long the round trip: a handshake harms nobody.
const MAX_SILENCE: Duration = Duration::from_secs(2);

impl Transport {
    /// RFC 9002 §A.7: packets that are acknowledged, a round trip, then packets that are lost.
    pub(crate) fn handle_ack(&mut self, now: Instant, ack: &Ack<'_>) -> Result<(), PeerError> {
        let largest = ack.largest.to_u64();
        // RFC 9000 §13.1: "acknowledgment for a packet it did not send" is a connection error.
        if largest >= self.loss.next_number() {
            return Err(PeerError::UnsentAcked(largest));
        }
        let mut acked = std::mem::take(&mut self.scratch.packets);
        for range in ack.ranges() {
            let range = range.start().to_u64()..=range.end().to_u64();
            if let Some(known) = self.loss.take_acked(&range, &mut acked) {
                self.acks.on_ack_acked(known);
            }
        }
        if !acked.is_empty() {
            self.loss.on_progress();
            self.sample_rtt(now, &acked, ack);
            self.timers.stop(Timer::Silence as usize);
        }
        for packet in acked.drain(..) {
            self.packet_acked(now, packet);
        }
        self.scratch.packets = acked;
        self.detect_losses(now);
        self.paths.on_ack_done(now);
        self.streams.on_window(self.paths.current.window());
        self.arm_silence(now);
        Ok(())
    }

    /// RFC 9002 §5.1: a sample comes from an ACK whose largest packet is newly acknowledged.
    fn sample_rtt(&mut self, now: Instant, acked: &[InFlight], ack: &Ack<'_>) {
        let largest = ack.largest.to_u64();
        let Some(packet) = acked.iter().find(|packet| packet.number == largest) else {
            return;
        };
        let delay = Duration::from_micros(ack.delay_us).min(self.peer.max_ack_delay);
        if let Some(path) = self.paths.by_key(packet.path) {
            path.rtt
                .update(now.saturating_duration_since(packet.sent_at), delay);
        }
    }

    fn packet_acked(&mut self, now: Instant, packet: InFlight) {
        if let Some(path) = self.paths.by_key(packet.path) {
            path.on_acked(now, &packet);
        }
        let mut frames = packet.frames;
        for frame in frames.drain(..) {
            match frame {
                SentFrame::Stream { id, range, is_fin } => {
                    self.streams.on_acked(id, range, is_fin, &mut self.events);
                }
                SentFrame::Reset(id) => self.streams.on_reset_acked(id),
                SentFrame::Control(key) => self.control.on_acked(key),
                SentFrame::Stop(_)
                | SentFrame::MaxStreamData(_)
                | SentFrame::MaxData
                | SentFrame::MaxStreams
                | SentFrame::StreamsBlocked => {}
            }
        }
        self.loss.sent.recycle(frames);
    }

    /// Frames of a packet that will not arrive, or may not have.
    pub(crate) fn frames_lost(&mut self, mut frames: Vec<SentFrame>) {
        // Each goes before what waits: the last first, so that they keep their order.
        for frame in frames.drain(..).rev() {
            match frame {
                SentFrame::Stream { id, range, is_fin } => self.streams.on_lost(id, range, is_fin),
                SentFrame::Reset(id) => self.streams.on_reset_lost(id),
                SentFrame::Stop(id) => self.streams.on_stop_lost(id),
                SentFrame::MaxStreamData(id) => self.streams.on_max_stream_data_lost(id),
                SentFrame::MaxData => self.streams.on_max_data_lost(),
                SentFrame::MaxStreams => self.streams.on_max_streams_lost(),
                SentFrame::StreamsBlocked => self.streams.on_streams_blocked_lost(),
                SentFrame::Control(key) => self.control.on_lost(key),
            }
        }
        self.loss.sent.recycle(frames);
    }

    fn detect_losses(&mut self, now: Instant) {
        let keys = [
            Some(self.paths.current.key),
            self.paths.previous.as_ref().map(|path| path.key),
        ];
        for key in keys.into_iter().flatten() {
            self.detect_losses_on(now, key);
        }
    }

    fn detect_losses_on(&mut self, now: Instant, key: PathKey) {
        let mut lost = std::mem::take(&mut self.scratch.packets);
        let max_ack_delay = self.peer.max_ack_delay;
        if let Some(path) = self.paths.by_key(key) {
            path.loss_at = self.loss.take_lost(now, path, &mut lost);
            react_to_losses(now, path, &lost, max_ack_delay);
        }
        self.totals.packets_lost += lost.len() as u64;
        for packet in lost.drain(..) {
            self.frames_lost(packet.frames);
        }
        self.scratch.packets = lost;
    }

    /// How long the path in use may take to answer.
    pub(crate) fn probe_timeout(&self) -> Duration {
        self.paths
            .current
            .rtt
            .probe_timeout(self.peer.max_ack_delay)
    }

    /// The path whose packets the probe timer waits for, and how long: the one before, as long as only there anything
    /// is in flight. Its packets are not late by the measure of a faster path, and are no business of its probes.
    fn awaited(&self) -> (PathKey, Duration) {
        let (current, delay) = (&self.paths.current, self.peer.max_ack_delay);
        let timeout = self.probe_timeout();
        match &self.paths.previous {
            Some(before) if current.in_flight() == 0 && before.in_flight() > 0 => {
                (before.key, before.rtt.probe_timeout(delay).max(timeout))
            }
            Some(_) | None => (current.key, timeout),
        }
    }

    /// Sets the timers of RFC 9002 §6: the loss timer where packets are suspected, else the probe timer.
    pub(crate) fn arm_recovery(&mut self) {
        let before = self.paths.previous.as_ref().and_then(|path| path.loss_at);
        let loss_at = self.paths.current.loss_at.into_iter().chain(before).min();
        // RFC 9002 §6.2.1: the probe timer is not set while the loss timer is.
        let probe_at = match loss_at {
            Some(_) => None,
            None => self.loss.probe_at(self.awaited().1),
        };
        for (timer, at) in [(Timer::Loss, loss_at), (Timer::Probe, probe_at)] {
            match at {
                Some(at) => self.timers.set(timer as usize, at),
                None => self.timers.stop(timer as usize),
            }
        }
    }

    /// Begins to wait for an answer to what is in flight, if nothing waits yet.
    pub(crate) fn arm_silence(&mut self, now: Instant) {
        if self.loss.sent.is_empty() || self.timers.get(Timer::Silence as usize).is_some() {
            return;
        }
        let silence = self.probe_timeout().saturating_mul(SILENT_PROBES);
        let silence = silence.clamp(MIN_SILENCE, MAX_SILENCE);
        self.timers.set(Timer::Silence as usize, now + silence);
    }

    pub(crate) fn handle_recovery_timeout(&mut self, now: Instant) {
        if self.timers.take_if_due(Timer::Silence as usize, now) && !self.loss.sent.is_empty() {
            self.events.push_silent();
            self.arm_silence(now);
        }
        if self.timers.take_if_due(Timer::Loss as usize, now) {
            self.detect_losses(now);
            self.arm_recovery();
        }
        if self.timers.take_if_due(Timer::Probe as usize, now) {
            self.totals.probe_timeouts += 1;
            let probes = self.loss.on_probe_timeout();
            // RFC 9002 §6.2.4: a probe carries what most likely was lost; the packets themselves are not lost yet.
            let frames = self.loss.sent.oldest(self.awaited().0, probes);
            self.frames_lost(frames);
            self.arm_recovery();
        }
    }
}

fn react_to_losses(now: Instant, path: &mut PathState, lost: &[InFlight], max_ack_delay: Duration) {
    path.on_lost(now, lost);
    if is_persistent(lost, path, max_ack_delay) {
        path.on_persistent_congestion();
    }
}
