//! This machine's side: namespaces by `ip`, names that do not meet another laboratory's, and what a killed test left.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::process::run;

/// How names of our namespaces begin; the process that made them follows, then a number and its letter `x`.
const PREFIX: &str = "plt";

/// A network namespace; what runs in it ends with it.
pub(super) struct Namespace {
    pub(super) name: String,
}

impl Namespace {
    pub(super) fn new(name: &str) -> Self {
        ip(&format!("netns add {name}"));
        let namespace = Self { name: name.into() };
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `ip` in the namespace.
    pub(super) fn ip(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.name));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

pub(super) fn ip(arguments: &str) {
    run(Command::new("ip").args(arguments.split_whitespace()));
}

/// A name for a laboratory of this process.
pub(super) fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}x{number}", std::process::id())
}

/// Ends what runs in a namespace and removes it. Failures are not reported: it runs while a test panics, too.
fn remove(namespace: &str) {
    let pids = Command::new("ip")
        .args(["netns", "pids", namespace])
        .output();
    let pids = pids.map(|output| output.stdout).unwrap_or_default();
    let pids = String::from_utf8_lossy(&pids);
    if pids.split_whitespace().next().is_some() {
        let mut kill = Command::new("kill");
        let _ = kill.arg("-KILL").args(pids.split_whitespace()).output();
    }
    let _ = Command::new("ip")
        .args(["netns", "del", namespace])
        .output();
}

/// Removes the namespaces of laboratories whose process is gone.
pub(super) fn remove_leftovers() {
    let Ok(entries) = fs::read_dir("/run/netns") else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if maker(&name).is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&name);
        }
    }
}

/// The process that made a namespace of ours.
fn maker(name: &str) -> Option<&str> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('x')?;
    let is_number = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_laboratories_are_taken_for_leftovers() {
        assert_eq!(maker("plt123x0alice"), Some("123"));
        assert_eq!(
            maker(&unique_name()),
            Some(&*std::process::id().to_string())
        );
        for other in ["plt123", "pltx0", "plt12ax0", "alice", "xplt1x"] {
            assert_eq!(maker(other), None, "{other}");
        }
    }
}
