//! Frames of a packet, each to the part that it is for.

use std::time::{Duration, Instant};

use pilot_types::{Ecn, PacketNumber, PathId};
use pilot_wire::{Frame, Frames};

use crate::ack::Arrival;
use crate::config::KeepAlive;
use crate::error::PeerError;
use crate::event::Event;
use crate::migration::Challenge;
use crate::timer::Timer;
use crate::transport::Transport;

/// With streams open and no keep-alive configured, a session pings as many times in an idle timeout.
const PINGS_PER_IDLE_TIMEOUT: u32 = 3;
/// The least pause in what comes on streams after which the path is asked for. A path that was lost is then noticed, with the
/// half second of [`Timer::Silence`] that follows, soon enough to be replaced within a second.
const LULL: Duration = Duration::from_millis(100);
/// A pause that is told: shorter ones are of a conversation, and say little of what lies between.
const REST: Duration = Duration::from_secs(5);
/// RFC 9000 §10.1: the idle period is "at least three times the current PTO".
const IDLE_TIMEOUTS: u32 = 3;

/// Facts about a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram {
    pub(crate) path: PathId,
    pub(crate) number: PacketNumber,
    pub(crate) ecn: Option<Ecn>,
    pub(crate) size: usize,
}

/// Whether a frame was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Taken {
    Yes,
    /// There is no room for it now: its packet is not acknowledged, so that it comes again.
    No,
}

impl From<bool> for Taken {
    fn from(is_taken: bool) -> Self {
        if is_taken { Self::Yes } else { Self::No }
    }
}

impl Transport {
    /// Handles a packet's frames. Frames before a malformed one take effect; so would they in a packet of their own.
    pub(crate) fn process(
        &mut self,
        now: Instant,
        datagram: Datagram,
        payload: &[u8],
    ) -> Result<(), PeerError> {
        // RFC 9000 §12.4: "An endpoint MUST treat receipt of a packet containing no frames as a connection error".
        if payload.is_empty() {
            return Err(PeerError::Empty);
        }
        let (mut is_ack_eliciting, mut is_taken, mut is_probing) = (false, true, true);
        let mut has_bytes = false;
        for frame in Frames::new(payload) {
            let frame = frame.map_err(PeerError::Frame)?;
            is_ack_eliciting |= frame.is_ack_eliciting();
            is_probing &= is_probing_frame(&frame);
            has_bytes |= matches!(frame, Frame::Stream(_));
            is_taken &= self.handle_frame(now, &datagram, &frame)? == Taken::Yes;
            if self.is_closing() {
                return Ok(());
            }
        }
        if !is_probing && self.acks.is_newest(datagram.number) {
            self.hear_on(datagram.path);
        }
        if is_taken {
            let arrival = Arrival {
                number: datagram.number,
                ecn: datagram.ecn,
                is_ack_eliciting,
            };
            self.acks.on_received(now, arrival);
            if let Some(at) = self.acks.due_at() {
                self.timers.set(Timer::Ack as usize, at);
            }
        }
        self.tell_rest(now);
        self.activity.has_sent = false;
        self.activity.is_ping_due |= self.loss.is_back();
        self.arm_idle(now);
        self.arm_lull(now, has_bytes);
        self.arm_recovery();
        Ok(())
    }

    fn handle_frame(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        frame: &Frame<'_>,
    ) -> Result<Taken, PeerError> {
        let events = &mut self.events;
        match *frame {
            Frame::Padding(_) | Frame::Ping | Frame::DataBlocked(_) => {}
            Frame::Ack(ref ack) => self.handle_ack(now, ack)?,
            Frame::Stream(ref frame) => return Ok(self.streams.on_stream(frame, events)?.into()),
            Frame::Reset {
                id,
                code,
                final_size,
            } => self.streams.on_reset(id, code, final_size, events)?,
            Frame::Stop { id, code } => self.streams.on_stop(id, code, events)?,
            Frame::MaxData(max) => self.streams.on_max_data(max),
            Frame::MaxStreamData { id, max } => {
                self.streams.on_max_stream_data(id, max, events)?;
            }
            Frame::MaxStreams(max) => self.streams.on_max_streams(max, events)?,
            Frame::StreamDataBlocked { id, .. } => {
                self.streams.on_stream_data_blocked(id, events)?;
            }
            Frame::StreamsBlocked(_) => self.streams.on_streams_blocked(),
            Frame::PathChallenge(data) => self.paths.on_challenge(Challenge {
                path: datagram.path,
                data,
                size: datagram.size,
            }),
            Frame::PathResponse(data) => self.on_path_response(now, &data),
            Frame::Close { code, reason } => self.closed_by_peer(now, code, reason),
            Frame::NewIndex { sequence, index } => {
                return Ok(self.take_event(|| Event::NewIndex { sequence, index }));
            }
            Frame::RetireIndex { sequence } => {
                return Ok(self.take_event(|| Event::RetireIndex { sequence }));
            }
            Frame::AckFrequency {
                sequence,
                threshold,
                max_delay_us,
            } => {
                let delay = Duration::from_micros(max_delay_us);
                self.acks.on_frequency(sequence, threshold, delay);
            }
            Frame::Datagram(data) => self.handle_datagram(data)?,
            Frame::Extension { kind, body } => {
                let body = || body.to_vec();
                return Ok(self.take_event(|| Event::Extension { kind, body: body() }));
            }
        }
        Ok(Taken::Yes)
    }

