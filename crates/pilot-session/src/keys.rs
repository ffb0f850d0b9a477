//! Keys of the two ends.

use pilot_types::AgentId;
use subtle::ConstantTimeEq;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// Who this node is. Wiped when dropped, never printed.
pub struct LocalKeys {
    /// The agent.
    pub agent: AgentId,
    /// Secret half of its X25519 key.
    pub dh_secret: Zeroizing<[u8; 32]>,
}

/// Whom to dial, and how to know that it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerKeys {
    /// The agent.
    pub agent: AgentId,
    /// Public half of its current X25519 key, from its verified identity log.
    pub dh_public: [u8; 32],
}

/// The X25519 key of this node with its public half, computed once.
pub(crate) struct KeyPair {
    secret: StaticSecret,
    public: [u8; 32],
}

impl KeyPair {
    pub(crate) fn new(secret: &Zeroizing<[u8; 32]>) -> Self {
        let secret = StaticSecret::from(**secret);
        let public = PublicKey::from(&secret).to_bytes();
        Self { secret, public }
    }

    pub(crate) const fn public(&self) -> [u8; 32] {
        self.public
    }

    pub(crate) fn secret_bytes(&self) -> &[u8; 32] {
        self.secret.as_bytes()
    }

    /// Whether `secret` is this pair's; in constant time.
    pub(crate) fn is_secret(&self, secret: &[u8]) -> bool {
        self.secret.as_bytes().ct_eq(secret).into()
    }
}
