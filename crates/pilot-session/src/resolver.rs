//! The primitives that snow's handshake runs on: X25519 by x25519-dalek, AES-256-GCM and SHA-256 by ring.

use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{Context, SHA256};
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::keys::KeyPair;

/// Resolves the primitives for one handshake, which draws random bytes once: its ephemeral key.
pub(crate) struct Resolver {
    pub(crate) local: Arc<KeyPair>,
    pub(crate) ephemeral: Zeroizing<[u8; 32]>,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(OneDraw(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::new(X25519::new(&self.local))),
            DHChoice::Curve448 => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        match choice {
            HashChoice::SHA256 => Some(Box::new(Sha256(Context::new(&SHA256)))),
            HashChoice::SHA512 | HashChoice::Blake2s | HashChoice::Blake2b => None,
        }
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        match choice {
            CipherChoice::AESGCM => Some(Box::new(AesGcm(None))),
            CipherChoice::ChaChaPoly => None,
        }
    }
}

/// Gives the handshake's 32 random bytes, once.
struct OneDraw(Option<Zeroizing<[u8; 32]>>);

impl Random for OneDraw {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        let drawn = self.0.take().ok_or(Error::Rng)?;
        if dest.len() != drawn.len() {
            return Err(Error::Rng);
        }
        dest.copy_from_slice(&drawn[..]);
        Ok(())
    }
}

struct X25519 {
    local: Arc<KeyPair>,
    secret: StaticSecret,
    public: [u8; 32],
}

impl X25519 {
    fn new(local: &Arc<KeyPair>) -> Self {
        Self {
            local: Arc::clone(local),
            secret: StaticSecret::from([0; 32]),
            public: [0; 32],
        }
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(privkey);
        self.secret = StaticSecret::from(*bytes);
        // The static key's public half is known: a handshake need not compute it again.
        self.public = if self.local.is_secret(privkey) {
            self.local.public()
        } else {
            PublicKey::from(&self.secret).to_bytes()
        };
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(&mut bytes[..])?;
        self.set(&bytes[..]);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let public: [u8; 32] = *pubkey.first_chunk().ok_or(Error::Dh)?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(public));
        // RFC 7748 §6.1: an all-zero result means a point of small order; abort.
        if !shared.was_contributory() {
            return Err(Error::Dh);
        }
        out.first_chunk_mut()
            .ok_or(Error::Dh)
            .map(|out: &mut [u8; 32]| *out = *shared.as_bytes())
    }
}

struct Sha256(Context);

impl Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Context::new(&SHA256);
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(self.0.clone().finish().as_ref());
    }
}

/// `None` until the first key is set.
struct AesGcm(Option<LessSafeKey>);

const TAG: usize = 16;

/// Noise §12.3: 32 zero bits and the counter in big-endian.
fn noise_nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

impl Cipher for AesGcm {
    fn name(&self) -> &'static str {
        "AESGCM"
    }

    fn set(&mut self, key: &[u8; 32]) {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("the key has AES-256's length");
        self.0 = Some(LessSafeKey::new(key));
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let key = self.0.as_ref().expect("snow sets a key before it encrypts");
        let (ciphertext, rest) = out.split_at_mut(plaintext.len());
        ciphertext.copy_from_slice(plaintext);
        let tag = key
            .seal_in_place_separate_tag(noise_nonce(nonce), Aad::from(authtext), ciphertext)
            .expect("a handshake message is far below AES-GCM's limit of 2^36 bytes");
        rest[..TAG].copy_from_slice(tag.as_ref());
        plaintext.len() + TAG
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let key = self.0.as_ref().ok_or(Error::Decrypt)?;
        let (body, tag) = ciphertext.split_last_chunk().ok_or(Error::Decrypt)?;
        let tag: [u8; TAG] = *tag;
        let out = out.get_mut(..body.len()).ok_or(Error::Decrypt)?;
        out.copy_from_slice(body);
        key.open_in_place_separate_tag(
            noise_nonce(nonce),
            Aad::from(authtext),
            tag.into(),
            out,
            0..,
        )
        .map(|opened| opened.len())
        .map_err(|_| Error::Decrypt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x25519(secret: [u8; 32]) -> X25519 {
        let local = Arc::new(KeyPair::new(&Zeroizing::new([1; 32])));
        let mut dh = X25519::new(&local);
        dh.set(&secret);
        dh
    }

    #[test]
    fn a_result_of_all_zeros_aborts() {
        // RFC 7748 §6.1; points of order 1, 2, 4 and 8 and their twins beyond the field's prime.
        let order_8 = pilot_types::decode_hex(
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        )
        .unwrap();
        let mut one = [0; 32];
        one[0] = 1;
        let mut prime_minus_one = [0xFF; 32];
        prime_minus_one[0] = 0xEC;
        prime_minus_one[31] = 0x7F;
        let mut prime = prime_minus_one;
        prime[0] = 0xED;
        for point in [[0; 32], one, order_8, prime_minus_one, prime] {
            let mut out = [7; 32];
            assert_eq!(x25519([9; 32]).dh(&point, &mut out), Err(Error::Dh));
            assert_eq!(out, [7; 32]);
        }
    }

    #[test]
    fn the_iterated_vector_of_rfc_7748_comes_out() {
        // RFC 7748 §5.2: the scalar and the point are both 9 at first.
        let (mut scalar, mut point) = ([0; 32], [0; 32]);
        (scalar[0], point[0]) = (9, 9);
        for _ in 0..1000 {
            let mut out = [0; 32];
            assert_eq!(x25519(scalar).dh(&point, &mut out), Ok(()));
            (scalar, point) = (out, scalar);
        }
        let expected = "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51";
        assert_eq!(pilot_types::encode_hex(&scalar), expected);
    }

    #[test]
    fn the_cipher_gives_the_vectors_of_gcm() {
        // McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test cases 13 and 14 (AES-256).
        let hex = pilot_types::encode_hex;
        let mut cipher = AesGcm(None);
        cipher.set(&[0; 32]);
        let mut out = [0; 32];
        assert_eq!(cipher.encrypt(0, &[], &[], &mut out), 16);
        assert_eq!(hex(&out[..16]), "530f8afbc74536b9a963b4f1c4cb738b");
        assert_eq!(cipher.encrypt(0, &[], &[0; 16], &mut out), 32);
        let expected = "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919";
        assert_eq!(hex(&out), expected);
        let mut opened = [7; 16];
        assert_eq!(cipher.decrypt(0, &[], &out, &mut opened), Ok(16));
        assert_eq!(opened, [0; 16]);
        assert_eq!(
            cipher.decrypt(1, &[], &out, &mut opened),
            Err(Error::Decrypt)
        );
        assert_eq!(
            cipher.decrypt(0, &[1], &out, &mut opened),
            Err(Error::Decrypt)
        );
    }

    #[test]
    fn the_random_bytes_are_drawn_once() {
        let mut draw = OneDraw(Some(Zeroizing::new([5; 32])));
        let mut out = [0; 32];
        assert_eq!(draw.try_fill_bytes(&mut out), Ok(()));
        assert_eq!(out, [5; 32]);
        assert_eq!(draw.try_fill_bytes(&mut out), Err(Error::Rng));
    }
}
