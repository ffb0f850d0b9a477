//! STUN: a rendezvous answers, and an agent finds out what its NAT does.

use std::net::SocketAddr;

use pilot_nat::{BindingRequest, BindingResponse, Filtering, Mapping, NatDiscovery};
use pilot_types::{FourTuple, PathId};

use crate::node::Node;
use crate::now::Now;

/// Sockets of a rendezvous beside those that agents talk to, of each kind at most one a family.
#[derive(Default)]
pub(crate) struct StunSockets {
    /// Agents ask there too, to learn whether they are mapped otherwise.
    asked: Vec<SocketAddr>,
    /// Answers come from there to who wants to know whether others may answer; nobody sends there.
    answering: Vec<SocketAddr>,
}

impl StunSockets {
    fn port_for(&self, client: &SocketAddr) -> Option<u16> {
        let mut asked = self.asked.iter();
        let fitting = asked.find(|local| local.is_ipv4() == client.is_ipv4());
        fitting.map(SocketAddr::port)
    }

    /// Where an answer from another port comes from; `None` for requests to these sockets themselves.
    fn other(&self, tuple: &FourTuple) -> Option<FourTuple> {
        let is_family = |local: &&SocketAddr| local.is_ipv4() == tuple.local.is_ipv4();
        let local = *self.answering.iter().find(is_family)?;
        (!self.has(&tuple.local)).then_some(FourTuple { local, ..*tuple })
    }

    fn has(&self, local: &SocketAddr) -> bool {
        self.asked
            .iter()
            .chain(&self.answering)
            .any(|it| it == local)
    }
}

impl Node {
    /// A rendezvous' sockets for agents that want to know what their NAT does: `asked` answer requests, and answers to who
    /// asks for another port (RFC 5780) come from `answering`.
    pub fn set_stun_sockets(&mut self, asked: Vec<SocketAddr>, answering: Vec<SocketAddr>) {
        if let Some(role) = &mut self.role {
            role.stun = StunSockets { asked, answering };
        }
    }

    /// Whether nothing but STUN is spoken where a datagram came in.
    pub(crate) fn is_for_stun(&self, path: &PathId) -> bool {
        let PathId::Udp(tuple) = path else {
            return false;
        };
        let role = self.role.as_ref();
        role.is_some_and(|role| role.stun.has(&tuple.local))
    }

    /// The other port at which a client may ask where it is seen.
    pub(crate) fn stun_port_for(&self, client: &SocketAddr) -> Option<u16> {
        self.role.as_ref()?.stun.port_for(client)
    }

    /// A request is answered with where it came from, an answer tells of our NAT.
    pub(crate) fn handle_stun(&mut self, now: Now, path: PathId, data: &[u8]) {
        let PathId::Udp(tuple) = path else {
            self.output.drops.count("stun_unexpected");
            return;
        };
        if self.role.is_some() {
            self.answer_stun(now, tuple, data);
        } else {
            self.stun_answered(tuple.remote.0, data);
        }
    }

    fn answer_stun(&mut self, now: Now, tuple: FourTuple, data: &[u8]) {
        let Some(role) = &mut self.role else {
            return;
        };
        let Ok(request) = BindingRequest::decode(data) else {
            self.output.drops.count("stun_malformed");
            return;
        };
        if !role.may_answer(now.instant, &PathId::Udp(tuple)) {
            self.output.drops.count("stun_limited");
            return;
        }
        let from = if request.change_port {
            role.stun.other(&tuple)
        } else {
            Some(tuple)
        };
        let Some(from) = from else {
            self.output.drops.count("stun_unexpected");
            return;
        };
        let response = BindingResponse {
            transaction: request.transaction,
            mapped: tuple.remote.0,
        };
        self.output.datagram(PathId::Udp(from), response.encode());
    }

    fn stun_answered(&mut self, from: SocketAddr, data: &[u8]) {
        let Ok(response) = BindingResponse::decode(data) else {
            self.output.drops.count("stun_malformed");
            return;
        };
        let is_asked = |nat: &mut NatDiscovery| nat.handle_response(from, &response);
        if !self.place.learn(is_asked) {
            self.output.drops.count("stun_unexpected");
        }
    }

    /// A rendezvous at `server` sees us at `mapped`, and can be asked at another port too. NATs of IPv6 are not asked for.
    pub(crate) fn seen_by(
        &mut self,
        now: Now,
        server: SocketAddr,
        mapped: SocketAddr,
        port: Option<u16>,
    ) {
        if !server.is_ipv4() {
            return;
        }
        self.place.learn(|nat| {
            nat.observe(server, mapped);
            if let Some(port) = port {
                nat.ask(now.instant, server, port);
            }
        });
    }

    /// Sends what is due to find out about our NAT.
    pub(crate) fn run_discovery(&mut self, now: Now) {
        while let Some((to, request)) = self.place.nat.poll_request(now.instant) {
            if let Some(path) = self.place.path_to(to) {
                self.output.datagram(path, request.encode());
            }
        }
    }

    /// What our NAT does with IPv4, as far as is known.
    #[must_use]
    pub fn nat(&self) -> (Mapping, Filtering) {
        (self.place.nat.mapping(), self.place.nat.filtering())
    }
}
