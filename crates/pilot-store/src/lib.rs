//! What outlives a process: identity, configuration, state and inbox of an agent, and the registry of a rendezvous.
//!
//! Calls block on the disk, so an event loop makes them from a blocking task. Whatever returns `Ok` survives `kill -9`
//! and power loss. A damaged file is named, left as it is, and never replaced by an empty one.
//!
//! ```text
//! HOME/                0700
//!   lock               held by the daemon that runs on the home
//!   identity.json      0600, written once
//!   config.json        what the owner wants
//!   state.redb         trust, pins, counters, last sessions, what is known of peers
//!   inbox.redb         messages
//!   received/          files that agents sent; received.jsonl lists them
//!   apps/, apps-data/  what `pilot-appstore` installs and what apps keep
//! registry.redb        a rendezvous' registry
//! ```
//!
//! ```
//! use pilot_store::{FileConfig, Home};
//!
//! let dir = tempfile::tempdir()?;
//! let home = Home::open(dir.path().join("agent"))?;
//! let _lock = home.lock()?;
//! assert!(home.load_identity()?.is_none(), "a new home has none");
//!
//! let config = FileConfig { public: true, ..home.load_config()? };
//! home.save_config(&config)?;
//! assert_eq!(home.load_config()?, config);
//!
//! let state = home.open_state()?;
//! assert_eq!(state.next_boot()?, 1);
//! assert_eq!(state.next_boot()?, 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod atomic;
mod config_file;
mod db;
mod error;
mod home;
mod identity_file;
mod inbox;
#[cfg(test)]
mod power_loss;
mod received;
mod registry_db;
mod state_db;

pub use atomic::replace as replace_file;
pub use config_file::{ConfigError, FileConfig, FilesFrom, RelayFor};
pub use error::{DbError, OpenDbError};
pub use home::{Home, HomeError, HomeLock};
pub use identity_file::IdentityError;
pub use inbox::{Finding, Inbox, InboxHead, InboxMessage, Mailed, NoRoom, Put, PutError};
pub use received::{IncomingFile, ReceivedError, ReceivedFile, ReceivedFiles, Transfer};
pub use registry_db::RegistryDb;
pub use state_db::{LastSession, RendezvousPin, StateDb};
