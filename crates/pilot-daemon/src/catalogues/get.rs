//! One GET: a connection of its own, over TLS; in plain text on this machine alone. Redirects are not followed.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::Method;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::web::{AskError, Asked, Destination};

/// How long a connection may take, and a file after that.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(120);

/// Why a file was not fetched.
#[derive(Debug, Error)]
pub(crate) enum GetError {
    /// No answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// An answer that is no success.
    #[error("it answered {0} for {1}")]
    Status(u16, String),
    /// More than is read.
    #[error("{0} has more than {1} bytes")]
    TooLong(String, u64),
    /// It broke off.
    #[error("the answer broke off")]
    Body,
    /// Too slow.
    #[error("no answer in time")]
    Timeout,
}

/// A directory of a web server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Site(Destination);

impl Site {
    /// # Errors
    /// What was expected.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let destination = Destination::parse(url)?;
        if url.contains(['?', '#']) {
            return Err("expected a directory, without a question".to_owned());
        }
        if !destination.is_tls() && !destination.is_loopback() {
            return Err("expected https:// but for this machine itself".to_owned());
        }
        Ok(Self(destination))
    }

    /// A file below it, of at most `most` bytes.
    ///
    /// # Errors
    /// [`GetError`].
    pub(crate) async fn get(&self, path: &str, most: u64) -> Result<Vec<u8>, GetError> {
        let stream = timeout(CONNECT_PATIENCE, self.0.connect()).await;
        let stream = stream.map_err(|_| GetError::Timeout)??;
        let fetched = timeout(PATIENCE, self.exchange(stream, path, most));
        fetched.await.unwrap_or(Err(GetError::Timeout))
    }

    async fn exchange(
        &self,
        stream: TcpStream,
        path: &str,
        most: u64,
    ) -> Result<Vec<u8>, GetError> {
        let place = format!("{}/{path}", self.0.path.trim_end_matches('/'));
        let request = self.0.request(Method::GET, &place);
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(AskError::from)?;
        let Asked {
            answer,
            connection: _connection,
        } = self.0.ask(stream, request).await?;
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(GetError::Status(status, path.to_owned()));
        }
        let limit = usize::try_from(most).unwrap_or(usize::MAX);
        let body = Limited::new(answer.into_body(), limit).collect().await;
        body.map(|body| body.to_bytes().to_vec()).map_err(|error| {
            if error.is::<LengthLimitError>() {
                GetError::TooLong(path.to_owned(), most)
            } else {
                GetError::Body
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// What comes of an answer.
    async fn get(answer: &'static [u8], most: u64) -> Result<Vec<u8>, GetError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let site =
            Site::parse(&format!("http://{}/apps/", listener.local_addr().unwrap())).unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = vec![];
            while !read.ends_with(b"\r\n\r\n") {
                assert!(stream.read_buf(&mut read).await.unwrap() > 0);
            }
            stream.write_all(answer).await.unwrap();
            String::from_utf8(read).unwrap()
        });
        let got = site.get("a/b", most).await;
        let asked = serving.await.unwrap();
        assert!(asked.starts_with("GET /apps/a/b HTTP/1.1\r\n"), "{asked}");
        got
    }

    #[tokio::test]
    async fn a_file_is_read_up_to_its_bound() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        assert_eq!(get(whole, 5).await.unwrap(), b"hello");
        assert!(matches!(get(whole, 4).await, Err(GetError::TooLong(_, 4))));
        let endless = b"HTTP/1.1 200 OK\r\n\r\nhello hello hello";
        assert!(matches!(get(endless, 4).await, Err(GetError::TooLong(..))));
        let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello";
        assert!(matches!(get(cut, 100).await, Err(GetError::Body)));
    }

    #[tokio::test]
    async fn redirects_and_other_answers_are_none() {
        let moved =
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        assert!(matches!(get(moved, 5).await, Err(GetError::Status(302, _))));
        let none = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
        assert!(matches!(get(none, 5).await, Err(GetError::Status(404, _))));
        assert!(matches!(
            get(b"hello\r\n", 5).await,
            Err(GetError::Ask(AskError::Http(_)))
        ));
    }
}
