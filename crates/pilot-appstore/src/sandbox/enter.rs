//! A process becomes an app. It runs alone: one thread, no runtime.

use std::ffi::{CString, OsString};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::fcntl::AtFlags;
use nix::sched::CloneFlags;
use rustix::io::FdFlags;
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::CapabilitySet;

use crate::manifest::AdapterKind;

use super::{Plan, Protection, calls, files};
use crate::executable::ExecutableError;
use crate::python;

/// What it ends with if it does not become the app.
pub(crate) const FAILED: u8 = 125;
/// The first descriptor after the three of every process.
const FIRST_FREE: i32 = 3;
/// Stack of an app's one thread.
const STACK: u64 = 8 * 1024 * 1024;

/// Lays the rules of a plan (JSON) upon this process and turns it into the program on standard output's descriptor.
///
/// Standard input and error are left as they are. Gives the exit code of a process that did not get there; why stands on
/// standard error.
#[must_use]
pub fn enter(plan: Option<OsString>) -> u8 {
    let plan = plan.and_then(|plan| plan.into_string().ok());
    let failed = match plan.as_deref().map(serde_json::from_str::<Plan>) {
        Some(Ok(plan)) => match become_app(&plan) {
            Ok(code) => return code,
            Err(error) => error,
        },
        Some(Err(error)) => format!("no plan: {error}"),
        None => "no plan".to_owned(),
    };
    // Nobody else is there to be told.
    let _ = writeln!(io::stderr(), "the app did not start: {failed}");
    FAILED
}

fn become_app(plan: &Plan) -> Result<u8, String> {
    let failed = |what: &'static str| move |error: &dyn Display| format!("{what}: {error}");
    let started = Started::new(plan).map_err(|e| failed("its program")(&e))?;
    join_groups(plan).map_err(|e| failed("groups")(&e))?;
    let has_own_users = namespaces(plan);
    let environment = environment().map_err(|e| failed("its environment")(&e))?;
    let pid = u64::from(std::process::id());
    let exec_fd = plan.limits.open_files;
    let filters = calls::filters(plan, exec_fd, pid).map_err(|e| failed("filters")(&e))?;
    rustix::thread::set_no_new_privs(true).map_err(|e| failed("privileges")(&e))?;
    drop_capabilities(plan).map_err(|e| failed("capabilities")(&e))?;
    end_with_parent(plan)?;
    if plan.has(Protection::Files) {
        files::restrict(plan, started.interpreter.as_deref()).map_err(|e| failed("files")(&e))?;
    }
    limit(plan, has_own_users).map_err(|e| failed("limits")(&e))?;
    if plan.has(Protection::Calls) {
        for filter in &filters {
            seccompiler::apply_filter(filter).map_err(|e| failed("system calls")(&e))?;
        }
    }
    if let Some(AdapterKind::Http) = plan.adapter {
        return adapt(started.program)
            .map(|()| 0)
            .map_err(|e| failed("its adapter")(&e));
    }
    let (program, args) = (&started.program, &started.args);
    let never = nix::unistd::execveat(program, c"", args, &environment, AtFlags::AT_EMPTY_PATH)
        .map_err(|e| failed("its program")(&e))?;
    match never {}
}

/// This program goes on as the app: it has no program of its own to become.
fn adapt(description: OwnedFd) -> io::Result<()> {
    let mut packed = vec![];
    let mut file = File::from(description);
    // It was written to its end.
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut packed)?;
    drop(file);
    pilot_adapter::serve(&packed)
}

/// What this process becomes.
struct Started {
    program: OwnedFd,
    args: Vec<CString>,
    /// Where the interpreter is, for an app that has one.
    interpreter: Option<PathBuf>,
}

