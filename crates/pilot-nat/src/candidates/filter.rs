//! Which addresses of a peer's list are tried: none at which a peer could make us bother somebody else's network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::canonical;

/// Why an address is not tried.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No packet to it can arrive at one agent: port 0, unspecified, multicast, broadcast or reserved.
    #[error("no address of a machine")]
    NotUnicast,
    /// Loopback, and neither a socket of ours nor a rendezvous is on it.
    #[error("loopback")]
    Loopback,
    /// Private or link-local, and no interface of ours is in its network.
    #[error("private, in no network of ours")]
    Private,
    /// A rendezvous or relay.
    #[error("a rendezvous")]
    Rendezvous,
    /// Our own.
    #[error("our own")]
    Own,
}

/// An address of one of our interfaces and the length of its network's prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Prefix {
    ip: IpAddr,
    len: u8,
    scope: u32,
}

impl Prefix {
    /// `ip/len`; `None` if `len` is longer than the address.
    #[must_use]
    pub fn new(ip: IpAddr, len: u8) -> Option<Self> {
        let ip = ip.to_canonical();
        (u32::from(len) <= bits(ip)).then_some(Self { ip, len, scope: 0 })
    }

    /// With the index of the interface, without which nothing can be sent to a link-local IPv6 address.
    #[must_use]
    pub const fn with_scope(self, scope: u32) -> Self {
        Self { scope, ..self }
    }

    /// The interface's address.
    #[must_use]
    pub const fn ip(&self) -> IpAddr {
        self.ip
    }

    fn contains(&self, ip: IpAddr) -> bool {
        let shift = bits(self.ip) - u32::from(self.len);
        let difference = number(self.ip) ^ number(ip);
        // A prefix of no bits says nothing about what is near.
        self.ip.is_ipv4() == ip.is_ipv4() && self.len > 0 && difference >> shift == 0
    }

    /// RFC 919 §7: the broadcast address of the network. Networks of one or two addresses have none (RFC 3021).
    fn is_broadcast(&self, ip: IpAddr) -> bool {
        let host = 32 - u32::from(self.len.min(32));
        self.ip.is_ipv4() && self.contains(ip) && host > 1 && {
            let mask = (1u128 << host) - 1;
            number(ip) & mask == mask
        }
    }
}

/// What we know of our own place when a peer names addresses.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Our interfaces.
    pub prefixes: Vec<Prefix>,
    /// What our sockets are bound to; may be unspecified.
    pub bound: Vec<SocketAddr>,
    /// The rendezvous and relays that we know: only we choose to talk to them.
    pub rendezvous: Vec<SocketAddr>,
    /// Whether the peer's grant allows private addresses in networks that none of our interfaces is in, which a router
    /// may lead to (RFC 1918, RFC 4193, RFC 6598; link-local ones never).
    pub allow_private: bool,
}

impl Filter {
    /// The address as it is to be tried.
    ///
    /// # Errors
    /// The [`Refusal`].
    pub fn check(&self, addr: SocketAddr) -> Result<SocketAddr, Refusal> {
        let addr = canonical(addr);
        let ip = addr.ip();
        if is_never_unicast(addr) || self.prefixes.iter().any(|p| p.is_broadcast(ip)) {
            return Err(Refusal::NotUnicast);
        }
        if self.rendezvous.iter().any(|r| is_same(*r, addr)) {
            return Err(Refusal::Rendezvous);
        }
        if self.is_own(addr) {
            return Err(Refusal::Own);
        }
        if ip.is_loopback() {
            // A rendezvous on this very machine has its agents here, too.
            let mut ours = self.bound.iter().chain(&self.rendezvous);
            let is_here = ours.any(|addr| addr.ip().is_loopback());
            return is_here.then_some(addr).ok_or(Refusal::Loopback);
        }
        self.check_network(addr)
    }

    fn check_network(&self, addr: SocketAddr) -> Result<SocketAddr, Refusal> {
        let network = Network::of(addr.ip());
        let prefix = self.prefixes.iter().find(|p| p.contains(addr.ip()));
        match (network, prefix, addr) {
            (Network::LinkLocal, Some(prefix), SocketAddr::V6(v6)) => {
                Ok(SocketAddrV6::new(*v6.ip(), v6.port(), 0, prefix.scope).into())
            }
            (Network::LinkLocal | Network::Private, Some(_), _) => Ok(addr),
            (Network::Private, None, _) if self.allow_private => Ok(addr),
            (Network::LinkLocal | Network::Private, None, _) => Err(Refusal::Private),
            (Network::Global, _, _) => Ok(addr),
        }
    }

    fn is_own(&self, addr: SocketAddr) -> bool {
        self.bound.iter().any(|bound| {
            is_same(*bound, addr)
                || (bound.ip().is_unspecified()
                    && bound.port() == addr.port()
                    && self.prefixes.iter().any(|prefix| prefix.ip == addr.ip()))
        })
    }
}

/// Whether no datagram may go there, whatever else we know.
pub(crate) fn is_never_unicast(addr: SocketAddr) -> bool {
    let is_reserved = match addr.ip() {
        // RFC 791 "this network", RFC 1112 §4 class E with the broadcast address.
        IpAddr::V4(ip) => ip.octets()[0] == 0 || ip.octets()[0] >= 240,
        IpAddr::V6(_) => false,
    };
    addr.port() == 0 || addr.ip().is_unspecified() || addr.ip().is_multicast() || is_reserved
}

#[derive(Clone, Copy)]
enum Network {
    Global,
    Private,
    LinkLocal,
}

