//! The API's OpenAPI document (version 3.1), made from the types of requests and answers as the routes are added.

use std::collections::BTreeMap;

use axum::http::HeaderValue;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::upgrade::{ID_HEADER, INFO_HEADER, PROTOCOL};
use crate::error::{ApiError, ErrorCode};
use crate::types::{Call, Verb};

/// Where the document is.
pub(super) const PATH: &str = "/v1/openapi.json";
const SCHEMAS: &str = "/components/schemas";
const PROSE: &str = "\
HTTP/1.1 over a daemon's Unix socket, `HOME/pilot.sock`, which is its owner's alone: `curl --unix-socket`.

An answer is an envelope: `{\"status\":\"ok\",\"data\":…}`, or `{\"status\":\"error\",\"code\":…,\"message\":…}` with `hint` \
and `retry_after_ms` where they help; its HTTP status follows from `code`. Fields are added to answers, never renamed or \
taken away. A request with a field that is not here is refused, and so is one whose body is longer than its operation says.

A request ends with `timeout` after 30 s, or after its `timeout_ms` where it has one.";

/// The document while routes are added to it.
pub(super) struct Document {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
    paths: Map<String, Value>,
}

impl Document {
    pub(super) fn new() -> Self {
        let settings =
            || SchemaSettings::draft2020_12().with(|s| s.definitions_path = SCHEMAS.into());
        Self {
            requests: settings().for_deserialize().into_generator(),
            answers: settings().for_serialize().into_generator(),
            paths: Map::new(),
        }
    }

    /// A call that is answered by an envelope.
    pub(super) fn call<R: Call>(&mut self, id: &str) {
        let answer = self.answers.subschema_for::<R::Answer>();
        let envelope = json!({
            "type": "object",
            "required": ["status", "data"],
            "properties": { "status": { "const": "ok" }, "data": answer },
        });
        let response = json!({ "description": "It was done.", "content": in_json(envelope) });
        let operation = self.operation::<R>(id, "200", response);
        self.add::<R>(operation);
    }

    /// A call that turns its connection into a stream of JSON lines.
    pub(super) fn upgrade_to_lines<R: Call, L: JsonSchema>(&mut self, id: &str) {
        self.upgrade::<R>(id);
        let line = self.answers.subschema_for::<L>();
        let response = &mut self.paths[R::PATH]["post"]["responses"]["101"];
        response["content"] = json!({ "application/x-ndjson": { "schema": line } });
    }

    /// A call that turns its connection into a stream.
    pub(super) fn upgrade<R: Call>(&mut self, id: &str) {
        let answer = self.answers.subschema_for::<R::Answer>();
        let response = json!({
            "description": "From here on the connection is the stream: bytes as they are, in both directions. The end of one \
                direction (a shutdown of the socket for writing) leaves the other open.",
            "headers": {
                INFO_HEADER: { "required": true, "description": "The stream's facts.", "content": in_json(answer) },
                ID_HEADER: {
                    "required": true,
                    "description": "The stream's number, by which `/v1/streams/outcome` tells how it ended.",
                    "schema": { "type": "integer", "minimum": 1 },
                },
            },
        });
        let mut operation = self.operation::<R>(id, "101", response);
        operation["parameters"] = json!([
            header_parameter("Connection", &HeaderValue::from_static("upgrade")),
            header_parameter("Upgrade", &PROTOCOL),
        ]);
        self.add::<R>(operation);
    }

    /// A call that is answered by server-sent events without end; its fields stand in the query.
    pub(super) fn feed<R: Call>(&mut self, id: &str) {
        let notice = self.answers.subschema_for::<R::Answer>();
        let response = json!({
            "description": "Events, the data of each as described, until one end closes the connection.",
            "content": { "text/event-stream": { "schema": notice } },
        });
        let mut operation = self.operation::<R>(id, "200", response);
        let request = R::json_schema(&mut self.requests).to_value();
        let fields = request["properties"].as_object().cloned();
        operation["parameters"] = fields.into_iter().flatten().map(query_parameter).collect();
        self.add::<R>(operation);
    }

    fn operation<R: Call>(&mut self, id: &str, status: &str, response: Value) -> Value {
        let mut responses = failures();
        responses.insert(status.to_owned(), response);
        let schema = R::json_schema(&mut self.requests);
        let text = schema.get("description").and_then(Value::as_str);
        let text = without_route::<R>(text.unwrap_or_default());
        let (summary, rest) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut operation =
            json!({ "operationId": id, "summary": summary, "responses": responses });
        if !rest.is_empty() {
            operation["description"] = rest.into();
        }
        if R::VERB == Verb::Post {
            operation["requestBody"] = json!({
                "description": format!("At most {} bytes. An empty body is `{{}}`.", R::MAX_BODY),
                "required": schema.get("required").is_some() || schema.get("oneOf").is_some(),
                "content": in_json(self.request::<R>()),
            });
        }
        operation
    }

