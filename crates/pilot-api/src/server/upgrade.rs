//! The requests whose connection becomes a byte stream.

use std::fmt::Write;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::io::copy_bidirectional_with_sizes;

use super::answer;
use super::connection::Slot;
use super::outcomes::{LiveStream, broken_off};
use super::router::{Closed, Shared, deadline, read, within};
use crate::daemon_api::{BoxStream, DaemonApi};
use crate::error::ApiError;
use crate::types::{AcceptRequest, Call, DialRequest, StreamEnded, SubscribeRequest};

/// What the connection is upgraded to.
pub(crate) const PROTOCOL: HeaderValue = HeaderValue::from_static("pilot-stream");
/// Header with the answer's `data` in JSON.
pub(crate) const INFO_HEADER: &str = "pilot-stream-info";
/// Header with the stream's number, by which its outcome is asked for.
pub(crate) const ID_HEADER: &str = "pilot-stream-id";
/// Enough to keep a fast stream going between two turns of the scheduler.
const BUFFER: usize = 64 * 1024;

pub(super) async fn dial<D: DaemonApi>(
    State(shared): State<Arc<Shared<D>>>,
    request: Request,
) -> Response<Body> {
    let api = shared.api();
    let opened = open(
        request,
        |call: DialRequest| async move { api.dial(call).await },
    )
    .await;
    finish(&shared, opened)
}

pub(super) async fn accept<D: DaemonApi>(
    State(shared): State<Arc<Shared<D>>>,
    request: Request,
) -> Response<Body> {
    let api = shared.api();
    let opened = open(request, |call: AcceptRequest| async move {
        api.accept(call).await
    })
    .await;
    finish(&shared, opened)
}

pub(super) async fn subscribe<D: DaemonApi>(
    State(shared): State<Arc<Shared<D>>>,
    request: Request,
) -> Response<Body> {
    let api = shared.api();
    let opened = open(request, |call: SubscribeRequest| async move {
        api.subscribe(call).await
    })
    .await;
    finish(&shared, opened)
}

/// A stream to a peer, and the connection that is to carry it.
struct Opened<I> {
    info: I,
    stream: BoxStream,
    upgrade: OnUpgrade,
    slot: Option<Slot>,
}

async fn open<R, F, Fut>(mut request: Request, run: F) -> Result<Opened<R::Answer>, ApiError>
where
    R: Call,
    F: FnOnce(R) -> Fut,
    Fut: Future<Output = Result<(R::Answer, BoxStream), ApiError>>,
{
    if request.headers().get(header::UPGRADE) != Some(&PROTOCOL) {
        return Err(ApiError::invalid(format!(
            "{} needs the headers Connection: upgrade and Upgrade: pilot-stream",
            R::PATH
        )));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let slot = request.extensions_mut().remove::<Slot>();
    let call: R = read(request.into_body()).await?;
    let (info, stream) = within(deadline(&call), run(call)).await?;
    Ok(Opened {
        info,
        stream,
        upgrade,
        slot,
    })
}

/// Answers 101 and lets the bytes flow.
fn finish<D: DaemonApi, I: Serialize>(
    shared: &Arc<Shared<D>>,
    opened: Result<Opened<I>, ApiError>,
) -> Response<Body> {
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => return answer::failure(error),
    };
    let live = shared.outcomes.open();
    let headers = match headers(&opened.info, live.id) {
        Ok(headers) => headers,
        Err(error) => return answer::failure(error),
    };
    let carrier = Carrier {
        live,
        closed: shared.closed(),
        slot: opened.slot,
    };
    tokio::spawn(carrier.carry(opened.upgrade, opened.stream));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    response
}

fn headers<I: Serialize>(info: &I, id: u64) -> Result<HeaderMap, ApiError> {
    let info = serde_json::to_string(info)
        .ok()
        .and_then(|json| HeaderValue::try_from(in_ascii(&json)).ok())
        .ok_or_else(|| ApiError::internal("the stream's facts do not fit a header"))?;
    Ok(HeaderMap::from_iter([
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, PROTOCOL),
        (header::HeaderName::from_static(INFO_HEADER), info),
        (header::HeaderName::from_static(ID_HEADER), id.into()),
    ]))
}

/// The same document: what is not ASCII stands within its strings and can be escaped (RFC 8259 §7). In a header it would have
/// no meaning (RFC 9110 §5.5), and clients refuse it.
fn in_ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            text.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(text, "\\u{unit:04x}").expect("a String takes what is written");
        }
    }
    text
}

/// Moves bytes between an upgraded connection and its stream, and notes how that ended.
struct Carrier {
    live: LiveStream,
    closed: Closed,
    slot: Option<Slot>,
}

impl Carrier {
    async fn carry(mut self, upgrade: OnUpgrade, mut stream: BoxStream) {
        let outcome = tokio::select! {
            outcome = copy(upgrade, &mut stream) => outcome,
            () = self.closed.wait() => Err(broken_off("the daemon stopped")),
        };
        // The stream goes first: whoever reads the outcome may rely on it that nothing of the stream is left.
        drop(stream);
        self.live.end(outcome);
        drop(self.slot);
    }
}

async fn copy(upgrade: OnUpgrade, stream: &mut BoxStream) -> Result<StreamEnded, ApiError> {
    let upgraded = upgrade
        .await
        .map_err(|error| broken_off(format!("the client went away: {error}")))?;
    let mut local = TokioIo::new(upgraded);
    let (sent, received) = copy_bidirectional_with_sizes(&mut local, stream, BUFFER, BUFFER)
        .await
        .map_err(|error| reason(&error))?;
    Ok(StreamEnded { sent, received })
}

fn reason(error: &io::Error) -> ApiError {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<ApiError>())
        .cloned()
        .unwrap_or_else(|| broken_off(format!("the stream broke off: {error}")))
}
