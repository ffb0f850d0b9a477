//! From an OpenAPI 3 document to an app.

mod schema;
mod toml;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use thiserror::Error;
use url::Url;

use crate::description::{
    Body, Credential, Description, DescriptionError, Method, Operation, Param, Place,
    is_credential_name,
};
use crate::request::IDEMPOTENCY_KEY;
use schema::Resolver;

/// Longest document.
const MAX_DOCUMENT: usize = 4 * 1024 * 1024;
/// Methods of an app.
const MAX_METHODS: usize = 64;
/// Longest line of words for people.
const MAX_WORDS: usize = 300;
const METHODS: [(&str, Method); 6] = [
    ("get", Method::Get),
    ("head", Method::Head),
    ("put", Method::Put),
    ("post", Method::Post),
    ("patch", Method::Patch),
    ("delete", Method::Delete),
];

/// What the document does not say, or says otherwise.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The app's id; made of the title otherwise.
    pub id: Option<String>,
    /// Where the API is; the document's first server otherwise.
    pub server: Option<String>,
    /// The methods that are wanted; all otherwise.
    pub only: Vec<String>,
}

/// The files of a bundle, to be signed.
#[derive(Clone, Debug)]
pub struct Adapted {
    /// The app's id.
    pub id: String,
    /// `manifest.toml`.
    pub manifest: String,
    /// `api.json`.
    pub description: String,
    /// The names of methods.
    pub methods: Vec<String>,
    /// The names of credentials.
    pub credentials: Vec<String>,
    /// Operations that are left out, and why.
    pub left_out: Vec<(String, String)>,
}

/// Why a document makes no app.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AdaptError {
    /// Too long.
    #[error("the document is longer than {} MiB", MAX_DOCUMENT >> 20)]
    TooLong,
    /// No JSON.
    #[error("the document is no JSON: {0}")]
    Json(String),
    /// Another kind of document.
    #[error("expected a document of OpenAPI 3")]
    Version,
    /// Nowhere to ask.
    #[error("{0}; give --server https://HOST/PATH")]
    Server(String),
    /// A credential would be readable on its way.
    #[error(
        "it takes credentials over http, where everybody on the way reads them; give --server https://HOST/PATH"
    )]
    Clear,
    /// Too much of it.
    #[error(
        "it has {0} operations, and an app has at most {MAX_METHODS} methods; name those that are wanted by --only"
    )]
    Many(usize),
    /// Nothing of it.
    #[error("none of its operations makes a method: {0}")]
    None(String),
    /// A name that it has not.
    #[error("it has no method {0:?}; it has {1}")]
    Unknown(String, String),
    /// An operation that was asked for.
    #[error("method {0}: {1}")]
    Operation(String, String),
    /// What was made of it is no description.
    #[error(transparent)]
    Description(#[from] DescriptionError),
}

/// An operation as it becomes a method.
struct Made {
    summary: String,
    operation: Operation,
    params: Value,
    result: Value,
}

/// Makes an app of a document in JSON.
///
/// # Errors
/// [`AdaptError`].
pub fn from_openapi(text: &str, options: &Options) -> Result<Adapted, AdaptError> {
    if text.len() > MAX_DOCUMENT {
        return Err(AdaptError::TooLong);
    }
    let document: Value =
        serde_json::from_str(text).map_err(|error| AdaptError::Json(error.to_string()))?;
    let version = document["openapi"].as_str().unwrap_or_default();
    if !version.starts_with("3.") {
        return Err(AdaptError::Version);
    }
    let base = base(&document, options)?;
    let credentials = credentials(&document);
    let (made, left_out) = methods(&document, &credentials, options)?;
    let operations = made
        .iter()
        .map(|(name, made)| (name.clone(), made.operation.clone()));
    let operations: BTreeMap<String, Operation> = operations.collect();
    let used: BTreeSet<&String> = operations
        .values()
        .flat_map(|o| o.security.iter().flatten())
        .collect();
    let description = Description {
        format: 1,
        base: base.to_string(),
        credentials: credentials
            .iter()
            .filter(|(name, _)| used.contains(name))
            .map(|(n, c)| (n.clone(), c.clone()))
            .collect(),
        operations,
    };
    description.check()?;
    if !description.credentials.is_empty() && base.scheme() == "http" && !is_this_machine(&base) {
        return Err(AdaptError::Clear);
    }
    let info = &document["info"];
    let id = options
        .id
        .clone()
        .unwrap_or_else(|| id_of(&words(&info["title"], "api")));
    Ok(Adapted {
        manifest: manifest(&id, info, &base, &made),
        description: serde_json::to_string_pretty(&description)
            .map_err(|error| AdaptError::Json(error.to_string()))?,
        methods: made.into_keys().collect(),
        credentials: description.credentials.into_keys().collect(),
        left_out,
        id,
    })
}

