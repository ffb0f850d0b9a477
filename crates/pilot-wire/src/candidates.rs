//! What two ends of a session tell each other about their addresses (`docs/wire.md` §4).

use std::fmt;
use std::net::SocketAddr;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::cursor::DecodeError;
use crate::envelope::{decode_postcard, encode_postcard};
use crate::limits::MAX_CANDIDATES;

/// How an agent knows an address at which it may be reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum CandidateKind {
    /// An interface of its own has it.
    Host,
    /// A STUN server or a peer saw it.
    Reflexive,
    /// A router promised to forward it (PCP, NAT-PMP, UPnP).
    Mapped,
    /// It worked before.
    LastKnown,
    /// A later version's word: tried after the others.
    #[serde(other)]
    Unknown,
}

/// An address at which an agent may be reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// How it is known.
    pub kind: CandidateKind,
    /// The address.
    pub addr: SocketAddr,
}

/// What the mapping of an agent's NAT depends on (RFC 4787 §4.1, RFC 5780 §4.3).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub enum Mapping {
    /// Nothing: all see the same endpoint. So it is without a NAT, too.
    EndpointIndependent,
    /// The remote address.
    AddressDependent,
    /// The remote address and port.
    AddressAndPortDependent,
    /// Not known, or a later version's word.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Body of a CANDIDATES frame: all addresses at which the sender may be reached now. It replaces those of a smaller
/// generation.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Candidates {
    /// Counts the lists that the sender made in this session.
    pub generation: u32,
    /// How the sender's NAT maps.
    pub mapping: Mapping,
    /// Best first, at most [`MAX_CANDIDATES`]; more are refused.
    #[serde(deserialize_with = "at_most_max")]
    pub candidates: Vec<Candidate>,
}

impl Candidates {
    /// The frame's body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode_postcard(self)
    }

    /// Reads a body. Bytes after it are ignored. Whether an address may be tried is for the receiver to check.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`], also for more than [`MAX_CANDIDATES`].
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        decode_postcard(body, "candidates")
    }
}

/// Body of an OBSERVED_ADDRESS frame: where the sender sees the receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ObservedAddress {
    /// The source address of the receiver's packets.
    pub addr: SocketAddr,
    /// Another port of the sender that answers STUN: who is seen elsewhere by it is behind a NAT that maps by port.
    pub stun_port: Option<u16>,
}

impl ObservedAddress {
    /// The frame's body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode_postcard(self)
    }

    /// Reads a body. Bytes after it are ignored.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`].
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        decode_postcard(body, "observed address")
    }
}

/// Body of a KEEP_ALIVE frame: the receiver is to ping the sender after so long without a word of either end. A packet of
/// the receiver that arrives shows that the sender's NAT has not forgotten it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeepAlive {
    /// Seconds; the receiver may ping earlier.
    pub seconds: u16,
}

impl KeepAlive {
    /// The frame's body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode_postcard(self)
    }

    /// Reads a body. Bytes after it are ignored.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`].
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        decode_postcard(body, "keep-alive")
    }
}

/// Body of a FORWARDS frame: whether the sender passes sealed packets on for the receiver, to agents that permit it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Forwards {
    /// Whether it does.
    pub is_on: bool,
}

impl Forwards {
    /// The frame's body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode_postcard(self)
    }

    /// Reads a body. Bytes after it are ignored.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`].
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        decode_postcard(body, "forwards")
    }
}

/// Refuses a longer list at its first surplus item, before memory is spent on it.
fn at_most_max<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Candidate>, D::Error> {
    struct AtMostMax;

    impl<'de> Visitor<'de> for AtMostMax {
        type Value = Vec<Candidate>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_CANDIDATES} candidates")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut candidates = vec![];
            while let Some(candidate) = items.next_element()? {
                if candidates.len() == MAX_CANDIDATES {
                    return Err(A::Error::invalid_length(MAX_CANDIDATES + 1, &self));
                }
                candidates.push(candidate);
            }
            Ok(candidates)
        }
    }

    deserializer.deserialize_seq(AtMostMax)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(count: usize) -> Candidates {
        let kinds = [
            CandidateKind::Host,
            CandidateKind::Reflexive,
            CandidateKind::Mapped,
            CandidateKind::LastKnown,
        ];
        let addrs = ["192.0.2.1:9000", "[2001:db8::1]:65535"];
        let candidate = |n: usize| Candidate {
            kind: kinds[n % kinds.len()],
            addr: addrs[n % addrs.len()].parse().unwrap(),
        };
        Candidates {
            generation: 300,
            mapping: Mapping::AddressAndPortDependent,
            candidates: (0..count).map(candidate).collect(),
        }
    }

    #[test]
    fn bodies_are_read_as_they_were_written_and_later_fields_are_ignored() {
        for count in 0..=MAX_CANDIDATES {
            let mut body = some(count).encode();
            assert_eq!(Candidates::decode(&body), Ok(some(count)));
            for cut in 0..body.len() {
                assert!(Candidates::decode(&body[..cut]).is_err(), "{cut}");
            }
            body.extend(b"later");
            assert_eq!(Candidates::decode(&body), Ok(some(count)));
        }
        let observed = ObservedAddress {
            addr: "[2001:db8::1]:9".parse().unwrap(),
            stun_port: Some(9001),
        };
        let mut body = observed.encode();
        assert!(ObservedAddress::decode(&body[1..]).is_err());
        body.push(0);
        assert_eq!(ObservedAddress::decode(&body), Ok(observed));
    }

    #[test]
    fn the_bytes_are_those_of_the_table() {
        let body = some(1).encode();
        let expected = [
            &[0xAC, 0x02][..], // generation 300
            &[2],              // mapping
            &[1],              // one candidate
            &[0],              // a host's
            &[0, 192, 0, 2, 1, 0xA8, 0x46],
        ];
        assert_eq!(body, expected.concat());
    }

    #[test]
    fn more_candidates_than_the_limit_are_refused() {
        for count in [MAX_CANDIDATES + 1, 10_000] {
            let refused = Candidates::decode(&some(count).encode());
            assert_eq!(refused, Err(DecodeError::Malformed("candidates")));
        }
        // A count that the bytes do not bear out.
        assert!(Candidates::decode(&[1, 0, 0xFF, 0xFF, 0xFF, 0x7F]).is_err());
    }

    #[test]
    fn words_of_later_versions_are_read_as_unknown() {
        let mut body = some(1).encode();
        (body[2], body[4]) = (77, 78);
        let read = Candidates::decode(&body).unwrap();
        assert_eq!(read.mapping, Mapping::Unknown);
        assert_eq!(read.candidates[0].kind, CandidateKind::Unknown);
    }
}
