//! ACK frames (RFC 9000 §19.3): the largest packet, then runs of received and missing packets downwards.

use std::ops::RangeInclusive;

use pilot_types::PacketNumber;

use crate::cursor::{DecodeError, Reader};
use crate::limits::MAX_ACK_RANGES;
use crate::varint::put_varint;

/// ECN marks counted by the receiver (RFC 9000 §19.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EcnCounts {
    /// Packets marked ECT(0).
    pub ect0: u64,
    /// Packets marked ECT(1).
    pub ect1: u64,
    /// Packets marked CE.
    pub ce: u64,
}

/// A decoded ACK frame; its ranges were checked. Equal if it says the same, however its numbers were encoded.
#[derive(Clone, Copy, Debug)]
pub struct Ack<'a> {
    /// Largest packet number acknowledged.
    pub largest: PacketNumber,
    /// Microseconds between receiving `largest` and sending this.
    pub delay_us: u64,
    /// Marks, where the receiver counts them.
    pub ecn: Option<EcnCounts>,
    first_run: u64,
    encoded_ranges: &'a [u8],
}

impl<'a> Ack<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>, has_ecn: bool) -> Result<Self, DecodeError> {
        let largest = PacketNumber::new(reader.varint()?);
        let delay_us = reader.varint()?;
        let count = reader.varint()?;
        if count > MAX_ACK_RANGES as u64 {
            return Err(DecodeError::Range("ack range count"));
        }
        let first_run = reader.varint()?;
        let start = reader.rest();
        let mut smallest = largest
            .to_u64()
            .checked_sub(first_run)
            .ok_or(DecodeError::Range("first ack range"))?;
        for _ in 0..count {
            let (gap, run) = (reader.varint()?, reader.varint()?);
            // RFC 9000 §19.3.1: largest = previous smallest − gap − 2.
            let next_largest = smallest
                .checked_sub(gap + 2)
                .ok_or(DecodeError::Range("ack gap"))?;
            smallest = next_largest
                .checked_sub(run)
                .ok_or(DecodeError::Range("ack range"))?;
        }
        let encoded_ranges = &start[..start.len() - reader.rest().len()];
        let ecn = if has_ecn {
            Some(EcnCounts {
                ect0: reader.varint()?,
                ect1: reader.varint()?,
                ce: reader.varint()?,
            })
        } else {
            None
        };
        Ok(Self {
            largest,
            delay_us,
            ecn,
            first_run,
            encoded_ranges,
        })
    }

    /// The acknowledged packets, from the largest downwards.
    #[must_use]
    pub const fn ranges(&self) -> AckRanges<'a> {
        AckRanges {
            largest: self.largest.to_u64(),
            run: Some(self.first_run),
            rest: Reader::new(self.encoded_ranges),
        }
    }
}

impl PartialEq for Ack<'_> {
    fn eq(&self, other: &Self) -> bool {
        (self.largest, self.delay_us, self.ecn) == (other.largest, other.delay_us, other.ecn)
            && self.ranges().eq(other.ranges())
    }
}

impl Eq for Ack<'_> {}

/// Iterator over the runs of an [`Ack`], from the largest downwards.
#[derive(Clone, Copy, Debug)]
pub struct AckRanges<'a> {
    largest: u64,
    run: Option<u64>,
    rest: Reader<'a>,
}

impl Iterator for AckRanges<'_> {
    type Item = RangeInclusive<PacketNumber>;

    fn next(&mut self) -> Option<Self::Item> {
        let run = self.run.take()?;
        let smallest = self.largest - run;
        let range = PacketNumber::new(smallest)..=PacketNumber::new(self.largest);
        if let (Ok(gap), Ok(run)) = (self.rest.varint(), self.rest.varint()) {
            self.largest = smallest - gap - 2;
            self.run = Some(run);
        }
        Some(range)
    }
}

/// Appends an ACK frame for `ranges`, which come from the largest downwards, disjoint and not adjacent, at most
/// [`MAX_ACK_RANGES`] + 1 of them are written.
///
/// Nothing is written if `ranges` is empty.
pub fn encode_ack(
    out: &mut Vec<u8>,
    mut ranges: impl Iterator<Item = RangeInclusive<PacketNumber>> + Clone,
    delay_us: u64,
    ecn: Option<EcnCounts>,
) {
    let Some(first) = ranges.next() else { return };
    let (mut smallest, largest) = (first.start().to_u64(), first.end().to_u64());
    put_varint(out, if ecn.is_some() { 0x03 } else { 0x02 });
    put_varint(out, largest);
    put_varint(out, delay_us.min(crate::varint::MAX));
    put_varint(out, ranges.clone().take(MAX_ACK_RANGES).count() as u64);
    put_varint(out, largest - smallest);
    for range in ranges.take(MAX_ACK_RANGES) {
        let (start, end) = (range.start().to_u64(), range.end().to_u64());
        put_varint(out, smallest - end - 2);
        put_varint(out, end - start);
        smallest = start;
    }
    if let Some(ecn) = ecn {
        put_varint(out, ecn.ect0);
        put_varint(out, ecn.ect1);
        put_varint(out, ecn.ce);
    }
}
