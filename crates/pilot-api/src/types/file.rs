//! Files that agents send each other.

use std::path::PathBuf;

use pilot_types::{Address, Hostname, NodeId, UnixTime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{field, schema};
use crate::peer_ref::PeerRef;

/// `POST /v1/files`: send a file of this machine to an agent.
#[derive(Clone, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendFileRequest {
    /// To whom.
    pub peer: PeerRef,
    /// The file, by its absolute path.
    pub path: PathBuf,
    /// Where it is to be below the receiver's directory, with `/` between names: the last part of `path` if left out. With it, `path`
    /// is no symbolic link.
    #[serde(default)]
    pub name: Option<String>,
    /// A number of the caller's by which it finds the file in `/v1/files/sending`.
    #[serde(default)]
    pub transfer: Option<u64>,
    /// The deadline in milliseconds: none for 30 s, zero for without end.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// A file that is in its place at the receiver.
#[derive(Clone, PartialEq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct FileSent {
    /// The receiver.
    pub target: Address,
    /// The receiver's 48 bits.
    pub node_id: NodeId,
    /// What it is called there.
    pub filename: String,
    /// Bytes of the whole file.
    pub bytes: u64,
    /// SHA-256 of the whole file, in hex.
    pub sha256: String,
    /// Whether the receiver computed the same: always `true`, else it is an error.
    pub verified: bool,
    /// Bytes that the receiver had already, from an earlier call or an earlier try of this one.
    pub resumed_from: u64,
    /// Bytes of it that went out, in all tries of this call.
    pub bytes_sent: u64,
    /// Streams that it took.
    pub tries: u32,
    /// Megabits a second that went out, from the call until it was in its place.
    pub throughput_mbps: f64,
}

/// `GET /v1/files/sending`: files that are being sent.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesSendingRequest {}

/// Files that are being sent.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct FilesSending {
    /// The newest last.
    pub files: Vec<FileSending>,
}

/// A file that is being sent.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct FileSending {
    /// The number that its caller gave it.
    pub transfer: Option<u64>,
    /// The file.
    pub path: PathBuf,
    /// What it is to be called at the receiver.
    pub filename: String,
    /// Bytes of the whole file.
    pub bytes: u64,
    /// Those that this try is through with.
    pub done: u64,
    /// Those of them that the receiver had already.
    pub resumed_from: u64,
    /// Bytes that went out, in all tries.
    pub bytes_sent: u64,
}

/// `POST /v1/files/received`: files that came.
#[derive(Clone, Debug, Default, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceivedRequest {
    /// Delete those that are shown.
    #[serde(default)]
    pub clear: bool,
}

/// Files that came.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct Received {
    /// The newest last.
    pub files: Vec<ReceivedFile>,
    /// How many.
    pub total: u64,
    /// Where they are.
    pub dir: PathBuf,
}

/// A file that came.
#[derive(Clone, PartialEq, Eq, Debug, JsonSchema, Serialize, Deserialize)]
pub struct ReceivedFile {
    /// Its name in the directory.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// Who sent it.
    pub from: NodeId,
    /// The sender's address.
    pub from_address: Address,
    /// The sender's name as it is known now.
    pub from_hostname: Option<Hostname>,
    /// SHA-256 in hex.
    pub sha256: String,
    /// Where it is.
    pub path: PathBuf,
    /// When it was in its place.
    #[serde(with = "field::rfc3339")]
    #[schemars(with = "schema::TimeText")]
    pub received_at: UnixTime,
}
