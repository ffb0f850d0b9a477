//! One connection: its requests, its end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::answer;
use super::line::Line;
pub(crate) use super::line::Wire;
use super::places::{Place, Refusal, Refusing};
use super::router::Closed;
use crate::error::ApiError;

/// A client sends a request's head within this, or goes; this also ends idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Our own heads take under 1 KiB.
const MAX_HEAD: usize = 16 * 1024;
/// How long a connection that is refused may take to hear so.
const REFUSAL: Duration = Duration::from_secs(2);

pub(crate) struct Connection<W> {
    wire: W,
    place: Arc<Place>,
    router: Router,
}

impl<W: Wire> Connection<W> {
    pub(crate) fn new(wire: W, place: Place, router: Router) -> Self {
        Self {
            wire,
            place: Arc::new(place),
            router,
        }
    }

    /// Answers requests until the client goes, the server ends or another connection needs the place.
    pub(crate) async fn serve(self, closed: Closed) {
        let line = Line::new(self.wire, Arc::clone(&self.place));
        let serving = converse(line.clone(), Arc::clone(&self.place), self.router, closed);
        let result = tokio::select! {
            // First: who has lost the place must not begin a request.
            biased;
            () = self.place.lost() => return,
            result = serving => result,
        };
        let Err(error) = result else {
            return;
        };
        tracing::debug!(%error, "a connection ended badly");
        if error.is_timeout() && line.has_begun() {
            self.place.count(Refusal::SlowHead);
            tell(line, answer::slow_head()).await;
        }
    }
}

async fn converse<W: Wire>(
    line: Line<W>,
    place: Arc<Place>,
    router: Router,
    mut closed: Closed,
) -> hyper::Result<()> {
    let router = TowerToHyperService::new(router);
    let heard = line.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let busy = place.begin();
        request.extensions_mut().insert(Arc::clone(&place));
        let answer = router.call(request);
        let line = heard.clone();
        async move {
            let Some(_busy) = busy else {
                return Ok(answer::busy());
            };
            let answer = answer.await;
            line.settle();
            answer
        }
    });
    let connection = builder()
        .serve_connection(TokioIo::new(line), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => result,
        () = closed.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
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

/// Says a last word to a client whose request is not whole.
async fn tell<W: Wire>(mut line: Line<W>, error: ApiError) {
    let words = answer::last_words(&error);
    let telling = async {
        line.write_all(&words).await?;
        line.shutdown().await
    };
    if !matches!(timeout(REFUSAL, telling).await, Ok(Ok(()))) {
        tracing::debug!("a slow client did not hear why its connection ended");
    }
}

/// Answers the first request with a refusal, whatever it asks, and closes.
pub(super) async fn refuse(wire: impl Wire, refusal: fn() -> Response<Body>, _refusing: Refusing) {
    let service =
        service_fn(move |_: Request<Incoming>| std::future::ready(Ok::<_, Infallible>(refusal())));
    let connection = builder().serve_connection(TokioIo::new(wire), service);
    if !matches!(timeout(REFUSAL, connection).await, Ok(Ok(()))) {
        tracing::debug!("a refused connection did not wait for its answer");
    }
}
