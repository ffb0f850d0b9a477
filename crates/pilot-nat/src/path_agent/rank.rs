//! Which of two paths is better.

use std::cmp::Reverse;
use std::time::Duration;

/// What an answer must be earlier by before a path that works is left for its speed alone: jitter is often more.
const MIN_GAIN: Duration = Duration::from_millis(2);

/// How good a path is. **The order of the fields is the policy**; the greater is the better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Rank {
    pub(super) standing: Standing,
    /// Round trip, in powers of two: below, families matter more than jitter.
    pub(super) rtt: Reverse<u32>,
    /// IPv6 has fewer NATs that forget.
    pub(super) is_v6: bool,
}

/// What a path is left for at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Standing {
    /// Packets go both ways.
    pub(super) is_validated: bool,
    /// No third party forwards them.
    pub(super) is_direct: bool,
    /// To the peer's own interface: no NAT on its side, often not even a router between us.
    pub(super) is_host: bool,
}

/// Powers of two of a millisecond: 0 is below one, 1 below two, 2 below four …; unknown is the worst.
pub(super) const fn class(rtt: Option<Duration>) -> Reverse<u32> {
    match rtt {
        Some(rtt) => Reverse(u128::BITS - rtt.as_millis().leading_zeros()),
        None => Reverse(u32::MAX),
    }
}

/// Whether a sample is so much better that it counts: a tenth and [`MIN_GAIN`].
pub(super) fn is_faster(sample: Duration, current: Duration) -> bool {
    sample + MIN_GAIN <= current && sample * 10 <= current * 9
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_fields_decide_in_their_order() {
        let rank = |is_validated, is_direct, is_host, rtt, is_v6| Rank {
            standing: Standing {
                is_validated,
                is_direct,
                is_host,
            },
            rtt: class(rtt),
            is_v6,
        };
        let ascending = [
            rank(false, true, true, Some(ms(1)), true),
            rank(true, false, false, Some(ms(1)), false),
            rank(true, true, false, None, true),
            rank(true, true, false, Some(ms(90)), true),
            rank(true, true, false, Some(ms(5)), false),
            rank(true, true, false, Some(ms(4)), true),
            rank(true, true, true, Some(ms(90)), false),
        ];
        assert!(ascending.is_sorted());
    }

    #[test]
    fn a_gain_counts_if_it_is_a_tenth_and_two_milliseconds() {
        assert!(is_faster(ms(90), ms(100)));
        assert!(!is_faster(ms(91), ms(100)));
        assert!(!is_faster(ms(1), ms(2)));
        assert!(is_faster(ms(1), ms(3)));
    }
}
