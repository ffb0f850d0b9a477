//! Where agents are: on the Internet, or behind routers of every kind.

use std::cell::Cell;
use std::net::IpAddr;
use std::time::Duration;

use pilot_lab::{Daemon, Lab, LinkConfig, Machine, Nat, Rendezvous, Switch, start_all, wait};
use pilot_sim::{Dependence, DirectPath, HostId, NatConfig, Network, Place};
use pilot_store::Home;
use serde_json::Value;

/// What an agent is behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Behind {
    Nothing,
    FullCone,
    Cone,
    Symmetric,
    /// A home router behind a carrier's, both cones.
    Two,
    Firewall,
}

impl Behind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Nothing,
        Self::FullCone,
        Self::Cone,
        Self::Symmetric,
        Self::Two,
        Self::Firewall,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "public",
            Self::FullCone => "full-cone",
            Self::Cone => "cone",
            Self::Symmetric => "symmetric",
            Self::Two => "double",
            Self::Firewall => "firewall",
        }
    }

    /// What the simulator's oracle says of agents behind these two.
    pub(crate) fn meeting(self, other: Self) -> DirectPath {
        let mut network = Network::new(0);
        let [a, b] = [(self, 1), (other, 2)].map(|(it, number)| it.simulate(&mut network, number));
        network.direct_path(a, b)
    }

    fn simulate(self, network: &mut Network, number: u8) -> HostId {
        let independent = Dependence::EndpointIndependent;
        let (outer, inner) = (
            IpAddr::from([203, 0, 113, number]),
            IpAddr::from([192, 168, number, 2]),
        );
        let config = match self {
            Self::Nothing => return network.add_public_host(outer),
            Self::Firewall => {
                let firewall = network.add_firewall(NatConfig::easy(), Place::Internet);
                return network.add_host_behind(firewall, outer);
            }
            Self::FullCone => NatConfig::new(independent, independent),
            Self::Cone | Self::Two => NatConfig::easy(),
            Self::Symmetric => NatConfig::hard(),
        };
        let mut nat = network.add_nat(config.clone(), Place::Internet, outer);
        if self == Self::Two {
            let middle = IpAddr::from([100, 64, number, 2]);
            nat = network.add_nat(config, Place::Behind(nat), middle);
        }
        network.add_host_behind(nat, inner)
    }
}

/// The network that all others are in, `203.0.113.0/24`, and the rendezvous on it.
pub(crate) struct Internet {
    pub(crate) rendezvous: Option<Rendezvous>,
    pub(crate) server: Machine,
    pub(crate) lab: Lab,
    firewalls: Cell<u8>,
}

impl Internet {
    /// With the rendezvous behind such a link.
    pub(crate) fn new(link: Option<LinkConfig>) -> Self {
        let lab = Lab::in_network([203, 0, 113]);
        let server = match link {
            Some(link) => lab.machine_behind("server", link),
            None => lab.machine("server"),
        };
        Self {
            rendezvous: Some(server.rendezvous()),
            server,
            lab,
            firewalls: Cell::new(0),
        }
    }

    pub(crate) fn rendezvous(&self) -> &Rendezvous {
        self.rendezvous.as_ref().expect("it runs")
    }

    /// A machine behind routers of its own, at the end of such a link.
    pub(crate) fn site(&self, name: &str, behind: Behind, link: Option<LinkConfig>) -> Site {
        let mut site = Site {
            name: name.into(),
            behind,
            machine: self.lab.bare_machine(name),
            daemon: None,
            routers: vec![],
            switches: vec![],
        };
        let nat = match behind {
            Behind::Nothing => None,
            Behind::FullCone => Some(Nat::FullCone([192, 168, 1, 2].into())),
            Behind::Cone | Behind::Two => Some(Nat::Cone),
            Behind::Symmetric => Some(Nat::Symmetric),
            Behind::Firewall => Some(Nat::Firewall),
        };
        if behind == Behind::Two {
            site.add_router(self, Nat::Cone, [100, 64, 1]);
        }
        if let Some(nat) = nat {
            site.add_router(self, nat, self.inside(behind));
        }
        let switch = site.switches.last().unwrap_or_else(|| self.lab.switch());
        match link {
            Some(link) => drop(site.machine.connect_by(switch, link)),
            None => site.machine.connect(switch),
        }
        if let Some(router) = site.routers.last() {
            site.machine.route_by(router.address());
        }
        site
    }

