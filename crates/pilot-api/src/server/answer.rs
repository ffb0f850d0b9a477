//! Envelopes as HTTP answers.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use serde::Serialize;

use crate::error::{ApiError, Envelope, ErrorCode};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The result as an envelope, with the status that its code has.
pub(super) fn answer<T: Serialize>(result: Result<T, ApiError>) -> Response<Body> {
    let status = result
        .as_ref()
        .map_or_else(|error| status_of(error.code), |_| StatusCode::OK);
    match serde_json::to_vec(&Envelope::from(result)) {
        Ok(body) => with_body(status, body),
        Err(error) => failure(ApiError::internal(format!(
            "cannot write the answer: {error}"
        ))),
    }
}

/// An error as an envelope.
pub(super) fn failure(error: ApiError) -> Response<Body> {
    let status = status_of(error.code);
    let body = serde_json::to_vec(&Envelope::<()>::Error(error))
        .expect("an error has nothing but strings and a number");
    with_body(status, body)
}

/// The API's description.
pub(super) fn document(json: Bytes) -> Response<Body> {
    with_body(StatusCode::OK, json)
}

fn with_body(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

fn status_of(code: ErrorCode) -> StatusCode {
    StatusCode::from_u16(code.http_status()).expect("every code's status is a valid one")
}

/// For another user's connection.
pub(super) fn forbidden() -> ApiError {
    ApiError::new(
        ErrorCode::PermissionDenied,
        "the socket belongs to another user",
    )
}

/// For a connection beyond the bound.
pub(super) fn busy() -> ApiError {
    ApiError::new(ErrorCode::RateLimited, "too many connections to the daemon")
        .with_retry_after_ms(1000)
}
