//! Identity logs, signed statements, grants and the machine that knocks, approves and revokes.
//!
//! No I/O: time and randomness are arguments, and what must be kept is handed out for the shell to write.
//!
//! ```text
//!              knock ──▶ KnockOutcome::Send ─ ─ ─ ─ ─ ─ ─ ─ ─ ▶ handle_knock ──▶ pending
//!                                                                                  │ approve (or policy, or a
//!   Trusted ◀── handle_grant ◀ ─ ─ ─ ─ ─ ─ GrantIssued ◀───────────────────────────┘  knock of ours that crosses)
//!      │ its own grant back
//!      └──▶ GrantIssued ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ▶ handle_grant ──▶ Trusted
//!
//!   untrust ──▶ GrantIssued (empty scope, higher serial) ─ ─ ─ ▶ handle_grant ──▶ Untrusted
//! ```
//!
//! The shell calls something, writes what [`Trust::poll_persist`] gives, and only then acts on [`Trust::poll_event`]:
//!
//! ```
//! use std::sync::Arc;
//! use pilot_trust::{Config, Identity, KnockOutcome, Policy, Terms, Trust, TrustEvent};
//! use pilot_types::{Port, Seed, UnixTime};
//! use pilot_wire::{KnockTarget, Scope};
//!
//! let now = UnixTime::from_secs(1_800_000_000);
//! let (alice, bob) = (Identity::generate(Seed::new([1; 32]), 0), Identity::generate(Seed::new([2; 32]), 0));
//! let mut at_alice = Trust::new(Arc::new(Config::default()), alice.agent());
//! let mut at_bob = Trust::new(Arc::new(Config::default()), bob.agent());
//!
//! let target = KnockTarget::Node(bob.agent().node());
//! let KnockOutcome::Send(knock) = at_alice.knock(now, &alice, target, "to plan", None)? else { panic!() };
//! at_bob.handle_knock(now, &bob, &knock, alice.verified(), Policy::Ask)?;
//! at_bob.approve(now, &bob, &alice.agent(), at_bob.default_terms(now))?;
//!
//! while let Some(change) = at_bob.poll_persist() { drop(change) } // the shell writes it
//! while let Some(event) = at_bob.poll_event() {
//!     if let TrustEvent::GrantIssued { raw, .. } = event {
//!         at_alice.handle_grant(now, &alice, &raw, bob.verified(), None)?;
//!     }
//! }
//! assert!(at_alice.is_mutual(now, &bob.agent()));
//! assert!(at_bob.admits(now, &alice.agent(), Port::ECHO));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod deadlines;
mod document;
mod event;
pub mod fuzz;
mod grant;
mod group;
mod hash;
mod hpke;
mod identity;
mod identity_file;
mod item;
mod keys;
mod knock;
mod knocked;
mod letters;
mod log;
mod machine;
mod peer;
mod permit;
mod prekeys;
#[cfg(test)]
mod properties;
mod recovery;
#[cfg(test)]
mod scenarios;
mod statement;
#[cfg(test)]
mod testing;
mod ticket;
mod view;
mod work;

pub use config::Config;
pub use document::{DocumentError, DocumentKey, DocumentSecret, ParseDocumentKeyError};
pub use event::TrustEvent;
pub use grant::{ApproveError, GrantReceived, GrantRefused, RejectError, UntrustError};
pub use group::{
    Group, GroupError, GroupSet, GroupTerms, GroupToken, Groups, HeldInvitation, Merged, Origin,
};
pub use identity::{Identity, KeyChangeError};
pub use identity_file::IdentityFileError;
pub use item::{TrustChange, TrustItem};
pub use keys::{KeyError, fingerprint};
pub use knock::{KnockError, KnockOutcome, KnockRequest};
pub use knocked::{KnockReceived, KnockRefused, Policy};
pub use letters::{Draft, OpenError, OpenedLetter, SealError, open_letter, seal_letter};
pub use log::{Anchor, IdentityLog, LogError, VerifiedLog, recovery_commitment};
pub use machine::{PinError, Terms, Trust};
pub use peer::LearntBy;
pub use permit::Permit;
pub use prekeys::{PrekeySecret, Prekeys};
pub use recovery::{RecoveryFileError, RecoveryKey};
pub use statement::{EnvelopeError, MAX_CLOCK_SKEW, Verified};
pub use ticket::{ParseTicketError, Ticket, TicketError, TicketTerms};
pub use view::{PendingKnock, TrustedPeer};

/// The example of the README runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
