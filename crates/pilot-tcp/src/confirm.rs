//! Word that a stream was taken, for openers who must tell their clients whether it was.
//!
//! A stream is open as soon as it is dialled, and a refusal comes a round trip later. An opener that has to know attaches
//! [`CONFIRM_REQUEST`] (`docs/wire.md` §12); who knows that word writes [`CONFIRMED`] before anything else. Others begin with their own bytes,
//! or wait: their streams count as taken after [`PATIENCE`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pilot_api::ApiError;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use crate::relay::stream_error;

/// The metadata of a stream whose opener wants to be told.
pub const CONFIRM_REQUEST: &[u8] = b"confirm/1";
/// 128 random bits: no protocol begins with them.
const CONFIRMED: [u8; 16] = [
    0xF6, 0x1B, 0x90, 0x2E, 0xC8, 0x57, 0x04, 0xD3, 0x9A, 0x6F, 0xE1, 0x38, 0x7D, 0xB2, 0x45, 0xAC,
];
/// How long a word is waited for that may never come.
const PATIENCE: Duration = Duration::from_secs(1);

/// Says that the stream was taken.
///
/// # Errors
/// As writing to it.
pub async fn confirm(stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    stream.write_all(&CONFIRMED).await
}

/// A stream whose opener asked. The word never shows among its bytes.
pub struct Confirming<S> {
    stream: S,
    /// What came until it was clear what it is.
    head: [u8; CONFIRMED.len()],
    filled: usize,
    /// Bytes of the head that were read already, once it is clear.
    taken: Option<usize>,
}

impl<S: AsyncRead + Unpin> Confirming<S> {
    /// A stream that was dialled with [`CONFIRM_REQUEST`].
    pub const fn new(stream: S) -> Self {
        Self {
            stream,
            head: [0; CONFIRMED.len()],
            filled: 0,
            taken: None,
        }
    }

    /// Waits for the word, for other bytes, or for so long that there will be none.
    ///
    /// # Errors
    /// Why the stream was refused.
    pub async fn confirmed(&mut self) -> Result<(), ApiError> {
        let word = std::future::poll_fn(|context| self.poll_head(context));
        match timeout(PATIENCE, word).await {
            Ok(Err(error)) => Err(stream_error(&error)
                .unwrap_or_else(|| ApiError::internal(format!("the stream broke off: {error}")))),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    /// Ready with the bytes of the head that were read, once it is clear whether it is the word.
    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while self.taken.is_none() {
            let mut buffer = ReadBuf::new(&mut self.head[self.filled..]);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            let came = buffer.filled().len();
            self.filled += came;
            if self.head == CONFIRMED && self.filled == CONFIRMED.len() {
                self.taken = Some(self.filled);
            } else if came == 0 || self.head[..self.filled] != CONFIRMED[..self.filled] {
                self.taken = Some(0);
            }
        }
        Poll::Ready(Ok(self.taken.unwrap_or_default()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Confirming<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let taken = ready!(self.poll_head(context))?;
        if taken == self.filled {
            return Pin::new(&mut self.stream).poll_read(context, out);
        }
        let len = out.remaining().min(self.filled - taken);
        out.put_slice(&self.head[taken..taken + len]);
        self.taken = Some(taken + len);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Confirming<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn read_in(pieces: &[&[u8]]) -> Vec<u8> {
        let (near, mut far) = tokio::io::duplex(1);
        let mut stream = Confirming::new(near);
        let writing = async {
            for piece in pieces {
                far.write_all(piece).await.unwrap();
            }
            drop(far);
        };
        let mut whole = vec![];
        let reading = async {
            stream.confirmed().await.unwrap();
            stream.read_to_end(&mut whole).await.unwrap();
        };
        tokio::join!(writing, reading);
        whole
    }

    #[tokio::test]
    async fn the_word_is_taken_out_and_everything_else_passes() {
        assert_eq!(read_in(&[&CONFIRMED]).await, b"");
        assert_eq!(read_in(&[&CONFIRMED, b"hello"]).await, b"hello");
        assert_eq!(read_in(&[&CONFIRMED, &CONFIRMED]).await, CONFIRMED);
        assert_eq!(read_in(&[b"220 ready\r\n"]).await, b"220 ready\r\n");
        assert_eq!(read_in(&[]).await, b"");
        for len in 1..CONFIRMED.len() {
            let cut = &CONFIRMED[..len];
            assert_eq!(read_in(&[cut]).await, cut);
            assert_eq!(
                read_in(&[cut, b"x and more"]).await,
                [cut, b"x and more"].concat()
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_counts_as_taken_and_may_speak_later() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut stream = Confirming::new(near);
        stream.confirmed().await.unwrap();
        confirm(&mut far).await.unwrap();
        far.write_all(b"late").await.unwrap();
        drop(far);
        let mut whole = vec![];
        stream.read_to_end(&mut whole).await.unwrap();
        assert_eq!(whole, b"late");
    }
}
