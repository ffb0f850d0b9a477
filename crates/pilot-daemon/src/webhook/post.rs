//! One POST: a connection of its own, over TLS where the URL says so. Redirects are not followed.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use pilot_types::encode_hex;
use ring::hmac;
use thiserror::Error;
use tokio::time::timeout;

use super::settings::WebhookSettings;
use crate::inbox::now;
use crate::web::{AskError, Asked, Destination};

/// A whole try, from the name's look-up to the answer's end.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer's body says nothing to us; so much of it is read.
const MAX_ANSWER: usize = 64 * 1024;
/// And for so long.
const LINGER: Duration = Duration::from_secs(1);

/// Why a try failed.
#[derive(Debug, Error)]
pub(super) enum PostError {
    /// No answer.
    #[error(transparent)]
    Ask(#[from] AskError),
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

impl PostError {
    /// Whether the same may succeed later.
    pub(super) const fn may_pass(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..),
            Self::Ask(_) | Self::Timeout => true,
        }
    }

    /// What the receiver asks for.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Ask(_) | Self::Timeout => None,
        }
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
        let stream = self.destination.connect().await?;
        // The connection stays until its answer is judged.
        let Asked {
            answer,
            connection: _connection,
        } = self.destination.ask(stream, request).await?;
        let (head, body) = answer.into_parts();
        // A receiver that is cut off while it answers may take that for a failure.
        let _ = timeout(LINGER, Limited::new(body, MAX_ANSWER).collect()).await;
        judged(head.status, head.headers.get(header::RETRY_AFTER))
    }

    /// The request, with the signature of time and body: whoever saw an old one cannot use it again later.
    fn request(&self, body: &[u8], unix: u64) -> Result<Request<Full<Bytes>>, AskError> {
        let mut signing = hmac::Context::with_key(&self.key);
        signing.update(format!("{unix}.").as_bytes());
        signing.update(body);
        let hex = encode_hex(signing.sign().as_ref());
        let destination = &self.destination;
        let request = destination
            .request(Method::POST, &destination.path)
            .header(header::CONTENT_TYPE, "application/json")
            .header("pilot-timestamp", unix)
            .header("pilot-signature", format!("v1={hex}"));
        Ok(request.body(Full::new(Bytes::copy_from_slice(body)))?)
    }
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
