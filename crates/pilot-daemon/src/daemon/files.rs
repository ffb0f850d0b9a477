//! Sending files, and showing those that came.

use std::io;
use std::path::Path;
use std::sync::Arc;

use pilot::DialOptions;
use pilot_api::types::{FileSent, Received, ReceivedFile, ReceivedRequest, SendFileRequest};
use pilot_api::{ApiError, ErrorCode};
use pilot_apps::{SendFileError, send_file};
use pilot_types::{Port, encode_hex};
use pilot_wire::{FILE_STREAM, FileHead, FileId, FileName};
use tokio::fs::File;

use super::messages::random_bytes;
use super::{Daemon, target};
use crate::error;

impl Daemon {
    pub(super) async fn send_one_file(
        &self,
        request: SendFileRequest,
    ) -> Result<FileSent, ApiError> {
        let SendFileRequest { peer, path, .. } = request;
        let (mut file, head) = open(&path).await?;
        let options = DialOptions {
            metadata: FILE_STREAM.to_vec(),
            ..DialOptions::default()
        };
        let dialled = self
            .node
            .dial_peer(target(&peer)?, Port::DATA_EXCHANGE, options);
        let stream = dialled
            .await
            .map_err(|error| error::dial(&error, &peer, Port::DATA_EXCHANGE))?;
        let agent = stream.peer().agent;
        let sent = send_file(stream, &head, &mut file).await;
        let sent = sent.map_err(|error| match &error {
            SendFileError::Stream(source) => error::code_of(source).map_or_else(
                || ApiError::new(ErrorCode::ConnectionFailed, error::describe(&error)),
                |code| error::stream_code(code, &error::name_of(&peer), Port::DATA_EXCHANGE),
            ),
            SendFileError::Read(_) | SendFileError::Changed => {
                ApiError::invalid(format!("{}: {}", path.display(), error::describe(&error)))
            }
            SendFileError::Refused(_) => error::refused_by_peer(&error.to_string()),
            SendFileError::Answer(_) | _ => {
                ApiError::new(ErrorCode::ConnectionFailed, error::describe(&error))
            }
        })?;
        let seconds = sent.duration.as_secs_f64().max(1e-9);
        Ok(FileSent {
            target: agent.address(),
            node_id: agent.node(),
            filename: sent.name.to_string(),
            bytes: head.size,
            sha256: encode_hex(&sent.sha256),
            verified: true,
            resumed_from: sent.resumed_from,
            throughput_mbps: (head.size - sent.resumed_from) as f64 * 8.0 / seconds / 1e6,
        })
    }

    pub(super) async fn list_received(
        &self,
        request: ReceivedRequest,
    ) -> Result<Received, ApiError> {
        let store = Arc::clone(self.services.files().store());
        let dir = store.dir().to_owned();
        let listed = super::commands::blocking(move || {
            let files = if request.clear {
                store.clear()
            } else {
                store.list()
            };
            files.map_err(|error| error::received(&error))
        });
        let show = |file: pilot_store::ReceivedFile| ReceivedFile {
            path: dir.join(&file.name),
            name: file.name,
            bytes: file.bytes,
            from: file.from.node(),
            from_address: file.from.address(),
            from_hostname: self.node.hostname_of(&file.from),
            sha256: encode_hex(&file.sha256),
            received_at: file.received_at,
        };
        let files: Vec<ReceivedFile> = listed.await?.into_iter().map(show).collect();
        Ok(Received {
            total: files.len() as u64,
            files,
            dir,
        })
    }
}

/// Opens a regular file; the name that it is sent under is the last part of its path.
async fn open(path: &Path) -> Result<(File, FileHead), ApiError> {
    let refused = |words: String| ApiError::invalid(format!("{}: {words}", path.display()));
    if !path.is_absolute() {
        return Err(refused("expected an absolute path".to_owned()));
    }
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| refused("expected a file name in UTF-8".to_owned()))?;
    let name: FileName = name.parse().map_err(|error| refused(format!("{error}")))?;
    let unreadable = |error: io::Error| {
        if error.kind() == io::ErrorKind::NotFound {
            let words = format!("there is no file {}", path.display());
            return ApiError::new(ErrorCode::NotFound, words);
        }
        if error.kind() == io::ErrorKind::PermissionDenied {
            let words = format!("cannot read {}: {error}", path.display());
            return ApiError::new(ErrorCode::PermissionDenied, words);
        }
        refused(error.to_string())
    };
    // Before it is opened: opening a pipe would wait for its writer.
    let before = tokio::fs::metadata(path).await.map_err(unreadable)?;
    if !before.is_file() {
        return Err(refused("expected a regular file".to_owned()));
    }
    let file = File::open(path).await.map_err(unreadable)?;
    let size = file.metadata().await.map_err(unreadable)?.len();
    let head = FileHead {
        id: FileId::new(random_bytes()),
        name,
        size,
        trace: None,
    };
    Ok((file, head))
}
