//! The full name of a group: the hash of its own inception.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::AgentId;
use crate::agent_id::ParseAgentIdError;

/// SHA-256 of a group's inception, which is made as an agent's is: what every certificate, removal and policy names.
///
/// Names and network numbers are a rendezvous' aliases of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(AgentId);

impl GroupId {
    /// Wraps the 32 bytes of the hash.
    #[must_use]
    pub const fn new(bytes: [u8; AgentId::LEN]) -> Self {
        Self(AgentId::new(bytes))
    }

    /// The group of a log whose first entry has this hash.
    #[must_use]
    pub const fn of_log(id: AgentId) -> Self {
        Self(id)
    }

    /// Who signs with the group's own key.
    #[must_use]
    pub const fn signer(&self) -> AgentId {
        self.0
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; AgentId::LEN] {
        self.0.as_bytes()
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        write!(f, "GroupId({}…)", &text[..12])
    }
}

impl FromStr for GroupId {
    type Err = ParseAgentIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}
