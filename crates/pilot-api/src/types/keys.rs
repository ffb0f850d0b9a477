//! This agent's keys: other ones, and who may recover it.

use std::fmt;

use pilot_types::UnixTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::agent::{AgentSummary, PublicKey};
use super::{field, schema};

/// What others make of this agent's key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Nobody said anything against it.
    #[default]
    Current,
    /// It was replaced by another one: this home's is the agent's no more.
    Superseded,
    /// Two keys claim to be the agent's next one: nobody believes either until a recovery.
    Frozen,
}

/// `POST /v1/keys/rotate`: new keys for the same agent, signed for by those in use. Sessions and trust stay.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateKeyRequest {}

/// The keys as they are now.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct KeysChanged {
    /// This agent, as before.
    #[serde(flatten)]
    pub agent: AgentSummary,
    /// The new signing key.
    pub public_key: PublicKey,
    /// Its fingerprint, for people to compare.
    pub fingerprint: String,
    /// How often the agent was recovered.
    pub generation: u32,
    /// How often it got new keys since.
    pub seq: u32,
    /// The identity log in hex, oldest entry first.
    pub log: Vec<String>,
}

/// `GET /v1/recovery`: whether there is a recovery key, and what others make of this agent's key.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryRequest {}

/// Whether there is a recovery key.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct RecoveryShown {
    /// This agent.
    #[serde(flatten)]
    pub agent: AgentSummary,
    /// The hash of its first keys, 64 hex digits: what it is, whatever its keys are.
    pub agent_id: String,
    /// Its signing key.
    pub public_key: PublicKey,
    /// How often the agent was recovered.
    pub generation: u32,
    /// How often it got new keys since.
    pub seq: u32,
    /// What others make of the key.
    pub state: KeyState,
    /// Who said the worst of it; null while nobody did.
    pub refused_by: Option<AgentSummary>,
    /// Whether there is a recovery key.
    pub recoverable: bool,
    /// What the recovery key is hashed to, in hex.
    pub commitment: Option<String>,
    /// Generation of the log's entry that set it.
    pub set_in_generation: Option<u32>,
    /// Sequence of that entry.
    pub set_in_seq: Option<u32>,
    /// When it was set; null where that was with the first key, which does not say.
    #[serde(with = "field::rfc3339_option")]
    #[schemars(with = "Option<schema::TimeText>")]
    pub set_at: Option<UnixTime>,
}

/// `POST /v1/recovery/new`: let a key recover this agent. It must be kept safe already, and not here. The agent gets new keys with it.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRecoveryRequest {
    /// What the recovery key is hashed to: SHA-256 of its context and Ed25519 key (`docs/trust.md`), 64 hex digits.
    #[schemars(with = "schema::CommitmentText")]
    pub commitment: String,
}

/// `POST /v1/recovery/use`: new keys for this agent by right of its recovery key, which end all that were made since it was set.
#[derive(Clone, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UseRecoveryRequest {
    /// The file that `recovery new` wrote, or the one line of it with the key. It is used and forgotten.
    pub key: String,
    /// What another recovery key is hashed to, which takes this one's place; none to keep it.
    #[serde(default)]
    #[schemars(with = "Option<schema::CommitmentText>")]
    pub commitment: Option<String>,
}

/// Without the key.
impl fmt::Debug for UseRecoveryRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UseRecoveryRequest")
            .field("commitment", &self.commitment)
            .finish_non_exhaustive()
    }
}
