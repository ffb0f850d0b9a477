//! Frames inside a data packet (`docs/wire.md` §4).

use pilot_types::{StreamId, TransmitBuf};

use crate::ack::Ack;
use crate::cursor::{DecodeError, Reader};
use crate::error_code::ErrorCode;
use crate::limits::MAX_CLOSE_REASON;
use crate::varint::{put_varint, varint_len};

pub(crate) mod kind {
    pub(crate) const PADDING: u64 = 0x00;
    pub(crate) const PING: u64 = 0x01;
    pub(crate) const ACK: u64 = 0x02;
    pub(crate) const ACK_ECN: u64 = 0x03;
    pub(crate) const RESET: u64 = 0x04;
    pub(crate) const STOP: u64 = 0x05;
    pub(crate) const STREAM: u64 = 0x08;
    pub(crate) const STREAM_LAST: u64 = 0x0F;
    pub(crate) const MAX_DATA: u64 = 0x10;
    pub(crate) const MAX_STREAM_DATA: u64 = 0x11;
    pub(crate) const MAX_STREAMS: u64 = 0x12;
    pub(crate) const DATA_BLOCKED: u64 = 0x14;
    pub(crate) const STREAM_DATA_BLOCKED: u64 = 0x15;
    pub(crate) const STREAMS_BLOCKED: u64 = 0x16;
    pub(crate) const PATH_CHALLENGE: u64 = 0x1A;
    pub(crate) const PATH_RESPONSE: u64 = 0x1B;
    pub(crate) const CLOSE: u64 = 0x1C;
    pub(crate) const NEW_INDEX: u64 = 0x20;
    pub(crate) const RETIRE_INDEX: u64 = 0x21;
    pub(crate) const ACK_FREQUENCY: u64 = 0x22;
    pub(crate) const DATAGRAM: u64 = 0x30;
    pub(crate) const DATAGRAM_LEN: u64 = 0x31;
    /// Types from here carry a length, so that an unknown one can be skipped.
    pub(crate) const FIRST_EXTENSION: u64 = 0x40;
    pub(crate) const EXCHANGE: u64 = 0x40;
    pub(crate) const IDENTITY: u64 = 0x41;
    pub(crate) const OBSERVED_ADDRESS: u64 = 0x42;
    pub(crate) const CANDIDATES: u64 = 0x43;
}

const STREAM_FIN: u64 = 0x01;
const STREAM_LEN: u64 = 0x02;
const STREAM_OFFSET: u64 = 0x04;

