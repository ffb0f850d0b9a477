//! Apps that other agents may call: what each was allowed, and the service on port 1003.
//!
//! Which apps a peer may call is its grantor's own affair: it is kept here, in `HOME/apps-peers.json`, and not in the signed grant,
//! which the peer and the rendezvous read too. It holds for the very grant that it was given with.

mod service;
mod shown;
mod terms;
mod words;

pub(crate) use self::service::AppService;
pub(crate) use self::terms::{AppTerms, PeerApps, PeerAppsError};
pub(crate) use self::words::unanswered;
