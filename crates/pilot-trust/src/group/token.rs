//! Tokens: who knows one may join.
//!
//! A key pair follows from the token. The public key stands in the policy, so that the owner and every admin can check a proof;
//! the proof is that key's signature over group and joiner. A rendezvous sees proofs, and learns no token from them.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signer, SigningKey};
use pilot_types::{AgentId, GroupId, Seed, decode_hex, encode_hex};
use zeroize::Zeroizing;

use crate::hash::{finish, hash, hasher};
use crate::keys::is_signed_by;

const LEN: usize = 16;

/// 128 random bits that let their holder join. Text: 32 hex digits. Never printed by `Debug`, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct GroupToken(Zeroizing<[u8; LEN]>);

impl GroupToken {
    /// From randomness that nothing else is drawn from.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "the seed is used up")]
    pub fn generate(seed: Seed) -> Self {
        let mixed = Zeroizing::new(hash("pilot/group-token-seed/1", seed.expose()));
        let mut bytes = Zeroizing::new([0; LEN]);
        bytes.copy_from_slice(&mixed[..LEN]);
        Self(bytes)
    }

    /// What stands in the policy.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.key().verifying_key().to_bytes()
    }

    /// The proof that an agent knows the token.
    #[must_use]
    pub fn proof(&self, group: &GroupId, joiner: &AgentId) -> Vec<u8> {
        let message = message(group, joiner);
        self.key().sign(&message).to_bytes().to_vec()
    }

    /// The text, for its owner to hand out.
    #[must_use]
    pub fn expose(&self) -> String {
        encode_hex(&*self.0)
    }

    fn key(&self) -> SigningKey {
        let seed = Zeroizing::new(hash("pilot/group-token/1", &*self.0));
        SigningKey::from_bytes(&seed)
    }
}

/// Whether a proof is that of the key's token, for this group and agent.
pub(super) fn is_proof(key: &[u8; 32], group: &GroupId, joiner: &AgentId, proof: &[u8]) -> bool {
    let signature = <[u8; 64]>::try_from(proof);
    signature.is_ok_and(|signature| is_signed_by(key, &message(group, joiner), &signature))
}

fn message(group: &GroupId, joiner: &AgentId) -> [u8; 32] {
    let mut hasher = hasher("pilot/join-proof/1");
    hasher.update(group.as_bytes());
    hasher.update(joiner.as_bytes());
    finish(hasher)
}

impl fmt::Debug for GroupToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupToken(…)")
    }
}

impl FromStr for GroupToken {
    type Err = pilot_types::DecodeHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        decode_hex(text).map(|bytes| Self(Zeroizing::new(bytes)))
    }
}