/// A decoded frame; payloads are borrowed from the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// A run of zero bytes, of this length.
    Padding(usize),
    /// Asks for an acknowledgement.
    Ping,
    /// Packets received.
    Ack(Ack<'a>),
    /// Bytes of a stream.
    Stream(StreamFrame<'a>),
    /// The sender gives the stream up.
    Reset {
        /// The stream.
        id: StreamId,
        /// Why.
        code: ErrorCode,
        /// Bytes that count for flow control.
        final_size: u64,
    },
    /// The receiver wants no more of the stream.
    Stop {
        /// The stream.
        id: StreamId,
        /// Why.
        code: ErrorCode,
    },
    /// Bytes that may be sent on all streams together.
    MaxData(u64),
    /// Bytes that may be sent on one stream.
    MaxStreamData {
        /// The stream.
        id: StreamId,
        /// Offset up to which it may be sent.
        max: u64,
    },
    /// Streams that the receiver of this frame may open in all.
    MaxStreams(u64),
    /// The sender would send more than `MaxData` (its current limit).
    DataBlocked(u64),
    /// The sender would send more on one stream.
    StreamDataBlocked {
        /// The stream.
        id: StreamId,
        /// The limit that stops it.
        max: u64,
    },
    /// The sender would open more streams than this limit.
    StreamsBlocked(u64),
    /// To be echoed on the same path.
    PathChallenge([u8; 8]),
    /// The echo.
    PathResponse([u8; 8]),
    /// The session ends.
    Close {
        /// Why.
        code: ErrorCode,
        /// For people, at most [`MAX_CLOSE_REASON`] bytes.
        reason: &'a [u8],
    },
    /// A spare receiver index.
    NewIndex {
        /// Counts up from 0 in each epoch.
        sequence: u64,
        /// The index.
        index: u32,
    },
    /// An index that will not be used again.
    RetireIndex {
        /// Its sequence.
        sequence: u64,
    },
    /// How often the receiver of this frame should acknowledge.
    AckFrequency {
        /// Counts up; older ones are ignored.
        sequence: u64,
        /// Ack-eliciting packets before an ACK.
        threshold: u64,
        /// Longest delay in microseconds.
        max_delay_us: u64,
    },
    /// An unreliable datagram.
    Datagram(&'a [u8]),
    /// A frame with a length that belongs to a layer above the transport, or that this version does not know.
    Extension {
        /// Its type, from 0x40.
        kind: u64,
        /// Its body.
        body: &'a [u8],
    },
}

/// Bytes of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamFrame<'a> {
    /// The stream.
    pub id: StreamId,
    /// Where `data` begins in it.
    pub offset: u64,
    /// Whether the stream ends after `data`.
    pub is_fin: bool,
    /// The bytes.
    pub data: &'a [u8],
}

impl Frame<'_> {
    /// In-session key exchange (reserved for a post-quantum exchange).
    pub const EXCHANGE: u64 = kind::EXCHANGE;
    /// Identity log entries.
    pub const IDENTITY: u64 = kind::IDENTITY;
    /// The address that the sender sees the receiver at.
    pub const OBSERVED_ADDRESS: u64 = kind::OBSERVED_ADDRESS;
    /// Addresses at which the sender may be reached.
    pub const CANDIDATES: u64 = kind::CANDIDATES;

    /// Whether the receiver must acknowledge a packet with this frame (RFC 9002 §2).
    #[must_use]
    pub const fn is_ack_eliciting(&self) -> bool {
        !matches!(self, Self::Padding(_) | Self::Ack(_) | Self::Close { .. })
    }

    /// Appends the frame.
    ///
    /// # Panics
    /// If a number is beyond a varint, or for an [`Ack`], which [`crate::encode_ack`] writes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Padding(len) => out.resize(out.len() + len, 0),
            Self::Ping => put_varint(out, kind::PING),
            Self::Ack(ref ack) => crate::encode_ack(out, ack.ranges(), ack.delay_us, ack.ecn),
            Self::Stream(ref frame) => {
                let prefix = StreamPrefix {
                    id: frame.id,
                    offset: frame.offset,
                    len: frame.data.len(),
                    is_fin: frame.is_fin,
                };
                prefix.encode(out);
                out.extend_from_slice(frame.data);
            }
            Self::Reset {
                id,
                code,
                final_size,
            } => put_all(out, &[kind::RESET, id.to_u64(), code.to_u64(), final_size]),
            Self::Stop { id, code } => put_all(out, &[kind::STOP, id.to_u64(), code.to_u64()]),
            Self::MaxData(max) => put_all(out, &[kind::MAX_DATA, max]),
            Self::MaxStreamData { id, max } => {
                put_all(out, &[kind::MAX_STREAM_DATA, id.to_u64(), max]);
            }
            Self::MaxStreams(max) => put_all(out, &[kind::MAX_STREAMS, max]),
            Self::DataBlocked(max) => put_all(out, &[kind::DATA_BLOCKED, max]),
            Self::StreamDataBlocked { id, max } => {
                put_all(out, &[kind::STREAM_DATA_BLOCKED, id.to_u64(), max]);
            }
            Self::StreamsBlocked(max) => put_all(out, &[kind::STREAMS_BLOCKED, max]),
            Self::PathChallenge(data) => put_bytes(out, kind::PATH_CHALLENGE, &data),
            Self::PathResponse(data) => put_bytes(out, kind::PATH_RESPONSE, &data),
            Self::Close { code, reason } => {
                put_all(out, &[kind::CLOSE, code.to_u64(), reason.len() as u64]);
                out.extend_from_slice(reason);
            }
            Self::NewIndex { sequence, index } => {
                put_all(out, &[kind::NEW_INDEX, sequence]);
                out.extend_from_slice(&index.to_be_bytes());
            }
            Self::RetireIndex { sequence } => put_all(out, &[kind::RETIRE_INDEX, sequence]),
            Self::AckFrequency {
                sequence,
                threshold,
                max_delay_us,
            } => {
                put_all(
                    out,
                    &[kind::ACK_FREQUENCY, sequence, threshold, max_delay_us],
                );
            }
            Self::Datagram(data) => {
                put_all(out, &[kind::DATAGRAM_LEN, data.len() as u64]);
                out.extend_from_slice(data);
            }
            Self::Extension { kind, body } => {
                put_all(out, &[kind, body.len() as u64]);
                out.extend_from_slice(body);
            }
        }
    }
}

