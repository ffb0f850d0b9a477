//! What an inception costs: an address is as hard to forge as its bits and this work together (RFC 3972's idea).

use pilot_types::AgentId;
use pilot_wire::{Inception, LogEntry};
use ring::digest::Context;

use crate::hash::{finish, hash, hasher};

const WORK: &str = "pilot/work/1";
const AGENT: &str = "pilot/agent/1";
/// Bytes of the modifier that are counted through; those before them stay random.
const COUNTER: usize = 8;

/// The agent that an encoded inception makes.
pub(crate) fn agent_of(encoded: &[u8]) -> AgentId {
    AgentId::new(hash(AGENT, encoded))
}

/// Leading zero bits of an encoded inception's work.
pub(crate) fn work_of(encoded: &[u8]) -> u8 {
    leading_zeros(&hash(WORK, encoded))
}

/// Counts the modifier up until the work has `bits` zero bits and the address is an agent's; gives the encoded inception.
pub(crate) fn grind(inception: Inception, bits: u8) -> Vec<u8> {
    let mut encoded = LogEntry::Inception(inception).encode();
    let fixed = encoded.len() - COUNTER;
    let mut prefix = hasher(WORK);
    prefix.update(&encoded[..fixed]);
    for counter in 0u64.. {
        encoded[fixed..].copy_from_slice(&counter.to_be_bytes());
        if work_with(&prefix, &encoded[fixed..]) >= bits && !agent_of(&encoded).node().is_reserved()
        {
            return encoded;
        }
    }
    unreachable!("2^64 tries find any work that an agent asks for")
}

fn work_with(prefix: &Context, counter: &[u8]) -> u8 {
    let mut hasher = prefix.clone();
    hasher.update(counter);
    leading_zeros(&finish(hasher))
}

fn leading_zeros(hash: &[u8; 32]) -> u8 {
    let zeros = hash.iter().take_while(|byte| **byte == 0).count();
    let partial = hash.get(zeros).map_or(0, |byte| byte.leading_zeros());
    u8::try_from(zeros * 8 + partial as usize).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inception() -> Inception {
        Inception {
            version: Inception::VERSION,
            keys: vec![],
            recovery_commitment: Some([7; 32]),
            modifier: [3; 16],
        }
    }

    #[test]
    fn zero_bits_are_counted_from_the_front() {
        let mut hash = [0; 32];
        assert_eq!(leading_zeros(&hash), 255);
        hash[31] = 1;
        assert_eq!(leading_zeros(&hash), 255);
        hash[2] = 0x10;
        assert_eq!(leading_zeros(&hash), 19);
        hash[0] = 0xFF;
        assert_eq!(leading_zeros(&hash), 0);
    }

    #[test]
    fn ground_work_is_measured_again_and_only_the_modifier_changes() {
        let encoded = grind(inception(), 10);
        assert!(work_of(&encoded) >= 10);
        let decoded: LogEntry = pilot_wire::decode_postcard(&encoded, "log entry").unwrap();
        let LogEntry::Inception(mut ground) = decoded else {
            panic!("an inception was ground")
        };
        assert_eq!(ground.modifier[..8], [3; 8]);
        ground.modifier = [3; 16];
        assert_eq!(ground, inception());
    }
}
