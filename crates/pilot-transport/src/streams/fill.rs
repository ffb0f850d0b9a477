//! What streams put into a packet.

use pilot_wire::Frame;

use super::send::Filled;
use super::{Streams, Turn};
use crate::flow::Tempo;
use crate::writer::{FrameWriter, SentFrame};

impl Streams {
    /// Whether a call of the `fill` methods may write something.
    pub(crate) fn is_pending(&self) -> bool {
        !self.schedule.data.is_empty()
            || !self.schedule.control.is_empty()
            || self.flow.is_max_due
            || self.ids.is_max_due
            || self.ids.is_blocked_due
    }

    /// Limits of the session: MAX_DATA, MAX_STREAMS, STREAMS_BLOCKED.
    pub(crate) fn fill_limits(&mut self, tempo: Tempo, writer: &mut FrameWriter<'_>) {
        if self.flow.is_max_due {
            let max = self.flow.advance(tempo);
            self.flow.is_max_due = !writer.put_tracked(&Frame::MaxData(max), SentFrame::MaxData);
        }
        if self.ids.is_max_due {
            let max = self.ids.advance();
            self.ids.is_max_due =
                !writer.put_tracked(&Frame::MaxStreams(max), SentFrame::MaxStreams);
        }
        if self.ids.is_blocked_due {
            let frame = Frame::StreamsBlocked(self.ids.local_max());
            self.ids.is_blocked_due = !writer.put_tracked(&frame, SentFrame::StreamsBlocked);
        }
    }

    /// RESET, STOP and MAX_STREAM_DATA of single streams.
    pub(crate) fn fill_control(&mut self, tempo: Tempo, writer: &mut FrameWriter<'_>) {
        while let Some(&id) = self.schedule.control.front() {
            if let Some(stream) = self.open.get_mut(&id) {
                let is_written = stream.send.fill_reset(id, writer)
                    && stream.recv.fill_control(id, tempo, writer);
                if !is_written {
                    return;
                }
                stream.is_control_queued = false;
            }
            self.schedule.control.pop_front();
        }
    }

    /// Bytes of streams: one frame each in turn, until the packet is full or nothing is pending.
    pub(crate) fn fill_data(&mut self, writer: &mut FrameWriter<'_>) {
        while let Some(id) = self.schedule.data.pop_front() {
            let Some(stream) = self.open.get_mut(&id) else {
                continue;
            };
            stream.turn = Turn::Idle;
            match stream.send.fill(id, self.flow.room(), writer) {
                Filled::Idle => {}
                Filled::Wrote { new, repeated } => {
                    self.flow.on_sent(new);
                    self.retransmitted += repeated;
                    stream.queue_data(id, &mut self.schedule);
                }
                Filled::NoRoom => {
                    stream.turn = Turn::Queued;
                    self.schedule.data.push_front(id);
                    return;
                }
                Filled::SessionBlocked => {
                    stream.turn = Turn::Blocked;
                    self.schedule.blocked.insert(id);
                }
            }
        }
    }
}
