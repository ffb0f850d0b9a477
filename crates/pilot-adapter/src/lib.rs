//! HTTP APIs as apps, without code.
//!
//! ```text
//! OpenAPI document ── from_openapi ──▶ manifest.toml, api.json        once, by the publisher
//! call ── Adapter ── request, credential ──▶ broker ── API            each time, in the app's sandbox
//!      ◀── status, body without credentials ──
//! ```
//!
//! The document is a stranger's: it is bounded, its references are followed within itself alone, and what it says goes into a
//! request only in the form that HTTP has for it.

mod adapter;
mod description;
mod openapi;
mod request;

pub use adapter::{Adapter, pack, serve};
pub use description::{
    Body, Credential, Description, DescriptionError, MAX_DESCRIPTION, Method, Operation, Param,
    Place,
};
pub use openapi::{AdaptError, Adapted, Options, from_openapi};
