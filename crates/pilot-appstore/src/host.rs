//! All apps of a home, running: what a daemon embeds.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{Mutex as AsyncMutex, Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;

use crate::audit::{Audit, AuditEntry, now};
use crate::broker::{Names, Network, Overlay};
use crate::call_error::CallError;
use crate::groups::Hierarchies;
use crate::hash::Sha256;
use crate::help;
use crate::id::{AppId, HELP, MethodName};
use crate::process::Launcher;
use crate::rpc::MAX_PARAMS;
use crate::sandbox::{Kernel, Protection};
use crate::secrets::Secrets;
use crate::store::{Installed, Store, StoreError};
use crate::worker::{Call, Order, Shared, Standing, Worker};

/// Orders that wait for a worker, calls among them: each is taken at once.
const ORDERS: usize = 64;
/// How long an app that is installed may take to show that it runs.
const PROBE: Duration = Duration::from_secs(5);
/// Calls of one app that wait for a free place in it.
const MAX_WAITING: usize = 256;

/// Who asks for what.
#[derive(Clone, PartialEq, Debug)]
pub struct CallRequest {
    /// The app, by its id or short name.
    pub app: String,
    /// Its method, with or without the app's short name and a dot before it.
    pub method: String,
    /// The arguments.
    pub params: Value,
    /// Who calls, for the audit log.
    pub caller: Caller,
    /// How long the caller waits; the app's own limit holds beside it.
    pub deadline: Option<Duration>,
}

/// Who calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// `owner`, or an agent's address.
    pub name: String,
    /// The AgentId of another agent.
    pub agent: Option<String>,
}

impl From<&str> for Caller {
    fn from(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            agent: None,
        }
    }
}

/// What tests alone change.
#[doc(hidden)]
#[derive(Clone, Default)]
pub struct TestSetting {
    /// Rules that are left off.
    pub without: BTreeSet<Protection>,
    /// What names of hosts mean.
    pub names: Option<Names>,
}

/// The apps of a home, and the processes of those that run.
pub struct Host {
    store: Store,
    shared: Arc<Shared>,
    workers: Mutex<BTreeMap<AppId, Handle>>,
    /// What names meant that were called by. Only names of installed apps get in, two for each; a change empties it.
    names: Arc<Mutex<BTreeMap<String, AppId>>>,
    /// Held while what is installed changes, and while a worker is made.
    changing: Arc<AsyncMutex<()>>,
}

/// The way to a worker.
#[derive(Clone)]
struct Handle {
    app: Arc<Installed>,
    orders: mpsc::Sender<Order>,
    slots: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

impl Host {
    /// The apps of a home. `command` is the program, and its arguments, that becomes an app when [`crate::WORD`] and a plan
    /// follow. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(home: &Path, command: Vec<OsString>) -> io::Result<Self> {
        Self::with(home, command, TestSetting::default())
    }

    /// The same with rules left off, to show in tests what each of them is for, and with names that mean what a test wants.
    ///
    /// # Errors
    /// As [`Self::start`].
    #[doc(hidden)]
    pub fn with(home: &Path, command: Vec<OsString>, setting: TestSetting) -> io::Result<Self> {
        let groups = Hierarchies::probe();
        let kernel = Kernel {
            groups: groups.controllers(),
            ..Kernel::probe()
        };
        let store = Store::new(home, kernel);
        store.sweep();
        let audit = Arc::new(Audit::new(home));
        let mut network = Network::new(home, Arc::clone(&audit), setting.without.clone());
        if let Some(names) = setting.names {
            network = network.with_names(names);
        }
        let shared = Shared {
            store: store.clone(),
            launcher: Launcher::start(
                command,
                setting.without,
                network,
                groups,
                Secrets::new(home),
            )?,
            audit,
        };
        Ok(Self {
            store,
            shared: Arc::new(shared),
            workers: Mutex::default(),
            names: Arc::default(),
            changing: Arc::default(),
        })
    }

    /// Gives apps with grants for it a way to other agents.
    pub fn set_overlay(&self, overlay: Arc<dyn Overlay>) {
        self.shared.launcher.network().set_overlay(overlay);
    }

