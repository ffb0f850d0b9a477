//! The receiving half of a stream (RFC 9000 §3.2).

use pilot_types::StreamId;
use pilot_wire::{ErrorCode, Frame, StreamFrame};

use crate::assembler::Assembler;
use crate::error::{PeerError, ReadError};
use crate::flow::{ReceiveWindow, Tempo};
use crate::stats::Read;
use crate::writer::{FrameWriter, SentFrame};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Receiving,
    /// The peer gave up.
    Reset {
        code: ErrorCode,
        is_read: bool,
    },
    /// Everything was read, and the end.
    Ended,
    /// The application wants no more; a STOP is to be sent if `is_due`.
    Stopped {
        code: ErrorCode,
        is_due: bool,
    },
}

/// The receiving half.
#[derive(Debug)]
pub(crate) struct RecvSide {
    assembler: Assembler,
    window: ReceiveWindow,
    is_max_due: bool,
    /// Offset after the highest byte received.
    highest: u64,
    final_size: Option<u64>,
    phase: Phase,
}

impl RecvSide {
    pub(crate) fn new(window: ReceiveWindow) -> Self {
        Self {
            assembler: Assembler::default(),
            window,
            is_max_due: false,
            highest: 0,
            final_size: None,
            phase: Phase::Receiving,
        }
    }

    /// As [`Self::new`], in the same memory.
    pub(crate) fn renew(&mut self, window: ReceiveWindow) {
        let mut assembler = std::mem::take(&mut self.assembler);
        assembler.renew();
        *self = Self {
            assembler,
            ..Self::new(window)
        };
    }

    pub(crate) const fn position(&self) -> u64 {
        self.assembler.position()
    }

    pub(crate) fn readable(&self) -> u64 {
        self.assembler.readable()
    }

    /// Whether the application needs to know nothing more, and the peer's bytes are all accounted for.
    pub(crate) const fn is_done(&self) -> bool {
        match self.phase {
            Phase::Receiving => false,
            Phase::Reset { is_read, .. } => is_read,
            Phase::Ended => true,
            Phase::Stopped { .. } => self.final_size.is_some(),
        }
    }

    /// Checks a segment's end, or the final size of a RESET, and gives by how much the highest offset grows.
    ///
    /// RFC 9000 §4.5: "the final size cannot change", and no byte lies at or beyond it.
    pub(crate) fn check(&self, end: u64, is_final: bool) -> Result<u64, PeerError> {
        let changes = match self.final_size {
            Some(final_size) => end > final_size || (is_final && end != final_size),
            None => is_final && end < self.highest,
        };
        if changes {
            return Err(PeerError::FinalSize);
        }
        if end > self.window.max() {
            return Err(PeerError::FlowControl);
        }
        Ok(end.saturating_sub(self.highest))
    }

    /// Whether a segment can be kept.
    pub(crate) fn has_room(&self, frame: &StreamFrame<'_>) -> bool {
        self.assembler
            .has_room(frame.offset, frame.data.len() as u64)
    }

    /// Takes a checked segment; gives the bytes that nobody will read.
    pub(crate) fn on_data(&mut self, frame: &StreamFrame<'_>) -> u64 {
        let end = frame.offset + frame.data.len() as u64;
        let grown = end.saturating_sub(self.highest);
        self.highest = self.highest.max(end);
        if frame.is_fin {
            self.final_size = Some(end);
            self.is_max_due = false;
        }
        match self.phase {
            Phase::Receiving => {
                self.assembler.insert(frame.offset, frame.data);
                0
            }
            Phase::Stopped { .. } => grown,
            Phase::Reset { .. } | Phase::Ended => 0,
        }
    }

    /// The peer gave up at a checked final size; gives the bytes that nobody will read, and whether it is news.
    pub(crate) fn on_reset(&mut self, code: ErrorCode, final_size: u64) -> (u64, bool) {
        let grown = final_size - self.highest;
        let was_complete = self.is_complete();
        self.highest = final_size;
        self.final_size = Some(final_size);
        self.is_max_due = false;
        match self.phase {
            // RFC 9000 §3.2: a reset after the end and all data arrived may be ignored; they are still there to read.
            Phase::Receiving if was_complete => (0, false),
            Phase::Receiving => {
                let unread = final_size - self.position();
                self.assembler.discard();
                self.phase = Phase::Reset {
                    code,
                    is_read: false,
                };
                (unread, true)
            }
            Phase::Stopped { .. } => (grown, false),
            Phase::Reset { .. } | Phase::Ended => (0, false),
        }
    }

