//! One POST: a connection of its own, over TLS where the URL says so. Redirects are not followed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use pilot_types::encode_hex;
use ring::hmac;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::settings::WebhookSettings;
use crate::inbox::now;

/// A whole try, from the name's look-up to the answer's end.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer's body says nothing to us; so much of it is read.
const MAX_ANSWER: usize = 64 * 1024;
/// And for so long.
const LINGER: Duration = Duration::from_secs(1);

/// Why a try failed.
#[derive(Debug, Error)]
pub(super) enum PostError {
    /// No connection.
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No HTTP.
    #[error("no answer in HTTP")]
    Http(#[from] hyper::Error),
    /// The request could not be written.
    #[error("no request")]
    Request(#[from] hyper::http::Error),
    /// Too slow.
    #[error("no answer within 10 s")]
    Timeout,
    /// An answer that is not a success.
    #[error("it answered {status}")]
    Status {
        /// HTTP status.
        status: u16,
        /// What `Retry-After` says in seconds.
        retry_after: Option<Duration>,
    },
}

/// Why there is no TLS with a host.
#[derive(Debug, Error)]
pub(crate) enum TlsError {
    /// No certificate that this machine trusts, or none at all.
    #[error("no TLS")]
    Tls(#[source] std::io::Error),
    /// This machine trusts no certificates at all.
    #[error("this machine has no certificates to check others by: install ca-certificates")]
    NoRoots,
    /// The host is no name for a certificate.
    #[error("no name for a certificate")]
    Name(#[from] InvalidDnsNameError),
}

impl PostError {
    /// Whether the same may succeed later.
    pub(super) const fn may_pass(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..),
            Self::Connect(_) | Self::Tls(_) | Self::Http(_) | Self::Request(_) | Self::Timeout => {
                true
            }
        }
    }

    /// What the receiver asks for.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Connect(_) | Self::Tls(_) | Self::Http(_) | Self::Request(_) | Self::Timeout => {
                None
            }
        }
    }
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
}

/// Posts to one destination.
pub(super) struct Poster {
    destination: Destination,
    key: hmac::Key,
}

impl Poster {
    pub(super) fn new(settings: &WebhookSettings) -> Self {
        Self {
            destination: settings.destination.clone(),
            key: hmac::Key::new(hmac::HMAC_SHA256, settings.secret.as_bytes()),
        }
    }

    /// Posts a JSON document, signed. Gives the status of success.
    ///
    /// # Errors
    /// [`PostError`].
    pub(super) async fn post(&self, body: &[u8]) -> Result<u16, PostError> {
        let posted = timeout(PATIENCE, self.exchange(body)).await;
        posted.unwrap_or(Err(PostError::Timeout))
    }

    async fn exchange(&self, body: &[u8]) -> Result<u16, PostError> {
        let request = self.request(body, now().as_secs())?;
        let Destination { host, port, .. } = &self.destination;
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.map_err(PostError::Connect)?;
        if !self.destination.is_tls {
            return send(stream, request).await;
        }
        send(with_tls(host, stream).await?, request).await
    }

    /// The request, with the signature of time and body: whoever saw an old one cannot use it again later.
    fn request(&self, body: &[u8], unix: u64) -> Result<Request<Full<Bytes>>, PostError> {
        let mut signing = hmac::Context::with_key(&self.key);
        signing.update(format!("{unix}.").as_bytes());
        signing.update(body);
        let hex = encode_hex(signing.sign().as_ref());
        let user_agent = concat!("pilot/", env!("CARGO_PKG_VERSION"));
        let request = Request::post(&self.destination.path)
            .header(header::HOST, &self.destination.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, user_agent)
            .header(header::CONNECTION, "close")
            .header("pilot-timestamp", unix)
            .header("pilot-signature", format!("v1={hex}"));
        Ok(request.body(Full::new(Bytes::copy_from_slice(body)))?)
    }
}

