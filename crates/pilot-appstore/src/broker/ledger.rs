//! Connections of an app in the audit log: each of them, until there are so many that they would push out everything else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use semver::Version;

use super::error::ConnectError;
use super::network::Network;
use crate::audit::{Audit, AuditEntry};
use crate::id::AppId;
use crate::store::Installed;

/// Connections of an app that have entries of their own in a minute; those beyond are counted in one. The audit log holds some 30,000
/// entries: an app that does nothing else needs hours to push others' out.
const ENTRIES_A_MINUTE: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);
/// How long a refusal beyond them waits.
const REFUSAL_WAIT: Duration = Duration::from_millis(100);

pub(super) struct Ledger {
    audit: Arc<Audit>,
    app: AppId,
    version: Version,
    minute: Instant,
    entries: u32,
    more: u64,
    more_refused: u64,
}

impl Ledger {
    pub(super) fn new(app: &Installed, network: &Network) -> Self {
        let manifest = app.bundle.manifest();
        Self {
            audit: Arc::clone(&network.audit),
            app: manifest.id.clone(),
            version: manifest.version.clone(),
            minute: Instant::now(),
            entries: 0,
            more: 0,
            more_refused: 0,
        }
    }

    /// What came of a request, and where the connection leads. Gives how long the answer to a refused one waits.
    pub(super) fn record(
        &mut self,
        target: &str,
        came_of_it: Result<&str, &ConnectError>,
        took: Duration,
    ) -> Duration {
        if self.minute.elapsed() >= MINUTE {
            self.sum_up();
        }
        if self.entries >= ENTRIES_A_MINUTE {
            self.more += 1;
            self.more_refused += u64::from(came_of_it.is_err());
            return REFUSAL_WAIT;
        }
        self.entries += 1;
        let (outcome, reason) = match came_of_it {
            Ok(to) => ("ok", format!("connected to {to}")),
            Err(error) => (error.name(), error.to_string()),
        };
        self.add(Some(target), outcome, reason, Some(took));
        Duration::ZERO
    }

    fn sum_up(&mut self) {
        if self.more > 0 {
            let words = format!(
                "{} more connections, {} of them refused",
                self.more, self.more_refused
            );
            self.add(None, "more", words, None);
        }
        (self.minute, self.entries) = (Instant::now(), 0);
        (self.more, self.more_refused) = (0, 0);
    }

    fn add(&self, target: Option<&str>, outcome: &str, reason: String, took: Option<Duration>) {
        self.audit.add(&AuditEntry {
            version: Some(self.version.clone()),
            caller: "app".to_owned(),
            target: target.map(ToOwned::to_owned),
            reason: Some(reason),
            duration_ms: took.and_then(|took| u64::try_from(took.as_millis()).ok()),
            ..AuditEntry::new(&self.app, "connect", outcome)
        });
    }
}

/// What was only counted is told at the end.
impl Drop for Ledger {
    fn drop(&mut self) {
        self.sum_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_connections_is_one_entry_more() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Arc::new(Audit::new(dir.path()));
        let mut ledger = Ledger {
            audit: Arc::clone(&audit),
            app: "org.example.flood".parse().unwrap(),
            version: Version::new(1, 0, 0),
            minute: Instant::now(),
            entries: 0,
            more: 0,
            more_refused: 0,
        };
        for _ in 0..500 {
            ledger.record("net:a:1", Err(&ConnectError::TooMany(8)), Duration::ZERO);
            ledger.record("net:a:1", Ok("192.0.2.1:1"), Duration::ZERO);
        }
        drop(ledger);
        let entries = audit.last(None, 10_000).unwrap();
        assert_eq!(entries.len(), 61);
        let last = entries.last().unwrap();
        assert_eq!(last.outcome, "more");
        let words = last.reason.as_deref().unwrap();
        assert_eq!(words, "940 more connections, 470 of them refused");
        assert_eq!(entries[0].target.as_deref(), Some("net:a:1"));
    }
}
