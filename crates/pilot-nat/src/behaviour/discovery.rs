//! Asking a server what our NAT does.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pilot_types::{Deadline, Seed};
use pilot_wire::Mapping;
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

use super::MappingProbe;
use crate::stun::{BindingRequest, BindingResponse};

/// Requests of one test. RFC 8489 §6.2.1 doubles the pauses; three requests lose all with a loss of a tenth once in a
/// thousand tests.
const TRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// How a NAT filters (RFC 4787 §5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Filtering {
    /// Whoever has the address that we sent to may answer from any port, and perhaps others too: with one server these
    /// are not told apart.
    AddressDependent,
    /// Only the port that we sent to may answer.
    AddressAndPortDependent,
    /// Nobody was asked, or nobody could tell.
    #[default]
    Unknown,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Test {
    /// Where another port of the server sees us.
    Mapping,
    /// Whether another port of the server may answer.
    Filtering,
}

#[derive(Clone, Debug)]
struct Asked {
    test: Test,
    to: SocketAddr,
    request: BindingRequest,
    sent: u32,
    next: Instant,
}

/// Finds out how our NAT maps and filters one socket of ours, with a server that has another port to be asked at, and a
/// third one to answer from.
///
/// ```
/// use std::time::Instant;
/// use pilot_nat::{BindingResponse, Filtering, Mapping, NatDiscovery};
/// use pilot_types::Seed;
///
/// let now = Instant::now();
/// let mut discovery = NatDiscovery::new(&Seed::new([7; 32]));
/// discovery.observe("192.0.2.1:9000".parse()?, "203.0.113.7:40000".parse()?);
/// discovery.ask(now, "192.0.2.1:9000".parse()?, 9001);
/// while let Some((to, request)) = discovery.poll_request(now) {
///     // Sent from the socket; what comes back:
///     let mapped = "203.0.113.7:40000".parse()?;
///     let from = if request.change_port { "192.0.2.1:9002".parse()? } else { to };
///     discovery.handle_response(from, &BindingResponse { transaction: request.transaction, mapped });
/// }
/// assert_eq!(discovery.mapping(), Mapping::EndpointIndependent);
/// assert_eq!(discovery.filtering(), Filtering::AddressDependent);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct NatDiscovery {
    seen: MappingProbe,
    filtering: Filtering,
    /// At most one of each test.
    asked: Vec<Asked>,
    rng: ChaCha12Rng,
}

impl NatDiscovery {
    /// Knows nothing.
    #[must_use]
    pub fn new(seed: &Seed) -> Self {
        Self {
            seen: MappingProbe::default(),
            filtering: Filtering::Unknown,
            asked: vec![],
            rng: ChaCha12Rng::from_seed(*seed.expose()),
        }
    }

    /// We are behind another NAT: what is known is of the one before.
    fn forget(&mut self) {
        self.seen = MappingProbe::default();
        self.filtering = Filtering::Unknown;
        self.asked.clear();
    }

    /// A server that we talk to says where it sees us. If that is elsewhere than before, all else is old.
    pub fn observe(&mut self, server: SocketAddr, mapped: SocketAddr) {
        if self
            .seen
            .last(server)
            .is_some_and(|before| before != mapped)
        {
            self.forget();
        }
        self.seen.observe(server, mapped);
    }

    /// Begins the tests with a server that can also be asked at `port`, unless it was asked already. It answers
    /// requests with `change_port` from a third port, to which we never send.
    pub fn ask(&mut self, now: Instant, server: SocketAddr, port: u16) {
        let other = SocketAddr::new(server.ip(), port);
        let is_known =
            self.asked.iter().any(|asked| asked.to == other) || self.seen.last(other).is_some();
        if is_known {
            return;
        }
        self.asked.clear();
        for (test, to) in [(Test::Mapping, other), (Test::Filtering, server)] {
            let mut transaction = [0; 12];
            self.rng.fill_bytes(&mut transaction);
            let change_port = test == Test::Filtering;
            self.asked.push(Asked {
                test,
                to,
                request: BindingRequest {
                    transaction,
                    change_port,
                },
                sent: 0,
                next: now,
            });
        }
    }

