//! What the service asks of whoever knows signatures.

use pilot_types::{AgentId, UnixTime};
use pilot_wire::{EnvelopeHead, SignedBytes};
use serde::{Deserialize, Serialize};

/// What a verified identity log says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogFacts {
    /// Whose log it is.
    pub agent: AgentId,
    /// The current signing key.
    pub sign_key: [u8; 32],
    /// The current key's generation.
    pub generation: u32,
    /// The current key's sequence.
    pub sequence: u32,
    /// Hash of the newest entry.
    pub head: [u8; 32],
}

/// Checks of signatures, which the composition brings in: this crate holds no keys.
pub trait Verify {
    /// Verifies a whole identity log, its work included.
    ///
    /// # Errors
    /// Words for the agent that sent it.
    fn log(&self, entries: &[Vec<u8>]) -> Result<LogFacts, String>;

    /// Verifies a statement of any type against the current key of an already verified log: signer, key, signature, times.
    ///
    /// The caller reads the body and holds its context string against the type that it expects.
    ///
    /// # Errors
    /// Words for the agent that sent it.
    fn signed(
        &self,
        log: &[Vec<u8>],
        raw: &SignedBytes,
        now: UnixTime,
    ) -> Result<EnvelopeHead, String>;
}
