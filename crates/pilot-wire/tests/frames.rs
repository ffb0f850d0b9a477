//! Frames: every kind round-trips, and no bytes make the decoder panic.

use pilot_types::{PacketNumber, StreamId, TransmitBuf};
use pilot_wire::limits::{MAX_ACK_RANGES, MAX_CLOSE_REASON};
use pilot_wire::{
    DecodeError, EcnCounts, ErrorCode, Frame, Frames, Reader, StreamFrame, StreamPrefix,
    encode_ack, fuzz, put_frame, put_varint, varint_len,
};
use proptest::prelude::*;

const VARINT_MAX: u64 = (1 << 62) - 1;

fn varint() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..0x40,
        0x40u64..0x4000,
        0x4000u64..0x4000_0000,
        0x4000_0000u64..=VARINT_MAX,
    ]
}

fn id() -> impl Strategy<Value = StreamId> {
    varint().prop_map(StreamId::new)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..60)
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = vec![];
    frame.encode(&mut out);
    out
}

/// Descending, disjoint, not adjacent ranges: as runs and gaps from the top.
fn ranges(top: u64, runs: &[(u64, u64)]) -> Vec<std::ops::RangeInclusive<PacketNumber>> {
    let mut largest = top;
    let mut ranges = vec![];
    for (run, gap) in runs {
        let smallest = largest.saturating_sub(*run);
        ranges.push(PacketNumber::new(smallest)..=PacketNumber::new(largest));
        let Some(next) = smallest.checked_sub(gap + 2) else {
            break;
        };
        largest = next;
    }
    ranges
}

fn ack() -> impl Strategy<Value = Vec<u8>> {
    let runs = proptest::collection::vec((0u64..300, 0u64..300), 1..MAX_ACK_RANGES + 20);
    let ecn = proptest::option::of((varint(), varint(), varint()));
    (varint(), runs, varint(), ecn).prop_map(|(top, runs, delay, ecn)| {
        let ecn = ecn.map(|(ect0, ect1, ce)| EcnCounts { ect0, ect1, ce });
        let mut out = vec![];
        encode_ack(&mut out, ranges(top, &runs).into_iter(), delay, ecn);
        out
    })
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    (id(), 0u64..VARINT_MAX - 100, any::<bool>(), bytes()).prop_map(|(id, offset, is_fin, data)| {
        encoded(&Frame::Stream(StreamFrame {
            id,
            offset,
            is_fin,
            data: &data,
        }))
    })
}

/// The encoding of any frame but PADDING.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let flow = prop_oneof![
        varint().prop_map(Frame::MaxData),
        (id(), varint()).prop_map(|(id, max)| Frame::MaxStreamData { id, max }),
        varint().prop_map(Frame::MaxStreams),
        varint().prop_map(Frame::DataBlocked),
        (id(), varint()).prop_map(|(id, max)| Frame::StreamDataBlocked { id, max }),
        varint().prop_map(Frame::StreamsBlocked),
    ];
    let code = || varint().prop_map(ErrorCode::from_u64);
    let control = prop_oneof![
        Just(Frame::Ping),
        (id(), code(), varint()).prop_map(|(id, code, final_size)| Frame::Reset {
            id,
            code,
            final_size
        }),
        (id(), code()).prop_map(|(id, code)| Frame::Stop { id, code }),
        any::<[u8; 8]>().prop_map(Frame::PathChallenge),
        any::<[u8; 8]>().prop_map(Frame::PathResponse),
        (varint(), any::<u32>()).prop_map(|(sequence, index)| Frame::NewIndex { sequence, index }),
        varint().prop_map(|sequence| Frame::RetireIndex { sequence }),
        (varint(), varint(), varint()).prop_map(|(sequence, threshold, max_delay_us)| {
            Frame::AckFrequency {
                sequence,
                threshold,
                max_delay_us,
            }
        }),
    ];
    let close = (code(), bytes()).prop_map(|(code, reason)| {
        encoded(&Frame::Close {
            code,
            reason: &reason,
        })
    });
    let datagram = bytes().prop_map(|data| encoded(&Frame::Datagram(&data)));
    let extension = (0x40u64..0x1000, bytes())
        .prop_map(|(kind, body)| encoded(&Frame::Extension { kind, body: &body }));
    prop_oneof![
        flow.prop_map(|frame| encoded(&frame)),
        control.prop_map(|frame| encoded(&frame)),
        ack(),
        stream(),
        close,
        datagram,
        extension,
    ]
}

fn decode(payload: &[u8]) -> Result<Vec<Frame<'_>>, DecodeError> {
    Frames::new(payload).collect()
}

