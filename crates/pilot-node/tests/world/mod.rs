//! A rendezvous and agents in virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pilot_nat::Prefix;
use pilot_node::{
    Config, Event, LogVerifier, Node, Now, Persist, Pin, PrekeyChange, Profile, Read, RegistryHost,
    RelayOnly, RendezvousConfig, RendezvousRole, RendezvousTarget, Restored, StreamHandle,
};
use pilot_registry::{MemoryStore, Service, Verify};
use pilot_sim::{HostId, LinkConfig, Machine, Network, Place, Sim};
use pilot_trust::{Identity, PrekeySecret, TrustChange, TrustItem};
use pilot_types::{
    AgentId, Deadline, Ecn, FourTuple, Hostname, PathId, PeerAddr, Port, Seed, Transmit,
    TransmitBuf, UnixTime,
};
use pilot_wire::{ErrorCode, NetworkConfig};

pub(crate) const RENDEZVOUS_PORT: u16 = 9000;
pub(crate) const AGENT_PORT: u16 = 4000;

/// What an agent keeps over restarts.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) trust: BTreeMap<Vec<u8>, TrustItem>,
    trust_changes: u64,
    pub(crate) peers: BTreeMap<AgentId, pilot_node::KnownPeer>,
    /// Keys of groups, as the home has them.
    pub(crate) group_keys: Vec<String>,
    /// Secret halves of prekeys, by their public ones; those that the node has not been told of as written yet.
    pub(crate) prekeys: BTreeMap<[u8; 32], PrekeySecret>,
    /// Prekeys of which the node is to be told.
    written_prekeys: Vec<[u8; 32]>,
    /// Whether no prekey is said to be written.
    pub(crate) refuses_prekeys: bool,
    /// The identity as the home has it, once it is another than at first.
    pub(crate) identity: Option<String>,
    freshness: BTreeMap<AgentId, u64>,
    sessions: Vec<pilot_node::LastSession>,
    stamp: u64,
    boots: u64,
}

/// What is left of a process that ended without a word.
pub(crate) struct Crashed {
    profile: Profile,
    disk: Disk,
}

impl Crashed {
    /// Other keys were written before it was told of them, or while nothing ran.
    pub(crate) fn change_keys(&mut self, make: impl FnOnce(&Identity) -> Identity) {
        let json = self
            .disk
            .identity
            .as_ref()
            .expect("a crashed agent has one");
        let identity = Identity::from_json(json).expect("as it was written");
        self.disk.identity = Some(make(&identity).to_json());
    }

    /// It crashed before it wrote whom it was connected with.
    pub(crate) fn forget_sessions(&mut self) {
        self.disk.sessions.clear();
    }
}

/// A node with the little that a shell does for it.
pub(crate) struct Agent {
    pub(crate) node: Node,
    pub(crate) log: Vec<Event>,
    pub(crate) disk: Disk,
    /// Bytes still to be written to each stream, and whether its end follows.
    pub(crate) outgoing: BTreeMap<StreamHandle, (VecDeque<u8>, bool)>,
    pub(crate) incoming: BTreeMap<StreamHandle, Inbox>,
    /// Streams to this port get back what they send.
    pub(crate) echo: Option<Port>,
}

/// What came on a stream.
#[derive(Default, Debug)]
pub(crate) struct Inbox {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_ended: bool,
    pub(crate) error: Option<ErrorCode>,
}

pub(crate) fn clocks(now: pilot_sim::Now) -> Now {
    Now {
        instant: now.instant,
        unix: now.unix,
    }
}

impl Agent {
    /// Does what a shell does after each call.
    pub(crate) fn settle(&mut self, now: Now) {
        while let Some(event) = self.node.poll_event() {
            self.handle(now, &event);
            self.log.push(event);
        }
        self.node.trust_written(now, self.disk.trust_changes);
        for public in std::mem::take(&mut self.disk.written_prekeys) {
            self.node.prekey_written(now, &public);
        }
        let streams: Vec<StreamHandle> = self.outgoing.keys().copied().collect();
        for stream in streams {
            self.write(now, stream);
        }
        if let Some(event) = self.node.poll_event() {
            self.handle(now, &event);
            self.log.push(event);
            self.settle(now);
        }
    }

