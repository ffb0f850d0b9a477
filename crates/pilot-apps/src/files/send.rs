//! The sender's end.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pilot_wire::limits::{FILE_CHUNK, MAX_FILE_HEAD};
use pilot_wire::{
    FILE_CHUNK_BYTES, FILE_CHUNK_HELD, FileAnswer, FileHead, FilePath, FileRefusal, FileVerdict,
};
use ring::digest::{Context, SHA256, digest as hash_of};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};

use super::{HASH, chunk_len, chunks, chunks_held, digest};
use crate::data_exchange::{ReadMessageError, encode_prefixed, read_value};

/// Why a file was not sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendFileError {
    /// The file cannot be read.
    #[error("cannot read the file")]
    Read(#[source] io::Error),
    /// The file has other bytes than it had.
    #[error("the file changed while it was sent")]
    Changed,
    /// The receiver refused, in its words.
    #[error("refused: {}", .0.words)]
    Refused(FileRefusal),
    /// The receiver says what this version does not know.
    #[error("an answer of another version")]
    Version,
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
    pub name: FilePath,
    /// SHA-256 of the whole file.
    pub sha256: [u8; HASH],
    /// Bytes that the receiver had already and that were right.
    pub resumed_from: u64,
    /// From the first byte to the verdict.
    pub duration: Duration,
}

/// How far a transfer is, for whoever looks at it while it goes on; one for all its tries.
#[derive(Debug, Default)]
pub struct SendProgress {
    done: AtomicU64,
    held: AtomicU64,
    sent: AtomicU64,
    is_accepted: AtomicBool,
}