impl Network {
    const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) if ip.is_link_local() => Self::LinkLocal,
            IpAddr::V4(ip) if ip.is_private() || is_shared(ip) => Self::Private,
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Self::LinkLocal,
            IpAddr::V6(ip) if ip.is_unique_local() || is_site_local(ip) => Self::Private,
            IpAddr::V4(_) | IpAddr::V6(_) => Self::Global,
        }
    }
}

/// RFC 6598: between carriers' NATs and their customers.
const fn is_shared(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    a == 100 && b & 0xC0 == 64
}

/// RFC 3879: deprecated, and still in use.
const fn is_site_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xFFC0 == 0xFEC0
}

fn is_same(a: SocketAddr, b: SocketAddr) -> bool {
    let (a, b) = (canonical(a), canonical(b));
    (a.ip(), a.port()) == (b.ip(), b.port())
}

const fn bits(ip: IpAddr) -> u32 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter() -> Filter {
        let prefix = |ip: &str, len| Prefix::new(ip.parse().unwrap(), len).unwrap();
        Filter {
            prefixes: vec![
                prefix("192.168.1.7", 24),
                prefix("fd00::7", 64),
                prefix("fe80::7", 64).with_scope(3),
            ],
            bound: vec![
                "0.0.0.0:9000".parse().unwrap(),
                "[::]:9000".parse().unwrap(),
            ],
            rendezvous: vec!["203.0.113.9:9000".parse().unwrap()],
            allow_private: false,
        }
    }

    fn check(filter: &Filter, addr: &str) -> Result<String, Refusal> {
        filter
            .check(addr.parse().unwrap())
            .map(|addr| addr.to_string())
    }

    #[test]
    fn what_a_peer_may_not_make_us_send_to() {
        let refused = [
            ("192.0.2.1:0", Refusal::NotUnicast),
            ("0.0.0.0:1", Refusal::NotUnicast),
            ("0.1.2.3:1", Refusal::NotUnicast),
            ("[::]:1", Refusal::NotUnicast),
            ("224.0.0.251:5353", Refusal::NotUnicast),
            ("[ff02::fb]:5353", Refusal::NotUnicast),
            ("255.255.255.255:1", Refusal::NotUnicast),
            ("240.0.0.1:1", Refusal::NotUnicast),
            ("192.168.1.255:1", Refusal::NotUnicast),
            ("127.0.0.1:1", Refusal::Loopback),
            ("127.8.9.1:1", Refusal::Loopback),
            ("[::1]:1", Refusal::Loopback),
            ("[::ffff:127.0.0.1]:1", Refusal::Loopback),
            ("10.0.0.1:1", Refusal::Private),
            ("192.168.2.1:1", Refusal::Private),
            ("172.31.0.1:1", Refusal::Private),
            ("100.127.0.1:1", Refusal::Private),
            ("169.254.1.1:1", Refusal::Private),
            ("[fd01::1]:1", Refusal::Private),
            ("[fe80:0:0:1::1]:1", Refusal::Private),
            ("203.0.113.9:9000", Refusal::Rendezvous),
            ("[::ffff:203.0.113.9]:9000", Refusal::Rendezvous),
            ("192.168.1.7:9000", Refusal::Own),
        ];
        for (addr, refusal) in refused {
            assert_eq!(check(&filter(), addr), Err(refusal), "{addr}");
        }
    }

    #[test]
    fn what_is_tried() {
        let tried = [
            ("192.0.2.1:1", "192.0.2.1:1"),
            ("[2001:db8::1]:1", "[2001:db8::1]:1"),
            ("[::ffff:192.0.2.1]:1", "192.0.2.1:1"),
            ("192.168.1.8:9000", "192.168.1.8:9000"),
            ("192.168.1.7:9001", "192.168.1.7:9001"),
            ("[fd00::8]:1", "[fd00::8]:1"),
            ("[fe80::8]:1", "[fe80::8%3]:1"),
            ("203.0.113.9:9001", "203.0.113.9:9001"),
            ("100.128.0.1:1", "100.128.0.1:1"),
        ];
        for (addr, as_tried) in tried {
            assert_eq!(check(&filter(), addr).as_deref(), Ok(as_tried), "{addr}");
        }
    }

    #[test]
    fn a_grant_opens_private_networks_but_not_links() {
        let filter = Filter {
            allow_private: true,
            ..filter()
        };
        for addr in ["10.0.0.1:1", "100.64.0.1:1", "[fd01::1]:1"] {
            assert!(check(&filter, addr).is_ok(), "{addr}");
        }
        for addr in ["169.254.1.1:1", "[fe80:0:0:1::1]:1"] {
            assert_eq!(check(&filter, addr), Err(Refusal::Private), "{addr}");
        }
    }

    #[test]
    fn loopback_is_tried_among_loopbacks_own() {
        let filter = Filter {
            bound: vec!["127.0.0.1:9000".parse().unwrap()],
            ..Filter::default()
        };
        assert!(check(&filter, "127.0.0.1:9001").is_ok());
        assert_eq!(check(&filter, "127.0.0.1:9000"), Err(Refusal::Own));
    }

    #[test]
    fn a_prefix_of_length_zero_is_no_network_of_ours() {
        let filter = Filter {
            prefixes: vec![Prefix::new("192.0.2.1".parse().unwrap(), 0).unwrap()],
            ..Filter::default()
        };
        assert_eq!(check(&filter, "10.0.0.1:1"), Err(Refusal::Private));
        assert_eq!(Prefix::new("192.0.2.1".parse().unwrap(), 33), None);
    }
}
