//! A running app: its process, the socket to it, and its log.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, PipeReader, Read};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::broker::{self, Broker, Network};
use crate::bundle::BundleError;
use crate::ending::Ending;
use crate::grant::Grant;
use crate::groups::{Group, Hierarchies};
use crate::journal::Journal;
use crate::program;
use crate::python;
use crate::rpc::{self, Answer, Lines};
use crate::sandbox::{Plan, Protection, WORD};
use crate::secrets::Secrets;
use crate::store::Installed;

/// An answer's frame around its result.
const FRAME: usize = 4096;
/// An app's log, twice: the file and the one before.
const MAX_LOG: u64 = 1024 * 1024;
/// What an app may log in a minute; more is a flood.
const MAX_LOG_A_MINUTE: usize = 1024 * 1024;
const MINUTE: Duration = Duration::from_secs(60);
/// What is kept of its last line, to say why it ended.
const MAX_LAST_WORDS: usize = 300;
/// How long an ended process' last words are waited for.
const LAST_WORDS_PATIENCE: Duration = Duration::from_secs(1);

/// Starts apps: one thread, which lives as long as this. The kernel ends an app with the thread that started it, so that no
/// pool of threads may do that.
#[derive(Debug)]
pub(crate) struct Launcher {
    command: Vec<OsString>,
    without: BTreeSet<Protection>,
    network: Network,
    groups: Hierarchies,
    secrets: Secrets,
    jobs: std_mpsc::Sender<Job>,
}

struct Job {
    command: Command,
    started: oneshot::Sender<io::Result<Child>>,
}

impl Launcher {
    /// `command` is the program that becomes an app, and its arguments before [`WORD`].
    pub(crate) fn start(
        command: Vec<OsString>,
        without: BTreeSet<Protection>,
        network: Network,
        groups: Hierarchies,
        secrets: Secrets,
    ) -> io::Result<Self> {
        let (jobs, queue) = std_mpsc::channel::<Job>();
        let runtime = Handle::current();
        thread::Builder::new()
            .name("apps".to_owned())
            .spawn(move || {
                let _entered = runtime.enter();
                for mut job in queue {
                    // A child whose caller left is dropped, and so ended.
                    drop(job.started.send(job.command.spawn()));
                }
            })?;
        Ok(Self {
            command,
            without,
            network,
            groups,
            secrets,
            jobs,
        })
    }

    /// What its apps connect by.
    pub(crate) const fn network(&self) -> &Network {
        &self.network
    }

    /// Starts an app from the bytes that are checked here and now.
    pub(crate) async fn launch(
        &self,
        app: &Arc<Installed>,
        log: PathBuf,
    ) -> Result<Process, LaunchError> {
        let (ours, theirs) = StdUnixStream::pair()?;
        let (reader, writer) = io::pipe()?;
        let may_connect = app.agreed.grants.iter().any(Grant::is_brokered);
        let control = may_connect.then(|| broker::hand_over(&ours)).transpose()?;
        let (checked, secrets) = (Arc::clone(app), self.secrets.clone());
        let program =
            tokio::task::spawn_blocking(move || program::sealed(&checked.bundle, &secrets));
        let program = program.await.map_err(io::Error::other)??;
        let group = self.group(app)?;
        let mut command = self.command(app, &group)?;
        command
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .stdout(Stdio::from(program))
            .stderr(Stdio::from(writer));
        let (started, starting) = oneshot::channel();
        let gone = || io::Error::other("the daemon is ending");
        let job = Job { command, started };
        self.jobs.send(job).map_err(|_| gone())?;
        let child = starting.await.map_err(|_| gone())??;
        let mut process = Process::new(child, ours, Log::new(reader, log), app)?;
        process.group = Some(group);
        if let Some(control) = control {
            process.broker = Some(Broker::start(control, app, &self.network)?);
        }
        Ok(process)
    }

    fn group(&self, app: &Installed) -> io::Result<Group> {
        let limits = &app.bundle.manifest().limits;
        if self.without.contains(&Protection::Groups) {
            return Hierarchies::default().group(limits);
        }
        self.groups.group(limits)
    }

    /// Whether an app's threads are counted from outside.
    pub(crate) fn counts_threads(&self) -> bool {
        !self.without.contains(&Protection::Threads)
    }

