//! What came whole before its session ended: the other end was told that it is delivered, so it is read after the end too.

use std::collections::BTreeMap;

use pilot_transport::Read;

use crate::event::StreamHandle;

/// Bytes that are kept of all ended sessions: what one session holds at most (`docs/transport.md`, Streams), and a half.
/// Beyond it a stream ends with its session's code.
const MAX_LEFT: usize = 18 << 20;

/// Streams that came whole, by handle.
#[derive(Default)]
pub(crate) struct Left {
    streams: BTreeMap<StreamHandle, Unread>,
    bytes: usize,
}

struct Unread {
    bytes: Vec<u8>,
    position: usize,
}

impl Left {
    /// Keeps a stream's unread bytes; `false` if there is no room.
    pub(crate) fn keep(&mut self, stream: StreamHandle, bytes: Vec<u8>) -> bool {
        if self.bytes + bytes.len() > MAX_LEFT {
            return false;
        }
        self.bytes += bytes.len();
        let unread = Unread { bytes, position: 0 };
        self.streams.insert(stream, unread);
        true
    }

    /// Reads on in a stream that was kept; `None` if it was not.
    pub(crate) fn read(&mut self, stream: StreamHandle, out: &mut [u8]) -> Option<Read> {
        let unread = self.streams.get_mut(&stream)?;
        let rest = &unread.bytes[unread.position..];
        if rest.is_empty() {
            return Some(Read::End);
        }
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        unread.position += len;
        Some(Read::Bytes(len))
    }

    /// The shell lets go of a stream.
    pub(crate) fn release(&mut self, stream: StreamHandle) {
        if let Some(unread) = self.streams.remove(&stream) {
            self.bytes -= unread.bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use pilot_types::StreamId;

    use super::*;
    use crate::event::SessionKey;

    #[test]
    fn ten_thousand_streams_are_bounded_and_give_their_bytes_back() {
        let stream = |number| StreamHandle {
            session: SessionKey(number),
            id: StreamId::new(0),
        };
        let mut left = Left::default();
        let kept = (0..10_000).filter(|it| left.keep(stream(*it), vec![7; 10_000]));
        let kept: Vec<u64> = kept.collect();
        assert_eq!(kept.len(), MAX_LEFT / 10_000);
        let mut out = [0; 6_000];
        for expected in [Read::Bytes(6_000), Read::Bytes(4_000), Read::End, Read::End] {
            assert_eq!(left.read(stream(0), &mut out), Some(expected));
        }
        kept.into_iter().for_each(|it| left.release(stream(it)));
        assert_eq!(left.bytes, 0);
        assert!(left.read(stream(0), &mut out).is_none());
    }
}
