//! Control groups: what a process tree may use together, where the machine lets this user make some.
//!
//! Beside the daemon's own group in each hierarchy (v1 has one a controller, v2 one for all) an app gets one of its own, named
//! `pilot-app-PID-START-N` after the daemon's process. A daemon that was killed leaves empty ones, which the next one removes.

mod hierarchy;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::Limits;

use hierarchy::{Hierarchy, Version};

const PREFIX: &str = "pilot-app-";
/// Beside what an app may write to: its stack (8 MiB), page tables, buffers of its sockets, and the pages of the program that
/// becomes it. Cached pages of files are given back before this is reached.
const BESIDE: u64 = 16 * 1024 * 1024;
/// An app's share of a busy processor: a quarter of what a process has by default (1,024 in v1, 100 in v2), so that the daemon's
/// own work goes first. An idle processor is all an app's.
const SHARE_V1: u64 = 256;
const SHARE_V2: u64 = 25;

/// What groups enforce here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Controllers {
    /// Memory of every kind.
    pub memory: bool,
    /// The number of threads.
    pub pids: bool,
    /// The share of a processor.
    pub cpu: bool,
}

/// Where this process may make groups; nowhere, on most machines.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Hierarchies(Vec<Hierarchy>);

impl Hierarchies {
    /// Asks the kernel by making a group, and removes those of daemons that are no more.
    pub(crate) fn probe() -> Self {
        let Some(owner) = Owner::this() else {
            return Self::default();
        };
        let (groups, mounts) = ("/proc/self/cgroup", "/proc/self/mountinfo");
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let mut all = hierarchy::find(&read(groups), &read(mounts));
        all.retain_mut(|hierarchy| hierarchy.is_usable(&owner.name()));
        for hierarchy in &all {
            sweep(&hierarchy.dir);
        }
        Self(all)
    }

    /// What they enforce.
    pub(crate) fn controllers(&self) -> Controllers {
        let has = |name| self.0.iter().any(|hierarchy| hierarchy.controls(name));
        Controllers {
            memory: has("memory"),
            pids: has("pids"),
            cpu: has("cpu"),
        }
    }

    /// A group for one process, with its bounds, still empty.
    pub(crate) fn group(&self, limits: &Limits) -> io::Result<Group> {
        let mut group = Group {
            dirs: vec![],
            out_of_memory: None,
        };
        let Some(owner) = Owner::this().filter(|_| !self.0.is_empty()) else {
            return Ok(group);
        };
        let name = owner.name();
        for hierarchy in &self.0 {
            // An app of a daemon that was killed may have outlived the look at the start by a moment.
            sweep(&hierarchy.dir);
            let dir = hierarchy.dir.join(&name);
            fs::create_dir(&dir)?;
            // From here on it is removed with the group, whatever fails.
            group.dirs.push(dir.clone());
            bound(hierarchy, &dir, limits)?;
            if hierarchy.controls("memory") {
                group.out_of_memory = Some(dir.join(hierarchy.memory_events()));
            }
        }
        Ok(group)
    }
}

/// Writes the bounds into a new group.
fn bound(hierarchy: &Hierarchy, dir: &Path, limits: &Limits) -> io::Result<()> {
    let write = |file: &str, value: u64| fs::write(dir.join(file), value.to_string());
    let memory = limits.memory() + BESIDE;
    let (memory_file, share_file, share) = match hierarchy.version {
        Version::One => ("memory.limit_in_bytes", "cpu.shares", SHARE_V1),
        Version::Two => ("memory.max", "cpu.weight", SHARE_V2),
    };
    if hierarchy.controls("memory") {
        write(memory_file, memory)?;
        if hierarchy.version == Version::Two {
            // A kernel without swapping has no such file, and needs none.
            drop(write("memory.swap.max", 0));
        }
    }
    if hierarchy.controls("pids") {
        write("pids.max", limits.threads)?;
    }
    if hierarchy.controls("cpu") {
        write(share_file, share)?;
    }
    Ok(())
}

/// The group of one process, removed when this is dropped: by then the process has ended.
#[derive(Debug)]
pub(crate) struct Group {
    dirs: Vec<PathBuf>,
    out_of_memory: Option<PathBuf>,
}

impl Group {
    /// The files by which a process joins it.
    pub(crate) fn doors(&self) -> Vec<PathBuf> {
        let doors = self.dirs.iter().map(|dir| dir.join("cgroup.procs"));
        doors.collect()
    }

    /// Whether the kernel ended a process of it because it had no more memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let events = self.out_of_memory.as_deref().map(fs::read_to_string);
        let Some(Ok(events)) = events else {
            return false;
        };
        let count = events
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "));
        count.is_some_and(|count| count.trim() != "0")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for dir in &self.dirs {
            if let Err(error) = fs::remove_dir(dir) {
                tracing::debug!(dir = %dir.display(), %error, "a control group stays until the next start");
            }
        }
    }
}

/// Whose groups: a process, by its number and its start, since numbers are used again.
struct Owner {
    pid: u32,
    start: u64,
}

impl Owner {
    fn this() -> Option<Self> {
        let pid = std::process::id();
        let start = start_of(pid)?;
        Some(Self { pid, start })
    }

    /// Of a group's name.
    fn of(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.split('-');
        let (pid, start) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { pid, start })
    }

    fn is_alive(&self) -> bool {
        start_of(self.pid) == Some(self.start)
    }

    /// A name that no group of this process had.
    fn name(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        format!("{PREFIX}{}-{}-{number}", self.pid, self.start)
    }
}

/// When a process began, in the kernel's ticks (`proc_pid_stat(5)`, field 22): a process' name, before it, may have anything in it.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

/// Removes what daemons left that are no more. A group with a process in it does not go.
fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let owner = entry.file_name().to_str().and_then(Owner::of);
        if owner.is_some_and(|owner| !owner.is_alive())
            && let Err(error) = fs::remove_dir(entry.path())
        {
            tracing::debug!(dir = %entry.path().display(), %error, "an old control group stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_dead_processes_are_swept_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let owner = Owner::this().unwrap();
        let mine = dir.path().join(owner.name());
        let earlier = Owner {
            start: owner.start + 1,
            ..owner
        };
        // The number is in use again, by another process: this one.
        let dead = dir.path().join(earlier.name());
        let foreign = dir.path().join("pilot-app-x");
        for dir in [&mine, &dead, &foreign] {
            fs::create_dir(dir).unwrap();
        }
        sweep(dir.path());
        assert!(mine.exists() && foreign.exists() && !dead.exists());
    }

    #[test]
    fn without_a_place_for_them_nothing_is_made() {
        let none = Hierarchies::default();
        assert_eq!(none.controllers(), Controllers::default());
        let group = none.group(&Limits::default()).unwrap();
        assert!(group.doors().is_empty() && !group.ran_out_of_memory());
    }

    #[test]
    fn what_was_made_has_its_bounds_and_goes_with_the_process() {
        let all = Hierarchies::probe();
        let group = all.group(&Limits::default()).unwrap();
        let dirs = group.dirs.clone();
        assert_eq!(dirs.is_empty(), all.0.is_empty());
        let bounded = |file: &str| {
            let texts = dirs.iter().map(|dir| fs::read_to_string(dir.join(file)));
            texts.flatten().next().map(|text| text.trim().to_owned())
        };
        if all.controllers().pids {
            assert_eq!(bounded("pids.max").as_deref(), Some("1"));
        }
        drop(group);
        assert!(dirs.iter().all(|dir| !dir.exists()));
    }
}
