//! HPKE in base mode (RFC 9180): DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM, one message a key.
//!
//! The primitives are those of the sessions: X25519 by x25519-dalek, HMAC, HKDF and AES-GCM by ring. The sender's key pair is made from
//! bytes that the caller draws, once for each message.

use ring::aead::{AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk};
use ring::hmac::{self, HMAC_SHA256};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of the encapsulated key.
pub(crate) const ENC: usize = 32;
/// Bytes of AES-GCM's tag.
const TAG: usize = 16;

/// RFC 9180 §7.1: DHKEM(X25519, HKDF-SHA256).
const KEM_ID: u16 = 0x0020;
/// RFC 9180 §7.2: HKDF-SHA256.
const KDF_ID: u16 = 0x0001;
/// RFC 9180 §5: the mode without a key of the sender.
const MODE_BASE: u8 = 0;

/// RFC 9180 §7.3.
#[derive(Clone, Copy)]
struct Aead {
    id: u16,
    algorithm: &'static Algorithm,
}

const AES_256: Aead = Aead {
    id: 0x0002,
    algorithm: &AES_256_GCM,
};

type Secret = Zeroizing<[u8; 32]>;

/// Seals `plaintext` to `recipient` with the secret key `ephemeral`, which must never be used again: the encapsulated key, the ciphertext
/// and its tag. `None` if the recipient's key is of small order.
pub(crate) fn seal(
    recipient: &[u8; 32],
    ephemeral: &Secret,
    (info, aad): (&[u8], &[u8]),
    plaintext: &[u8],
) -> Option<Vec<u8>> {
    seal_with(AES_256, recipient, ephemeral, (info, aad), plaintext)
}

/// Opens what [`seal`] made for the key pair whose secret half is `secret`; `None` if it is anything else.
pub(crate) fn open(
    secret: &Secret,
    (info, aad): (&[u8], &[u8]),
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    open_with(AES_256, secret, (info, aad), sealed)
}

/// The public half of a key pair.
pub(crate) fn public(secret: &Secret) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(**secret)).to_bytes()
}

fn seal_with(
    aead: Aead,
    recipient: &[u8; 32],
    ephemeral: &Secret,
    (info, aad): (&[u8], &[u8]),
    plaintext: &[u8],
) -> Option<Vec<u8>> {
    let enc = public(ephemeral);
    let shared = agree(ephemeral, recipient, (&enc, recipient))?;
    let (key, nonce) = schedule(aead, &shared, info);
    let mut out = Vec::with_capacity(ENC + plaintext.len() + TAG);
    out.extend_from_slice(&enc);
    out.extend_from_slice(plaintext);
    let tag = key
        .seal_in_place_separate_tag(nonce, Aad::from(aad), &mut out[ENC..])
        .ok()?;
    out.extend_from_slice(tag.as_ref());
    Some(out)
}

fn open_with(
    aead: Aead,
    secret: &Secret,
    (info, aad): (&[u8], &[u8]),
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let (enc, ciphertext) = sealed.split_first_chunk::<ENC>()?;
    let shared = agree(secret, enc, (enc, &public(secret)))?;
    let (key, nonce) = schedule(aead, &shared, info);
    let mut opened = Zeroizing::new(ciphertext.to_vec());
    let len = key
        .open_in_place(nonce, Aad::from(aad), &mut opened)
        .ok()?
        .len();
    opened.truncate(len);
    Some(opened)
}

/// RFC 9180 §4.1, `Encap` and `Decap`: the secret that both ends come to.
fn agree(
    secret: &Secret,
    theirs: &[u8; 32],
    (enc, recipient): (&[u8; 32], &[u8; 32]),
) -> Option<Secret> {
    let dh = StaticSecret::from(**secret).diffie_hellman(&PublicKey::from(*theirs));
    // RFC 9180 §7.1.4: an all-zero result aborts.
    if !dh.was_contributory() {
        return None;
    }
    let mut suite = b"KEM".to_vec();
    suite.extend_from_slice(&KEM_ID.to_be_bytes());
    let context = [&enc[..], recipient].concat();
    let prk = extract(&suite, b"", (b"eae_prk", dh.as_bytes()));
    let mut shared = Zeroizing::new([0; 32]);
    expand(&suite, &prk, (b"shared_secret", &context), &mut shared[..]);
    Some(shared)
}

/// RFC 9180 §5.1, `KeySchedule` in base mode. The first nonce of a context is its base nonce.
fn schedule(aead: Aead, shared: &Secret, info: &[u8]) -> (LessSafeKey, Nonce) {
    let mut suite = b"HPKE".to_vec();
    for id in [KEM_ID, KDF_ID, aead.id] {
        suite.extend_from_slice(&id.to_be_bytes());
    }
    let mut context = vec![MODE_BASE];
    context.extend_from_slice(&*extract(&suite, b"", (b"psk_id_hash", b"")));
    context.extend_from_slice(&*extract(&suite, b"", (b"info_hash", info)));
    let prk = extract(&suite, &shared[..], (b"secret", b""));
    let mut key = Zeroizing::new(vec![0; aead.algorithm.key_len()]);
    expand(&suite, &prk, (b"key", &context), &mut key);
    let mut nonce = [0; 12];
    expand(&suite, &prk, (b"base_nonce", &context), &mut nonce);
    let key = UnboundKey::new(aead.algorithm, &key).expect("the key has the cipher's length");
    // One message a context: the nonce is used once.
    (LessSafeKey::new(key), Nonce::assume_unique_for_key(nonce))
}

