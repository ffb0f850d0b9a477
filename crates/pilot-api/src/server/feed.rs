//! What happens, as server-sent events (HTML Living Standard §9.2).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, Response, Uri, header};
use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::answer;
use super::places::Place;
use super::router::{Closed, Shared};
use crate::daemon_api::DaemonApi;
use crate::error::ApiError;
use crate::types::{Notice, WatchRequest};

/// Silence after which a comment tells both ends that the other is there: proxies end connections that are idle for longer.
const BEAT: Duration = Duration::from_secs(15);
const LAST_ID: &str = "last-event-id";

/// Answers with a body that goes on until the client, or the server, ends.
pub(super) async fn watch<D: DaemonApi>(
    State(shared): State<Arc<Shared<D>>>,
    request: Request,
) -> Response<Body> {
    match open(&shared, request).await {
        Ok(body) => {
            let mut response = Response::new(body);
            let headers = response.headers_mut();
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/event-stream"),
            );
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            // Its place is a stream's now, and never another request's.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
        Err(error) => answer::last(&error),
    }
}

async fn open<D: DaemonApi>(
    shared: &Arc<Shared<D>>,
    mut request: Request,
) -> Result<Body, ApiError> {
    let place = request.extensions_mut().remove::<Arc<Place>>();
    let mut call = asked(request.uri())?;
    if let Some(id) = request.headers().get(LAST_ID) {
        let id = id.to_str().ok().and_then(|text| text.parse().ok());
        let expected = || ApiError::invalid("invalid Last-Event-ID: expected a notice's number");
        call.after = Some(id.ok_or_else(expected)?);
    }
    let notices = shared.api().watch(call).await?;
    if place.is_some_and(|place| !place.become_stream()) {
        return Err(answer::no_more_streams());
    }
    let (sender, texts) = mpsc::channel(1);
    tokio::spawn(write(notices, sender, shared.closed()));
    Ok(Body::new(Feed(texts)))
}

fn asked(uri: &Uri) -> Result<WatchRequest, ApiError> {
    match Query::<WatchRequest>::try_from_uri(uri) {
        Ok(Query(call)) => Ok(call),
        Err(refused) => Err(ApiError::invalid(format!("invalid query: {refused}"))),
    }
}

/// Writes notices until one of the three is gone.
async fn write(
    mut notices: mpsc::Receiver<Notice>,
    texts: mpsc::Sender<Bytes>,
    mut closed: Closed,
) {
    // A client learns at once that it is heard.
    let mut text = Bytes::from_static(b": watching\n\n");
    loop {
        if texts.send(text).await.is_err() {
            return;
        }
        let next = tokio::select! {
            next = timeout(BEAT, notices.recv()) => next,
            () = texts.closed() => return,
            () = closed.wait() => return,
        };
        text = match next {
            Ok(Some(notice)) => match event(&notice) {
                Ok(event) => event,
                Err(error) => {
                    tracing::error!(%error, "a notice cannot be written");
                    return;
                }
            },
            Ok(None) => return,
            Err(_) => Bytes::from_static(b":\n\n"),
        };
    }
}

/// One event. JSON has no line ends outside of its strings, and there they are escaped.
fn event(notice: &Notice) -> serde_json::Result<Bytes> {
    let mut text = format!("event: {}\n", notice.what.kind().word());
    if let Some(id) = notice.id {
        text.push_str(&format!("id: {id}\n"));
    }
    let data = serde_json::to_string(notice)?;
    text.push_str(&format!("data: {data}\n\n"));
    Ok(Bytes::from(text))
}

/// A body of texts as they come.
struct Feed(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Feed {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let text = self.0.poll_recv(context);
        text.map(|text| text.map(|text| Ok(Frame::data(text))))
    }
}

#[cfg(test)]
mod tests {
    use pilot_types::UnixTime;

    use super::*;
    use crate::types::What;

    #[test]
    fn an_event_has_type_number_and_one_line_of_data() {
        let notice = Notice {
            id: Some(7),
            at: UnixTime::from_millis(0),
            what: What::Rendezvous {
                url: "two\nlines".to_owned(),
                state: "connected".to_owned(),
            },
        };
        let text = event(&notice).unwrap();
        let text = std::str::from_utf8(&text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["event: rendezvous", "id: 7"]);
        let data = lines[2].strip_prefix("data: ").unwrap();
        assert_eq!(serde_json::from_str::<Notice>(data).unwrap(), notice);
        assert_eq!(lines[3..], [""]);
    }

    #[test]
    fn a_query_with_an_unknown_field_is_refused() {
        let asked = |query: &str| asked(&format!("/v1/watch{query}").parse().unwrap());
        assert_eq!(asked("").unwrap().kinds, None);
        let both = asked("?kinds=message,knock&after=3").unwrap();
        assert_eq!(
            (both.kinds.as_deref(), both.after),
            (Some("message,knock"), Some(3))
        );
        assert!(asked("?kind=message").is_err() && asked("?after=x").is_err());
    }
}
