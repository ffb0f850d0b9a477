//! The supervisor of one app: a task that starts its process when it is called, hands calls over, and ends it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::sleep_until;

use crate::audit::{Audit, AuditEntry};
use crate::call_error::CallError;
use crate::data_size;
use crate::ending::Ending;
use crate::failures::{Failures, Permit};
use crate::grant::Grant;
use crate::id::{AppId, HELP};
use crate::process::{Happened, LaunchError, Launcher, Process};
use crate::rpc::{self, Answer};
use crate::store::{Installed, Store};

/// How often the size of an app's own directory and the number of its threads are looked at while it runs.
const LOOK: Duration = Duration::from_millis(500);

/// What a worker is told. The queue to it is bounded.
pub(crate) enum Order {
    /// Hands a call over.
    Call(Call),
    /// Ends the process; the next call starts another, also of an app that was suspended.
    Stop(oneshot::Sender<()>),
    /// The same for good: what is installed changes, and calls that come all the same are refused.
    Retire(oneshot::Sender<()>),
    /// Says how it stands.
    Look(oneshot::Sender<Standing>),
}

/// A call on its way.
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) params: Value,
    pub(crate) answer: oneshot::Sender<Result<Value, CallError>>,
    /// Held until it is answered, also if nobody waits for that any more.
    pub(crate) slot: OwnedSemaphorePermit,
}

/// How an app stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// `stopped`, `running` or `suspended`.
    pub state: &'static str,
    /// Its process.
    pub pid: Option<u32>,
    /// For how long that runs.
    pub uptime: Option<Duration>,
    /// Calls that were answered since the daemon started.
    pub calls: u64,
    /// Starts since then.
    pub starts: u64,
    /// Failures in a row.
    pub failures: u32,
    /// Why it ended last.
    pub last_ending: Option<Ending>,
}

impl Standing {
    /// An app that nobody called since the daemon started.
    pub(crate) const fn stopped() -> Self {
        Self {
            state: "stopped",
            pid: None,
            uptime: None,
            calls: 0,
            starts: 0,
            failures: 0,
            last_ending: None,
        }
    }
}

/// What is the same for all apps.
pub(crate) struct Shared {
    pub(crate) launcher: Launcher,
    pub(crate) audit: Arc<Audit>,
    pub(crate) store: Store,
}

pub(crate) struct Worker {
    id: AppId,
    app: Arc<Installed>,
    shared: Arc<Shared>,
    orders: mpsc::Receiver<Order>,
    running: Option<Running>,
    failures: Failures,
    next_id: u64,
    calls: u64,
    starts: u64,
    last_ending: Option<Ending>,
    is_retired: bool,
}

/// A process and what it is asked.
struct Running {
    process: Process,
    since: Instant,
    asked: BTreeMap<u64, Call>,
    /// The last request to an idle app, or the last answer.
    progress: Instant,
    look: Instant,
}

impl Worker {
    pub(crate) fn new(
        app: Arc<Installed>,
        shared: Arc<Shared>,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        Self {
            id: app.bundle.manifest().id.clone(),
            app,
            shared,
            orders,
            running: None,
            failures: Failures::default(),
            next_id: 1,
            calls: 0,
            starts: 0,
            last_ending: None,
            is_retired: false,
        }
    }