    fn handle(&mut self, now: Now, event: &Event) {
        match event {
            Event::Persist(item) => self.persist(item),
            Event::SocketsWanted { count } => {
                let socket = |at| SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 50_000 + at as u16);
                self.node
                    .add_sockets(now, (0..*count).map(socket).collect());
            }
            Event::FreshnessLow => {
                self.disk.stamp += 3_600_000_000_000;
                self.node
                    .extend_freshness(&(self.disk.stamp..self.disk.stamp + 3_600_000_000_000));
            }
            Event::Incoming { stream, header, .. } => {
                self.incoming.insert(*stream, Inbox::default());
                if self.echo == Some(header.destination) {
                    self.outgoing.insert(*stream, (VecDeque::new(), false));
                }
                self.read(now, *stream);
            }
            Event::Dialed { stream, .. } => {
                self.incoming.insert(*stream, Inbox::default());
            }
            Event::Readable(stream) => self.read(now, *stream),
            Event::Writable(stream) => self.write(now, *stream),
            Event::SessionClosed { session, code, .. } => {
                for (stream, inbox) in &mut self.incoming {
                    if stream.session == *session && !inbox.is_ended {
                        inbox.error = Some(*code);
                    }
                }
                self.outgoing.retain(|stream, _| stream.session != *session);
            }
            _ => {}
        }
    }

    fn persist(&mut self, item: &Persist) {
        match item {
            Persist::Trust(change) => {
                self.disk.trust_changes += 1;
                match change {
                    TrustChange::Put(key, item) => {
                        drop(self.disk.trust.insert(key.clone(), item.clone()));
                    }
                    TrustChange::Delete(key) => drop(self.disk.trust.remove(key)),
                }
            }
            Persist::Peer(peer) => drop(self.disk.peers.insert(peer.agent, (**peer).clone())),
            Persist::Freshness { agent, stamp } => drop(self.disk.freshness.insert(*agent, *stamp)),
            Persist::Sessions(agents) => self.disk.sessions.clone_from(agents),
            Persist::Prekey(PrekeyChange::Put(secret)) => {
                let public = secret.prekey().public;
                self.disk.prekeys.insert(public, secret.clone());
                if !self.disk.refuses_prekeys {
                    self.disk.written_prekeys.push(public);
                }
            }
            Persist::Prekey(PrekeyChange::Destroy(public)) => {
                self.disk.prekeys.remove(public);
            }
            Persist::Pinned { .. } => {}
        }
    }

    fn read(&mut self, now: Now, stream: StreamHandle) {
        let Some(inbox) = self.incoming.get_mut(&stream) else {
            return;
        };
        let mut chunk = [0; 4096];
        loop {
            match self.node.read(now, stream, &mut chunk) {
                Ok(Read::Bytes(len)) => {
                    inbox.bytes.extend_from_slice(&chunk[..len]);
                    if let Some((echo, _)) = self
                        .outgoing
                        .get_mut(&stream)
                        .filter(|_| self.echo.is_some())
                    {
                        echo.extend(&chunk[..len]);
                    }
                }
                Ok(Read::Blocked) => break,
                Ok(Read::End) => {
                    inbox.is_ended = true;
                    let is_echo = self.echo.is_some();
                    if let Some((_, is_last)) = self.outgoing.get_mut(&stream).filter(|_| is_echo) {
                        *is_last = true;
                    }
                    break;
                }
                Err(error) => {
                    inbox.error.get_or_insert(error.code);
                    break;
                }
            }
        }
        self.write(now, stream);
    }

    fn write(&mut self, now: Now, stream: StreamHandle) {
        let Some((bytes, is_last)) = self.outgoing.get_mut(&stream) else {
            return;
        };
        while !bytes.is_empty() {
            match self.node.write(now, stream, bytes.make_contiguous()) {
                Ok(0) => return,
                Ok(len) => drop(bytes.drain(..len)),
                Err(_) => {
                    self.outgoing.remove(&stream);
                    return;
                }
            }
        }
        if *is_last {
            let _ = self.node.finish(now, stream);
            self.outgoing.remove(&stream);
        }
    }

    /// Writes `bytes` to a stream, then ends our direction.
    pub(crate) fn send(&mut self, now: Now, stream: StreamHandle, bytes: &[u8]) {
        self.outgoing
            .insert(stream, (bytes.iter().copied().collect(), true));
        self.write(now, stream);
    }

    pub(crate) fn count(&self, matches: impl Fn(&Event) -> bool) -> usize {
        self.log.iter().filter(|event| matches(event)).count()
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.count(|event| matches!(event, Event::Registered { result: Ok(()), .. })) > 0
    }
}

