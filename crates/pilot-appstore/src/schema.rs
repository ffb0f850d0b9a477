//! JSON Schemas of what a method takes and gives.

use std::fmt;
use std::sync::Arc;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

/// Faults that a refusal names; more would not help.
const MAX_FAULTS: usize = 5;
/// Longest word about one fault, in characters: it may repeat what it refuses.
const MAX_FAULT: usize = 300;

/// A JSON Schema (draft 2020-12), ready to check values. It refers to nothing outside itself: nothing is ever fetched.
#[derive(Clone)]
pub struct Schema {
    json: Value,
    validator: Arc<Validator>,
}

impl Schema {
    /// From its JSON.
    ///
    /// # Errors
    /// Words that say what is wrong with it.
    pub fn new(json: Value) -> Result<Self, String> {
        if !json.is_object() {
            return Err("expected a JSON Schema, which is a table".to_owned());
        }
        // Patterns are the publisher's and texts the caller's: an engine whose time is linear in both.
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(PatternOptions::regex())
            .build(&json)
            .map_err(|error| format!("expected a JSON Schema: {}", clipped(&error.to_string())))?;
        let validator = Arc::new(validator);
        Ok(Self { json, validator })
    }

    /// The schema itself.
    #[must_use]
    pub const fn json(&self) -> &Value {
        &self.json
    }

    /// Checks a value.
    ///
    /// # Errors
    /// Words with the JSON path of each fault, `$` for the whole.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let faults: Vec<String> = self
            .validator
            .iter_errors(value)
            .take(MAX_FAULTS)
            .map(|error| {
                let path = error.instance_path().to_string();
                clipped(&format!("${path}: {error}"))
            })
            .collect();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults.join("; "))
        }
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.json)
    }
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(MAX_FAULT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn faults_name_their_path() {
        let schema = Schema::new(
            json!({"type": "object", "properties": {"tags": {"type": "array",
            "items": {"type": "string"}}}, "required": ["text"]}),
        )
        .unwrap();
        let words = schema.check(&json!({"tags": ["a", 7]})).unwrap_err();
        assert!(
            words.contains("$/tags/1") && words.contains("\"text\""),
            "{words}"
        );
        assert_eq!(schema.check(&json!({"text": ""})), Ok(()));
        let words = schema.check(&json!({"tags": vec![7; 1000], "text": "x".repeat(10_000)}));
        assert!(words.unwrap_err().len() < 3000);
    }

    #[test]
    fn a_schema_stands_alone() {
        assert!(Schema::new(json!({"$ref": "https://example.invalid/x.json"})).is_err());
        assert!(Schema::new(json!({"$ref": "file:///etc/passwd"})).is_err());
        assert!(Schema::new(json!({"type": "no such type"})).is_err());
        assert!(Schema::new(json!(true)).is_err());
    }
}
