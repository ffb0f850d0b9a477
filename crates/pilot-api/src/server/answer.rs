//! Envelopes as HTTP answers.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use serde::Serialize;

use crate::error::{ApiError, Envelope, ErrorCode};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// When another try may succeed: clients come and go.
const RETRY_AFTER_MS: u64 = 1000;

/// The result as an envelope, with the status that its code has.
pub(super) fn answer<T: Serialize>(result: Result<T, ApiError>) -> Response<Body> {
    let status = result
        .as_ref()
        .map_or_else(|error| status_of(error.code), |_| StatusCode::OK);
    match serde_json::to_vec(&Envelope::from(result)) {
        Ok(body) => with_body(status, body),
        Err(error) => failure(&ApiError::internal(format!(
            "cannot write the answer: {error}"
        ))),
    }
}

/// An error as an envelope.
pub(super) fn failure(error: &ApiError) -> Response<Body> {
    with_body(status_of(error.code), error_body(error))
}

fn error_body(error: &ApiError) -> Vec<u8> {
    serde_json::to_vec(&Envelope::<()>::Error(error.clone()))
        .expect("an error has nothing but strings and a number")
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

/// The same, after which the connection is closed: there may be more of the request to come.
pub(super) fn last(error: &ApiError) -> Response<Body> {
    let mut response = failure(error);
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// An answer as bytes, to a request that did not come as far as an answer, and the end of the connection.
pub(super) fn last_words(error: &ApiError) -> Vec<u8> {
    let status = status_of(error.code);
    let body = error_body(error);
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.into_bytes(), body].concat()
}

/// For another user's connection.
pub(super) fn forbidden() -> Response<Body> {
    last(&ApiError::new(
        ErrorCode::PermissionDenied,
        "the socket belongs to another user",
    ))
}

/// For a connection beyond the bound. 503: it is the daemon that is busy, and not this client that asks too often.
pub(super) fn busy() -> Response<Body> {
    let error = ApiError::new(
        ErrorCode::RateLimited,
        "all of the daemon's connections have a request under way",
    );
    let error = error
        .with_retry_after_ms(RETRY_AFTER_MS)
        .with_hint("end some of the programs that wait for an answer, or use fewer connections");
    let mut response = last(&error);
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// For a stream beyond the bound.
pub(super) fn no_more_streams() -> ApiError {
    ApiError::new(
        ErrorCode::RateLimited,
        "the daemon's clients have as many streams as it carries",
    )
    .with_retry_after_ms(RETRY_AFTER_MS)
    .with_hint("end some: pilotctl connections, pilotctl disconnect ID")
}

/// For a client that does not end its request's head.
pub(super) fn slow_head() -> ApiError {
    ApiError::timeout("the request's head came too slowly")
        .with_hint("send the whole request at once")
}
