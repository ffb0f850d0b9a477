//! Writing what must outlive the process, off the event loop and in order.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use pilot_node::{Persist, PrekeyChange};
use pilot_store::{DbError, Home, LastSession, RendezvousPin, StateDb};
use pilot_trust::TrustChange;
use pilot_types::AgentId;
use pilot_wire::encode_postcard;
use tokio::sync::{mpsc, oneshot};

/// How soon what a full disk refused is tried again, if nothing else is to be written before.
const RETRY: Duration = Duration::from_secs(5);

/// What the writer is asked for.
enum Job {
    Write(Persist),
    /// Another block of freshness stamps, from this wall time in nanoseconds.
    Freshness(u64),
    /// Answered once all before it is durable, or with what keeps it from being so.
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
    pub(crate) fn start(
        db: Arc<StateDb>,
        home: Home,
    ) -> io::Result<(Self, mpsc::UnboundedReceiver<Notice>)> {
        let (jobs, queue) = channel();
        let (notices, told) = mpsc::unbounded_channel();
        let writer = Writer {
            db,
            home,
            notices,
            owed: Owed::default(),
            trust_written: 0,
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
    /// A prekey is.
    Prekey([u8; 32]),
}

/// The thread's state.
struct Writer {
    db: Arc<StateDb>,
    home: Home,
    notices: mpsc::UnboundedSender<Notice>,
    owed: Owed,
    trust_written: u64,
}

/// What is to be written. What a full disk refused stays here and is tried again; the newest for each place counts, so
/// that it has no more entries than the tables that it comes from.
#[derive(Default)]
struct Owed {
    /// By the key of the item.
    trust: BTreeMap<Vec<u8>, TrustChange>,
    /// Changes that `trust` stands for.
    trust_changes: u64,
    /// By public half.
    prekeys: BTreeMap<[u8; 32], PrekeyChange>,
    rest: BTreeMap<Place, Persist>,
    /// A block of freshness stamps, from this wall time in nanoseconds.
    freshness: Option<u64>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Pin(String),
    Peer(AgentId),
    Stamp(AgentId),
    Sessions,
}

impl Owed {
    fn add(&mut self, item: Persist) {
        let place = match &item {
            Persist::Trust(change) => {
                let (TrustChange::Put(key, _) | TrustChange::Delete(key)) = change;
                self.trust.insert(key.clone(), change.clone());
                self.trust_changes += 1;
                return;
            }
            Persist::Prekey(change) => {
                let public = match change {
                    PrekeyChange::Put(secret) => secret.prekey().public,
                    PrekeyChange::Destroy(public) => *public,
                };
                self.prekeys.insert(public, change.clone());
                return;
            }
            Persist::Pinned { url, .. } => Place::Pin(url.clone()),
            Persist::Peer(peer) => Place::Peer(peer.agent),
            Persist::Freshness { agent, .. } => Place::Stamp(*agent),
            Persist::Sessions(_) => Place::Sessions,
        };
        self.rest.insert(place, item);
    }

    fn is_empty(&self) -> bool {
        self.trust.is_empty()
            && self.prekeys.is_empty()
            && self.rest.is_empty()
            && self.freshness.is_none()
    }
}

impl Writer {
    fn run(mut self, queue: &Receiver<Job>) {
        while let Some(first) = self.next(queue) {
            // Whatever waits already shares one commit.
            for job in first.into_iter().chain(queue.try_iter()) {
                match job {
                    Job::Write(item) => self.owed.add(item),
                    Job::Freshness(now_ns) => self.owed.freshness = Some(now_ns),
                    Job::Barrier(done) => {
                        let _ = done.send(self.flush().map_err(|error| error.to_string()));
                    }
                    Job::Stop(done) => {
                        let _ = self.flush();
                        drop(self);
                        drop(done);
                        return;
                    }
                }
            }
            let _ = self.flush();
        }
    }

    /// The next job; nothing inside when it is time to try again; `None` at the end.
    fn next(&self, queue: &Receiver<Job>) -> Option<Option<Job>> {
        if self.owed.is_empty() {
            return queue.recv().ok().map(Some);
        }
        match queue.recv_timeout(RETRY) {
            Ok(job) => Some(Some(job)),
            Err(RecvTimeoutError::Timeout) => Some(None),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Writes all that is owed, up to the first failure.
    fn flush(&mut self) -> Result<(), DbError> {
        let done = self.try_flush();
        if let Err(error) = &done {
            tracing::error!(%error, "state not written yet");
        }
        done
    }

    /// Each in a file of its own, so that it can be destroyed; what fails is tried again, and holds nothing else up.
    fn write_prekeys(&mut self) {
        let (home, notices) = (&self.home, &self.notices);
        self.owed.prekeys.retain(|public, change| {
            let done = match change {
                PrekeyChange::Put(secret) => home.save_prekey(secret),
                PrekeyChange::Destroy(public) => home.destroy_prekey(public),
            };
            match (&done, change) {
                (Ok(()), PrekeyChange::Put(_)) => {
                    let _ = notices.send(Notice::Prekey(*public));
                }
                (Ok(()), PrekeyChange::Destroy(_)) => {}
                (Err(error), _) => tracing::error!(%error, "a key for letters not written yet"),
            }
            done.is_err()
        });
    }

    fn try_flush(&mut self) -> Result<(), DbError> {
        // What trust changes decide must not leave before they are written.
        if !self.owed.trust.is_empty() {
            let changes: Vec<_> = self.owed.trust.values().cloned().collect();
            self.db.apply_trust(&changes)?;
            self.owed.trust.clear();
            self.trust_written += std::mem::take(&mut self.owed.trust_changes);
            let _ = self.notices.send(Notice::Trust(self.trust_written));
        }
        if let Some(now_ns) = self.owed.freshness {
            let block = self.db.reserve_freshness(now_ns)?;
            self.owed.freshness = None;
            let _ = self.notices.send(Notice::Freshness(block));
        }
        self.write_prekeys();
        while let Some(next) = self.owed.rest.first_entry() {
            write(&self.db, next.get())?;
            next.remove();
        }
        Ok(())
    }
}

fn write(db: &StateDb, item: &Persist) -> Result<(), DbError> {
    match item {
        // A file of its own, see `write_prekeys`.
        Persist::Prekey(_) => Ok(()),
        Persist::Trust(change) => db.apply_trust(std::slice::from_ref(change)),
        Persist::Pinned {
            url,
            agent,
            entries,
            work_bits,
        } => db.put_pin(
            url,
            &RendezvousPin {
                agent: *agent,
                log: entries.clone(),
                work_bits: *work_bits,
            },
        ),
        Persist::Peer(peer) => db.put_peer(&peer.agent, &encode_postcard(&**peer)),
        Persist::Sessions(sessions) => {
            let kept: Vec<LastSession> = sessions
                .iter()
                .map(|session| LastSession {
                    agent: session.agent,
                    address: session.address,
                })
                .collect();
            db.put_last_sessions(&kept)
        }
        Persist::Freshness { agent, stamp } => db.put_peer_freshness(&[(*agent, *stamp)]),
    }
}
