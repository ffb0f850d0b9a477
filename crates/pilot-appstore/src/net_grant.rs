//! Where an app may connect: hosts of the internet and agents of the overlay, each with a port.

use std::fmt;
use std::net::IpAddr;

/// Longest name of a host (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;
/// Longest label of it.
const MAX_LABEL: usize = 63;

/// Hosts and a port of theirs, for TCP.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NetGrant {
    hosts: Hosts,
    port: Ports,
}

/// Which hosts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Hosts {
    /// `*`: every host of the public internet.
    Any,
    /// `*.example.org`: names under this one, and not itself.
    Under(String),
    /// One name.
    Name(String),
    /// One address.
    Address(IpAddr),
}

/// Which ports: one, or `*`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Ports {
    Any,
    One(u16),
}

/// Agents of the overlay and a port of theirs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct OverlayGrant {
    /// A hostname, an address or a key, as the app has to say it; none for any agent.
    peer: Option<String>,
    port: Ports,
}

/// A host that an app wants to reach.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Host {
    Name(String),
    Address(IpAddr),
}

impl Host {
    /// Reads `example.org`, `192.0.2.1`, `::1` or `[::1]`. A name is in lower case afterwards, without a dot at its end.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let plain = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        if let Ok(address) = plain.unwrap_or(text).parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        is_name(&name).then_some(Self::Name(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => bracketed(*address, f),
        }
    }
}

impl NetGrant {
    /// Reads `HOST:PORT`, each in its one spelling.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let hosts = match (host, host.strip_prefix("*.")) {
            ("*", _) => Hosts::Any,
            (_, Some(under)) if is_name(under) => Hosts::Under(under.to_owned()),
            (_, Some(_)) => return None,
            (_, None) => match Host::parse(host)? {
                Host::Name(name) => Hosts::Name(name),
                Host::Address(address) => Hosts::Address(address),
            },
        };
        let grant = Self {
            hosts,
            port: Ports::parse(port)?,
        };
        (grant.to_string() == text).then_some(grant)
    }

    /// Whether it names more than one place, so that its owner may grant less.
    pub(crate) const fn is_wide(&self) -> bool {
        matches!(self.hosts, Hosts::Any | Hosts::Under(_)) || matches!(self.port, Ports::Any)
    }

    /// Whether an app may ask for this name; where it leads is looked at then.
    pub(crate) fn covers_name(&self, name: &str, port: u16) -> bool {
        let is_covered = match &self.hosts {
            // The machine itself is no host of the internet, whatever it is called.
            Hosts::Any => !is_local_name(name),
            Hosts::Under(under) => {
                let below = name.strip_suffix(under.as_str());
                below.is_some_and(|below| below.len() > 1 && below.ends_with('.'))
            }
            Hosts::Name(named) => named == name,
            Hosts::Address(address) => address.is_loopback() && is_local_name(name),
        };
        is_covered && self.port.has(port)
    }

    /// Whether it names this very address. `localhost` names the loopback addresses.
    pub(crate) fn names_address(&self, address: IpAddr, port: u16) -> bool {
        let is_named = match &self.hosts {
            Hosts::Address(named) => *named == address,
            Hosts::Name(name) => is_local_name(name) && address.is_loopback(),
            Hosts::Any | Hosts::Under(_) => false,
        };
        is_named && self.port.has(port)
    }

    /// Whether it is for every address of the public internet.
    pub(crate) fn is_for_all(&self, port: u16) -> bool {
        self.hosts == Hosts::Any && self.port.has(port)
    }

    pub(crate) fn words(&self) -> String {
        let hosts = match &self.hosts {
            Hosts::Any => "any host of the internet (not this machine or its network)".to_owned(),
            Hosts::Under(name) => format!("every host under {name}"),
            Hosts::Name(_) | Hosts::Address(_) => format!("{}", self.hosts),
        };
        format!("connect to {hosts}, {}", self.port.words())
    }
}

impl OverlayGrant {
    /// Reads `PEER:PORT`, each in its one spelling.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (peer, port) = text.rsplit_once(':')?;
        let is_peer = !peer.is_empty()
            && peer.len() <= MAX_NAME
            && peer
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".:-_".contains(&byte));
        if peer != "*" && !is_peer {
            return None;
        }
        let grant = Self {
            peer: (peer != "*").then(|| peer.to_owned()),
            port: Ports::parse(port)?,
        };
        (grant.to_string() == text).then_some(grant)
    }

    /// Whether an app may open a stream there.
    pub(crate) fn covers(&self, peer: &str, port: u16) -> bool {
        self.peer.as_deref().is_none_or(|named| named == peer) && self.port.has(port)
    }

    pub(crate) fn words(&self) -> String {
        let peer = self.peer.as_deref().unwrap_or("any agent");
        format!(
            "open streams to {peer} in this agent's name, {}",
            self.port.words()
        )
    }
}

