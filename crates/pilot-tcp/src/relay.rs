//! Bytes both ways between a TCP connection and a stream, each direction with an end of its own.

use std::io;

use pilot_api::ApiError;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;

use crate::tcp::reset_on_drop;

/// Enough to keep a fast stream going between two turns of the scheduler; twice that for each connection.
const BUFFER: usize = 64 * 1024;

/// Why it did not end well.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The stream broke off.
    Stream(ApiError),
    /// The TCP connection did; its owner knows.
    Tcp(io::Error),
}

/// Until both directions have ended. What breaks on one side breaks the other: TCP is reset, the stream is dropped unfinished.
pub(crate) async fn relay<S>(mut tcp: TcpStream, mut stream: S) -> Result<(), Broken>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    reset_on_drop(&tcp, true);
    match copy_bidirectional_with_sizes(&mut tcp, &mut stream, BUFFER, BUFFER).await {
        Ok(_) => {
            reset_on_drop(&tcp, false);
            Ok(())
        }
        Err(error) => Err(stream_error(&error).map_or(Broken::Tcp(error), Broken::Stream)),
    }
}

/// What a stream says of its end; `None` if the error is none of a stream.
pub(crate) fn stream_error(error: &io::Error) -> Option<ApiError> {
    error.get_ref()?.downcast_ref::<ApiError>().cloned()
}