    fn command(&self, app: &Installed, group: &Group) -> io::Result<Command> {
        let manifest = app.bundle.manifest();
        let has_data = app.agreed.grants.contains(&Grant::Data);
        let data = has_data.then(|| app.data.clone());
        if let Some(data) = &data {
            std::fs::create_dir_all(data)?;
        }
        let plan = Plan {
            parent: std::process::id(),
            name: manifest.id.to_string(),
            limits: manifest.limits,
            grants: app.agreed.grants.clone(),
            adapter: manifest.adapter,
            data: data.clone(),
            is_script: python::is_script(&manifest.entry),
            groups: group.doors(),
            without: self.without.clone(),
        };
        let plan = serde_json::to_string(&plan).map_err(io::Error::other)?;
        let (program, arguments) = self
            .command
            .split_first()
            .ok_or_else(|| io::Error::other("no program to start apps with is known"))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args([WORD, &plan])
            .env_clear()
            .envs(environment(&app.agreed.grants))
            .current_dir(data.as_deref().unwrap_or(Path::new("/")))
            .kill_on_drop(true);
        Ok(command)
    }
}

/// The variables that were granted, as far as the daemon has them.
fn environment(grants: &BTreeSet<Grant>) -> Vec<(String, OsString)> {
    let granted = |grant: &Grant| match grant {
        Grant::Env(name) => Some((name.clone(), std::env::var_os(name)?)),
        Grant::Read(_)
        | Grant::Folders
        | Grant::Write(_)
        | Grant::Data
        | Grant::Libs
        | Grant::Python
        | Grant::Net(_)
        | Grant::Overlay(_) => None,
    };
    grants.iter().filter_map(granted).collect()
}

/// Why an app was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("cannot start it: {0}")]
    Io(#[from] io::Error),
}

/// What a process did.
#[derive(Debug)]
pub(crate) enum Happened {
    Answered(Answer),
    Ended(Ending),
}

/// A process of an app.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    requests: mpsc::Sender<Vec<u8>>,
    heard: mpsc::Receiver<Happened>,
    log: Log,
    /// With grants for the network.
    broker: Option<Broker>,
    /// Goes last, after the process.
    group: Option<Group>,
}

impl Process {
    fn new(child: Child, socket: StdUnixStream, mut log: Log, app: &Installed) -> io::Result<Self> {
        let limits = &app.bundle.manifest().limits;
        socket.set_nonblocking(true)?;
        let (read, write) = UnixStream::from_std(socket)?.into_split();
        // As many as there may be calls: neither side ever waits for the other's queue.
        let (requests, to_write) = mpsc::channel(limits.in_flight.max(1));
        let (tell, heard) = mpsc::channel(limits.in_flight.max(1));
        tokio::spawn(write_requests(write, to_write));
        tokio::spawn(read_answers(
            read,
            Lines::new(limits.answer() + FRAME),
            tell.clone(),
        ));
        log.begin(tell)?;
        Ok(Self {
            child,
            requests,
            heard,
            log,
            broker: None,
            group: None,
        })
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// How many threads it has now.
    pub(crate) fn threads(&self) -> usize {
        let tasks = self.pid().map(|pid| format!("/proc/{pid}/task"));
        let tasks = tasks.and_then(|dir| std::fs::read_dir(dir).ok());
        tasks.map_or(0, Iterator::count)
    }

    /// Hands a request over.
    pub(crate) async fn send(&self, line: Vec<u8>) {
        // A process that is gone says so by its end.
        drop(self.requests.send(line).await);
    }

    /// What it does next. Cancel safe.
    pub(crate) async fn next(&mut self) -> Happened {
        tokio::select! {
            biased;
            Some(happened) = self.heard.recv() => happened,
            status = self.child.wait() => match status {
                Ok(status) => {
                    let words = self.log.last_words().await;
                    let ending = Ending::of(status, &words);
                    let group = self.group.as_ref();
                    if group.is_some_and(Group::ran_out_of_memory) {
                        return Happened::Ended(Ending::Memory);
                    }
                    Happened::Ended(ending)
                }
                Err(error) => Happened::Ended(Ending::NotStarted(error.to_string())),
            },
        }
    }

    /// Ends it, and waits until it has ended.
    pub(crate) async fn end(mut self) {
        if let Some(broker) = self.broker.take() {
            broker.end().await;
        }
        if let Err(error) = self.child.kill().await {
            tracing::debug!(%error, "an app ended before it was told to");
        }
    }
}

async fn write_requests(mut socket: OwnedWriteHalf, mut requests: mpsc::Receiver<Vec<u8>>) {
    while let Some(line) = requests.recv().await {
        if socket.write_all(&line).await.is_err() {
            return;
        }
    }
}

async fn read_answers(mut socket: OwnedReadHalf, mut lines: Lines, tell: mpsc::Sender<Happened>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // Its end and its errors show in the process' own end.
        let Ok(count @ 1..) = socket.read(&mut buffer).await else {
            return;
        };
        let complete = match lines.push(&buffer[..count]) {
            Ok(complete) => complete,
            Err(rpc::TooLong) => {
                drop(tell.send(Happened::Ended(Ending::TooLong)).await);
                return;
            }
        };
        for line in complete {
            let happened = match rpc::answer(&line) {
                Ok(answer) => Happened::Answered(answer),
                Err(error) => Happened::Ended(Ending::Malformed(error.to_string())),
            };
            let is_end = matches!(happened, Happened::Ended(_));
            if tell.send(happened).await.is_err() || is_end {
                return;
            }
        }
    }
}

