//! JSON-RPC 2.0 between daemon and app: a message a line, each of a bounded length. No I/O.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// Longest request: the arguments of a call, and some room for their frame.
pub const MAX_PARAMS: usize = 1024 * 1024;
/// Longest words of an app's error that are passed on.
const MAX_MESSAGE: usize = 2000;

/// What an app said of a call.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Answer {
    /// Which call.
    pub(crate) id: u64,
    pub(crate) outcome: Result<Value, AppError>,
}

/// An app's own error.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{message} (code {code})")]
pub struct AppError {
    /// Its number for it.
    pub code: i64,
    /// Its words.
    pub message: String,
}

/// Why a line is no answer.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub(crate) struct Malformed(String);

#[derive(Serialize)]
struct Request<'a> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: &'a Value,
}

#[derive(Deserialize)]
struct Response {
    jsonrpc: String,
    id: u64,
    #[serde(default, deserialize_with = "present")]
    result: Option<Value>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    code: i64,
    message: String,
}

/// A field that is there, be it null.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// A call as a line.
pub(crate) fn request(id: u64, method: &str, params: &Value) -> Vec<u8> {
    let request = Request {
        jsonrpc: "2.0",
        id,
        method,
        params,
    };
    let mut line = serde_json::to_vec(&request).expect("a JSON value serialises");
    line.push(b'\n');
    line
}

/// Reads a line.
///
/// # Errors
/// [`Malformed`] in words.
pub(crate) fn answer(line: &[u8]) -> Result<Answer, Malformed> {
    let response: Response =
        serde_json::from_slice(line).map_err(|error| Malformed(error.to_string()))?;
    if response.jsonrpc != "2.0" {
        return Err(Malformed("expected jsonrpc 2.0".to_owned()));
    }
    let outcome = match (response.result, response.error) {
        (Some(result), None) => Ok(result),
        (None, Some(Failure { code, message })) => Err(AppError {
            code,
            message: message.chars().take(MAX_MESSAGE).collect(),
        }),
        (Some(_), Some(_)) | (None, None) => {
            return Err(Malformed("expected either result or error".to_owned()));
        }
    };
    let id = response.id;
    Ok(Answer { id, outcome })
}

/// Cuts what comes into lines, each within a bound.
#[derive(Debug)]
pub(crate) struct Lines {
    most: usize,
    partial: Vec<u8>,
}

/// A line is longer than the bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TooLong;

impl Lines {
    pub(crate) const fn new(most: usize) -> Self {
        let partial = vec![];
        Self { most, partial }
    }

    /// Takes bytes and gives the lines that they complete, without their ends.
    ///
    /// # Errors
    /// [`TooLong`]; nothing that follows can be understood then.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut lines = vec![];
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend(&bytes[..end])?;
            lines.push(std::mem::take(&mut self.partial));
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes)?;
        Ok(lines)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.partial.len() + bytes.len() > self.most {
            return Err(TooLong);
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_one_line() {
        let line = request(7, "say", &json!({"text": "a\nb"}));
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let read: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(
            read,
            json!({"jsonrpc": "2.0", "id": 7, "method": "say", "params": {"text": "a\nb"}})
        );
    }

    #[test]
    fn answers_are_a_result_or_an_error_and_nothing_else() {
        let good = answer(br#"{"jsonrpc":"2.0","id":7,"result":null}"#).unwrap();
        assert_eq!(
            good,
            Answer {
                id: 7,
                outcome: Ok(Value::Null)
            }
        );
        let error =
            answer(br#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"no"}}"#).unwrap();
        assert_eq!(error.outcome.unwrap_err().to_string(), "no (code 1)");
        for bad in [
            "",
            "hello",
            "[]",
            r#"{"jsonrpc":"2.0","id":7}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":1,"error":{"code":1,"message":""}}"#,
            r#"{"jsonrpc":"1.0","id":7,"result":1}"#,
            r#"{"jsonrpc":"2.0","id":"7","result":1}"#,
            r#"{"jsonrpc":"2.0","result":1}"#,
        ] {
            assert!(answer(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(answer("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn a_line_without_end_is_cut_off() {
        let mut lines = Lines::new(10);
        assert_eq!(
            lines.push(b"0123456789\n"),
            Ok(vec![b"0123456789".to_vec()])
        );
        assert_eq!(lines.push(b"0123456789"), Ok(vec![]));
        assert_eq!(lines.push(b"0"), Err(TooLong));
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_arrive(text in "[a-c\n]{0,60}", cut in 1..9_usize) {
            let mut lines = Lines::new(60);
            let mut found = vec![];
            for part in text.as_bytes().chunks(cut) {
                found.extend(lines.push(part).unwrap());
            }
            let mut expected: Vec<Vec<u8>> = text.split('\n').map(|l| l.as_bytes().to_vec()).collect();
            expected.pop();
            prop_assert_eq!(found, expected);
        }
    }
}
