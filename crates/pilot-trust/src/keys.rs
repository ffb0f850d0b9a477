//! Which public keys are accepted, and signatures by them.

use ed25519_dalek::{Signature, VerifyingKey};
use pilot_wire::{LogKey, SignedBytes};
use thiserror::Error;

use crate::hash::hash;

/// Groups of four hex digits in a fingerprint: 128 bits.
const FINGERPRINT_GROUPS: usize = 8;

/// Why the keys of a log entry are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// An algorithm that every entry has exactly once is missing or there twice.
    #[error("expected exactly one {0} key")]
    Count(&'static str),
    /// A key has another length, a second spelling, or is no point of the curve.
    #[error("malformed {0} key")]
    Malformed(&'static str),
    /// A key of small order: anybody could sign or agree with it.
    #[error("weak {0} key")]
    Weak(&'static str),
}

const SIGN: &str = "Ed25519";
const DH: &str = "X25519";

/// The keys of an entry that this version uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PublicKeys {
    pub(crate) sign: [u8; 32],
    pub(crate) dh: [u8; 32],
}

impl PublicKeys {
    /// Exactly one good key of each algorithm; those of unknown algorithms are ignored.
    pub(crate) fn of(keys: &[LogKey]) -> Result<Self, KeyError> {
        let sign = only(keys, LogKey::ED25519, SIGN)?;
        let dh = only(keys, LogKey::X25519, DH)?;
        check_sign_key(&sign)?;
        check_dh_key(&dh)?;
        Ok(Self { sign, dh })
    }

    pub(crate) fn to_log_keys(self) -> Vec<LogKey> {
        let key = |algorithm, bytes: [u8; 32]| LogKey {
            algorithm,
            bytes: bytes.to_vec(),
        };
        vec![
            key(LogKey::ED25519, self.sign),
            key(LogKey::X25519, self.dh),
        ]
    }
}

fn only(keys: &[LogKey], algorithm: u16, name: &'static str) -> Result<[u8; 32], KeyError> {
    let mut found = keys.iter().filter(|key| key.algorithm == algorithm);
    match (found.next(), found.next()) {
        (Some(key), None) => {
            <[u8; 32]>::try_from(&*key.bytes).map_err(|_| KeyError::Malformed(name))
        }
        (Some(_), Some(_)) | (None, _) => Err(KeyError::Count(name)),
    }
}

/// A point of the curve in its one spelling, not of small order.
pub(crate) fn check_sign_key(bytes: &[u8; 32]) -> Result<(), KeyError> {
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Malformed(SIGN))?;
    if key.is_weak() {
        return Err(KeyError::Weak(SIGN));
    }
    // RFC 8032 §5.1.3: an encoding whose y is not below the prime is no point; decompression accepts it all the same.
    let mut y = *bytes;
    y[31] &= 0x7F;
    if is_below_prime(&y) {
        Ok(())
    } else {
        Err(KeyError::Malformed(SIGN))
    }
}

/// Refuses second spellings and the points for which every agreement gives zero (RFC 7748 §6.1).
pub(crate) fn check_dh_key(bytes: &[u8; 32]) -> Result<(), KeyError> {
    // Clamping makes any scalar a multiple of the cofactor, so one scalar tells for all.
    const ANY_SCALAR: [u8; 32] = [9; 32];
    if !is_below_prime(bytes) {
        return Err(KeyError::Malformed(DH));
    }
    if x25519_dalek::x25519(ANY_SCALAR, *bytes) == [0; 32] {
        return Err(KeyError::Weak(DH));
    }
    Ok(())
}

/// Whether the little-endian number is below 2^255 − 19.
fn is_below_prime(bytes: &[u8; 32]) -> bool {
    let mut prime = [0xFF; 32];
    prime[0] = 0xED;
    prime[31] = 0x7F;
    bytes.iter().rev().lt(prime.iter().rev())
}

