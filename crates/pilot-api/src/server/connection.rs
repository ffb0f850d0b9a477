//! One connection: its requests, its end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use super::answer;
use super::router::Closed;
use crate::error::ApiError;

/// A client sends a request's head at once, or goes; this also ends idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Our own heads take under 1 KiB.
const MAX_HEAD: usize = 16 * 1024;
/// How long a connection that is refused may take to hear so.
const REFUSAL: Duration = Duration::from_secs(2);

/// A connection's place among those that the server has at once; an upgraded stream keeps it to its end.
#[derive(Clone)]
pub(super) struct Slot(#[expect(dead_code, reason = "held, never read")] Arc<OwnedSemaphorePermit>);

/// What a client speaks over: a Unix socket, but for tests.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for T {}

pub(crate) struct Connection<W> {
    stream: W,
    slot: Slot,
    router: Router,
}

impl<W: Wire> Connection<W> {
    pub(crate) fn new(stream: W, slot: OwnedSemaphorePermit, router: Router) -> Self {
        Self {
            stream,
            slot: Slot(Arc::new(slot)),
            router,
        }
    }

    /// Answers requests until the client goes or the server ends.
    pub(crate) async fn serve(self, mut closed: Closed) {
        let Self {
            stream,
            slot,
            router,
        } = self;
        let router = TowerToHyperService::new(router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(slot.clone());
            router.call(request)
        });
        let connection = builder()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = closed.wait() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a connection ended badly");
        }
    }
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD);
    builder
}

/// Answers the first request with an error, whatever it asks, and closes.
pub(super) async fn refuse(stream: impl Wire, error: ApiError) {
    let service = service_fn(move |_: Request<Incoming>| {
        let mut response: Response<Body> = answer::failure(error.clone());
        let close = axum::http::HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let connection = builder().serve_connection(TokioIo::new(stream), service);
    if !matches!(tokio::time::timeout(REFUSAL, connection).await, Ok(Ok(()))) {
        tracing::debug!("a refused connection did not wait for its answer");
    }
}
