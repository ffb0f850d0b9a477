use super::*;

#[allow(
    clippy::needless_pass_by_value,
    reason = "`json!` stands where it is used"
)]
fn document(paths: Value) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": { "title": "An API", "version": "2.0.1" },
        "servers": [{ "url": "https://api.example.org:8443/v2" }],
        "paths": paths,
    })
}

fn adapted(document: &Value) -> Result<Adapted, AdaptError> {
    from_openapi(&document.to_string(), &Options::default())
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "`json!` stands where it is used"
)]
fn get(schema: Value) -> Value {
    let answer = json!({ "content": { "application/json": { "schema": schema } } });
    json!({ "get": { "operationId": "one", "responses": { "200": answer } } })
}

#[test]
fn a_document_becomes_a_manifest_and_a_description() {
    let made = adapted(&document(json!({ "/a/{id}": {
        "parameters": [{ "name": "id", "in": "path", "required": true, "schema": { "type": "integer" } }],
        "get": { "operationId": "getA", "summary": "Gives\nA", "responses": { "200": {} } },
        "delete": { "responses": { "204": {} } },
    } })))
    .unwrap();
    assert_eq!(
        (made.id.as_str(), made.methods),
        (
            "local.an-api",
            vec!["delete_a_id".to_owned(), "get_a".to_owned()]
        )
    );
    for line in [
        "version = \"2.0.1\"",
        "grant = \"net:api.example.org:8443\"",
        "[methods.get_a]\nsummary = \"Gives A\"",
        "adapter = \"http\"",
    ] {
        assert!(made.manifest.contains(line), "{line}: {}", made.manifest);
    }
    let description = Description::parse(made.description.as_bytes()).unwrap();
    assert_eq!(description.operations["get_a"].path, "/a/{id}");
}

#[test]
fn references_are_followed_and_loops_end() {
    let mut whole = document(json!({ "/a": get(json!({ "$ref": "#/components/schemas/Node" })) }));
    whole["components"] = json!({ "schemas": {
        "Node": { "type": "object", "properties": { "next": { "$ref": "#/components/schemas/Node" }, "size": { "$ref": "#/components/schemas/a~1b" } } },
        "a/b": { "type": "integer", "nullable": true, "pattern": "(?=x)", "xml": {}, "example": null },
        "Loop": { "$ref": "#/components/schemas/Loop" },
    } });
    let made = adapted(&whole).unwrap();
    assert!(
        made.manifest.contains("\"type\" = [\"integer\", \"null\"]"),
        "{}",
        made.manifest
    );
    assert!(made.manifest.contains("as above") && !made.manifest.contains("(?="));
    whole["paths"]["/a"] = get(json!({ "$ref": "#/components/schemas/Loop" }));
    assert!(adapted(&whole).is_ok());
    for to in [
        "#/components/schemas/None",
        "https://evil.example/x.json",
        "other.json#/a",
    ] {
        whole["paths"]["/a"] = get(json!({ "$ref": to }));
        let words = adapted(&whole).unwrap_err().to_string();
        assert!(words.contains(to), "{words}");
    }
    // Responses that refer to each other.
    whole["components"]["responses"] = json!({ "R": { "$ref": "#/components/responses/S" }, "S": { "$ref": "#/components/responses/R" } });
    whole["paths"]["/a"]["get"]["responses"] =
        json!({ "200": { "$ref": "#/components/responses/R" } });
    assert!(
        adapted(&whole)
            .unwrap_err()
            .to_string()
            .contains("in a circle")
    );
}

#[test]
fn a_small_document_does_not_become_a_huge_one() {
    // Each refers ten times to the next: ten to the power of eleven parts.
    let schemas = (0..11).map(|level| {
        let next = format!("#/components/schemas/s{}", level + 1);
        let ten = vec![json!({ "$ref": next }); 10];
        (format!("s{level}"), json!({ "allOf": ten }))
    });
    let mut schemas: Map<String, Value> = schemas.collect();
    schemas.insert("s11".to_owned(), json!({ "type": "string" }));
    let mut whole = document(json!({ "/a": get(json!({ "$ref": "#/components/schemas/s0" })) }));
    whole["components"] = json!({ "schemas": schemas });
    assert!(
        adapted(&whole)
            .unwrap_err()
            .to_string()
            .contains("too many or too long")
    );
    // As deep as JSON may be.
    let deep = (0..100).fold(
        json!({ "type": "string" }),
        |inner, _| json!({ "items": inner }),
    );
    assert!(adapted(&document(json!({ "/a": get(deep) }))).is_ok());
    let long = " ".repeat(5 * 1024 * 1024);
    assert_eq!(
        from_openapi(&long, &Options::default()).unwrap_err(),
        AdaptError::TooLong
    );
    let described = json!({ "description": "x".repeat(1024 * 1024), "type": "string" });
    let made = adapted(&document(json!({ "/a": get(described) }))).unwrap();
    assert!(made.manifest.len() < 4096);
}

