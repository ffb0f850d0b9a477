//! Files of the data exchange, port 1001 (`docs/wire.md` §9).

mod name;
mod path;

use serde::{Deserialize, Serialize};

use crate::envelope::encode_postcard;
use crate::traceparent::TraceParent;

pub use name::{FileName, ParseFileNameError};
pub use path::{FilePath, ParseFilePathError};

/// Metadata of a stream to port 1001 that brings a file; without them it brings a message.
pub const FILE_STREAM: &[u8] = b"file/2";
/// Metadata of a stream that brings a file as versions before 2 do. They are refused in words ([`refuse_file_1`]).
pub const FILE_STREAM_1: &[u8] = b"file/1";
/// Before a chunk that the receiver holds: nothing follows of it.
pub const FILE_CHUNK_HELD: u8 = 0;
/// Before a chunk whose bytes follow.
pub const FILE_CHUNK_BYTES: u8 = 1;

/// The refusal that a sender of `file/1` understands: its answer's second variant, a text.
#[must_use]
pub fn refuse_file_1() -> Vec<u8> {
    encode_postcard(&(
        1_u8,
        "this agent takes files of version 2: update the sender",
    ))
}

/// A transfer's name, random. A transfer that is taken up again has the name of its first try.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct FileId([u8; 16]);

impl FileId {
    /// Wraps 16 random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Head of a file: a varint length, at most [`crate::limits::MAX_FILE_HEAD`], and this in postcard start the stream.
///
/// Once the receiver accepts and named the chunks that it holds, every chunk of the file follows in order: [`FILE_CHUNK_HELD`],
/// or [`FILE_CHUNK_BYTES`] and its bytes; then SHA-256 of the whole file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileHead {
    /// The transfer's name.
    pub id: FileId,
    /// What the file is called, and the directories above it.
    pub name: FilePath,
    /// Bytes of the whole file.
    pub size: u64,
    /// The application's trace.
    pub trace: Option<TraceParent>,
}

/// The receiver's word on a head: a varint length, at most [`crate::limits::MAX_FILE_HEAD`], and this in postcard.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FileAnswer {
    /// Send what is missing. SHA-256 of each chunk that is here from an earlier try follows.
    Accepted {
        /// Chunks from the start of the file on, at most [`crate::limits::MAX_FILE_CHUNKS_HELD`] and as many as the file has.
        held: u64,
    },
    /// It was refused.
    Refused(FileRefusal),
    /// An earlier try of this transfer came whole: its verdict was lost.
    Stored {
        /// What it is called there.
        name: FilePath,
        /// SHA-256 of the whole file.
        sha256: [u8; 32],
    },
    /// A later version's word.
    #[serde(other)]
    Unknown,
}

/// The receiver's word on what came, framed as [`FileAnswer`]. It may come before the last byte was sent: then it is a refusal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FileVerdict {
    /// The hash is right, and the file is in its place and will stay there through any crash.
    Stored {
        /// What it is called there: nothing that exists is overwritten.
        name: FilePath,
    },
    /// It was refused: nothing of it is shown as received.
    Refused(FileRefusal),
    /// A later version's word.
    #[serde(other)]
    Unknown,
}

/// Why a file is not taken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FileRefusal {
    /// For programs.
    pub reason: FileRefusalReason,
    /// For people.
    pub words: String,
}

/// Why a file is not taken, as programs tell it apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FileRefusalReason {
    /// The sender may not send files.
    Sender,
    /// The file is larger than what is allowed.
    Size,
    /// The file's name is not among those that are allowed.
    Name,
    /// There is no room.
    Space,
    /// Too many come at a time: later it may be taken.
    Busy,
    /// What came is not what was announced.
    Broken,
    /// The stream ended, or nothing came for too long: another try goes on from there.
    Interrupted,
    /// Something else.
    #[serde(other)]
    Other,
}
