//! The full name of an agent: the hash of its inception.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::hex::{DecodeHexError, decode_hex, encode_hex};
use crate::{Address, NetworkId, NodeId};

/// SHA-256 of an agent's inception: what every grant, pin, certificate and session names.
///
/// Its first 48 bits are the agent's [`NodeId`]. Ordering is that of the bytes; session tie-breaks follow it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AgentId([u8; 32]);

/// Why a text is not an [`AgentId`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid agent id")]
pub struct ParseAgentIdError(#[from] DecodeHexError);

impl AgentId {
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// Wraps the 32 bytes of the hash.
    #[must_use]
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The first 48 bits: the permanent handle for people, commands and routing.
    #[must_use]
    pub fn node(&self) -> NodeId {
        let mut bytes = [0; 8];
        bytes[2..].copy_from_slice(&self.0[..6]);
        NodeId::new(u64::from_be_bytes(bytes)).expect("six bytes are 48 bits")
    }

    /// The agent's address in the backbone (network 0).
    #[must_use]
    pub fn address(&self) -> Address {
        Address::new(NetworkId::BACKBONE, self.node())
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_hex(&self.0))
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentId({}…)", encode_hex(&self.0[..6]))
    }
}

impl FromStr for AgentId {
    type Err = ParseAgentIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(decode_hex(text)?))
    }
}

/// One life of an agent towards a peer: handshakes of one pair of boot ids share their streams. An agent shows another one
/// after each start and after each session that it closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BootId([u8; 16]);

impl BootId {
    /// Wraps 16 random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BootId({}…)", encode_hex(&self.0[..4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_first_48_bits() {
        let mut bytes = [0; 32];
        bytes[..6].copy_from_slice(&[0xA9, 0x1F, 0, 0, 0x7C, 0x2E]);
        let agent = AgentId::new(bytes);
        assert_eq!(agent.address().to_string(), "0:A91F.0000.7C2E");
        assert_eq!(agent.to_string().parse::<AgentId>(), Ok(agent));
    }

    #[test]
    fn text_of_another_length_or_alphabet_is_refused() {
        assert!("ab".parse::<AgentId>().is_err());
        assert!("zz".repeat(32).parse::<AgentId>().is_err());
        assert!("é".repeat(32).parse::<AgentId>().is_err());
    }
}
