//! Messages that are older than the owner wants to keep.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pilot_types::UnixTime;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::{StoredInbox, now};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How often it is looked, for the first time so long after the start.
const LOOK: Duration = Duration::from_secs(3600);
/// Messages of one transaction: what comes meanwhile waits for no more.
const CHUNK: usize = 1000;
/// How far wall time may run from ours before nothing is removed by it.
const DRIFT: Duration = Duration::from_secs(3600);

/// Removes what came more than so many days ago, once an hour, for ever.
pub(crate) async fn keep_for(inbox: Arc<StoredInbox>, days: u32) {
    let clocks = (now(), Instant::now());
    loop {
        sleep(LOOK).await;
        let Some(end) = end(now(), clocks, days) else {
            tracing::warn!(
                "the clock was set: no old messages are removed until the daemon starts again"
            );
            return;
        };
        let inbox = Arc::clone(&inbox);
        match spawn_blocking(move || inbox.remove_before(end)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(count)) => tracing::info!(count, days, "old messages were removed"),
            Ok(Err(error)) => tracing::error!(%error, "old messages could not be removed"),
            Err(error) => tracing::error!(%error, "old messages could not be removed"),
        }
    }
}

/// Before when messages are old. A clock that was set since the start tells no ages: nothing is deleted by its word.
fn end(now: UnixTime, (wall, started): (UnixTime, Instant), days: u32) -> Option<UnixTime> {
    let expected = wall.plus(started.elapsed()).as_millis();
    let drift = Duration::from_millis(now.as_millis().abs_diff(expected));
    let age = DAY.saturating_mul(days);
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    (drift <= DRIFT).then(|| UnixTime::from_millis(now.as_millis().saturating_sub(age)))
}

impl StoredInbox {
    /// Removes what came before `end`, and says how many that were.
    fn remove_before(&self, end: UnixTime) -> Result<usize, pilot_store::DbError> {
        let mut count = 0;
        loop {
            let removed = {
                let _changing = self.changing();
                self.store.remove_before(end, CHUNK)?
            };
            count += removed;
            if removed < CHUNK {
                return Ok(count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_deletes_nothing() {
        let (wall, started) = (UnixTime::from_secs(1_800_000_000), Instant::now());
        let day = |number: u64| UnixTime::from_secs(1_800_000_000 + number * 24 * 3600);
        assert_eq!(
            end(wall, (wall, started), 1),
            Some(UnixTime::from_secs(1_800_000_000 - 24 * 3600))
        );
        assert_eq!(end(day(400), (wall, started), 1), None);
        assert_eq!(end(UnixTime::from_secs(5), (wall, started), 1), None);
        let early = UnixTime::from_secs(5);
        assert_eq!(
            end(early, (early, started), 9),
            Some(UnixTime::from_secs(0))
        );
    }
}
