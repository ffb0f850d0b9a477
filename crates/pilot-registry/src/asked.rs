//! One request in its surroundings, and what becomes of it.

use std::time::Duration;

use pilot_types::{AgentId, UnixTime};
use pilot_wire::{EnvelopeHead, SignedBytes, Statement};

use crate::changes::Changes;
use crate::config::Config;
use crate::limits::MAX_REFUSAL;
use crate::message::{RefusalCode, Response};
use crate::rows::{AgentRow, PushId, PushKey};
use crate::store::{Store, StoreError};
use crate::verify::Verify;

/// How far a signer's clock may be ahead of ours: as far as agents allow each other, so that a clock in the wrong time
/// zone, ours or theirs, keeps nobody out.
pub(crate) const MAX_CLOCK_AHEAD: Duration = Duration::from_secs(24 * 3600);

/// Who asks, when, and what there is to answer from. Planning reads; only the service writes.
pub(crate) struct Asked<'a, S, V> {
    pub(crate) store: &'a S,
    pub(crate) verify: &'a V,
    pub(crate) config: &'a Config,
    pub(crate) now: UnixTime,
    pub(crate) from: AgentId,
}

/// What to write and, once it is durable, to answer and to bring to others.
pub(crate) struct Outcome {
    pub(crate) response: Response,
    pub(crate) changes: Changes,
    pub(crate) pushes: Vec<(PushKey, PushId)>,
}

/// Why nothing was done.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: RefusalCode,
    pub(crate) message: String,
    pub(crate) retry_after: Duration,
}

impl Refusal {
    pub(crate) fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: Duration::ZERO,
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(RefusalCode::Invalid, message)
    }

    pub(crate) fn stale(message: &str) -> Self {
        Self::new(RefusalCode::Stale, message)
    }

    pub(crate) fn rate_limited(message: &str, retry_after: Duration) -> Self {
        Self {
            code: RefusalCode::RateLimited,
            message: message.to_owned(),
            retry_after,
        }
    }

    pub(crate) fn into_response(mut self) -> Response {
        let end = self.message.floor_char_boundary(MAX_REFUSAL);
        self.message.truncate(end);
        let millis = u64::try_from(self.retry_after.as_millis()).unwrap_or(u64::MAX);
        Response::Refused {
            code: self.code,
            message: self.message,
            retry_after_ms: millis,
        }
    }
}

impl From<StoreError> for Refusal {
    /// The operator's log has the words; the agent learns only when to try again.
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the registry's store failed");
        Self {
            code: RefusalCode::Unavailable,
            message: "the rendezvous cannot store or read at present".to_owned(),
            retry_after: Duration::from_secs(5),
        }
    }
}

impl<S: Store, V: Verify> Asked<'_, S, V> {
    /// A plan that changes nothing.
    pub(crate) fn unchanged(&self, response: Response) -> Outcome {
        Outcome {
            response,
            changes: self.changes(),
            pushes: vec![],
        }
    }

    pub(crate) fn changes(&self) -> Changes {
        Changes::new(self.store.totals())
    }

    /// The asker's own row.
    pub(crate) fn own_row(&self) -> Result<AgentRow, Refusal> {
        let row = self.store.agent(&self.from)?;
        row.ok_or_else(|| Refusal::new(RefusalCode::NotRegistered, "register first"))
    }

    /// A statement by the asker, its signature and times checked.
    pub(crate) fn statement<T: Statement>(
        &self,
        log: &[Vec<u8>],
        raw: &SignedBytes,
    ) -> Result<(EnvelopeHead, T), Refusal> {
        let head = self
            .verify
            .signed(log, raw, self.now)
            .map_err(Refusal::invalid)?;
        if head.agent != self.from {
            return Err(Refusal::invalid("signed by another agent than the asker"));
        }
        if head.not_after <= self.now {
            return Err(Refusal::invalid("not_after has passed"));
        }
        if head.issued > self.now.plus(MAX_CLOCK_AHEAD) {
            return Err(Refusal::invalid("issued in the future: check the clock"));
        }
        let statement = raw.envelope().and_then(|envelope| envelope.statement());
        let statement = statement.map_err(|error| Refusal::invalid(error.to_string()))?;
        Ok((head, statement))
    }
}

/// Refuses a statement that is to be valid for longer than its type allows.
pub(crate) fn check_lifetime(head: &EnvelopeHead, max: Duration) -> Result<(), Refusal> {
    if head.not_after <= head.issued.plus(max) {
        Ok(())
    } else {
        let days = max.as_secs() / (24 * 3600);
        Err(Refusal::invalid(format!(
            "valid for longer than {days} days"
        )))
    }
}
