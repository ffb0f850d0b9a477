//! The ECN field of a real frame: Ethernet with IPv4 (RFC 791 §3.1) or IPv6 (RFC 8200 §3) inside.

use pilot_types::Ecn;

/// Bytes of Ethernet before the network's packet; a link's sizes count from there, as a simulated link's do.
pub(crate) const ETHERNET: usize = 14;

const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// Type of service and checksum in an IPv4 header without options.
const V4_TOS: usize = ETHERNET + 1;
const V4_CHECKSUM: usize = ETHERNET + 10;
const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Network {
    V4,
    V6,
    Other,
}

fn network(frame: &[u8]) -> Network {
    let is_long = |header| frame.len() >= ETHERNET + header;
    match frame.get(12..ETHERNET) {
        Some(kind) if kind == IPV4 && is_long(V4_HEADER) => Network::V4,
        Some(kind) if kind == IPV6 && is_long(V6_HEADER) => Network::V6,
        Some(_) | None => Network::Other,
    }
}

/// The frame's ECN field; `None` for not-ECT and for what is not IP.
pub(crate) fn ecn(frame: &[u8]) -> Option<Ecn> {
    match network(frame) {
        Network::V4 => Ecn::from_bits(frame[V4_TOS]),
        // The traffic class lies across the first two bytes: its low four bits are the second byte's high ones.
        Network::V6 => Ecn::from_bits(frame[V4_TOS] >> 4),
        Network::Other => None,
    }
}

/// Sets the ECN field and mends the IPv4 header's checksum; what is not IP stays as it is.
pub(crate) fn set_ecn(frame: &mut [u8], ecn: Ecn) {
    match network(frame) {
        Network::V4 => {
            let old = [frame[ETHERNET], frame[V4_TOS]];
            frame[V4_TOS] = frame[V4_TOS] & !0b11 | ecn.to_bits();
            let new = [frame[ETHERNET], frame[V4_TOS]];
            mend_checksum(frame, u16::from_be_bytes(old), u16::from_be_bytes(new));
        }
        Network::V6 => frame[V4_TOS] = frame[V4_TOS] & !0b11_0000 | ecn.to_bits() << 4,
        Network::Other => {}
    }
}

/// RFC 1624 §3: HC' = ~(~HC + ~m + m'). It keeps a wrong checksum wrong.
fn mend_checksum(frame: &mut [u8], old: u16, new: u16) {
    let sum = u16::from_be_bytes([frame[V4_CHECKSUM], frame[V4_CHECKSUM + 1]]);
    let mut mended = u32::from(!sum) + u32::from(!old) + u32::from(new);
    while mended > 0xffff {
        mended = (mended & 0xffff) + (mended >> 16);
    }
    let mended = !u16::try_from(mended).unwrap_or(u16::MAX);
    frame[V4_CHECKSUM..V4_CHECKSUM + 2].copy_from_slice(&mended.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071, over the whole header: 0 if its checksum is right.
    fn header_sum(frame: &[u8]) -> u16 {
        let words = frame[ETHERNET..ETHERNET + V4_HEADER].chunks(2);
        let sum: u32 = words
            .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
            .sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
    }

    fn v4(tos: u8, id: u16) -> Vec<u8> {
        let mut frame = vec![0; ETHERNET + V4_HEADER + 8];
        frame[12..ETHERNET].copy_from_slice(&IPV4);
        frame[ETHERNET..ETHERNET + 4].copy_from_slice(&[0x45, tos, 0, 28]);
        frame[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&id.to_be_bytes());
        frame[ETHERNET + 8..ETHERNET + 10].copy_from_slice(&[64, 17]);
        frame[ETHERNET + 12..ETHERNET + 20].copy_from_slice(&[10, 77, 0, 1, 10, 77, 0, 2]);
        let sum = header_sum(&frame);
        frame[V4_CHECKSUM..V4_CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    #[test]
    fn a_marked_ipv4_header_has_a_right_checksum() {
        for id in 0..=u16::MAX {
            let mut frame = v4(0b1011_1010, id);
            assert_eq!(ecn(&frame), Some(Ecn::Ect0));
            set_ecn(&mut frame, Ecn::Ce);
            assert_eq!((ecn(&frame), header_sum(&frame)), (Some(Ecn::Ce), 0));
            assert_eq!(frame[V4_TOS], 0b1011_1011, "the rest of the byte stays");
        }
    }

    #[test]
    fn a_wrong_checksum_stays_wrong() {
        let mut frame = v4(0b10, 7);
        frame[V4_CHECKSUM] ^= 0x40;
        set_ecn(&mut frame, Ecn::Ce);
        assert_ne!(header_sum(&frame), 0);
    }

    #[test]
    fn an_ipv6_header_keeps_its_version_and_flow_label() {
        let mut frame = vec![0; ETHERNET + V6_HEADER];
        frame[12..ETHERNET].copy_from_slice(&IPV6);
        frame[ETHERNET..ETHERNET + 4].copy_from_slice(&[0x6b, 0xa5, 0x12, 0x34]);
        assert_eq!(ecn(&frame), Some(Ecn::Ect0));
        set_ecn(&mut frame, Ecn::Ce);
        assert_eq!(frame[ETHERNET..ETHERNET + 4], [0x6b, 0xb5, 0x12, 0x34]);
        assert_eq!(ecn(&frame), Some(Ecn::Ce));
    }

    #[test]
    fn what_is_not_ip_or_too_short_has_no_field_and_is_not_touched() {
        let mut arp = v4(0b10, 1);
        arp[12..ETHERNET].copy_from_slice(&[0x08, 0x06]);
        let short = v4(0b10, 1)[..ETHERNET + V4_HEADER - 1].to_vec();
        for frame in [arp, short, vec![], vec![8; 13]] {
            assert_eq!(ecn(&frame), None);
            let mut marked = frame.clone();
            set_ecn(&mut marked, Ecn::Ce);
            assert_eq!(marked, frame);
        }
    }
}
