//! The one error that the API answers with, and its table of codes.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What went wrong, for programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Our own fault.
    Internal,
    /// Bad usage or value.
    InvalidArgument,
    /// Unknown, or not visible to the caller.
    NotFound,
    /// No daemon on the socket.
    NotRunning,
    /// Visible, but trust is missing.
    NotTrusted,
    /// The network would not.
    ConnectionFailed,
    /// The deadline passed.
    Timeout,
    /// The name is taken, or it runs already.
    AlreadyExists,
    /// A grant, a role or a file's mode forbids it.
    PermissionDenied,
    /// Too much; try later.
    RateLimited,
}

impl ErrorCode {
    /// All codes, in the order of their exit codes from 1.
    pub const ALL: [Self; 10] = [
        Self::Internal,
        Self::InvalidArgument,
        Self::NotFound,
        Self::NotRunning,
        Self::NotTrusted,
        Self::ConnectionFailed,
        Self::Timeout,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::RateLimited,
    ];

    /// The code as JSON has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::NotRunning => "not_running",
            Self::NotTrusted => "not_trusted",
            Self::ConnectionFailed => "connection_failed",
            Self::Timeout => "timeout",
            Self::AlreadyExists => "already_exists",
            Self::PermissionDenied => "permission_denied",
            Self::RateLimited => "rate_limited",
        }
    }

    /// The exit code of a program that ends with it, 1–10.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::InvalidArgument => 2,
            Self::NotFound => 3,
            Self::NotRunning => 4,
            Self::NotTrusted => 5,
            Self::ConnectionFailed => 6,
            Self::Timeout => 7,
            Self::AlreadyExists => 8,
            Self::PermissionDenied => 9,
            Self::RateLimited => 10,
        }
    }

    /// The HTTP status of an answer that carries it.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Internal => 500,
            Self::InvalidArgument => 400,
            Self::NotFound => 404,
            Self::NotRunning => 503,
            Self::NotTrusted | Self::PermissionDenied => 403,
            Self::ConnectionFailed => 502,
            Self::Timeout => 504,
            Self::AlreadyExists => 409,
            Self::RateLimited => 429,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An error of the API: a code for programs, words for people, and what to do next.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize, Error)]
#[error("{message}")]
pub struct ApiError {
    /// What went wrong.
    pub code: ErrorCode,
    /// In words, lower case, no full stop.
    pub message: String,
    /// What to do next, where that is known: mostly a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// With `rate_limited`: when to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl ApiError {
    /// An error without a hint.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            retry_after_ms: None,
        }
    }

    /// [`ErrorCode::InvalidArgument`].
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidArgument, message)
    }

    /// [`ErrorCode::Internal`].
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }

    /// [`ErrorCode::Timeout`].
    #[must_use]
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Timeout, message)
    }

    /// With what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With the time after which it may work.
    #[must_use]
    pub const fn with_retry_after_ms(mut self, millis: u64) -> Self {
        self.retry_after_ms = Some(millis);
        self
    }
}

/// What every answer is: `{"status":"ok","data":{…}}` or `{"status":"error","code":…}`.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Envelope<T> {
    /// It was done.
    Ok {
        /// The answer's fields.
        data: T,
    },
    /// It was not.
    Error(ApiError),
}

impl<T> Envelope<T> {
    /// The answer or the error.
    ///
    /// # Errors
    /// The envelope's error.
    pub fn into_result(self) -> Result<T, ApiError> {
        match self {
            Self::Ok { data } => Ok(data),
            Self::Error(error) => Err(error),
        }
    }
}

impl<T> From<Result<T, ApiError>> for Envelope<T> {
    fn from(result: Result<T, ApiError>) -> Self {
        match result {
            Ok(data) => Self::Ok { data },
            Err(error) => Self::Error(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_codes_is_the_contracts() {
        let names = "internal invalid_argument not_found not_running not_trusted connection_failed timeout already_exists permission_denied rate_limited";
        for ((code, name), exit) in ErrorCode::ALL.into_iter().zip(names.split(' ')).zip(1..) {
            assert_eq!(code.name(), name);
            assert_eq!(code.exit_code(), exit);
            assert_eq!(serde_json::to_value(code).unwrap(), name);
            assert!((400..600).contains(&code.http_status()));
        }
    }

    #[test]
    fn envelopes_are_flat_and_round_trip() {
        let ok: Envelope<u8> = Ok(7).into();
        assert_eq!(
            serde_json::to_string(&ok).unwrap(),
            r#"{"status":"ok","data":7}"#
        );
        let error = ApiError::new(ErrorCode::RateLimited, "too many knocks")
            .with_hint("wait")
            .with_retry_after_ms(500);
        let text = serde_json::to_string(&Envelope::<u8>::Error(error.clone())).unwrap();
        assert_eq!(
            text,
            r#"{"status":"error","code":"rate_limited","message":"too many knocks","hint":"wait","retry_after_ms":500}"#
        );
        let read: Envelope<u8> = serde_json::from_str(&text).unwrap();
        assert_eq!(read.into_result(), Err(error));
    }
}