    /// An answer came; `false` if nobody asked for it.
    pub fn handle_response(&mut self, from: SocketAddr, response: &BindingResponse) -> bool {
        let is_asked = |asked: &Asked| {
            asked.request.transaction == response.transaction && asked.may_come_from(from)
        };
        let Some(at) = self.asked.iter().position(is_asked) else {
            return false;
        };
        match self.asked.swap_remove(at).test {
            Test::Mapping => self.seen.observe(from, response.mapped),
            Test::Filtering => self.filtering = Filtering::AddressDependent,
        }
        true
    }

    /// The next request to send, and where.
    pub fn poll_request(&mut self, now: Instant) -> Option<(SocketAddr, BindingRequest)> {
        let at = self.asked.iter().position(|asked| asked.next <= now)?;
        let asked = &mut self.asked[at];
        if asked.sent == TRIES {
            let over = self.asked.swap_remove(at);
            if over.test == Test::Filtering {
                self.filtering = Filtering::AddressAndPortDependent;
            }
            return self.poll_request(now);
        }
        asked.next = now + FIRST_PAUSE * 2_u32.pow(asked.sent);
        asked.sent += 1;
        Some((asked.to, asked.request))
    }

    /// When [`Self::poll_request`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let at = self.asked.iter().map(|asked| asked.next).min()?;
        let timer = "nat discovery";
        Some(Deadline { at, timer })
    }

    /// How our NAT maps, as far as is known.
    #[must_use]
    pub fn mapping(&self) -> Mapping {
        self.seen.mapping()
    }

    /// How it filters, as far as is known.
    #[must_use]
    pub const fn filtering(&self) -> Filtering {
        self.filtering
    }
}

impl Asked {
    /// Whether an answer may come from there: anybody may have overheard the question.
    fn may_come_from(&self, from: SocketAddr) -> bool {
        match self.test {
            Test::Mapping => from == self.to,
            Test::Filtering => from.ip() == self.to.ip() && from.port() != self.to.port(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "192.0.2.1:9000";

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// Runs all tests against a NAT that gives the second port this mapping, and lets answers of others pass or not.
    fn discover(second: &str, lets_others_in: bool) -> NatDiscovery {
        let mut now = Instant::now();
        let mut discovery = NatDiscovery::new(&Seed::new([1; 32]));
        discovery.observe(addr(SERVER), addr("203.0.113.7:1"));
        discovery.ask(now, addr(SERVER), 9001);
        let mut sent = 0;
        while let Some(deadline) = discovery.poll_timeout() {
            now = deadline.at;
            while let Some((to, request)) = discovery.poll_request(now) {
                sent += 1;
                assert!(sent <= 2 * TRIES);
                let transaction = request.transaction;
                let answer = |mapped: &str| BindingResponse {
                    transaction,
                    mapped: addr(mapped),
                };
                if !request.change_port {
                    assert!(!discovery.handle_response(addr("192.0.2.9:9001"), &answer(second)));
                    assert!(discovery.handle_response(to, &answer(second)));
                } else if lets_others_in {
                    let third = addr("192.0.2.1:9002");
                    assert!(discovery.handle_response(third, &answer("203.0.113.7:1")));
                }
            }
        }
        discovery
    }

    #[test]
    fn mapping_and_filtering_are_told_apart() {
        let easy = discover("203.0.113.7:1", true);
        assert_eq!(easy.mapping(), Mapping::EndpointIndependent);
        assert_eq!(easy.filtering(), Filtering::AddressDependent);
        let hard = discover("203.0.113.7:2", false);
        assert_eq!(hard.mapping(), Mapping::AddressAndPortDependent);
        assert_eq!(hard.filtering(), Filtering::AddressAndPortDependent);
    }

    #[test]
    fn a_server_is_asked_once_on_each_network() {
        let mut discovery = discover("203.0.113.7:1", true);
        discovery.ask(Instant::now(), addr(SERVER), 9001);
        assert_eq!(discovery.poll_timeout(), None);
        // Now it sees us elsewhere.
        discovery.observe(addr(SERVER), addr("203.0.113.8:1"));
        assert_eq!(discovery.mapping(), Mapping::Unknown);
        assert_eq!(discovery.filtering(), Filtering::Unknown);
        discovery.ask(Instant::now(), addr(SERVER), 9001);
        assert!(discovery.poll_timeout().is_some());
    }
}
