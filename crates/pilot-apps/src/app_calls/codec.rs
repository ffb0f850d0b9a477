//! A JSON document with its length before it.

use std::io;

use pilot_wire::{Reader, put_varint};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::write_all;

/// Longest question: arguments of 1 MiB, and what is around them.
pub const MAX_APP_QUESTION: usize = 1024 * 1024 + 64 * 1024;
/// Longest answer: a result of 16 MiB, the most that an app may give, and what is around it.
pub const MAX_APP_ANSWER: usize = 16 * 1024 * 1024 + 64 * 1024;

/// Why no document came.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadDocumentError {
    /// The stream broke.
    #[error("the stream broke")]
    Io(#[from] io::Error),
    /// It ended inside the document.
    #[error("the stream ended inside the document")]
    Truncated,
    /// The document is too long.
    #[error("a document of {len} bytes, at most {max} are read")]
    TooLong {
        /// Bytes announced.
        len: u64,
        /// Bytes allowed.
        max: usize,
    },
    /// It is no JSON, or not of the shape that is expected.
    #[error("not the document that was expected")]
    Json(#[source] serde_json::Error),
}

pub(super) async fn write_document<W: AsyncWrite + Unpin>(
    writer: &mut W,
    document: &[u8],
) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(document.len() + 8);
    put_varint(&mut bytes, document.len() as u64);
    bytes.extend_from_slice(document);
    write_all(writer, &bytes).await
}

/// Reads a document of at most `max` bytes, and nothing beyond it. Nothing is allocated for what is only announced.
pub(super) async fn read_document<R: AsyncRead + Unpin>(
    reader: &mut R,
    max: usize,
) -> Result<Vec<u8>, ReadDocumentError> {
    let mut prefix = vec![0];
    read_exact(reader, &mut prefix).await?;
    // RFC 9000 §16: the two most significant bits of the first byte give the length.
    prefix.resize(1 << (prefix[0] >> 6), 0);
    read_exact(reader, &mut prefix[1..]).await?;
    let len = Reader::new(&prefix).varint();
    let len = len.expect("as many bytes as the first one says");
    if usize::try_from(len).is_ok_and(|len| len > max) || usize::try_from(len).is_err() {
        return Err(ReadDocumentError::TooLong { len, max });
    }
    let mut document = vec![];
    reader.take(len).read_to_end(&mut document).await?;
    if document.len() as u64 == len {
        Ok(document)
    } else {
        Err(ReadDocumentError::Truncated)
    }
}

async fn read_exact<R: AsyncRead + Unpin>(
    reader: &mut R,
    bytes: &mut [u8],
) -> Result<(), ReadDocumentError> {
    match reader.read_exact(bytes).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(ReadDocumentError::Truncated)
        }
        Err(error) => Err(error.into()),
    }
}