impl Started {
    /// What is to run comes as standard output, which becomes the log. Of an app in Python that are its modules, on a descriptor that the
    /// interpreter reads and closes; the interpreter is looked at here, before this process may be somebody else in a namespace.
    fn new(plan: &Plan) -> io::Result<Self> {
        if !plan.is_script {
            let program = take_place(plan, io::stdout())?;
            rustix::stdio::dup2_stdout(io::stderr())?;
            return Ok(Self {
                program,
                args: vec![CString::new(plan.name.as_str())?],
                interpreter: None,
            });
        }
        let words = ExecutableError::Interpreter.to_string();
        let found = python::interpreter().ok_or_else(|| io::Error::other(words))?;
        let program = take_place(plan, &found.file)?;
        let modules = rustix::io::fcntl_dupfd_cloexec(io::stdout().as_fd(), FIRST_FREE)?;
        rustix::io::fcntl_setfd(&modules, FdFlags::empty())?;
        rustix::stdio::dup2_stdout(io::stderr())?;
        let mut args = vec![CString::new(found.path.as_os_str().as_encoded_bytes())?];
        for option in python::OPTIONS.into_iter().chain([python::BOOT]) {
            args.push(CString::new(option)?);
        }
        args.push(CString::new(modules.into_raw_fd().to_string())?);
        Ok(Self {
            program,
            args,
            interpreter: Some(found.path),
        })
    }
}

/// The first number that no descriptor of the app will have, for what is executed; it is closed when the app begins.
fn take_place(plan: &Plan, program: impl AsFd) -> io::Result<OwnedFd> {
    let number = i32::try_from(plan.limits.open_files).map_err(io::Error::other)?;
    let program = rustix::io::fcntl_dupfd_cloexec(program, number)?;
    if program.as_raw_fd() != number {
        return Err(io::Error::other("its place is taken"));
    }
    Ok(program)
}

/// Before Landlock, which hides those files.
fn join_groups(plan: &Plan) -> io::Result<()> {
    for door in &plan.groups {
        // 0 is who writes.
        std::fs::write(door, "0")?;
    }
    Ok(())
}

/// Its own empty network and shared memory. Where the machine does not permit it, the filter of system calls holds alone:
/// there is no socket to reach a network with. Gives whether it has users of its own: then the kernel counts its threads alone
/// against its user's bound.
fn namespaces(plan: &Plan) -> bool {
    if !plan.has(Protection::Namespaces) {
        return false;
    }
    let own = CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWNET;
    // Who may not make them may in a user namespace, on most machines.
    nix::sched::unshare(own).is_err()
        && nix::sched::unshare(own | CloneFlags::CLONE_NEWUSER).is_ok()
}

/// What the daemon granted of its environment, and nothing else: it started this process so.
fn environment() -> Result<Vec<CString>, std::ffi::NulError> {
    std::env::vars_os()
        .map(|(name, value)| {
            let mut line = name.into_vec();
            line.push(b'=');
            line.extend(value.into_vec());
            CString::new(line)
        })
        .collect()
}

/// With `no_new_privs` the app does not get them back, root or not.
fn drop_capabilities(plan: &Plan) -> io::Result<()> {
    if !plan.has(Protection::Capabilities) {
        return Ok(());
    }
    let none = CapabilitySet::empty();
    let sets = rustix::thread::CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// The kernel kills it when the daemon's thread that started it ends: there is no orphan.
fn end_with_parent(plan: &Plan) -> Result<(), String> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("end with the daemon: {error}"))?;
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    // It may have ended before this was set.
    if parent.and_then(|pid| u32::try_from(pid).ok()) == Some(plan.parent) {
        Ok(())
    } else {
        Err("the daemon is gone".to_owned())
    }
}

fn limit(plan: &Plan, has_own_users: bool) -> io::Result<()> {
    let limits = &plan.limits;
    let file_size = if plan.may_write() { limits.data() } else { 0 };
    let rules = [
        (Protection::Memory, Resource::Data, limits.memory()),
        (Protection::Memory, Resource::Stack, STACK),
        (Protection::Memory, Resource::Memlock, 0),
        (Protection::Memory, Resource::Msgqueue, 0),
        (Protection::Cpu, Resource::Cpu, limits.cpu_seconds),
        (Protection::OpenFiles, Resource::Nofile, limits.open_files),
        (Protection::FileSize, Resource::Fsize, file_size),
        (Protection::FileSize, Resource::Core, 0),
    ];
    // Elsewhere it would count all processes of the daemon's user.
    let threads = has_own_users.then_some((Protection::Threads, Resource::Nproc, limits.threads));
    for (protection, resource, most) in rules.into_iter().chain(threads) {
        if plan.has(protection) {
            // Of CPU time the lower bound ends it by a signal of its own, which says why.
            let beyond = u64::from(resource == Resource::Cpu);
            let both = Rlimit {
                current: Some(most),
                maximum: Some(most + beyond),
            };
            rustix::process::setrlimit(resource, both)?;
        }
    }
    Ok(())
}