    /// RFC 9000 §9.3: the peer moved if its newest packet "not containing only probing frames" came on another path.
    fn hear_on(&mut self, path: PathId) {
        // Without room it is told with the next packet.
        if self.events.has_room() && self.paths.has_peer_moved(path) {
            self.events.push(Event::PeerMoved(path));
        }
    }

    fn take_event(&mut self, event: impl FnOnce() -> Event) -> Taken {
        let has_room = self.events.has_room();
        if has_room {
            self.events.push(event());
        }
        has_room.into()
    }

    fn handle_datagram(&mut self, data: &[u8]) -> Result<(), PeerError> {
        if data.len() as u64 > self.config.params.max_datagram {
            return Err(PeerError::DatagramTooLarge);
        }
        // It is unreliable: without room it is gone.
        if self.events.has_room() {
            self.events.push(Event::Datagram(data.to_vec()));
        }
        Ok(())
    }

    /// How often to ping; `None`: never.
    pub(crate) fn keep_alive(&self) -> Option<Duration> {
        let for_streams = || {
            let has_streams = !self.streams.is_empty();
            let timeout = self.peer.idle_timeout.filter(|_| has_streams)?;
            Some(timeout / PINGS_PER_IDLE_TIMEOUT)
        };
        match self.activity.keep_alive {
            Some(KeepAlive::Always(interval)) => Some(interval),
            Some(KeepAlive::WithStreams(longest)) => Some(for_streams()?.min(longest)),
            None => self.config.keep_alive.or_else(for_streams),
        }
    }

    /// How long an idle session lasts at least for the sake of its keep-alive.
    fn kept_alive(&self) -> Duration {
        match self.activity.keep_alive {
            Some(KeepAlive::Always(interval)) => interval * PINGS_PER_IDLE_TIMEOUT,
            Some(KeepAlive::WithStreams(_)) | None => Duration::ZERO,
        }
    }

    /// Nothing was said for the time of the keep-alive.
    pub(crate) fn keep_alive_due(&mut self) {
        self.streams.shrink();
        if self.keep_alive().is_none() {
            return;
        }
        self.activity.is_ping_due = true;
        if self.activity.keep_alive.is_some() {
            self.take_event(|| Event::Unheard);
        }
    }

    /// What the peer said came through although nothing was sent for a while.
    fn tell_rest(&mut self, now: Instant) {
        let spoke_at = self.activity.spoke_at;
        let rest = spoke_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        if self.activity.keep_alive.is_some() && rest >= REST {
            self.take_event(|| Event::Rested(rest));
        }
    }

    /// Who only receives sends nothing by itself, and would not notice that its own NAT forgot it: when a stream's bytes came
    /// and no more do, the peer is asked once.
    fn arm_lull(&mut self, now: Instant, has_bytes: bool) {
        if self.streams.is_empty() {
            self.timers.stop(Timer::Lull as usize);
        } else if has_bytes {
            let at = now + LULL.max(self.probe_timeout());
            self.timers.set(Timer::Lull as usize, at);
        }
    }

    /// Something was heard, or said that wants an answer: idle time starts anew.
    pub(crate) fn arm_idle(&mut self, now: Instant) {
        if let Some(timeout) = self.peer.idle_timeout {
            let timeout = timeout
                .max(self.kept_alive())
                .max(self.probe_timeout() * IDLE_TIMEOUTS);
            self.timers.set(Timer::Idle as usize, now + timeout);
        }
        self.arm_keep_alive(now);
    }

    pub(crate) fn arm_keep_alive(&mut self, now: Instant) {
        match self.keep_alive() {
            Some(interval) => self.timers.set(Timer::KeepAlive as usize, now + interval),
            None => self.timers.stop(Timer::KeepAlive as usize),
        }
    }
}

/// RFC 9000 §9.1: frames that an end sends on paths which it does not use.
const fn is_probing_frame(frame: &Frame<'_>) -> bool {
    matches!(
        frame,
        Frame::PathChallenge(_)
            | Frame::PathResponse(_)
            | Frame::Padding(_)
            | Frame::NewIndex { .. }
    )
}
