//! Requests made from their schemas: minimal ones, and ones that are wrong in one place.

use serde_json::{Map, Value, json};

use crate::document::Document;

/// What a schema demands, and nothing more.
pub(crate) fn minimal(document: &Document, schema: &Value) -> Value {
    let schema = document.resolved(schema);
    if let Some(example) = schema["examples"].get(0) {
        return example.clone();
    }
    let first = &schema["oneOf"][0]["const"];
    if !first.is_null() {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("object") => object(document, schema),
        Some("array") => json!([minimal(document, &schema["items"])]),
        Some("integer") => json!(schema["minimum"].as_u64().unwrap_or(0).max(1)),
        Some("boolean") => json!(true),
        Some("string") => json!("words"),
        _ => panic!("no instance of {schema}"),
    }
}

fn object(document: &Document, schema: &Value) -> Value {
    let required = names(&schema["required"]);
    let one_of = names(&schema["oneOf"][0]["required"]);
    let fields = required.iter().chain(&one_of).map(|name| {
        let field = minimal(document, &schema["properties"][name]);
        (name.clone(), field)
    });
    Value::Object(fields.collect())
}

/// Fields that a request cannot do without.
pub(crate) fn names(list: &Value) -> Vec<String> {
    let names = list.as_array().into_iter().flatten();
    names
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

/// A request that is to be refused, and a word that the refusal has to have.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) body: Value,
    pub(crate) word: String,
}

/// Each way to spoil one field of a valid request: left out, of another type, too long, unknown.
pub(crate) fn wrong(document: &Document, schema: &Value) -> Vec<Wrong> {
    let schema = document.resolved(schema);
    let valid = minimal(document, schema);
    let valid = valid.as_object().unwrap();
    let with = |name: &str, value: Value| {
        let mut body: Map<String, Value> = valid.clone();
        body.insert(name.to_owned(), value);
        Wrong {
            body: Value::Object(body),
            word: name.to_owned(),
        }
    };
    let mut wrong = vec![with("no_such_field", json!(1))];
    for name in valid.keys() {
        let mut body = valid.clone();
        body.remove(name);
        if is_required(schema, name) {
            wrong.push(Wrong {
                body: Value::Object(body),
                word: name.clone(),
            });
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let nothing = json!({ "no": "such thing" });
        // An app's arguments are any JSON.
        if !document.validator(property).is_valid(&nothing) {
            wrong.push(with(name, nothing));
        }
        if is_patterned(document, property) {
            wrong.push(with(name, json!("z".repeat(20_000))));
            wrong.push(with(name, json!("")));
        }
        if document.resolved(property)["type"] == "integer" {
            wrong.push(with(name, json!(-1)));
            wrong.push(with(name, json!("1")));
        }
    }
    wrong
}

fn is_required(schema: &Value, name: &str) -> bool {
    names(&schema["required"])
        .iter()
        .chain(&names(&schema["oneOf"][0]["required"]))
        .any(|required| required == name)
}

/// Whether its texts follow a pattern: an endless one follows none.
fn is_patterned(document: &Document, property: &Value) -> bool {
    let schema = document.resolved(property);
    let options = schema["anyOf"].as_array().into_iter().flatten();
    schema["pattern"].is_string()
        || options.into_iter().any(|option| {
            document.resolved(option)["pattern"].is_string() || is_patterned(document, option)
        })
}