impl Machine for Agent {
    fn handle_datagram(
        &mut self,
        now: pilot_sim::Now,
        local: SocketAddr,
        remote: SocketAddr,
        ecn: Option<Ecn>,
        data: &mut [u8],
    ) {
        let now = clocks(now);
        // A shell knows its socket's address, not the interface's.
        let local = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), local.port());
        self.node.handle_datagram(
            now,
            PathId::Udp(FourTuple {
                local,
                remote: PeerAddr(remote),
            }),
            ecn,
            data,
        );
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: pilot_sim::Now) {
        self.node.handle_timeout(clocks(now));
        self.settle(clocks(now));
    }

    fn poll_transmit(&mut self, now: pilot_sim::Now, out: &mut TransmitBuf) -> Option<Transmit> {
        let transmit = self.node.poll_transmit(clocks(now), out);
        if transmit.is_none() {
            self.settle(clocks(now));
        }
        transmit
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.node.poll_timeout()
    }
}

/// The network, its rendezvous, and how to reach it.
pub(crate) struct World {
    pub(crate) sim: Sim<Agent>,
    pub(crate) rendezvous: HostId,
    pub(crate) rendezvous_agent: AgentId,
    rendezvous_addr: SocketAddr,
    rendezvous_boots: u32,
    seed: u64,
    made: u8,
    /// Where the agents are.
    ips: BTreeMap<HostId, IpAddr>,
}

/// A seed of its own for each purpose.
fn seed(world: u64, purpose: u8) -> Seed {
    let mut bytes = [purpose; 32];
    bytes[..8].copy_from_slice(&world.to_be_bytes());
    Seed::new(bytes)
}

fn config() -> Arc<Config> {
    Arc::new(Config {
        min_work_bits: 0,
        ..Config::default()
    })
}

impl World {
    /// A rendezvous with `delay` to everybody.
    pub(crate) fn new(seed_number: u64, link: LinkConfig) -> Self {
        let mut network = Network::new(seed_number);
        let rendezvous = network.add_public_host("198.51.100.1".parse().unwrap());
        network.set_link(rendezvous, link);
        let rendezvous_addr = SocketAddr::new(network.address(rendezvous), RENDEZVOUS_PORT);
        let rendezvous_agent = Identity::generate(seed(seed_number, 200), 0).agent();
        let mut world = Self {
            sim: Sim::new(network),
            rendezvous,
            rendezvous_agent,
            rendezvous_addr,
            rendezvous_boots: 0,
            seed: seed_number,
            made: 0,
            ips: BTreeMap::new(),
        };
        world.start_rendezvous();
        world
    }

    /// An agent with this name, on a public address of its own.
    pub(crate) fn add_agent(&mut self, name: &str, profile: Profile, link: LinkConfig) -> HostId {
        let ip = [203, 0, 113, self.made + 1];
        self.add_agent_at(name, profile, link, (Place::Internet, ip))
    }

    /// An agent behind NATs, or on a public address.
    pub(crate) fn add_agent_at(
        &mut self,
        name: &str,
        profile: Profile,
        link: LinkConfig,
        (place, ip): (Place, [u8; 4]),
    ) -> HostId {
        self.made += 1;
        let ip = IpAddr::from(ip);
        let host = self.sim.network.add_host();
        self.sim.network.add_interface(host, place, ip);
        self.sim.network.set_link(host, link);
        self.ips.insert(host, ip);
        let hostname = (!name.is_empty()).then(|| name.parse::<Hostname>().unwrap());
        self.boot(
            host,
            self.made,
            Profile {
                hostname,
                ..profile
            },
            Disk::default(),
        );
        host
    }

    /// Another agent with the home of one that runs, as a thief has it.
    pub(crate) fn add_copy(&mut self, of: HostId, link: LinkConfig) -> HostId {
        self.made += 1;
        let ip = IpAddr::from([203, 0, 113, self.made]);
        let host = self.sim.network.add_host();
        let network = &mut self.sim.network;
        network.add_interface(host, Place::Internet, ip);
        network.set_link(host, link);
        self.ips.insert(host, ip);
        let original = &self.sim[of];
        let disk = Disk {
            identity: Some(original.node.identity().to_json()),
            ..original.disk.clone()
        };
        self.boot(host, self.made, Profile::default(), disk);
        host
    }

