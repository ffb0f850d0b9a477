//! What an agent and its relay send each other about a peer's datagram (`docs/wire.md` §2).

use crate::cursor::{DecodeError, Reader};

const CHANNEL_DATA: u8 = 0x40;
const HEAD: usize = 5;

/// A datagram in a channel of a relay: `| 1: 0x40 | 4: channel, not 0 | payload … |`.
///
/// The payload is a whole packet of the session between the two ends; the relay neither reads nor changes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RelayFrame<'a> {
    /// The channel, as the agent that receives or sends the frame knows it.
    pub channel: u32,
    /// The packet.
    pub payload: &'a [u8],
}

impl<'a> RelayFrame<'a> {
    /// Bytes before the payload.
    pub const HEAD: usize = HEAD;

    /// Reads a datagram.
    ///
    /// # Errors
    /// [`DecodeError`] if it is cut short, of another type or of channel 0, which is reserved.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(datagram);
        match reader.u8()? {
            CHANNEL_DATA => {}
            other => return Err(DecodeError::UnknownType(other.into())),
        }
        let channel = reader.u32()?;
        if channel == 0 {
            return Err(DecodeError::Range("channel"));
        }
        Ok(Self {
            channel,
            payload: reader.rest(),
        })
    }
}

impl RelayFrame<'_> {
    /// Writes what stands before a payload in `channel`.
    pub const fn write_head(out: &mut [u8; HEAD], channel: u32) {
        let [a, b, c, d] = channel.to_be_bytes();
        *out = [CHANNEL_DATA, a, b, c, d];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let mut datagram = *b"-----payload";
        let head = datagram.first_chunk_mut().unwrap();
        RelayFrame::write_head(head, 0x0102_0304);
        assert_eq!(datagram[..5], [0x40, 1, 2, 3, 4]);
        let frame = RelayFrame {
            channel: 0x0102_0304,
            payload: b"payload",
        };
        assert_eq!(RelayFrame::decode(&datagram), Ok(frame));
        for cut in 0..RelayFrame::HEAD {
            assert_eq!(
                RelayFrame::decode(&datagram[..cut]),
                Err(DecodeError::Truncated)
            );
        }
    }

    #[test]
    fn reserved_types_and_channels_are_refused() {
        assert_eq!(
            RelayFrame::decode(&[0x41, 0, 0, 0, 1]),
            Err(DecodeError::UnknownType(0x41))
        );
        assert_eq!(
            RelayFrame::decode(&[0x40, 0, 0, 0, 0]),
            Err(DecodeError::Range("channel"))
        );
    }
}
