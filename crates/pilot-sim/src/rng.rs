//! The one source of randomness of a simulation, and probabilities that it draws against.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A probability, held as a count of 2^32 so that a draw is an integer comparison and the same everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Probability(u64);

impl Probability {
    /// Impossible.
    pub const NEVER: Self = Self(0);
    /// Certain.
    pub const ALWAYS: Self = Self(1 << 32);

    /// From a percentage, 0–100.
    ///
    /// # Panics
    /// If `percent` is outside of that range.
    #[must_use]
    pub const fn percent(percent: f64) -> Self {
        assert!(percent >= 0.0 && percent <= 100.0, "percent from 0 to 100");
        Self((percent / 100.0 * Self::ALWAYS.0 as f64) as u64)
    }

    /// As a fraction, 0–1.
    #[must_use]
    pub const fn as_fraction(self) -> f64 {
        self.0 as f64 / Self::ALWAYS.0 as f64
    }
}

/// A seeded generator: the same seed gives the same simulation on every machine.
#[derive(Clone, Debug)]
pub struct SimRng(ChaCha8Rng);

impl SimRng {
    /// A generator that `seed` determines.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Draws whether something of this probability happens. Nothing is drawn for [`Probability::NEVER`], so that an
    /// effect that is switched off does not change the others.
    pub fn chance(&mut self, probability: Probability) -> bool {
        probability != Probability::NEVER && u64::from(self.0.next_u32()) < probability.0
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias of a modulus, at most bound / 2^64, is far below what a simulation can show.
        if bound == 0 {
            0
        } else {
            self.0.next_u64() % bound
        }
    }

    /// A duration from zero to `limit`, both included, in whole nanoseconds.
    pub fn duration_up_to(&mut self, limit: Duration) -> Duration {
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX - 1);
        if nanos == 0 {
            Duration::ZERO
        } else {
            Duration::from_nanos(self.below(nanos + 1))
        }
    }

    /// Thirty-two bytes, to seed a machine.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_probability() {
        let mut rng = SimRng::new(1);
        let hits = (0..100_000)
            .filter(|_| rng.chance(Probability::percent(30.0)))
            .count();
        assert!((29_500..30_500).contains(&hits), "{hits} of 100,000");
        assert!((0..1000).all(|_| rng.chance(Probability::ALWAYS)));
        assert!(!(0..1000).any(|_| rng.chance(Probability::NEVER)));
    }

    #[test]
    fn a_seed_determines_everything() {
        let (mut a, mut b, mut c) = (SimRng::new(7), SimRng::new(7), SimRng::new(8));
        let draw = |rng: &mut SimRng| (rng.below(1 << 40), rng.seed());
        assert_eq!(draw(&mut a), draw(&mut b));
        assert_ne!(draw(&mut a), draw(&mut c));
    }

    #[test]
    #[should_panic(expected = "percent from 0 to 100")]
    fn more_than_certain_is_refused() {
        let _ = Probability::percent(100.1);
    }
}