    /// Gives an agent other keys, as a shell does: on disk first.
    pub(crate) fn change_keys(&mut self, host: HostId, make: impl FnOnce(&Identity) -> Identity) {
        self.with(host, |agent, now| {
            let identity = make(agent.node.identity());
            agent.disk.identity = Some(identity.to_json());
            agent.node.change_keys(now, identity).unwrap();
        });
    }

    fn boot(&mut self, host: HostId, number: u8, profile: Profile, mut disk: Disk) {
        let now = clocks(self.sim.network.now_at(host));
        let identity = match &disk.identity {
            Some(json) => Identity::from_json(json).unwrap(),
            None => Identity::generate(seed(self.seed, number), 0),
        };
        disk.boots += 1;
        disk.stamp = disk.stamp.max(now.unix.as_millis() * 1_000_000) + 3_600_000_000_000;
        let restored = Restored {
            trust: disk.trust.values().cloned().collect(),
            peers: disk.peers.values().cloned().collect(),
            freshness: disk
                .freshness
                .iter()
                .map(|(agent, stamp)| (*agent, *stamp))
                .collect(),
            sessions: disk.sessions.clone(),
            stamps: disk.stamp - 3_600_000_000_000..disk.stamp,
            boot_counter: disk.boots,
            group_keys: disk
                .group_keys
                .iter()
                .map(|json| Identity::from_json(json).unwrap())
                .collect(),
        };
        disk.trust_changes = 0;
        let boot_seed = seed(
            self.seed,
            number.wrapping_mul(7).wrapping_add(disk.boots as u8),
        );
        let mut node = Node::new(config(), identity, restored, &boot_seed, now);
        node.init_profile(profile);
        let target = RendezvousTarget {
            url: self.rendezvous_addr.to_string(),
            addrs: vec![self.rendezvous_addr],
            pin: Pin::Agent(self.rendezvous_agent),
            is_relay: false,
        };
        let prefix = Prefix::new(self.ips[&host], 24).unwrap();
        let any = SocketAddr::new(IpAddr::from([0, 0, 0, 0]), AGENT_PORT);
        node.set_sockets(now, vec![any]);
        node.set_interfaces(now, vec![prefix]);
        node.add_rendezvous(now, target, None);
        self.sim.install(host, agent(node, disk));
    }

    /// Ends a process without a word and starts it again with what it wrote.
    pub(crate) fn crash_and_restart(&mut self, host: HostId, number: u8) {
        let crashed = self.crash(host);
        self.restart(host, number, crashed);
    }

    /// Ends a process without a word.
    pub(crate) fn crash(&mut self, host: HostId) -> Crashed {
        let old = self.sim.remove(host).expect("the agent runs");
        let mut disk = old.disk;
        disk.identity = Some(old.node.identity().to_json());
        Crashed {
            profile: old.node.profile().clone(),
            disk,
        }
    }

    /// Starts a process again with what it wrote.
    pub(crate) fn restart(&mut self, host: HostId, number: u8, crashed: Crashed) {
        self.boot(host, number, crashed.profile, crashed.disk);
    }

    /// Takes a machine to another network, and tells its agent as an operating system does.
    pub(crate) fn move_agent(&mut self, host: HostId, place: Place, to: [u8; 4]) {
        let to = IpAddr::from(to);
        let from = self.ips.insert(host, to).expect("an agent");
        self.sim.network.move_interface(host, from, place, to);
        self.with(host, |agent, now| {
            let prefix = Prefix::new(to, 24).unwrap();
            agent.node.set_interfaces(now, vec![prefix]);
        });
    }

    /// Takes the rendezvous to another address; only its name still leads to it.
    pub(crate) fn move_rendezvous(&mut self, to: [u8; 4]) -> SocketAddr {
        let (from, to) = (self.rendezvous_addr.ip(), IpAddr::from(to));
        let network = &mut self.sim.network;
        network.move_interface(self.rendezvous, from, Place::Internet, to);
        self.rendezvous_addr.set_ip(to);
        self.rendezvous_addr
    }

    /// Ends the rendezvous without a word.
    pub(crate) fn crash_rendezvous(&mut self) {
        self.sim.remove(self.rendezvous).expect("it runs");
    }

    /// Starts the rendezvous with its key and an empty database.
    pub(crate) fn start_rendezvous(&mut self) {
        self.start_rendezvous_of(200);
    }

    /// Starts one with another key in its place.
    pub(crate) fn start_impostor(&mut self) {
        self.start_rendezvous_of(203);
    }

