//! Port 7: returns what it gets (RFC 862).

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, split};

/// Sends every byte back until the peer ends its direction, then ends ours; gives the number of bytes.
///
/// The transport's flow control is the only buffer: a peer that does not read is not read from.
///
/// # Errors
/// What the stream reports when it breaks.
pub async fn serve_echo<S: AsyncRead + AsyncWrite>(stream: S) -> io::Result<u64> {
    let (mut reader, mut writer) = split(stream);
    let bytes = copy(&mut reader, &mut writer).await?;
    writer.shutdown().await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    #[tokio::test]
    async fn more_than_the_pipe_holds_comes_back_in_order() {
        let (ours, theirs) = duplex(64);
        let service = tokio::spawn(serve_echo(theirs));
        let sent: Vec<u8> = (0..10_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let (mut reader, mut writer) = split(ours);
        let to_send = sent.clone();
        let writing = tokio::spawn(async move {
            writer.write_all(&to_send).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let mut back = vec![];
        reader.read_to_end(&mut back).await.unwrap();
        writing.await.unwrap();
        assert_eq!(back, sent);
        assert_eq!(service.await.unwrap().unwrap(), 10_000);
    }

    #[tokio::test]
    async fn a_peer_that_goes_away_is_an_error_or_an_end_but_no_hang() {
        let (ours, theirs) = duplex(64);
        drop(ours);
        assert_eq!(serve_echo(theirs).await.unwrap(), 0);
    }
}
