//! The client: one connection a request, over the daemon's Unix socket.

mod stream;
mod watch;

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

pub use stream::{ApiStream, StreamNumber};
pub use watch::Watching;

use crate::error::{ApiError, Envelope, ErrorCode};
use crate::server::{ID_HEADER, INFO_HEADER, PROTOCOL};
use crate::types::{
    AcceptInfo, AcceptRequest, Call, DialInfo, DialRequest, StreamEnded, StreamOutcomeRequest,
    SubscribeRequest, Subscribed, TcpOpened, Verb, WatchRequest,
};

/// The daemon keeps a request's deadline itself; the client waits this much longer for its word.
const GRACE: Duration = Duration::from_secs(2);
/// Longest answer: a message in base64 takes 86 MiB.
const MAX_ANSWER: usize = 128 * 1024 * 1024;
const ROOT: u32 = 0;
const START_HINT: &str = "pilotctl daemon start";

/// A daemon's API, seen from outside. Nothing is connected until a request is made.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    timeout: Option<Duration>,
}

impl Client {
    /// A client of the daemon on `socket`, with a deadline of 30 s for requests that have none of their own.
    #[must_use]
    pub const fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            timeout: Some(Duration::from_secs(30)),
        }
    }

    /// With another deadline, `None` for none.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// The daemon's socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Makes a request.
    ///
    /// # Errors
    /// The daemon's own error; `not_running` if there is none; `timeout` if it does not answer.
    pub async fn call<R: Call>(&self, call: &R) -> Result<R::Answer, ApiError> {
        self.within(call, async {
            let response = self.send(call, false).await?;
            read_answer(response).await
        })
        .await
    }

    /// Opens a stream to a port of an agent.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn dial(&self, call: &DialRequest) -> Result<(DialInfo, ApiStream), ApiError> {
        self.within(call, self.upgrade(call)).await
    }

    /// Takes the next stream to a port of this agent.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn accept(&self, call: &AcceptRequest) -> Result<(AcceptInfo, ApiStream), ApiError> {
        self.within(call, self.upgrade(call)).await
    }

    /// Subscribes at a broker; the stream brings an [`crate::types::EventLine`] in JSON a line.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn subscribe(
        &self,
        call: &SubscribeRequest,
    ) -> Result<(Subscribed, ApiStream), ApiError> {
        self.within(call, self.upgrade(call)).await
    }

    /// Opens a port for TCP programs; the stream brings a [`crate::types::TcpFault`] in JSON a line, and its end closes the port.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn open_port<R: Call<Answer = TcpOpened>>(
        &self,
        call: &R,
    ) -> Result<(TcpOpened, ApiStream), ApiError> {
        self.within(call, self.upgrade(call)).await
    }

    /// Watches what happens.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn watch(&self, call: &WatchRequest) -> Result<Watching, ApiError> {
        self.within(call, async {
            let response = self.send(call, false).await?;
            if response.status() == StatusCode::OK {
                return Ok(Watching::new(response.into_body()));
            }
            let refused = read_answer::<serde_json::Value>(response).await;
            Err(refused
                .err()
                .unwrap_or_else(|| foreign("a body that does not go on")))
        })
        .await
    }

    /// How a stream ended; waits for its end. A stream's last byte is followed by this, or one cannot know that it was the last.
    ///
    /// # Errors
    /// Why it broke off.
    pub async fn outcome(&self, stream: StreamNumber) -> Result<StreamEnded, ApiError> {
        let timeout_ms = self
            .timeout
            .map_or(0, |timeout| u64::try_from(timeout.as_millis()).unwrap_or(0));
        self.call(&StreamOutcomeRequest {
            stream: stream.0,
            timeout_ms: Some(timeout_ms),
        })
        .await
    }

    /// The process behind the socket, as the kernel knows it; `None` where it is in another PID namespace.
    ///
    /// # Errors
    /// `not_running` if there is none.
    pub async fn daemon_pid(&self) -> Result<Option<u32>, ApiError> {
        let stream = self.connect().await?;
        let peer = stream.peer_cred().map_err(|error| {
            ApiError::internal(format!("no credentials of the daemon: {error}"))
        })?;
        Ok(peer
            .pid()
            .and_then(|pid| u32::try_from(pid).ok())
            .filter(|pid| *pid != 0))
    }

    async fn within<R: Call, T>(
        &self,
        call: &R,
        future: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let deadline = match call.timeout_ms() {
            None => self.timeout,
            Some(0) => None,
            Some(millis) => Some(Duration::from_millis(millis) + GRACE),
        };
        let Some(deadline) = deadline else {
            return future.await;
        };
        tokio::time::timeout(deadline, future)
            .await
            .unwrap_or_else(|_| {
                Err(ApiError::timeout(format!(
                    "the daemon on {} did not answer within {} ms",
                    self.socket.display(),
                    deadline.as_millis()
                )))
            })
    }

    async fn connect(&self) -> Result<UnixStream, ApiError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.unreachable(&error))?;
        self.check_owner(&stream)?;
        Ok(stream)
    }

    /// Whoever puts a socket of his own into the daemon's place would be told everything. Root may ask anybody.
    fn check_owner(&self, stream: &UnixStream) -> Result<(), ApiError> {
        let own = rustix::process::geteuid().as_raw();
        let peer = stream.peer_cred().map_err(|error| {
            ApiError::internal(format!("no credentials of the daemon: {error}"))
        })?;
        if own == ROOT || peer.uid() == own || peer.uid() == ROOT {
            return Ok(());
        }
        let socket = self.socket.display();
        Err(ApiError::new(
            ErrorCode::PermissionDenied,
            format!("the daemon on {socket} is another user's"),
        ))
    }

    fn unreachable(&self, error: &io::Error) -> ApiError {
        let socket = self.socket.display();
        let kind = error.kind();
        if matches!(
            kind,
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        ) {
            ApiError::new(ErrorCode::NotRunning, format!("no daemon on {socket}"))
                .with_hint(START_HINT)
        } else if kind == io::ErrorKind::PermissionDenied {
            ApiError::new(
                ErrorCode::PermissionDenied,
                format!("{socket} belongs to another user"),
            )
        } else if kind == io::ErrorKind::InvalidInput {
            ApiError::invalid(format!("invalid socket path {socket}: {error}"))
        } else {
            ApiError::internal(format!("cannot reach the daemon on {socket}: {error}"))
        }
    }

    async fn send<R: Call>(
        &self,
        call: &R,
        is_upgrade: bool,
    ) -> Result<Response<Incoming>, ApiError> {
        let stream = self.connect().await?;
        let request = request(call, is_upgrade)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "the connection to the daemon ended badly");
            }
        });
        sender
            .send_request(request)
            .await
            .map_err(|error| broken(&error))
    }

    async fn upgrade<R: Call>(&self, call: &R) -> Result<(R::Answer, ApiStream), ApiError> {
        let response = self.send(call, true).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let refused = read_answer::<R::Answer>(response).await;
            return Err(refused.err().unwrap_or_else(|| {
                ApiError::internal("the daemon answered without opening a stream")
            }));
        }
        let header = |name| response.headers().get(name)?.to_str().ok();
        let info = header(INFO_HEADER).and_then(|text| serde_json::from_str(text).ok());
        let number = header(ID_HEADER).and_then(|text| text.parse().ok());
        let (Some(info), Some(number)) = (info, number) else {
            return Err(foreign("a stream without its facts"));
        };
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|error| broken(&error))?;
        Ok((info, ApiStream::new(upgraded, StreamNumber(number))))
    }
}

