//! Keys of publishers, and their signatures over documents: manifests and catalogues of apps.
//!
//! A publisher's key is no agent's identity: it signs what is written once and read by many, and is kept apart from the keys
//! that speak for an agent on the network.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signer, SigningKey};
use pilot_types::{Seed, decode_hex, encode_hex};
use thiserror::Error;

use crate::keys::{KeyError, check_sign_key, fingerprint, is_signed_by};

/// Bytes of a signature.
const SIGNATURE: usize = 64;

/// A publisher's public key: a point of the curve in its one spelling, not of small order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DocumentKey([u8; 32]);

/// Why a text is no publisher's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseDocumentKeyError {
    /// It is not 64 hex digits.
    #[error("expected a public key of 64 hex digits")]
    Text,
    /// No signature may be accepted from it.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Why a document is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The signature is not 128 hex digits.
    #[error("expected a signature of 128 hex digits")]
    Text,
    /// It is not this key's signature over this document.
    #[error("the signature is not the publisher's over these bytes")]
    Signature,
}

impl DocumentKey {
    /// A key from its bytes.
    ///
    /// # Errors
    /// [`KeyError`] if no signature may be accepted from it.
    pub fn new(bytes: [u8; 32]) -> Result<Self, KeyError> {
        check_sign_key(&bytes)?;
        Ok(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Eight groups of four hex digits, for people to compare.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.0)
    }

    /// Checks a signature in hex over `document`, made under the same `context`.
    ///
    /// # Errors
    /// [`DocumentError`] if it is none, or not this key's.
    pub fn verify(
        &self,
        context: &str,
        document: &[u8],
        signature: &str,
    ) -> Result<(), DocumentError> {
        let signature: [u8; SIGNATURE] = decode_hex(signature).map_err(|_| DocumentError::Text)?;
        if is_signed_by(&self.0, &signed(context, document), &signature) {
            Ok(())
        } else {
            Err(DocumentError::Signature)
        }
    }
}

impl fmt::Display for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&encode_hex(&self.0))
    }
}

impl FromStr for DocumentKey {
    type Err = ParseDocumentKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = decode_hex(text).map_err(|_| ParseDocumentKeyError::Text)?;
        Ok(Self::new(bytes)?)
    }
}

/// A publisher's secret key.
pub struct DocumentSecret {
    seed: Seed,
    key: SigningKey,
}

impl DocumentSecret {
    /// The key that follows from the seed (RFC 8032 §5.1.5).
    #[must_use]
    pub fn from_seed(seed: Seed) -> Self {
        let key = SigningKey::from_bytes(seed.expose());
        Self { seed, key }
    }

    /// What to keep, in a file that only its owner reads.
    #[must_use]
    pub const fn seed(&self) -> &Seed {
        &self.seed
    }

    /// What others know of it.
    #[must_use]
    pub fn public(&self) -> DocumentKey {
        DocumentKey(self.key.verifying_key().to_bytes())
    }

    /// A signature in hex over `document`. The context keeps signatures for one purpose from serving another.
    #[must_use]
    pub fn sign(&self, context: &str, document: &[u8]) -> String {
        encode_hex(&self.key.sign(&signed(context, document)).to_bytes())
    }
}

/// `context ‖ 0 ‖ document`: contexts hold no zero, so that no two pairs give the same bytes.
fn signed(context: &str, document: &[u8]) -> Vec<u8> {
    [context.as_bytes(), &[0], document].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> DocumentSecret {
        DocumentSecret::from_seed(Seed::new([7; 32]))
    }

    #[test]
    fn a_signature_holds_for_its_key_context_and_bytes_alone() {
        let signature = secret().sign("pilot/test/1", b"document");
        let key = secret().public();
        assert_eq!(key.verify("pilot/test/1", b"document", &signature), Ok(()));
        let refused = Err(DocumentError::Signature);
        assert_eq!(key.verify("pilot/test/2", b"document", &signature), refused);
        assert_eq!(key.verify("pilot/test/1", b"documenT", &signature), refused);
        let other = DocumentSecret::from_seed(Seed::new([8; 32])).public();
        assert_eq!(
            other.verify("pilot/test/1", b"document", &signature),
            refused
        );
        for byte in 0..64 {
            let mut bytes: [u8; 64] = decode_hex(&signature).unwrap();
            bytes[byte] ^= 1;
            let changed = encode_hex(&bytes);
            assert_eq!(key.verify("pilot/test/1", b"document", &changed), refused);
        }
        assert_eq!(
            key.verify("pilot/test/1", b"document", "ab"),
            Err(DocumentError::Text)
        );
    }

    #[test]
    fn keys_are_read_strictly() {
        let key = secret().public();
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(
            "ab".parse::<DocumentKey>(),
            Err(ParseDocumentKeyError::Text)
        );
        let zero = "00".repeat(32).parse::<DocumentKey>();
        assert!(matches!(
            zero,
            Err(ParseDocumentKeyError::Key(KeyError::Weak(_)))
        ));
    }
}
