//! Apps from the command line down to the kernel, and what they cannot do.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail their test")]

mod adapted;
mod bench;
mod catalogues;
mod commands;
mod connections;
mod escapes;
mod filter;
mod peers;
mod python;
mod supervision;
