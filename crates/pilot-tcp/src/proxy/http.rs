//! The proxy's HTTP side (RFC 9110, 9112): CONNECT, and requests in absolute form.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use pilot_api::{ApiError, BoxStream, ErrorCode};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Client, HANDSHAKE_PATIENCE};
use crate::Dial;
use crate::host::peer_of_host;
use crate::relay::stream_error;

/// Longest head of a request, and of an answer.
pub(super) const MAX_HEAD: usize = 16 * 1024;
const HTTP_PORT: u16 = 80;
/// Headers that concern one connection, beside those that `Connection` names (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

type Body = BoxBody<Bytes, hyper::Error>;

/// A tunnel that was granted, for when the answer is written.
struct Tunnel {
    upgrade: OnUpgrade,
    stream: BoxStream,
    host: String,
    port: u16,
}

impl<D: Dial> Client<D> {
    pub(super) async fn serve_http(&self, tcp: TcpStream) {
        let granted: Arc<Mutex<Option<Tunnel>>> = Arc::default();
        let service = service_fn(|request| {
            let (client, granted) = (self.clone(), Arc::clone(&granted));
            async move { Ok::<_, Infallible>(client.answer(request, &granted).await) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            // A client may end its direction behind its last request.
            .half_close(true)
            .header_read_timeout(HANDSHAKE_PATIENCE)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(tcp), service)
            .with_upgrades()
            .await;
        if let Err(error) = served {
            tracing::debug!(from = %self.from, %error, "a client of the HTTP proxy");
            return;
        }
        let tunnel = granted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(tunnel) = tunnel {
            self.carry_tunnel(tunnel).await;
        }
    }

    async fn carry_tunnel(&self, tunnel: Tunnel) {
        let Tunnel {
            upgrade,
            mut stream,
            host,
            port,
        } = tunnel;
        let Ok(upgraded) = upgrade.await else {
            return;
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
            // It is what was upgraded.
            return;
        };
        // What the client sent behind its request, without waiting.
        if stream.write_all(&parts.read_buf).await.is_ok() {
            self.carry(parts.io.into_inner(), stream, &host, port).await;
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        granted: &Mutex<Option<Tunnel>>,
    ) -> Response<Body> {
        let place = request.uri().authority().map(ToString::to_string);
        let answered = if request.method() == Method::CONNECT {
            self.connect(request, granted).await
        } else {
            self.pass(request).await
        };
        answered.unwrap_or_else(|error| {
            let refused = words(&error);
            self.fault(place.as_deref().unwrap_or("?"), error);
            refused
        })
    }

    async fn connect(
        &self,
        mut request: Request<Incoming>,
        granted: &Mutex<Option<Tunnel>>,
    ) -> Result<Response<Body>, ApiError> {
        let (host, port) = destination(request.uri(), None)?;
        let stream = self.open(&host, port).await?;
        let tunnel = Tunnel {
            upgrade: hyper::upgrade::on(&mut request),
            stream,
            host,
            port,
        };
        *granted.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
        Ok(Response::new(
            Empty::new().map_err(|never| match never {}).boxed(),
        ))
    }

    /// Passes a request on, on a stream of its own, and its answer back.
    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
        let (host, port) = destination(request.uri(), Some(HTTP_PORT))?;
        let peer = peer_of_host(&host)?;
        let request = rewritten(request)?;
        let stream = self.open_at_once(&peer, port).await?;
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        // It ends with the answer's body, or with whoever reads that.
        let driving = tokio::spawn(connection);
        let mut answer = match sender.send_request(request).await {
            Ok(answer) => answer,
            Err(error) => {
                // A request that was not sent yet is cancelled: the cause is the connection's.
                let ended = driving.await.ok().and_then(Result::err);
                return Err(broken(ended.as_ref().unwrap_or(&error)));
            }
        };
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(ApiError::new(
                ErrorCode::ConnectionFailed,
                "the answer changes the protocol, which nobody asked for",
            ));
        }
        strip(answer.headers_mut());
        *answer.version_mut() = Version::HTTP_11;
        Ok(answer.map(BodyExt::boxed))
    }
}

/// Where a request is to go.
fn destination(uri: &Uri, default_port: Option<u16>) -> Result<(String, u16), ApiError> {
    let hint = "this is a proxy: set it as one, as with curl --proxy http://127.0.0.1:1080";
    let authority = uri
        .authority()
        .ok_or_else(|| ApiError::invalid("the request names no host").with_hint(hint))?;
    if uri.scheme_str().is_some_and(|scheme| scheme != "http") {
        let words = "only http:// is passed on as it is; https:// goes through CONNECT";
        return Err(ApiError::invalid(words));
    }
    if authority.as_str().contains('@') {
        return Err(ApiError::invalid(
            "a host with user information is not passed on",
        ));
    }
    let port = match authority.port() {
        Some(port) => Some(port.as_u16()),
        None if authority.as_str() == authority.host() => default_port,
        None => None,
    };
    let port = port.ok_or_else(|| ApiError::invalid(format!("no port in {authority}")))?;
    Ok((authority.host().to_owned(), port))
}

/// The request as its server expects it: in origin form, with the host that was asked for (RFC 9112 §3.2.2).
fn rewritten<B>(mut request: Request<B>) -> Result<Request<B>, ApiError> {
    let host = request
        .uri()
        .authority()
        .and_then(|authority| HeaderValue::try_from(authority.as_str()).ok())
        .ok_or_else(|| ApiError::invalid("the request names no host"))?;
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let uri = path
        .parse()
        .map_err(|_| ApiError::invalid("the request's path cannot be passed on"))?;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    strip(request.headers_mut());
    request.headers_mut().insert(HOST, host);
    Ok(request)
}

/// Takes out what concerns one connection only.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// What a stream said of its end, somewhere within.
fn broken(error: &hyper::Error) -> ApiError {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(error) = inner.downcast_ref::<io::Error>().and_then(stream_error) {
            return error;
        }
        cause = inner.source();
    }
    ApiError::new(
        ErrorCode::ConnectionFailed,
        format!("the server's answer is no HTTP: {error}"),
    )
}