    fn start_rendezvous_of(&mut self, key: u8) {
        self.start_rendezvous_with(key, LogVerifier { work_bits: 0 });
    }

    /// Starts the rendezvous with an empty database that reads and checks groups as `verify` does.
    pub(crate) fn start_rendezvous_with(&mut self, key: u8, verify: impl Verify + Send + 'static) {
        self.rendezvous_boots += 1;
        let boots = u64::from(self.rendezvous_boots) << 32;
        let service = Service::new(
            Arc::default(),
            MemoryStore::default(),
            verify,
            seed(self.seed ^ boots, 201),
        );
        let (host, port) = (self.rendezvous, self.rendezvous_addr.port());
        self.start_server((host, port), key, Box::new(service));
    }

    /// Starts the rendezvous with its key and another registry.
    pub(crate) fn start_rendezvous_on(&mut self, registry: Box<dyn RegistryHost>) {
        self.rendezvous_boots += 1;
        let (host, port) = (self.rendezvous, self.rendezvous_addr.port());
        self.start_server((host, port), 200, registry);
    }

    /// A relay that is no registry, on a public address of its own, with `delay` to everybody; every agent that is given uses it.
    pub(crate) fn add_relay(&mut self, link: LinkConfig, agents: &[HostId]) -> HostId {
        let host = self
            .sim
            .network
            .add_public_host("198.51.100.2".parse().unwrap());
        self.sim.network.set_link(host, link);
        self.start_server((host, RENDEZVOUS_PORT), 204, Box::new(RelayOnly));
        let addr = SocketAddr::new(self.sim.network.address(host), RENDEZVOUS_PORT);
        let target = RendezvousTarget {
            url: addr.to_string(),
            addrs: vec![addr],
            pin: Pin::Agent(self.id(host)),
            is_relay: true,
        };
        for agent in agents {
            self.with(*agent, |agent, now| {
                agent.node.add_rendezvous(now, target.clone(), None);
            });
        }
        host
    }

    fn start_server(
        &mut self,
        (machine, port): (HostId, u16),
        key: u8,
        host: Box<dyn RegistryHost>,
    ) {
        let identity = Identity::generate(seed(self.seed, key), 0);
        let network_config = NetworkConfig { work_bits: 0 };
        let signed_network = identity.sign(
            1,
            UnixTime::default(),
            UnixTime::FAR_FUTURE,
            &network_config,
        );
        let role = RendezvousRole::new(
            RendezvousConfig {
                network: network_config,
                signed_network,
            },
            host,
        );
        let now = clocks(self.sim.network.now_at(machine));
        // Each start has a block of stamps of its own, as the store gives them.
        let boots = u64::from(self.rendezvous_boots) << 32;
        let restored = Restored {
            stamps: boots..boots + (1 << 32),
            ..Restored::default()
        };
        let boot_seed = seed(self.seed ^ boots, key ^ 202);
        let mut node = Node::new(config(), identity, restored, &boot_seed, now).with_role(role);
        let [main, asked, answering] =
            [0, 1, 2].map(|above| SocketAddr::new(IpAddr::from([0, 0, 0, 0]), port + above));
        node.set_sockets(now, vec![main]);
        node.set_stun_sockets(vec![asked], vec![answering]);
        self.sim.install(machine, agent(node, Disk::default()));
    }

    pub(crate) fn with<T>(&mut self, host: HostId, call: impl FnOnce(&mut Agent, Now) -> T) -> T {
        self.sim.with(host, |agent, now| {
            let now = clocks(now);
            let result = call(agent, now);
            agent.settle(now);
            result
        })
    }

    pub(crate) fn id(&self, host: HostId) -> AgentId {
        self.sim[host].node.agent()
    }

    /// Until `condition` holds; panics with the seed and the packet trace if it does not within `limit`.
    pub(crate) fn until(
        &mut self,
        what: &str,
        limit: Duration,
        condition: impl FnMut(&mut Sim<Agent>) -> bool,
    ) -> Duration {
        let start = self.sim.network.elapsed();
        assert!(
            self.sim.run_until(condition, limit),
            "seed {}: not within {limit:?}: {what}",
            self.seed
        );
        self.sim.network.elapsed() - start
    }
}

fn agent(node: Node, disk: Disk) -> Agent {
    Agent {
        node,
        log: vec![],
        disk,
        outgoing: BTreeMap::new(),
        incoming: BTreeMap::new(),
        echo: None,
    }
}
