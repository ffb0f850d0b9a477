//! Daemons and a rendezvous in one process, on loopback and in temporary homes, driven through the local API.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod directory;
mod events;
mod files;
mod files_hostile;
mod files_resumed;
mod harness;
mod manual;
mod messages;
mod metrics;
mod notices;
mod paths;
mod refusals;
mod restarts;
mod streams;
mod tcp;
mod traffic;
mod trust;
