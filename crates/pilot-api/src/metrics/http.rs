//! Health, metrics and pages over HTTP. Reads nothing but the request line and its headers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
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

/// What a page is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Metrics of Prometheus.
    Metrics(String),
    /// For people; it may have its own styles, and loads nothing.
    Html(String),
    /// For people and programs.
    Plain(String),
}

/// Pages of a program by their paths; `/healthz` is there without.
#[derive(Clone, Copy, Debug)]
pub struct Site<F> {
    /// Its paths, for who asks for another.
    pub paths: &'static [&'static str],
    /// The page of the moment for one of `paths`.
    pub page: F,
}

/// Answers until it is dropped.
pub async fn serve<F>(listener: TcpListener, site: Site<F>)
where
    F: Fn(&str) -> Content + Send + Sync + 'static,
{
    let site = Arc::new(site);
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
        let site = Arc::clone(&site);
        tokio::spawn(async move {
            let _place = place;
            if tokio::time::timeout(PATIENCE, connection(stream, site))
                .await
                .is_err()
            {
                tracing::debug!("an HTTP client was too slow");
            }
        });
    }
}

async fn connection<F: Fn(&str) -> Content>(stream: TcpStream, site: Arc<Site<F>>) {
    let service = service_fn(|request| {
        let response = answer(&request, &site);
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

fn answer<F: Fn(&str) -> Content>(
    request: &Request<Incoming>,
    site: &Site<F>,
) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".into());
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let path = request.uri().path();
    if path == "/healthz" {
        return plain(StatusCode::OK, "ok\n".into());
    }
    if site.paths.contains(&path) {
        return content((site.page)(path));
    }
    let others = site.paths.join(", ");
    let words = format!("not found: try /healthz, {others}\n");
    plain(StatusCode::NOT_FOUND, words)
}

fn content(content: Content) -> Response<Full<Bytes>> {
    match content {
        Content::Metrics(text) => {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            response(StatusCode::OK, kind, text)
        }
        Content::Html(text) => {
            let mut response = response(StatusCode::OK, "text/html; charset=utf-8", text);
            // The page loads nothing and runs nothing, whatever is written into it.
            let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
            response
                .headers_mut()
                .insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
            response
        }
        Content::Plain(text) => plain(StatusCode::OK, text),
    }
}

fn plain(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", body)
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
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
        let page = |path: &str| match path {
            "/metrics" => Content::Metrics("pilot_up 1\n".to_owned()),
            _ => Content::Html("<p>up</p>".to_owned()),
        };
        let paths = &["/", "/metrics"];
        tokio::spawn(serve(listener, Site { paths, page }));
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
        let page = asked(addr, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        for part in ["text/html", "default-src 'none'", "nosniff", "<p>up</p>"] {
            assert!(page.contains(part), "{page}");
        }
        for (request, status) in [
            ("GET /metrics/ HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
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
