//! The relay's core: channels between clients, who may have one, and where a frame goes.

mod bucket;
mod channels;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pilot_types::{AgentId, Deadline, Seed};
use pilot_wire::RelayFrame;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use thiserror::Error;

use bucket::Bucket;
use channels::{Channels, ClientKey, Side};

/// Limits of a [`RelayServer`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RelayLimits {
    /// Channels in all; each costs two entries of at most 64 bytes: 25 MiB.
    pub max_channels: usize,
    /// Channels that one client asked for, and channels to one client.
    pub max_channels_per_client: usize,
    /// What one client may send.
    pub client: RelayRate,
    /// What all may send together.
    pub total: RelayRate,
    /// A channel that carried nothing for so long is forgotten.
    pub idle: Duration,
}

impl RelayLimits {
    /// Of an agent that forwards for those it trusts, beside its own work: a quarter of a gigabit for each, half of one in all.
    #[must_use]
    pub const fn of_an_agent() -> Self {
        Self {
            max_channels: 1024,
            max_channels_per_client: 64,
            client: RelayRate {
                bytes: 32 << 20,
                datagrams: 1 << 15,
            },
            total: RelayRate {
                bytes: 64 << 20,
                datagrams: 1 << 16,
            },
            idle: Duration::from_secs(120),
        }
    }
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            max_channels: 200_000,
            max_channels_per_client: 256,
            // 4.5 Gbit/s in datagrams of full size; more small ones than that are a flood, and would be the others' loss.
            client: RelayRate {
                bytes: 1 << 30,
                datagrams: 384 << 10,
            },
            total: RelayRate {
                bytes: 2 << 30,
                datagrams: 1 << 20,
            },
            idle: Duration::from_secs(120),
        }
    }
}

/// How much may be sent; a second's worth may come at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RelayRate {
    /// Bytes a second, heads of frames included.
    pub bytes: u64,
    /// Datagrams a second.
    pub datagrams: u64,
}

/// Why there is no channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// The agent is not connected to this relay, or its permits do not hold the one that was shown: the same for both.
    #[error("no such agent at this relay")]
    NotFound,
    /// The asker, the agent or the relay has as many channels as it may have.
    #[error("too many channels")]
    Full,
}

/// Why a frame is not forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RelayDrop {
    /// It is no frame of a relay.
    Malformed,
    /// No such channel, any more.
    UnknownChannel,
    /// It does not come from the client that the channel belongs to.
    Foreign,
    /// The client, or all clients together, send more than they may.
    Limited,
}

impl RelayDrop {
    /// Every reason, for counters.
    pub const ALL: [Self; 4] = [
        Self::Malformed,
        Self::UnknownChannel,
        Self::Foreign,
        Self::Limited,
    ];

    /// The reason as counters name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "relay_malformed",
            Self::UnknownChannel => "relay_channel_unknown",
            Self::Foreign => "relay_source",
            Self::Limited => "relay_limited",
        }
    }
}

/// Figures of a relay since it started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RelayStats {
    /// Channels now.
    pub channels: usize,
    /// Datagrams forwarded.
    pub datagrams: u64,
    /// Bytes forwarded, frames' heads included.
    pub bytes: u64,
}

/// One client: an agent with a session with the relay.
struct Client {
    addr: SocketAddr,
    is_open: bool,
    permits: Vec<[u8; 16]>,
    bucket: Bucket,
}

/// Forwards frames between clients; knows no keys, and of trust only who shows which permit.
///
/// The owner says who is connected from where, and passes on every frame. Nothing is done for a client but to send what
/// it sends to the one other client of the channel.
///
/// ```
/// use std::time::Instant;
/// use pilot_nat::{RelayLimits, RelayServer};
/// use pilot_types::{AgentId, Seed};
/// use pilot_wire::RelayFrame;
///
/// let now = Instant::now();
/// let [alice, bob] = [1, 2].map(|it| AgentId::new([it; 32]));
/// let (at_alice, at_bob) = ("192.0.2.1:4000".parse().unwrap(), "192.0.2.2:4000".parse().unwrap());
/// let mut relay = RelayServer::new(RelayLimits::default(), Seed::new([7; 32]));
/// relay.client_opened(now, alice, at_alice);
/// relay.client_opened(now, bob, at_bob);
/// relay.set_permits(&bob, false, vec![[9; 16]]);
/// let channel = relay.bind(now, &alice, &bob, Some([9; 16])).unwrap();
///
/// let mut frame = *b"-----sealed";
/// RelayFrame::write_head(frame.first_chunk_mut().unwrap(), channel);
/// assert_eq!(relay.handle_frame(now, at_alice, &mut frame), Ok(at_bob));
/// // What bob sends back in the channel that he sees goes to alice in hers.
/// assert_eq!(relay.handle_frame(now, at_bob, &mut frame), Ok(at_alice));
/// assert_eq!(RelayFrame::decode(&frame).unwrap().channel, channel);
/// ```
pub struct RelayServer {
    limits: RelayLimits,
    rng: ChaCha12Rng,
    /// Bounded by the owner's sessions.
    clients: BTreeMap<ClientKey, Client>,
    by_agent: BTreeMap<AgentId, ClientKey>,
    next_client: u32,
    channels: Channels,
    /// `None` before the first frame.
    total: Option<Bucket>,
    stats: RelayStats,
}

