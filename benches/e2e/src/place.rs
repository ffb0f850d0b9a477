//! Where a measurement runs: two network namespaces and what joins them.

use std::time::Duration;

use pilot_lab::{Daemon, Lab, LinkConfig, Machine, parse_link};

use crate::child::{Child, Role};
use crate::contestant::daemon::HOSTNAME;
use crate::setup::{Bounds, Done, Mode, Name, Result, Setup, Usage};

/// Links that have a name; each queue holds one product of rate and round trip.
const PROFILES: [(&str, &str); 3] = [
    ("wan-lossy", "delay=25ms,loss=1%,rate=200mbit,queue=1220k"),
    ("wan", "delay=50ms,loss=0.1%,rate=100mbit,queue=1220k"),
    ("far-lossy", "delay=100ms,loss=3%,rate=50mbit,queue=1220k"),
];
/// How long a process may take beside the time of its run.
const PATIENCE: Duration = Duration::from_secs(60);

/// What joins the two machines.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Wire {
    /// As the user wrote it.
    pub(crate) text: String,
    link: Option<LinkConfig>,
}

impl std::str::FromStr for Wire {
    type Err = pilot_lab::SpecError;

    /// `veth`, the name of a profile, or a link as `pilot-link` reads it.
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let named = PROFILES.iter().find(|(name, _)| *name == text);
        let link = match text {
            "veth" => None,
            _ => Some(parse_link(named.map_or(text, |(_, spec)| spec))?),
        };
        let text = named.map_or_else(
            || text.to_owned(),
            |(name, spec)| format!("{name} ({spec})"),
        );
        Ok(Self { text, link })
    }
}

/// One run of one contestant.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) done: Done,
    pub(crate) client: Usage,
    pub(crate) server: Usage,
}

/// Measures one contestant in one mode, on machines of their own.
pub(crate) fn measure(wire: &Wire, name: Name, mode: Mode, bounds: Bounds) -> Result<Run> {
    let lab = Lab::new();
    let machines = join(&lab, wire)?;
    let mut setup = Setup {
        name,
        mode,
        bounds,
        address: machines[0].address(),
        home: machines[0].home().to_owned(),
        ticket: String::new(),
    };
    // It ends with the function.
    let rendezvous = match name {
        Name::Pilot | Name::Daemon => Some(rendezvous(&lab, &machines[0], &setup)?),
        _ => None,
    };
    if let Some(rendezvous) = &rendezvous {
        setup.ticket = rendezvous.ready(PATIENCE)?;
    }
    let daemons = (name == Name::Daemon).then(|| Daemons::start(&machines, &setup.ticket));
    let mut server = Child::start(&machines[0], Role::Server, &setup)?;
    setup.ticket = server.ready(PATIENCE)?;
    setup.address = machines[1].address();
    setup.home = machines[1].home().to_owned();
    let mut client = Child::start(&machines[1], Role::Client, &setup)?;
    client.ready(PATIENCE)?;
    let before = server.usage(PATIENCE)?;
    let daemons_before = daemons.as_ref().map(Daemons::usage);
    let done = client.run(PATIENCE + Duration::from_secs_f64(bounds.seconds))?;
    let used = server.usage(PATIENCE)?.since(before);
    let mut measured = Run {
        client: done.usage,
        server: used,
        done,
    };
    if let (Some(daemons), Some(before)) = (&daemons, daemons_before) {
        measured.add(daemons.usage(), before);
    }
    Ok(measured)
}

/// Starts a rendezvous on a machine, with a home of its own.
fn rendezvous(lab: &Lab, machine: &Machine, setup: &Setup) -> Result<Child> {
    let setup = Setup {
        home: lab.directory().join("rendezvous"),
        ..setup.clone()
    };
    Child::start(machine, Role::Rendezvous, &setup)
}

impl Run {
    /// Adds what each side's daemon used.
    fn add(&mut self, daemons: [Usage; 2], before: [Usage; 2]) {
        for ((side, now), before) in [&mut self.server, &mut self.client]
            .into_iter()
            .zip(daemons)
            .zip(before)
        {
            side.cpu += now.since(before).cpu;
            side.peak += now.peak;
        }
    }
}

/// Two machines on one wire: the first serves.
fn join(lab: &Lab, wire: &Wire) -> Result<[Machine; 2]> {
    let [mut server, mut client] = ["server", "client"].map(|name| lab.bare_machine(name));
    match wire.link {
        None => lab.wire(&mut server, &mut client),
        Some(link) => drop(lab.link(&mut server, &mut client, link)),
    }
    server.inside(open_ports)?;
    client.inside(open_ports)?;
    Ok([server, client])
}

/// Thousands of TCP connections a second from one address need all its ports, again after a second.
fn open_ports() -> std::io::Result<()> {
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "1024 65535")?;
    std::fs::write("/proc/sys/net/ipv4/tcp_tw_reuse", "1")
}

/// Two daemons that trust each other.
struct Daemons([Daemon; 2]);

impl Daemons {
    fn start(machines: &[Machine; 2], url: &str) -> Self {
        let [server, client] = machines;
        let start = |(machine, name): (&Machine, &str)| {
            machine.daemon(&["--hostname", name, "--rendezvous", url])
        };
        let daemons = [(server, HOSTNAME), (client, "client")].map(start);
        pilot_lab::befriend(client, HOSTNAME, server);
        Self(daemons)
    }

    fn usage(&self) -> [Usage; 2] {
        self.0.each_ref().map(|daemon| Usage::of(daemon.pid()))
    }
}
