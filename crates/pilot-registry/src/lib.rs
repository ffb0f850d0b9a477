//! The registry of a rendezvous: who is registered under which key, name and address, who may know it, and what waits for whom.
//!
//! No I/O, no clock, no keys: [`Service`] is the server's core and [`Client`] the agent's side; both take bytes that
//! somebody else carried and the time as an argument. Signatures are checked through [`Verify`], state is kept through [`Store`].
//!
//! ```text
//!   agent                                          rendezvous
//!   Client ── poll_request ──▶ stream, port 2 ──▶ Service::handle_request ── plan ▶ Store::apply ▶ Response
//!     ▲                                              │
//!     └──────────── handle_response ◀───────────────┘
//!   node  ◀── stream, port 2 ◀── poll_push ── Service        answered with PushAck
//! ```
//!
//! ```
//! use std::sync::Arc;
//! use pilot_registry::{Config, LogFacts, MemoryStore, Request, Response, Service, Verify};
//! use pilot_types::{AgentId, Seed, UnixTime};
//! use pilot_wire::{EnvelopeHead, SignedBytes};
//!
//! struct NoKeys;
//! impl Verify for NoKeys {
//!     fn log(&self, _: &[Vec<u8>]) -> Result<LogFacts, String> {
//!         Err("no log is good enough".to_owned())
//!     }
//!     fn follows(&self, _: &[Vec<u8>], _: &[Vec<u8>]) -> bool {
//!         false
//!     }
//!     fn signed(&self, _: &[Vec<u8>], _: &SignedBytes, _: UnixTime) -> Result<EnvelopeHead, String> {
//!         Err("no signature is good enough".to_owned())
//!     }
//! }
//!
//! let mut service = Service::new(Arc::new(Config::default()), MemoryStore::new(), NoKeys, Seed::new([1; 32]));
//! let (now, agent) = (UnixTime::from_secs(1_767_225_600), AgentId::new([7; 32]));
//! let observed = "192.0.2.1:4000".parse()?;
//! service.session_opened(now, agent, observed);
//!
//! // A request came on a stream and was read to its end; the answer goes back on the same stream.
//! let request = Request::decode(&Request::Observe.encode())?;
//! let answer = service.handle_request(now, agent, request);
//! assert_eq!(answer, Response::Observed(observed));
//! // Then pushes are drained, and the timer is armed again.
//! while let Some(push) = service.poll_push() {
//!     unreachable!("nothing waits for {}", push.to);
//! }
//! let wake = service.poll_timeout_unix();
//! # assert!(wake.is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod asked;
mod changes;
mod client;
mod config;
mod expiry;
pub mod fuzz;
mod grouping;
mod knocking;
pub mod limits;
mod mailbox;
mod memory;
mod message;
mod outbox;
mod presence;
mod quota;
mod registration;
mod rows;
mod search;
mod service;
mod stats;
mod store;
#[cfg(test)]
mod testing;
mod verify;
mod visibility;

pub use client::{Client, ClientConfig, ClientEvent, Permits, RequestError, RequestId};
pub use config::{Config, Quota, Rate};
pub use memory::MemoryStore;
pub use message::{
    Entry, HeldLetter, LookupTarget, Push, PushAck, RefusalCode, Request, Response, Sender,
};
pub use rows::{
    AgentRow, GrantRow, GroupRow, LetterAccount, LetterKey, LetterRow, LetterSum, LocatorRow,
    PushId, PushKey, PushKind, PushRow, RecordRow, Totals,
};
pub use search::SearchQuery;
pub use service::{OutgoingPush, Service};
pub use stats::{RequestKind, Stats};
pub use store::{Batch, Store, StoreError, Write};
pub use verify::{GroupFacts, GroupMember, GroupPart, LogFacts, Verify};