fn request<R: Call>(call: &R, is_upgrade: bool) -> Result<Request<Full<Bytes>>, ApiError> {
    let internal = |error: String| ApiError::internal(format!("cannot write the request: {error}"));
    let (method, body) = match R::VERB {
        Verb::Get => (Method::GET, Bytes::new()),
        Verb::Post => {
            let body = serde_json::to_vec(call).map_err(|error| internal(error.to_string()))?;
            (Method::POST, Bytes::from(body))
        }
    };
    let mut request = Request::builder()
        .method(method)
        .uri(uri(call)?)
        .header(header::HOST, "pilot")
        .header(header::CONTENT_TYPE, "application/json");
    if is_upgrade {
        request = request
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, PROTOCOL);
    }
    request
        .body(Full::new(body))
        .map_err(|error| internal(error.to_string()))
}

/// A question's fields stand in the query.
fn uri<R: Call>(call: &R) -> Result<String, ApiError> {
    let mut uri = R::PATH.to_owned();
    if R::VERB == Verb::Post {
        return Ok(uri);
    }
    let fields = serde_json::to_value(call)
        .map_err(|error| ApiError::internal(format!("cannot write the request: {error}")))?;
    let fields = fields.as_object().into_iter().flatten();
    for (index, (name, value)) in fields.enumerate() {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        uri.push(if index == 0 { '?' } else { '&' });
        uri.push_str(&format!("{name}={value}"));
    }
    Ok(uri)
}

async fn read_answer<T: serde::de::DeserializeOwned>(
    response: Response<Incoming>,
) -> Result<T, ApiError> {
    let body = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await
        .map_err(|error| foreign(&error.to_string()))?
        .to_bytes();
    let envelope: Envelope<T> =
        serde_json::from_slice(&body).map_err(|error| foreign(&error.to_string()))?;
    envelope.into_result()
}

fn broken(error: &hyper::Error) -> ApiError {
    ApiError::internal(format!("the daemon broke off the connection: {error}"))
}

fn foreign(what: &str) -> ApiError {
    ApiError::internal(format!("the socket gave no answer of Pilot's API: {what}"))
        .with_hint("check that daemon and pilotctl are of one version")
}
