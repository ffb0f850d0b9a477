//! Sending files, and showing those that came.

use std::sync::Arc;
use std::time::Duration;

use pilot::{AgentId, DialError, DialOptions, Target};
use pilot_api::types::{
    FileSent, FilesSending, Received, ReceivedFile, ReceivedRequest, SendFileRequest,
};
use pilot_api::{ApiError, PeerRef};
use pilot_apps::{ReadMessageError, SendFileError, SendProgress, send_file};
use pilot_types::{Port, encode_hex};
use pilot_wire::{FILE_STREAM, FileId, FileRefusalReason};
use tokio::time::{Instant, sleep};

use super::messages::random_bytes;
use super::{Daemon, target};
use crate::error;
use crate::files::{Outgoing, shown};

/// Before another try, doubled after each that brought nothing.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// For so long tries may bring nothing: a peer that does not come back must not hold a command without a deadline for ever.
const PATIENCE: Duration = Duration::from_secs(600);

/// Why one try failed.
struct Fault {
    error: ApiError,
    /// Whether another one may do better.
    is_passing: bool,
}

impl Fault {
    const fn lasting(error: ApiError) -> Self {
        let is_passing = false;
        Self { error, is_passing }
    }
}

/// Tries of one file.
struct Tries {
    count: u32,
    pause: Duration,
    /// What had been sent before the last one, and when anything was.
    sent: u64,
    moved: Instant,
}

impl Tries {
    fn new() -> Self {
        Self {
            count: 1,
            pause: FIRST_PAUSE,
            sent: 0,
            moved: Instant::now(),
        }
    }

    /// Waits for the next; `false` if there is none.
    async fn next(&mut self, progress: &SendProgress) -> bool {
        if progress.sent() > self.sent {
            (self.sent, self.moved, self.pause) = (progress.sent(), Instant::now(), FIRST_PAUSE);
        }
        if self.moved.elapsed() > PATIENCE {
            return false;
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.count = self.count.saturating_add(1);
        true
    }
}

impl Daemon {
    /// Tries until it is there, once the receiver took the file: a session that breaks then costs a chunk.
    pub(super) async fn send_one_file(
        &self,
        request: SendFileRequest,
    ) -> Result<FileSent, ApiError> {
        let SendFileRequest { peer, path, .. } = request;
        let id = FileId::new(random_bytes());
        let mut outgoing = Outgoing::open(path, request.name.as_deref(), id).await?;
        let sending = self.services.files().sending();
        let shown = sending.show(&outgoing, request.transfer);
        let (began, mut tries, mut agent) = (Instant::now(), Tries::new(), None);
        let sent = loop {
            let tried = self.try_to_send(&peer, &mut agent, &mut outgoing, &shown.progress);
            let fault = match tried.await {
                Ok(sent) => break sent,
                Err(fault) => fault,
            };
            if !fault.is_passing || !shown.progress.is_accepted() {
                return Err(fault.error);
            }
            tracing::info!(name = %outgoing.head.name, error = %fault.error, "a file is sent on");
            if !tries.next(&shown.progress).await {
                return Err(fault.error);
            }
            outgoing.rewind().await?;
        };
        let seconds = began.elapsed().as_secs_f64().max(1e-9);
        let agent = agent.expect("what was sent had a receiver");
        Ok(FileSent {
            target: agent.address(),
            node_id: agent.node(),
            filename: sent.name.to_string(),
            bytes: outgoing.head.size,
            sha256: encode_hex(&sent.sha256),
            verified: true,
            resumed_from: sent.resumed_from,
            bytes_sent: shown.progress.sent(),
            tries: tries.count,
            throughput_mbps: shown.progress.sent() as f64 * 8.0 / seconds / 1e6,
        })
    }

    /// One stream; every one after the first goes to the agent that the first one went to.
    async fn try_to_send(
        &self,
        peer: &PeerRef,
        agent: &mut Option<AgentId>,
        outgoing: &mut Outgoing,
        progress: &SendProgress,
    ) -> Result<pilot_apps::FileSent, Fault> {
        let target = match agent {
            Some(agent) => Target::Node(agent.node()),
            None => target(peer).map_err(Fault::lasting)?,
        };
        let options = DialOptions {
            metadata: FILE_STREAM.to_vec(),
            ..DialOptions::default()
        };
        let dialled = self.node.dial_peer(target, Port::DATA_EXCHANGE, options);
        let stream = dialled.await.map_err(|error| Fault {
            is_passing: is_passing(&error),
            error: error::dial(&error, peer, Port::DATA_EXCHANGE),
        })?;
        let found = stream.peer().agent;
        if agent.replace(found).is_some_and(|before| before != found) {
            return Err(Fault::lasting(error::not_found(peer)));
        }
        let sent = send_file(stream, &outgoing.head, &mut outgoing.file, progress).await;
        sent.map_err(|error| Fault {
            is_passing: is_passing_on_the_way(&error),
            error: error::send_file(&error, &outgoing.path, peer),
        })
    }

    pub(super) fn list_sending(&self) -> FilesSending {
        let files = self.services.files().sending().list();
        FilesSending { files }
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
        let show = |file: pilot_store::ReceivedFile| {
            let hostname = self.node.hostname_of(&file.from);
            shown(&dir, file, hostname)
        };
        let files: Vec<ReceivedFile> = listed.await?.into_iter().map(show).collect();
        Ok(Received {
            total: files.len() as u64,
            files,
            dir,
        })
    }
}

/// Whether the agent may be reached later, having been reached before: it restarts, or it or we are off the network, or the rendezvous is.
fn is_passing(error: &DialError) -> bool {
    match error {
        DialError::NotFound
        | DialError::Unreachable
        | DialError::Timeout
        | DialError::Refused
        | DialError::Closed(_)
        | DialError::NoRendezvous
        | DialError::Busy => true,
        DialError::Target(_)
        | DialError::NotTrusted { .. }
        | DialError::Own
        | DialError::Ticket(_)
        | DialError::TooLarge { .. }
        | DialError::Shutdown
        | _ => false,
    }
}

fn is_passing_on_the_way(error: &SendFileError) -> bool {
    match error {
        SendFileError::Stream(source) | SendFileError::Answer(ReadMessageError::Io(source)) => {
            !error::code_of(source).is_some_and(error::is_no_trust)
        }
        SendFileError::Answer(ReadMessageError::Truncated) => true,
        SendFileError::Refused(refusal) => matches!(
            refusal.reason,
            FileRefusalReason::Busy | FileRefusalReason::Interrupted
        ),
        SendFileError::Read(_)
        | SendFileError::Changed
        | SendFileError::Version
        | SendFileError::Answer(_)
        | _ => false,
    }
}
