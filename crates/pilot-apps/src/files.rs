//! Port 1001: files, each on a stream of its own (`docs/wire.md` §9).
//!
//! ```text
//! sender    head ─────────────────▶ name, size
//!           ◀──────────── answer    where to start, or why not
//!           bytes, SHA-256 ───────▶ written, hashed, compared, moved into place
//!           ◀─────────── verdict    stored, or why not
//! ```

use std::io;
use std::time::{Duration, Instant};

use pilot_wire::limits::MAX_FILE_HEAD;
use pilot_wire::{FileAnswer, FileHead, FileName, FileVerdict};
use ring::digest::{Context, SHA256};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::data_exchange::{ReadMessageError, encode_prefixed, read_value};
use crate::ending::end;

/// What is read and written at a time.
const CHUNK: usize = 128 * 1024;
/// Chunks between the stream and the disk; with those in hand, some 768 KiB for each file.
const QUEUE: usize = 4;
/// SHA-256.
const HASH: usize = 32;
/// Words of a refusal that go to the peer, in characters of at most four bytes.
const MAX_REFUSAL_CHARS: usize = 128;
/// A sender that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// Where files are put. Its calls block on the disk.
pub trait FileSink: Send + 'static {
    /// Appends bytes.
    ///
    /// # Errors
    /// Why they cannot be kept, in words for the sender.
    fn write(&mut self, bytes: &[u8]) -> Result<(), String>;

    /// The file came whole: moves it into its place. Durable when it returns.
    ///
    /// # Errors
    /// Why it cannot be kept, in words for the sender.
    fn finish(self: Box<Self>, head: &FileHead, sha256: [u8; HASH]) -> Result<FileName, String>;
}