/// An error as its client sees it.
fn words(error: &ApiError) -> Response<Body> {
    let mut text = format!("{}\n", error.message);
    if let Some(hint) = &error.hint {
        text.push_str(&format!("try: {hint}\n"));
    }
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {});
    let mut response = Response::new(body.boxed());
    *response.status_mut() =
        StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::BAD_GATEWAY);
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination_of(uri: &str, default_port: Option<u16>) -> Result<(String, u16), ErrorCode> {
        destination(&uri.parse().unwrap(), default_port).map_err(|error| error.code)
    }

    #[test]
    fn hosts_and_ports_are_read_from_both_forms() {
        let bob = |port| Ok(("bob.pilot".to_owned(), port));
        assert_eq!(destination_of("bob.pilot:8080", None), bob(8080));
        assert_eq!(destination_of("http://bob.pilot/x?y", Some(80)), bob(80));
        assert_eq!(destination_of("http://bob.pilot:81/", Some(80)), bob(81));
        for uri in [
            "/x",
            "*",
            "https://bob.pilot/",
            "http://user@bob.pilot/",
            "http://bob.pilot:/",
        ] {
            let refused = destination_of(uri, Some(80));
            assert_eq!(refused, Err(ErrorCode::InvalidArgument), "{uri}");
        }
        assert_eq!(
            destination_of("bob.pilot", None),
            Err(ErrorCode::InvalidArgument)
        );
    }

    #[test]
    fn a_request_is_passed_on_in_origin_form_without_what_concerns_the_proxy() {
        let request = Request::builder()
            .uri("http://bob.pilot:81/a%20b?q=1")
            .header("Host", "other.example")
            .header("Connection", "keep-alive, X-Secret")
            .header("X-Secret", "1")
            .header("Proxy-Authorization", "Basic eA==")
            .header("Proxy-Connection", "keep-alive")
            .header("Accept", "*/*")
            .body(())
            .unwrap();
        let passed = rewritten(request).unwrap();
        assert_eq!(passed.uri(), "/a%20b?q=1");
        let headers: Vec<_> = passed.headers().iter().collect();
        assert_eq!(headers.len(), 2, "{headers:?}");
        assert_eq!(passed.headers()["host"], "bob.pilot:81");
        assert_eq!(passed.headers()["accept"], "*/*");
    }
}