    /// What is installed.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// What happened.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.shared.audit
    }

    /// Calls a method and gives its result. Every call is in the audit log, also one that is dropped before it has a result.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, request: CallRequest) -> Result<Value, CallError> {
        let app = self.handle(&request.app).await?;
        let params = serde_json::to_vec(&request.params).unwrap_or_default();
        let entry = Entry::new(&self.shared.audit, &app.app, &request, &params);
        let result = if params.len() > MAX_PARAMS {
            Err(CallError::TooLarge)
        } else {
            self.call_checked(&app, request).await
        };
        entry.end(&result);
        result
    }

    async fn call_checked(&self, app: &Handle, request: CallRequest) -> Result<Value, CallError> {
        let manifest = app.app.bundle.manifest();
        // A publisher may be revoked while its app runs.
        let publishers = self.store.publishers();
        publishers
            .check(&manifest.publisher)
            .map_err(StoreError::from)?;
        let name = own_name(&manifest.id, &request.method);
        if name == HELP {
            return Ok(help::of(manifest));
        }
        let no_method = || CallError::NoMethod {
            app: manifest.id.clone(),
            method: request.method.chars().take(200).collect(),
        };
        let name: MethodName = name.parse().map_err(|_| no_method())?;
        let method = manifest.methods.get(&name).ok_or_else(no_method)?;
        method
            .params
            .check(&request.params)
            .map_err(CallError::Params)?;
        let deadline = request.deadline.unwrap_or(manifest.limits.call());
        let asked = app.ask(name.to_string(), request.params);
        let result = tokio::time::timeout(deadline, asked).await;
        let result = result.unwrap_or(Err(CallError::Timeout(deadline)))?;
        method.result.check(&result).map_err(CallError::Result)?;
        Ok(result)
    }

    /// Starts an app and waits until it answers something: also an error shows that it runs. The method `help`, which the daemon
    /// answers otherwise, is asked for.
    ///
    /// # Errors
    /// [`CallError`] that says why it does not start.
    pub async fn probe(&self, id: &AppId) -> Result<(), CallError> {
        let app = self.handle(id.as_str()).await?;
        let asked = app.ask(HELP.to_owned(), Value::Object(serde_json::Map::new()));
        match tokio::time::timeout(PROBE, asked).await {
            Ok(Ok(_) | Err(CallError::App(_))) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(CallError::Timeout(PROBE)),
        }
    }

    /// How an app stands.
    pub async fn standing(&self, id: &AppId) -> Standing {
        let handle = self.workers().get(id).cloned();
        let Some(handle) = handle else {
            return Standing::stopped();
        };
        let (reply, answer) = oneshot::channel();
        // A worker that is gone has stopped.
        drop(handle.orders.send(Order::Look(reply)).await);
        answer.await.unwrap_or_else(|_| Standing::stopped())
    }

    /// Calls of an app that wait for a free place in it.
    #[must_use]
    pub fn waiting(&self, id: &AppId) -> usize {
        let workers = self.workers();
        let handle = workers.get(id);
        handle.map_or(0, |handle| handle.waiting.load(Ordering::Relaxed))
    }

    /// Ends an app's process, if there is one, and forgets its failures; the next call starts it.
    pub async fn stop(&self, id: &AppId) {
        let handle = self.workers().get(id).cloned();
        if let Some(handle) = handle {
            handle.tell(Order::Stop).await;
        }
    }

    /// Changes what is installed of an app, with its process ended before and its files opened anew afterwards. A change that has
    /// begun is done, also if nobody waits for it any more.
    ///
    /// # Errors
    /// What the change says.
    pub async fn change<T: Send + 'static>(
        &self,
        id: &AppId,
        change: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let changing = Arc::clone(&self.changing).lock_owned().await;
        let handle = self.workers().remove(id);
        if let Some(handle) = handle {
            handle.tell(Order::Retire).await;
        }
        let (store, names) = (self.store.clone(), Arc::clone(&self.names));
        let change = move || {
            let _changing = changing;
            let changed = change(&store);
            names.lock().unwrap_or_else(PoisonError::into_inner).clear();
            changed
        };
        blocking(change).await
    }

    /// Ends all processes.
    pub async fn end(&self) {
        let all = std::mem::take(&mut *self.workers());
        for handle in all.into_values() {
            handle.tell(Order::Retire).await;
        }
    }

    /// The way to an app, which is opened and checked if it is not known yet.
    async fn handle(&self, name: &str) -> Result<Handle, StoreError> {
        let id = self.find(name).await?;
        if let Some(handle) = self.workers().get(&id).cloned() {
            return Ok(handle);
        }
        let _changing = self.changing.lock().await;
        let (store, opened) = (self.store.clone(), id.clone());
        let app = blocking(move || store.open(&opened)).await?;
        let mut workers = self.workers();
        let new = || Handle::start(Arc::new(app), Arc::clone(&self.shared));
        Ok(workers.entry(id).or_insert_with(new).clone())
    }

    async fn find(&self, name: &str) -> Result<AppId, StoreError> {
        if let Some(id) = self.names().get(name) {
            return Ok(id.clone());
        }
        let (store, looked) = (self.store.clone(), name.to_owned());
        let id = blocking(move || store.find(&looked)).await?;
        self.names().insert(name.to_owned(), id.clone());
        Ok(id)
    }

    fn names(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, AppId>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn workers(&self) -> std::sync::MutexGuard<'_, BTreeMap<AppId, Handle>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    fn start(app: Arc<Installed>, shared: Arc<Shared>) -> Self {
        let (orders, queue) = mpsc::channel(ORDERS);
        let slots = Arc::new(Semaphore::new(app.bundle.manifest().limits.in_flight));
        tokio::spawn(Worker::new(Arc::clone(&app), shared, queue).run());
        Self {
            app,
            orders,
            slots,
            waiting: Arc::default(),
        }
    }

    async fn ask(&self, method: String, params: Value) -> Result<Value, CallError> {
        let waiting = Waiting::new(&self.waiting)?;
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.map_err(|_| CallError::Busy)?;
        drop(waiting);
        let (answer, answered) = oneshot::channel();
        let call = Call {
            method,
            params,
            answer,
            slot,
        };
        let sent = self.orders.send(Order::Call(call)).await;
        sent.map_err(|_| CallError::Changing)?;
        answered.await.unwrap_or(Err(CallError::Changing))
    }

    /// Orders something, and waits until it is done. A worker that is gone has done it.
    async fn tell(&self, order: fn(oneshot::Sender<()>) -> Order) {
        let (done, finished) = oneshot::channel();
        drop(self.orders.send(order(done)).await);
        drop(finished.await);
    }
}

