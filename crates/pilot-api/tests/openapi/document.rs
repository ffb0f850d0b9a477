//! The document as the server gives it, its operations and their validators.

use std::path::Path;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::raw::{self, Answer};

/// The document.
pub(crate) struct Document {
    pub(crate) json: Value,
    /// Its schemas, where answers may not have what is not described.
    closed: Value,
}

/// One operation.
pub(crate) struct Operation<'a> {
    pub(crate) verb: String,
    pub(crate) path: String,
    pub(crate) json: &'a Value,
}

impl Document {
    pub(crate) async fn read(socket: &Path) -> Self {
        let json = raw::ask(socket, "GET", "/v1/openapi.json", "").await.json();
        let mut closed = json["components"].clone();
        for schema in closed["schemas"].as_object_mut().unwrap().values_mut() {
            if schema["properties"].is_object() && schema["allOf"].is_null() {
                schema["unevaluatedProperties"] = false.into();
            }
        }
        closed["schemas"]["ApiError"]
            .as_object_mut()
            .unwrap()
            .remove("unevaluatedProperties");
        Self { json, closed }
    }

    /// All of the API's own calls, the document itself apart.
    pub(crate) fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        let paths = self.json["paths"].as_object().unwrap();
        paths
            .iter()
            .filter(|(path, _)| *path != "/v1/openapi.json")
            .flat_map(|(path, item)| {
                item.as_object()
                    .unwrap()
                    .iter()
                    .map(move |(verb, json)| Operation {
                        verb: verb.to_uppercase(),
                        path: path.clone(),
                        json,
                    })
            })
    }

    pub(crate) fn schema(&self, name: &str) -> &Value {
        &self.json["components"]["schemas"][name]
    }

    /// What a reference to a component stands for.
    pub(crate) fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => self.json.pointer(&reference[1..]).expect(reference),
            None => schema,
        }
    }

    /// A validator of a schema whose references are this document's.
    pub(crate) fn validator(&self, schema: &Value) -> Validator {
        validator(schema, &self.json["components"])
    }

    /// Whether the answer is one that the operation has for its status.
    pub(crate) fn check(&self, operation: &Operation<'_>, answer: &Answer) {
        let response = &operation.json["responses"][answer.status.to_string()];
        let response = self.resolved(response);
        assert!(response.is_object(), "{}: {answer:?}", operation.path);
        let (schema, value) = if answer.status == 101 {
            let info = answer.header("pilot-stream-info").unwrap();
            assert!(
                answer
                    .header("pilot-stream-id")
                    .unwrap()
                    .parse::<u64>()
                    .unwrap()
                    > 0
            );
            let header = &response["headers"]["pilot-stream-info"];
            (content(header), serde_json::from_str(info).unwrap())
        } else if operation.is_feed() && answer.status == 200 {
            assert_eq!(answer.header("content-type"), Some("text/event-stream"));
            (&response["content"][FEED]["schema"], answer.json())
        } else {
            assert_eq!(answer.header("content-type"), Some("application/json"));
            (content(response), answer.json())
        };
        let mut schema = schema.clone();
        schema["unevaluatedProperties"] = false.into();
        let validator = validator(&schema, &self.closed);
        let errors: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{} {value}: {errors:?}", operation.path);
    }
}

impl Operation<'_> {
    /// The schema of its body, if it has one.
    pub(crate) fn body(&self) -> Option<&Value> {
        let body = &self.json["requestBody"];
        body.is_object().then(|| content(body))
    }

    pub(crate) fn is_upgrade(&self) -> bool {
        self.json["responses"]["101"].is_object()
    }

    /// Whether its answer goes on.
    fn is_feed(&self) -> bool {
        self.json["responses"]["200"]["content"][FEED].is_object()
    }

    /// Makes the request and checks the answer.
    pub(crate) async fn ask(&self, document: &Document, socket: &Path, body: &Value) -> Answer {
        let body = if self.body().is_some() {
            body.to_string()
        } else {
            String::new()
        };
        let answer = if self.is_feed() {
            raw::first_of_feed(socket, &self.path).await
        } else if self.is_upgrade() {
            raw::open(socket, &self.path, &body).await.0
        } else {
            raw::ask(socket, &self.verb, &self.path, &body).await
        };
        document.check(self, &answer);
        answer
    }
}

/// What an answer that goes on is.
const FEED: &str = "text/event-stream";

fn content(of: &Value) -> &Value {
    &of["content"]["application/json"]["schema"]
}

fn validator(schema: &Value, components: &Value) -> Validator {
    let mut whole: Map<String, Value> = schema.as_object().unwrap().clone();
    whole.insert("components".to_owned(), components.clone());
    let dialect = json!("https://json-schema.org/draft/2020-12/schema");
    whole.insert("$schema".to_owned(), dialect);
    jsonschema::validator_for(&Value::Object(whole)).unwrap()
}