    /// Until nobody can order anything any more.
    pub(crate) async fn run(mut self) {
        loop {
            let wake = self.wake();
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return self.end(Ending::Told).await,
                },
                happened = happens(&mut self.running) => match happened {
                    Happened::Answered(answer) => self.answered(answer).await,
                    Happened::Ended(ending) => self.end(ending).await,
                },
                () = until(wake) => self.handle_timeout().await,
            }
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Call(call) => self.call(call).await,
            Order::Stop(done) => {
                self.end(Ending::Told).await;
                self.failures.forget();
                // Who asked may have left.
                let _ = done.send(());
            }
            Order::Retire(done) => {
                self.is_retired = true;
                self.end(Ending::Told).await;
                let _ = done.send(());
            }
            Order::Look(reply) => drop(reply.send(self.standing())),
        }
    }

    async fn call(&mut self, call: Call) {
        if call.answer.is_closed() {
            return;
        }
        if self.running.is_none()
            && let Err(error) = self.start().await
        {
            drop(call.answer.send(Err(error)));
            return;
        }
        let Some(running) = &mut self.running else {
            return;
        };
        let id = self.next_id;
        self.next_id += 1;
        if running.asked.is_empty() {
            running.progress = Instant::now();
        }
        let line = rpc::request(id, &call.method, &call.params);
        running.process.send(line).await;
        running.asked.insert(id, call);
    }

    async fn start(&mut self) -> Result<(), CallError> {
        if self.is_retired {
            return Err(CallError::Changing);
        }
        match self.failures.permit(Instant::now()) {
            Permit::Now => {}
            Permit::After(wait) => return Err(CallError::Recovering(wait)),
            Permit::Suspended => {
                let ending = self.last_ending.clone().unwrap_or(Ending::Told);
                return Err(CallError::Suspended(self.failures.count(), ending));
            }
        }
        let log = self.shared.store.log_path(&self.id);
        let launched = self.shared.launcher.launch(&self.app, log).await;
        let process = launched.map_err(|error| match error {
            LaunchError::Bundle(error) => CallError::Store(error.into()),
            LaunchError::Io(error) => CallError::Start(error.to_string()),
        })?;
        let now = Instant::now();
        tracing::info!(app = %self.id, pid = process.pid(), "app started");
        self.running = Some(Running {
            process,
            since: now,
            asked: BTreeMap::new(),
            progress: now,
            look: now,
        });
        self.starts += 1;
        Ok(())
    }

    async fn answered(&mut self, answer: Answer) {
        if answer.id >= self.next_id {
            let words = format!("an answer to call {}, which was not made", answer.id);
            return self.end(Ending::Malformed(words)).await;
        }
        let Some(running) = &mut self.running else {
            return;
        };
        running.progress = Instant::now();
        // An answer that was given already, or that nobody waits for, changes nothing.
        if let Some(call) = running.asked.remove(&answer.id) {
            self.calls += u64::from(call.method != HELP);
            self.failures.forget();
            drop(call.slot);
            drop(call.answer.send(answer.outcome.map_err(CallError::App)));
        }
    }

    /// Ends the process if there is one; all that it was asked fails for the same reason.
    async fn end(&mut self, ending: Ending) {
        let Some(running) = self.running.take() else {
            return;
        };
        running.process.end().await;
        let duration = running.since.elapsed();
        if ending.is_failure() {
            self.failures.record(Instant::now());
            tracing::warn!(app = %self.id, reason = %ending, "app ended");
        } else {
            tracing::info!(app = %self.id, reason = %ending, "app ended");
        }
        self.shared.audit.add(&AuditEntry {
            version: Some(self.app.bundle.manifest().version.clone()),
            caller: "daemon".to_owned(),
            reason: Some(ending.to_string()),
            duration_ms: u64::try_from(duration.as_millis()).ok(),
            ..AuditEntry::new(&self.id, "stop", ending.name())
        });
        for call in running.asked.into_values() {
            drop(call.answer.send(Err(CallError::Ended(ending.clone()))));
        }
        self.last_ending = Some(ending);
    }

    /// When something is to be looked at: silence, idleness, the size of its directory.
    fn wake(&self) -> Option<Instant> {
        let running = self.running.as_ref()?;
        let limits = &self.app.bundle.manifest().limits;
        let patience = if running.asked.is_empty() {
            limits.idle()
        } else {
            limits.call()
        };
        let silence = running.progress + patience;
        if self.has_data() || self.has_threads() {
            return Some(silence.min(running.look + LOOK));
        }
        Some(silence)
    }

    async fn handle_timeout(&mut self) {
        let now = Instant::now();
        let limits = self.app.bundle.manifest().limits;
        let Some(running) = &mut self.running else {
            return;
        };
        let silence = now.saturating_duration_since(running.progress);
        if running.asked.is_empty() && silence >= limits.idle() {
            return self.end(Ending::Idle).await;
        }
        if !running.asked.is_empty() && silence >= limits.call() {
            return self.end(Ending::Stuck).await;
        }
        running.look = now;
        let threads = u64::try_from(running.process.threads()).unwrap_or(u64::MAX);
        if self.has_threads() && threads > limits.threads {
            return self.end(Ending::Threads).await;
        }
        if self.has_data() && data_size::is_beyond(self.app.data.clone(), limits.data()).await {
            self.end(Ending::Data).await;
        }
    }

    /// An app with one thread cannot make another.
    fn has_threads(&self) -> bool {
        let threads = self.app.bundle.manifest().limits.threads;
        threads > 1 && self.shared.launcher.counts_threads()
    }

    fn has_data(&self) -> bool {
        self.app.agreed.grants.contains(&Grant::Data)
    }

    fn standing(&self) -> Standing {
        let state = match &self.running {
            Some(_) => "running",
            None if self.failures.is_suspended() => "suspended",
            None => "stopped",
        };
        let running = self.running.as_ref();
        Standing {
            state,
            pid: running.and_then(|running| running.process.pid()),
            uptime: running.map(|running| running.since.elapsed()),
            calls: self.calls,
            starts: self.starts,
            failures: self.failures.count(),
            last_ending: self.last_ending.clone(),
        }
    }
}

async fn happens(running: &mut Option<Running>) -> Happened {
    match running {
        Some(running) => running.process.next().await,
        None => std::future::pending().await,
    }
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