#[test]
fn what_no_request_can_say_is_left_out_or_refused() {
    let operation = json!({ "get": { "responses": {} } });
    for path in [
        "/a/../b",
        "/a/{b",
        "/a?b=c",
        "/a/{b}",
        "a",
        "/a b",
        "/a\r\nX: y",
    ] {
        let mut paths = json!({ "/good": { "get": { "responses": {} } } });
        paths[path] = operation.clone();
        let made = adapted(&document(paths)).unwrap();
        assert_eq!((made.methods.len(), made.left_out.len()), (1, 1), "{path}");
        assert!(
            adapted(&document(json!({ path: operation }))).is_err(),
            "{path}"
        );
    }
    let header = json!([{ "name": "X\r\nY", "in": "header", "schema": {} }]);
    assert!(
        adapted(&document(
            json!({ "/a": { "get": { "parameters": header, "responses": {} } } })
        ))
        .is_err()
    );
    let words = json!({ "/a": { "get": { "summary": "\u{1b}[2J\"\n[limits]\nmemory_mb = 4096", "responses": {} } } });
    let made = adapted(&document(words)).unwrap();
    assert!(
        made.manifest
            .contains("summary = \"[2J\\\" [limits] memory_mb = 4096\""),
        "{}",
        made.manifest
    );
    for server in [
        "",
        "/v1",
        "https://{region}.example.org",
        "ftp://x",
        "https://u:p@x.example",
    ] {
        let mut whole = document(json!({ "/a": operation }));
        whole["servers"][0]["url"] = server.into();
        assert!(adapted(&whole).is_err(), "{server}");
    }
    for text in ["", "[]", "{\"swagger\":\"2.0\"}", "openapi: 3.0.0"] {
        assert!(from_openapi(text, &Options::default()).is_err(), "{text}");
    }
}

#[test]
fn credentials_go_over_https_or_not_beyond_this_machine() {
    let mut whole =
        document(json!({ "/a": { "get": { "security": [{ "k": [] }], "responses": {} } } }));
    whole["components"] = json!({ "securitySchemes": { "k": { "type": "http", "scheme": "Bearer" }, "c": { "type": "apiKey", "in": "cookie", "name": "x" } } });
    let made = adapted(&whole).unwrap();
    assert_eq!(made.credentials, ["k"]);
    whole["servers"][0]["url"] = "http://api.example.org".into();
    assert_eq!(adapted(&whole).unwrap_err(), AdaptError::Clear);
    whole["servers"][0]["url"] = "http://127.0.0.1:8080".into();
    adapted(&whole).unwrap();
    whole["paths"]["/a"]["get"]["security"] = json!([{ "c": [] }]);
    assert!(
        adapted(&whole)
            .unwrap_err()
            .to_string()
            .contains("not known")
    );
    // Who may ask without is not asked for one.
    whole["paths"]["/a"]["get"]["security"] = json!([{ "c": [] }, {}]);
    assert!(adapted(&whole).unwrap().credentials.is_empty());
}

#[test]
fn names_are_unique_and_only_those_that_are_wanted_are_made() {
    let paths: Map<String, Value> = (0..70)
        .map(|n| {
            (
                format!("/p/{n}"),
                json!({ "get": { "operationId": "Same-Name", "responses": {} } }),
            )
        })
        .collect();
    let whole = document(Value::Object(paths));
    assert_eq!(adapted(&whole).unwrap_err(), AdaptError::Many(70));
    let only = Options {
        only: vec!["same_name".to_owned(), "same_name_70".to_owned()],
        ..Options::default()
    };
    assert_eq!(
        from_openapi(&whole.to_string(), &only).unwrap().methods,
        only.only
    );
    let none = Options {
        only: vec!["other".to_owned()],
        ..Options::default()
    };
    assert!(from_openapi(&whole.to_string(), &none).is_err());
    for (id, name) in [
        ("listPets", "list_pets"),
        ("help", "get_help"),
        ("2x", "get_2x"),
        ("__A__", "a"),
        ("ü", "get"),
        ("getHTTPThing", "get_httpthing"),
    ] {
        assert_eq!(name_of(Some(id), "get", "/"), name, "{id}");
    }
}
