//! How long our NAT remembers us: found by falling silent for longer and longer.

use std::time::Duration;

/// Times that are tried, in seconds. RFC 4787 §4.3 asks of NATs for two minutes at least; home routers are known that forget in less than
/// 30 s. Each is at most a third more than the one before: a NAT that does not have that patience has forgotten us for that much less.
const STEPS: [u16; 10] = [10, 15, 20, 25, 33, 44, 58, 75, 95, 120];
/// Where we begin: 20 s.
const FIRST: usize = 2;
/// The other end is to speak first. Its PING has this much time for its way, and to be repeated once if it is lost.
const MARGIN: Duration = Duration::from_secs(2);
/// Clocks and timers are read at both ends.
const SLACK: Duration = Duration::from_secs(1);

/// Finds the longest silence after which a rendezvous still reaches us, and how often it must hear from us.
///
/// The rendezvous is told to ping after [`Self::theirs`] without a word of either end; we would after [`Self::ours`], which is
/// a little later. Its ping shows that whatever lies between remembered us for so long: then a longer time is tried. If we had to ask first,
/// it is taken to have forgotten us, and the time is shortened for good: a test that fails hides us from the rendezvous for some seconds, so it
/// is made once a network. In the steady state one packet goes each way in this time.
///
/// ```
/// use std::time::Duration;
/// use pilot_nat::NatPatience;
///
/// let mut patience = NatPatience::default();
/// assert_eq!(patience.theirs(), Duration::from_secs(20));
/// assert!(patience.handle_rested(Duration::from_secs(20)), "another time is tried");
/// assert_eq!(patience.theirs(), Duration::from_secs(25));
/// assert!(patience.handle_unheard(), "the NAT forgot us");
/// assert_eq!(patience.theirs(), Duration::from_secs(20));
/// assert!(!patience.handle_rested(Duration::from_secs(20)), "that is the longest");
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NatPatience {
    step: usize,
    /// The longest that is still to be tried.
    longest: usize,
    /// Both, before they were shortened for a silence that may yet have had another reason.
    before: Option<(usize, usize)>,
}

impl Default for NatPatience {
    fn default() -> Self {
        Self {
            step: FIRST,
            longest: STEPS.len() - 1,
            before: None,
        }
    }
}

impl NatPatience {
    /// Silence after which the other end is to ping.
    #[must_use]
    pub fn theirs(&self) -> Duration {
        Duration::from_secs(self.seconds().into())
    }

    /// Silence after which we ping.
    #[must_use]
    pub fn ours(&self) -> Duration {
        self.theirs() + MARGIN
    }

    /// [`Self::theirs`] in whole seconds, from 10 to 120.
    #[must_use]
    pub fn seconds(&self) -> u16 {
        STEPS[self.step]
    }

    /// What another end may ask of us in [`Self::seconds`], whatever it asked for.
    #[must_use]
    pub fn clamp(seconds: u16) -> Duration {
        Duration::from_secs(seconds.clamp(STEPS[0], STEPS[STEPS.len() - 1]).into())
    }

    /// A packet came `rest` after the last that we sent; gives whether the times are others now.
    pub fn handle_rested(&mut self, rest: Duration) -> bool {
        self.before = None;
        let is_longer = rest + SLACK >= self.theirs() && self.step < self.longest;
        self.step += usize::from(is_longer);
        is_longer
    }

    /// Nothing came in [`Self::ours`]; gives whether the times are others now.
    pub const fn handle_unheard(&mut self) -> bool {
        self.before = Some((self.step, self.longest));
        let is_shorter = self.step > 0;
        self.step = self.step.saturating_sub(1);
        self.longest = self.step;
        is_shorter
    }

    /// The rendezvous does not answer at all: that it was not heard says nothing of a NAT.
    pub const fn handle_lost(&mut self) {
        if let Some((step, longest)) = self.before.take() {
            (self.step, self.longest) = (step, longest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left in the end of a NAT that forgets after so many seconds, and how often it forgot us.
    fn settled(lifetime: u64) -> (u16, u32) {
        let mut patience = NatPatience::default();
        let mut forgotten = 0;
        for _ in 0..100 {
            let theirs = patience.theirs();
            if theirs.as_secs() < lifetime {
                patience.handle_rested(theirs + Duration::from_millis(40));
            } else {
                forgotten += 1;
                patience.handle_unheard();
            }
        }
        (patience.seconds(), forgotten)
    }

    #[test]
    fn the_longest_time_that_the_nat_bears_is_found_and_failed_once() {
        assert_eq!(settled(30), (25, 1));
        assert_eq!(settled(60), (58, 1));
        assert_eq!(settled(120), (95, 1));
        assert_eq!(settled(300), (120, 0));
    }

    #[test]
    fn an_impatient_nat_is_asked_more_often() {
        assert_eq!(settled(18), (15, 1));
        assert_eq!(settled(12), (10, 2));
        let (seconds, _) = settled(5);
        assert_eq!(seconds, 10, "there is an end to it");
    }

    #[test]
    fn each_time_is_at_most_a_half_more_than_the_one_before() {
        let is_near = |pair: &[u16]| pair[0] < pair[1] && pair[1] * 2 <= pair[0] * 3;
        assert!(STEPS.windows(2).all(is_near));
        assert!(
            STEPS[FIRST..]
                .windows(2)
                .all(|pair| pair[1] * 3 <= pair[0] * 4)
        );
    }

    #[test]
    fn who_asks_for_anything_gets_what_is_bounded() {
        assert_eq!(NatPatience::clamp(0), Duration::from_secs(10));
        assert_eq!(NatPatience::clamp(44), Duration::from_secs(44));
        assert_eq!(NatPatience::clamp(u16::MAX), Duration::from_secs(120));
    }

    #[test]
    fn a_rendezvous_that_is_gone_says_nothing() {
        let mut patience = NatPatience::default();
        patience.handle_rested(Duration::from_secs(20));
        let before = patience.clone();
        patience.handle_unheard();
        patience.handle_lost();
        assert_eq!(patience, before);
        patience.handle_unheard();
        patience.handle_rested(Duration::from_secs(20));
        patience.handle_lost();
        assert_eq!(patience.seconds(), 20, "it answered meanwhile");
    }

    #[test]
    fn a_short_pause_says_nothing() {
        let mut patience = NatPatience::default();
        assert!(!patience.handle_rested(Duration::from_secs(18)));
        assert!(patience.handle_rested(Duration::from_millis(19_500)));
    }
}
