//! Files that come in: who may bring what, and where they go.

mod policy;
mod sending;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pilot::{Hostname, Peer, Stream};
use pilot_api::types::{ReceivedFile as ApiFile, What};
use pilot_apps::{FileSink, Terms, read_file_head, receive_file, refuse_file, tell_stored};
use pilot_store::{IncomingFile, ReceivedError, ReceivedFile, ReceivedFiles, Transfer};
use pilot_types::{AgentId, encode_hex};
use pilot_wire::{FileHead, FilePath, FileRefusal, FileRefusalReason, refuse_file_1};
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

pub use self::policy::FilePolicy;
pub(crate) use self::sending::{Outgoing, Sending};
use crate::error::describe;
use crate::inbox::now;
use crate::notices::Board;

/// How long a file waits for an earlier try of it that has not ended yet: its sender broke it off, and we have not heard of it.
const EARLIER_TRY: Duration = Duration::from_secs(5);

/// The service that takes files.
pub(crate) struct Files {
    store: Arc<ReceivedFiles>,
    policy: FilePolicy,
    /// Told when a file that came is done with.
    ended: Arc<Notify>,
    sending: Sending,
    board: Arc<Board>,
}

/// What becomes of a file whose head came.
enum Admitted {
    Coming(Box<dyn FileSink>),
    /// It came whole before.
    Stored(FilePath, [u8; 32]),
}

impl Files {
    pub(crate) fn new(store: ReceivedFiles, policy: FilePolicy, board: Arc<Board>) -> Self {
        Self {
            store: Arc::new(store),
            policy,
            ended: Arc::default(),
            sending: Sending::default(),
            board,
        }
    }

    pub(crate) const fn store(&self) -> &Arc<ReceivedFiles> {
        &self.store
    }

    /// Files that go out.
    pub(crate) const fn sending(&self) -> &Sending {
        &self.sending
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
        let name = head.name.clone();
        let told = match self.admit(peer, &head, terms).await {
            Ok(Admitted::Coming(sink)) => {
                match receive_file(stream, head, sink).await {
                    Ok(name) => tracing::info!(from = %from.address(), %name, "file received"),
                    Err(error) => {
                        tracing::info!(from = %from.address(), %name, error = describe(&error), "file not received");
                    }
                }
                Ok(())
            }
            Ok(Admitted::Stored(name, sha256)) => tell_stored(stream, name, sha256).await,
            Err(refusal) => {
                tracing::info!(from = %from.address(), %name, refusal.words, "file refused");
                refuse_file(stream, &refusal).await
            }
        };
        if let Err(error) = told {
            tracing::debug!(%error, "the sender of a file is gone");
        }
    }

    /// Room on the disk, or words for the sender.
    async fn admit(
        &self,
        peer: &Peer,
        head: &FileHead,
        terms: Terms,
    ) -> Result<Admitted, FileRefusal> {
        let from = peer.agent;
        self.policy.check(from, head, terms)?;
        let transfer = Transfer {
            from,
            id: head.id,
            name: head.name.clone(),
            size: head.size,
        };
        if let Some((name, sha256)) = self.store.stored_before(&transfer) {
            return Ok(Admitted::Stored(name, sha256));
        }
        let file = self
            .begin(transfer)
            .await
            .map_err(|error| to_peer(&error))?;
        Ok(Admitted::Coming(Box::new(Sink {
            store: Arc::clone(&self.store),
            board: Arc::clone(&self.board),
            from,
            hostname: peer.hostname.clone(),
            file,
            _ended: Ended(Arc::clone(&self.ended)),
        })))
    }

    /// Waits for an earlier try that has not ended; another transfer that does not end is left alone.
    async fn begin(&self, transfer: Transfer) -> Result<IncomingFile, ReceivedError> {
        let until = Instant::now() + EARLIER_TRY;
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // From here on, before it is looked.
            ended.as_mut().enable();
            let wanted = transfer.clone();
            let is_same = match self.on_disk(move |store| store.begin(&wanted)).await {
                Err(ReceivedError::Coming { is_same }) => is_same,
                begun => return begun,
            };
            if timeout_at(until, ended).await.is_ok() {
                continue;
            }
            if is_same {
                return Err(ReceivedError::Busy);
            }
            return self
                .on_disk(move |store| store.begin_apart(&transfer))
                .await;
        }
    }

    async fn on_disk<F>(&self, call: F) -> Result<IncomingFile, ReceivedError>
    where
        F: FnOnce(&ReceivedFiles) -> Result<IncomingFile, ReceivedError> + Send + 'static,
    {
        let store = Arc::clone(&self.store);
        let called = spawn_blocking(move || call(&store)).await;
        called.unwrap_or_else(|error| {
            tracing::error!(%error, "the disk's thread ended badly");
            Err(ReceivedError::Busy)
        })
    }
}

