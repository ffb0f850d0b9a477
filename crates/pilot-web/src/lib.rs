//! Pages for apps: fetched by the daemon's broker, and turned into Markdown. Nothing of a page is run.
//!
//! ```text
//! URL ── Client ── fetch ──▶ Fetched ── decode ──▶ text ── from_html ──▶ Document
//!        broker, TLS   redirects            charset                       Markdown, title, links
//! ```
//!
//! An app's own process holds to what it was granted; everything here is bounded by what the caller says: time, bytes, depth. HTML is behind the feature `html`; HTTP alone is `Client` and `exchange`.

#[cfg(feature = "html")]
mod charset;
#[cfg(feature = "html")]
mod document;
mod fetch;
mod http;
mod stream;

#[cfg(feature = "html")]
pub use charset::decode;
#[cfg(feature = "html")]
pub use document::{Document, Link, PARSING, Wanted, from_html, from_text};
pub use fetch::{FetchError, Fetched, Limits, fetch};
pub use http::{HttpError, Response, exchange};
pub use stream::{Client, Dial, Stream};
