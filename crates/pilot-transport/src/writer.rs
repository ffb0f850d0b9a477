//! Frames on their way into the datagram under construction, and what is remembered of them.

use std::ops::Range;

use pilot_types::{StreamId, TransmitBuf};
use pilot_wire::{Frame, StreamPrefix, encode_ack, put_frame};

use crate::ack::AckTracker;
use crate::send_buffer::SendBuffer;

/// What is to be done again if the packet is lost, or is done if it is acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum SentFrame {
    Stream {
        id: StreamId,
        range: Range<u64>,
        is_fin: bool,
    },
    Reset(StreamId),
    Stop(StreamId),
    MaxStreamData(StreamId),
    MaxData,
    MaxStreams,
    StreamsBlocked,
    /// A frame of the control queue, by its number there.
    Control(u64),
}

/// Writes frames of one packet.
#[derive(Debug)]
pub(crate) struct FrameWriter<'a> {
    out: &'a mut TransmitBuf,
    scratch: &'a mut Vec<u8>,
    frames: Vec<SentFrame>,
    is_ack_eliciting: bool,
}

impl<'a> FrameWriter<'a> {
    /// Into the datagram under construction; `frames` is an empty list whose memory is used again.
    pub(crate) const fn new(
        out: &'a mut TransmitBuf,
        scratch: &'a mut Vec<u8>,
        frames: Vec<SentFrame>,
    ) -> Self {
        Self {
            out,
            scratch,
            frames,
            is_ack_eliciting: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.out.payload().is_empty()
    }

    pub(crate) const fn is_ack_eliciting(&self) -> bool {
        self.is_ack_eliciting
    }

    /// Bytes of frames that still fit.
    pub(crate) fn remaining(&self) -> usize {
        self.out.remaining()
    }

    /// Gives back the frames to remember.
    pub(crate) fn into_frames(self) -> Vec<SentFrame> {
        self.frames
    }

    /// Writes a frame that nobody repeats; `false`, with nothing written, if it does not fit.
    pub(crate) fn put(&mut self, frame: &Frame<'_>) -> bool {
        let is_put = put_frame(self.out, self.scratch, frame);
        self.is_ack_eliciting |= is_put && frame.is_ack_eliciting();
        is_put
    }

    /// Writes a frame and remembers it as `sent`; `false`, with nothing written, if it does not fit.
    pub(crate) fn put_tracked(&mut self, frame: &Frame<'_>, sent: SentFrame) -> bool {
        let is_put = self.put(frame);
        if is_put {
            self.frames.push(sent);
        }
        is_put
    }

    /// Writes a STREAM frame straight from the stream's buffer; the caller has made sure that it fits.
    pub(crate) fn put_stream(
        &mut self,
        id: StreamId,
        range: Range<u64>,
        is_fin: bool,
        buffer: &SendBuffer,
    ) {
        let prefix = StreamPrefix {
            id,
            offset: range.start,
            len: (range.end - range.start) as usize,
            is_fin,
        };
        self.scratch.clear();
        prefix.encode(self.scratch);
        self.out.put_slice(self.scratch);
        buffer.copy_to(range.clone(), self.out);
        self.frames.push(SentFrame::Stream { id, range, is_fin });
        self.is_ack_eliciting = true;
    }

    /// Writes an ACK of everything received; `false`, with nothing written, if it does not fit.
    pub(crate) fn put_ack(&mut self, acks: &AckTracker, delay_us: u64) -> bool {
        self.scratch.clear();
        encode_ack(self.scratch, acks.ranges(), delay_us, acks.ecn());
        let fits = !self.scratch.is_empty() && self.scratch.len() <= self.out.remaining();
        if fits {
            self.out.put_slice(self.scratch);
        }
        fits
    }

    /// PADDING up to a datagram of `size` bytes.
    pub(crate) fn pad_to(&mut self, size: usize) {
        self.out.pad_to(size);
    }
}
