//! The one object that owns datagrams under construction.

use crate::{Ecn, PathId};

/// Facts about the bytes in a [`TransmitBuf`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// Where to send them.
    pub path: PathId,
    /// The mark to set.
    pub ecn: Option<Ecn>,
    /// Bytes of all datagrams together.
    pub size: usize,
    /// Bytes of each datagram but the last, which may be shorter; `None` for a single datagram.
    pub segment_size: Option<usize>,
}

/// Bytes that an outer layer puts around each datagram's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Overhead {
    /// Bytes kept free before the payload, zero until the outer layer writes them.
    pub head: usize,
    /// Bytes kept free after the payload, for a tag.
    pub tail: usize,
}

/// A batch of datagrams to one destination, equal in size but for the last, laid out for segmentation offload.
///
/// Inner layers `begin` a datagram and write its payload, the outer layer completes the bytes that
/// [`Overhead`] kept free and calls `finish`; whoever changes its mind calls `abandon`.
///
/// ```text
/// | head | payload … | tail | head | payload … | tail |
///   finished datagram         datagram under construction
/// ```
///
/// ```
/// use pilot_types::{Overhead, TransmitBuf};
///
/// let mut buf = TransmitBuf::new(10, 1200);
/// buf.set_overhead(Overhead { head: 5, tail: 16 });
/// assert!(buf.begin(1200));
/// assert_eq!(buf.remaining(), 1200 - 21);
/// buf.put_slice(b"payload");
/// assert_eq!(buf.payload(), b"payload");
/// buf.put_tail(&[0; 16]);
/// buf.finish();
/// assert_eq!(buf.as_slice().len(), 28);
/// assert!(!buf.has_room(), "a short datagram ends the batch");
/// ```
#[derive(Debug)]
pub struct TransmitBuf {
    bytes: Vec<u8>,
    overhead: Overhead,
    max_segments: usize,
    max_size: usize,
    /// Finished datagrams.
    segments: usize,
    /// Size of each finished datagram but the last; 0 before the first.
    segment_size: usize,
    /// Whether a datagram shorter than `segment_size` ended the batch.
    is_closed: bool,
    /// Where the datagram under construction begins; `None` between datagrams.
    start: Option<usize>,
    /// Largest size of the datagram under construction, overhead included.
    limit: usize,
    /// Path of the batch, so that no datagram for another path joins it.
    path: Option<PathId>,
}