fn is_this_machine(base: &Url) -> bool {
    match base.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn base(document: &Value, options: &Options) -> Result<Url, AdaptError> {
    let told = document["servers"][0]["url"].as_str();
    let text = options.server.as_deref().or(told).unwrap_or_default();
    let shown: String = text.chars().take(200).collect();
    let refused = |why: &str| AdaptError::Server(format!("the server {shown:?} {why}"));
    if text.contains(['{', '}']) {
        return Err(refused("has variables"));
    }
    let url = Url::parse(text).map_err(|_| refused("is no whole URL"))?;
    if url.port_or_known_default().is_none() || !url.has_host() {
        return Err(refused("has no host or port"));
    }
    Ok(url)
}

/// Schemes of credentials that can be sent; what takes others is left out.
fn credentials(document: &Value) -> BTreeMap<String, Credential> {
    let schemes = document["components"]["securitySchemes"].as_object();
    let known = schemes.into_iter().flatten().filter_map(|(name, scheme)| {
        let text = |field: &str| scheme[field].as_str().unwrap_or_default();
        let credential = match (
            text("type"),
            text("in"),
            text("scheme").to_ascii_lowercase().as_str(),
        ) {
            ("apiKey", "header", _) => Credential::Header(text("name").to_owned()),
            ("apiKey", "query", _) => Credential::Query(text("name").to_owned()),
            ("http", _, "bearer") | ("oauth2" | "openIdConnect", ..) => Credential::Bearer,
            ("http", _, "basic") => Credential::Basic,
            _ => return None,
        };
        is_credential_name(name).then(|| (name.clone(), credential))
    });
    known.collect()
}

type Methods = BTreeMap<String, Made>;

fn methods(
    document: &Value,
    credentials: &BTreeMap<String, Credential>,
    options: &Options,
) -> Result<(Methods, Vec<(String, String)>), AdaptError> {
    let mut found: BTreeMap<String, (&str, &Value, Method, &Value)> = BTreeMap::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (word, method) in METHODS {
            if let Some(operation) = item.get(word).filter(|operation| operation.is_object()) {
                let name = name_of(operation["operationId"].as_str(), word, path);
                let mut unique = name.clone();
                let mut number = 2;
                while found.contains_key(&unique) {
                    unique = format!("{}_{number}", &name[..name.len().min(58)]);
                    number += 1;
                }
                found.insert(unique, (path, item, method, operation));
            }
        }
    }
    if let Some(unknown) = options.only.iter().find(|name| !found.contains_key(*name)) {
        let known: Vec<&str> = found.keys().map(String::as_str).take(100).collect();
        return Err(AdaptError::Unknown(unknown.clone(), known.join(", ")));
    }
    if !options.only.is_empty() {
        found.retain(|name, _| options.only.contains(name));
    }
    if found.len() > MAX_METHODS {
        return Err(AdaptError::Many(found.len()));
    }
    let mut resolver = Resolver::new(document);
    let (mut made, mut left_out) = (BTreeMap::new(), vec![]);
    for (name, (path, item, method, operation)) in found {
        match make(&mut resolver, credentials, (path, item, method, operation)) {
            Ok(method) => drop(made.insert(name, method)),
            Err(words) if options.only.contains(&name) => {
                return Err(AdaptError::Operation(name, words));
            }
            Err(words) => left_out.push((name, words)),
        }
    }
    if made.is_empty() {
        let why = left_out
            .first()
            .map_or("it has none".to_owned(), |(name, words)| {
                format!("{name}: {words}")
            });
        return Err(AdaptError::None(why));
    }
    Ok((made, left_out))
}

