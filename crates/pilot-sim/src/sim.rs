//! The driver: jumps from deadline to deadline and moves datagrams between machines.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::{Index, IndexMut};
use std::time::{Duration, Instant};

use pilot_types::{Overhead, PathId, Transmit, TransmitBuf};

use crate::clock::Now;
use crate::machine::Machine;
use crate::network::{HostId, Network, Packet};

/// Calls of one machine at one moment of virtual time after which it is taken for spinning.
const MAX_TURNS: u32 = 10_000;
/// A machine whose next deadline is further away than this has nothing to do: keep-alives and idle timers are of this
/// kind, retransmissions to a peer that answers are not.
const QUIET_PAUSE: Duration = Duration::from_secs(5);
/// Datagrams of a batch, and bytes of each: jumbo frames fit.
const BATCH: (usize, usize) = (16, 9216);

struct Station<M> {
    machine: M,
    deadline: Option<Instant>,
    /// The socket that it sent from last.
    socket: Option<SocketAddr>,
    /// Calls since virtual time last advanced.
    turns: u32,
}

/// Machines on the hosts of a [`Network`].
///
/// Between runs a test may do anything with `network` and the machines (`sim[host]`, [`Sim::with`]).
/// When a test panics while it holds a `Sim`, the seed and the packet trace are printed.
pub struct Sim<M: Machine> {
    /// The network below the machines.
    pub network: Network,
    stations: BTreeMap<HostId, Station<M>>,
    /// Deadlines of all stations.
    wakeups: BTreeSet<(Instant, HostId)>,
    /// Stations that a test touched and that may have output.
    touched: BTreeSet<HostId>,
    /// Stations that were called since virtual time last advanced.
    called: BTreeSet<HostId>,
    buf: TransmitBuf,
    quiet_pause: Duration,
}

impl<M: Machine> Sim<M> {
    /// No machines yet.
    #[must_use]
    pub fn new(network: Network) -> Self {
        Self {
            network,
            stations: BTreeMap::new(),
            wakeups: BTreeSet::new(),
            touched: BTreeSet::new(),
            called: BTreeSet::new(),
            buf: TransmitBuf::new(BATCH.0, BATCH.1),
            quiet_pause: QUIET_PAUSE,
        }
    }

    /// Sets how far away deadlines must be for [`Self::run_until_quiet`], 5 s unless told otherwise.
    pub const fn set_quiet_pause(&mut self, pause: Duration) {
        self.quiet_pause = pause;
    }

    /// Starts a machine on a host; gives the one that ran there, so that this is also how to restart one.
    pub fn install(&mut self, host: HostId, machine: M) -> Option<M> {
        let before = self.remove(host);
        let station = Station {
            machine,
            deadline: None,
            socket: None,
            turns: 0,
        };
        self.stations.insert(host, station);
        self.touched.insert(host);
        before
    }

    /// Stops the machine on a host, at once and without a word to anyone.
    pub fn remove(&mut self, host: HostId) -> Option<M> {
        let station = self.stations.remove(&host)?;
        if let Some(deadline) = station.deadline {
            self.wakeups.remove(&(deadline, host));
        }
        self.touched.remove(&host);
        self.called.remove(&host);
        Some(station.machine)
    }

    /// Calls a machine with the time of its host.
    ///
    /// # Panics
    /// If no machine runs on the host.
    pub fn with<R>(&mut self, host: HostId, call: impl FnOnce(&mut M, Now) -> R) -> R {
        let now = self.network.now_at(host);
        call(&mut self[host], now)
    }

    /// Runs for a span of virtual time.
    pub fn run_for(&mut self, span: Duration) {
        self.run_until(|_| false, span);
    }

    /// Runs until `condition` holds; `false` if it did not within `limit` of virtual time.
    pub fn run_until(&mut self, condition: impl FnMut(&mut Self) -> bool, limit: Duration) -> bool {
        let mut condition = condition;
        let end = self.network.instant() + limit;
        loop {
            self.settle();
            if condition(self) {
                return true;
            }
            if !self.touched.is_empty() {
                continue;
            }
            match self.next_moment().filter(|at| *at <= end) {
                Some(at) => self.advance_to(at),
                None => {
                    self.advance_to(end);
                    return false;
                }
            }
        }
    }

    /// Runs until nothing is on its way and no machine has a deadline in the next 5 s (see [`Self::set_quiet_pause`]).
    ///
    /// # Panics
    /// If that does not happen within `limit` of virtual time.
    pub fn run_until_quiet(&mut self, limit: Duration) {
        assert!(
            self.run_until(|sim| sim.is_quiet(), limit),
            "did not go quiet within {limit:?} of virtual time"
        );
    }

    fn is_quiet(&self) -> bool {
        let now = self.network.instant();
        let is_far = |(at, _): &(Instant, HostId)| *at > now + self.quiet_pause;
        self.network.in_flight() == 0 && self.wakeups.first().is_none_or(is_far)
    }

