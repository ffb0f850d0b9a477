//! The Pilot daemon as a library: [`run`] is one agent until the process is told to end.
//!
//! ```text
//! pilotctl ── pilot.sock ──▶ Server ──▶ Daemon ──▶ pilot::Node ── UDP ──▶ other agents, rendezvous
//!                                         ├──▶ Services: echo 7, streams to user ports (1000 …), messages 1001 ──▶ inbox
//!                                         └──▶ pilot-tcp: TCP ports to and from ports of agents
//! Keeper ──▶ the embedded rendezvous, where none is configured
//! ```
//!
//! ```no_run
//! use pilot_daemon::{Config, run};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config { rendezvous: vec!["rendezvous.example:9000".into()], ..Config::new("/var/lib/worker".into()) };
//! run(config, |ready| println!("{}", ready.agent.address)).await?;
//! # Ok(()) }
//! ```

mod app_streams;
mod apps;
mod capabilities;
mod catalogues;
mod config;
mod daemon;
mod datagrams;
mod embedded;
mod error;
mod files;
mod filter;
mod group_brokers;
mod inbox;
mod json_lines;
mod limits;
mod log;
mod mail;
mod metrics;
mod named;
mod notices;
mod peer_apps;
mod peer_stream;
mod routing;
mod run;
mod services;
mod tcp_streams;
mod web;
mod webhook;

pub use config::Config;
pub use error::RunError;
pub use files::FilePolicy;
pub use log::LogFormat;
pub use pilot_store::RelayFor;
pub use run::{Ready, run};
pub use webhook::WebhookSettings;
