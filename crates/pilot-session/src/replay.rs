//! Which packet numbers were received before.

use pilot_types::PacketNumber;

const WORD: u64 = u64::BITS as u64;

/// A sliding window over packet numbers (the scheme of RFC 6479: a ring of words, of which whole ones are cleared as the
/// window moves on).
///
/// `len` words remember at least `(len − 1) × 64` numbers below the largest; what lies below counts as received.
#[derive(Clone, Debug)]
pub(crate) struct ReplayWindow {
    words: Box<[u64]>,
    /// Largest number marked.
    largest: Option<PacketNumber>,
    /// Words below this one were lost when the window grew.
    floor: u64,
}

impl ReplayWindow {
    /// Remembers `bits` numbers, rounded up to whole words.
    pub(crate) fn new(bits: usize) -> Self {
        Self {
            words: vec![0; words(bits)].into(),
            largest: None,
            floor: 0,
        }
    }

    /// Largest number marked.
    pub(crate) const fn largest(&self) -> Option<PacketNumber> {
        self.largest
    }

    /// Whether the number was not marked, and is not too old to know.
    pub(crate) fn is_fresh(&self, number: PacketNumber) -> bool {
        let Some(largest) = self.largest else {
            return true;
        };
        if number > largest {
            return true;
        }
        let word = word(number);
        let is_known = word >= self.floor && word + self.words.len() as u64 > self::word(largest);
        is_known && self.words[self.slot(word)] & bit(number) == 0
    }

    /// Marks a number that authenticated.
    pub(crate) fn mark(&mut self, number: PacketNumber) {
        let word = word(number);
        if self.largest.is_none_or(|largest| number > largest) {
            let first_new = self.largest.map_or(0, |largest| self::word(largest) + 1);
            let oldest_kept = (word + 1).saturating_sub(self.words.len() as u64);
            for new in first_new.max(oldest_kept)..=word {
                let slot = self.slot(new);
                self.words[slot] = 0;
            }
            self.largest = Some(number);
        }
        let slot = self.slot(word);
        self.words[slot] |= bit(number);
    }

    /// Makes the window larger or smaller; what it does not remember counts as received.
    pub(crate) fn resize(&mut self, bits: usize) {
        let mut resized = Self::new(bits);
        if let Some(largest) = self.largest {
            let newest = word(largest);
            let kept = self.words.len().min(resized.words.len()) as u64;
            let oldest = (newest + 1).saturating_sub(kept);
            for word in oldest..=newest {
                let slot = resized.slot(word);
                resized.words[slot] = self.words[self.slot(word)];
            }
            resized.floor = self.floor.max(oldest);
            resized.largest = self.largest;
        }
        *self = resized;
    }

    fn slot(&self, word: u64) -> usize {
        usize::try_from(word % self.words.len() as u64).expect("below the number of words")
    }
}

fn words(bits: usize) -> usize {
    bits.div_ceil(WORD as usize).max(1)
}

const fn word(number: PacketNumber) -> u64 {
    number.to_u64() / WORD
}

const fn bit(number: PacketNumber) -> u64 {
    1 << (number.to_u64() % WORD)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn fresh_then_marked(window: &mut ReplayWindow, number: u64) -> bool {
        let number = PacketNumber::new(number);
        let is_fresh = window.is_fresh(number);
        if is_fresh {
            window.mark(number);
        }
        is_fresh
    }

    #[test]
    fn late_numbers_pass_once_within_the_window_and_never_beyond() {
        let mut window = ReplayWindow::new(1024);
        assert!(fresh_then_marked(&mut window, 5000));
        assert!(fresh_then_marked(&mut window, 5000 - 960));
        assert!(!fresh_then_marked(&mut window, 5000 - 960));
        assert!(!fresh_then_marked(&mut window, 5000));
        assert!(!fresh_then_marked(&mut window, 5000 - 1024));
    }

    #[test]
    fn the_first_number_may_be_any() {
        for first in [0, 1, 63, 64, 1 << 40, PacketNumber::MAX.to_u64()] {
            let mut window = ReplayWindow::new(1024);
            assert!(fresh_then_marked(&mut window, first));
            assert!(!fresh_then_marked(&mut window, first));
        }
    }

    #[test]
    fn growing_does_not_forget_what_the_small_window_dropped() {
        let mut window = ReplayWindow::new(64);
        assert!(fresh_then_marked(&mut window, 10));
        assert!(fresh_then_marked(&mut window, 1000));
        window.resize(4096);
        assert!(!fresh_then_marked(&mut window, 10));
        assert!(!fresh_then_marked(&mut window, 1000));
        assert!(fresh_then_marked(&mut window, 999));
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Receive(u64),
        Resize(usize),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            20 => (0u64..6000).prop_map(Operation::Receive),
            1 => (0usize..5000).prop_map(Operation::Resize),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        // Never twice; and whatever lies within the window at every size since it was the smallest passes once.
        #[test]
        fn no_number_passes_twice(operations in prop::collection::vec(operation(), 1..400)) {
            let mut window = ReplayWindow::new(1024);
            let mut seen = BTreeSet::new();
            for operation in operations {
                match operation {
                    Operation::Receive(number) => {
                        let above = seen.last().is_none_or(|largest| number > *largest);
                        let passed = fresh_then_marked(&mut window, number);
                        prop_assert!(!(passed && seen.contains(&number)), "{number} passed twice");
                        prop_assert!(passed || !above, "{number} is new and was refused");
                        seen.insert(number);
                    }
                    Operation::Resize(bits) => window.resize(bits),
                }
            }
        }

        #[test]
        fn nothing_new_within_the_window_is_refused(numbers in prop::collection::vec(0u64..3000, 1..400)) {
            let mut window = ReplayWindow::new(1024);
            let mut seen = BTreeSet::new();
            for number in numbers {
                let largest = seen.last().copied().unwrap_or_default();
                let passed = fresh_then_marked(&mut window, number);
                if number + 960 > largest {
                    prop_assert_eq!(passed, !seen.contains(&number));
                }
                seen.insert(number);
            }
        }
    }
}