impl Ports {
    fn parse(text: &str) -> Option<Self> {
        match text.parse::<u16>() {
            Ok(0) => None,
            Ok(port) => Some(Self::One(port)),
            Err(_) => (text == "*").then_some(Self::Any),
        }
    }

    fn has(self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::One(one) => one == port,
        }
    }

    fn words(self) -> String {
        match self {
            Self::Any => "any port".to_owned(),
            Self::One(port) => format!("port {port}"),
        }
    }
}

impl fmt::Display for NetGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.hosts, self.port)
    }
}

impl fmt::Display for OverlayGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.peer.as_deref().unwrap_or("*"), self.port)
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Under(name) => write!(f, "*.{name}"),
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => bracketed(*address, f),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::One(port) => write!(f, "{port}"),
        }
    }
}

fn bracketed(address: IpAddr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match address {
        IpAddr::V4(address) => write!(f, "{address}"),
        IpAddr::V6(address) => write!(f, "[{address}]"),
    }
}

/// RFC 6761 §6.3: these are this machine, and are not looked up.
pub(crate) fn is_local_name(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// A name in lower case whose last label is no number: what looks like one is an address to some resolvers (`127.1`, `0x7f000001`).
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= MAX_LABEL
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    };
    let last = name.rsplit('.').next().unwrap_or(name);
    name.len() <= MAX_NAME
        && name.split('.').all(is_label)
        && last.starts_with(|c: char| c.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> NetGrant {
        NetGrant::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn a_grant_has_one_spelling() {
        for text in [
            "*:443",
            "*.example.org:443",
            "example.org:*",
            "127.0.0.1:*",
            "[::1]:80",
            "localhost:8080",
        ] {
            assert_eq!(net(text).to_string(), text);
        }
        for text in [
            "Example.org:443",
            "example.org.:443",
            "*example.org:443",
            "a.*.org:443",
            "*.:443",
            "*.*:443",
            "::1:80",
            "[::0001]:80",
            "[::ffff:127.0.0.1]:80",
            "127.1:80",
            "2130706433:80",
            "0x7f000001:80",
            "a:0",
            "a:65536",
            "a:443x",
            "-a.org:1",
        ] {
            assert_eq!(NetGrant::parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_covered_label_by_label() {
        assert!(net("*.example.org:443").covers_name("www.example.org", 443));
        assert!(net("*.example.org:443").covers_name("a.b.example.org", 443));
        for name in [
            "example.org",
            "evilexample.org",
            ".example.org",
            "example.org.evil.net",
        ] {
            assert!(!net("*.example.org:443").covers_name(name, 443), "{name}");
        }
        assert!(!net("*.example.org:443").covers_name("www.example.org", 80));
        assert!(net("*:*").covers_name("example.org", 1));
        assert!(!net("*:*").covers_name("localhost", 80));
        assert!(!net("*:*").covers_name("a.localhost", 80));
        assert!(net("127.0.0.1:80").covers_name("localhost", 80));
        assert!(!net("10.0.0.1:80").covers_name("localhost", 80));
    }

    #[test]
    fn an_address_is_named_by_itself_alone() {
        let loopback = "127.0.0.1".parse().unwrap();
        assert!(net("127.0.0.1:80").names_address(loopback, 80));
        assert!(net("localhost:80").names_address(loopback, 80));
        for text in ["*:80", "*.org:80", "127.0.0.2:80", "127.0.0.1:81"] {
            assert!(!net(text).names_address(loopback, 80), "{text}");
        }
    }

    #[test]
    fn what_an_app_asks_for_is_read_in_one_spelling() {
        let name = Host::parse("WWW.Example.ORG.").unwrap();
        assert_eq!(name, Host::Name("www.example.org".to_owned()));
        let mapped = Host::parse("::ffff:127.0.0.1").unwrap();
        assert_eq!(mapped, Host::Address("127.0.0.1".parse().unwrap()));
        for text in ["", ".", "a b", "127.1", "0x7f.1", "a\0b", "[example.org]"] {
            assert_eq!(Host::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn agents_are_granted_by_the_name_that_is_used() {
        let one = OverlayGrant::parse("worker:1001").unwrap();
        assert!(one.covers("worker", 1001) && !one.covers("worker2", 1001));
        assert!(!one.covers("worker", 7));
        let all = OverlayGrant::parse("*:7").unwrap();
        assert!(all.covers("0xA91F00007C2E", 7));
        assert_eq!(OverlayGrant::parse("a b:7"), None);
    }
}
