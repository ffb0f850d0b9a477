//! The addresses of this machine's interfaces, and when they change.

use std::io;

use pilot_node::Prefix;

/// What the interfaces have now; empty where the system does not tell.
pub(crate) fn prefixes() -> Vec<Prefix> {
    let interfaces = match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            tracing::warn!(%error, "the system does not tell our addresses");
            return vec![];
        }
    };
    let mut prefixes: Vec<Prefix> = interfaces.iter().filter_map(prefix).collect();
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

/// Tells when addresses come or go, as far as the system does: rtnetlink(7) on Linux, nothing elsewhere.
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

        // rtnetlink(7): RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR.
        const ADDRESSES: u32 = 0x10 | 0x100;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Protocol 0 is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, ADDRESSES))?;
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
