//! The requests whose connection becomes a byte stream.

use std::fmt::Write;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::io::copy_bidirectional_with_sizes;

use super::answer;
use super::body;
use super::outcomes::{LiveStream, broken_off};
use super::places::Place;
use super::router::{Closed, Shared, deadline, within};
use crate::daemon_api::{BoxStream, DaemonApi};
use crate::error::ApiError;
use crate::types::{
    AcceptRequest, Call, DialRequest, ExposeRequest, ForwardRequest, ProxyRequest, ServeRequest,
    StreamEnded, SubscribeRequest,
};

/// What the connection is upgraded to.
pub(crate) const PROTOCOL: HeaderValue = HeaderValue::from_static("pilot-stream");
/// Header with the answer's `data` in JSON.
pub(crate) const INFO_HEADER: &str = "pilot-stream-info";
/// Header with the stream's number, by which its outcome is asked for.
pub(crate) const ID_HEADER: &str = "pilot-stream-id";
/// Enough to keep a fast stream going between two turns of the scheduler.
const BUFFER: usize = 64 * 1024;

macro_rules! upgrades {
    ($($method:ident: $request:ty;)+) => {
        $(pub(super) async fn $method<D: DaemonApi>(
            State(shared): State<Arc<Shared<D>>>,
            request: Request,
        ) -> Response<Body> {
            let api = shared.api();
            let opened = open(&shared, request, |call: $request| async move {
                api.$method(call).await
            })
            .await;
            finish(&shared, opened)
        })+
    };
}

upgrades! {
    dial: DialRequest;
    accept: AcceptRequest;
    subscribe: SubscribeRequest;
    forward: ForwardRequest;
    expose: ExposeRequest;
    serve: ServeRequest;
    proxy: ProxyRequest;
}

/// A stream to a peer, and the connection that is to carry it.
struct Opened<I> {
    info: I,
    stream: BoxStream,
    upgrade: OnUpgrade,
}

async fn open<D, R, F, Fut>(
    shared: &Shared<D>,
    mut request: Request,
    run: F,
) -> Result<Opened<R::Answer>, ApiError>
where
    R: Call,
    F: FnOnce(R) -> Fut,
    Fut: Future<Output = Result<(R::Answer, BoxStream), ApiError>>,
{
    if !is_upgrade(&request) {
        return Err(ApiError::invalid(format!(
            "{} needs the headers Connection: upgrade and Upgrade: pilot-stream, in HTTP/1.1",
            R::PATH
        )));
    }
    let place = request.extensions_mut().remove::<Arc<Place>>();
    // From here on, before the stream is there: who waits for one takes no place from commands.
    if place.is_some_and(|place| !place.become_stream()) {
        return Err(answer::no_more_streams());
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let bytes = body::receive::<R>(request.into_body(), &shared.places).await?;
    let call: R = body::read(&bytes)?;
    let (info, stream) = within(deadline(&call), run(call)).await?;
    Ok(Opened {
        info,
        stream,
        upgrade,
    })
}

/// RFC 9110 §7.8: `Upgrade` counts where `Connection` names it, and from HTTP/1.1 on.
fn is_upgrade(request: &Request) -> bool {
    let headers = request.headers();
    let options = headers.get_all(header::CONNECTION).iter();
    let is_named = options
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("upgrade"));
    let is_ours = headers.get(header::UPGRADE) == Some(&PROTOCOL);
    is_named && is_ours && request.version() == Version::HTTP_11
}

/// Answers 101 and lets the bytes flow. A refusal ends the connection: its place is a stream's already.
fn finish<D: DaemonApi, I: Serialize>(
    shared: &Arc<Shared<D>>,
    opened: Result<Opened<I>, ApiError>,
) -> Response<Body> {
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => return answer::last(&error),
    };
    let live = shared.outcomes.open();
    let headers = match headers(&opened.info, live.id) {
        Ok(headers) => headers,
        Err(error) => return answer::last(&error),
    };
    let carrier = Carrier {
        live,
        closed: shared.closed(),
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
}

impl Carrier {
    async fn carry(mut self, upgrade: OnUpgrade, stream: BoxStream) {
        let upgraded = tokio::select! {
            upgraded = upgrade => upgraded,
            () = self.closed.wait() => return,
        };
        match upgraded {
            Ok(upgraded) => self.copy(upgraded, stream).await,
            // Nobody has heard of this stream, and nobody will ask how it ended.
            Err(error) => tracing::debug!(%error, "a client went away before its stream began"),
        }
    }

    async fn copy(mut self, upgraded: Upgraded, mut stream: BoxStream) {
        let mut local = TokioIo::new(upgraded);
        let outcome = tokio::select! {
            copied = copy_bidirectional_with_sizes(&mut local, &mut stream, BUFFER, BUFFER) => copied
                .map(|(sent, received)| StreamEnded { sent, received })
                .map_err(|error| reason(&error)),
            () = self.closed.wait() => Err(broken_off("the daemon stopped")),
        };
        // The stream goes first: whoever reads the outcome may rely on it that nothing of the stream is left.
        drop(stream);
        self.live.end(outcome);
    }
}

fn reason(error: &io::Error) -> ApiError {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<ApiError>())
        .cloned()
        .unwrap_or_else(|| broken_off(format!("the stream broke off: {error}")))
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::super::outcomes::Outcomes;
    use super::*;
    use crate::error::ErrorCode;

    #[tokio::test]
    async fn a_client_that_goes_between_answer_and_stream_leaves_no_entry() {
        let outcomes = Outcomes::default();
        let live = outcomes.open();
        let id = live.id;
        let (_closing, closed) = watch::channel(false);
        let closed = Closed::new(closed);
        let (near, mut far) = tokio::io::duplex(64);
        // An upgrade that fails, as one does whose connection ends.
        let upgrade = hyper::upgrade::on(Request::new(Body::empty()));
        Carrier { live, closed }
            .carry(upgrade, Box::new(near))
            .await;
        let asked = outcomes.wait(id).await;
        assert_eq!(asked.unwrap_err().code, ErrorCode::NotFound);
        let written = tokio::io::AsyncWriteExt::write_all(&mut far, b"x").await;
        assert!(written.is_err(), "the stream to the peer goes too");
    }
}