fn put_all(out: &mut Vec<u8>, values: &[u64]) {
    for value in values {
        put_varint(out, *value);
    }
}

fn put_bytes(out: &mut Vec<u8>, kind: u64, bytes: &[u8]) {
    put_varint(out, kind);
    out.extend_from_slice(bytes);
}

/// What stands before the data of a STREAM frame; always written with offset and length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamPrefix {
    /// The stream.
    pub id: StreamId,
    /// Where the data begins in it.
    pub offset: u64,
    /// Bytes of data that follow.
    pub len: usize,
    /// Whether the stream ends after them.
    pub is_fin: bool,
}

impl StreamPrefix {
    /// Bytes that the prefix takes.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        1 + varint_len(self.id.to_u64()) + varint_len(self.offset) + varint_len(self.len as u64)
    }

    /// Bytes of data that fit behind a prefix into `room` bytes; `None` if not even the prefix does.
    #[must_use]
    pub const fn data_room(id: StreamId, offset: u64, room: usize) -> Option<usize> {
        let prefix = 1 + varint_len(id.to_u64()) + varint_len(offset) + varint_len(room as u64);
        room.checked_sub(prefix)
    }

    /// Appends the prefix.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let kind =
            kind::STREAM | STREAM_OFFSET | STREAM_LEN | if self.is_fin { STREAM_FIN } else { 0 };
        put_all(out, &[kind, self.id.to_u64(), self.offset, self.len as u64]);
    }
}

/// Appends `frame` to the datagram under construction; `false`, with nothing written, if it does not fit.
pub fn put_frame(buf: &mut TransmitBuf, scratch: &mut Vec<u8>, frame: &Frame<'_>) -> bool {
    scratch.clear();
    frame.encode(scratch);
    let fits = scratch.len() <= buf.remaining();
    if fits {
        buf.put_slice(scratch);
    }
    fits
}

/// Iterator over the frames of a packet's payload; ends after the first error.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    reader: Reader<'a>,
}

