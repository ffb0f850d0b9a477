//! Typed functions over JSON-RPC 2.0 on standard input: `docs/apps.md` of Pilot.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// JSON-RPC 2.0 §5.1.
const PARSE_ERROR: i32 = -32700;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
/// The code of an app's own errors that name none.
const APP_ERROR: i32 = 1;

/// What a method gives instead of its result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    code: i32,
    message: String,
}

impl Error {
    /// An error with a code of the app's own, which its callers see.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<String> for Error {
    fn from(message: String) -> Self {
        Self::new(APP_ERROR, message)
    }
}

impl From<&str> for Error {
    fn from(message: &str) -> Self {
        Self::new(APP_ERROR, message)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::new(APP_ERROR, error.to_string())
    }
}

type Handler = Box<dyn FnMut(Value) -> Result<Value, Error>>;

/// An app: its methods by their names.
#[derive(Default)]
pub struct App {
    methods: BTreeMap<String, Handler>,
}

#[derive(Deserialize)]
struct Request {
    id: Value,
    method: String,
    #[serde(default)]
    params: Value,
}

impl App {
    /// An app without methods.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a method, under the name that the manifest has for it.
    #[must_use]
    pub fn method<P, R>(
        mut self,
        name: &str,
        mut run: impl FnMut(P) -> Result<R, Error> + 'static,
    ) -> Self
    where
        P: DeserializeOwned,
        R: Serialize,
    {
        let handler = move |params: Value| {
            let params = serde_json::from_value(params)
                .map_err(|error| Error::new(INVALID_PARAMS, error.to_string()))?;
            let result = run(params)?;
            serde_json::to_value(result).map_err(|error| Error::new(APP_ERROR, error.to_string()))
        };
        self.methods.insert(name.to_owned(), Box::new(handler));
        self
    }

    /// Answers calls until the daemon ends the app.
    ///
    /// # Errors
    /// What standard input says when it can neither be read nor written.
    pub fn serve(self) -> io::Result<()> {
        let socket = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let answers = socket.try_clone()?;
        self.serve_on(BufReader::new(socket), answers)
    }

    /// The same over any two ends: for tests.
    ///
    /// # Errors
    /// What they say when they fail.
    pub fn serve_on(mut self, requests: impl BufRead, mut answers: impl Write) -> io::Result<()> {
        for line in requests.split(b'\n') {
            let mut answer = self.answer(&line?).to_string();
            answer.push('\n');
            answers.write_all(answer.as_bytes())?;
            answers.flush()?;
        }
        Ok(())
    }

    fn answer(&mut self, line: &[u8]) -> Value {
        let request: Request = match serde_json::from_slice(line) {
            Ok(request) => request,
            Err(error) => {
                return failure(&Value::Null, &Error::new(PARSE_ERROR, error.to_string()));
            }
        };
        let Some(handler) = self.methods.get_mut(&request.method) else {
            let words = format!("no method {:?}", request.method);
            return failure(&request.id, &Error::new(METHOD_NOT_FOUND, words));
        };
        match handler(request.params) {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": request.id, "result": result }),
            Err(error) => failure(&request.id, &error),
        }
    }
}

fn failure(id: &Value, error: &Error) -> Value {
    json!({
        "jsonrpc": "2.0",
        "id": id,
        "error": { "code": error.code, "message": error.message },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(requests: &str) -> Vec<Value> {
        let mut out = vec![];
        let app = App::new()
            .method("double", |number: i64| Ok(number * 2))
            .method("fail", |words: String| Err::<(), _>(Error::new(7, words)));
        app.serve_on(requests.as_bytes(), &mut out).unwrap();
        let lines = out
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    #[test]
    fn calls_are_answered_one_after_the_other() {
        let answers = answers(
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"double\",\"params\":21}\n\
             {\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"fail\",\"params\":\"no\"}\n",
        );
        assert_eq!(answers[0], json!({"jsonrpc": "2.0", "id": 1, "result": 42}));
        assert_eq!(answers[1]["error"], json!({"code": 7, "message": "no"}));
    }

    #[test]
    fn what_cannot_be_done_is_an_error_of_json_rpc() {
        let answers = answers(
            "{\"id\":1,\"method\":\"treble\"}\n{\"id\":2,\"method\":\"double\",\"params\":\"x\"}\nhello\n",
        );
        let codes: Vec<i64> = answers
            .iter()
            .map(|a| a["error"]["code"].as_i64().unwrap())
            .collect();
        assert_eq!(codes, [-32601, -32602, -32700]);
        assert_eq!(answers[2]["id"], Value::Null);
    }
}
