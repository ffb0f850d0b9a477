//! Answers an app's calls by asking the API.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use pilot_app::{App, Error};
use pilot_web::{Client, HttpError, Response, exchange};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Map, Value, json};
use url::Url;

use crate::description::{Credential, Description, Operation};
use crate::request::{Request, forms, request};

/// How long one call takes at most, with all tries: the manifest's `call_ms` is beyond it.
const PATIENCE: Duration = Duration::from_secs(25);
/// Tries of a request that may be made twice.
const TRIES: u32 = 3;
/// Longest answer of an API; the manifest's `answer_kb` has room for it.
const MAX_ANSWER: usize = 2 * 1024 * 1024;
/// Of an answer that says no, so much is shown.
const MAX_WORDS: usize = 300;
/// What stands where a credential stood.
const HIDDEN: &str = "***";

/// An API, ready to be asked.
pub struct Adapter {
    base: Url,
    description: Description,
    credentials: BTreeMap<String, String>,
    /// What no answer shows.
    hidden: Vec<String>,
    client: Client,
}

/// The bytes that [`serve`] takes: a description and the credentials' values by their names.
#[must_use]
pub fn pack(description: &[u8], credentials: &BTreeMap<String, String>) -> Vec<u8> {
    let length = description.len() as u64;
    let credentials = serde_json::to_vec(credentials).unwrap_or_default();
    [&length.to_le_bytes()[..], description, &credentials].concat()
}

fn unpack(packed: &[u8]) -> Option<(Description, BTreeMap<String, String>)> {
    let (length, rest) = packed.split_first_chunk()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (description, credentials) = rest.split_at_checked(length)?;
    let description = Description::parse(description).ok()?;
    Some((description, serde_json::from_slice(credentials).ok()?))
}

/// Answers calls on standard input until the daemon ends the app.
///
/// # Errors
/// What was not packed, and what the socket says when it fails.
pub fn serve(packed: &[u8]) -> io::Result<()> {
    let (description, credentials) =
        unpack(packed).ok_or_else(|| io::Error::other("it was started without a description"))?;
    let client = Client::new().map_err(io::Error::other)?;
    let adapter = Adapter::new(description, credentials, client).map_err(io::Error::other)?;
    adapter.app().serve_connected()
}

impl Adapter {
    /// With the credentials' values by their names, and what connects.
    ///
    /// # Errors
    /// If the description's base is none.
    pub fn new(
        description: Description,
        credentials: BTreeMap<String, String>,
        client: Client,
    ) -> Result<Self, crate::DescriptionError> {
        Ok(Self {
            base: description.url()?,
            hidden: forms(&credentials),
            description,
            credentials,
            client,
        })
    }

    fn app(self) -> App {
        let shared = Rc::new(self);
        let names = shared.description.operations.keys().cloned();
        names
            .collect::<Vec<_>>()
            .into_iter()
            .fold(App::new(), |app, name| {
                let adapter = Rc::clone(&shared);
                let method = name.clone();
                app.method(&name, move |arguments: Map<String, Value>| {
                    adapter.call(&method, &arguments)
                })
            })
    }

    /// Asks.
    ///
    /// # Errors
    /// With the status of HTTP as its code where the API says no, else in words. No credential is in them.
    pub fn call(&self, method: &str, arguments: &Map<String, Value>) -> Result<Value, Error> {
        let operation = self.description.operations.get(method);
        let operation =
            operation.ok_or_else(|| Error::from("the description has no such method"))?;
        let credentials = self.credentials_for(operation)?;
        let request = request(&self.base, operation, arguments, &credentials, new_key)?;
        let what = format!("{} {}", operation.method.name(), operation.path);
        let response = self.ask(operation, &request).map_err(|error| {
            let again = request
                .key
                .as_ref()
                .map(|key| format!("; it may be sent again with the same key, {key}"));
            let words = format!("{what}: {error}{}", again.unwrap_or_default());
            Error::from(self.hide(&words))
        })?;
        self.answer(&what, response, request.key)
    }

