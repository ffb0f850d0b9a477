//! How many messages a minute a sender may bring.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pilot_types::AgentId;

/// Messages a minute where a grant names no rate: 10,000 a second, what an inbox writes. How much of the inbox one sender fills is bounded by
/// its share.
const DEFAULT_PER_MINUTE: u32 = 600_000;
/// Senders that are told apart, the least recently seen forgotten first. Only trusted agents reach the port; an entry is
/// under 64 bytes, so that all of them are under 256 KiB.
const MAX_SENDERS: usize = 4096;
const MINUTE: Duration = Duration::from_secs(60);

/// A token bucket a sender: a minute's worth at once, refilled evenly.
#[derive(Debug, Default)]
pub(crate) struct SenderRate {
    buckets: BTreeMap<AgentId, Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Sixtieths of a thousandth of a message: what a rate of one a minute refills in a millisecond.
    level: u64,
    at: Instant,
}

const MESSAGE: u64 = 60_000;

impl SenderRate {
    /// Takes one message off the sender's account; `false` if there is none left.
    pub(crate) fn take(&mut self, now: Instant, sender: AgentId, per_minute: u32) -> bool {
        let rate = u64::from(if per_minute == 0 {
            DEFAULT_PER_MINUTE
        } else {
            per_minute
        });
        if !self.buckets.contains_key(&sender) && self.buckets.len() >= MAX_SENDERS {
            self.forget_oldest();
        }
        let full = rate * MESSAGE;
        let bucket = self.buckets.entry(sender).or_insert(Bucket {
            level: full,
            at: now,
        });
        let elapsed = now.saturating_duration_since(bucket.at).min(MINUTE);
        let refill = rate * u64::try_from(elapsed.as_millis()).unwrap_or(MESSAGE);
        bucket.level = bucket.level.saturating_add(refill).min(full);
        bucket.at = now;
        let is_allowed = bucket.level >= MESSAGE;
        if is_allowed {
            bucket.level -= MESSAGE;
        }
        is_allowed
    }

    fn forget_oldest(&mut self) {
        let oldest = self.buckets.iter().min_by_key(|(_, bucket)| bucket.at);
        if let Some(sender) = oldest.map(|(sender, _)| *sender) {
            self.buckets.remove(&sender);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(number: u16) -> AgentId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        AgentId::new(bytes)
    }

    #[test]
    fn a_minutes_worth_at_once_then_one_by_one() {
        let (mut rate, now) = (SenderRate::default(), Instant::now());
        assert_eq!((0..10).filter(|_| rate.take(now, sender(1), 6)).count(), 6);
        assert!(!rate.take(now + Duration::from_secs(9), sender(1), 6));
        assert!(rate.take(now + Duration::from_secs(10), sender(1), 6));
        assert!(!rate.take(now + Duration::from_secs(10), sender(1), 6));
        let later = now + Duration::from_secs(3600);
        assert_eq!(
            (0..10).filter(|_| rate.take(later, sender(1), 6)).count(),
            6
        );
    }

    #[test]
    fn senders_do_not_share_and_are_bounded() {
        let (mut rate, now) = (SenderRate::default(), Instant::now());
        assert!(rate.take(now, sender(0), 1));
        assert!(!rate.take(now, sender(0), 1));
        for number in 1..=u16::try_from(MAX_SENDERS).unwrap() {
            assert!(rate.take(now + Duration::from_millis(1), sender(number), 1));
        }
        assert_eq!(rate.buckets.len(), MAX_SENDERS);
    }
}
