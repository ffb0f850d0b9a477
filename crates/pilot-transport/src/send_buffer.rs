//! Bytes of one stream from the application until the peer has them.

use std::collections::VecDeque;
use std::ops::Range;

use pilot_types::TransmitBuf;

use crate::range_set::RangeSet;

/// An emptied buffer larger than this gives its memory back.
const KEPT_CAPACITY: usize = 16 * 1024;

/// A buffer that is used again for another stream keeps no more than this: enough for small messages.
const RENEWED_CAPACITY: usize = 2 * 1024;

/// Keeps what is not acknowledged; knows what is unsent and what was lost.
///
/// ```text
/// offsets: 0 … base ……………… next ……………… end
///          acked | in flight, lost | unsent
/// ```
#[derive(Debug, Default)]
pub(crate) struct SendBuffer {
    /// Bytes from `base` on.
    bytes: VecDeque<u8>,
    base: u64,
    /// First byte that was never sent.
    next: u64,
    /// Above `base`.
    acked: RangeSet,
    /// Lost and to be sent again; never acked ones.
    lost: RangeSet,
    retransmitted: u64,
}

impl SendBuffer {
    /// An empty one for another stream, in the same memory.
    pub(crate) fn renew(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(RENEWED_CAPACITY);
        self.acked.clear();
        self.lost.clear();
        (self.base, self.next, self.retransmitted) = (0, 0, 0);
    }

    /// Bytes that are kept.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Offset after the last byte written.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// First byte that was never sent.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// Everything below is acknowledged.
    pub(crate) const fn base(&self) -> u64 {
        self.base
    }

    pub(crate) const fn retransmitted(&self) -> u64 {
        self.retransmitted
    }

    pub(crate) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    pub(crate) fn has_unsent(&self) -> bool {
        self.next < self.end()
    }

    /// Whether every byte written is acknowledged.
    pub(crate) fn is_acked(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn write(&mut self, data: &[u8]) {
        self.bytes.extend(data);
    }

    /// Offset of the first byte to send: a lost one before an unsent one.
    pub(crate) fn next_offset(&self) -> u64 {
        self.lost.first().map_or(self.next, |run| run.start)
    }

    /// Takes the next bytes to send, at most `max`, of unsent ones none from `limit` on.
    pub(crate) fn take(&mut self, max: u64, limit: u64) -> Option<Range<u64>> {
        if max > 0
            && let Some(range) = self.lost.pop_first(max)
        {
            self.retransmitted += range.end - range.start;
            return Some(range);
        }
        let end = self.end().min(limit).min(self.next.saturating_add(max));
        let range = self.next..end;
        if range.is_empty() {
            return None;
        }
        self.next = end;
        Some(range)
    }

    /// Copies bytes that are kept into the datagram under construction.
    pub(crate) fn copy_to(&self, range: Range<u64>, out: &mut TransmitBuf) {
        let (start, end) = (
            (range.start - self.base) as usize,
            (range.end - self.base) as usize,
        );
        let (first, second) = self.bytes.as_slices();
        let split = first.len();
        if start < split {
            out.put_slice(&first[start..end.min(split)]);
        }
        if end > split {
            out.put_slice(&second[start.max(split) - split..end - split]);
        }
    }

    pub(crate) fn on_acked(&mut self, range: Range<u64>) {
        let range = range.start.max(self.base)..range.end;
        if range.is_empty() {
            return;
        }
        self.lost.remove(range.clone());
        self.acked.insert(range);
        if let Some(run) = self.acked.first().filter(|run| run.start == self.base) {
            let end = run.end;
            self.acked.drop_first();
            self.bytes.drain(..(end - self.base) as usize);
            self.base = end;
            if self.bytes.is_empty() && self.bytes.capacity() > KEPT_CAPACITY {
                self.bytes = VecDeque::new();
            }
        }
    }

    pub(crate) fn on_lost(&mut self, range: Range<u64>) {
        let range = range.start.max(self.base)..range.end;
        let lost = &mut self.lost;
        self.acked.for_each_gap(range, |gap| lost.insert(gap));
    }

    /// Forgets everything, after a reset.
    pub(crate) fn discard(&mut self) {
        self.bytes = VecDeque::new();
        self.acked.clear();
        self.lost.clear();
        self.base = self.next;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(buffer: &SendBuffer, range: Range<u64>) -> Vec<u8> {
        let mut out = TransmitBuf::new(1, 4096);
        assert!(out.begin(4096));
        buffer.copy_to(range, &mut out);
        out.payload().to_vec()
    }

    proptest! {
        /// Bytes sent are the bytes written, whatever is acknowledged and lost; all are sent and acked in the end.
        #[test]
        fn every_byte_is_sent_until_it_is_acked(writes in prop::collection::vec(1usize..200, 1..20), fates in prop::collection::vec(any::<bool>(), 0..200), max in 1u64..150) {
            let mut buffer = SendBuffer::default();
            let (mut written, mut fates) = (vec![], fates.into_iter());
            for len in writes {
                let data: Vec<u8> = (0..len).map(|i| ((written.len() + i) % 251) as u8).collect();
                buffer.write(&data);
                written.extend_from_slice(&data);
                while let Some(range) = buffer.take(max, u64::MAX) {
                    let sent = bytes_of(&buffer, range.clone());
                    prop_assert_eq!(&sent, &written[range.start as usize..range.end as usize]);
                    if fates.next().unwrap_or(true) {
                        buffer.on_acked(range);
                    } else {
                        buffer.on_lost(range);
                    }
                }
            }
            prop_assert!(buffer.is_acked());
            prop_assert_eq!(buffer.base(), written.len() as u64);
        }
    }

    #[test]
    fn an_ack_after_a_presumed_loss_cancels_the_retransmission() {
        let mut buffer = SendBuffer::default();
        buffer.write(&[1; 100]);
        let sent = buffer.take(60, u64::MAX).unwrap();
        buffer.on_lost(sent.clone());
        buffer.on_acked(sent);
        assert_eq!(buffer.take(1000, u64::MAX), Some(60..100));
        buffer.on_lost(20..40);
        assert!(!buffer.has_lost(), "acknowledged bytes are never lost");
    }

    #[test]
    fn unsent_bytes_stop_at_the_limit() {
        let mut buffer = SendBuffer::default();
        buffer.write(&[1; 100]);
        assert_eq!(buffer.take(1000, 30), Some(0..30));
        assert_eq!(buffer.take(1000, 30), None);
        buffer.on_lost(10..20);
        assert_eq!(buffer.take(1000, 30), Some(10..20));
    }
}