/// Tells a sender of an earlier version, in a way that it reads, that its file is not taken.
pub(crate) async fn refuse_earlier_version(mut stream: Stream) {
    let answer = refuse_file_1();
    let mut framed = vec![];
    pilot_wire::put_varint(&mut framed, answer.len() as u64);
    framed.extend(answer);
    let told = async {
        stream.write_all(&framed).await?;
        stream.shutdown().await
    };
    if let Err(error) = told.await {
        tracing::debug!(%error, "a sender of an earlier version is gone");
    }
}

/// Tells who waits that a file is done with. Dropped after it.
struct Ended(Arc<Notify>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

/// One file on its way to the disk.
struct Sink {
    store: Arc<ReceivedFiles>,
    board: Arc<Board>,
    from: AgentId,
    hostname: Option<Hostname>,
    file: IncomingFile,
    _ended: Ended,
}

impl FileSink for Sink {
    fn held(&self) -> u64 {
        self.file.held()
    }

    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), FileRefusal> {
        let read = self.file.read(offset, bytes);
        read.map_err(|error| to_peer(&error))
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), FileRefusal> {
        let written = self.file.write(offset, bytes);
        written.map_err(|error| to_peer(&error))
    }

    fn finish(self: Box<Self>, head: &FileHead, sha256: [u8; 32]) -> Result<FilePath, FileRefusal> {
        let Self {
            store,
            board,
            from,
            hostname,
            file,
            _ended,
        } = *self;
        let facts = ReceivedFile {
            name: head.name.to_string(),
            bytes: head.size,
            from,
            sha256,
            received_at: now(),
            transfer: Some(head.id),
        };
        let stored = store.finish(file, &head.name, facts);
        let stored = stored.map_err(|error| to_peer(&error))?;
        let file = shown(store.dir(), stored.clone(), hostname);
        board.tell(stored.received_at, What::File { file });
        stored.name.parse().map_err(|error| {
            tracing::error!(name = stored.name, %error, "a file has a name that is none");
            refusal(
                FileRefusalReason::Other,
                "it is stored under a name that is too long to be told",
            )
        })
    }

    fn discard(self: Box<Self>) {
        self.file.discard();
    }
}

/// A file that came, as the API shows it.
pub(crate) fn shown(dir: &Path, file: ReceivedFile, from_hostname: Option<Hostname>) -> ApiFile {
    ApiFile {
        path: dir.join(&file.name),
        name: file.name,
        bytes: file.bytes,
        from: file.from.node(),
        from_address: file.from.address(),
        from_hostname,
        sha256: encode_hex(&file.sha256),
        received_at: file.received_at,
    }
}

fn refusal(reason: FileRefusalReason, words: &str) -> FileRefusal {
    let words = words.to_owned();
    FileRefusal { reason, words }
}

/// What a sender is told: what it can act on, nothing about this machine. The owner finds all of it in the log.
fn to_peer(error: &ReceivedError) -> FileRefusal {
    use FileRefusalReason::{Busy, Name, Other, Space};
    tracing::error!(error = describe(error), "a file cannot be stored");
    if error.is_no_space() {
        return refusal(Space, "the receiver has no space for it");
    }
    match error {
        ReceivedError::Busy | ReceivedError::Coming { .. } => {
            refusal(Busy, "too many files come in, try again later")
        }
        ReceivedError::Full => refusal(Space, "the receiver keeps too many files already"),
        ReceivedError::InTheWay { .. } => {
            let words = "the receiver has a file where a directory of its path is to be";
            refusal(Name, words)
        }
        ReceivedError::Io { .. }
        | ReceivedError::Space { .. }
        | ReceivedError::Quota { .. }
        | _ => refusal(Other, "the receiver cannot store it now"),
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
            assert_eq!(failed(kind).words, "the receiver has no space for it");
        }
        let other = failed(io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(other.words, "the receiver cannot store it now");
        let path = PathBuf::from("/home/secret/received/a");
        let other = to_peer(&ReceivedError::InTheWay { path });
        assert!(!other.words.contains("secret"));
    }
}
