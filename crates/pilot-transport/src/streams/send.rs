//! The sending half of a stream (RFC 9000 §3.1).

use std::ops::Range;

use pilot_types::StreamId;
use pilot_wire::{ErrorCode, Frame, StreamPrefix};

use crate::error::WriteError;
use crate::send_buffer::SendBuffer;
use crate::writer::{FrameWriter, SentFrame};

/// A frame shorter than this is not begun in the rest of a packet, unless it carries all that is pending.
const MIN_PIECE: u64 = 32;

/// How far the end of the stream is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fin {
    /// The application may write.
    Open,
    /// To be sent, for the first time or again.
    Due,
    Sent,
    Acked,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Streaming,
    /// A RESET is to be sent (`is_due`) or on its way.
    Resetting {
        code: ErrorCode,
        is_due: bool,
    },
    ResetAcked,
}

/// What came of an attempt to write a STREAM frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Filled {
    /// Nothing is pending, or the stream's own limit holds it.
    Idle,
    /// A frame was written; perhaps there is more.
    Wrote { new: u64, repeated: u64 },
    /// The packet has no room for it.
    NoRoom,
    /// The session's limit holds it.
    SessionBlocked,
}

/// The sending half.
#[derive(Debug)]
pub(crate) struct SendSide {
    buffer: SendBuffer,
    /// The peer's limit.
    max: u64,
    fin: Fin,
    phase: Phase,
    stopped: Option<ErrorCode>,
    /// Whether a write found less room than it wanted.
    is_write_blocked: bool,
}

impl SendSide {
    pub(crate) fn new(max: u64) -> Self {
        Self {
            buffer: SendBuffer::default(),
            max,
            fin: Fin::Open,
            phase: Phase::Streaming,
            stopped: None,
            is_write_blocked: false,
        }
    }