fn make<'a>(
    resolver: &mut Resolver<'a>,
    credentials: &BTreeMap<String, Credential>,
    (path, item, method, operation): (&str, &'a Value, Method, &'a Value),
) -> Result<Made, String> {
    let mut properties = Map::new();
    let mut required = vec![];
    let mut params: Vec<Param> = vec![];
    // Those of the operation come last, and in the place of the path's.
    let lists = [&item["parameters"], &operation["parameters"]];
    for param in lists.into_iter().filter_map(Value::as_array).flatten() {
        let Some((param, schema)) = parameter(resolver, param)? else {
            continue;
        };
        params.retain(|other| other.name != param.name || other.place != param.place);
        required.retain(|name| *name != param.name);
        let is_key =
            param.place == Place::Header && param.name.eq_ignore_ascii_case(IDEMPOTENCY_KEY);
        if param.required && !is_key {
            required.push(param.name.clone());
        }
        properties.insert(param.name.clone(), schema);
        params.push(param);
    }
    let body = request_body(resolver, &operation["requestBody"])?;
    let (body, schema) = body.unwrap_or((Body::None, Value::Null));
    if body != Body::None {
        properties.insert("body".to_owned(), schema);
    }
    if body == Body::Required {
        required.push("body".to_owned());
    }
    let made = Operation {
        method,
        path: path.to_owned(),
        params,
        body,
        security: security(resolver.document(), operation, credentials)?,
    };
    let whole = Description {
        format: 1,
        base: "http://localhost/".to_owned(),
        credentials: credentials.clone(),
        operations: BTreeMap::from([("it".to_owned(), made.clone())]),
    };
    whole.check().map_err(|error| error.to_string())?;
    let told = [&operation["summary"], &operation["description"]];
    let told = told
        .into_iter()
        .find(|value| value.is_string())
        .unwrap_or(&Value::Null);
    Ok(Made {
        summary: words(told, &format!("{} {path}", method.name())),
        operation: made,
        params: json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false }),
        result: result(resolver, &operation["responses"])?,
    })
}

/// A parameter and its schema; none for what a request says by itself.
fn parameter<'a>(
    resolver: &mut Resolver<'a>,
    param: &'a Value,
) -> Result<Option<(Param, Value)>, String> {
    let param = resolver.followed(param)?;
    let name = param["name"].as_str().unwrap_or_default().to_owned();
    let place = match param["in"].as_str() {
        Some("path") => Place::Path,
        Some("query") => Place::Query,
        // OpenAPI 3 §4.8.12: these are ignored.
        Some("header")
            if ["accept", "content-type", "authorization"]
                .contains(&name.to_ascii_lowercase().as_str()) =>
        {
            return Ok(None);
        }
        Some("header") => Place::Header,
        _ if param["required"] == json!(true) => {
            return Err(format!(
                "its parameter {name:?} is in a place that cannot be filled"
            ));
        }
        _ => return Ok(None),
    };
    let is_required = place == Place::Path || param["required"] == json!(true);
    let schema = resolver.schema(&param["schema"])?;
    let schema = schema::described(schema, param["description"].as_str());
    let param = Param {
        name,
        place,
        required: is_required,
    };
    Ok(Some((param, schema)))
}

fn request_body<'a>(
    resolver: &mut Resolver<'a>,
    body: &'a Value,
) -> Result<Option<(Body, Value)>, String> {
    if body.is_null() {
        return Ok(None);
    }
    let body = resolver.followed(body)?;
    let is_required = body["required"] == json!(true);
    match json_of(body) {
        Some(media) => {
            let schema = resolver.schema(&media["schema"])?;
            let kind = if is_required {
                Body::Required
            } else {
                Body::Optional
            };
            Ok(Some((kind, schema)))
        }
        None if is_required => Err("its body is no JSON".to_owned()),
        None => Ok(None),
    }
}

/// What is JSON among what something may be.
fn json_of(of: &Value) -> Option<&Value> {
    let content = of["content"].as_object()?;
    let is_json = |kind: &str| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind == "application/json" || kind.ends_with("+json")
    };
    content
        .iter()
        .find(|(kind, _)| is_json(kind))
        .map(|(_, media)| media)
}

fn security(
    document: &Value,
    operation: &Value,
    credentials: &BTreeMap<String, Credential>,
) -> Result<Vec<Vec<String>>, String> {
    let told = operation
        .get("security")
        .or_else(|| document.get("security"));
    let sets = told.and_then(Value::as_array).into_iter().flatten();
    let sets: Vec<Vec<String>> = sets
        .filter_map(Value::as_object)
        .map(|set| set.keys().cloned().collect())
        .collect();
    // Who may ask without a credential is not asked for one.
    if sets.is_empty() || sets.iter().any(Vec::is_empty) {
        return Ok(vec![]);
    }
    let can_be_sent = |set: &Vec<String>| set.iter().all(|name| credentials.contains_key(name));
    let known: Vec<Vec<String>> = sets.into_iter().filter(can_be_sent).collect();
    if known.is_empty() {
        return Err("it takes a credential of a kind that is not known".to_owned());
    }
    Ok(known)
}