    /// The first set of credentials that is there.
    fn credentials_for(&self, operation: &Operation) -> Result<Vec<(&Credential, &str)>, Error> {
        if operation.security.is_empty() {
            return Ok(vec![]);
        }
        let value = |name: &String| {
            let place = self.description.credentials.get(name)?;
            Some((place, self.credentials.get(name)?.as_str()))
        };
        let mut sets = operation.security.iter();
        let found = sets.find_map(|set| set.iter().map(value).collect::<Option<Vec<_>>>());
        found.ok_or_else(|| {
            let names: Vec<String> = operation.security.iter().map(|set| set.join(" and ")).collect();
            let names = names.join(", or ");
            let words = format!("it takes a credential that is not set: {names}; pilotctl appstore secret set APP NAME");
            Error::from(words)
        })
    }

    /// Once, or until there is an answer where twice is as good as once.
    fn ask(&self, operation: &Operation, request: &Request) -> Result<Response, HttpError> {
        let deadline = Instant::now() + PATIENCE;
        let may_repeat = operation.method.is_idempotent() || request.key.is_some();
        let mut tries = 1;
        loop {
            match self.ask_once(request, deadline) {
                Err(error)
                    if may_repeat
                        && tries < TRIES
                        && is_passing(&error)
                        && Instant::now() < deadline =>
                {
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    fn ask_once(&self, request: &Request, deadline: Instant) -> Result<Response, HttpError> {
        let stream = self.client.open(&self.base, deadline)?;
        let is_head = request.head.starts_with(b"HEAD ");
        exchange(stream, &request.head, &request.body, is_head, MAX_ANSWER)
    }

    fn answer(&self, what: &str, response: Response, key: Option<String>) -> Result<Value, Error> {
        let status = response.status;
        if !(200..300).contains(&status) {
            let leads_on = response
                .location
                .map(|to| format!("it leads on to {to}, which is not followed; "));
            let text: String = String::from_utf8_lossy(&response.body).into_owned();
            let text = self.hide(&format!("{}{text}", leads_on.unwrap_or_default()));
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let text: String = text
                .chars()
                .filter(|c| !c.is_control())
                .take(MAX_WORDS)
                .collect();
            return Err(Error::new(
                i32::from(status),
                format!("HTTP {status} from {what}: {text}"),
            ));
        }
        if response.is_cut {
            let words = format!(
                "{what}: its answer breaks off, or is longer than {} MiB",
                MAX_ANSWER >> 20
            );
            return Err(words.into());
        }
        let mut result = json!({ "status": status });
        if !response.body.is_empty() {
            let is_json = response
                .content_type
                .is_some_and(|kind| kind.contains("json"));
            let parsed = serde_json::from_slice(&response.body);
            result["body"] = match parsed {
                Ok(value) if is_json => value,
                Ok(_) | Err(_) => String::from_utf8_lossy(&response.body).into(),
            };
        }
        if let Some(location) = response.location {
            result["location"] = location.into();
        }
        self.hide_in(&mut result);
        if let Some(key) = key {
            result["idempotency_key"] = key.into();
        }
        Ok(result)
    }

    /// A server may say what it was asked with.
    fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for form in &self.hidden {
            if text.contains(form) {
                text = text.replace(form, HIDDEN);
            }
        }
        text
    }

    /// As deep as a JSON document can be, which is 128.
    fn hide_in(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.hide(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.hide_in(value)),
            Value::Object(fields) => {
                let old = std::mem::take(fields);
                for (name, mut value) in old {
                    self.hide_in(&mut value);
                    fields.insert(self.hide(&name), value);
                }
            }
            Value::Number(number) => {
                let shown = number.to_string();
                if self.hide(&shown) != shown {
                    *value = HIDDEN.into();
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }
}

/// Whether it may be otherwise the next time: not where it was not granted, nor when the time is over.
fn is_passing(error: &HttpError) -> bool {
    match error {
        HttpError::Ended => true,
        HttpError::Io(error) => !matches!(
            error.kind(),
            io::ErrorKind::PermissionDenied
                | io::ErrorKind::TimedOut
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::QuotaExceeded
        ),
        HttpError::Malformed(_) | HttpError::Packed(_) => false,
    }
}

/// 128 bits that nobody had before.
fn new_key() -> String {
    let mut bytes = [0; 16];
    // Without randomness there is no TLS either; a key that is no news would be refused as one.
    if SystemRandom::new().fill(&mut bytes).is_err() {
        return String::new();
    }
    HEXLOWER.encode(&bytes)
}
