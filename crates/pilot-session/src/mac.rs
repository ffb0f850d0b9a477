//! `mac1`: what a packet must bear before it costs more than a hash.

use ring::digest::{SHA256, digest};
use ring::hmac::{HMAC_SHA256, Key, sign};
use subtle::ConstantTimeEq;

use pilot_wire::limits::MACS;

/// Bytes of one mac.
pub(crate) const MAC: usize = MACS / 2;

/// Makes and checks `mac1` of packets to the holder of one public key: who does not know whom it talks to has no answer.
pub(crate) struct MacKey(Key);

impl MacKey {
    /// For packets to the holder of `public`.
    pub(crate) fn new(public: &[u8; 32]) -> Self {
        let input = [&b"pilot/mac1/1"[..], public].concat();
        Self(Key::new(HMAC_SHA256, digest(&SHA256, &input).as_ref()))
    }

    /// Appends `mac1` over all of `packet`, and an empty `mac2`.
    pub(crate) fn append(&self, packet: &mut Vec<u8>) {
        let mac1 = self.mac(packet);
        packet.extend_from_slice(&mac1);
        packet.extend_from_slice(&[0; MAC]);
    }

    /// The packet's `mac1` if it is right; in constant time.
    pub(crate) fn verify(&self, packet: &[u8]) -> Option<[u8; MAC]> {
        let (covered, macs) = packet.split_at_checked(packet.len().checked_sub(MACS)?)?;
        let claimed = macs.first_chunk::<MAC>()?;
        let mac1 = self.mac(covered);
        bool::from(mac1.ct_eq(claimed)).then_some(mac1)
    }

    fn mac(&self, covered: &[u8]) -> [u8; MAC] {
        let tag = sign(&self.0, covered);
        *tag.as_ref()
            .first_chunk()
            .expect("HMAC-SHA256 has 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_holds_for_one_packet_and_one_receiver() {
        let (ours, other) = (MacKey::new(&[1; 32]), MacKey::new(&[2; 32]));
        let mut packet = b"packet".to_vec();
        ours.append(&mut packet);
        assert_eq!(packet.len(), 6 + MACS);
        assert!(ours.verify(&packet).is_some());
        assert!(other.verify(&packet).is_none());
        for bit in 0..(6 + MAC) * 8 {
            let mut changed = packet.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(ours.verify(&changed).is_none());
        }
        assert!(ours.verify(&packet[..MACS - 1]).is_none());
    }
}