fn result<'a>(resolver: &mut Resolver<'a>, responses: &'a Value) -> Result<Value, String> {
    let mut bodies: Vec<Value> = vec![];
    let mut is_open = true;
    let good = |status: &str| status.starts_with('2');
    for (_, response) in responses
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(status, _)| good(status))
    {
        let response = resolver.followed(response)?;
        match json_of(response) {
            Some(media) => bodies.push(resolver.schema(&media["schema"])?),
            None if response["content"].as_object().is_none_or(Map::is_empty) => {}
            // A text, say.
            None => bodies.push(json!({})),
        }
        is_open = false;
    }
    bodies.dedup();
    let body = match bodies.len() {
        0 if is_open => json!({}),
        0 => json!({ "description": "Nothing, as the document says" }),
        1 => bodies.remove(0),
        _ => json!({ "anyOf": bodies }),
    };
    Ok(json!({
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": { "type": "integer", "description": "Of HTTP" },
            "location": { "type": "string", "description": "Where to look next, as the API says" },
            "idempotency_key": { "type": "string", "description": "With the same key it may be asked again" },
            "body": body,
        },
    }))
}

/// `listPets` as `list_pets`; without a name the method and the path.
fn name_of(id: Option<&str>, method: &str, path: &str) -> String {
    let text = id.map_or_else(|| format!("{method}{path}"), str::to_owned);
    let mut name = String::new();
    let mut was_lower = false;
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            if c.is_ascii_uppercase() && was_lower {
                name.push('_');
            }
            name.push(c.to_ascii_lowercase());
            was_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
            was_lower = false;
        }
    }
    let name = name.trim_end_matches('_');
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    let name = if begins {
        name.to_owned()
    } else {
        format!("{method}_{name}")
    };
    let name = name[..name.len().min(62)].trim_end_matches('_').to_owned();
    // The daemon answers `help` itself.
    if name == "help" {
        "get_help".to_owned()
    } else {
        name
    }
}

fn id_of(title: &str) -> String {
    let mut label = String::new();
    for c in title.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_alphanumeric() {
            label.push(c);
        } else if !label.is_empty() && !label.ends_with('-') {
            label.push('-');
        }
    }
    let label = label[..label.len().min(40)].trim_matches('-');
    let label = label.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    format!("local.{}", if label.is_empty() { "api" } else { label })
}

/// One line for people.
fn words(value: &Value, otherwise: &str) -> String {
    let text = value.as_str().unwrap_or_default();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    let line = line[..line.floor_char_boundary(MAX_WORDS)]
        .trim()
        .to_owned();
    if line.is_empty() {
        otherwise
            .chars()
            .filter(|c| !c.is_control())
            .take(MAX_WORDS / 4)
            .collect()
    } else {
        line
    }
}

fn manifest(id: &str, info: &Value, base: &Url, made: &Methods) -> String {
    let text = |text: &str| toml::written(&Value::from(text));
    let version = info["version"].as_str().unwrap_or_default();
    let numbers: Vec<&str> = version.split('.').collect();
    let is_plain = |n: &&str| {
        !n.is_empty()
            && n.len() < 10
            && n.bytes().all(|b| b.is_ascii_digit())
            && (*n == "0" || !n.starts_with('0'))
    };
    let is_version = numbers.len() == 3 && numbers.iter().all(is_plain);
    let version = if is_version { version } else { "0.1.0" };
    let licence = words(&info["license"]["name"], "none named");
    let host = base.host_str().unwrap_or_default();
    let port = base.port_or_known_default().unwrap_or_default();
    let mut manifest = format!(
        "# Made by `pilotctl appstore adapt`.\nid = {}\nversion = {}\ndescription = {}\nlicence = {}\nadapter = \"http\"\nentry = \"api.json\"\n\n\
         [[grants]]\ngrant = {}\nreason = \"it is where the API is\"\n\n\
         [limits]\ncall_ms = 30000\ncpu_seconds = 600\nanswer_kb = 4096\nconnections = 2\n",
        text(id),
        text(version),
        text(&words(&info["title"], "An API over HTTP")),
        text(&licence),
        text(&format!("net:{host}:{port}")),
    );
    for (name, made) in made {
        manifest.push_str(&format!(
            "\n[methods.{name}]\nsummary = {}\nlatency = \"slow\"\nparams = {}\nresult = {}\n",
            text(&made.summary),
            toml::written(&made.params),
            toml::written(&made.result),
        ));
    }
    manifest
}

#[cfg(test)]
mod tests;