fn refused(payload: &[u8]) -> DecodeError {
    decode(payload).expect_err("such a frame is refused")
}

#[test]
fn varints_are_those_of_rfc_9000() {
    // RFC 9000 appendix A.1.
    let examples: [(&[u8], u64); 4] = [
        (
            &[0xC2, 0x19, 0x7C, 0x5E, 0xFF, 0x14, 0xE8, 0x8C],
            151_288_809_941_952_652,
        ),
        (&[0x9D, 0x7F, 0x3E, 0x7D], 494_878_333),
        (&[0x7B, 0xBD], 15_293),
        (&[0x25], 37),
    ];
    for (bytes, value) in examples {
        assert_eq!(Reader::new(bytes).varint(), Ok(value));
        let mut out = vec![];
        put_varint(&mut out, value);
        assert_eq!(out, bytes);
    }
    assert_eq!(
        Reader::new(&[0x40, 0x25]).varint(),
        Ok(37),
        "a longer encoding of a number is read"
    );
}

#[test]
fn a_frame_type_has_one_encoding() {
    // RFC 9000 §12.4.
    for kind in 0u8..0x40 {
        let long = [0x40, kind, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            refused(&long),
            DecodeError::Range("frame type"),
            "{kind:#x}"
        );
    }
    assert!(decode(&[0x40, 0x40, 0x00]).is_ok());
    assert_eq!(
        refused(&[0x80, 0, 0, 0x40, 0x00]),
        DecodeError::Range("frame type")
    );
}

#[test]
fn unknown_types_are_skipped_from_0x40_and_refused_below() {
    let known = [
        0x00..=0x05,
        0x08..=0x12,
        0x14..=0x16,
        0x1A..=0x1C,
        0x20..=0x22,
        0x30..=0x31,
    ];
    for kind in (0u8..0x40).filter(|kind| !known.iter().any(|range| range.contains(kind))) {
        assert_eq!(
            refused(&[kind, 0, 0, 0]),
            DecodeError::UnknownType(kind.into())
        );
    }
    let payload = [0x52, 0x34, 0x02, 0xAA, 0xBB, 0x01];
    let later = Frame::Extension {
        kind: 0x1234,
        body: &[0xAA, 0xBB],
    };
    assert_eq!(decode(&payload), Ok(vec![later, Frame::Ping]));
    assert!(later.is_ack_eliciting());
}

#[test]
fn padding_is_one_frame_and_asks_for_no_acknowledgement() {
    assert_eq!(
        decode(&[0, 0, 0, 1]),
        Ok(vec![Frame::Padding(3), Frame::Ping])
    );
    assert!(!Frame::Padding(3).is_ack_eliciting());
    assert!(Frame::Ping.is_ack_eliciting());
}

#[test]
fn frames_without_a_length_take_the_rest() {
    let datagram = decode(&[0x30, 1, 2, 3]);
    assert_eq!(datagram, Ok(vec![Frame::Datagram(&[1, 2, 3])]));
    let stream = StreamFrame {
        id: StreamId::new(4),
        offset: 0,
        is_fin: true,
        data: &[9, 9],
    };
    assert_eq!(decode(&[0x09, 4, 9, 9]), Ok(vec![Frame::Stream(stream)]));
}

#[test]
fn fields_out_of_their_range_are_refused() {
    let mut last = vec![0x0E, 0];
    put_varint(&mut last, VARINT_MAX);
    last.push(0);
    assert!(decode(&last).is_ok());
    let at = last.len() - 1;
    last[at] = 1;
    last.push(7);
    assert_eq!(refused(&last), DecodeError::Range("stream offset"));

    let reason = vec![b'x'; MAX_CLOSE_REASON + 1];
    let close = |len: usize| {
        encoded(&Frame::Close {
            code: ErrorCode::NO_ERROR,
            reason: &reason[..len],
        })
    };
    assert!(decode(&close(MAX_CLOSE_REASON)).is_ok());
    assert_eq!(
        refused(&close(MAX_CLOSE_REASON + 1)),
        DecodeError::Range("close reason")
    );
}

#[test]
fn acknowledgements_below_packet_zero_or_too_many_are_refused() {
    // Type, largest, delay, range count, first run, (gap, run)…
    assert_eq!(
        refused(&[0x02, 5, 0, 0, 6]),
        DecodeError::Range("first ack range")
    );
    assert_eq!(
        refused(&[0x02, 5, 0, 1, 2, 2, 0]),
        DecodeError::Range("ack gap")
    );
    assert_eq!(
        refused(&[0x02, 5, 0, 1, 2, 0, 2]),
        DecodeError::Range("ack range")
    );
    assert!(decode(&[0x02, 5, 0, 1, 2, 0, 1]).is_ok());
    assert_eq!(
        refused(&[0x02, 5, 0, 0x40, 65, 0]),
        DecodeError::Range("ack range count")
    );
    let mut out = vec![];
    encode_ack(&mut out, std::iter::empty(), 0, None);
    assert!(out.is_empty());
}

