//! The paths of sessions with agents: what each end tells the other of its addresses, and what the path agents ask for.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use pilot_nat::{
    Candidate, CandidateKind, CandidateSet, Filter, Mapping, NatDiscovery, PathAction, PathAgent,
    PathConfig, PathReport, Prefix,
};
use pilot_transport::{Event as TransportEvent, Transport};
use pilot_types::{AgentId, FourTuple, PathId, PeerAddr, Seed};
use pilot_wire::{Candidates, ObservedAddress};

use crate::event::SessionKey;
use crate::node::Node;
use crate::now::Now;
use crate::peer_session::Class;

/// Types of extension frames (`docs/wire.md` §4).
const OBSERVED_ADDRESS: u64 = 0x42;
const CANDIDATES: u64 = 0x43;
pub(crate) const KEEP_ALIVE_FRAME: u64 = 0x44;
pub(crate) const FORWARDS_FRAME: u64 = 0x45;

/// What we know of our own place in the network.
pub(crate) struct Place {
    /// What our sockets are bound to, as it stands in the paths of what they receive: at most one a family.
    sockets: Vec<SocketAddr>,
    prefixes: Vec<Prefix>,
    /// What our NAT does.
    pub(crate) nat: NatDiscovery,
    /// The port that a router holds open for us.
    mapped: Option<SocketAddr>,
    /// Counts the lists of our addresses.
    generation: u32,
    /// Whether peers have not been told yet what changed.
    is_stale: bool,
}

impl Place {
    pub(crate) fn new(seed: &Seed) -> Self {
        Self {
            sockets: vec![],
            prefixes: vec![],
            nat: NatDiscovery::new(seed),
            mapped: None,
            generation: 0,
            is_stale: false,
        }
    }

    /// Our addresses are others now, or may be.
    pub(crate) const fn changed(&mut self) {
        self.is_stale = true;
    }

    /// Something was learnt of our NAT: peers are told if it maps otherwise than we knew.
    pub(crate) fn learn<T>(&mut self, learn: impl FnOnce(&mut NatDiscovery) -> T) -> T {
        let before = self.nat.mapping();
        let learnt = learn(&mut self.nat);
        self.is_stale |= self.nat.mapping() != before;
        learnt
    }

    /// What our sockets that everybody talks to are bound to.
    pub(crate) fn sockets(&self) -> &[SocketAddr] {
        &self.sockets
    }

    /// The straight way to an address; `None` without a socket of its family.
    pub(crate) fn path_to(&self, remote: SocketAddr) -> Option<PathId> {
        let mut sockets = self.sockets.iter();
        let local = *sockets.find(|local| local.is_ipv4() == remote.is_ipv4())?;
        let remote = PeerAddr(remote);
        Some(PathId::Udp(FourTuple { local, remote }))
    }

    pub(crate) const fn mapped(&self) -> Option<SocketAddr> {
        self.mapped
    }

    /// Gives whether it is another one than before.
    pub(crate) fn set_mapped(&mut self, mapped: Option<SocketAddr>) -> bool {
        let is_new = self.mapped != mapped;
        self.mapped = mapped;
        self.is_stale |= is_new;
        is_new
    }
}

impl Node {
    /// What our sockets are bound to, an unspecified address where it is all interfaces; to be told before anything is
    /// dialled. Of two of one family the first is used.
    pub fn set_sockets(&mut self, now: Now, sockets: Vec<SocketAddr>) {
        self.place.sockets = sockets;
        self.network_changed(now);
    }

    /// The addresses of our interfaces, from the shell, at the start and whenever they may have changed; gives whether they
    /// did.
    pub fn set_interfaces(&mut self, now: Now, prefixes: Vec<Prefix>) -> bool {
        if prefixes == self.place.prefixes {
            return false;
        }
        self.place.prefixes = prefixes;
        self.network_changed(now);
        true
    }

    /// The machine slept, or is on another network: every path is tried again, and every rendezvous hears from us, so that
    /// it sees where we are.
    pub fn network_changed(&mut self, now: Now) {
        self.place.changed();
        self.forget_patience(now);
        // Clients of a rendezvous find it by its address; it looks for none of them.
        let sessions = if self.role.is_some() {
            vec![]
        } else {
            self.table.keys()
        };
        for key in sessions {
            let Some(session) = self.session_mut(key) else {
                continue;
            };
            session.transport.ping(now.instant);
            if let Some(paths) = &mut session.paths {
                paths.handle_network_change(now.instant);
                let (agent, log) = (session.agent, session.log.clone());
                // What we send may not arrive any more: the peer's NAT does not know where we are now.
                self.ask_for_channels(now, &log);
                self.rehandshake(now, agent);
            }
        }
        self.drain(now);
    }

