//! Files that come in: who may bring how much, and where they go.

use std::sync::Arc;

use pilot::{Peer, Stream};
use pilot_apps::{FileSink, Terms, read_file_head, receive_file, refuse_file};
use pilot_store::{IncomingFile, ReceivedError, ReceivedFile, ReceivedFiles};
use pilot_types::AgentId;
use pilot_wire::{FileHead, FileName};
use tokio::task::spawn_blocking;

use crate::error::describe;
use crate::inbox::now;

/// The service that takes files.
pub(crate) struct Files {
    store: Arc<ReceivedFiles>,
}

impl Files {
    pub(crate) fn new(store: ReceivedFiles) -> Self {
        Self {
            store: Arc::new(store),
        }
    }

    pub(crate) const fn store(&self) -> &Arc<ReceivedFiles> {
        &self.store
    }

    /// Takes one file from a stream, or tells its sender why not.
    pub(crate) async fn serve(&self, mut stream: Stream, peer: &Peer, terms: Terms) {
        let from = peer.agent;
        let head = match read_file_head(&mut stream).await {
            Ok(head) => head,
            Err(error) => {
                tracing::info!(from = %from.address(), error = describe(&error), "no file");
                return;
            }
        };
        match self.admit(from, &head, terms).await {
            Ok(sink) => match receive_file(stream, head, sink).await {
                Ok(name) => tracing::info!(from = %from.address(), %name, "file received"),
                Err(error) => {
                    tracing::info!(from = %from.address(), error = describe(&error), "file not received");
                }
            },
            Err(words) => {
                tracing::info!(from = %from.address(), name = %head.name, words, "file refused");
                if let Err(error) = refuse_file(stream, &words).await {
                    tracing::debug!(%error, "the sender of a refused file is gone");
                }
            }
        }
    }

    /// Room on the disk, or words for the sender.
    async fn admit(
        &self,
        from: AgentId,
        head: &FileHead,
        terms: Terms,
    ) -> Result<Box<dyn FileSink>, String> {
        if terms.is_reply_only {
            return Err("only answers to outstanding messages are allowed".to_owned());
        }
        if terms.max_size > 0 && head.size > terms.max_size {
            return Err(format!(
                "file of {} bytes, at most {} are allowed",
                head.size, terms.max_size
            ));
        }
        let (store, size) = (Arc::clone(&self.store), head.size);
        let file = spawn_blocking(move || store.begin(from, size)).await;
        let file = file.map_err(|error| error.to_string())?;
        let file = file.map_err(|error| to_peer(&error))?;
        let sink = Sink {
            store: Arc::clone(&self.store),
            from,
            file,
        };
        Ok(Box::new(sink))
    }
}

/// One file on its way to the disk.
struct Sink {
    store: Arc<ReceivedFiles>,
    from: AgentId,
    file: IncomingFile,
}

impl FileSink for Sink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.file.write(bytes).map_err(|error| to_peer(&error))
    }

    fn finish(self: Box<Self>, head: &FileHead, sha256: [u8; 32]) -> Result<FileName, String> {
        let Self { store, from, file } = *self;
        let facts = ReceivedFile {
            name: head.name.to_string(),
            bytes: head.size,
            from,
            sha256,
            received_at: now(),
        };
        let stored = store.finish(file, &head.name, facts);
        let stored = stored.map_err(|error| to_peer(&error))?;
        stored.name.parse().map_err(|error| {
            tracing::error!(name = stored.name, %error, "a file has a name that is none");
            "the receiver cannot name it".to_owned()
        })
    }
}

/// What a sender is told: what it can act on, nothing about this machine. The owner finds all of it in the log.
fn to_peer(error: &ReceivedError) -> String {
    tracing::error!(error = describe(error), "a file cannot be stored");
    match error {
        error if error.is_no_space() => "the receiver has no space for it".to_owned(),
        ReceivedError::Busy => "too many files come in, try again later".to_owned(),
        ReceivedError::Full => "the receiver keeps too many files already".to_owned(),
        ReceivedError::Io { .. } | ReceivedError::Space { .. } | _ => {
            "the receiver cannot store it now".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_sender_learns_that_there_is_no_space_and_nothing_about_this_machine() {
        let failed = |kind: io::ErrorKind| {
            to_peer(&ReceivedError::Io {
                path: PathBuf::from("/home/secret/received"),
                source: kind.into(),
            })
        };
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            assert_eq!(failed(kind), "the receiver has no space for it");
        }
        let other = failed(io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(other, "the receiver cannot store it now");
    }
}