    /// All homes have the same addresses, as so many have; what is behind a firewall has addresses of its own.
    fn inside(&self, behind: Behind) -> [u8; 3] {
        if behind != Behind::Firewall {
            return [192, 168, 1];
        }
        let number = self.firewalls.replace(self.firewalls.get() + 1);
        [198, 51, 100 + number]
    }

    /// Tells everybody on the Internet the way to what is behind firewalls.
    pub(crate) fn join(&self, sites: &[Site]) {
        for (at, site) in sites.iter().enumerate() {
            if site.behind != Behind::Firewall {
                continue;
            }
            let others = sites.iter().enumerate().filter(|(other, _)| *other != at);
            let edges = others.map(|(_, other)| other.routers.first().unwrap_or(&other.machine));
            for machine in edges.chain([&self.server]) {
                machine.route_to(&site.switches[0], site.routers[0].addresses()[1]);
            }
        }
    }

    /// Starts the agents of sites, all at once.
    pub(crate) fn start(&self, sites: &mut [&mut Site]) {
        let agents: Vec<_> = sites
            .iter()
            .map(|site| (&site.machine, site.name.as_str()))
            .collect();
        let daemons = start_all(&agents, self.rendezvous());
        for (site, daemon) in sites.iter_mut().zip(daemons) {
            site.daemon = Some(daemon);
        }
    }
}

/// An agent's machine, and the routers between it and the Internet.
pub(crate) struct Site {
    pub(crate) name: String,
    pub(crate) behind: Behind,
    pub(crate) machine: Machine,
    pub(crate) daemon: Option<Daemon>,
    /// The outermost first.
    pub(crate) routers: Vec<Machine>,
    /// Behind each router.
    pub(crate) switches: Vec<Switch>,
}

impl Site {
    fn add_router(&mut self, internet: &Internet, nat: Nat, network: [u8; 3]) {
        let name = format!("{}-r{}", self.name, self.routers.len());
        let inside = internet.lab.add_switch_in(network);
        let outside = self
            .switches
            .last()
            .unwrap_or_else(|| internet.lab.switch());
        let router = internet.lab.nat(&name, nat, [&inside, outside]);
        if let Some(outer) = self.routers.last() {
            router.route_by(outer.address());
        }
        self.routers.push(router);
        self.switches.push(inside);
    }

    /// Ends the agent at once. With `cold`, its next start does not know whom it was connected to.
    pub(crate) fn kill(&mut self, cold: bool) {
        self.daemon.take().expect("it runs").kill();
        if cold {
            let home = Home::open(self.machine.home()).expect("the agent's home");
            // The system keeps its files open until the last of its threads is gone.
            let forget = || {
                home.open_state()
                    .is_ok_and(|it| it.put_last_sessions(&[]).is_ok())
            };
            wait("the state is free", Duration::from_secs(10), forget);
        }
    }

    pub(crate) fn address(&self) -> &Value {
        &self.daemon.as_ref().expect("it runs").ready["address"]
    }

    /// What `peers` says of the path to another agent; `none` without a session.
    pub(crate) fn path_to(&self, other: &Self) -> String {
        let peers = self.machine.data(&["peers"]);
        let mut peers = peers["peers"].as_array().into_iter().flatten();
        let peer = peers.find(|peer| peer["address"] == *other.address());
        let path = peer.and_then(|peer| peer["path"].as_str());
        path.unwrap_or("none").into()
    }
}

/// Lets each of the pairs trust each other. Agents must be started after their `auto_approve` is set.
pub(crate) fn befriend_all(pairs: &[(&Site, &Site)]) {
    let ask = |(from, to): &(&Site, &Site)| from.machine.ask(&["handshake", &to.name, "--wait"]);
    let asked: Vec<_> = pairs.iter().map(ask).collect();
    for asked in asked {
        assert_eq!(asked.data().0["status"], "trusted");
    }
}

pub(crate) const AWAY: Duration = Duration::from_millis(20);
