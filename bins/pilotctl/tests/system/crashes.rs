//! Agents and the rendezvous killed at any moment of traffic.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use pilot_lab::{Daemon, Machine, Pair, Process, Rendezvous, SimRng, is_mutual, start, wait};
use serde_json::Value;

use super::{count_in_inbox, perfect, setting, write_random};

/// How soon two agents are connected again after both run again.
const RECONNECTED: Duration = Duration::from_secs(5);
/// When a message or a stream that meets a crash has ended, well or not.
const ENDED: Duration = Duration::from_secs(10);
/// The crash comes evenly within this time after the first message was given to its program.
const MOMENT: Duration = Duration::from_millis(100);
/// Messages under way in each direction when it comes. Each takes some 10 ms, most of it the start of its program.
const UNDER_WAY: usize = 6;
/// What is piped when it comes: for longer than until then.
const PIPED: usize = 200_000_000;

/// A message under way.
struct Sending {
    body: String,
    process: Process,
}

/// One agent, and what it must keep.
struct Agent<'a> {
    name: &'static str,
    machine: &'a Machine,
    daemon: Option<Daemon>,
    address: Value,
    /// Bodies that its peer was told are stored here, and those of which nobody knows.
    stored: Vec<String>,
    unknown: Vec<String>,
}

impl<'a> Agent<'a> {
    fn new(name: &'static str, machine: &'a Machine, daemon: Daemon) -> Self {
        Self {
            name,
            machine,
            address: daemon.ready["address"].clone(),
            daemon: Some(daemon),
            stored: vec![],
            unknown: vec![],
        }
    }

    fn kill(&mut self) {
        self.daemon.take().expect("it runs").kill();
    }

    fn restart(&mut self, rendezvous: &Rendezvous) {
        let daemon = start(self.machine, self.name, rendezvous);
        assert_eq!(daemon.ready["address"], self.address);
        assert_eq!(daemon.ready["hostname"], self.name);
        assert!(
            is_mutual(self.machine),
            "{} forgot whom it trusts",
            self.name
        );
        self.daemon = Some(daemon);
    }

    /// Sends a message to this agent from another one, in the background.
    fn send_from(&self, from: &Machine, body: String) -> Sending {
        let mut command = from.pilotctl(&["--json", "send-message", self.name, "--data", &body]);
        let process = Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
        Sending { body, process }
    }

    /// Notes what became of a message to this agent.
    fn note(&mut self, mut sending: Sending) {
        let is_stored = sending.process.wait(ENDED).success();
        let bodies = if is_stored {
            &mut self.stored
        } else {
            &mut self.unknown
        };
        bodies.push(sending.body);
    }

    /// Whether it has a path to its peer, and a rendezvous that answers. Nothing is sent for these questions.
    fn is_connected(&self) -> bool {
        let peers = self.machine.data(&["peers"]);
        let info = self.machine.data(&["info"]);
        let path = peers["peers"][0]["path"].as_str();
        path.is_some_and(|path| path != "none") && info["rendezvous"][0]["state"] == "connected"
    }

    /// What is acknowledged lies in the inbox once, and nothing twice.
    fn check_inbox(&self) {
        for body in &self.stored {
            assert_eq!(count_in_inbox(self.machine, body), 1, "{body}");
        }
        for body in &self.unknown {
            assert!(count_in_inbox(self.machine, body) <= 1, "{body}");
        }
    }
}

/// Who is killed in a round.
#[derive(Clone, Copy, Debug)]
struct Victims {
    alice: bool,
    bob: bool,
    rendezvous: bool,
}

impl Victims {
    fn draw(rng: &mut SimRng) -> Self {
        let one = rng.below(4);
        Self {
            alice: one == 0 || one == 3,
            bob: one == 1 || one == 3,
            rendezvous: one == 2 || one == 3,
        }
    }
}

