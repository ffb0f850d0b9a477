//! The processes of a measurement. They speak by lines of JSON: a process says that it is ready, and answers what it is asked.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use pilot_lab::{Machine, Process};
use serde::{Deserialize, Serialize};

use crate::contestant::{self, Server, daemon, iroh, quinn, tcp, udp, unix};
use crate::modes::{self, Ready};
use crate::setup::{Done, Mode, Name, Result, Setup, Usage};

/// Which part a process has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Role {
    Rendezvous,
    Server,
    Client,
}

impl Role {
    const fn word(self) -> &'static str {
        match self {
            Self::Rendezvous => "rendezvous",
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// What a process says.
#[derive(Debug, Serialize, Deserialize)]
enum Said {
    Ready(String),
    Usage(Usage),
    Done(Done),
    Failed(String),
}

/// What a process is asked: its usage, or to run.
const ASK_USAGE: &str = "usage";
const ASK_RUN: &str = "run";

/// A process of a measurement, as the one that started it sees it; it ends with this value.
pub(crate) struct Child {
    role: Role,
    /// Ends the process with this value.
    _process: Process,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Child {
    /// Starts a process on a machine.
    pub(crate) fn start(machine: &Machine, role: Role, setup: &Setup) -> Result<Self> {
        let mut command = machine.command(std::env::current_exe()?);
        command.arg("child").arg(role.word());
        command.arg(serde_json::to_string(setup)?);
        let mut process = Process::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let stdin = process.child.stdin.take().ok_or("no pipe")?;
        let stdout = process.child.stdout.take().ok_or("no pipe")?;
        Ok(Self {
            role,
            _process: process,
            stdin,
            lines: lines(stdout),
        })
    }

    fn answer(&self, limit: Duration) -> Result<Said> {
        let role = self.role.word();
        let line = self.lines.recv_timeout(limit);
        let line = line.map_err(|error| format!("{role}: {error}"))?;
        match serde_json::from_str(&line)? {
            Said::Failed(error) => Err(format!("{role}: {error}").into()),
            said => Ok(said),
        }
    }

    /// What it says once it is ready.
    pub(crate) fn ready(&self, limit: Duration) -> Result<String> {
        match self.answer(limit)? {
            Said::Ready(ticket) => Ok(ticket),
            said => Err(format!("not ready but {said:?}").into()),
        }
    }

    /// What it has used so far.
    pub(crate) fn usage(&mut self, limit: Duration) -> Result<Usage> {
        writeln!(self.stdin, "{ASK_USAGE}")?;
        match self.answer(limit)? {
            Said::Usage(usage) => Ok(usage),
            said => Err(format!("no usage but {said:?}").into()),
        }
    }

    /// Lets it run its mode once.
    pub(crate) fn run(&mut self, limit: Duration) -> Result<Done> {
        writeln!(self.stdin, "{ASK_RUN}")?;
        match self.answer(limit)? {
            Said::Done(done) => Ok(done),
            said => Err(format!("no result but {said:?}").into()),
        }
    }
}

/// Lines of a pipe, so that they can be waited for with a limit.
fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout)
            .lines()
            .map_while(std::io::Result::ok)
        {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn say(said: &Said) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::to_string(said)?)?;
    Ok(out.flush()?)
}

/// The process itself.
pub(crate) fn main(role: Role, setup: &Setup) -> Result<()> {
    let mut builder = match setup.bounds.threads {
        0 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder
        .worker_threads(setup.bounds.threads.max(1))
        .enable_all()
        .build()?;
    let played = runtime.block_on(async {
        match role {
            Role::Rendezvous => rendezvous(setup).await,
            Role::Server => serve(setup).await,
            Role::Client => dial(setup).await,
        }
    });
    // A thread still waits for the pipe.
    runtime.shutdown_background();
    played.or_else(|error| say(&Said::Failed(error.to_string())))
}

async fn rendezvous(setup: &Setup) -> Result<()> {
    let (_rendezvous, url) = contestant::pilot::rendezvous(setup).await?;
    say(&Said::Ready(url))?;
    asked(|_| Ok(())).await
}

async fn serve(setup: &Setup) -> Result<()> {
    match setup.name {
        Name::Pilot => serve_as::<contestant::pilot::Server>(setup).await,
        Name::Daemon => serve_as::<daemon::Server>(setup).await,
        Name::Quinn | Name::QuinnBbr => serve_as::<quinn::Server>(setup).await,
        Name::Iroh => serve_as::<iroh::Server>(setup).await,
        Name::Tcp => serve_as::<tcp::Server>(setup).await,
        Name::Unix => serve_as::<unix::Server>(setup).await,
        Name::Udp => {
            let (socket, ticket) = udp::listen(setup)?;
            serve_until_left(udp::serve(socket, setup.mode), ticket).await
        }
    }
}

async fn serve_as<S: Server + 'static>(setup: &Setup) -> Result<()> {
    let (server, ticket) = S::listen(setup).await?;
    serve_until_left(modes::serve(server, setup.mode), ticket).await
}

/// Serves, and answers for its usage, until nobody asks any more.
async fn serve_until_left(serving: impl Future<Output = Result<()>>, ticket: String) -> Result<()> {
    say(&Said::Ready(ticket))?;
    let usage = |line: &str| match line {
        ASK_USAGE => say(&Said::Usage(Usage::own())),
        other => Err(format!("unknown question {other}").into()),
    };
    tokio::select! {
        served = serving => served,
        left = asked(usage) => left,
    }
}

/// Calls for each line that comes, until there is no more.
async fn asked(mut answer: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let (sender, mut questions) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(std::io::Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = questions.recv().await {
        answer(&line)?;
    }
    Ok(())
}

async fn dial(setup: &Setup) -> Result<()> {
    match setup.name {
        Name::Pilot => dial_as::<contestant::pilot::Client>(setup).await,
        Name::Daemon => dial_as::<daemon::Client>(setup).await,
        Name::Quinn | Name::QuinnBbr => dial_as::<quinn::Client>(setup).await,
        Name::Iroh => dial_as::<iroh::Client>(setup).await,
        Name::Tcp => dial_as::<tcp::Client>(setup).await,
        Name::Unix => dial_as::<unix::Client>(setup).await,
        Name::Udp => {
            say(&Said::Ready(String::new()))?;
            wait_for_run()?;
            say(&Said::Done(udp::run(setup).await?))
        }
    }
}

async fn dial_as<C: contestant::Client>(setup: &Setup) -> Result<()> {
    let ready = modes::prepare::<C>(setup).await?;
    say(&Said::Ready(String::new()))?;
    tokio::task::spawn_blocking(wait_for_run).await??;
    let session = match &ready {
        Ready::Warm(client) => Some(client.clone()),
        Ready::Cold => None,
    };
    say(&Said::Done(modes::run(ready, setup).await?))?;
    if let Some(client) = session.and_then(std::sync::Arc::into_inner) {
        client.close().await;
    }
    Ok(())
}

fn wait_for_run() -> Result<()> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    match line.trim_end() {
        ASK_RUN => Ok(()),
        other => Err(format!("unknown question {other}").into()),
    }
}

/// Whether a contestant can be measured in a mode.
pub(crate) const fn has(name: Name, mode: Mode) -> bool {
    match name {
        Name::Pilot | Name::Quinn | Name::QuinnBbr | Name::Iroh | Name::Tcp => true,
        Name::Daemon | Name::Unix => matches!(mode, Mode::Bulk | Mode::Rtt | Mode::Rtt64),
        Name::Udp => matches!(mode, Mode::Bulk | Mode::Rtt | Mode::Rtt64),
    }
}
