//! Ports of the overlay.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A port of an agent, 0–65535. Those from 49152 up are ephemeral.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Port(u16);

/// Why a text is not a [`Port`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid port {0:?}: expected a decimal number from 0 to 65535")]
pub struct ParsePortError(String);

impl Port {
    /// Liveness: what `ping` talks to.
    pub const LIVENESS: Self = Self(0);
    /// Control of a session's own services.
    pub const CONTROL: Self = Self(1);
    /// The registry of a rendezvous, and its pushes to agents.
    pub const REGISTRY: Self = Self(2);
    /// Returns what it gets (RFC 862).
    pub const ECHO: Self = Self(7);
    /// Names.
    pub const NAMESERVER: Self = Self(53);
    /// An agent's own HTTP service.
    pub const HTTP: Self = Self(80);
    /// Knocks and grants between agents: the one port that a stranger reaches.
    pub const TRUST: Self = Self(444);
    /// Streams for people and pipes: `connect`, `recv`.
    pub const STDIO: Self = Self(1000);
    /// Messages and files.
    pub const DATA_EXCHANGE: Self = Self(1001);
    /// Topics.
    pub const EVENT_STREAM: Self = Self(1002);
    /// Apps that peers may call.
    pub const APPS: Self = Self(1003);
    /// The first ephemeral port.
    pub const FIRST_EPHEMERAL: Self = Self(49152);

    /// Wraps the number.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn to_u16(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Port {
    type Err = ParsePortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParsePortError(text.to_owned());
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refused());
        }
        text.parse().map(Self).map_err(|_| refused())
    }
}
