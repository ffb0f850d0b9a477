//! Masks that hide the flag bits and the packet number.

use pilot_wire::DataHeader;
use pilot_wire::limits::{DATA_HEAD, TAG};
use ring::aead::quic::{AES_256, HeaderProtectionKey};

/// Offset of the low packet number in the header.
const NUMBER: usize = 5;

/// RFC 9001 §5.4 with AES-256: the mask comes from a sample of the ciphertext, so that it differs for each packet.
pub(crate) struct HeaderMask(HeaderProtectionKey);

impl HeaderMask {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let key = HeaderProtectionKey::new(&AES_256, key).expect("the key has AES-256's length");
        Self(key)
    }

    /// Sets or takes away the mask of a whole packet: it is its own inverse, for the sample is not masked.
    ///
    /// RFC 9001 §5.4.2: the sample starts 4 bytes after the packet number, of which ours always has 4: it is the first
    /// 16 bytes after the header, which the tag alone makes up in the shortest packet.
    pub(crate) fn apply(&self, packet: &mut [u8]) {
        let (header, rest) = packet.split_at_mut(DATA_HEAD);
        let mask = self
            .0
            .new_mask(&rest[..TAG])
            .expect("the sample has a block's length");
        header[0] ^= mask[0] & DataHeader::FLAG_MASK;
        for (byte, mask) in header[NUMBER..].iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_number_are_masked_by_an_aes_block_and_nothing_else_is() {
        // FIPS 197 §C.3: AES-256 of this block under this key.
        let key = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let block: [u8; 16] = std::array::from_fn(|i| u8::try_from(i * 0x11).unwrap());
        let mask = [0x8E, 0xA2, 0xB7, 0xCA, 0x51];
        let mut packet = vec![0xC0, 1, 2, 3, 4, 0, 0, 0, 0];
        packet.extend_from_slice(&block);
        let plain = packet.clone();
        HeaderMask::new(&key).apply(&mut packet);
        let head = [
            0xC0 | (mask[0] & 0x3F),
            1,
            2,
            3,
            4,
            mask[1],
            mask[2],
            mask[3],
            mask[4],
        ];
        assert_eq!(packet[..DATA_HEAD], head);
        assert_eq!(packet[DATA_HEAD..], block);
        HeaderMask::new(&key).apply(&mut packet);
        assert_eq!(packet, plain);
    }
}