/// A call's entry in the audit log, written when it ends, or is dropped.
struct Entry<'a> {
    audit: &'a Audit,
    entry: AuditEntry,
    started: Instant,
}

impl<'a> Entry<'a> {
    fn new(audit: &'a Audit, app: &Installed, request: &CallRequest, params: &[u8]) -> Self {
        let manifest = app.bundle.manifest();
        let entry = AuditEntry {
            version: Some(manifest.version.clone()),
            caller: request.caller.name.clone(),
            agent: request.caller.agent.clone(),
            method: Some(request.method.chars().take(200).collect()),
            params_sha256: Some(Sha256::of(params)),
            reason: Some("its caller did not wait for it".to_owned()),
            ..AuditEntry::new(&manifest.id, "call", "cancelled")
        };
        Self {
            audit,
            entry,
            started: Instant::now(),
        }
    }

    fn end(mut self, result: &Result<Value, CallError>) {
        let (outcome, reason) = match result {
            Ok(_) => ("ok", None),
            Err(error) => (error.name(), Some(error.to_string())),
        };
        outcome.clone_into(&mut self.entry.outcome);
        self.entry.reason = reason;
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.entry.at_unix_ms = now().as_millis();
        self.entry.duration_ms = u64::try_from(self.started.elapsed().as_millis()).ok();
        self.audit.add(&self.entry);
    }
}

/// A place among those that wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Result<Self, CallError> {
        let place = Self(count);
        if count.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            return Err(CallError::Busy);
        }
        Ok(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `plainweb.fetch` and `fetch` are one method of `org.example.plainweb`.
fn own_name<'a>(id: &AppId, method: &'a str) -> &'a str {
    let rest = method
        .strip_prefix(id.as_str())
        .or_else(|| method.strip_prefix(id.short()))
        .and_then(|rest| rest.strip_prefix('.'));
    rest.unwrap_or(method)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(StoreError::Io {
            path: "apps".into(),
            source: io::Error::other(error),
        })
    })
}
