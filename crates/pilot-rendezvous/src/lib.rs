//! The Pilot rendezvous as a library: [`run`] serves until the process is told to end.
//!
//! ```text
//! agents ── UDP ──▶ pilot::Rendezvous (registry, names, knocks, searches, STUN), and the agent list-agents
//! people, monitoring ── HTTP ──▶ status page, /metrics, /healthz, /plain
//! daemons of this machine ── files ──▶ embedded: lock, rendezvous.json
//! ```
//!
//! ```no_run
//! use pilot_rendezvous::{Config, run};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::new("/var/lib/pilot-rendezvous".into());
//! run(config, |ready| println!("{}", ready.url)).await?;
//! # Ok(()) }
//! ```

mod config;
mod directory;
pub mod embedded;
pub mod error;
mod idle;
mod metrics;
mod plain;
mod run;
mod snapshot;
mod status;

pub use config::{Config, Ready};
pub use directory::serve_directory;
pub use error::RunError;
pub use run::{run, url};