/// What an app writes to its standard output and error.
#[derive(Debug)]
struct Log {
    pipe: Option<PipeReader>,
    path: PathBuf,
    last: Arc<Mutex<Vec<u8>>>,
    ended: Option<oneshot::Receiver<()>>,
}

impl Log {
    fn new(pipe: PipeReader, path: PathBuf) -> Self {
        Self {
            pipe: Some(pipe),
            path,
            last: Arc::default(),
            ended: None,
        }
    }

    /// A thread of its own takes it: files block.
    fn begin(&mut self, tell: mpsc::Sender<Happened>) -> io::Result<()> {
        let Some(pipe) = self.pipe.take() else {
            return Ok(());
        };
        let (end, ended) = oneshot::channel();
        self.ended = Some(ended);
        let (journal, last) = (
            Journal::new(self.path.clone(), MAX_LOG),
            Arc::clone(&self.last),
        );
        let copy = move || {
            let flooded = || drop(tell.blocking_send(Happened::Ended(Ending::LogFlood)));
            copy_log(pipe, journal, &last, flooded);
            drop(end);
        };
        thread::Builder::new()
            .name("app-log".to_owned())
            .spawn(copy)?;
        Ok(())
    }

    /// The last lines, once the app's end of the log is closed.
    async fn last_words(&mut self) -> String {
        if let Some(ended) = self.ended.take() {
            drop(tokio::time::timeout(LAST_WORDS_PATIENCE, ended).await);
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&last);
        // A panic's or an abort's advice on how to see more is none of its reasons.
        let lines = text.lines().filter(|line| !line.starts_with("note:"));
        let words = lines.collect::<Vec<_>>().join(" ");
        words.trim().chars().filter(|c| !c.is_control()).collect()
    }
}

/// Copies until the app's end is closed. What comes after a flood is thrown away, so that nothing waits for it.
fn copy_log(
    mut pipe: PipeReader,
    mut journal: Journal,
    last: &Mutex<Vec<u8>>,
    flooded: impl FnOnce(),
) {
    let mut buffer = vec![0; 16 * 1024];
    let (mut minute, mut written) = (Instant::now(), 0);
    let mut flooded = Some(flooded);
    while let Ok(count @ 1..) = pipe.read(&mut buffer) {
        if minute.elapsed() >= MINUTE {
            (minute, written) = (Instant::now(), 0);
        }
        written += count;
        if written > MAX_LOG_A_MINUTE || flooded.is_none() {
            if let Some(tell) = flooded.take() {
                tell();
            }
            continue;
        }
        if let Err(error) = journal.write(&buffer[..count]) {
            tracing::warn!(%error, "an app's log is lost");
        }
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        last.extend_from_slice(&buffer[..count]);
        let excess = last.len().saturating_sub(MAX_LAST_WORDS);
        last.drain(..excess);
    }
}
