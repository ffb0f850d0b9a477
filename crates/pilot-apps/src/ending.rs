//! How a service ends its direction of a stream.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::AsyncWrite;

/// Ends our direction, and does not wait until the other end has everything, as `shutdown` does: it arrives all the same, and
/// the other end may ask for the next thing as soon as it has the answer.
pub(crate) async fn end<W: AsyncWrite + Unpin>(writer: &mut W) -> io::Result<()> {
    poll_fn(
        |context| match Pin::new(&mut *writer).poll_shutdown(context) {
            Poll::Pending => Poll::Ready(Ok(())),
            ended @ Poll::Ready(_) => ended,
        },
    )
    .await
}