/// Whether the signature is the key's, by the strict rules (no small order, no second spelling).
pub(crate) fn is_signed_by(
    key: &[u8; 32],
    message: &[u8],
    signature: &[u8; SignedBytes::SIGNATURE],
) -> bool {
    VerifyingKey::from_bytes(key)
        .and_then(|key| key.verify_strict(message, &Signature::from_bytes(signature)))
        .is_ok()
}

/// A signing key for people to compare: eight groups of four hex digits of its hash.
///
/// ```
/// let text = pilot_trust::fingerprint(&[7; 32]);
/// assert_eq!(text.split(' ').count(), 8);
/// ```
#[must_use]
pub fn fingerprint(sign_key: &[u8; 32]) -> String {
    let hash = hash("pilot/fingerprint/1", sign_key);
    let groups = hash.chunks(2).take(FINGERPRINT_GROUPS);
    let texts: Vec<String> = groups.map(pilot_types::encode_hex).collect();
    texts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(algorithm: u16, bytes: &[u8]) -> LogKey {
        LogKey {
            algorithm,
            bytes: bytes.to_vec(),
        }
    }

    fn good() -> PublicKeys {
        let sign = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
        PublicKeys {
            sign: sign.verifying_key().to_bytes(),
            dh: x25519_dalek::x25519([2; 32], x25519_dalek::X25519_BASEPOINT_BYTES),
        }
    }

    #[test]
    fn keys_of_unknown_algorithms_are_ignored() {
        let mut keys = good().to_log_keys();
        keys.push(key(99, &[0; 1184]));
        assert_eq!(PublicKeys::of(&keys), Ok(good()));
    }

    #[test]
    fn each_known_algorithm_is_there_once() {
        let keys = good().to_log_keys();
        assert_eq!(PublicKeys::of(&keys[..1]), Err(KeyError::Count(DH)));
        assert_eq!(PublicKeys::of(&keys[1..]), Err(KeyError::Count(SIGN)));
        let twice = [keys.clone(), keys[..1].to_vec()].concat();
        assert_eq!(PublicKeys::of(&twice), Err(KeyError::Count(SIGN)));
        let short = [keys[0].clone(), key(LogKey::X25519, &[1; 31])];
        assert_eq!(PublicKeys::of(&short), Err(KeyError::Malformed(DH)));
    }

    #[test]
    fn signing_keys_of_small_order_are_weak() {
        let mut one = [0; 32];
        one[0] = 1;
        let mut minus_one = [0xFF; 32];
        (minus_one[0], minus_one[31]) = (0xEC, 0x7F);
        for point in [[0; 32], one, minus_one] {
            assert_eq!(check_sign_key(&point), Err(KeyError::Weak(SIGN)));
        }
    }

    #[test]
    fn agreement_keys_of_small_order_are_weak() {
        let mut one = [0; 32];
        one[0] = 1;
        let mut minus_one = [0xFF; 32];
        (minus_one[0], minus_one[31]) = (0xEC, 0x7F);
        let order_eight = pilot_types::decode_hex(
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        );
        for point in [[0; 32], one, minus_one, order_eight.unwrap()] {
            assert_eq!(check_dh_key(&point), Err(KeyError::Weak(DH)), "{point:?}");
        }
    }

    #[test]
    fn second_spellings_are_malformed() {
        let mut above_prime = [0xFF; 32];
        above_prime[31] = 0x7F;
        for first in 0xED..=0xFF {
            above_prime[0] = first;
            assert_eq!(check_dh_key(&above_prime), Err(KeyError::Malformed(DH)));
            assert!(check_sign_key(&above_prime).is_err(), "{first:#x}");
        }
        let mut high_bit = good().dh;
        high_bit[31] |= 0x80;
        assert_eq!(check_dh_key(&high_bit), Err(KeyError::Malformed(DH)));
    }

    #[test]
    fn fingerprints_differ_and_are_stable() {
        assert_ne!(fingerprint(&[1; 32]), fingerprint(&[2; 32]));
        assert_eq!(fingerprint(&[1; 32]), fingerprint(&[1; 32]));
        assert_eq!(fingerprint(&[1; 32]).len(), 8 * 4 + 7);
    }
}
