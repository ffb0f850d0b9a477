//! Bytes to send through a pipe, and their hash.

use ring::digest::{Context, SHA256};

/// Made at a time, and read at a time.
pub(super) const CHUNK: usize = 64 * 1024;

/// A stream of bytes that no compression helps with: xorshift64* (Vigna 2016), seeded the same each time.
pub(super) struct Bytes {
    state: u64,
    left: usize,
    hash: Hash,
}

impl Bytes {
    pub(super) fn new(len: usize) -> Self {
        Self {
            state: 0x9E37_79B9_7F4A_7C15,
            left: len,
            hash: Hash::default(),
        }
    }

    /// The next of them; empty at the end.
    pub(super) fn next(&mut self) -> Vec<u8> {
        let len = self.left.min(CHUNK);
        self.left -= len;
        let mut chunk = Vec::with_capacity(len + 8);
        while chunk.len() < len {
            self.state ^= self.state >> 12;
            self.state ^= self.state << 25;
            self.state ^= self.state >> 27;
            let word = self.state.wrapping_mul(0x2545_F491_4F6C_DD1D);
            chunk.extend_from_slice(&word.to_le_bytes());
        }
        chunk.truncate(len);
        self.hash.add(&chunk);
        chunk
    }

    /// The hash of all that were given.
    pub(super) fn hash(self) -> String {
        self.hash.finish()
    }
}

/// SHA-256 of a stream.
pub(super) struct Hash(Context);

impl Default for Hash {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Hash {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> String {
        pilot_types::encode_hex(self.0.finish().as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_bytes() {
        let mut bytes = Bytes::new(CHUNK + 13);
        let (first, second, end) = (bytes.next(), bytes.next(), bytes.next());
        assert_eq!((first.len(), second.len(), end.len()), (CHUNK, 13, 0));
        assert_ne!(first[..13], second[..]);
        let mut hash = Hash::default();
        hash.add(&[first, second].concat());
        assert_eq!(bytes.hash(), hash.finish());
    }
}