impl RelayServer {
    /// A relay without clients; channel numbers follow from the seed.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a seed keys one generator and is wiped then"
    )]
    pub fn new(limits: RelayLimits, seed: Seed) -> Self {
        Self {
            limits,
            rng: ChaCha12Rng::from_seed(*seed.expose()),
            clients: BTreeMap::new(),
            by_agent: BTreeMap::new(),
            next_client: 0,
            channels: Channels::default(),
            total: None,
            stats: RelayStats::default(),
        }
    }

    /// An agent's session is up; one that it had is over, with its channels and permits.
    pub fn client_opened(&mut self, now: Instant, agent: AgentId, addr: SocketAddr) {
        self.client_closed(&agent);
        let key = ClientKey(self.next_client);
        self.next_client = self.next_client.wrapping_add(1);
        let client = Client {
            addr,
            is_open: false,
            permits: vec![],
            bucket: Bucket::new(now, self.limits.client),
        };
        self.clients.insert(key, client);
        self.by_agent.insert(agent, key);
    }

    /// Whether the agent has a session that was told of.
    #[must_use]
    pub fn has_client(&self, agent: &AgentId) -> bool {
        self.by_agent.contains_key(agent)
    }

    /// An authenticated packet of the agent's session came from another address: its channels go with it.
    pub fn client_moved(&mut self, agent: &AgentId, addr: SocketAddr) {
        if let Some(client) = self
            .by_agent
            .get(agent)
            .and_then(|key| self.clients.get_mut(key))
        {
            client.addr = addr;
        }
    }

    /// The agent's session ended.
    pub fn client_closed(&mut self, agent: &AgentId) {
        if let Some(key) = self.by_agent.remove(agent) {
            self.clients.remove(&key);
            self.channels.remove_client(key);
        }
    }

    /// Who may reach an agent: whoever shows one of `permits`, or anybody. Channels that this does not allow are over.
    pub fn set_permits(&mut self, agent: &AgentId, is_open: bool, permits: Vec<[u8; 16]>) {
        let Some(key) = self.by_agent.get(agent).copied() else {
            return;
        };
        let Some(client) = self.clients.get_mut(&key) else {
            return;
        };
        (client.is_open, client.permits) = (is_open, permits);
        let client = &*client;
        self.channels
            .retain_to(key, |permit| client.admits(permit.as_ref()));
    }

    /// A channel from one client to another, the one that there is already if there is one; gives its number for the asker.
    ///
    /// # Errors
    /// [`BindError`]; an agent that is not there and one that does not permit it are told apart neither by it nor by time.
    pub fn bind(
        &mut self,
        now: Instant,
        from: &AgentId,
        to: &AgentId,
        permit: Option<[u8; 16]>,
    ) -> Result<u32, BindError> {
        let from = *self.by_agent.get(from).ok_or(BindError::NotFound)?;
        let found = self.by_agent.get(to).copied().filter(|to| *to != from);
        // Where there is nobody the asker's own permits are looked through.
        let looked_at = self
            .clients
            .get(&found.unwrap_or(from))
            .ok_or(BindError::NotFound)?;
        let is_admitted = looked_at.admits(permit.as_ref());
        let to = found.filter(|_| is_admitted).ok_or(BindError::NotFound)?;
        if let Some(channel) = self.channels.between(from, to) {
            return Ok(channel);
        }
        let is_full = self.channels.len() >= self.limits.max_channels
            || self.channels.count_from(from) >= self.limits.max_channels_per_client
            || self.channels.count_to(to) >= self.limits.max_channels_per_client;
        if is_full {
            return Err(BindError::Full);
        }
        let check_at = now + self.limits.idle;
        Ok(self
            .channels
            .open(&mut self.rng, (from, to), permit, (now, check_at)))
    }

    /// Takes a frame that came from `from`; it is to be sent, as it is now, to the address that is given.
    ///
    /// # Errors
    /// [`RelayDrop`] if it goes nowhere; nobody is to be answered.
    pub fn handle_frame(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Result<SocketAddr, RelayDrop> {
        let RelayFrame { channel, .. } =
            RelayFrame::decode(datagram).map_err(|_| RelayDrop::Malformed)?;
        let Side { owner, other, .. } = self
            .channels
            .side(channel)
            .ok_or(RelayDrop::UnknownChannel)?;
        let sender = self
            .clients
            .get_mut(&owner)
            .ok_or(RelayDrop::UnknownChannel)?;
        if sender.addr != from {
            return Err(RelayDrop::Foreign);
        }
        let size = datagram.len() as u64;
        let total = self
            .total
            .get_or_insert_with(|| Bucket::new(now, self.limits.total));
        // Who sends too much takes nothing from the others.
        if !sender.bucket.take(now, size) || !total.take(now, size) {
            return Err(RelayDrop::Limited);
        }
        let to = self
            .channels
            .owner(other)
            .and_then(|owner| self.clients.get(&owner))
            .ok_or(RelayDrop::UnknownChannel)?;
        self.channels.used(now, channel);
        let head = datagram.first_chunk_mut().ok_or(RelayDrop::Malformed)?;
        RelayFrame::write_head(head, other);
        self.stats.datagrams += 1;
        self.stats.bytes += size;
        Ok(to.addr)
    }

    /// Forgets channels that carried nothing for long; early and repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.channels.expire(now, self.limits.idle);
    }

    /// When [`Self::handle_timeout`] has work.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        self.channels.next_check().map(|at| Deadline {
            at,
            timer: "relay channel",
        })
    }

    /// Figures of now.
    #[must_use]
    pub fn stats(&self) -> RelayStats {
        RelayStats {
            channels: self.channels.len(),
            ..self.stats
        }
    }
}

impl Client {
    /// Whether it lets in who shows this. Every permit is looked at, whichever is the right one.
    fn admits(&self, permit: Option<&[u8; 16]>) -> bool {
        let shown = u128::from_be_bytes(permit.copied().unwrap_or_default());
        let mut is_known = false;
        for known in &self.permits {
            is_known |= u128::from_be_bytes(*known) ^ shown == 0;
        }
        self.is_open | (is_known & permit.is_some())
    }
}