/// TLS with a host over a connection to it.
///
/// # Errors
/// [`TlsError`].
pub(crate) async fn with_tls(
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, TlsError> {
    let name = ServerName::try_from(host.to_owned())?;
    let connector = spawn_blocking(connector)
        .await
        .map_err(std::io::Error::from);
    let connector = connector.map_err(TlsError::Tls)??;
    let stream = connector.connect(name, stream).await;
    stream.map_err(TlsError::Tls)
}

/// This machine's certificates, read for each connection: they are replaced while a daemon runs for months.
fn connector() -> Result<TlsConnector, TlsError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Result<u16, PostError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with its sender.
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await;
    let result = match answer {
        Ok(answer) => {
            let (head, body) = answer.into_parts();
            // A receiver that is cut off while it answers may take that for a failure.
            let _ = timeout(LINGER, Limited::new(body, MAX_ANSWER).collect()).await;
            judged(head.status, head.headers.get(header::RETRY_AFTER))
        }
        Err(error) => Err(error.into()),
    };
    connection.abort();
    result
}

fn judged(status: StatusCode, retry_after: Option<&HeaderValue>) -> Result<u16, PostError> {
    if status.is_success() {
        return Ok(status.as_u16());
    }
    let secs = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
    Err(PostError::Status {
        status: status.as_u16(),
        retry_after: secs.map(Duration::from_secs),
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Posts to a receiver that answers so, or not at all; gives the outcome and what the receiver read.
    async fn post(answer: Option<&'static [u8]>) -> (Result<u16, PostError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?a=1", listener.local_addr().unwrap());
        let settings = WebhookSettings::new(url, "0123456789abcdef".to_owned(), vec![]).unwrap();
        let receiving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = vec![];
            while !read.ends_with(b"{\"a\":1}") {
                assert!(stream.read_buf(&mut read).await.unwrap() > 0);
            }
            if let Some(answer) = answer {
                stream.write_all(answer).await.unwrap();
            }
            String::from_utf8(read).unwrap()
        });
        let posted = Poster::new(&settings).post(b"{\"a\":1}").await;
        (posted, receiving.await.unwrap())
    }

    #[tokio::test]
    async fn a_post_is_signed_over_its_time_and_body() {
        let ok = b"HTTP/1.1 204 No Content\r\n\r\n";
        let (posted, request) = post(Some(ok)).await;
        assert_eq!(posted.unwrap(), 204);
        assert!(
            request.starts_with("POST /hook?a=1 HTTP/1.1\r\n"),
            "{request}"
        );
        let field = |name: &str| {
            let line = request.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim().to_owned()
        };
        let (unix, signature) = (field("pilot-timestamp:"), field("pilot-signature: v1="));
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef");
        let signed = format!("{unix}.{{\"a\":1}}");
        let tag = data(&signature);
        assert!(hmac::verify(&key, signed.as_bytes(), &tag).is_ok());
        assert!(hmac::verify(&key, b"1.{\"a\":1}", &tag).is_err());
    }

    fn data(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.map(byte).collect()
    }

    #[tokio::test]
    async fn hostile_answers_are_failures_in_words() {
        let answers: [(Option<&'static [u8]>, &str); 5] = [
            (
                Some(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\n\r\n"),
                "302",
            ),
            (Some(b"HTTP/1.1 500 No\r\nretry-after: soon\r\n\r\n"), "500"),
            (Some(b"SSH-2.0-OpenSSH\r\n"), "no answer in HTTP"),
            (Some(b"HTTP/1.1 200 OK"), "no answer in HTTP"),
            (None, "no answer in HTTP"),
        ];
        for (answer, words) in answers {
            let (posted, _) = post(answer).await;
            let error = posted.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_without_end_is_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let settings = WebhookSettings::new(url, "0123456789abcdef".to_owned(), vec![]).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head).await.unwrap();
            while stream.write_all(b"5\r\nhello\r\n").await.is_ok() {}
        });
        assert_eq!(Poster::new(&settings).post(b"{}").await.unwrap(), 200);
    }
}
