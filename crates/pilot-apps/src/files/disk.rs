//! What comes, on its way to the disk: written and hashed on a thread of its own, at the disk's pace.

use pilot_wire::limits::FILE_CHUNK;
use pilot_wire::{FileHead, FilePath, FileRefusal, FileRefusalReason};
use ring::digest::{Context, SHA256};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::receive::ReceiveFileError;
use super::{FileSink, HASH, PIECE, SILENCE, chunk_len, digest};

/// Pieces between the stream and the disk; with those in hand, some 768 KiB for each file.
const QUEUE: usize = 4;
/// Hashes between the disk and the stream.
const HASHES: usize = 64;

/// What the disk is given.
pub(super) enum Step {
    /// So many bytes that lie there are right.
    Keep(u64),
    Bytes(Vec<u8>),
    /// The sender's hash, after the last byte.
    End([u8; HASH]),
}

/// A thread that works for one file.
pub(super) struct Disk {
    pub(super) steps: mpsc::Sender<Step>,
    hashes: mpsc::Receiver<[u8; HASH]>,
    held: u64,
    thread: JoinHandle<Result<FilePath, ReceiveFileError>>,
}

impl Disk {
    /// Hashes the first `held` chunks at once, then waits for steps.
    pub(super) fn start(sink: Box<dyn FileSink>, head: FileHead, held: u64) -> Self {
        let (steps, queue) = mpsc::channel(QUEUE);
        let (told, hashes) = mpsc::channel(HASHES);
        let thread = spawn_blocking(move || Work::new(sink, head, held).run(&told, queue));
        Self {
            steps,
            hashes,
            held,
            thread,
        }
    }

    /// Writes the hashes of the chunks that lie there to the sender.
    pub(super) async fn pass_hashes<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
    ) -> Result<(), ReceiveFileError> {
        for _ in 0..self.held {
            // A disk that gave up says why at its end.
            let hash = self.hashes.recv().await;
            let hash = hash.ok_or(ReceiveFileError::Truncated)?;
            // A sender that does not read them holds one of the places for files.
            let written = timeout(SILENCE, writer.write_all(&hash)).await;
            written.map_err(|_| ReceiveFileError::Silent)??;
        }
        Ok(())
    }

    /// Nothing more comes: how it went.
    pub(super) async fn end(self) -> Result<FilePath, ReceiveFileError> {
        let Self {
            steps,
            hashes,
            thread,
            ..
        } = self;
        drop((steps, hashes));
        thread.await.map_err(|error| {
            tracing::error!(%error, "a file's thread ended badly");
            ReceiveFileError::Sink(FileRefusal {
                reason: FileRefusalReason::Other,
                words: "the receiver cannot store it now".to_owned(),
            })
        })?
    }
}

struct Work {
    sink: Box<dyn FileSink>,
    head: FileHead,
    /// Chunks that lie there from an earlier try.
    held: u64,
    /// Bytes that are through.
    at: u64,
    hash: Context,
    /// Bytes that are in the hash.
    hashed: u64,
}

impl Work {
    fn new(sink: Box<dyn FileSink>, head: FileHead, held: u64) -> Self {
        Self {
            sink,
            head,
            held,
            at: 0,
            hash: Context::new(&SHA256),
            hashed: 0,
        }
    }

    fn run(
        mut self,
        told: &mpsc::Sender<[u8; HASH]>,
        mut steps: mpsc::Receiver<Step>,
    ) -> Result<FilePath, ReceiveFileError> {
        let held = self.hash_held(told)?;
        while let Some(step) = steps.blocking_recv() {
            match step {
                Step::Keep(len) => self.at += len,
                Step::Bytes(bytes) => {
                    self.catch_up(&held)?;
                    let written = self.sink.write(self.at, &bytes);
                    written.map_err(ReceiveFileError::Sink)?;
                    self.hash.update(&bytes);
                    self.at += bytes.len() as u64;
                    self.hashed = self.at;
                }
                Step::End(expected) => {
                    self.catch_up(&held)?;
                    return self.finish(expected);
                }
            }
        }
        Err(ReceiveFileError::Truncated)
    }

    /// Tells the hash of each chunk that lies there; gives how many bytes those are, and the hash of them all.
    fn hash_held(
        &mut self,
        told: &mpsc::Sender<[u8; HASH]>,
    ) -> Result<(u64, Context), ReceiveFileError> {
        let (mut at, mut whole) = (0, Context::new(&SHA256));
        for _ in 0..self.held {
            let (mut chunk, len) = (Context::new(&SHA256), chunk_len(self.head.size, at));
            self.read(at, at + len, |bytes| {
                chunk.update(bytes);
                whole.update(bytes);
            })?;
            at += len;
            if told.blocking_send(digest(chunk)).is_err() {
                return Err(ReceiveFileError::Truncated);
            }
        }
        Ok((at, whole))
    }

    /// Hashes what was kept and is not in the hash yet.
    fn catch_up(&mut self, held: &(u64, Context)) -> Result<(), ReceiveFileError> {
        if self.hashed == 0 && held.0 == self.at {
            // All that lay there is right, and it was hashed before.
            self.hash = held.1.clone();
        } else {
            let mut hash = self.hash.clone();
            self.read(self.hashed, self.at, |bytes| hash.update(bytes))?;
            self.hash = hash;
        }
        self.hashed = self.at;
        Ok(())
    }

    fn read(
        &mut self,
        from: u64,
        to: u64,
        mut then: impl FnMut(&[u8]),
    ) -> Result<(), ReceiveFileError> {
        let mut piece = vec![0; PIECE.min(usize::try_from(to - from).unwrap_or(PIECE))];
        let mut at = from;
        while at < to {
            let len = piece.len().min(usize::try_from(to - at).unwrap_or(PIECE));
            let read = self.sink.read(at, &mut piece[..len]);
            read.map_err(ReceiveFileError::Sink)?;
            then(&piece[..len]);
            at += len as u64;
        }
        Ok(())
    }

    fn finish(self, expected: [u8; HASH]) -> Result<FilePath, ReceiveFileError> {
        let sha256 = digest(self.hash);
        if sha256 != expected {
            self.sink.discard();
            return Err(ReceiveFileError::Hash);
        }
        let stored = self.sink.finish(&self.head, sha256);
        stored.map_err(ReceiveFileError::Sink)
    }
}

const _: () = assert!(FILE_CHUNK >= PIECE as u64);
