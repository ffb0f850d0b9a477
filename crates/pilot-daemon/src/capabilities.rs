//! What an agent says that it can do, before it is said to others.

use pilot_api::ApiError;
use pilot_api::types::Capability;
use pilot_appstore::Schema;
use pilot_wire::check_capabilities;

/// Capabilities as a record carries them.
///
/// # Errors
/// `invalid_argument` with the first that is beyond its bounds, or whose schema is none.
pub(crate) fn checked(
    capabilities: &[Capability],
) -> Result<Vec<pilot_wire::Capability>, ApiError> {
    let wire: Vec<_> = capabilities.iter().map(Capability::to_wire).collect();
    check(&wire)?;
    for capability in capabilities {
        let schemas = [("input", &capability.input), ("output", &capability.output)];
        for (field, schema) in schemas {
            if let Some(schema) = schema {
                Schema::new(schema.clone()).map_err(|words| {
                    let name = &capability.name;
                    ApiError::invalid(format!("{field} of capability {name}: {words}"))
                })?;
            }
        }
    }
    Ok(wire)
}

/// Holds capabilities against their bounds.
///
/// # Errors
/// `invalid_argument` with the first fault.
pub(crate) fn check(capabilities: &[pilot_wire::Capability]) -> Result<(), ApiError> {
    check_capabilities(capabilities).map_err(|error| {
        ApiError::invalid(error.to_string())
            .with_hint("pilotctl set-capabilities translate@1.0.0, or FILE with a JSON list of name, version, description, input and output")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with_input(input: serde_json::Value) -> Vec<Capability> {
        vec![Capability {
            name: "plan".to_owned(),
            version: "1.0.0".to_owned(),
            description: None,
            input: Some(input),
            output: None,
        }]
    }

    #[test]
    fn a_schema_is_a_schema_and_bounded() {
        let wire = checked(&with_input(json!({ "type": "object" }))).unwrap();
        assert_eq!(wire[0].input.as_deref(), Some(r#"{"type":"object"}"#));
        let error = checked(&with_input(json!({ "type": "no such type" }))).unwrap_err();
        assert!(
            error
                .message
                .starts_with("input of capability plan: expected a JSON Schema"),
            "{error}"
        );
        let far = checked(&with_input(
            json!({ "$ref": "https://example.invalid/x.json" }),
        ));
        assert!(far.is_err(), "nothing is fetched");
        let error =
            checked(&with_input(json!({ "description": "x".repeat(1 << 20) }))).unwrap_err();
        assert!(
            error.message.contains("at most 12288 are allowed"),
            "{error}"
        );
    }
}
