//! What agents can do, and who can.

use pilot_types::{NodeId, Tag};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::discovery::Found;

/// What an agent can do, as it says of itself.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// `[a-z0-9][a-z0-9._-]{0,63}`.
    pub name: String,
    /// Its semantic version.
    pub version: String,
    /// For people, one line of at most 512 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema (2020-12) of what it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// JSON Schema (2020-12) of what it gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

impl Capability {
    /// From JSON: `NAME@VERSION` or an object.
    ///
    /// # Errors
    /// Words that say what was expected.
    pub fn from_json(json: Value) -> Result<Self, String> {
        match json {
            Value::String(text) => {
                let named = text.parse::<pilot_wire::Capability>();
                named
                    .map(|named| Self::from(&named))
                    .map_err(|error| error.to_string())
            }
            json @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_)) => serde_json::from_value(json).map_err(|error| {
                format!("expected NAME@VERSION or an object with name and version: {error}")
            }),
        }
    }

    /// As a record carries it; whether it is within bounds is not looked at.
    #[must_use]
    pub fn to_wire(&self) -> pilot_wire::Capability {
        pilot_wire::Capability {
            name: self.name.clone(),
            version: self.version.clone(),
            description: self.description.clone().unwrap_or_default(),
            input: self.input.as_ref().map(Value::to_string),
            output: self.output.as_ref().map(Value::to_string),
        }
    }
}

impl From<&pilot_wire::Capability> for Capability {
    /// A schema that is no JSON, as another agent may say, is left out.
    fn from(wire: &pilot_wire::Capability) -> Self {
        let schema = |text: &Option<String>| serde_json::from_str(text.as_deref()?).ok();
        Self {
            name: wire.name.clone(),
            version: wire.version.clone(),
            description: Some(wire.description.clone()).filter(|text| !text.is_empty()),
            input: schema(&wire.input),
            output: schema(&wire.output),
        }
    }
}

/// `POST /v1/capabilities`: replace what this agent says that it can do.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetCapabilitiesRequest {
    /// At most 32, and 12 KiB with their schemas.
    pub capabilities: Vec<Capability>,
}

/// The capabilities as they are now.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct CapabilitiesSet {
    /// This agent.
    pub node_id: NodeId,
    /// `NAME@VERSION` each.
    pub capabilities: Vec<String>,
}

/// `POST /v1/search`: agents that fit, of those that this one may see. All that is named must fit, and of the words of `text` at least one;
/// the best come first.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// Words of names, tags and descriptions: at most 16 and 256 bytes.
    #[serde(default)]
    pub text: Option<String>,
    /// Tags that it has, at most 16.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// A capability that it has, as `NAME` or `NAME@VERSION`.
    #[serde(default)]
    pub capability: Option<String>,
    /// How many at most, 1 to 500; none for 20.
    #[serde(default)]
    pub limit: Option<u64>,
    /// The deadline in milliseconds: none for 30 s, zero for without end.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// What a search found.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct SearchFound {
    /// The best first.
    pub agents: Vec<AgentFound>,
    /// How many fit in all.
    pub total: u64,
}

/// An agent that fits.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct AgentFound {
    /// What `find` says of it.
    #[serde(flatten)]
    pub found: Found,
    /// `NAME@VERSION` each.
    pub capabilities: Vec<String>,
    /// What its capabilities say for people, in one line.
    pub description: Option<String>,
}