impl<'a> Frames<'a> {
    /// Over the decrypted payload of one packet.
    #[must_use]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(payload),
        }
    }

    fn decode(&mut self) -> Result<Frame<'a>, DecodeError> {
        let reader = &mut self.reader;
        let kind = frame_type(reader)?;
        Ok(match kind {
            kind::PADDING => {
                let run = reader.rest().iter().take_while(|byte| **byte == 0).count();
                reader.bytes(run)?;
                Frame::Padding(run + 1)
            }
            kind::PING => Frame::Ping,
            kind::ACK | kind::ACK_ECN => Frame::Ack(Ack::decode(reader, kind == kind::ACK_ECN)?),
            kind::RESET => Frame::Reset {
                id: stream_id(reader)?,
                code: code(reader)?,
                final_size: reader.varint()?,
            },
            kind::STOP => Frame::Stop {
                id: stream_id(reader)?,
                code: code(reader)?,
            },
            kind::STREAM..=kind::STREAM_LAST => Frame::Stream(decode_stream(reader, kind)?),
            kind::MAX_DATA => Frame::MaxData(reader.varint()?),
            kind::MAX_STREAM_DATA => Frame::MaxStreamData {
                id: stream_id(reader)?,
                max: reader.varint()?,
            },
            kind::MAX_STREAMS => Frame::MaxStreams(reader.varint()?),
            kind::DATA_BLOCKED => Frame::DataBlocked(reader.varint()?),
            kind::STREAM_DATA_BLOCKED => Frame::StreamDataBlocked {
                id: stream_id(reader)?,
                max: reader.varint()?,
            },
            kind::STREAMS_BLOCKED => Frame::StreamsBlocked(reader.varint()?),
            kind::PATH_CHALLENGE => Frame::PathChallenge(reader.array()?),
            kind::PATH_RESPONSE => Frame::PathResponse(reader.array()?),
            kind::CLOSE => decode_close(reader)?,
            kind::NEW_INDEX => Frame::NewIndex {
                sequence: reader.varint()?,
                index: reader.u32()?,
            },
            kind::RETIRE_INDEX => Frame::RetireIndex {
                sequence: reader.varint()?,
            },
            kind::ACK_FREQUENCY => Frame::AckFrequency {
                sequence: reader.varint()?,
                threshold: reader.varint()?,
                max_delay_us: reader.varint()?,
            },
            kind::DATAGRAM => Frame::Datagram(reader.bytes(reader.rest().len())?),
            kind::DATAGRAM_LEN => Frame::Datagram(reader.prefixed()?),
            kind::FIRST_EXTENSION.. => Frame::Extension {
                kind,
                body: reader.prefixed()?,
            },
            unknown => return Err(DecodeError::UnknownType(unknown)),
        })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let frame = self.decode();
        if frame.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(frame)
    }
}

/// RFC 9000 §12.4: "the frame type field is encoded as a variable-length integer … using the shortest possible encoding".
fn frame_type(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let before = reader.rest().len();
    let kind = reader.varint()?;
    if before - reader.rest().len() == varint_len(kind) {
        Ok(kind)
    } else {
        Err(DecodeError::Range("frame type"))
    }
}

fn stream_id(reader: &mut Reader<'_>) -> Result<StreamId, DecodeError> {
    reader.varint().map(StreamId::new)
}

fn code(reader: &mut Reader<'_>) -> Result<ErrorCode, DecodeError> {
    reader.varint().map(ErrorCode::from_u64)
}

fn decode_stream<'a>(reader: &mut Reader<'a>, kind: u64) -> Result<StreamFrame<'a>, DecodeError> {
    let id = stream_id(reader)?;
    let offset = if kind & STREAM_OFFSET != 0 {
        reader.varint()?
    } else {
        0
    };
    let data = if kind & STREAM_LEN != 0 {
        reader.prefixed()?
    } else {
        reader.bytes(reader.rest().len())?
    };
    // RFC 9000 §19.8: offset and length together stay within a varint.
    if offset + data.len() as u64 > crate::varint::MAX {
        return Err(DecodeError::Range("stream offset"));
    }
    Ok(StreamFrame {
        id,
        offset,
        is_fin: kind & STREAM_FIN != 0,
        data,
    })
}

fn decode_close<'a>(reader: &mut Reader<'a>) -> Result<Frame<'a>, DecodeError> {
    let code = code(reader)?;
    let reason = reader.prefixed()?;
    if reason.len() > MAX_CLOSE_REASON {
        return Err(DecodeError::Range("close reason"));
    }
    Ok(Frame::Close { code, reason })
}