    /// What is tried of the paths to an agent, and why one is used; empty without a session.
    #[must_use]
    pub fn path_report(&self, agent: &AgentId) -> Vec<PathReport> {
        let session = self.table.by_agent(agent);
        let paths = session.and_then(|session| session.paths.as_ref());
        paths.map(|paths| paths.report()).unwrap_or_default()
    }

    /// What an agent with a session says of its NAT.
    #[must_use]
    pub fn mapping_of(&self, agent: &AgentId) -> Mapping {
        let session = self.table.by_agent(agent);
        let paths = session.and_then(|session| session.paths.as_ref());
        paths.map_or(Mapping::Unknown, |paths| paths.remote_mapping())
    }

    /// An agent that trusts us has a session: both ends look for the best path.
    pub(crate) fn begin_paths(&mut self, now: Now, key: SessionKey) {
        let (sockets, mapping) = (self.place.sockets.clone(), self.place.nat.mapping());
        let Some(session) = self.session_mut(key) else {
            return;
        };
        if session.class != Class::Peer || session.paths.is_some() {
            return;
        }
        let current = session.transport.path();
        let mut paths = PathAgent::new(now.instant, PathConfig::default(), current);
        paths.set_locals(now.instant, &sockets);
        paths.set_mapping(mapping);
        session.paths = Some(Box::new(paths));
        let agent = session.agent;
        self.keep_peer_alive(now, key);
        self.tell_candidates(now, key);
        self.offer_forwarding(now, &agent);
    }

    /// Tells peers our addresses, if they changed since they were told.
    pub(crate) fn renew_candidates(&mut self, now: Now) {
        if !std::mem::take(&mut self.place.is_stale) {
            return;
        }
        self.place.generation += 1;
        let mapping = self.place.nat.mapping();
        for key in self.table.keys() {
            let session = self.table.get_mut(key);
            if let Some(paths) = session.and_then(|session| session.paths.as_mut()) {
                paths.set_mapping(mapping);
                self.tell_candidates(now, key);
            }
        }
    }

    fn tell_candidates(&mut self, now: Now, key: SessionKey) {
        let body = self.own_candidates().to_wire().encode();
        if let Some(session) = self.session_mut(key)
            && let Err(error) = session
                .transport
                .send_extension(now.instant, CANDIDATES, body)
        {
            tracing::debug!(agent = %session.agent, %error, "candidates not told");
        }
    }

    /// Where a trusted peer may try to reach us.
    fn own_candidates(&self) -> CandidateSet {
        let mut ours = CandidateSet::new(self.place.generation, self.place.nat.mapping());
        let mut insert = |kind, addr| {
            ours.insert(Candidate { kind, addr });
        };
        for local in &self.place.sockets {
            if !local.ip().is_unspecified() {
                insert(CandidateKind::Host, *local);
                continue;
            }
            let ips = self.place.prefixes.iter().map(Prefix::ip);
            for ip in ips.filter(|ip| is_told(ip) && ip.is_ipv4() == local.is_ipv4()) {
                insert(CandidateKind::Host, SocketAddr::new(ip, local.port()));
            }
        }
        for observed in self.links.observed_by_all() {
            insert(CandidateKind::Reflexive, observed);
        }
        if let Some(mapped) = self.place.mapped() {
            insert(CandidateKind::Mapped, mapped);
        }
        ours
    }

    fn path_filter(&self) -> Filter {
        Filter {
            prefixes: self.place.prefixes.clone(),
            bound: self.place.sockets.clone(),
            rendezvous: self.links.addrs().collect(),
            allow_private: false,
        }
    }

    /// A frame about addresses.
    pub(crate) fn handle_extension(&mut self, now: Now, key: SessionKey, kind: u64, body: &[u8]) {
        match kind {
            CANDIDATES => self.take_candidates(now, key, body),
            OBSERVED_ADDRESS => self.take_observed(now, key, body),
            KEEP_ALIVE_FRAME => self.take_keep_alive(now, key, body),
            FORWARDS_FRAME => self.take_forwarding(now, key, body),
            // Of a later version.
            _ => {}
        }
    }

    fn take_candidates(&mut self, now: Now, key: SessionKey, body: &[u8]) {
        let Ok(list) = Candidates::decode(body) else {
            self.output.drops.count("candidates_malformed");
            return;
        };
        let (remote, refused) = CandidateSet::of_peer(&list, &self.path_filter());
        if let Some(session) = self.session_mut(key)
            && let Some(paths) = &mut session.paths
        {
            tracing::debug!(agent = %session.agent, tried = remote.len(), refused, "candidates");
            paths.set_remote(now.instant, &remote);
        }
    }

