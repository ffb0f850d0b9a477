//! What leaves: a list of `fill` calls in order of priority.

use std::time::Instant;

use pilot_types::{PacketNumber, PathId, TransmitBuf};
use pilot_wire::Frame;
use pilot_wire::limits::BASE_DATAGRAM;
use rand_core::Rng;

use crate::close::State;
use crate::flow::Tempo;
use crate::sent::InFlight;
use crate::stats::SentPacket;
use crate::timer::Timer;
use crate::transport::Transport;
use crate::writer::{FrameWriter, SentFrame};

/// RFC 9000 §13.2.4: who only sends ACKs adds a PING now and then, to learn which ranges the peer knows.
const ACK_ONLY_BEFORE_PING: u32 = 32;
/// Fewer bytes of an unvalidated path's allowance hold no frame worth sending.
const MIN_ALLOWANCE: u64 = 64;

/// What may leave now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gate {
    /// Everything.
    Open,
    /// RFC 9002 §7: packets with nothing but an ACK are not congestion controlled.
    AcksOnly,
    /// Nothing: the path is not validated, and carried its allowance.
    Shut,
}

impl Transport {
    /// Writes at most one packet's frames into a datagram of `out` and leaves it under construction: the caller seals
    /// and finishes it. `None`: nothing to send now, and nothing is begun.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut TransmitBuf) -> Option<SentPacket> {
        match self.state {
            State::Open => self
                .transmit_response(out)
                .or_else(|| self.transmit_probe(now, out))
                .or_else(|| self.transmit_guess(now, out))
                .or_else(|| self.transmit_packet(now, out)),
            State::Closing(_) => self.transmit_close(out),
            State::Draining | State::Drained => None,
        }
    }

    fn transmit_packet(&mut self, now: Instant, out: &mut TransmitBuf) -> Option<SentPacket> {
        let is_ack_due = self.acks.due_at().is_some_and(|at| at <= now);
        let gate = self.gate(now);
        let is_shut = gate == Gate::Shut || (gate == Gate::AcksOnly && !is_ack_due);
        if is_shut || !begin(out, self.paths.current.id, self.datagram_limit()) {
            return None;
        }
        let mut bytes = std::mem::take(&mut self.scratch.bytes);
        let mut writer = FrameWriter::new(out, &mut bytes, self.loss.sent.spare_frames());
        let has_ack = self.fill(now, gate, is_ack_due, &mut writer);
        let (is_empty, is_ack_eliciting) = (writer.is_empty(), writer.is_ack_eliciting());
        let frames = writer.into_frames();
        self.scratch.bytes = bytes;
        if is_empty {
            out.abandon();
            self.loss.sent.recycle(frames);
            return None;
        }
        let acked_up_to = if has_ack { self.ack_sent() } else { None };
        if is_ack_eliciting {
            self.track(now, out, frames, acked_up_to);
        } else {
            self.track_ack_only(out, frames, acked_up_to);
        }
        self.activity.spoke_at = Some(now);
        Some(self.committed(self.paths.current.id, out))
    }

    /// What may leave on the path in use.
    fn gate(&mut self, now: Instant) -> Gate {
        let is_probing = self.loss.has_probe_due()
            || self.activity.is_ping_due
            || self.paths.current.is_challenge_due();
        let is_pending = self.is_pending();
        let path = &mut self.paths.current;
        if path.allowance() < MIN_ALLOWANCE {
            return Gate::Shut;
        }
        if is_probing {
            return Gate::Open;
        }
        if !path.has_window() {
            path.set_path_limited();
            return Gate::AcksOnly;
        }
        if !is_pending {
            path.set_app_limited(now);
            return Gate::AcksOnly;
        }
        if let Some(at) = path.pacing_delay(now) {
            path.set_path_limited();
            self.timers.set(Timer::Pacing as usize, at);
            return Gate::AcksOnly;
        }
        Gate::Open
    }

    /// Whether there is more to send than ACKs, as far as windows and paths let it go.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.streams.is_pending()
            || self.control.is_pending()
            || self.datagrams.is_pending()
            || self.activity.is_ping_due
            || self.activity.ack_only >= ACK_ONLY_BEFORE_PING
            || self.paths.has_response_due()
    }

    fn datagram_limit(&self) -> usize {
        let path = &self.paths.current;
        usize::try_from(path.allowance()).map_or(path.mtu, |allowance| path.mtu.min(allowance))
    }

    /// Everything that wants into a packet, most urgent first; gives whether an ACK is in it.
    fn fill(
        &mut self,
        now: Instant,
        gate: Gate,
        is_ack_due: bool,
        writer: &mut FrameWriter<'_>,
    ) -> bool {
        let delay_us = self.acks.delay_us(now);
        let srtt = self.paths.current.rtt.smoothed();
        let tempo = Tempo { now, srtt };
        let mut has_ack = is_ack_due && writer.put_ack(&self.acks, delay_us);
        if gate == Gate::Open {
            self.fill_challenge(writer);
            self.fill_responses(writer);
            self.streams.fill_control(tempo, writer);
            self.streams.fill_limits(tempo, writer);
            self.control.fill(writer);
            self.datagrams.fill(writer);
            self.streams.fill_data(writer);
            self.fill_ping(writer);
        }
        if !has_ack && writer.is_ack_eliciting() && self.acks.has_unacked() {
            has_ack = writer.put_ack(&self.acks, delay_us);
        }
        has_ack
    }

    fn fill_challenge(&mut self, writer: &mut FrameWriter<'_>) {
        if !self.paths.current.is_challenge_due() {
            return;
        }
        let mut data = [0; 8];
        self.rng.fill_bytes(&mut data);
        if writer.put(&Frame::PathChallenge(data)) {
            self.paths.current.on_challenge_sent(data);
            // RFC 9000 §8.2.1: "MUST expand datagrams that contain a PATH_CHALLENGE frame".
            writer.pad_to(BASE_DATAGRAM);
        }
    }

    fn fill_responses(&mut self, writer: &mut FrameWriter<'_>) {
        while let Some(challenge) = self.paths.take_challenge(true) {
            if !writer.put(&Frame::PathResponse(challenge.data)) {
                self.paths.challenges.push_front(challenge);
                return;
            }
        }
    }

    /// A PING where one is asked for and nothing else elicits an ACK.
    fn fill_ping(&mut self, writer: &mut FrameWriter<'_>) {
        let is_due = self.activity.is_ping_due
            || self.activity.ack_only >= ACK_ONLY_BEFORE_PING
            || self.loss.has_probe_due();
        if is_due && !writer.is_ack_eliciting() {
            writer.put(&Frame::Ping);
        }
        if writer.is_ack_eliciting() {
            self.activity.is_ping_due = false;
        }
    }

    fn ack_sent(&mut self) -> Option<u64> {
        self.timers.stop(Timer::Ack as usize);
        self.acks.on_ack_sent()
    }

    fn track(
        &mut self,
        now: Instant,
        out: &TransmitBuf,
        frames: Vec<SentFrame>,
        acked_up_to: Option<u64>,
    ) {
        let size = datagram_size(out);
        let path = &mut self.paths.current;
        let (sequence, departure) = path.on_sent(now, size);
        self.loss.on_sent(InFlight {
            number: self.loss.next_number(),
            sent_at: now,
            path: path.key,
            sequence,
            size,
            frames,
            acked_up_to,
            departure,
        });
        self.activity.ack_only = 0;
        // RFC 9000 §10.1: the timer restarts with the first ack-eliciting packet since one was received.
        if !self.activity.has_sent {
            self.activity.has_sent = true;
            self.arm_idle(now);
        }
        self.arm_recovery();
        self.arm_silence(now);
    }

    fn track_ack_only(
        &mut self,
        out: &TransmitBuf,
        frames: Vec<SentFrame>,
        acked_up_to: Option<u64>,
    ) {
        self.paths.current.on_sent_untracked(datagram_size(out));
        if let Some(up_to) = acked_up_to {
            let number = self.loss.next_number();
            self.loss.sent.push_ack_only(number, up_to);
        }
        self.activity.ack_only += 1;
        self.loss.sent.recycle(frames);
    }

    /// Counts a packet and binds it to its path.
    fn committed(&mut self, path: PathId, out: &mut TransmitBuf) -> SentPacket {
        let number = PacketNumber::new(self.loss.next_number());
        self.loss.advance_number();
        self.totals.packets_sent += 1;
        self.totals.bytes_sent += datagram_size(out);
        out.bind_path(path);
        SentPacket {
            number,
            path,
            ecn: None,
        }
    }

    /// A response to a challenge on a path that we do not use: by itself, and no larger than the challenge.
    fn transmit_response(&mut self, out: &mut TransmitBuf) -> Option<SentPacket> {
        let challenge = self.paths.take_challenge(false)?;
        let size = challenge.size.min(BASE_DATAGRAM);
        let mut bytes = std::mem::take(&mut self.scratch.bytes);
        let is_begun = begin(out, challenge.path, size);
        let is_put = is_begun && {
            let mut writer = FrameWriter::new(out, &mut bytes, vec![]);
            let is_put = writer.put(&Frame::PathResponse(challenge.data));
            writer.pad_to(size);
            is_put
        };
        self.scratch.bytes = bytes;
        if is_put {
            let size = datagram_size(out);
            self.paths.probes.on_sent_beside(&challenge.path, size);
            return Some(self.committed(challenge.path, out));
        }
        if is_begun {
            // A datagram that brought a challenge has room for the response: this batch is cut smaller.
            out.abandon();
        }
        self.paths.challenges.push_front(challenge);
        None
    }

    /// A challenge on a path that we do not use: by itself, and held back by nothing that belongs to the path in use.
    fn transmit_probe(&mut self, now: Instant, out: &mut TransmitBuf) -> Option<SentPacket> {
        let (path, size) = self.paths.probes.due(now)?;
        let size = usize::try_from(size).map_or(BASE_DATAGRAM, |size| size.min(BASE_DATAGRAM));
        if !begin(out, path, size) {
            return None;
        }
        let mut data = [0; 8];
        self.rng.fill_bytes(&mut data);
        let mut writer = FrameWriter::new(out, &mut self.scratch.bytes, vec![]);
        let is_put = writer.put(&Frame::PathChallenge(data));
        writer.pad_to(size);
        if !is_put || datagram_size(out) < size as u64 {
            // The batch's datagrams are smaller: it goes with the next one.
            out.abandon();
            return None;
        }
        self.paths.probes.on_sent(now, &path, data, size as u64);
        Some(self.committed(path, out))
    }

    /// A challenge on a path that was guessed: alone in a small datagram, because most are for nobody.
    fn transmit_guess(&mut self, now: Instant, out: &mut TransmitBuf) -> Option<SentPacket> {
        let path = self.paths.guesses.due()?;
        if !begin(out, path, BASE_DATAGRAM) {
            return None;
        }
        let mut data = [0; 8];
        self.rng.fill_bytes(&mut data);
        let mut writer = FrameWriter::new(out, &mut self.scratch.bytes, vec![]);
        writer.put(&Frame::PathChallenge(data));
        self.paths.guesses.on_sent(now, data);
        Some(self.committed(path, out))
    }

    fn transmit_close(&mut self, out: &mut TransmitBuf) -> Option<SentPacket> {
        let (path, limit) = (self.paths.current.id, self.datagram_limit());
        let State::Closing(closing) = &mut self.state else {
            return None;
        };
        if !closing.is_due || !begin(out, path, limit) {
            return None;
        }
        let frame = Frame::Close {
            code: closing.code,
            reason: closing.reason.as_bytes(),
        };
        let mut writer = FrameWriter::new(out, &mut self.scratch.bytes, vec![]);
        if !writer.put(&frame) {
            out.abandon();
            return None;
        }
        closing.is_due = false;
        self.paths.current.on_sent_untracked(datagram_size(out));
        Some(self.committed(path, out))
    }
}

/// Begins a datagram, unless the batch belongs to another path or is full.
fn begin(out: &mut TransmitBuf, path: PathId, limit: usize) -> bool {
    out.path().is_none_or(|bound| bound == path) && out.begin(limit)
}

/// Bytes of the datagram under construction once it is sealed.
fn datagram_size(out: &TransmitBuf) -> u64 {
    let overhead = out.overhead();
    (overhead.head + out.payload().len() + overhead.tail) as u64
}