    /// Whether the end and every byte before it are here.
    fn is_complete(&self) -> bool {
        self.final_size == Some(self.position() + self.readable())
    }

    /// All unread bytes, if the end is here and all before it, and the application has not read the end.
    pub(crate) fn take_complete(&mut self) -> Option<Vec<u8>> {
        if self.phase != Phase::Receiving || !self.is_complete() {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(self.readable()).ok()?];
        let len = self.assembler.read(&mut bytes);
        bytes.truncate(len);
        Some(bytes)
    }

    /// Whether a read would give something else than [`Read::Blocked`].
    pub(crate) fn is_readable(&self) -> bool {
        match self.phase {
            Phase::Receiving => self.readable() > 0 || self.final_size == Some(self.position()),
            Phase::Reset { is_read, .. } => !is_read,
            Phase::Ended | Phase::Stopped { .. } => false,
        }
    }

    pub(crate) fn read(&mut self, out: &mut [u8]) -> Result<Read, ReadError> {
        match &mut self.phase {
            Phase::Receiving => {}
            Phase::Reset { code, is_read } => {
                *is_read = true;
                return Err(ReadError::Reset(*code));
            }
            Phase::Ended => return Ok(Read::End),
            Phase::Stopped { .. } => return Err(ReadError::Unknown),
        }
        if self.final_size == Some(self.position()) {
            self.phase = Phase::Ended;
            return Ok(Read::End);
        }
        if self.readable() == 0 {
            return Ok(Read::Blocked);
        }
        let len = self.assembler.read(out);
        if self.window.consume(len as u64) && self.final_size.is_none() {
            self.is_max_due = true;
        }
        Ok(Read::Bytes(len))
    }

    /// The application wants no more; gives the bytes that nobody will read.
    pub(crate) fn stop(&mut self, code: ErrorCode) -> u64 {
        match &mut self.phase {
            Phase::Receiving => {}
            Phase::Reset { is_read, .. } => {
                *is_read = true;
                return 0;
            }
            Phase::Ended | Phase::Stopped { .. } => return 0,
        }
        let unread = self.highest - self.position();
        self.assembler.discard();
        self.is_max_due = false;
        // RFC 9000 §3.5: no STOP once the final size is known.
        let is_due = self.final_size.is_none();
        self.phase = Phase::Stopped { code, is_due };
        unread
    }

    /// Whether a MAX_STREAM_DATA or a STOP is to be sent.
    pub(crate) const fn is_control_due(&self) -> bool {
        self.is_max_due || matches!(self.phase, Phase::Stopped { is_due: true, .. })
    }

    /// Writes what is due; `false` if it did not fit.
    pub(crate) fn fill_control(
        &mut self,
        id: StreamId,
        tempo: Tempo,
        writer: &mut FrameWriter<'_>,
    ) -> bool {
        if let Phase::Stopped { code, is_due } = &mut self.phase
            && *is_due
        {
            let frame = Frame::Stop { id, code: *code };
            *is_due = !writer.put_tracked(&frame, SentFrame::Stop(id));
        }
        if self.is_max_due {
            let mut window = self.window;
            let max = window.advance(tempo);
            let frame = Frame::MaxStreamData { id, max };
            if writer.put_tracked(&frame, SentFrame::MaxStreamData(id)) {
                self.window = window;
                self.is_max_due = false;
            }
        }
        !self.is_control_due()
    }

    /// A STOP was lost.
    pub(crate) fn on_stop_lost(&mut self) {
        let is_unanswered = self.final_size.is_none();
        if let Phase::Stopped { is_due, .. } = &mut self.phase {
            *is_due = is_unanswered;
        }
    }

    /// A MAX_STREAM_DATA was lost: the limit of now is told.
    pub(crate) fn on_max_lost(&mut self) {
        self.is_max_due = self.phase == Phase::Receiving && self.final_size.is_none();
    }
}
