//! Apps: small signed programs, JSON in and JSON out, held by the kernel to what their owner agreed to.
//!
//! A [`Bundle`] is a directory that its publisher signed, a [`Catalogue`] an index of such, a [`Store`] what a home has
//! installed, and a [`Host`] runs them. A process that becomes an app lays the rules of the sandbox upon itself first:
//! whoever embeds a [`Host`] hands its own program over for that, and calls [`enter`] first thing when it is started with
//! [`WORD`].
//!
//! ```text
//! catalogue (file://) ──▶ Bundle ── consent ──▶ Store ── checked again ──▶ Host ── Worker ──▶ process
//!   signed index          signed                 HOME/apps/ID/VERSION        one a home  one an app   seccomp, Landlock, rlimits
//! ```
//!
//! `docs/apps.md` has the formats and what is enforced by what.

mod audit;
mod broker;
mod bundle;
mod call_error;
mod catalogue;
mod consent;
mod data_size;
mod ending;
mod executable;
mod failures;
mod grant;
mod groups;
mod hash;
mod help;
mod host;
mod id;
mod journal;
mod limits;
mod manifest;
mod mirror;
mod net_grant;
mod process;
mod program;
mod publishers;
mod python;
mod rpc;
mod sandbox;
mod schema;
mod secrets;
mod signed;
mod stage;
mod store;
mod target;
mod template;
#[cfg(test)]
mod testing;
mod worker;

pub use audit::{Audit, AuditEntry};
pub use broker::{Dialling, Duplex, Names, Overlay};
pub use bundle::{
    Bundle, BundleError, FilePath, MANIFEST, MAX_BYTES, ParseFilePathError, SIGNATURE,
    open as open_file,
};
pub use call_error::CallError;
pub use catalogue::{
    Catalogue, CatalogueError, CatalogueUrl, Entry, INDEX, MAX_INDEX, publish, yank,
};
pub use consent::{Agreed, Asked, Consent, ConsentError, Place};
pub use ending::Ending;
pub use executable::ExecutableError;
pub use grant::{Grant, ParseGrantError};
pub use groups::Controllers;
pub use hash::Sha256;
pub use host::{CallRequest, Caller, Host, TestSetting};
pub use id::{AppId, HELP, MethodName, ParseIdError, ParseMethodError};
pub use limits::Limits;
pub use manifest::{AdapterKind, Ask, Latency, Manifest, ManifestError, Method};
pub use mirror::{Arriving, Mirror, MirrorError};
pub use net_grant::{NetGrant, OverlayGrant};
pub use publishers::{Publisher, Publishers, PublishersError};
pub use rpc::{AppError, MAX_PARAMS};
pub use sandbox::{Kernel, Protection, WORD, enter};
pub use schema::Schema;
pub use secrets::{Secrets, SecretsError};
pub use signed::{SignError, SignedManifest, VerifyError, sign};
pub use stage::StageError;
pub use store::{Installed, Record, Store, StoreError};
pub use target::{ParseTargetError, Target};
pub use template::{NewApp, NewAppError, new_app, new_python_app};
pub use worker::Standing;

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
