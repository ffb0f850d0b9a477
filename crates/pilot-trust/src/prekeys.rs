//! The keys that letters to us are sealed to: a new one every week, the secret half of each destroyed when nothing that was sealed to it
//! may be delivered any more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pilot_types::{Seed, UnixTime};
use pilot_wire::Prekey;
use pilot_wire::limits::LETTER_LIFETIME;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use zeroize::Zeroizing;

use crate::hpke;
use crate::statement::MAX_CLOCK_SKEW;

/// How long a prekey is the one in our record.
const TERM: Duration = Duration::from_secs(7 * 24 * 3600);
/// Prekeys at a time: thirty days of weekly ones are five, and a day of clocks that differ; the rest is for clocks that jump.
const MAX_PREKEYS: usize = 16;
/// A prekey is destroyed when its time has been over for so long without a break: a clock that was wrong for minutes destroys nothing.
const GRACE: Duration = Duration::from_secs(3600);

/// A prekey with its secret half. Never printed, wiped when dropped.
#[derive(Clone)]
pub struct PrekeySecret {
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
    made: UnixTime,
}

impl std::fmt::Debug for PrekeySecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrekeySecret")
            .field("made", &self.made)
            .finish_non_exhaustive()
    }
}

impl PrekeySecret {
    /// Bytes of [`Self::to_bytes`].
    pub const LEN: usize = 40;

    /// A fresh one.
    #[must_use]
    pub fn generate(seed: &Seed, now: UnixTime) -> Self {
        let mut rng = ChaCha20Rng::from_seed(*seed.expose());
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        Self::new(hpke::secret_from(&mut bytes), now)
    }

    fn new(secret: Zeroizing<[u8; 32]>, made: UnixTime) -> Self {
        let public = hpke::public(&secret);
        Self {
            secret,
            public,
            made,
        }
    }

    /// When it was made, in milliseconds and big-endian, and the secret half: for the disk.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::LEN]> {
        let mut bytes = Zeroizing::new([0; Self::LEN]);
        bytes[..8].copy_from_slice(&self.made.as_millis().to_be_bytes());
        bytes[8..].copy_from_slice(&*self.secret);
        bytes
    }

    /// From [`Self::to_bytes`]; `None` if it has another length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (made, secret) = bytes.split_first_chunk::<8>()?;
        let mut secret: [u8; 32] = secret.try_into().ok()?;
        let made = UnixTime::from_millis(u64::from_be_bytes(*made));
        Some(Self::new(hpke::secret_from(&mut secret), made))
    }

    /// What the record says of it.
    #[must_use]
    pub fn prekey(&self) -> Prekey {
        Prekey {
            public: self.public,
            not_after: self.made.plus(LETTER_LIFETIME),
        }
    }

    /// Whether it may be the one in our record. One that was made later than now comes from a clock that was set back.
    fn is_fresh(&self, now: UnixTime) -> bool {
        now < self.made.plus(TERM) && self.made <= now.plus(MAX_CLOCK_SKEW)
    }

    fn is_over(&self, now: UnixTime) -> bool {
        self.made.plus(LETTER_LIFETIME).plus(MAX_CLOCK_SKEW) < now
    }
}

/// All prekeys whose secret halves we have; at most sixteen.
#[derive(Clone, Debug, Default)]
pub struct Prekeys {
    kept: BTreeMap<[u8; 32], PrekeySecret>,
    /// Since when the time of some has been over.
    over_since: Option<Instant>,
}

impl Prekeys {
    /// Those that the disk has.
    #[must_use]
    pub fn restore(secrets: Vec<PrekeySecret>) -> Self {
        let kept = secrets.into_iter().map(|secret| (secret.public, secret));
        Self {
            kept: kept.collect(),
            over_since: None,
        }
    }

    /// Takes one that is on disk.
    pub fn put(&mut self, secret: PrekeySecret) {
        self.kept.insert(secret.public, secret);
    }

    /// The one for our record, unless it is time for a new one.
    #[must_use]
    pub fn current(&self, now: UnixTime) -> Option<Prekey> {
        let fresh = self.kept.values().filter(|secret| secret.is_fresh(now));
        fresh
            .max_by_key(|secret| secret.made)
            .map(PrekeySecret::prekey)
    }

    /// When the one of our record is to be replaced.
    #[must_use]
    pub fn renew_at(&self, now: UnixTime) -> UnixTime {
        let current = self.current(now);
        let made = current.and_then(|current| self.kept.get(&current.public));
        made.map_or(now, |secret| secret.made.plus(TERM))
    }

