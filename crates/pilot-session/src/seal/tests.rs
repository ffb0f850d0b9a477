use pilot_types::{Overhead, encode_hex};
use ring::aead::quic::{AES_256, HeaderProtectionKey};
use ring::hmac;

use super::*;

const DIRECTION: [u8; 32] = [0x42; 32];

/// A sealed packet of 27 bytes of payload under [`DIRECTION`], receiver 0x01020304, number 2^32 + 5.
const PACKET: &str = "f101020304d38df4ca74e88d85ba8da2493afa40042653bf70f8b8867c6e28f472bb40dba08989382534d92ff9cffea7\
    b46e2f64";

fn seal(sealer: &mut Sealer, number: u64, payload: &[u8]) -> Result<Vec<u8>, NumberRefused> {
    let mut buf = TransmitBuf::new(1, 1500);
    buf.set_overhead(Overhead {
        head: DATA_HEAD,
        tail: TAG,
    });
    assert!(buf.begin(1500));
    buf.put_slice(payload);
    sealer.seal(0x0102_0304, PacketNumber::new(number), &mut buf)?;
    buf.finish();
    Ok(buf.as_slice().to_vec())
}

#[test]
fn the_packet_of_fixed_keys_never_changes() {
    let mut sealer = Sealer::new(&DIRECTION);
    let packet = seal(&mut sealer, (1 << 32) + 5, b"a payload of 27 bytes, say.").unwrap();
    assert_eq!(encode_hex(&packet), PACKET);
}

/// The packet as docs/crypto.md describes it, made from the primitives.
#[test]
fn a_packet_is_what_the_specification_says() {
    // RFC 5869 §2.3: one block of output is HMAC(PRK, info ‖ 1).
    let expand = |info: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &DIRECTION);
        hmac::sign(&key, &[info, &[1]].concat())
    };
    let (aead, mask) = (expand(b"pilot/1 aead"), expand(b"pilot/1 mask"));
    let header = [0xC0, 1, 2, 3, 4, 0, 0, 0, 5];
    let mut sealed = b"payload".to_vec();
    let nonce = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5];
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, aead.as_ref()).unwrap())
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(header),
            &mut sealed,
        )
        .unwrap();
    let mask = HeaderProtectionKey::new(&AES_256, mask.as_ref()).unwrap();
    let mask = mask.new_mask(&sealed[..16]).unwrap();
    let mut expected = header.to_vec();
    expected[0] ^= mask[0] & 0x3F;
    for (byte, mask) in expected[5..].iter_mut().zip(&mask[1..]) {
        *byte ^= mask;
    }
    expected.extend_from_slice(&sealed);
    let mut sealer = Sealer::new(&DIRECTION);
    assert_eq!(
        seal(&mut sealer, (1 << 32) + 5, b"payload").unwrap(),
        expected
    );
}

#[test]
fn payloads_of_any_length_open_again() {
    let (mut sealer, opener) = (Sealer::new(&DIRECTION), Opener::new(&DIRECTION));
    for len in (0..100).chain([1200, 1475]) {
        let payload = vec![0xA5; len];
        let number = 7 + len as u64;
        let mut packet = seal(&mut sealer, number, &payload).unwrap();
        assert_eq!(packet.len(), len + DATA_HEAD + TAG);
        opener.unmask(&mut packet);
        assert_eq!(packet[..5], [0xC0, 1, 2, 3, 4]);
        let opened = opener.open(PacketNumber::new(number), &mut packet).unwrap();
        assert_eq!(opened, payload);
    }
}

#[test]
fn another_number_key_or_byte_does_not_open() {
    let packet = seal(&mut Sealer::new(&DIRECTION), 9, b"payload").unwrap();
    let (opener, other) = (Opener::new(&DIRECTION), Opener::new(&[0x43; 32]));
    let open = |opener: &Opener, mut packet: Vec<u8>, number| {
        opener.unmask(&mut packet);
        let number = PacketNumber::new(number);
        opener
            .open(number, &mut packet)
            .map(|opened| opened.to_vec())
    };
    assert_eq!(open(&opener, packet.clone(), 9), Ok(b"payload".to_vec()));
    assert_eq!(open(&opener, packet.clone(), 9 + (1 << 32)), Err(BadTag));
    assert_eq!(open(&other, packet.clone(), 9), Err(BadTag));
    for bit in 0..packet.len() * 8 {
        let mut packet = packet.clone();
        packet[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&opener, packet, 9), Err(BadTag), "bit {bit}");
    }
}

#[test]
fn numbers_ascend_and_end() {
    let mut sealer = Sealer::new(&DIRECTION);
    assert!(seal(&mut sealer, 5, b"").is_ok());
    assert_eq!(seal(&mut sealer, 5, b""), Err(NumberRefused));
    assert_eq!(seal(&mut sealer, 4, b""), Err(NumberRefused));
    let last = PacketNumber::MAX.to_u64();
    assert_eq!(seal(&mut sealer, last + 1, b""), Err(NumberRefused));
    assert!(seal(&mut sealer, last, b"").is_ok());
    assert_eq!(seal(&mut sealer, last, b""), Err(NumberRefused));
    assert_eq!(sealer.count(), 2);
}

#[test]
fn the_two_directions_and_the_two_ends_have_the_right_keys() {
    let split = |transcript| SplitKeys {
        initiator: Zeroizing::new([1; 32]),
        responder: Zeroizing::new([2; 32]),
        transcript,
    };
    let mut ours = EpochKeys::derive(&split([3; 32]), true);
    let mut theirs = EpochKeys::derive(&split([3; 32]), false);
    for (from, to) in [
        (&mut ours.sealer, &theirs.opener),
        (&mut theirs.sealer, &ours.opener),
    ] {
        let mut packet = seal(from, 0, b"payload").unwrap();
        to.unmask(&mut packet);
        assert!(to.open(PacketNumber::new(0), &mut packet).is_ok());
    }
    // Not what one end seals itself.
    let mut packet = seal(&mut ours.sealer, 1, b"payload").unwrap();
    ours.opener.unmask(&mut packet);
    assert!(ours.opener.open(PacketNumber::new(1), &mut packet).is_err());

    let export = |keys: &EpochKeys| {
        let mut out = [0; 32];
        keys.exporter.export("label", b"context", &mut out).unwrap();
        out
    };
    assert_eq!(export(&ours), export(&theirs));
    let elsewhere = EpochKeys::derive(&split([4; 32]), true);
    assert_ne!(export(&ours), export(&elsewhere), "bound to the transcript");
    assert_eq!(ours.exporter.export("", b"", &mut [0; 8160]), Some(()));
    assert_eq!(ours.exporter.export("", b"", &mut [0; 8161]), None);
}
