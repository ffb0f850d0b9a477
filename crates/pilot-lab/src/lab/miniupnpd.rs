//! A router's daemon that grants ports on request: the real `miniupnpd`, with nftables.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use super::{Machine, Process, run, wait};

/// PCP and NAT-PMP, as `/proc/net/udp` writes the port: 5351.
const PORT_CONTROL: &str = ":14E7 ";
/// SSDP: 1900.
const DISCOVERY: &str = ":076C ";
/// Until it answers, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// By what a router grants ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grants {
    /// By PCP, and by all others.
    All,
    /// By all but PCP, to which it is silent.
    NoPcp,
    /// By UPnP alone.
    Upnp,
}

impl Machine {
    /// Starts `miniupnpd` on a router between `eth0` inside and `eth1` outside. It takes no reserved address for an outer one,
    /// as those of the laboratory are: so the router gets `outer` as well, and machines that are to reach it a route
    /// ([`Machine::route_to_address`]). PCP grants are for ten seconds.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn miniupnpd(&self, outer: Ipv4Addr, grants: Grants) -> Process {
        let mut address = self.command("ip");
        run(address.args(["addr", "add", &format!("{outer}/32"), "dev", "eth1"]));
        let rules = self.home().with_extension("nft");
        fs::write(&rules, nftables(grants)).expect("the laboratory's directory");
        run(self.command("nft").arg("-f").arg(&rules));
        let config = self.home().with_extension("conf");
        let leases = self.home().with_extension("leases");
        let text = configuration(outer, grants) + &format!("lease_file={}\n", leases.display());
        fs::write(&config, text).expect("the laboratory's directory");
        let log = fs::File::create(self.home().with_extension("miniupnpd.log"));
        let mut daemon = self.command("miniupnpd");
        daemon.arg("-d").arg("-f").arg(&config);
        daemon.arg("-P").arg(self.home().with_extension("pid"));
        daemon
            .stdout(Stdio::null())
            .stderr(log.expect("the laboratory's directory"));
        let process = Process::spawn(&mut daemon);
        let port = match grants {
            Grants::All | Grants::NoPcp => PORT_CONTROL,
            Grants::Upnp => DISCOVERY,
        };
        wait("miniupnpd listens", PATIENCE, || {
            self.inside(|| fs::read_to_string("/proc/thread-self/net/udp"))
                .is_ok_and(|sockets| sockets.contains(port))
        });
        process
    }

    /// The rules of the router's nftables.
    ///
    /// # Panics
    /// If `nft` does not tell.
    #[must_use]
    pub fn nftables(&self) -> String {
        let rules = run(self.command("nft").args(["list", "ruleset"]));
        String::from_utf8_lossy(&rules.stdout).into_owned()
    }
}

/// The tables and chains that Debian's `/etc/miniupnpd/nft_init.sh` makes, with what a router's owner adds: what comes from
/// inside passes, and its answers.
fn nftables(grants: Grants) -> String {
    let silence = match grants {
        // The first byte of PCP is its version, 2.
        Grants::NoPcp => "udp dport 5351 @th,64,8 2 drop",
        Grants::All | Grants::Upnp => "",
    };
    format!(
        "table inet filter {{
            chain input {{ type filter hook input priority 0; policy accept; {silence}
            }}
            chain miniupnpd {{ }}
            chain forward {{
                type filter hook forward priority 0; policy drop;
                ct state established,related accept
                iifname \"eth0\" accept
                jump miniupnpd
            }}
            chain prerouting_miniupnpd {{ }}
            chain postrouting_miniupnpd {{ }}
            chain prerouting {{ type nat hook prerouting priority -100; policy accept; jump prerouting_miniupnpd; }}
            chain postrouting {{ type nat hook postrouting priority 100; policy accept; jump postrouting_miniupnpd; }}
        }}\n"
    )
}

fn configuration(outer: Ipv4Addr, grants: Grants) -> String {
    let port_control = match grants {
        Grants::All | Grants::NoPcp => "yes",
        Grants::Upnp => "no",
    };
    format!(
        "ext_ifname=eth1\n\
         ext_ip={outer}\n\
         listening_ip=eth0\n\
         http_port=0\n\
         enable_natpmp={port_control}\n\
         enable_upnp=yes\n\
         min_lifetime=1\n\
         max_lifetime=10\n\
         secure_mode=yes\n\
         uuid=00000000-0000-0000-0000-000000000001\n\
         upnp_table_name=filter\n\
         upnp_nat_table_name=filter\n\
         upnp_forward_chain=miniupnpd\n\
         upnp_nat_chain=prerouting_miniupnpd\n\
         upnp_nat_postrouting_chain=postrouting_miniupnpd\n\
         allow 1024-65535 0.0.0.0/0 1024-65535\n"
    )
}