/// Why a file was not sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendFileError {
    /// The file cannot be read, or changed while it was.
    #[error("cannot read the file")]
    Read(#[source] io::Error),
    /// The file has other bytes than it had.
    #[error("the file changed while it was sent")]
    Changed,
    /// The receiver refused, in its words.
    #[error("refused: {0}")]
    Refused(String),
    /// The stream broke.
    #[error("the stream broke")]
    Stream(#[from] io::Error),
    /// What came back is no answer.
    #[error("not an answer")]
    Answer(#[from] ReadMessageError),
}

/// A file that is in its place at the receiver, which compared the hash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileSent {
    /// What it is called there.
    pub name: FileName,
    /// SHA-256 of the whole file.
    pub sha256: [u8; HASH],
    /// Where the receiver had it start.
    pub resumed_from: u64,
    /// From the first byte to the verdict.
    pub duration: Duration,
}

/// Sends a file whose first byte is the next of `file`, on a stream whose metadata are [`pilot_wire::FILE_STREAM`].
///
/// # Errors
/// [`SendFileError`]; only what is returned without one is stored.
pub async fn send_file<S, F>(
    stream: S,
    head: &FileHead,
    file: &mut F,
) -> Result<FileSent, SendFileError>
where
    S: AsyncRead + AsyncWrite,
    F: AsyncRead + Unpin,
{
    let (mut reader, mut writer) = split(stream);
    writer.write_all(&encode_prefixed(head)).await?;
    let offset = match read_value(&mut reader, MAX_FILE_HEAD, "file answer").await? {
        FileAnswer::Accepted { offset } if offset <= head.size => offset,
        FileAnswer::Refused(words) => return Err(SendFileError::Refused(words)),
        FileAnswer::Accepted { .. } | FileAnswer::Unknown => {
            return Err(SendFileError::Refused(
                "an answer of another version".to_owned(),
            ));
        }
    };
    let began = Instant::now();
    let verdict = async {
        let verdict = read_value(&mut reader, MAX_FILE_HEAD, "file verdict").await;
        Ok::<FileVerdict, SendFileError>(verdict?)
    };
    let sending = send_bytes(&mut writer, head, offset, file);
    tokio::pin!(verdict);
    let mut sending = Box::pin(sending);
    // A verdict before the end is a refusal: nothing more need be sent.
    let sent = tokio::select! {
        verdict = &mut verdict => {
            let words = match verdict? {
                FileVerdict::Refused(words) => words,
                FileVerdict::Stored { .. } | FileVerdict::Unknown => {
                    "a verdict before the last byte".to_owned()
                }
            };
            return Err(SendFileError::Refused(words));
        }
        sent = &mut sending => match sent {
            Ok(sha256) => sha256,
            // The stream may have broken because it was refused: the words say more than that.
            Err(error @ SendFileError::Stream(_)) => match verdict.await {
                Ok(FileVerdict::Refused(words)) => return Err(SendFileError::Refused(words)),
                Ok(FileVerdict::Stored { .. } | FileVerdict::Unknown) | Err(_) => return Err(error),
            },
            Err(error) => return Err(error),
        },
    };
    drop(sending);
    // Whether all of it arrived is for the verdict to say.
    let (_, verdict) = tokio::join!(writer.shutdown(), verdict);
    match verdict? {
        FileVerdict::Stored { name } => Ok(FileSent {
            name,
            sha256: sent,
            resumed_from: offset,
            duration: began.elapsed(),
        }),
        FileVerdict::Refused(words) => Err(SendFileError::Refused(words)),
        FileVerdict::Unknown => Err(SendFileError::Refused(
            "a verdict of another version".to_owned(),
        )),
    }
}

/// Hashes all, sends what lies behind `offset` and the hash.
async fn send_bytes<W, F>(
    writer: &mut W,
    head: &FileHead,
    offset: u64,
    file: &mut F,
) -> Result<[u8; HASH], SendFileError>
where
    W: AsyncWrite + Unpin,
    F: AsyncRead + Unpin,
{
    let mut hash = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    loop {
        let len = file.read(&mut chunk).await.map_err(SendFileError::Read)?;
        if len == 0 {
            break;
        }
        hash.update(&chunk[..len]);
        let known = usize::try_from(offset.saturating_sub(at)).unwrap_or(usize::MAX);
        at += len as u64;
        if at > head.size {
            return Err(SendFileError::Changed);
        }
        writer.write_all(&chunk[known.min(len)..len]).await?;
    }
    if at != head.size {
        return Err(SendFileError::Changed);
    }
    let sha256 = digest(hash);
    writer.write_all(&sha256).await?;
    Ok(sha256)
}

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
pub async fn refuse_file<S: AsyncWrite + Unpin>(mut stream: S, words: &str) -> io::Result<()> {
    let words = words.chars().take(MAX_REFUSAL_CHARS).collect();
    let answer = encode_prefixed(&FileAnswer::Refused(words));
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
    /// What came is not what was sent.
    #[error("the hash of what came is another one")]
    Hash,
    /// It could not be kept.
    #[error("{0}")]
    Sink(String),
}

/// Takes the bytes of a file whose head was read, hands them to the sink, and tells the sender how it went.
///
/// # Errors
/// [`ReceiveFileError`]; the sink was dropped unfinished then.
pub async fn receive_file<S: AsyncRead + AsyncWrite>(
    stream: S,
    head: FileHead,
    sink: Box<dyn FileSink>,
) -> Result<FileName, ReceiveFileError> {
    let (mut reader, mut writer) = split(stream);
    let answer = FileAnswer::Accepted { offset: 0 };
    writer.write_all(&encode_prefixed(&answer)).await?;
    let (chunks, disk) = start_disk(sink, head.clone());
    let came = pass_bytes(&mut reader, head.size, &chunks).await;
    drop(chunks);
    let written = disk
        .await
        .map_err(|error| ReceiveFileError::Sink(error.to_string()))?;
    let result = match (came, written) {
        (_, Err(error)) => Err(error),
        (Err(error), Ok(_)) => Err(error),
        (Ok(()), Ok(name)) => Ok(name),
    };
    let verdict = match &result {
        Ok(name) => FileVerdict::Stored { name: name.clone() },
        Err(error) => {
            FileVerdict::Refused(error.to_string().chars().take(MAX_REFUSAL_CHARS).collect())
        }
    };
    let told = async {
        writer.write_all(&encode_prefixed(&verdict)).await?;
        end(&mut writer).await
    };
    if let (Err(error), Ok(_)) = (told.await, &result) {
        tracing::debug!(%error, "the sender of a stored file does not know");
    }
    result
}

/// What the disk is given.
enum Chunk {
    Bytes(Vec<u8>),
    /// The sender's hash, after the last byte.
    End([u8; HASH]),
}

/// Writes and hashes on a thread of its own, at the disk's pace.
fn start_disk(
    mut sink: Box<dyn FileSink>,
    head: FileHead,
) -> (
    mpsc::Sender<Chunk>,
    JoinHandle<Result<FileName, ReceiveFileError>>,
) {
    let (chunks, mut queue) = mpsc::channel(QUEUE);
    let disk = spawn_blocking(move || {
        let mut hash = Context::new(&SHA256);
        while let Some(chunk) = queue.blocking_recv() {
            match chunk {
                Chunk::Bytes(bytes) => {
                    hash.update(&bytes);
                    sink.write(&bytes).map_err(ReceiveFileError::Sink)?;
                }
                Chunk::End(expected) => {
                    let sha256 = digest(hash);
                    if sha256 != expected {
                        return Err(ReceiveFileError::Hash);
                    }
                    return sink.finish(&head, sha256).map_err(ReceiveFileError::Sink);
                }
            }
        }
        Err(ReceiveFileError::Truncated)
    });
    (chunks, disk)
}

/// Reads exactly the file and its hash. Ends early, without an error of its own, when the disk gave up.
async fn pass_bytes<R: AsyncRead + Unpin>(
    reader: &mut R,
    size: u64,
    chunks: &mpsc::Sender<Chunk>,
) -> Result<(), ReceiveFileError> {
    let mut left = size;
    while left > 0 {
        let most = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        let mut bytes = vec![0; most];
        let len = read_some(reader, &mut bytes).await?;
        bytes.truncate(len);
        left -= len as u64;
        if chunks.send(Chunk::Bytes(bytes)).await.is_err() {
            return Ok(());
        }
    }
    let mut hash = [0; HASH];
    let mut filled = 0;
    while filled < HASH {
        filled += read_some(reader, &mut hash[filled..]).await?;
    }
    // The disk may have given up: it says why.
    let _ = chunks.send(Chunk::End(hash)).await;
    Ok(())
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

fn digest(hash: Context) -> [u8; HASH] {
    let mut out = [0; HASH];
    out.copy_from_slice(hash.finish().as_ref());
    out
}

#[cfg(test)]
mod tests;
