//! Health and metrics over HTTP, for monitoring. Reads nothing but the request line and its headers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at a time, further ones wait: with 16 KiB of buffers each they take at most 1 MiB.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take for its request.
const HEADER_PATIENCE: Duration = Duration::from_secs(2);
/// How long a whole connection may last: a client that does not read its answer is dropped.
const PATIENCE: Duration = Duration::from_secs(15);
/// After a failed accept, as when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const MAX_BUFFER: usize = 16 * 1024;

/// Answers until it is dropped. `metrics` gives the page of the moment.
pub async fn serve<F>(listener: TcpListener, metrics: F)
where
    F: Fn() -> String + Send + Sync + 'static,
{
    let metrics = Arc::new(metrics);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let metrics = Arc::clone(&metrics);
        tokio::spawn(async move {
            let _place = place;
            if tokio::time::timeout(PATIENCE, connection(stream, metrics))
                .await
                .is_err()
            {
                tracing::debug!("an HTTP client was too slow");
            }
        });
    }
}

async fn connection<F: Fn() -> String>(stream: TcpStream, metrics: Arc<F>) {
    let service = service_fn(|request| {
        let response = answer(&request, &*metrics);
        async { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_PATIENCE)
        .keep_alive(false)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "HTTP connection");
    }
}

fn answer(request: &Request<Incoming>, metrics: &impl Fn() -> String) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD\n".to_owned(),
        );
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/metrics" => text(StatusCode::OK, metrics()),
        _ => text(
            StatusCode::NOT_FOUND,
            "not found: try /healthz or /metrics\n".to_owned(),
        ),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn served() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, || "pilot_up 1\n".to_owned()));
        addr
    }

    async fn asked(addr: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn health_metrics_and_nothing_else() {
        let addr = served().await;
        let health = asked(addr, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(
            health.starts_with("HTTP/1.1 200 OK\r\n") && health.ends_with("\r\n\r\nok\n"),
            "{health}"
        );
        let metrics = asked(addr, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(metrics.ends_with("\r\n\r\npilot_up 1\n"), "{metrics}");
        for (request, status) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
            (
                "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
                "405",
            ),
            ("not HTTP\r\n\r\n", "400"),
        ] {
            let answer = asked(addr, request).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{request:?}: {answer}"
            );
        }
    }

    #[tokio::test]
    async fn clients_that_say_nothing_do_not_keep_others_out_for_ever() {
        let addr = served().await;
        let mut silent = vec![];
        for _ in 0..MAX_CONNECTIONS {
            silent.push(TcpStream::connect(addr).await.unwrap());
        }
        let health = asked(addr, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        let health = tokio::time::timeout(2 * HEADER_PATIENCE, health)
            .await
            .unwrap();
        assert!(health.contains("200 OK"));
    }
}
