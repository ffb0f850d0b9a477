//! Port 1001: files, each on a stream of its own (`docs/wire.md` §9).
//!
//! ```text
//! sender    head ─────────────────▶ path, size
//!           ◀──────────── answer    chunks that are here from an earlier try, and their hashes; or why not
//!           chunk by chunk ───────▶ "yours is right", or its bytes: written, hashed
//!           SHA-256 ──────────────▶ compared, moved into place
//!           ◀─────────── verdict    stored, or why not
//! ```
//!
//! Nobody remembers how far a transfer came: the receiver hashes what lies on its disk, and the sender compares it with what lies on
//! its own. So a file that changed, or a try that was damaged, costs the chunks that differ and nothing else.

mod disk;
mod receive;
mod send;

use std::time::Duration;

use pilot_wire::limits::{FILE_CHUNK, MAX_FILE_CHUNKS_HELD};
use pilot_wire::{FileHead, FilePath, FileRefusal};
use ring::digest::Context;

pub use receive::{ReceiveFileError, read_file_head, receive_file, refuse_file, tell_stored};
pub use send::{FileSent, SendFileError, SendProgress, send_file};

/// What is read and written at a time between stream and disk.
const PIECE: usize = 128 * 1024;
/// SHA-256.
const HASH: usize = 32;
/// Words of a refusal that go to the peer, in characters of at most four bytes.
const MAX_REFUSAL_CHARS: usize = 128;
/// A sender that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// Where a file is put while it comes. Its calls block on the disk. What is dropped unfinished stays for another try.
pub trait FileSink: Send + 'static {
    /// Bytes from the file's start on that lie here from an earlier try, right or wrong; at most the file's size.
    fn held(&self) -> u64;

    /// Reads bytes that lie here.
    ///
    /// # Errors
    /// What the sender is told.
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), FileRefusal>;

    /// Writes bytes, over what lies there.
    ///
    /// # Errors
    /// What the sender is told.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), FileRefusal>;

    /// The file came whole: moves it into its place. Durable when it returns.
    ///
    /// # Errors
    /// What the sender is told.
    fn finish(
        self: Box<Self>,
        head: &FileHead,
        sha256: [u8; HASH],
    ) -> Result<FilePath, FileRefusal>;

    /// What came is of no use: nothing of it stays.
    fn discard(self: Box<Self>);
}

/// Chunks of a file of `size` bytes.
const fn chunks(size: u64) -> u64 {
    size.div_ceil(FILE_CHUNK)
}

/// Bytes of the chunk that begins at `offset`.
fn chunk_len(size: u64, offset: u64) -> u64 {
    size.saturating_sub(offset).min(FILE_CHUNK)
}

/// Whole chunks in the first `bytes` of a file, as far as a receiver names them.
fn chunks_held(size: u64, bytes: u64) -> u64 {
    let whole = if bytes >= size {
        chunks(size)
    } else {
        bytes / FILE_CHUNK
    };
    whole.min(MAX_FILE_CHUNKS_HELD)
}

fn digest(hash: Context) -> [u8; HASH] {
    let mut out = [0; HASH];
    out.copy_from_slice(hash.finish().as_ref());
    out
}

#[cfg(test)]
mod tests;
