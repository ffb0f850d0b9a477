//! Two agents behind home routers, each with another home that it may go to, and data on their way from one to the other.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use pilot_lab::{LinkConfig, Machine, Nat, Process, Switch, sha256, wait, write_random};

use super::sites::{AWAY, Behind, Internet, Site, befriend_all};

/// What a loaded machine may add to figures that are printed and judged elsewhere.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a router is away that gets another address: longer than its line's queue.
const RECONNECTION: Duration = Duration::from_millis(100);

/// An agent with two homes. It is in the first one until it moves.
pub(crate) struct Roamer {
    pub(crate) site: Site,
    elsewhere: Machine,
    _inside: Switch,
}

impl Roamer {
    fn new(internet: &Internet, name: &str, behind: Behind, link: LinkConfig) -> Self {
        let mut site = internet.site(name, behind, Some(link));
        let inside = internet.lab.add_switch_in([192, 168, 2]);
        let ends = [&inside, internet.lab.switch()];
        let elsewhere = internet.lab.nat(&format!("{name}-e"), Nat::Cone, ends);
        site.machine.connect_by(&inside, link);
        Self {
            site,
            elsewhere,
            _inside: inside,
        }
    }

    /// Leaves the first home, as a telephone that leaves the reach of its Wi-Fi.
    pub(crate) fn go(&self) {
        self.site.machine.set_link("eth0", false);
        self.site.machine.route_by(self.elsewhere.address());
    }

    /// Its router forgets all bindings, and gives other ports after that.
    pub(crate) fn restart_router(&self) {
        self.site.routers[0].restart_nat(&(20_000..=30_000));
    }

    /// Its provider gives its router another address, and nothing passes until all that was on its way is gone: so nothing
    /// that the agent answers tells the peer where it is now.
    pub(crate) fn renumber_router(&mut self, internet: &Internet) {
        let router = &mut self.site.routers[0];
        router.set_link("eth1", false);
        sleep(RECONNECTION);
        router.renumber(1, internet.lab.switch());
        router.set_link("eth1", true);
    }
}

/// Both agents, trusting each other, and the rendezvous.
pub(crate) struct World {
    pub(crate) alice: Roamer,
    pub(crate) bob: Roamer,
    pub(crate) internet: Internet,
    rate: u64,
}

impl World {
    /// Each agent's line carries so many bytes a second.
    pub(crate) fn new(behind: [Behind; 2], rate: u64) -> Self {
        let internet = Internet::new(Some(LinkConfig::delay(AWAY)));
        let link = LinkConfig {
            rate: Some(rate * 8),
            queue: 256 << 10,
            ..LinkConfig::delay(AWAY / 4)
        };
        let mut agents = [("alice", behind[0]), ("bob", behind[1])]
            .map(|(name, behind)| Roamer::new(&internet, name, behind, link));
        for agent in &agents {
            let machine = &agent.site.machine;
            machine.data(&["config", "--set", "auto_approve=true"]);
        }
        let mut sites: Vec<_> = agents.iter_mut().map(|it| &mut it.site).collect();
        internet.start(&mut sites);
        let [alice, bob] = agents;
        befriend_all(&[(&alice.site, &bob.site)]);
        alice.site.machine.data(&["ping", "bob"]);
        Self {
            alice,
            bob,
            internet,
            rate,
        }
    }

    /// What each says of its path to the other.
    pub(crate) fn paths(&self) -> [String; 2] {
        let (alice, bob) = (&self.alice.site, &self.bob.site);
        [alice.path_to(bob), bob.path_to(alice)]
    }

    pub(crate) fn is_direct(&self) -> bool {
        self.paths().iter().all(|path| path == "direct")
    }

    pub(crate) fn until_direct(&self) -> Duration {
        wait("a direct path", PATIENCE, || self.is_direct())
    }

    /// Pipes so many bytes from Alice to Bob, lets something happen when a second's worth has come, and gives the longest
    /// time in which nothing came. What came is what was sent.
    pub(crate) fn pipe_through(&mut self, size: usize, event: impl FnOnce(&mut Self)) -> Duration {
        let directory = self.internet.lab.directory();
        let (sent, received) = (directory.join("sent"), directory.join("received"));
        write_random(&sent, size);
        let (alice, bob) = (&self.alice.site.machine, &self.bob.site.machine);
        let mut recv = bob.pilotctl(&["recv", "1000", "--count", "1", "--timeout", "300s"]);
        let mut receiver = Process::spawn(recv.stdout(Stdio::piped()));
        let arrival = Arrival::watch(&mut receiver, received.clone());
        let mut connect = alice.pilotctl(&["connect", "bob"]);
        connect.stdin(File::open(&sent).expect("just written"));
        let mut sender = Process::spawn(connect.stdout(Stdio::null()));
        wait("a second's worth", PATIENCE, || {
            arrival.bytes.load(Ordering::Relaxed) > self.rate
        });
        event(self);
        let limit = Duration::from_secs(size as u64 / self.rate) * 2 + PATIENCE * 3;
        let ends = [sender.wait(limit), receiver.wait(limit)];
        assert!(ends.iter().all(ExitStatus::success), "{ends:?}");
        let longest = arrival.thread.join().expect("a file can be written");
        assert_eq!(sha256(&sent), sha256(&received));
        longest
    }
}

/// What comes out of a program.
struct Arrival {
    bytes: Arc<AtomicU64>,
    /// Gives the longest time between two pieces.
    thread: JoinHandle<Duration>,
}

impl Arrival {
    fn watch(program: &mut Process, path: PathBuf) -> Self {
        let mut stdout = program.child.stdout.take().expect("it is piped");
        let bytes = Arc::new(AtomicU64::new(0));
        let count = bytes.clone();
        let thread = thread::spawn(move || {
            let mut file = File::create(path).expect("the laboratory's directory is ours");
            let mut buffer = vec![0; 64 << 10];
            let (mut last, mut longest) = (None::<Instant>, Duration::ZERO);
            loop {
                let read = stdout.read(&mut buffer).expect("a pipe can be read");
                if read == 0 {
                    return longest;
                }
                let now = Instant::now();
                longest = longest.max(last.map_or(Duration::ZERO, |last| now - last));
                last = Some(now);
                file.write_all(&buffer[..read]).expect("the disk has room");
                count.fetch_add(read as u64, Ordering::Relaxed);
            }
        });
        Self { bytes, thread }
    }
}
