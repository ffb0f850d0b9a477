//! Whom a call is for.

use std::fmt;
use std::str::FromStr;

use pilot_trust::Ticket;
use pilot_types::{Address, AgentId, Hostname, NodeId, Port, decode_hex, encode_hex};
use thiserror::Error;

/// An agent, as a caller names it.
#[derive(Clone)]
pub enum Target {
    /// By claimed name.
    Hostname(Hostname),
    /// By address.
    Node(NodeId),
    /// By full id.
    Agent(AgentId),
    /// By full id or signing key.
    Key([u8; 32]),
    /// By ticket, which carries key and addresses.
    Ticket(Box<Ticket>),
}

/// Without a ticket's secret.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hostname(name) => write!(f, "Hostname({name})"),
            Self::Node(node) => write!(f, "Node({node})"),
            Self::Agent(agent) => write!(f, "{agent:?}"),
            Self::Key(key) => write!(f, "Key({})", encode_hex(key)),
            Self::Ticket(ticket) => write!(f, "Ticket({:?})", ticket.agent),
        }
    }
}

/// Why a text names no agent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "invalid peer {0:?}: expected a hostname, an address (N:XXXX.YYYY.ZZZZ), 64 hex digits or a ticket"
)]
pub struct ParseTargetError(String);

impl FromStr for Target {
    type Err = ParseTargetError;

    /// In the order of the command line: ticket, address, key, 48-bit id (`0x…` or decimal), hostname.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseTargetError(text.chars().take(80).collect());
        if text.starts_with("pilot-ticket:") {
            return text
                .parse()
                .map(|ticket| Self::Ticket(Box::new(ticket)))
                .map_err(|_| refused());
        }
        if text.contains(['.', ':']) {
            return text
                .parse::<Address>()
                .map(|address| Self::Node(address.node()))
                .map_err(|_| refused());
        }
        if text.len() == 64
            && let Ok(key) = decode_hex(text)
        {
            return Ok(Self::Key(key));
        }
        if let Some(digits) = text.strip_prefix("0x").filter(|digits| digits.len() == 12) {
            let value = u64::from_str_radix(digits, 16).map_err(|_| refused())?;
            return NodeId::new(value).map(Self::Node).ok_or_else(refused);
        }
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            let node = text.parse().ok().and_then(NodeId::new);
            return node.map(Self::Node).ok_or_else(refused);
        }
        text.parse().map(Self::Hostname).map_err(|_| refused())
    }
}

/// `PEER:PORT`, as in `planner:1000` or `0:A91F.0000.7C2E:1000`.
pub(crate) fn parse_target_port(text: &str) -> Result<(Target, Port), ParseTargetError> {
    let refused = || ParseTargetError(text.chars().take(80).collect());
    let (peer, port) = text.rsplit_once(':').ok_or_else(refused)?;
    Ok((peer.parse()?, port.parse().map_err(|_| refused())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_recognised_in_order() {
        assert!(matches!("planner".parse(), Ok(Target::Hostname(_))));
        assert!(matches!("0:A91F.0000.7C2E".parse(), Ok(Target::Node(_))));
        assert!(matches!("A91F.0000.7C2E".parse(), Ok(Target::Node(_))));
        assert!(matches!("ab".repeat(32).parse(), Ok(Target::Key(_))));
        assert!(matches!("0xA91F00007C2E".parse(), Ok(Target::Node(_))));
        assert!(matches!("12345".parse(), Ok(Target::Node(node)) if node.to_u64() == 12345));
        for text in ["", "A", "a b", "281474976710656", "pilot-ticket:x", "1:2:3"] {
            assert!(text.parse::<Target>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_port_follows_the_last_colon() {
        let (target, port) = parse_target_port("0:A91F.0000.7C2E:1000").unwrap();
        assert!(matches!(target, Target::Node(_)) && port == Port::STDIO);
        assert!(parse_target_port("planner").is_err());
        assert!(parse_target_port("planner:x").is_err());
    }
}