    /// Takes out what is to be destroyed: those whose time has been over for an hour, and of more than sixteen the oldest.
    pub fn take_ended(&mut self, now: UnixTime, instant: Instant) -> Vec<[u8; 32]> {
        let over = self.kept.values().filter(|secret| secret.is_over(now));
        let over: Vec<[u8; 32]> = over.map(|secret| secret.public).collect();
        let mut ended = vec![];
        if over.is_empty() {
            self.over_since = None;
        } else {
            let since = *self.over_since.get_or_insert(instant);
            if instant.saturating_duration_since(since) >= GRACE {
                ended = over;
                self.over_since = None;
            }
        }
        let mut by_age: Vec<_> = self.kept.values().map(|s| (s.made, s.public)).collect();
        by_age.sort_unstable();
        let beyond = self.kept.len().saturating_sub(MAX_PREKEYS);
        ended.extend(by_age.iter().take(beyond).map(|(_, public)| *public));
        ended.retain(|public| self.kept.remove(public).is_some());
        ended
    }

    pub(crate) fn secret(&self, public: &[u8; 32]) -> Option<&Zeroizing<[u8; 32]>> {
        self.kept.get(public).map(|secret| &secret.secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::NOW;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(number: u8, made: UnixTime) -> PrekeySecret {
        PrekeySecret::generate(&Seed::new([number; 32]), made)
    }

    #[test]
    fn a_secret_is_the_same_after_the_disk() {
        let secret = at(1, NOW);
        let again = PrekeySecret::from_bytes(&secret.to_bytes()[..]).unwrap();
        assert_eq!(again.prekey(), secret.prekey());
        assert_eq!(again.secret, secret.secret);
        assert!(PrekeySecret::from_bytes(&[0; 39]).is_none());
        assert!(PrekeySecret::from_bytes(&[0; 41]).is_none());
        assert!(!format!("{secret:?}").contains("secret:"));
    }

    #[test]
    fn each_week_has_its_own_and_each_is_kept_for_its_letters() {
        let (mut prekeys, start) = (Prekeys::default(), Instant::now());
        let mut made = vec![];
        for day in 0..100u32 {
            let (now, instant) = (NOW.plus(day * DAY), start + day * DAY);
            if prekeys.current(now).is_none() {
                let secret = at(u8::try_from(day).unwrap(), now);
                made.push((day, secret.prekey()));
                prekeys.put(secret);
            }
            prekeys.take_ended(now, instant);
            prekeys.take_ended(now, instant + GRACE);
            for (since, prekey) in &made {
                let is_kept = prekeys.secret(&prekey.public).is_some();
                assert_eq!(
                    is_kept,
                    day <= since + 31,
                    "made on {since}, looked at on {day}"
                );
            }
            assert!(prekeys.kept.len() <= 5, "{}", prekeys.kept.len());
        }
        let days: Vec<u32> = made.iter().map(|(day, _)| *day).collect();
        assert_eq!(days, (0..100).step_by(7).collect::<Vec<_>>());
    }

    #[test]
    fn a_clock_that_was_wrong_for_minutes_destroys_nothing() {
        let (mut prekeys, start) = (Prekeys::restore(vec![at(1, NOW)]), Instant::now());
        let minutes = |n: u64| start + Duration::from_secs(60 * n);
        assert!(prekeys.take_ended(NOW.plus(400 * DAY), start).is_empty());
        assert!(
            prekeys
                .take_ended(NOW.plus(400 * DAY), minutes(59))
                .is_empty()
        );
        assert!(prekeys.take_ended(NOW, minutes(60)).is_empty());
        assert!(
            prekeys
                .take_ended(NOW.plus(400 * DAY), minutes(61))
                .is_empty()
        );
        assert_eq!(
            prekeys.take_ended(NOW.plus(400 * DAY), minutes(121)).len(),
            1
        );
    }

    #[test]
    fn a_clock_that_is_set_back_makes_a_new_one_and_few_are_kept() {
        let mut prekeys = Prekeys::restore(vec![at(1, NOW.plus(400 * DAY))]);
        assert_eq!(prekeys.current(NOW), None);
        assert_eq!(prekeys.renew_at(NOW), NOW);
        for number in 2..60 {
            prekeys.put(at(number, NOW.plus(u32::from(number) * DAY)));
            prekeys.take_ended(NOW, Instant::now());
            assert!(prekeys.kept.len() <= MAX_PREKEYS);
        }
        assert!(prekeys.current(NOW.plus(59 * DAY)).is_some());
    }
}
