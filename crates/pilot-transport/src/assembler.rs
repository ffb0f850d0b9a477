//! Received bytes of one stream, put in order.

use std::collections::VecDeque;
use std::ops::Range;

use crate::range_set::RangeSet;

/// An emptied assembler larger than this gives its memory back.
const KEPT_CAPACITY: usize = 16 * 1024;
/// An assembler that is used again for another stream keeps no more than this: enough for small messages.
const RENEWED_CAPACITY: usize = 2 * 1024;
/// Runs of received bytes, 16 bytes each; a window of 8 MiB in full packets of which a tenth is lost holds 700.
const MAX_RUNS: usize = 1024;

/// A window of bytes from the reader's position on, and which of them are there.
///
/// It takes as much memory as flow control charged for the stream, up to the highest byte received: what a peer can
/// make a session hold is bounded by MAX_DATA, however it cuts its segments.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    /// Bytes from `base` up to the highest received one; bytes of gaps are zero.
    bytes: VecDeque<u8>,
    /// The reader's position.
    base: u64,
    /// What is received and not read.
    received: RangeSet,
}

impl Assembler {
    /// An empty one for another stream, in the same memory.
    pub(crate) fn renew(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(RENEWED_CAPACITY);
        self.received.clear();
        self.base = 0;
    }

    /// The reader's position.
    pub(crate) const fn position(&self) -> u64 {
        self.base
    }

    /// Bytes in order that can be read now.
    pub(crate) fn readable(&self) -> u64 {
        self.received
            .first()
            .filter(|run| run.start == self.base)
            .map_or(0, |run| run.end - run.start)
    }

    /// Whether a segment can be taken: beyond [`MAX_RUNS`] only one that makes no run of its own, or that the reader
    /// waits for, so that there is always one that moves the stream on.
    pub(crate) fn has_room(&self, offset: u64, len: u64) -> bool {
        self.received.len() < MAX_RUNS
            || offset <= self.base
            || self.received.touches(&(offset..offset + len))
    }

    /// Takes a segment; the caller has checked it against flow control.
    pub(crate) fn insert(&mut self, offset: u64, data: &[u8]) {
        let skipped = self.base.saturating_sub(offset).min(data.len() as u64);
        let (offset, data) = (offset + skipped, &data[skipped as usize..]);
        if data.is_empty() {
            return;
        }
        let start = (offset - self.base) as usize;
        let end = start + data.len();
        if start == self.bytes.len() {
            self.bytes.extend(data);
        } else {
            if end > self.bytes.len() {
                self.bytes.resize(end, 0);
            }
            self.overwrite(start, data);
        }
        self.received.insert(offset..offset + data.len() as u64);
    }

    fn overwrite(&mut self, start: usize, data: &[u8]) {
        let (first, second) = self.bytes.as_mut_slices();
        let split = first.len();
        if start >= split {
            second[start - split..start - split + data.len()].copy_from_slice(data);
        } else {
            let (head, tail) = data.split_at(data.len().min(split - start));
            first[start..start + head.len()].copy_from_slice(head);
            second[..tail.len()].copy_from_slice(tail);
        }
    }

    /// Moves bytes in order to `out`; gives how many.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> usize {
        let len = self.readable().min(out.len() as u64) as usize;
        let (first, second) = self.bytes.as_slices();
        let split = first.len().min(len);
        out[..split].copy_from_slice(&first[..split]);
        out[split..len].copy_from_slice(&second[..len - split]);
        self.bytes.drain(..len);
        let read: Range<u64> = self.base..self.base + len as u64;
        self.base = read.end;
        self.received.remove(read);
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_CAPACITY {
            self.bytes = VecDeque::new();
        }
        len
    }

    /// Forgets everything, when nobody will read it.
    pub(crate) fn discard(&mut self) {
        self.bytes = VecDeque::new();
        self.received.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn segments_in_any_order_give_the_stream(len in 1usize..2000, cuts in prop::collection::vec((0usize..2000, 1usize..300), 0..40), reads in prop::collection::vec(1usize..400, 1..10)) {
            let stream: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let (mut assembler, mut out, mut reads) = (Assembler::default(), vec![], reads.into_iter().cycle());
            let whole = std::iter::once((0, len));
            for (start, size) in cuts.into_iter().chain(whole) {
                let (start, end) = (start.min(len), (start + size).min(len));
                assembler.insert(start as u64, &stream[start..end]);
                let mut chunk = vec![0; reads.next().unwrap()];
                let read = assembler.read(&mut chunk);
                out.extend_from_slice(&chunk[..read]);
            }
            let mut rest = vec![0; len];
            let read = assembler.read(&mut rest);
            out.extend_from_slice(&rest[..read]);
            prop_assert_eq!(out, stream);
            prop_assert_eq!(assembler.position(), len as u64);
            prop_assert!(assembler.bytes.is_empty() && assembler.received.is_empty());
        }
    }
}
