//! JSON as TOML, on one line: a value that TOML does not have is left out.

use serde_json::Value;

/// Writes a value.
pub(super) fn written(value: &Value) -> String {
    match value {
        // Only within something, where it is left out.
        Value::Null => "\"\"".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) if number.is_i64() => number.to_string(),
        // With an exponent, so that it is a float, whatever it is.
        Value::Number(number) => format!("{:e}", number.as_f64().unwrap_or_default()),
        Value::String(text) => string(text),
        Value::Array(values) => {
            let each = values.iter().filter(|value| !value.is_null()).map(written);
            format!("[{}]", each.collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let each = fields.map(|(name, value)| format!("{} = {}", string(name), written(value)));
            format!("{{ {} }}", each.collect::<Vec<_>>().join(", "))
        }
    }
}

/// JSON's escapes are TOML's; DEL, which JSON leaves as it is, TOML does not.
fn string(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_but_null_is_there() {
        let value = json!({ "a b": [1, -2, 1.5, 1e300, u64::MAX, true, null, "\"\\\n\u{7f}ü"], "n": null, "o": {} });
        assert_eq!(
            written(&value),
            "{ \"a b\" = [1, -2, 1.5e0, 1e300, 1.8446744073709552e19, true, \"\\\"\\\\\\n\\u007Fü\"], \"o\" = {  } }"
        );
    }
}