    fn next_moment(&self) -> Option<Instant> {
        let deadline = self.wakeups.first().map(|(at, _)| *at);
        let moments = [deadline, self.network.next_arrival()];
        moments.into_iter().flatten().min()
    }

    fn advance_to(&mut self, at: Instant) {
        if at <= self.network.instant() {
            return;
        }
        self.network.advance_to(at);
        for host in std::mem::take(&mut self.called) {
            if let Some(station) = self.stations.get_mut(&host) {
                station.turns = 0;
            }
        }
    }

    /// Does everything that is due now.
    fn settle(&mut self) {
        loop {
            while let Some(host) = self.touched.pop_first() {
                self.drain(host);
            }
            if let Some((host, packet)) = self.network.poll_arrival() {
                self.receive(host, packet);
            } else if let Some(host) = self.next_due() {
                self.call(host, M::handle_timeout);
            } else {
                return;
            }
        }
    }

    fn next_due(&self) -> Option<HostId> {
        let (at, host) = self.wakeups.first()?;
        (*at <= self.network.instant()).then_some(*host)
    }

    fn receive(&mut self, host: HostId, mut packet: Packet) {
        if !self.stations.contains_key(&host) {
            return self.network.note_no_machine(&packet);
        }
        let (local, remote) = (packet.destination, packet.source);
        let data = &mut packet.payload;
        self.call(host, |machine, now| {
            machine.handle_datagram(now, local, remote, packet.ecn, data);
        });
    }

    fn call(&mut self, host: HostId, call: impl FnOnce(&mut M, Now)) {
        self.count_turn(host);
        self.with(host, call);
        self.touched.remove(&host);
        self.drain(host);
    }

    fn drain(&mut self, host: HostId) {
        let mut buf = std::mem::replace(&mut self.buf, TransmitBuf::new(0, 0));
        loop {
            buf.clear();
            buf.set_overhead(Overhead::default());
            let now = self.network.now_at(host);
            let station = self.station_mut(host);
            let Some(transmit) = station.machine.poll_transmit(now, &mut buf) else {
                break;
            };
            self.count_turn(host);
            self.send(host, transmit, buf.as_slice());
        }
        self.buf = buf;
        self.rearm(host);
    }

    fn send(&mut self, host: HostId, transmit: Transmit, bytes: &[u8]) {
        let (source, destination) = match transmit.path {
            PathId::Udp(tuple) => {
                self.station_mut(host).socket = Some(tuple.local);
                (tuple.local, tuple.remote.0)
            }
            PathId::Relay { relay, .. } => {
                let socket = self.station_mut(host).socket;
                (socket.expect("a relay is spoken to before"), relay.0)
            }
            PathId::Stream(_) => panic!("a host sends over UDP only, not to {}", transmit.path),
        };
        assert_eq!(bytes.len(), transmit.size, "the size of all datagrams");
        let segment = transmit.segment_size.unwrap_or(transmit.size).max(1);
        for datagram in bytes.chunks(segment) {
            let packet = Packet {
                source,
                destination,
                ecn: transmit.ecn,
                payload: datagram.to_vec(),
            };
            self.network.send(host, packet);
        }
    }

    fn rearm(&mut self, host: HostId) {
        let station = self.station_mut(host);
        let deadline = station.machine.poll_timeout().map(|deadline| deadline.at);
        let before = std::mem::replace(&mut station.deadline, deadline);
        if let Some(before) = before {
            self.wakeups.remove(&(before, host));
        }
        if let Some(deadline) = deadline {
            self.wakeups.insert((deadline, host));
        }
    }

    fn count_turn(&mut self, host: HostId) {
        self.called.insert(host);
        let station = self.station_mut(host);
        station.turns += 1;
        if station.turns > MAX_TURNS {
            let timer = station
                .machine
                .poll_timeout()
                .map(|deadline| deadline.timer);
            panic!(
                "did not go quiet: {host:?} was called {MAX_TURNS} times at one moment, its next timer is {timer:?}"
            );
        }
    }

    fn station_mut(&mut self, host: HostId) -> &mut Station<M> {
        let station = self.stations.get_mut(&host);
        station.expect("a machine runs on this host")
    }
}

impl<M: Machine> Index<HostId> for Sim<M> {
    type Output = M;

    fn index(&self, host: HostId) -> &M {
        let station = self.stations.get(&host);
        &station.expect("a machine runs on this host").machine
    }
}

impl<M: Machine> IndexMut<HostId> for Sim<M> {
    fn index_mut(&mut self, host: HostId) -> &mut M {
        self.touched.insert(host);
        &mut self.station_mut(host).machine
    }
}

impl<M: Machine> Drop for Sim<M> {
    #[expect(
        clippy::print_stderr,
        reason = "the report of a failed test: what a reader needs to repeat and understand it"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "simulation failed: seed {}, virtual time {:?}\n{}",
                self.network.seed(),
                self.network.elapsed(),
                self.network.trace(),
            );
        }
    }
}