#[test]
fn acknowledgements_are_equal_when_they_say_the_same() {
    let (short, long) = (
        [0x02, 5, 0, 1, 1, 0, 1],
        [0x02, 5, 0, 1, 1, 0x40, 0, 0x40, 1],
    );
    assert_eq!(decode(&short), decode(&long));
    assert_ne!(decode(&short), decode(&[0x02, 5, 0, 1, 1, 1, 0]));
}

#[test]
fn a_frame_that_does_not_fit_leaves_the_datagram_alone() {
    let mut buf = TransmitBuf::new(1, 100);
    assert!(buf.begin(10));
    let (small, large) = (Frame::PathChallenge([1; 8]), Frame::Datagram(&[0; 20]));
    let mut scratch = vec![];
    assert!(!put_frame(&mut buf, &mut scratch, &large));
    assert!(buf.payload().is_empty());
    assert!(put_frame(&mut buf, &mut scratch, &small));
    assert_eq!(buf.payload(), encoded(&small));
}

proptest! {
    #[test]
    fn numbers_take_their_shortest_encoding(value in varint()) {
        let mut out = vec![];
        put_varint(&mut out, value);
        prop_assert_eq!(out.len(), varint_len(value));
        prop_assert_eq!(Reader::new(&out).varint(), Ok(value));
    }

    #[test]
    fn any_frames_are_decoded_and_encoded_to_the_same_bytes(frames in proptest::collection::vec(frame(), 0..8)) {
        let payload = frames.concat();
        let decoded = decode(&payload).unwrap();
        prop_assert_eq!(decoded.len(), frames.len());
        let again: Vec<u8> = decoded.iter().flat_map(encoded).collect();
        prop_assert_eq!(again, payload);
    }

    #[test]
    fn acknowledged_ranges_come_back(top in varint(), runs in proptest::collection::vec((0u64..300, 0u64..300), 1..80)) {
        let sent = ranges(top, &runs);
        let mut out = vec![];
        encode_ack(&mut out, sent.iter().cloned(), 25, None);
        let decoded = decode(&out).unwrap();
        let [Frame::Ack(ack)] = &*decoded else { panic!("{decoded:?}") };
        let received: Vec<_> = ack.ranges().collect();
        prop_assert_eq!(&received[..], &sent[..sent.len().min(MAX_ACK_RANGES + 1)]);
        prop_assert_eq!((ack.largest, ack.delay_us), (PacketNumber::new(top), 25));
    }

    #[test]
    fn every_prefix_decodes_to_a_prefix_or_an_error(frame in frame()) {
        for len in 0..frame.len() {
            let decoded = decode(&frame[..len]);
            prop_assert!(len == 0 || decoded.is_err(), "{:?}", decoded);
            fuzz::frames(&frame[..len]);
        }
    }

    #[test]
    fn every_changed_byte_is_read_without_a_panic(frames in proptest::collection::vec(frame(), 1..4), mask in 1u8..) {
        let payload = frames.concat();
        for at in 0..payload.len() {
            let mut changed = payload.clone();
            changed[at] ^= mask;
            fuzz::frames(&changed);
        }
    }

    #[test]
    fn arbitrary_bytes_are_read_without_a_panic(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz::frames(&payload);
    }

    #[test]
    fn a_stream_prefix_is_as_long_as_it_says_and_leaves_room(id in id(), offset in 0u64..1 << 60, room in 0usize..2000, is_fin: bool) {
        let Some(len) = StreamPrefix::data_room(id, offset, room) else {
            let smallest = StreamPrefix { id, offset, len: 0, is_fin };
            prop_assert!(smallest.encoded_len() + 1 >= room, "no more than the length's second byte is given away");
            return Ok(());
        };
        let prefix = StreamPrefix { id, offset, len, is_fin };
        let mut out = vec![];
        prefix.encode(&mut out);
        prop_assert_eq!(out.len(), prefix.encoded_len());
        prop_assert!(out.len() + len <= room);
        out.resize(out.len() + len, 7);
        let data = &vec![7; len][..];
        prop_assert_eq!(decode(&out), Ok(vec![Frame::Stream(StreamFrame { id, offset, is_fin, data })]));
    }
}
