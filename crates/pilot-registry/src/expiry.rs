//! What ends by time: records first, and after the retention the rest of an agent.

use pilot_types::UnixTime;

use crate::changes::Changes;
use crate::config::Config;
use crate::rows::AgentRow;
use crate::store::{Store, StoreError};

/// One round of expiry.
pub(crate) struct Round {
    pub(crate) changes: Changes,
    /// Records that ended.
    pub(crate) retired: u64,
    /// Rows that were removed.
    pub(crate) dropped: u64,
    /// When the next round has work: at once if this one had its fill.
    pub(crate) next: Option<UnixTime>,
}

/// Plans a round of at most `expiry_batch` agents.
pub(crate) fn round<S: Store>(
    store: &S,
    now: UnixTime,
    config: &Config,
) -> Result<Round, StoreError> {
    // One more than the batch: the first that is left says when to come again.
    let due = store.due(config.expiry_batch + 1)?;
    let mut round = Round {
        changes: Changes::new(store.totals()),
        retired: 0,
        dropped: 0,
        next: None,
    };
    for (index, (at, agent)) in due.into_iter().enumerate() {
        if at > now || index == config.expiry_batch {
            round.wake(at);
            break;
        }
        match store.agent(&agent)? {
            Some(row) if row.due == at => round.end(&row, config),
            Some(_) | None => round.changes.forget_due(at, agent),
        }
    }
    Ok(round)
}

impl Round {
    fn wake(&mut self, at: UnixTime) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    fn end(&mut self, row: &AgentRow, config: &Config) {
        if row.record.is_some() {
            let due = row.due.plus(config.retention);
            self.changes.retire(row, due);
            self.retired += 1;
            self.wake(due);
        } else {
            self.changes.drop_agent(row);
            self.dropped += 1;
        }
    }
}
