//! A request's body: how long it may be, how fast it has to come, and how it is read.

use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};

use super::places::{Places, Refusal};
use crate::error::{ApiError, ErrorCode};
use crate::types::Call;

/// Within each [`PATIENCE`] so much of a body must come, or its end: over a local socket that takes a millisecond. The longest
/// body can hold its permit for 86 times that.
const PROGRESS: usize = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest part of an error that a request's body has a hand in, in characters.
const MAX_REASON: usize = 500;
/// From this length on a body needs one of [`LARGE_BODIES`].
const LARGE_BODY: usize = 1024 * 1024;
/// Large bodies at once: at 86 MiB, and as much again decoded, 1.2 GiB at worst, all of it the owner's own doing.
const LARGE_BODIES: usize = 8;
/// How long a request waits for one of them.
const PERMIT_PATIENCE: Duration = Duration::from_secs(10);

/// Leave for bodies that are large.
pub(super) struct LargeBodies(Semaphore);

impl LargeBodies {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(LARGE_BODIES))
    }

    /// Waits for leave to read a body, if it may be large.
    pub(super) async fn permit<R: Call>(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<SemaphorePermit<'_>>, ApiError> {
        // One that is too long is refused without being read.
        let is_large = |length| length > LARGE_BODY && length <= R::MAX_BODY;
        let length = content_length(headers);
        if R::MAX_BODY <= LARGE_BODY || length.is_some_and(|length| !is_large(length)) {
            return Ok(None);
        }
        match timeout(PERMIT_PATIENCE, self.0.acquire()).await {
            Ok(permit) => Ok(Some(permit.expect("the semaphore is never closed"))),
            Err(_) => Err(ApiError::new(
                ErrorCode::RateLimited,
                format!("{LARGE_BODIES} requests with large bodies are under way"),
            )
            .with_retry_after_ms(1000)
            .with_hint("send large messages one after another, or a file: pilotctl send-file")),
        }
    }
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    let value = headers.get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

/// All bytes of a body. On an error there may be more of them to come: its answer is the connection's last.
pub(super) async fn receive<R: Call>(body: Body, places: &Places) -> Result<Vec<u8>, ApiError> {
    let announced = body.size_hint().lower();
    if announced > R::MAX_BODY as u64 {
        return Err(too_long::<R>());
    }
    let mut body = pin!(Limited::new(body, R::MAX_BODY));
    let mut bytes = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
    let mut goal = PROGRESS;
    let mut deadline = Instant::now() + PATIENCE;
    loop {
        let frame = timeout_at(deadline, body.frame()).await.map_err(|_| {
            places.count(Refusal::SlowBody);
            too_slow()
        })?;
        let Some(frame) = frame else {
            return Ok(bytes);
        };
        let frame = frame.map_err(|error| unreadable::<R>(error.as_ref()))?;
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() >= goal {
            goal = bytes.len() + PROGRESS;
            deadline = Instant::now() + PATIENCE;
        }
    }
}

/// The request in a body. An empty one is `{}`.
pub(super) fn read<R: Call>(bytes: &[u8]) -> Result<R, ApiError> {
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    parse(text).map_err(|error| {
        let error = clipped(error);
        ApiError::invalid(format!("invalid request to {}: {error}", R::PATH))
    })
}

/// The request, or what is wrong with it, with the name of the field.
pub(crate) fn parse<R: Call>(text: &[u8]) -> Result<R, String> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let call = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        if error.path().iter().next().is_none() {
            error.into_inner().to_string()
        } else {
            error.to_string()
        }
    })?;
    json.end().map_err(|error| error.to_string())?;
    Ok(call)
}

/// An error repeats what it refuses, however long that is.
fn clipped(mut error: String) -> String {
    if let Some((end, _)) = error.char_indices().nth(MAX_REASON) {
        error.truncate(end);
        error.push('…');
    }
    error
}

fn unreadable<R: Call>(error: &(dyn std::error::Error + Send + Sync + 'static)) -> ApiError {
    if error.is::<LengthLimitError>() {
        too_long::<R>()
    } else {
        ApiError::invalid(format!("the request's body broke off: {error}"))
    }
}

fn too_long<R: Call>() -> ApiError {
    ApiError::invalid(format!(
        "the request's body is longer than {} bytes",
        R::MAX_BODY
    ))
}

fn too_slow() -> ApiError {
    let seconds = PATIENCE.as_secs();
    ApiError::timeout(format!(
        "the request's body came too slowly: {seconds} s for up to 1 MiB"
    ))
    .with_hint("send the whole body at once")
}