    /// The schema of a request by reference, with what the server does to requests and the types do not say.
    fn request<R: Call>(&mut self) -> Value {
        let reference = self.requests.subschema_for::<R>();
        if let Some(Value::Object(schema)) =
            self.requests.definitions_mut().get_mut(&*R::schema_name())
        {
            schema.insert("additionalProperties".to_owned(), false.into());
            if let Some(Value::String(text)) = schema.get_mut("description") {
                *text = without_route::<R>(text).to_owned();
            }
        }
        reference.to_value()
    }

    fn add<R: Call>(&mut self, operation: Value) {
        let verb = match R::VERB {
            Verb::Get => "get",
            Verb::Post => "post",
        };
        self.paths.insert(
            R::PATH.to_owned(),
            Value::Object(Map::from_iter([(verb.to_owned(), operation)])),
        );
    }

    /// The whole document.
    pub(super) fn finish(mut self) -> Value {
        self.paths.insert(PATH.to_owned(), own_path());
        let responses = error_responses();
        let error = self.answers.subschema_for::<ApiError>();
        let mut schemas = self.requests.take_definitions(true);
        for (name, schema) in self.answers.take_definitions(true) {
            debug_assert!(
                schemas.get(&name).is_none_or(|other| *other == schema),
                "{name} is one thing in requests and another in answers"
            );
            schemas.insert(name, schema);
        }
        schemas.insert(
            "ErrorEnvelope".to_owned(),
            json!({
                "allOf": [error],
                "required": ["status"],
                "properties": { "status": { "const": "error" } },
            }),
        );
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Pilot's local API",
                "version": env!("CARGO_PKG_VERSION"),
                "description": PROSE,
                "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
            },
            "servers": [{ "url": "http://localhost", "description": "The Unix socket, whatever the host's name." }],
            "paths": self.paths,
            "components": { "schemas": schemas, "responses": responses },
        })
    }
}

/// Requests are described as "`VERB PATH`: what they do".
fn without_route<R: Call>(text: &str) -> &str {
    let verb = match R::VERB {
        Verb::Get => "GET",
        Verb::Post => "POST",
    };
    text.strip_prefix(&format!("`{verb} {}`: ", R::PATH))
        .unwrap_or(text)
}

fn in_json(schema: impl Into<Value>) -> Value {
    json!({ "application/json": { "schema": schema.into() } })
}

fn header_parameter(name: &str, value: &HeaderValue) -> Value {
    json!({
        "name": name,
        "in": "header",
        "required": true,
        "schema": { "const": value.to_str().unwrap_or_default() },
    })
}

fn query_parameter((name, mut schema): (String, Value)) -> Value {
    let description = schema
        .as_object_mut()
        .and_then(|it| it.remove("description"));
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

fn own_path() -> Value {
    json!({ "get": {
        "operationId": "openapi",
        "summary": "this document, without an envelope.",
        "responses": { "200": { "description": "The document.", "content": in_json(json!({ "type": "object" })) } },
    }})
}

/// Codes by the HTTP status that carries them.
fn codes() -> BTreeMap<u16, Vec<&'static str>> {
    let mut codes: BTreeMap<u16, Vec<&'static str>> = BTreeMap::new();
    for code in ErrorCode::ALL {
        codes
            .entry(code.http_status())
            .or_default()
            .push(code.name());
    }
    codes
}

/// Every call's errors: any may meet any of them.
fn failures() -> Map<String, Value> {
    codes()
        .into_keys()
        .map(|status| {
            let reference = format!("#/components/responses/Error{status}");
            (status.to_string(), json!({ "$ref": reference }))
        })
        .collect()
}

fn error_responses() -> Map<String, Value> {
    codes()
        .into_iter()
        .map(|(status, codes)| {
            let schema = json!({
                "allOf": [{ "$ref": format!("#{SCHEMAS}/ErrorEnvelope") }],
                "properties": { "code": { "enum": codes } },
            });
            let response = json!({
                "description": format!("`{}`", codes.join("`, `")),
                "content": in_json(schema),
            });
            (format!("Error{status}"), response)
        })
        .collect()
}
