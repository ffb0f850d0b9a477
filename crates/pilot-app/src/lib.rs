//! Write an app for Pilot's app store: typed functions, JSON in and JSON out.
//!
//! An app reads requests from its standard input, which is a socket to its daemon, and writes answers to it: JSON-RPC 2.0, a
//! message a line. Standard output and standard error are its log. It is one process, of one thread unless its manifest asks
//! for more, and calls come one after the other.
//!
//! ```no_run
//! #[derive(serde::Deserialize)]
//! struct Greet {
//!     name: String,
//! }
//!
//! fn main() -> std::io::Result<()> {
//!     pilot_app::App::new()
//!         .method("greet", |greet: Greet| Ok(format!("Hello, {}!", greet.name)))
//!         .serve()
//! }
//! ```
//!
//! With the feature `net`, an app with grants for it connects by its daemon: [`connect`] and [`connect_peer`], in an app that serves by
//! [`App::serve_connected`].

mod app;
#[cfg(feature = "net")]
mod net;

pub use app::{App, Error};
#[cfg(feature = "net")]
pub use net::{Connection, connect, connect_peer};

/// The code of this crate as one module, for an app that is to depend on nothing but serde.
pub const SOURCE: &str = include_str!("app.rs");

/// The same for apps in Python: one file, `pilot_app.py`, that depends on the standard library alone.
pub const PYTHON_SOURCE: &str = include_str!("../python/pilot_app.py");

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