    /// A rendezvous sees us somewhere; others are not believed.
    fn take_observed(&mut self, now: Now, key: SessionKey, body: &[u8]) {
        let Ok(ObservedAddress { addr, stun_port }) = ObservedAddress::decode(body) else {
            self.output.drops.count("candidates_malformed");
            return;
        };
        let Some(session) = self.table.get(key) else {
            return;
        };
        if let Class::Rendezvous(link) = session.class {
            if let Some(server) = session.transport.path().remote() {
                self.seen_by(now, server, addr, stun_port);
            }
            if self.links.observed(link, addr) {
                self.place.changed();
            }
            self.drain_links(now);
        }
    }

    /// What the transport noticed of paths.
    pub(crate) fn handle_path_event(&mut self, now: Now, key: SessionKey, event: TransportEvent) {
        let Some(session) = self.session_mut(key) else {
            return;
        };
        let current = session.transport.path();
        match (event, &mut session.paths) {
            (TransportEvent::PathProbed { path, rtt }, Some(paths)) => {
                paths.handle_probed(now.instant, path, rtt);
            }
            (TransportEvent::PeerMoved(path), Some(paths)) => paths.handle_moved(now.instant, path),
            (TransportEvent::PeerMoved(path), None) => {
                session.transport.migrate(now.instant, path);
            }
            (TransportEvent::PathFailed(failed), paths) => {
                if let Some(paths) = paths {
                    paths.remove_path(now.instant, failed);
                    paths.handle_switched(now.instant, current);
                }
                self.client_moved(now, key);
            }
            (TransportEvent::PathValidated(path), paths) => {
                if let Some(paths) = paths
                    && let Some(rtt) = validated_rtt(&session.transport, now)
                {
                    paths.handle_probed(now.instant, path, rtt);
                }
                self.client_moved(now, key);
            }
            (_, _) => {}
        }
        self.relay_peer_moved(key);
    }

    /// A handshake was answered on another path than the one in use.
    pub(crate) fn session_switched(&mut self, now: Now, key: SessionKey, path: PathId) {
        let Some(session) = self.session_mut(key) else {
            return;
        };
        session.transport.migrate(now.instant, path);
        if let Some(paths) = &mut session.paths {
            paths.handle_switched(now.instant, path);
        }
    }

    /// What is done for a client follows it to where its packets come from now, and it is told where that is.
    fn client_moved(&mut self, now: Now, key: SessionKey) {
        self.tell_observed(now, key);
        let Some(session) = self.table.get(key) else {
            return;
        };
        if let (Class::Client, Some(addr), Some(role)) = (
            session.class,
            session.transport.path().remote(),
            &mut self.role,
        ) {
            role.host.observed_changed(&session.agent, addr);
            self.relay_client_moved(key);
        }
    }

    /// Tells a client where its packets come from, and where else it may ask.
    pub(crate) fn tell_observed(&mut self, now: Now, key: SessionKey) {
        let Some(session) = self.table.get(key) else {
            return;
        };
        let agent = session.agent;
        let Some(addr) = session.transport.path().remote() else {
            return;
        };
        if session.class != Class::Client {
            return;
        }
        let stun_port = self.stun_port_for(&addr);
        let body = ObservedAddress { addr, stun_port }.encode();
        let Some(session) = self.session_mut(key) else {
            return;
        };
        if let Err(error) = session
            .transport
            .send_extension(now.instant, OBSERVED_ADDRESS, body)
        {
            tracing::debug!(%agent, %error, "observed address not told");
        }
    }

    /// Does what a session's path agent asks for.
    pub(crate) fn run_paths(&mut self, now: Now, key: SessionKey) {
        let Some(session) = self.table.get_mut(key) else {
            return;
        };
        let Some(paths) = &mut session.paths else {
            return;
        };
        let mut spray = None;
        while let Some(action) = paths.poll_action() {
            match action {
                PathAction::Spray(side) => spray = Some(side),
                PathAction::Probe(path) if path == session.transport.path() => {
                    // The traffic is the probe.
                    if let Some(rtt) = validated_rtt(&session.transport, now) {
                        paths.handle_probed(now.instant, path, rtt);
                    }
                }
                PathAction::Probe(path) => {
                    session.transport.probe(now.instant, path);
                }
                PathAction::Use(path) if session.transport.path() != path => {
                    tracing::debug!(agent = %session.agent, %path, "path changed");
                    session.transport.migrate(now.instant, path);
                    self.reconnects.sessions_changed();
                }
                PathAction::Use(_) => {}
            }
        }
        if let Some(side) = spray {
            self.begin_spray(now, key, side);
        }
    }
}

/// The round trip of the path in use, if it is validated and measured.
fn validated_rtt(transport: &Transport, now: Now) -> Option<Duration> {
    let in_use = transport.paths(now.instant).next()?;
    in_use.rtt.filter(|_| in_use.is_validated)
}

/// Whether an address of an interface says anything to somebody else.
const fn is_told(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}
