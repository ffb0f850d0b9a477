//! The addresses of this machine's interfaces and its ways out, and when they change.

use std::io;

use pilot_node::Prefix;

/// Where this machine is, as far as its own system tells.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Surroundings {
    /// Of the interfaces that carry.
    pub(crate) prefixes: Vec<Prefix>,
    /// The default routes: a machine that leaves one network for another may keep all addresses.
    routes: Vec<String>,
}

impl Surroundings {
    /// As they are now; empty where the system does not tell.
    pub(crate) fn look() -> Self {
        Self {
            prefixes: prefixes(),
            routes: default_routes(),
        }
    }
}

/// Lines of the system's tables that lead everywhere: proc(5), on Linux only.
fn default_routes() -> Vec<String> {
    let lines = |path: &str| {
        let table = std::fs::read_to_string(path).unwrap_or_default();
        let defaults = table.lines().filter(|line| is_default_route(line));
        // Counters and metrics at the end of a line change with use.
        let facts = defaults.map(|line| {
            line.split_whitespace()
                .take(5)
                .collect::<Vec<_>>()
                .join(" ")
        });
        facts.collect::<Vec<String>>()
    };
    let mut routes = lines("/proc/net/route");
    routes.extend(lines("/proc/net/ipv6_route"));
    routes.sort_unstable();
    routes
}

/// `Iface Destination Gateway …` of IPv4, `Destination PrefixLength …` of IPv6.
fn is_default_route(line: &str) -> bool {
    let mut words = line.split_whitespace();
    match (words.next(), words.next()) {
        (Some(_), Some("00000000")) => true,
        (Some(destination), Some("00")) => {
            destination.len() == 32 && destination.bytes().all(|digit| digit == b'0')
        }
        (_, _) => false,
    }
}

/// What the interfaces that carry have now.
fn prefixes() -> Vec<Prefix> {
    let interfaces = match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            tracing::warn!(%error, "the system does not tell our addresses");
            return vec![];
        }
    };
    let carrying = interfaces.iter().filter(|interface| interface.is_oper_up());
    let mut prefixes: Vec<Prefix> = carrying.filter_map(prefix).collect();
    // The system lists them in no order, and only a change counts.
    prefixes.sort_unstable();
    prefixes.dedup();
    prefixes
}

fn prefix(interface: &if_addrs::Interface) -> Option<Prefix> {
    let len = match &interface.addr {
        if_addrs::IfAddr::V4(v4) => v4.prefixlen,
        if_addrs::IfAddr::V6(v6) => v6.prefixlen,
    };
    let prefix = Prefix::new(interface.ip(), len)?;
    Some(match interface.index {
        Some(index) => prefix.with_scope(index),
        None => prefix,
    })
}

/// Tells when links, addresses or routes come or go, as far as the system does: rtnetlink(7) on Linux, nothing elsewhere.
pub(crate) struct Watch {
    #[cfg(target_os = "linux")]
    /// A netlink socket in the guise of another one that tokio knows: both wait and receive by the same calls.
    socket: tokio::net::UnixDatagram,
}

#[cfg(target_os = "linux")]
impl Watch {
    pub(crate) fn new() -> io::Result<Self> {
        use rustix::net::netlink::SocketAddrNetlink;
        use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

        // rtnetlink(7): RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE.
        const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Protocol 0 is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        let socket = std::os::unix::net::UnixDatagram::from(socket);
        Ok(Self {
            socket: tokio::net::UnixDatagram::from_std(socket)?,
        })
    }

    /// Resolves when something changed.
    pub(crate) async fn changed(&self) -> io::Result<()> {
        self.socket.readable().await?;
        // What changed is not read from the message: a full queue loses messages, the list of addresses is whole.
        let mut message = [0; 4096];
        loop {
            match self.socket.try_recv(&mut message) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(NO_ROOM) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// ENOBUFS: messages were lost, and more may be read.
#[cfg(target_os = "linux")]
const NO_ROOM: i32 = rustix::io::Errno::NOBUFS.raw_os_error();

#[cfg(not(target_os = "linux"))]
impl Watch {
    pub(crate) fn new() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) async fn changed(&self) -> io::Result<()> {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_are_told_from_others() {
        let lines = [
            ("eth0\t00000000\t0100A8C0\t0003\t0\t0\t100", true),
            ("eth0\t0000A8C0\t00000000\t0001\t0\t0\t100", false),
            ("Iface\tDestination\tGateway", false),
            (
                "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe80",
                true,
            ),
            (
                "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 0000",
                false,
            ),
            ("", false),
        ];
        for (line, is_default) in lines {
            assert_eq!(is_default_route(line), is_default, "{line:?}");
        }
    }
}
