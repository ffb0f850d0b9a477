//! Random bytes from the injected seed.

use pilot_types::Seed;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use ring::hmac::{HMAC_SHA256, Key, sign};
use zeroize::Zeroizing;

/// A generator that replaces its key with each draw, so that who reads its memory learns no earlier output: ephemeral
/// keys of handshakes past stay secret.
pub(crate) struct Entropy {
    key: Zeroizing<[u8; 32]>,
}

impl Entropy {
    pub(crate) fn new(seed: &Seed) -> Self {
        Self {
            key: Zeroizing::new(*seed.expose()),
        }
    }

    /// A second generator from the same seed, whose draws tell nothing of the first one's.
    pub(crate) fn derive(seed: &Seed, purpose: &[u8]) -> Self {
        let tag = sign(&Key::new(HMAC_SHA256, seed.expose()), purpose);
        let key = tag.as_ref().try_into().expect("HMAC-SHA256 has 32 bytes");
        Self {
            key: Zeroizing::new(key),
        }
    }

    /// Thirty-two bytes that were never drawn before.
    pub(crate) fn draw(&mut self) -> Zeroizing<[u8; 32]> {
        let mut generator = ChaCha20Rng::from_seed(*self.key);
        let mut drawn = Zeroizing::new([0; 32]);
        generator.fill_bytes(&mut self.key[..]);
        generator.fill_bytes(&mut drawn[..]);
        drawn
    }

    /// A random number of 32 bits.
    pub(crate) fn draw_u32(&mut self) -> u32 {
        let drawn = self.draw();
        u32::from_be_bytes([drawn[0], drawn[1], drawn[2], drawn[3]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_draw_equal_bytes_and_no_draw_repeats() {
        let draws = |seed| {
            let mut entropy = Entropy::new(&Seed::new([seed; 32]));
            (0..100).map(|_| *entropy.draw()).collect::<Vec<_>>()
        };
        assert_eq!(draws(1), draws(1));
        let mut all = [draws(1), draws(2)].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 200);
    }
}