impl TransmitBuf {
    /// Room for `max_segments` datagrams of `max_size` bytes.
    #[must_use]
    pub fn new(max_segments: usize, max_size: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(max_segments * max_size),
            overhead: Overhead::default(),
            max_segments,
            max_size,
            segments: 0,
            segment_size: 0,
            is_closed: false,
            start: None,
            limit: 0,
            path: None,
        }
    }

    /// Sets what `begin` keeps free around each payload.
    pub const fn set_overhead(&mut self, overhead: Overhead) {
        self.overhead = overhead;
    }

    /// What `begin` keeps free around each payload.
    #[must_use]
    pub const fn overhead(&self) -> Overhead {
        self.overhead
    }

    /// Forgets all datagrams; the overhead stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.segments = 0;
        self.segment_size = 0;
        self.is_closed = false;
        self.start = None;
        self.path = None;
    }

    /// Whether another datagram of the batch can be begun.
    #[must_use]
    pub const fn has_room(&self) -> bool {
        !self.is_closed && self.segments < self.max_segments
    }

    /// The path that the batch is bound to.
    #[must_use]
    pub const fn path(&self) -> Option<PathId> {
        self.path
    }

    /// Binds the batch to a path; `false` if it is bound to another one.
    pub fn bind_path(&mut self, path: PathId) -> bool {
        *self.path.get_or_insert(path) == path
    }

    /// Begins a datagram of at most `max_size` bytes, overhead included, and of no more than the batch's segment size.
    ///
    /// `false`, with nothing changed, if the batch is full.
    ///
    /// # Panics
    /// If a datagram is under construction.
    pub fn begin(&mut self, max_size: usize) -> bool {
        assert!(
            self.start.is_none(),
            "the datagram before is finished or abandoned"
        );
        if !self.has_room() {
            return false;
        }
        let max_size = max_size.min(self.max_size);
        let limit = if self.segments == 0 {
            max_size
        } else {
            max_size.min(self.segment_size)
        };
        if limit < self.overhead.head + self.overhead.tail {
            return false;
        }
        self.limit = limit;
        self.start = Some(self.bytes.len());
        self.bytes.resize(self.bytes.len() + self.overhead.head, 0);
        true
    }

    /// Bytes of payload that still fit into the datagram under construction.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.start.map_or(0, |start| {
            self.limit
                .saturating_sub(self.bytes.len() - start + self.overhead.tail)
        })
    }

    /// Appends payload.
    ///
    /// # Panics
    /// If it is longer than [`Self::remaining`].
    pub fn put_slice(&mut self, bytes: &[u8]) {
        assert!(
            bytes.len() <= self.remaining(),
            "payload beyond the datagram's limit"
        );
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends payload in place: `fill` gets `len` zero bytes.
    ///
    /// # Panics
    /// If `len` is more than [`Self::remaining`].
    pub fn put_with(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        assert!(
            len <= self.remaining(),
            "payload beyond the datagram's limit"
        );
        let start = self.bytes.len();
        self.bytes.resize(start + len, 0);
        fill(&mut self.bytes[start..]);
    }

    /// Appends zero bytes (PADDING frames) until the datagram, tail included, has `size` bytes or its limit.
    pub fn pad_to(&mut self, size: usize) {
        let missing = (size + self.overhead_before_payload())
            .saturating_sub(self.bytes.len() + self.overhead.tail);
        let missing = missing.min(self.remaining());
        self.bytes.resize(self.bytes.len() + missing, 0);
    }

    fn overhead_before_payload(&self) -> usize {
        self.start.unwrap_or(self.bytes.len())
    }

    /// Payload written so far into the datagram under construction.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.start
            .map_or(&[], |start| &self.bytes[start + self.overhead.head..])
    }

    /// The datagram under construction, head included, for the outer layer to complete in place.
    pub fn datagram_mut(&mut self) -> &mut [u8] {
        let start = self.overhead_before_payload();
        &mut self.bytes[start..]
    }

    /// Appends the outer layer's tail.
    ///
    /// # Panics
    /// If it is longer than the overhead's tail.
    pub fn put_tail(&mut self, tail: &[u8]) {
        assert!(
            tail.len() <= self.overhead.tail,
            "tail beyond what was kept free"
        );
        self.bytes.extend_from_slice(tail);
    }

    /// Ends the datagram under construction.
    ///
    /// # Panics
    /// If none is under construction.
    pub fn finish(&mut self) {
        let start = self.start.take().expect("a datagram is under construction");
        let size = self.bytes.len() - start;
        if self.segments == 0 {
            self.segment_size = size;
        }
        self.is_closed = size < self.segment_size || size < self.limit;
        self.segments += 1;
    }

    /// Drops the datagram under construction; finished ones stay.
    pub fn abandon(&mut self) {
        if let Some(start) = self.start.take() {
            self.bytes.truncate(start);
        }
    }

    /// The finished datagrams.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.start.unwrap_or(self.bytes.len())]
    }

    /// Number of finished datagrams.
    #[must_use]
    pub const fn segments(&self) -> usize {
        self.segments
    }

    /// Whether no datagram is finished.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.segments == 0
    }

    /// Puts `head` before each finished datagram: what a relay needs to forward it.
    ///
    /// # Panics
    /// If a datagram is under construction.
    pub fn prepend_each(&mut self, head: &[u8]) {
        assert!(
            self.start.is_none(),
            "the datagram before is finished or abandoned"
        );
        let old = self.bytes.len();
        self.bytes.resize(old + self.segments * head.len(), 0);
        // From the last to the first, so that none is overwritten before it has moved.
        for segment in (0..self.segments).rev() {
            let from = segment * self.segment_size;
            let end = old.min(from + self.segment_size);
            let to = from + segment * head.len();
            self.bytes.copy_within(from..end, to + head.len());
            self.bytes[to..to + head.len()].copy_from_slice(head);
        }
        self.segment_size += head.len();
    }

    /// The facts about the finished datagrams; `None` if there are none or no path is bound.
    #[must_use]
    pub fn transmit(&self, ecn: Option<Ecn>) -> Option<Transmit> {
        let path = self.path.filter(|_| !self.is_empty())?;
        let segment_size = (self.segments > 1).then_some(self.segment_size);
        Some(Transmit {
            path,
            ecn,
            size: self.as_slice().len(),
            segment_size,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buf() -> TransmitBuf {
        let mut buf = TransmitBuf::new(3, 100);
        buf.set_overhead(Overhead { head: 5, tail: 16 });
        buf
    }

    fn put_datagram(buf: &mut TransmitBuf, payload: usize) {
        assert!(buf.begin(100));
        buf.put_slice(&vec![7; payload]);
        buf.put_tail(&[9; 16]);
        buf.finish();
    }

    #[test]
    fn a_head_comes_before_each_datagram_of_a_batch() {
        let mut buf = buf();
        buf.bind_path(PathId::Stream(crate::StreamId::new(0)));
        put_datagram(&mut buf, 79);
        put_datagram(&mut buf, 79);
        put_datagram(&mut buf, 3);
        let plain = buf.as_slice().to_vec();
        buf.prepend_each(&[1, 2, 3, 4, 5]);
        let transmit = buf.transmit(None).unwrap();
        assert_eq!(transmit.segment_size, Some(105));
        let framed: Vec<&[u8]> = buf.as_slice().chunks(105).collect();
        assert_eq!(framed.len(), 3);
        for (framed, plain) in framed.iter().zip(plain.chunks(100)) {
            assert_eq!(framed[..5], [1, 2, 3, 4, 5]);
            assert_eq!(&framed[5..], plain);
        }
    }

    #[test]
    fn equal_datagrams_share_a_batch_and_a_short_one_ends_it() {
        let mut buf = buf();
        put_datagram(&mut buf, 79);
        put_datagram(&mut buf, 79);
        assert!(buf.has_room());
        put_datagram(&mut buf, 10);
        assert!(!buf.has_room());
        assert_eq!((buf.segments(), buf.as_slice().len()), (3, 231));
    }

    #[test]
    fn an_abandoned_datagram_leaves_the_finished_ones() {
        let mut buf = buf();
        put_datagram(&mut buf, 79);
        assert!(buf.begin(100));
        buf.put_slice(b"half");
        buf.abandon();
        assert_eq!((buf.segments(), buf.as_slice().len()), (1, 100));
    }

    #[test]
    fn padding_fills_to_the_asked_size_and_not_beyond_the_limit() {
        let mut buf = buf();
        assert!(buf.begin(100));
        buf.pad_to(60);
        assert_eq!(buf.payload().len(), 60 - 21);
        buf.pad_to(1000);
        assert_eq!(buf.remaining(), 0);
        buf.put_tail(&[0; 16]);
        buf.finish();
        assert_eq!(buf.as_slice().len(), 100);
    }

    #[test]
    fn a_later_datagram_is_held_to_the_segment_size() {
        let mut buf = TransmitBuf::new(4, 100);
        assert!(buf.begin(50));
        buf.put_slice(&[1; 50]);
        buf.finish();
        assert!(buf.begin(100));
        assert_eq!(buf.remaining(), 50);
    }
}
