//! Web servers that the daemon asks: one request, on a connection of its own, over TLS where the URL says so. Redirects are not followed.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::http::request::Builder;
use hyper::{Method, Request, Response, Uri, header};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, spawn_blocking};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Why a server gave no answer.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    /// No connection.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// No certificate that this machine trusts, or none at all.
    #[error("no TLS")]
    Tls(#[source] io::Error),
    /// This machine trusts no certificates at all.
    #[error("this machine has no certificates to check others by: install ca-certificates")]
    NoRoots,
    /// The host is no name for a certificate.
    #[error("no name for a certificate")]
    Name(#[from] InvalidDnsNameError),
    /// No HTTP.
    #[error("no answer in HTTP")]
    Http(#[from] hyper::Error),
    /// The request could not be written.
    #[error("no request")]
    Request(#[from] hyper::http::Error),
}

/// A URL, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Destination {
    is_tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `host` or `host:port`, as the URL has it.
    pub(crate) authority: String,
    pub(crate) path: String,
}

impl Destination {
    /// # Errors
    /// What was expected.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected http://HOST/… or https://HOST/…";
        let uri: Uri = url.parse().map_err(|_| EXPECTED.to_owned())?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return Err(EXPECTED.to_owned()),
        };
        let authority = uri.authority().ok_or_else(|| EXPECTED.to_owned())?;
        if authority.as_str().contains('@') {
            return Err("a name and password in a URL are not sent: use the secret".to_owned());
        }
        let default = if is_tls { 443 } else { 80 };
        let port = match authority.port() {
            None => default,
            Some(port) if port.as_u16() > 0 => port.as_u16(),
            Some(_) => return Err("port 0 is no port".to_owned()),
        };
        if authority.host().is_empty() {
            return Err(EXPECTED.to_owned());
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            is_tls,
            // An IPv6 address stands in brackets in a URL, and nowhere else.
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port,
            authority: authority.to_string(),
            path: path.to_owned(),
        })
    }

    /// Whether the URL asks for TLS.
    pub(crate) const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Whether it is this machine, by an address that is nobody else's.
    pub(crate) fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        address.is_ok_and(|address| address.is_loopback())
    }

    /// A request to it, of a path there, with what all requests have.
    pub(crate) fn request(&self, method: Method, path: &str) -> Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .header(
                header::USER_AGENT,
                concat!("pilot/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::CONNECTION, "close")
    }

    /// A connection there, without TLS yet.
    ///
    /// # Errors
    /// [`AskError::Connect`].
    pub(crate) async fn connect(&self) -> Result<TcpStream, AskError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        stream.map_err(AskError::Connect)
    }

    /// Sends a request on a connection there.
    ///
    /// # Errors
    /// [`AskError`].
    pub(crate) async fn ask<B>(
        &self,
        stream: TcpStream,
        request: Request<B>,
    ) -> Result<Asked, AskError>
    where
        B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
    {
        if self.is_tls {
            return send(with_tls(&self.host, stream).await?, request).await;
        }
        send(stream, request).await
    }
}

/// An answer, and its connection, which ends with it.
pub(crate) struct Asked {
    pub(crate) answer: Response<Incoming>,
    pub(crate) connection: Connection,
}

/// A connection that ends when this is dropped, whatever the server does.
pub(crate) struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn send<S, B>(stream: S, request: Request<B>) -> Result<Asked, AskError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = Connection(tokio::spawn(connection).abort_handle());
    let answer = sender.send_request(request).await?;
    Ok(Asked { answer, connection })
}

/// TLS with a host over a connection to it.
///
/// # Errors
/// [`AskError`].
async fn with_tls(host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, AskError> {
    let name = ServerName::try_from(host.to_owned())?;
    let connector = spawn_blocking(connector).await.map_err(io::Error::from);
    let connector = connector.map_err(AskError::Tls)??;
    let stream = connector.connect(name, stream).await;
    stream.map_err(AskError::Tls)
}

/// This machine's certificates, read for each connection: they are replaced while a daemon runs for months.
fn connector() -> Result<TlsConnector, AskError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(AskError::NoRoots);
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
