//! What a peer is told of a call that has no result, and what is made of what a peer tells.

use pilot_api::{ApiError, ErrorCode};
use pilot_apps::{AppRefusal, AskAppError};
use pilot_appstore::{CallError, StoreError};
use pilot_types::Port;

use super::terms::Refused;
use crate::apps;
use crate::error::{code_of, describe, is_no_trust, stream_code};

/// How long somebody waits who had too many calls at a time.
const BUSY_RETRY_MS: u64 = 1000;

fn refusal(code: ErrorCode, words: impl Into<String>) -> AppRefusal {
    AppRefusal::new(code.name(), words)
}

/// A question that was not asked of any app.
pub(super) fn refused(refused: &Refused) -> AppRefusal {
    let with = |code| refusal(code, refused.to_string());
    match refused {
        Refused::NoApps => with(ErrorCode::NotTrusted),
        Refused::NotGranted | Refused::NoCatalogue | Refused::Budget(_) => {
            with(ErrorCode::PermissionDenied)
        }
        Refused::Rate { wait, .. } => AppRefusal {
            retry_after_ms: u64::try_from(wait.as_millis()).ok(),
            ..with(ErrorCode::RateLimited)
        },
        Refused::Busy => AppRefusal {
            retry_after_ms: Some(BUSY_RETRY_MS),
            ..with(ErrorCode::RateLimited)
        },
        Refused::NotKept => with(ErrorCode::Internal),
    }
}

/// A call that failed: nothing of this machine's paths, of what the app logged or of how its owner set it up is in it.
pub(super) fn failed(error: &CallError) -> AppRefusal {
    let api = apps::call("", error);
    let words = match error {
        CallError::Store(StoreError::NotInstalled(_)) => "the app is not installed".to_owned(),
        CallError::Store(_) | CallError::Start(_) => "the app cannot run there now".to_owned(),
        CallError::Ended(ending) => format!("the app was ended: {}", ending.name()),
        CallError::Suspended(count, _) => {
            format!("the app is suspended after {count} failures in a row")
        }
        CallError::NoMethod { .. }
        | CallError::TooLarge
        | CallError::Params(_)
        | CallError::Result(_)
        | CallError::App(_)
        | CallError::Timeout(_)
        | CallError::Recovering(_)
        | CallError::Changing
        | CallError::Busy
        | _ => describe(error),
    };
    AppRefusal {
        retry_after_ms: api.retry_after_ms,
        ..refusal(api.code, words)
    }
}

/// What the owner's filter stopped. What it found is the owner's to read.
pub(super) fn blocked(what: &str) -> AppRefusal {
    refusal(
        ErrorCode::PermissionDenied,
        format!("{what} did not pass its filter"),
    )
}

/// A peer's refusal. `own` is what its owner calls this agent.
fn answered(refused: &AppRefusal, peer: &str, app: &str, own: &str) -> ApiError {
    let code = ErrorCode::ALL
        .into_iter()
        .find(|code| code.name() == refused.code);
    let words = format!("{peer}: {}", refused.message);
    let mut error = ApiError::new(code.unwrap_or(ErrorCode::Internal), words);
    if let Some(millis) = refused.retry_after_ms {
        error = error.with_retry_after_ms(millis);
    }
    match error.code {
        ErrorCode::NotTrusted | ErrorCode::PermissionDenied => {
            error.with_hint(grants(peer, app, own))
        }
        ErrorCode::InvalidArgument | ErrorCode::NotFound => {
            error.with_hint(format!("pilotctl appstore list {peer}"))
        }
        ErrorCode::Internal
        | ErrorCode::NotRunning
        | ErrorCode::ConnectionFailed
        | ErrorCode::Timeout
        | ErrorCode::AlreadyExists
        | ErrorCode::RateLimited => error,
    }
}

/// Why there is no answer at all.
pub(crate) fn unanswered(error: &AskAppError, peer: &str, app: &str, own: &str) -> ApiError {
    let failed = || {
        ApiError::new(
            ErrorCode::ConnectionFailed,
            format!("{peer}: {}", describe(error)),
        )
    };
    match error {
        AskAppError::Refused(refused) => answered(refused, peer, app, own),
        AskAppError::TooLarge => ApiError::invalid(error.to_string()),
        AskAppError::Stream(source) => match code_of(source) {
            Some(code) if is_no_trust(code) => {
                let words = format!("{peer} has granted you no app");
                ApiError::new(ErrorCode::NotTrusted, words).with_hint(grants(peer, app, own))
            }
            Some(pilot::ErrorCode::REFUSED) => {
                failed().with_hint("it may run an earlier version, which lets nobody call its apps")
            }
            Some(code) => stream_code(code, peer, Port::APPS),
            None => failed(),
        },
        AskAppError::Answer(_) | _ => failed(),
    }
}

fn grants(peer: &str, app: &str, own: &str) -> String {
    format!("run `pilotctl approve {own} --apps {app}` on {peer}")
}
