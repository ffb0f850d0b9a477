//! Schemas of OpenAPI as JSON Schemas that refer to nothing: what they refer to stands in its place, within bounds.

use serde_json::{Map, Value, json};

/// How deep a schema goes: below that anything is allowed. TOML and JSON both have bounds of their own, further away.
const MAX_DEPTH: usize = 12;
/// Parts of all schemas of a document: a reference that is followed often makes a small document long.
const MAX_PARTS: usize = 20_000;
/// References that lead to references.
const MAX_CHAIN: usize = 16;
/// Longest description within a schema.
const MAX_WORDS: usize = 200;
/// What says something about values, and is the same in both.
const KEPT: [&str; 17] = [
    "const",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "required",
    "title",
    "type",
    "uniqueItems",
];
const LISTS: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];

pub(super) struct Resolver<'a> {
    document: &'a Value,
    parts: usize,
    /// What is being resolved: to refer to it again is a loop.
    open: Vec<&'a str>,
}

impl<'a> Resolver<'a> {
    pub(super) const fn new(document: &'a Value) -> Self {
        Self {
            document,
            parts: 0,
            open: vec![],
        }
    }

    pub(super) const fn document(&self) -> &'a Value {
        self.document
    }

    /// What a value is, or refers to.
    pub(super) fn followed(&self, value: &'a Value) -> Result<&'a Value, String> {
        let mut value = value;
        for _ in 0..MAX_CHAIN {
            match value["$ref"].as_str() {
                Some(to) => value = self.referred(to)?,
                None => return Ok(value),
            }
        }
        Err("its references go round in a circle".to_owned())
    }

    fn referred(&self, to: &str) -> Result<&'a Value, String> {
        let shown: String = to.chars().take(100).collect();
        let within = to
            .strip_prefix('#')
            .ok_or_else(|| format!("it refers to {shown:?}, outside of the document"))?;
        let found = self.document.pointer(within);
        found.ok_or_else(|| format!("it refers to {shown:?}, which is not there"))
    }

    /// The schema, without references.
    pub(super) fn schema(&mut self, schema: &'a Value) -> Result<Value, String> {
        self.at(schema, 0)
    }

    fn at(&mut self, schema: &'a Value, depth: usize) -> Result<Value, String> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err("the schemas of the document are too many or too long".to_owned());
        }
        let Some(fields) = schema.as_object() else {
            // `true` and nothing at all allow anything.
            return Ok(if *schema == json!(false) {
                json!({ "not": {} })
            } else {
                json!({})
            });
        };
        if depth >= MAX_DEPTH {
            return Ok(json!({ "description": "too deep to be described here" }));
        }
        if let Some(to) = fields.get("$ref").and_then(Value::as_str) {
            if self.open.contains(&to) {
                return Ok(json!({ "description": "as above" }));
            }
            let referred = self.referred(to)?;
            self.open.push(to);
            let resolved = self.at(referred, depth + 1);
            self.open.pop();
            return resolved;
        }
        self.of_fields(fields, depth)
    }

    fn of_fields(&mut self, fields: &'a Map<String, Value>, depth: usize) -> Result<Value, String> {
        let mut made = Map::new();
        for (name, value) in fields {
            let value = match (name.as_str(), value) {
                (
                    "items" | "additionalProperties" | "not" | "contains" | "propertyNames",
                    Value::Bool(_),
                ) => value.clone(),
                ("items" | "additionalProperties" | "not" | "contains" | "propertyNames", _) => {
                    self.at(value, depth + 1)?
                }
                ("properties", Value::Object(properties)) => self.map(properties, depth)?,
                (list, Value::Array(schemas)) if LISTS.contains(&list) => {
                    let each: Result<Vec<_>, _> = schemas
                        .iter()
                        .map(|schema| self.at(schema, depth + 1))
                        .collect();
                    Value::Array(each?)
                }
                // TOML has no null; what may be null is not held to a list.
                ("enum", Value::Array(values)) if !values.contains(&Value::Null) => value.clone(),
                ("pattern", Value::String(pattern)) if is_plain_pattern(pattern) => value.clone(),
                ("description", Value::String(text)) => shortened(text).into(),
                // In 3.0 these two are truths about the other bound.
                ("exclusiveMinimum" | "exclusiveMaximum", Value::Bool(_)) => continue,
                (kept, value) if KEPT.contains(&kept) && !value.is_null() => value.clone(),
                _ => continue,
            };
            made.insert(name.clone(), value);
        }
        if fields.get("nullable") == Some(&json!(true)) {
            may_be_null(&mut made);
        }
        Ok(Value::Object(made))
    }

    fn map(&mut self, properties: &'a Map<String, Value>, depth: usize) -> Result<Value, String> {
        let each = properties
            .iter()
            .map(|(name, schema)| Ok((name.clone(), self.at(schema, depth + 1)?)));
        each.collect::<Result<Map<_, _>, String>>()
            .map(Value::Object)
    }
}

/// OpenAPI 3.0's `nullable`.
fn may_be_null(schema: &mut Map<String, Value>) {
    if let Some(Value::String(kind)) = schema.get("type") {
        let both = json!([kind, "null"]);
        schema.insert("type".to_owned(), both);
        schema.remove("enum");
    }
}

/// What an engine of linear time knows: nothing that looks around or back.
fn is_plain_pattern(pattern: &str) -> bool {
    let mut escaped = false;
    let looks_back = pattern.chars().any(|c| {
        let is_number = escaped && c.is_ascii_digit();
        escaped = c == '\\' && !escaped;
        is_number
    });
    !looks_back && !pattern.contains("(?") && pattern.len() <= 500
}

fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    line[..line.floor_char_boundary(MAX_WORDS)].to_owned()
}

/// With a parameter's own description.
pub(super) fn described(mut schema: Value, description: Option<&str>) -> Value {
    if let Some(text) = description {
        schema["description"] = shortened(text).into();
    }
    schema
}
