//! The story that most system tests begin with: a rendezvous, and two agents that trust each other.

use std::time::Duration;

use pilot_sim::LinkConfig;

use super::{Daemon, Lab, Machine, Rendezvous, wait};

/// How long trust may take, losses among it.
const PATIENCE: Duration = Duration::from_secs(30);
const NAMES: [&str; 3] = ["server", "alice", "bob"];

/// Two agents, `alice` and `bob`, and a rendezvous, on three machines.
pub struct Pair {
    /// Where the rendezvous runs.
    pub server: Machine,
    /// Alice's machine.
    pub alice: Machine,
    /// Bob's machine.
    pub bob: Machine,
    /// The rendezvous.
    pub rendezvous: Rendezvous,
    /// Alice's daemon.
    pub alice_daemon: Daemon,
    /// Bob's daemon.
    pub bob_daemon: Daemon,
    /// What holds them.
    pub lab: Lab,
}

impl Pair {
    /// Starts all three, each machine behind an emulated link, lets alice knock and bob approve.
    ///
    /// # Panics
    /// If they do not come to trust each other.
    #[must_use]
    pub fn trusted(links: [LinkConfig; 3]) -> Self {
        let lab = Lab::new();
        let machines = [0, 1, 2].map(|it| lab.machine_behind(NAMES[it], links[it]));
        Self::on(lab, machines)
    }

    /// The same on perfect wires, without an emulator between them.
    ///
    /// # Panics
    /// As [`Pair::trusted`].
    #[must_use]
    pub fn wired() -> Self {
        let lab = Lab::new();
        let machines = NAMES.map(|name| lab.machine(name));
        Self::on(lab, machines)
    }

    fn on(lab: Lab, [server, alice, bob]: [Machine; 3]) -> Self {
        let rendezvous = server.rendezvous();
        let pair = Self {
            alice_daemon: start(&alice, "alice", &rendezvous),
            bob_daemon: start(&bob, "bob", &rendezvous),
            lab,
            server,
            alice,
            bob,
            rendezvous,
        };
        befriend(&pair.alice, "bob", &pair.bob);
        pair
    }
}

/// Starts an agent of this name.
///
/// # Panics
/// If it does not come up.
pub fn start(machine: &Machine, name: &str, rendezvous: &Rendezvous) -> Daemon {
    machine.daemon(&["--hostname", name, "--rendezvous", &rendezvous.url])
}

/// Starts agents of these names, all at once.
///
/// # Panics
/// If one does not come up.
pub fn start_all(agents: &[(&Machine, &str)], rendezvous: &Rendezvous) -> Vec<Daemon> {
    let begin = |(machine, name): &(&Machine, &str)| {
        let place = ["--hostname", name, "--rendezvous", &rendezvous.url];
        machine.ask(&[&["daemon", "start"], &place[..]].concat())
    };
    let started: Vec<_> = agents.iter().map(begin).collect();
    let ready = agents.iter().zip(started);
    ready
        .map(|((machine, _), start)| machine.daemon_of(start.data().0))
        .collect()
}

/// Lets one agent knock at another by its hostname and that one approve it, and waits until both trust.
///
/// # Panics
/// If that takes longer than half a minute.
pub fn befriend(from: &Machine, hostname: &str, to: &Machine) {
    from.data(&["handshake", hostname, "let us talk"]);
    let mut knock = None;
    wait("pending", PATIENCE, || {
        let pending = to.data(&["pending"]);
        knock = pending["pending"][0]["address"].as_str().map(String::from);
        knock.is_some()
    });
    to.data(&["approve", &knock.expect("waited for")]);
    wait("trust", PATIENCE, || is_mutual(from) && is_mutual(to));
}

/// Whether some agent and this one trust each other.
#[must_use]
pub fn is_mutual(machine: &Machine) -> bool {
    let trust = machine.data(&["trust"]);
    let mut peers = trust["trusted"].as_array().into_iter().flatten();
    peers.any(|peer| peer["mutual"] == true)
}