impl SendProgress {
    /// Bytes of the file that this try is through with.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Those of them that the receiver had already.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Bytes of the file that went out, in all tries together.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether the receiver took the file in one of the tries.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.is_accepted.load(Ordering::Relaxed)
    }

    fn begin(&self) {
        self.is_accepted.store(true, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
        self.held.store(0, Ordering::Relaxed);
    }

    fn pass(&self, bytes: u64, is_held: bool) {
        let of = if is_held { &self.held } else { &self.sent };
        of.fetch_add(bytes, Ordering::Relaxed);
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Sends a file whose first byte is the next of `file`, on a stream whose metadata are [`pilot_wire::FILE_STREAM`].
///
/// # Errors
/// [`SendFileError`]; only what is returned without one is stored.
pub async fn send_file<S, F>(
    stream: S,
    head: &FileHead,
    file: &mut F,
    progress: &SendProgress,
) -> Result<FileSent, SendFileError>
where
    S: AsyncRead + AsyncWrite,
    F: AsyncRead + Unpin,
{
    let (mut reader, mut writer) = split(stream);
    writer.write_all(&encode_prefixed(head)).await?;
    let began = Instant::now();
    let held = match read_value(&mut reader, MAX_FILE_HEAD, "file answer").await? {
        FileAnswer::Accepted { held } if held <= chunks_held(head.size, head.size) => {
            read_hashes(&mut reader, held).await?
        }
        FileAnswer::Refused(refusal) => return Err(SendFileError::Refused(refusal)),
        FileAnswer::Stored { name, sha256 } => {
            return stored_before(head, file, name, sha256, began).await;
        }
        FileAnswer::Accepted { .. } | FileAnswer::Unknown => return Err(SendFileError::Version),
    };
    progress.begin();
    let verdict = async {
        let verdict = read_value(&mut reader, MAX_FILE_HEAD, "file verdict").await;
        Ok::<FileVerdict, SendFileError>(verdict?)
    };
    let mut source = Source::new(file, head.size);
    let sending = send_chunks(&mut writer, &mut source, &held, progress);
    tokio::pin!(verdict);
    let mut sending = Box::pin(sending);
    // A verdict before the end is a refusal: nothing more need be sent.
    let sha256 = tokio::select! {
        verdict = &mut verdict => return Err(refused(verdict?)),
        sent = &mut sending => match sent {
            Ok(sha256) => sha256,
            // The stream may have broken because it was refused: the words say more than that.
            Err(error @ SendFileError::Stream(_)) => match verdict.await {
                Ok(FileVerdict::Refused(refusal)) => return Err(SendFileError::Refused(refusal)),
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
            sha256,
            resumed_from: progress.held(),
            duration: began.elapsed(),
        }),
        verdict @ (FileVerdict::Refused(_) | FileVerdict::Unknown) => Err(refused(verdict)),
    }
}

fn refused(verdict: FileVerdict) -> SendFileError {
    match verdict {
        FileVerdict::Refused(refusal) => SendFileError::Refused(refusal),
        FileVerdict::Stored { .. } | FileVerdict::Unknown => SendFileError::Version,
    }
}

/// The hashes of the chunks that the receiver holds. The caller checked how many they may be.
async fn read_hashes<R: AsyncRead + Unpin>(
    reader: &mut R,
    count: u64,
) -> Result<Vec<[u8; HASH]>, SendFileError> {
    let mut hashes = vec![];
    for _ in 0..count {
        let mut hash = [0; HASH];
        reader.read_exact(&mut hash).await?;
        hashes.push(hash);
    }
    Ok(hashes)
}

/// An earlier try of this transfer came whole: what lies there must be what lies here.
async fn stored_before<F: AsyncRead + Unpin>(
    head: &FileHead,
    file: &mut F,
    name: FilePath,
    sha256: [u8; HASH],
    began: Instant,
) -> Result<FileSent, SendFileError> {
    let mut source = Source::new(file, head.size);
    while source.next().await?.is_some() {}
    if source.finish().await? != sha256 {
        return Err(SendFileError::Changed);
    }
    Ok(FileSent {
        name,
        sha256,
        resumed_from: head.size,
        duration: began.elapsed(),
    })
}

/// A file that is read chunk by chunk and hashed as a whole.
struct Source<'a, F> {
    file: &'a mut F,
    size: u64,
    at: u64,
    hash: Context,
    /// A chunk, with room for the byte before it.
    frame: Vec<u8>,
}

impl<'a, F: AsyncRead + Unpin> Source<'a, F> {
    fn new(file: &'a mut F, size: u64) -> Self {
        let largest = usize::try_from(size.min(FILE_CHUNK)).expect("a chunk fits in memory");
        Self {
            file,
            size,
            at: 0,
            hash: Context::new(&SHA256),
            frame: vec![FILE_CHUNK_BYTES; 1 + largest],
        }
    }

    /// The next chunk, behind the byte that announces it.
    async fn next(&mut self) -> Result<Option<&[u8]>, SendFileError> {
        let len = usize::try_from(chunk_len(self.size, self.at)).expect("a chunk fits in memory");
        if len == 0 {
            return Ok(None);
        }
        let chunk = &mut self.frame[1..=len];
        let mut filled = 0;
        while filled < len {
            let read = self.file.read(&mut chunk[filled..]).await;
            match read.map_err(SendFileError::Read)? {
                0 => return Err(SendFileError::Changed),
                read => {
                    self.hash.update(&chunk[filled..filled + read]);
                    filled += read;
                }
            }
        }
        self.at += len as u64;
        Ok(Some(&self.frame[..=len]))
    }

    /// The hash of all, if the file ends here.
    async fn finish(&mut self) -> Result<[u8; HASH], SendFileError> {
        let more = self
            .file
            .read(&mut [0])
            .await
            .map_err(SendFileError::Read)?;
        if more > 0 {
            return Err(SendFileError::Changed);
        }
        Ok(digest(self.hash.clone()))
    }
}

/// Sends what the receiver does not hold, and the hash of all.
async fn send_chunks<W, F>(
    writer: &mut W,
    source: &mut Source<'_, F>,
    held: &[[u8; HASH]],
    progress: &SendProgress,
) -> Result<[u8; HASH], SendFileError>
where
    W: AsyncWrite + Unpin,
    F: AsyncRead + Unpin,
{
    debug_assert!(held.len() as u64 <= chunks(source.size));
    let mut theirs = held.iter();
    while let Some(frame) = source.next().await? {
        let is_held = theirs
            .next()
            .is_some_and(|hash| hash_of(&SHA256, &frame[1..]).as_ref() == hash);
        if is_held {
            writer.write_all(&[FILE_CHUNK_HELD]).await?;
        } else {
            writer.write_all(frame).await?;
        }
        progress.pass(frame.len() as u64 - 1, is_held);
    }
    let sha256 = source.finish().await?;
    writer.write_all(&sha256).await?;
    Ok(sha256)
}
