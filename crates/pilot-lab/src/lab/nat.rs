//! Routers that translate or filter, by the kernel's own means.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};

use super::{Lab, Machine, Switch, run};

/// What a router between an inside (`eth0`) and an outside (`eth1`) does to what passes, in the words of RFC 4787. None of
/// them takes anything from outside that it did not ask for itself: a packet that were accepted there would occupy the
/// port that the NAT needs for its host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nat {
    /// One host has the outer address for itself: endpoint-independent mapping and filtering.
    FullCone(Ipv4Addr),
    /// Ports are kept where they are free: endpoint-independent mapping, address- and port-dependent filtering.
    Cone,
    /// A random port for every remote endpoint: address- and port-dependent mapping and filtering.
    Symmetric,
    /// Addresses are kept; address- and port-dependent filtering.
    Firewall,
}

impl Lab {
    /// A router from a switch inside to one outside.
    #[must_use]
    pub fn nat(&self, name: &str, nat: Nat, [inside, outside]: [&Switch; 2]) -> Machine {
        let router = self.router(name, &[inside, outside]);
        router.iptables("-A INPUT -i eth1 -m conntrack --ctstate NEW,INVALID -j DROP");
        match nat {
            Nat::FullCone(host) => {
                router.masquerade("eth1");
                router.iptables(&format!(
                    "-t nat -A PREROUTING -i eth1 -p udp -j DNAT --to-destination {host}"
                ));
            }
            Nat::Cone => router.masquerade("eth1"),
            Nat::Symmetric => {
                router.iptables("-t nat -A POSTROUTING -o eth1 -j MASQUERADE --random-fully");
            }
            Nat::Firewall => {
                router.iptables("-A FORWARD -i eth1 -m conntrack --ctstate NEW,INVALID -j DROP");
            }
        }
        router
    }
}

impl Machine {
    /// Makes it a NAT: what it forwards through the interface leaves with its own address there.
    pub fn masquerade(&self, interface: &str) {
        self.iptables(&format!(
            "-t nat -A POSTROUTING -o {interface} -j MASQUERADE"
        ));
    }

    /// Lets UDP from inside go to one address alone.
    pub fn pass_udp_to(&self, only: Ipv4Addr) {
        self.iptables(&format!("-I FORWARD -i eth0 -p udp ! -d {only} -j DROP"));
    }

    /// From now on a cone that gives UDP these ports, without a memory of those that it gave before: as after a restart of
    /// the router.
    pub fn restart_nat(&self, ports: &RangeInclusive<u16>) {
        let range = format!("{}-{}", ports.start(), ports.end());
        self.iptables("-t nat -F POSTROUTING");
        self.iptables(&format!(
            "-t nat -A POSTROUTING -o eth1 -p udp -j MASQUERADE --to-ports {range}"
        ));
        self.forget_connections();
    }

    /// Empties the kernel's table of connections, and of bindings with it.
    ///
    /// # Panics
    /// If the kernel does not.
    pub fn forget_connections(&self) {
        let done = self.inside(flush_connections);
        done.unwrap_or_else(|error| panic!("{}: {error}", self.namespace()));
    }

    fn iptables(&self, arguments: &str) {
        let mut command = self.command("iptables");
        run(command.args(arguments.split_whitespace()));
    }
}

/// Asks the kernel to delete all connections of the calling thread's network: a message of netfilter's netlink
/// (`linux/netfilter/nfnetlink_conntrack.h`) that names none.
fn flush_connections() -> std::io::Result<()> {
    const DELETE_CONNECTION: u16 = (1 << 8) | 2;
    const REQUEST_AND_ACKNOWLEDGE: u16 = 1 | 4;
    let length: u32 = 16 + 4;
    let mut request = length.to_ne_bytes().to_vec();
    request.extend(DELETE_CONNECTION.to_ne_bytes());
    request.extend(REQUEST_AND_ACKNOWLEDGE.to_ne_bytes());
    // Sequence number and sender, then netfilter's own header: any family, version 0, no resource.
    request.extend([0; 8 + 4]);
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(netlink::NETFILTER))?;
    let mut socket = std::fs::File::from(socket);
    socket.write_all(&request)?;
    // The answer's header, and an error number that is 0 or negative.
    let mut answer = [0; 128];
    let read = socket.read(&mut answer)?;
    let status = answer[..read].get(16..20).and_then(|it| it.try_into().ok());
    match status.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(Errno::from_raw_os_error(-error).into()),
        None => Err(Error::from(ErrorKind::UnexpectedEof)),
    }
}