/// RFC 9180 §4, `LabeledExtract`: RFC 5869 §2.2 is an HMAC keyed by the salt.
fn extract(suite: &[u8], salt: &[u8], (label, ikm): (&[u8], &[u8])) -> Secret {
    let mut hmac = hmac::Context::with_key(&hmac::Key::new(HMAC_SHA256, salt));
    for part in [b"HPKE-v1", suite, label, ikm] {
        hmac.update(part);
    }
    let mut prk = Zeroizing::new([0; 32]);
    prk.copy_from_slice(hmac.sign().as_ref());
    prk
}

/// RFC 9180 §4, `LabeledExpand`.
fn expand(suite: &[u8], prk: &Secret, (label, info): (&[u8], &[u8]), out: &mut [u8]) {
    struct Len(usize);
    impl KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let len = u16::try_from(out.len()).expect("keys and nonces are short");
    let parts = [&len.to_be_bytes()[..], b"HPKE-v1", suite, label, info];
    Prk::new_less_safe(HKDF_SHA256, &prk[..])
        .expand(&parts, Len(out.len()))
        .and_then(|okm| okm.fill(out))
        .expect("fewer bytes than 255 hashes");
}

/// A fresh key pair's secret half from drawn bytes, which are wiped where they were.
pub(crate) fn secret_from(bytes: &mut [u8; 32]) -> Secret {
    let secret = Zeroizing::new(*bytes);
    bytes.zeroize();
    secret
}

#[cfg(test)]
mod tests {
    use pilot_types::{decode_hex, encode_hex};
    use ring::aead::{AES_128_GCM, CHACHA20_POLY1305};

    use super::*;

    const INFO: &str = "4f6465206f6e2061204772656369616e2055726e";
    const PLAINTEXT: &[u8] = b"Beauty is truth, truth beauty";

    fn hex32(text: &str) -> Secret {
        Zeroizing::new(decode_hex(text).unwrap())
    }

    fn info() -> [u8; 20] {
        decode_hex(INFO).unwrap()
    }

    /// The appendix has no vector for AES-256 with X25519; the suites that it has share everything but the cipher and the lengths.
    fn check(aead: Aead, secrets: (&str, &str), enc: &str, ciphertext: &str) {
        let (ephemeral, recipient) = (hex32(secrets.0), hex32(secrets.1));
        let texts = (&info()[..], &b"Count-0"[..]);
        let sealed = seal_with(aead, &public(&recipient), &ephemeral, texts, PLAINTEXT).unwrap();
        assert_eq!(encode_hex(&sealed), format!("{enc}{ciphertext}"));
        let opened = open_with(aead, &recipient, texts, &sealed).unwrap();
        assert_eq!(&opened[..], PLAINTEXT);
    }

    #[test]
    fn the_vector_of_rfc_9180_a_1_1_comes_out() {
        let aead = Aead {
            id: 0x0001,
            algorithm: &AES_128_GCM,
        };
        check(
            aead,
            (
                "52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736",
                "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8",
            ),
            "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431",
            "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a",
        );
    }

    #[test]
    fn the_vector_of_rfc_9180_a_2_1_comes_out() {
        let aead = Aead {
            id: 0x0003,
            algorithm: &CHACHA20_POLY1305,
        };
        check(
            aead,
            (
                "f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600",
                "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb",
            ),
            "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a",
            "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
        );
    }

    #[test]
    fn nothing_else_opens() {
        let (ephemeral, recipient) = (Zeroizing::new([1; 32]), Zeroizing::new([2; 32]));
        let sealed = seal(&public(&recipient), &ephemeral, (b"i", b"a"), b"text").unwrap();
        assert_eq!(
            &open(&recipient, (b"i", b"a"), &sealed).unwrap()[..],
            b"text"
        );
        assert!(open(&Zeroizing::new([3; 32]), (b"i", b"a"), &sealed).is_none());
        assert!(open(&recipient, (b"j", b"a"), &sealed).is_none());
        assert!(open(&recipient, (b"i", b"b"), &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&recipient, (b"i", b"a"), &changed).is_none(), "{at}");
            assert!(open(&recipient, (b"i", b"a"), &sealed[..at]).is_none());
        }
    }

    #[test]
    fn a_key_of_small_order_is_refused() {
        let ephemeral = Zeroizing::new([1; 32]);
        assert!(seal(&[0; 32], &ephemeral, (b"", b""), b"text").is_none());
    }
}
