//! Numbers of packets, epochs and streams.

use serde::{Deserialize, Serialize};

/// A packet's number: runs on for a session's life, across epochs and paths, and never repeats.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PacketNumber(u64);

impl PacketNumber {
    /// Largest number (the limit of a varint, 2^62 − 1).
    pub const MAX: Self = Self((1 << 62) - 1);

    /// Wraps the number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The low 32 bits, which the wire carries.
    #[must_use]
    pub const fn truncated(self) -> u32 {
        (self.0 & 0xFFFF_FFFF) as u32
    }

    /// The full number whose low 32 bits are `truncated` and that lies nearest to the one after `largest`.
    ///
    /// RFC 9000 appendix A.3, with a 32-bit window.
    #[must_use]
    pub const fn expand(truncated: u32, largest: Option<Self>) -> Self {
        const WINDOW: u64 = 1 << 32;
        const HALF: u64 = WINDOW / 2;
        let expected = match largest {
            Some(largest) => largest.0 + 1,
            None => 0,
        };
        let candidate = (expected & !(WINDOW - 1)) | truncated as u64;
        if candidate + HALF <= expected && candidate < Self::MAX.0 - WINDOW {
            Self(candidate + WINDOW)
        } else if candidate > expected + HALF && candidate >= WINDOW {
            Self(candidate - WINDOW)
        } else {
            Self(candidate)
        }
    }
}

/// Which completed handshake of a session keys belong to; counts up in the order of completion at one end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub u32);

/// A bidirectional stream of a session: even ids are opened by the end with the smaller `AgentId`, odd ones by the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct StreamId(u64);

impl StreamId {
    /// Wraps the number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// Whether the end with the smaller `AgentId` opened it.
    #[must_use]
    pub const fn is_even(self) -> bool {
        self.0 & 1 == 0
    }

    /// How many streams of the same opener come before it.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.0 >> 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_packet_expands_to_its_low_bits() {
        assert_eq!(PacketNumber::expand(0, None), PacketNumber::new(0));
        assert_eq!(PacketNumber::expand(7, None), PacketNumber::new(7));
    }

    proptest! {
        // RFC 9000 appendix A.3: any number within half a window of the expected one is recovered.
        #[test]
        fn numbers_near_the_largest_are_recovered(largest in 0u64..(1 << 61), offset in -(1i64 << 31) + 2..(1i64 << 31)) {
            let number = largest.saturating_add_signed(offset);
            let expanded = PacketNumber::expand(PacketNumber::new(number).truncated(), Some(PacketNumber::new(largest)));
            prop_assert_eq!(expanded.to_u64(), number);
        }
    }
}
