//! The one place that reads the clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use pilot_node::Now;
use pilot_types::{Seed, UnixTime};
use ring::rand::{SecureRandom, SystemRandom};

/// Both clocks, now.
pub(crate) fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix: unix(),
    }
}

/// Wall time; the epoch if the clock stands before it.
pub(crate) fn unix() -> UnixTime {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixTime::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Thirty-two bytes of the operating system's randomness.
pub(crate) fn seed() -> Seed {
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the operating system gives randomness");
    Seed::new(bytes)
}
