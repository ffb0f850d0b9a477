//! Writing what must outlive the process, off the event loop and in order.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use pilot_node::Persist;
use pilot_store::{DbError, LastSession, RendezvousPin, StateDb};
use pilot_trust::TrustChange;
use pilot_wire::encode_postcard;
use tokio::sync::{mpsc, oneshot};

/// What the writer is asked for.
enum Job {
    Write(Persist),
    /// Another block of freshness stamps, from this wall time in nanoseconds.
    Freshness(u64),
    /// Answered once all before it is durable, with the first error since the last one.
    Barrier(oneshot::Sender<Result<(), String>>),
    /// The thread ends and closes the database; the sender is dropped after that.
    Stop(oneshot::Sender<()>),
}

/// Sends jobs to the writer's thread; dropping the last clone ends it.
#[derive(Clone)]
pub(crate) struct Persister {
    jobs: Sender<Job>,
}

impl Persister {
    /// Starts the thread; what it wrote comes out of the second value.
    pub(crate) fn start(db: Arc<StateDb>) -> io::Result<(Self, mpsc::UnboundedReceiver<Notice>)> {
        let (jobs, queue) = channel();
        let (notices, told) = mpsc::unbounded_channel();
        let writer = Writer {
            db,
            notices,
            trust: vec![],
            trust_written: 0,
            failed: None,
        };
        std::thread::Builder::new()
            .name("pilot-state".to_owned())
            .spawn(move || writer.run(&queue))?;
        Ok((Self { jobs }, told))
    }

    pub(crate) fn write(&self, item: Persist) {
        let _ = self.jobs.send(Job::Write(item));
    }

    pub(crate) fn reserve_freshness(&self, now_ns: u64) {
        let _ = self.jobs.send(Job::Freshness(now_ns));
    }

    /// Resolves when everything that was asked for before is durable.
    pub(crate) fn barrier(&self) -> oneshot::Receiver<Result<(), String>> {
        let (done, result) = oneshot::channel();
        let _ = self.jobs.send(Job::Barrier(done));
        result
    }
}

impl Persister {
    /// Ends the thread; resolves when the database is closed.
    pub(crate) async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        let _ = self.jobs.send(Job::Stop(done));
        let _ = stopped.await;
    }
}

/// What the writer tells the event loop.
pub(crate) enum Notice {
    /// Another block of freshness stamps is persisted.
    Freshness(Range<u64>),
    /// So many trust changes are durable, since the start.
    Trust(u64),
}

/// The thread's state.
struct Writer {
    db: Arc<StateDb>,
    notices: mpsc::UnboundedSender<Notice>,
    /// Trust changes that share the next commit.
    trust: Vec<TrustChange>,
    trust_written: u64,
    /// The first error that nobody was told.
    failed: Option<String>,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            // Whatever waits already shares one commit.
            for job in std::iter::once(first).chain(queue.try_iter()) {
                match job {
                    Job::Write(Persist::Trust(change)) => self.trust.push(change),
                    Job::Stop(done) => {
                        self.flush_trust();
                        drop(self);
                        drop(done);
                        return;
                    }
                    other @ (Job::Write(_) | Job::Freshness(_) | Job::Barrier(_)) => {
                        self.flush_trust();
                        let result = self.run_job(other);
                        self.note(result);
                    }
                }
            }
            self.flush_trust();
        }
    }

    fn note(&mut self, result: Result<(), DbError>) {
        if let Err(error) = result {
            tracing::error!(%error, "state not written");
            self.failed.get_or_insert(error.to_string());
        }
    }

    /// Writes the trust changes. On an error they stay and are tried again: what they decide must not leave before.
    fn flush_trust(&mut self) {
        if self.trust.is_empty() {
            return;
        }
        match self.db.apply_trust(&self.trust) {
            Ok(()) => {
                self.trust_written += self.trust.len() as u64;
                self.trust.clear();
                let _ = self.notices.send(Notice::Trust(self.trust_written));
            }
            Err(error) => self.note(Err(error)),
        }
    }

    fn run_job(&mut self, job: Job) -> Result<(), DbError> {
        match job {
            Job::Write(item) => self.write(item),
            Job::Stop(_) => Ok(()),
            Job::Freshness(now_ns) => {
                let block = self.db.reserve_freshness(now_ns)?;
                let _ = self.notices.send(Notice::Freshness(block));
                Ok(())
            }
            Job::Barrier(done) => {
                let result = self.failed.take().map_or(Ok(()), Err);
                let _ = done.send(result);
                Ok(())
            }
        }
    }

    fn write(&mut self, item: Persist) -> Result<(), DbError> {
        match item {
            Persist::Trust(change) => self.db.apply_trust(&[change]),
            Persist::Pinned {
                url,
                agent,
                entries,
                work_bits,
            } => self.db.put_pin(
                &url,
                &RendezvousPin {
                    agent,
                    log: entries,
                    work_bits,
                },
            ),
            Persist::Peer(peer) => self.db.put_peer(&peer.agent, &encode_postcard(&*peer)),
            Persist::Sessions(sessions) => {
                let kept: Vec<LastSession> = sessions
                    .iter()
                    .map(|session| LastSession {
                        agent: session.agent,
                        address: session.address,
                    })
                    .collect();
                self.db.put_last_sessions(&kept)
            }
            Persist::Freshness { agent, stamp } => self.db.put_peer_freshness(&[(agent, stamp)]),
        }
    }
}
