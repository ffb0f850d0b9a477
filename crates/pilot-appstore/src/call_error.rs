//! Why a call has no result.

use std::time::Duration;

use thiserror::Error;

use crate::ending::Ending;
use crate::id::AppId;
use crate::rpc::{AppError, MAX_PARAMS};
use crate::store::StoreError;

/// Why a call has no result.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The app is not there, or may not run.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It has no such method.
    #[error("{app} has no method {method}: {app} help lists them")]
    NoMethod {
        /// The app.
        app: AppId,
        /// What was asked for.
        method: String,
    },
    /// The arguments are longer than [`MAX_PARAMS`].
    #[error("the arguments are longer than {MAX_PARAMS} bytes")]
    TooLarge,
    /// The arguments are not what the method takes.
    #[error("the arguments do not fit: {0}")]
    Params(String),
    /// The app's answer is not what the method gives.
    #[error("the app's answer does not fit its own description: {0}")]
    Result(String),
    /// The app's own error.
    #[error("{0}")]
    App(AppError),
    /// The caller's deadline passed.
    #[error("the app did not answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The app ended before it answered.
    #[error("the app was ended: {0}")]
    Ended(Ending),
    /// It ended just now, and waits before it is started again.
    #[error("the app ended a moment ago and is started again in {} ms", .0.as_millis())]
    Recovering(Duration),
    /// It ended too often.
    #[error("the app is suspended after {0} failures in a row; the last: {1}")]
    Suspended(u32, Ending),
    /// What is installed of it changes.
    #[error("the app is being changed: call it again")]
    Changing,
    /// Too many calls wait already.
    #[error("too many calls of this app wait already")]
    Busy,
    /// Its process could not be started.
    #[error("the app cannot be started: {0}")]
    Start(String),
}

impl CallError {
    /// One word for the audit log.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Store(_) => "refused",
            Self::NoMethod { .. } => "no_method",
            Self::TooLarge => "too_large",
            Self::Params(_) => "invalid_params",
            Self::Result(_) => "invalid_result",
            Self::App(_) => "app_error",
            Self::Timeout(_) => "timeout",
            Self::Ended(ending) => ending.name(),
            Self::Recovering(_) => "recovering",
            Self::Suspended(..) => "suspended",
            Self::Changing => "changing",
            Self::Busy => "busy",
            Self::Start(_) => "not_started",
        }
    }
}
