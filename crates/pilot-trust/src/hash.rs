//! SHA-256 under a context string, so that a hash for one purpose is none for another.

use ring::digest::{Context, SHA256};

pub(crate) type Hash = [u8; 32];

/// Begins a hash of `context ‖ …`.
pub(crate) fn hasher(context: &str) -> Context {
    let mut hasher = Context::new(&SHA256);
    hasher.update(context.as_bytes());
    hasher
}

/// The hash of what the hasher was given.
pub(crate) fn finish(hasher: Context) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(hasher.finish().as_ref());
    hash
}

/// SHA-256(`context ‖ bytes`).
pub(crate) fn hash(context: &str, bytes: &[u8]) -> Hash {
    let mut hasher = hasher(context);
    hasher.update(bytes);
    finish(hasher)
}
