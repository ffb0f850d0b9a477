//! The routers that lead out of our private networks, from the system's routing table.

use std::net::Ipv4Addr;

/// Default routes that are looked at: a machine has one for each way out, and each costs seconds of asking.
const MAX_ROUTES: usize = 4;
/// route(8): the route is up, and leads to a gateway (`linux/route.h`).
const UP_AND_GATEWAY: u32 = 0x1 | 0x2;

/// A router, and our address in its network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Route {
    pub(super) gateway: Ipv4Addr,
    pub(super) local: Ipv4Addr,
}

/// An address of ours and the length of its network's prefix.
#[derive(Clone, Copy, Debug)]
struct Own {
    ip: Ipv4Addr,
    len: u8,
}

impl Own {
    const fn is_near(self, ip: Ipv4Addr) -> bool {
        let shift = 32 - self.len as u32;
        // A prefix of no bits says nothing about what is near.
        self.len > 0 && (self.ip.to_bits() ^ ip.to_bits()) >> shift == 0
    }
}

/// The routers that may be asked for a socket that is bound to `bound`, the preferred one first. None where the system does
/// not tell: its table is read on Linux only.
pub(super) fn routes(bound: Ipv4Addr) -> Vec<Route> {
    let table = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let own: Vec<Own> = interfaces
        .iter()
        .filter_map(|interface| match &interface.addr {
            if_addrs::IfAddr::V4(v4) => Some(Own {
                ip: v4.ip,
                len: v4.prefixlen,
            }),
            if_addrs::IfAddr::V6(_) => None,
        })
        .collect();
    routes_in(&table, &own, bound)
}

fn routes_in(table: &str, own: &[Own], bound: Ipv4Addr) -> Vec<Route> {
    let mut defaults: Vec<(u32, Ipv4Addr)> = table.lines().filter_map(default_route).collect();
    defaults.sort_unstable();
    let mut routes = vec![];
    for (_, gateway) in defaults {
        let route = own
            .iter()
            .find(|own| may_ask(gateway, **own, bound))
            .map(|own| Route {
                gateway,
                local: own.ip,
            });
        if let Some(route) = route.filter(|route| !routes.contains(route)) {
            routes.push(route);
        }
    }
    routes.truncate(MAX_ROUTES);
    routes
}

/// Only a router of a home or office, on the very link: nobody else is sent what is meant for it.
fn may_ask(gateway: Ipv4Addr, own: Own, bound: Ipv4Addr) -> bool {
    let is_private = gateway.is_private() || gateway.is_link_local();
    let is_ours = bound.is_unspecified() || bound == own.ip;
    is_private && is_ours && gateway != own.ip && own.is_near(gateway)
}

/// Metric and gateway of a line of `/proc/net/route`, if it is a default route by a gateway: addresses are hexadecimal, in
/// the order of bytes that they have in memory.
fn default_route(line: &str) -> Option<(u32, Ipv4Addr)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let hexadecimal = |text: &str| u32::from_str_radix(text, 16).ok();
    let destination = hexadecimal(fields.next()?)?;
    let gateway = hexadecimal(fields.next()?)?;
    let flags = hexadecimal(fields.next()?)?;
    let metric = fields.nth(2)?.parse().ok()?;
    let mask = hexadecimal(fields.next()?)?;
    let is_default = destination == 0 && mask == 0 && flags & UP_AND_GATEWAY == UP_AND_GATEWAY;
    is_default.then(|| (metric, Ipv4Addr::from(gateway.to_ne_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n";

    /// A default route as this machine's kernel would write it.
    fn default_by(gateway: [u8; 4], metric: u32) -> String {
        let gateway = u32::from_ne_bytes(gateway);
        format!("eth0 00000000 {gateway:08X} 0003 0 0 {metric} 00000000 0 0 0\n")
    }

    fn own(ip: [u8; 4], len: u8) -> Own {
        Own { ip: ip.into(), len }
    }

    fn gateways(table: &str, own: &[Own], bound: [u8; 4]) -> Vec<Ipv4Addr> {
        let routes = routes_in(table, own, bound.into());
        routes.iter().map(|route| route.gateway).collect()
    }

    const ANY: [u8; 4] = [0; 4];

    #[test]
    fn the_router_of_our_own_network_is_found_by_preference() {
        let table = [
            HEADER,
            &default_by([10, 0, 0, 1], 600),
            &default_by([192, 168, 1, 1], 100),
            "eth0 0001A8C0 00000000 0001 0 0 100 00FFFFFF 0 0 0\n",
        ]
        .concat();
        let own = [own([192, 168, 1, 7], 24), own([10, 0, 0, 7], 8)];
        let found = routes_in(&table, &own, ANY.into());
        let expected = [([192, 168, 1, 1], own[0].ip), ([10, 0, 0, 1], own[1].ip)];
        let expected = expected.map(|(gateway, local)| Route {
            gateway: gateway.into(),
            local,
        });
        assert_eq!(found, expected);
        let bound = gateways(&table, &own, [10, 0, 0, 7]);
        assert_eq!(bound, [Ipv4Addr::new(10, 0, 0, 1)]);
    }

    #[test]
    fn nobody_is_asked_but_a_private_router_on_our_link() {
        let home = own([192, 168, 1, 7], 24);
        for (gateway, own) in [
            // A public machine's router, and a carrier's.
            ([203, 0, 113, 1], own([203, 0, 113, 7], 24)),
            ([100, 64, 0, 1], own([100, 64, 0, 7], 24)),
            // On no link of ours, or on all.
            ([192, 168, 2, 1], home),
            ([10, 0, 0, 1], own([10, 0, 0, 7], 0)),
            ([127, 0, 0, 1], own([127, 0, 0, 1], 8)),
            // Ourselves.
            ([192, 168, 1, 7], home),
        ] {
            let table = [HEADER, &default_by(gateway, 0)].concat();
            assert!(gateways(&table, &[own], ANY).is_empty(), "{gateway:?}");
        }
    }

    #[test]
    fn other_lines_are_no_default_routes() {
        let own = [own([192, 168, 1, 7], 24)];
        for line in [
            "",
            "eth0 0001A8C0 0101A8C0 0003 0 0 0 00FFFFFF 0 0 0",
            "eth0 00000000 0101A8C0 0001 0 0 0 00000000 0 0 0",
            "eth0 00000000 0101A8C0 0002 0 0 0 00000000 0 0 0",
            "eth0 00000000 xyz 0003 0 0 0 00000000 0 0 0",
            "eth0 00000000 0101A8C0 0003 0 0",
        ] {
            assert!(gateways(line, &own, ANY).is_empty(), "{line}");
        }
    }

    #[test]
    fn routes_are_bounded() {
        let table: String = (1..=200)
            .map(|n| default_by([10, 0, n, 1], n.into()))
            .collect();
        assert_eq!(
            gateways(&table, &[own([10, 9, 9, 9], 8)], ANY).len(),
            MAX_ROUTES
        );
    }
}