    /// As [`Self::new`], in the same memory.
    pub(crate) fn renew(&mut self, max: u64) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.renew();
        *self = Self {
            buffer,
            ..Self::new(max)
        };
    }

    pub(crate) const fn buffer(&self) -> &SendBuffer {
        &self.buffer
    }

    pub(crate) const fn stopped(&self) -> Option<ErrorCode> {
        self.stopped
    }

    /// Whether nothing more will ever be sent.
    pub(crate) fn is_done(&self) -> bool {
        match self.phase {
            Phase::Streaming => self.is_finished(),
            Phase::Resetting { .. } => false,
            Phase::ResetAcked => true,
        }
    }

    /// Bytes that the peer has not acknowledged of a stream that is to end; `None` if it goes on or is over.
    pub(crate) fn unfinished(&self) -> Option<u64> {
        let is_ending =
            self.phase == Phase::Streaming && self.fin != Fin::Open && !self.is_finished();
        is_ending.then_some(self.buffer.len() as u64)
    }

    /// Whether the peer has everything, and the end.
    fn is_finished(&self) -> bool {
        self.fin == Fin::Acked && self.buffer.is_acked()
    }

    fn check_open(&self) -> Result<(), WriteError> {
        if let Some(code) = self.stopped {
            return Err(WriteError::Stopped(code));
        }
        match (self.phase, self.fin) {
            (Phase::Streaming, Fin::Open) => Ok(()),
            (Phase::Streaming, Fin::Due | Fin::Sent | Fin::Acked) => Err(WriteError::Finished),
            (Phase::Resetting { .. } | Phase::ResetAcked, _) => Err(WriteError::Reset),
        }
    }

    /// Takes as many bytes as fit into `capacity`.
    pub(crate) fn write(&mut self, data: &[u8], capacity: usize) -> Result<usize, WriteError> {
        self.check_open()?;
        let taken = data.len().min(capacity.saturating_sub(self.buffer.len()));
        self.buffer.write(&data[..taken]);
        self.is_write_blocked = taken < data.len();
        Ok(taken)
    }

    pub(crate) fn finish(&mut self) -> Result<(), WriteError> {
        self.check_open()?;
        self.fin = Fin::Due;
        self.is_write_blocked = false;
        Ok(())
    }

    /// The application gives up; `true` if a RESET is to be sent. What was finished still arrives.
    pub(crate) fn reset(&mut self, code: ErrorCode) -> bool {
        let is_open = self.phase == Phase::Streaming && self.fin == Fin::Open;
        if is_open {
            self.begin_reset(code);
        }
        is_open
    }

    /// RFC 9000 §3.5: a STOP is answered with a RESET of the same code; `true` if it ends something.
    pub(crate) fn on_stop(&mut self, code: ErrorCode) -> bool {
        let is_streaming = self.phase == Phase::Streaming && !self.is_finished();
        if is_streaming {
            self.stopped = Some(code);
            self.begin_reset(code);
        }
        is_streaming
    }

    fn begin_reset(&mut self, code: ErrorCode) {
        self.phase = Phase::Resetting { code, is_due: true };
        self.is_write_blocked = false;
        self.buffer.discard();
    }

    /// The peer's limit; `true` if it was raised.
    pub(crate) fn on_max(&mut self, max: u64) -> bool {
        let is_raised = max > self.max;
        self.max = self.max.max(max);
        is_raised
    }

    /// Writes the RESET if it is due; `false` if it did not fit.
    pub(crate) fn fill_reset(&mut self, id: StreamId, writer: &mut FrameWriter<'_>) -> bool {
        let Phase::Resetting { code, is_due: true } = self.phase else {
            return true;
        };
        let frame = Frame::Reset {
            id,
            code,
            final_size: self.buffer.next(),
        };
        let is_put = writer.put_tracked(&frame, SentFrame::Reset(id));
        if is_put {
            self.phase = Phase::Resetting {
                code,
                is_due: false,
            };
        }
        is_put
    }

    /// Writes one STREAM frame, of new bytes at most `session_room`.
    pub(crate) fn fill(
        &mut self,
        id: StreamId,
        session_room: u64,
        writer: &mut FrameWriter<'_>,
    ) -> Filled {
        if self.phase != Phase::Streaming {
            return Filled::Idle;
        }
        let next = self.buffer.next();
        let limit = self.max.min(next.saturating_add(session_room));
        let has_unsent = self.buffer.has_unsent() && next < limit;
        let is_bare_fin = self.fin == Fin::Due && !self.buffer.has_unsent();
        if !self.buffer.has_lost() && !has_unsent && !is_bare_fin {
            let is_held = self.buffer.has_unsent() && next < self.max;
            return if is_held {
                Filled::SessionBlocked
            } else {
                Filled::Idle
            };
        }
        let offset = self.buffer.next_offset();
        let Some(room) = StreamPrefix::data_room(id, offset, writer.remaining()) else {
            return Filled::NoRoom;
        };
        let pending = self.buffer.end() - offset;
        if (room as u64) < pending.min(MIN_PIECE) {
            return Filled::NoRoom;
        }
        let range = self.buffer.take(room as u64, limit).unwrap_or(next..next);
        let is_fin = self.fin != Fin::Open && range.end == self.buffer.end();
        if is_fin && self.fin == Fin::Due {
            self.fin = Fin::Sent;
        }
        let new = self.buffer.next() - next;
        let repeated = range.end - range.start - new;
        writer.put_stream(id, range, is_fin, &self.buffer);
        Filled::Wrote { new, repeated }
    }

    /// Whether another frame could be written, the session's limit apart.
    pub(crate) fn is_pending(&self) -> bool {
        let has_unsent = self.buffer.has_unsent();
        self.phase == Phase::Streaming
            && (self.buffer.has_lost()
                || (has_unsent && self.buffer.next() < self.max)
                || (!has_unsent && self.fin == Fin::Due))
    }

    /// Bytes arrived; `true` if with them the whole stream did.
    pub(crate) fn on_acked(&mut self, range: Range<u64>, is_fin: bool) -> bool {
        if self.phase != Phase::Streaming {
            return false;
        }
        let was_finished = self.is_finished();
        self.buffer.on_acked(range);
        if is_fin {
            self.fin = Fin::Acked;
        }
        self.is_finished() && !was_finished
    }

    pub(crate) fn on_lost(&mut self, range: Range<u64>, is_fin: bool) {
        if self.phase != Phase::Streaming {
            return;
        }
        self.buffer.on_lost(range);
        if is_fin && self.fin == Fin::Sent {
            self.fin = Fin::Due;
        }
    }

    pub(crate) fn on_reset_acked(&mut self) {
        self.phase = Phase::ResetAcked;
    }

    /// `true` if the RESET is to be sent again.
    pub(crate) const fn on_reset_lost(&mut self) -> bool {
        if let Phase::Resetting { code, .. } = self.phase {
            self.phase = Phase::Resetting { code, is_due: true };
            return true;
        }
        false
    }

    /// Whether a blocked writer should be told: an eighth of the buffer is free again, so that wakings are few.
    pub(crate) fn take_writable(&mut self, capacity: usize) -> bool {
        let is_writable = self.is_write_blocked
            && self.phase == Phase::Streaming
            && capacity.saturating_sub(self.buffer.len()) >= (capacity / 8).max(1);
        if is_writable {
            self.is_write_blocked = false;
        }
        is_writable
    }
}
