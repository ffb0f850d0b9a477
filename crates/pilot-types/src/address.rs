//! The 48-bit handle of an agent and its strict text form.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::port::{ParsePortError, Port};

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseAddressError {
    /// The part before the first colon is not a decimal number from 0 to 65534 without leading zeros.
    #[error("invalid network {0:?}: expected a decimal number from 0 to 65534")]
    Network(String),
    /// The 48 bits are not three groups of four hex digits with dots between them.
    #[error("invalid node {0:?}: expected XXXX.YYYY.ZZZZ in hex digits")]
    Node(String),
    /// The text after the second colon is not a port.
    #[error("invalid port in address")]
    Port(#[source] ParsePortError),
    /// A part is missing.
    #[error("incomplete address {0:?}: expected N:XXXX.YYYY.ZZZZ")]
    Incomplete(String),
}

/// The first 48 bits of an `AgentId`, or a reserved alias.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u64);

impl NodeId {
    /// Alias of the configured rendezvous: its registry.
    pub const REGISTRY: Self = Self(1);
    /// Alias of the configured rendezvous: its beacon.
    pub const BEACON: Self = Self(2);
    /// Alias of the configured rendezvous: its nameserver.
    pub const NAMESERVER: Self = Self(3);
    /// Alias of the directory agent `list-agents`.
    pub const DIRECTORY: Self = Self(4);
    /// Every member of a group.
    pub const BROADCAST: Self = Self(Self::MAX);

    const MAX: u64 = (1 << 48) - 1;
    const LAST_RESERVED: u64 = 0xFFFF;

    /// `None` if the value needs more than 48 bits.
    #[must_use]
    pub const fn new(value: u64) -> Option<Self> {
        if value <= Self::MAX {
            Some(Self(value))
        } else {
            None
        }
    }

    /// The 48 bits as a number.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// Whether no agent may have this id: the aliases `0000.0000.0000`–`0000.0000.FFFF` and broadcast.
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        self.0 <= Self::LAST_RESERVED || self.0 == Self::MAX
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (high, middle, low) = (self.0 >> 32, (self.0 >> 16) & 0xFFFF, self.0 & 0xFFFF);
        write!(f, "{high:04X}.{middle:04X}.{low:04X}")
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

impl FromStr for NodeId {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseAddressError::Node(text.to_owned());
        let mut groups = text.split('.');
        let mut value = 0;
        for _ in 0..3 {
            let group = groups.next().ok_or_else(refused)?;
            if group.len() != 4 || !group.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(refused());
            }
            value = (value << 16) | u64::from_str_radix(group, 16).map_err(|_| refused())?;
        }
        if groups.next().is_some() {
            return Err(refused());
        }
        Ok(Self(value))
    }
}

/// As its 48-bit number.
impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = u64::deserialize(deserializer)?;
        Self::new(value).ok_or_else(|| de::Error::custom("node id above 48 bits"))
    }
}

/// A network's number: 0 is the backbone, 1–65534 are local aliases of groups.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct NetworkId(u16);

impl NetworkId {
    /// The network that every agent is in.
    pub const BACKBONE: Self = Self(0);

    /// `None` for 65535, which is reserved.
    #[must_use]
    pub const fn new(value: u16) -> Option<Self> {
        if value == u16::MAX {
            None
        } else {
            Some(Self(value))
        }
    }

    /// The number, 0–65534.
    #[must_use]
    pub const fn to_u16(self) -> u16 {
        self.0
    }
}

impl<'de> Deserialize<'de> for NetworkId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(u16::deserialize(deserializer)?)
            .ok_or_else(|| de::Error::custom("network 65535 is reserved"))
    }
}

/// Where an agent is reached: a network and its 48 bits. Text: `N:XXXX.YYYY.ZZZZ`.
///
/// Parsing accepts `N:` left out (network 0) and hex digits of either case; nothing else.
/// Serialised as its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    network: NetworkId,
    node: NodeId,
}

impl Address {
    /// The address of `node` in `network`.
    #[must_use]
    pub const fn new(network: NetworkId, node: NodeId) -> Self {
        Self { network, node }
    }

    /// The network.
    #[must_use]
    pub const fn network(self) -> NetworkId {
        self.network
    }

    /// The 48 bits.
    #[must_use]
    pub const fn node(self) -> NodeId {
        self.node
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.network.0, self.node))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((network, node)) => Ok(Self::new(parse_network(network)?, node.parse()?)),
            None => Ok(Self::new(NetworkId::BACKBONE, text.parse()?)),
        }
    }
}

fn parse_network(text: &str) -> Result<NetworkId, ParseAddressError> {
    let is_plain = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    let number = is_plain.then(|| text.parse().ok()).flatten();
    number
        .and_then(NetworkId::new)
        .ok_or_else(|| ParseAddressError::Network(text.to_owned()))
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// An address with a port. Text: `N:XXXX.YYYY.ZZZZ:PORT`; here `N:` is required.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AddressPort {
    /// The agent.
    pub address: Address,
    /// Its port.
    pub port: Port,
}

impl fmt::Display for AddressPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.address, self.port)
    }
}

impl FromStr for AddressPort {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, port) = text
            .rsplit_once(':')
            .filter(|(address, _)| address.contains(':'))
            .ok_or_else(|| ParseAddressError::Incomplete(text.to_owned()))?;
        let port = port.parse().map_err(ParseAddressError::Port)?;
        Ok(Self {
            address: address.parse()?,
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strict_text_is_accepted_and_printed_back() {
        for text in [
            "0:A91F.0000.7C2E",
            "65534:FFFF.FFFF.FFFF",
            "1:0000.0000.0001",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let short: Address = "a91f.0000.7c2e".parse().unwrap();
        assert_eq!(short.to_string(), "0:A91F.0000.7C2E");
        let with_port: AddressPort = "0:A91F.0000.7C2E:1000".parse().unwrap();
        assert_eq!(with_port.to_string(), "0:A91F.0000.7C2E:1000");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            ":",
            "0:",
            "0:A91F",
            "0:A91F.0000",
            "0:A91F.0000.7C2E.0000",
            "0:A91F.0000.7C2",
            "0:A91F.0000.7C2EE",
            "65535:A91F.0000.7C2E",
            "00:A91F.0000.7C2E",
            "01:A91F.0000.7C2E",
            "+1:A91F.0000.7C2E",
            "-1:A91F.0000.7C2E",
            " 0:A91F.0000.7C2E",
            "0:A91F.0000.7C2E ",
            "0:A91F.+000.7C2E",
            "0:A91F.0000.7C2G",
            "0:A91F.00é0.7C2E",
            "x:A91F.0000.7C2E",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?} was accepted");
        }
        for text in [
            "A91F.0000.7C2E:1000",
            "0:A91F.0000.7C2E",
            "0:A91F.0000.7C2E:65536",
            "0:A91F.0000.7C2E:+1",
            "0:A91F.0000.7C2E:",
        ] {
            assert!(
                text.parse::<AddressPort>().is_err(),
                "{text:?} was accepted"
            );
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(network in 0..u16::MAX, node in 0..=NodeId::MAX, port: u16) {
            let address = Address::new(NetworkId::new(network).unwrap(), NodeId::new(node).unwrap());
            prop_assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
            let with_port = AddressPort { address, port: Port::new(port) };
            prop_assert_eq!(with_port.to_string().parse::<AddressPort>().unwrap(), with_port);
        }

        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _ = text.parse::<Address>();
            let _ = text.parse::<AddressPort>();
        }
    }
}
