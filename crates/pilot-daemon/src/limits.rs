//! Descriptors of the process.

use std::sync::Once;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Lets the process have as many descriptors as it may: TCP ports need one a connection, and the usual bound of 1,024 is there
/// for programs with `select`, of which this is none.
pub(crate) fn allow_descriptors() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!(%error, "the bound of descriptors stays");
        }
    });
}