/// `PILOT_CRASHES` sets the number of crashes, `PILOT_SEED` what decides them.
#[test]
#[ignore = "needs root for network namespaces; .ci/run runs it"]
fn crashes_in_traffic_lose_nothing_acknowledged_and_heal_without_a_command() {
    let (rounds, seed) = (setting("PILOT_CRASHES", 10), setting("PILOT_SEED", 1));
    println!("PILOT_SEED={seed}");
    let mut rng = SimRng::new(seed);
    let Pair {
        server,
        alice,
        bob,
        rendezvous,
        alice_daemon,
        bob_daemon,
        lab,
    } = Pair::trusted(perfect());
    let mut rendezvous = Some(rendezvous);
    let mut agents = [
        Agent::new("alice", &alice, alice_daemon),
        Agent::new("bob", &bob, bob_daemon),
    ];
    let piped = Piped(lab.directory().join("piped"));
    write_random(&piped.0, PIPED);
    for round in 0..rounds {
        let moment = Instant::now() + rng.duration_up_to(MOMENT);
        let piping = piped.start(&agents, rng.below(2) == 0);
        let sending = agents_send(&agents, round, moment);
        sleep(moment.saturating_duration_since(Instant::now()));
        let victims = Victims::draw(&mut rng);
        for (agent, is_victim) in agents.iter_mut().zip([victims.alice, victims.bob]) {
            if is_victim {
                agent.kill();
            }
        }
        if victims.rendezvous {
            rendezvous.take().expect("it runs").kill();
        }
        let service = rendezvous.get_or_insert_with(|| server.rendezvous());
        for agent in &mut agents {
            if agent.daemon.is_none() {
                agent.restart(service);
            }
        }
        let healed = heal(&agents, &mut rng);
        // Who receives may wait for a stream that was never opened; who sends learns what became of it.
        let [_receiver, mut sender] = piping;
        sender.wait(ENDED);
        let sent = sending.each_ref().map(Vec::len);
        let before = agents.each_ref().map(|agent| agent.stored.len());
        for (agent, sending) in agents.iter_mut().zip(sending) {
            for sending in sending {
                agent.note(sending);
            }
        }
        let stored = [0, 1].map(|it| agents[it].stored.len() - before[it]);
        println!("{round}: {victims:?}: healed after {healed:?}; stored {stored:?} of {sent:?}");
    }
    for agent in &agents {
        agent.check_inbox();
    }
}

/// Messages to each agent from the other one, until the moment of the crash.
fn agents_send(agents: &[Agent<'_>; 2], round: usize, moment: Instant) -> [Vec<Sending>; 2] {
    let mut sending = [vec![], vec![]];
    for number in 0..UNDER_WAY {
        for (to, from) in [(0, 1), (1, 0)] {
            if Instant::now() < moment {
                let body = format!("{round}, {number} to {}", agents[to].name);
                sending[to].push(agents[to].send_from(agents[from].machine, body));
            }
        }
    }
    sending
}

/// What is piped from one agent to the other while the crash comes.
struct Piped(PathBuf);

impl Piped {
    fn start(&self, agents: &[Agent<'_>; 2], is_from_first: bool) -> [Process; 2] {
        let (from, to) = if is_from_first { (0, 1) } else { (1, 0) };
        let quiet = |command: &mut Command| {
            Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))
        };
        let mut recv = agents[to]
            .machine
            .pilotctl(&["recv", "1000", "--count", "1"]);
        let mut connect = agents[from].machine.pilotctl(&["connect", agents[to].name]);
        connect.stdin(File::open(&self.0).expect("a file"));
        [quiet(&mut recv), quiet(&mut connect)]
    }
}

/// Waits until both are connected again: nobody says a word, or only one of them does. Then all is as before: they reach
/// each other, and the rendezvous knows them. All of it within the time that is promised.
fn heal(agents: &[Agent<'_>; 2], rng: &mut SimRng) -> Duration {
    let start = Instant::now();
    let left = || RECONNECTED.saturating_sub(start.elapsed());
    let ask = |command, from: usize| {
        let limit = format!("{}ms", left().as_millis().max(1));
        let peer = agents[1 - from].name;
        agents[from]
            .machine
            .data(&[command, peer, "--timeout", &limit]);
    };
    match rng.below(3) {
        0 => {}
        from => ask("ping", from as usize - 1),
    }
    wait("both are connected again", left(), || {
        agents.iter().all(Agent::is_connected)
    });
    let healed = start.elapsed();
    for from in [0, 1] {
        ask("ping", from);
        ask("lookup", from);
    }
    healed
}
