//! The receiver's end.

use std::io;

use pilot_wire::limits::MAX_FILE_HEAD;
use pilot_wire::{
    FILE_CHUNK_BYTES, FILE_CHUNK_HELD, FileAnswer, FileHead, FilePath, FileRefusal,
    FileRefusalReason, FileVerdict,
};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::disk::{Disk, Step};
use super::{FileSink, HASH, MAX_REFUSAL_CHARS, PIECE, SILENCE, chunk_len, chunks, chunks_held};
use crate::data_exchange::{ReadMessageError, encode_prefixed, read_value};
use crate::ending::end;

/// Reads the head of a file from a stream.
///
/// # Errors
/// [`ReadMessageError`].
pub async fn read_file_head<R: AsyncRead + Unpin>(
    reader: &mut R,
) -> Result<FileHead, ReadMessageError> {
    timeout(SILENCE, read_value(reader, MAX_FILE_HEAD, "file head"))
        .await
        .map_err(|_| ReadMessageError::Truncated)?
}

/// Tells the sender why its file is not taken, before a byte of it came.
///
/// # Errors
/// What the stream says.
pub async fn refuse_file<S: AsyncWrite + Unpin>(
    mut stream: S,
    refusal: &FileRefusal,
) -> io::Result<()> {
    let answer = encode_prefixed(&FileAnswer::Refused(cut(refusal)));
    stream.write_all(&answer).await?;
    end(&mut stream).await
}

/// Tells the sender that an earlier try of this transfer came whole.
///
/// # Errors
/// What the stream says.
pub async fn tell_stored<S: AsyncWrite + Unpin>(
    mut stream: S,
    name: FilePath,
    sha256: [u8; HASH],
) -> io::Result<()> {
    let answer = encode_prefixed(&FileAnswer::Stored { name, sha256 });
    stream.write_all(&answer).await?;
    end(&mut stream).await
}

/// Why a file did not come.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReceiveFileError {
    /// The stream broke.
    #[error("the stream broke")]
    Stream(#[from] io::Error),
    /// The sender said nothing for too long.
    #[error("the sender fell silent")]
    Silent,
    /// The stream ended before the file did.
    #[error("the stream ended inside the file")]
    Truncated,
    /// What came is no part of a file.
    #[error("what came is no part of the file")]
    Malformed,
    /// What came is not what was sent.
    #[error("the hash of what came is another one")]
    Hash,
    /// It could not be kept.
    #[error("{}", .0.words)]
    Sink(FileRefusal),
}

impl ReceiveFileError {
    /// What the sender is told.
    fn refusal(&self) -> FileRefusal {
        let reason = match self {
            Self::Sink(refusal) => refusal.reason,
            Self::Malformed | Self::Hash => FileRefusalReason::Broken,
            Self::Stream(_) | Self::Silent | Self::Truncated => FileRefusalReason::Interrupted,
        };
        let words = self.to_string();
        cut(&FileRefusal { reason, words })
    }
}

fn cut(refusal: &FileRefusal) -> FileRefusal {
    FileRefusal {
        reason: refusal.reason,
        words: refusal.words.chars().take(MAX_REFUSAL_CHARS).collect(),
    }
}

/// Takes the bytes of a file whose head was read, hands them to the sink, and tells the sender how it went.
///
/// # Errors
/// [`ReceiveFileError`]; what came stays in the sink for another try then, unless its hash is another one.
pub async fn receive_file<S: AsyncRead + AsyncWrite>(
    stream: S,
    head: FileHead,
    sink: Box<dyn FileSink>,
) -> Result<FilePath, ReceiveFileError> {
    let (mut reader, mut writer) = split(stream);
    let (size, held) = (head.size, chunks_held(head.size, sink.held()));
    let mut disk = Disk::start(sink, head, held);
    let came = async {
        let answer = FileAnswer::Accepted { held };
        writer.write_all(&encode_prefixed(&answer)).await?;
        disk.pass_hashes(&mut writer).await?;
        pass_chunks(&mut reader, size, held, &disk.steps).await
    };
    let came = came.await;
    let written = disk.end().await;
    let result = match (came, written) {
        // The disk knows no more than that nothing more came.
        (Err(error), Err(ReceiveFileError::Truncated)) => Err(error),
        (_, Err(error)) | (Err(error), Ok(_)) => Err(error),
        (Ok(()), Ok(name)) => Ok(name),
    };
    let verdict = match &result {
        Ok(name) => FileVerdict::Stored { name: name.clone() },
        Err(error) => FileVerdict::Refused(error.refusal()),
    };
    let told = async {
        writer.write_all(&encode_prefixed(&verdict)).await?;
        end(&mut writer).await
    };
    let told = timeout(SILENCE, told).await;
    let told = told.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    if let (Err(error), Ok(_)) = (told, &result) {
        tracing::debug!(%error, "the sender of a stored file does not know");
    }
    result
}

/// Reads exactly the file's chunks and its hash. Ends early, without an error of its own, when the disk gave up.
async fn pass_chunks<R: AsyncRead + Unpin>(
    reader: &mut R,
    size: u64,
    held: u64,
    steps: &mpsc::Sender<Step>,
) -> Result<(), ReceiveFileError> {
    let mut at = 0;
    for index in 0..chunks(size) {
        let len = chunk_len(size, at);
        let mut kind = [0];
        read_some(reader, &mut kind).await?;
        match kind[0] {
            FILE_CHUNK_HELD if index < held => {
                if steps.send(Step::Keep(len)).await.is_err() {
                    return Ok(());
                }
            }
            FILE_CHUNK_BYTES => {
                if !pass_bytes(reader, len, steps).await? {
                    return Ok(());
                }
            }
            _ => return Err(ReceiveFileError::Malformed),
        }
        at += len;
    }
    let mut hash = [0; HASH];
    let mut filled = 0;
    while filled < HASH {
        filled += read_some(reader, &mut hash[filled..]).await?;
    }
    // The disk may have given up: it says why.
    let _ = steps.send(Step::End(hash)).await;
    Ok(())
}

/// `false` if the disk gave up.
async fn pass_bytes<R: AsyncRead + Unpin>(
    reader: &mut R,
    len: u64,
    steps: &mpsc::Sender<Step>,
) -> Result<bool, ReceiveFileError> {
    let mut left = len;
    while left > 0 {
        let most = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        let mut bytes = vec![0; most];
        let len = read_some(reader, &mut bytes).await?;
        bytes.truncate(len);
        left -= len as u64;
        if steps.send(Step::Bytes(bytes)).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn read_some<R: AsyncRead + Unpin>(
    reader: &mut R,
    bytes: &mut [u8],
) -> Result<usize, ReceiveFileError> {
    match timeout(SILENCE, reader.read(bytes)).await {
        Ok(Ok(0)) => Err(ReceiveFileError::Truncated),
        Ok(len) => Ok(len?),
        Err(_) => Err(ReceiveFileError::Silent),
    }
}
