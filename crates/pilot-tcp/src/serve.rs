//! Files of a directory over HTTP, to whoever may open streams to the port. Reads, and nothing else.

mod body;
mod content_type;
mod directory;
mod listing;
mod path;
mod range;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue, IF_NONE_MATCH, IF_RANGE, LOCATION, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::Inbound;
use crate::confirm::confirm;
use crate::traffic::{Source, Traffic};
use body::Body;
pub use directory::Directory;
use directory::{Found, FoundFile, OpenError};
use path::RequestPath;
use range::Wanted;

/// How long a client may take for a request's head, and be idle between two.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// Longest head of a request.
const MAX_HEAD: usize = 16 * 1024;

/// Answers requests on every stream of the source from the directory, until `until` resolves.
pub async fn serve<S>(
    source: S,
    directory: Directory,
    traffic: Arc<Traffic>,
    until: impl Future<Output = ()> + Send,
) where
    S: Source<Item: Inbound>,
{
    let handle = |stream| converse(stream, directory.clone());
    traffic.run(source, handle, until).await;
}

async fn converse<S: Inbound>(mut stream: S, directory: Directory) {
    let from = stream.opener();
    if stream.wants_confirmation() && confirm(&mut stream).await.is_err() {
        return;
    }
    let service = service_fn(|request| {
        let directory = directory.clone();
        async move { Ok::<_, Infallible>(answer(&request, directory).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // A client may end its direction behind its last request.
        .half_close(true)
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        // A client that leaves early is no fault of this side.
        tracing::debug!(%from, %error, "HTTP over a stream");
    }
}

async fn answer(request: &Request<Incoming>, directory: Directory) -> Response<Body> {
    let is_head = match *request.method() {
        Method::GET => false,
        Method::HEAD => true,
        _ => return not_allowed(),
    };
    let Some(path) = RequestPath::parse(request.uri().path()) else {
        return status(StatusCode::BAD_REQUEST, "the path is malformed");
    };
    match directory.open(path.clone()).await {
        Ok(Found::File(file)) => of_file(file, request.headers(), is_head),
        // Relative links of a page lead astray without the slash.
        Ok(Found::Directory(_)) if !path.is_directory() => moved(&path),
        Ok(Found::Directory(entries)) => of_listing(&path, &entries, is_head),
        Err(OpenError::NotFound) => status(StatusCode::NOT_FOUND, "there is no such file"),
        Err(OpenError::Io(error)) => {
            tracing::warn!(path = path.to_string(), %error, "cannot read what was asked for");
            status(StatusCode::INTERNAL_SERVER_ERROR, "it cannot be read")
        }
    }
}

fn of_file(file: FoundFile, headers: &HeaderMap, is_head: bool) -> Response<Body> {
    let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let tag = file.tag();
    let length = file.length;
    if header(IF_NONE_MATCH).is_some_and(|tags| range::names(tags, &tag)) {
        let mut response = empty(StatusCode::NOT_MODIFIED);
        set(&mut response, ETAG, &tag);
        return response;
    }
    // RFC 9110 §13.1.5: parts of another version are of no use.
    let is_same = header(IF_RANGE).is_none_or(|known| known == tag);
    let wanted = match header(RANGE).filter(|_| is_same && !is_head) {
        Some(text) => Wanted::parse(text, length),
        None => Wanted::Whole,
    };
    let mut response = match wanted {
        Wanted::Nothing => {
            let mut refused = status(StatusCode::RANGE_NOT_SATISFIABLE, "no such part");
            set(&mut refused, CONTENT_RANGE, &format!("bytes */{length}"));
            return refused;
        }
        Wanted::Whole => {
            let mut response = empty(StatusCode::OK);
            set(&mut response, CONTENT_LENGTH, &length.to_string());
            set(&mut response, CONTENT_TYPE, file.content_type);
            if !is_head {
                *response.body_mut() = Body::file(file.file, 0, length);
            }
            response
        }
        Wanted::Part { first, last } => {
            let mut response = empty(StatusCode::PARTIAL_CONTENT);
            let part = last - first + 1;
            set(&mut response, CONTENT_LENGTH, &part.to_string());
            set(&mut response, CONTENT_TYPE, file.content_type);
            set(
                &mut response,
                CONTENT_RANGE,
                &format!("bytes {first}-{last}/{length}"),
            );
            *response.body_mut() = Body::file(file.file, first, part);
            response
        }
    };
    set(&mut response, ACCEPT_RANGES, "bytes");
    set(&mut response, ETAG, &tag);
    set(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

fn of_listing(path: &RequestPath, entries: &directory::Entries, is_head: bool) -> Response<Body> {
    let page = listing::page(path, entries);
    let mut response = empty(StatusCode::OK);
    set(&mut response, CONTENT_LENGTH, &page.len().to_string());
    set(&mut response, CONTENT_TYPE, "text/html; charset=utf-8");
    set(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    if !is_head {
        *response.body_mut() = Body::bytes(Bytes::from(page));
    }
    response
}

fn moved(path: &RequestPath) -> Response<Body> {
    let mut response = status(StatusCode::MOVED_PERMANENTLY, "it is a directory");
    set(&mut response, LOCATION, &format!("{path}/"));
    response
}

fn not_allowed() -> Response<Body> {
    let mut refused = status(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
    set(&mut refused, ALLOW, "GET, HEAD");
    refused
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::bytes(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn status(status: StatusCode, words: &str) -> Response<Body> {
    let mut response = empty(status);
    *response.body_mut() = Body::bytes(Bytes::from(format!("{words}\n")));
    set(&mut response, CONTENT_TYPE, "text/plain; charset=utf-8");
    response
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    let value = HeaderValue::from_str(value).expect("what is written here is visible ASCII");
    response.headers_mut().insert(name, value);
}

#[cfg(test)]
mod tests;
