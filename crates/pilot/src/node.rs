//! The embedding API.

use std::sync::Arc;
use std::time::Duration;

use pilot_node::{Answer, DialId, LinkState, QueryId, Target as NodeTarget};
use pilot_store::Home;
use pilot_trust::{PendingKnock, Terms, Ticket, TrustedPeer};
use pilot_types::{Address, AgentId, Hostname, Port};
use pilot_wire::{KnockTarget, Scope, check_capabilities, limits};
use tokio::sync::{broadcast, oneshot};

use crate::builder::Builder;
use crate::clock;
use crate::error::{
    DialError, ListenError, LookupError, ProfileError, RegisterError, TicketError, TrustError,
};
use crate::keys::Unwritten;
use crate::listener::{Listener, Peer};
use crate::notice::Notices;
use crate::peers::{
    ConnectionStatus, Found, Knocked, NatStatus, NodeStatus, PathKind, PeerStatus, Pong,
    ProfileChange, RelayLink, RendezvousStatus,
};
use crate::state::{DialOutcome, Registration, Shared, State, link_word};
use crate::stream::Stream;
use crate::target::{Target, parse_target_port};

pub use pilot_node::DialOptions;

/// Payload of a ping in bytes.
const PING_BYTES: usize = 32;
/// How long a profile change waits for a rendezvous.
const PROFILE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a shutdown waits for acknowledgements of what was written: longer than a burst of losses lasts.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// How often a node that drains looks what is left.
const DRAIN_LOOK: Duration = Duration::from_millis(5);
/// How long a ticket waits for our address; a fresh agent learns it one round trip after it registered.
const OBSERVED_TIMEOUT: Duration = Duration::from_secs(2);
/// Lifetime of a ticket where none is given.
const TICKET_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A running agent. Clones share it; it runs until [`Node::shutdown`] or until the runtime ends.
#[derive(Clone)]
pub struct Node {
    pub(crate) shared: Arc<Shared>,
    pub(crate) home: Arc<Home>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) unwritten: Unwritten,
}

/// What never changes while a node runs.
pub(crate) struct Facts {
    pub(crate) agent: AgentId,
    pub(crate) min_work_bits: u8,
}

impl Node {
    /// Settings of a node to start.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Our own id.
    #[must_use]
    pub fn agent(&self) -> AgentId {
        self.facts.agent
    }

    /// Our own address.
    #[must_use]
    pub fn address(&self) -> Address {
        self.facts.agent.address()
    }

    /// Our current signing key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.shared.lock().node.identity().sign_public()
    }

    /// The name that we claim.
    #[must_use]
    pub fn hostname(&self) -> Option<Hostname> {
        self.shared.lock().node.profile().hostname.clone()
    }

    /// Where key and state are kept.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Resolves when the first rendezvous accepted our record. It has no deadline of its own.
    ///
    /// # Errors
    /// [`RegisterError`] if it never will.
    pub async fn registered(&self) -> Result<(), RegisterError> {
        let mut registration = self.shared.lock().registration.subscribe();
        let settled = registration
            .wait_for(|now| !matches!(now, Registration::Pending))
            .await;
        match settled.map(|now| now.clone()) {
            Ok(Registration::Done | Registration::Pending) => Ok(()),
            Ok(Registration::Failed(error)) => Err(error),
            Err(_) => Err(RegisterError::Shutdown),
        }
    }

    /// Opens a stream to `PEER:PORT`, as in `planner:1000` or `0:A91F.0000.7C2E:1000`.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn dial(&self, target: &str) -> Result<Stream, DialError> {
        let (target, port) = parse_target_port(target)?;
        self.dial_peer(target, port, DialOptions::default()).await
    }

    /// Opens a stream to a port of an agent. Opening costs no round trip on a live session, and no packet: the agent learns of the
    /// stream with the first write, read or end of ours, and whether somebody listens shows at the first read. Cancel safe.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn dial_peer(
        &self,
        target: Target,
        port: Port,
        options: DialOptions,
    ) -> Result<Stream, DialError> {
        let target = self.node_target(target)?;
        let (trace, group) = (options.trace, options.group);
        let dial = |node: &mut pilot_node::Node| node.dial(clock::now(), target, port, options);
        match self.run_dial(dial).await? {
            DialOutcome::Opened { stream, agent } => {
                let state = self.shared.lock();
                let hostname = state.node.hostname_of(&agent);
                let (local_port, remote_port) = state.node.ports(stream).unwrap_or((port, port));
                drop(state);
                let peer = Peer {
                    agent,
                    hostname,
                    local_port,
                    remote_port,
                    trace,
                    metadata: vec![],
                    group,
                };
                Ok(Stream::new(Arc::clone(&self.shared), stream, peer))
            }
            DialOutcome::Answered { .. } | DialOutcome::Delivered { .. } => {
                Err(DialError::Shutdown)
            }
        }
    }

    /// Asks an agent for a sign of life.
    ///
    /// # Errors
    /// [`DialError`].
    pub async fn ping(&self, target: Target) -> Result<Pong, DialError> {
        let target = self.node_target(target)?;
        match self
            .run_dial(|node| node.ping(clock::now(), target, PING_BYTES))
            .await?
        {
            DialOutcome::Answered { agent, rtt, path } => Ok(Pong {
                agent,
                rtt,
                bytes: PING_BYTES,
                path: PathKind::from(&path),
            }),
            DialOutcome::Opened { .. } | DialOutcome::Delivered { .. } => Err(DialError::Shutdown),
        }
    }

    /// Runs a dial that ends with something handed to its agent.
    pub(crate) async fn run_delivery(
        &self,
        start: impl FnOnce(&mut pilot_node::Node) -> Result<DialId, pilot_node::DialError>,
    ) -> Result<AgentId, DialError> {
        match self.run_dial(start).await? {
            DialOutcome::Delivered { agent } => Ok(agent),
            DialOutcome::Opened { .. } | DialOutcome::Answered { .. } => Err(DialError::Shutdown),
        }
    }

    async fn run_dial(
        &self,
        start: impl FnOnce(&mut pilot_node::Node) -> Result<DialId, pilot_node::DialError>,
    ) -> Result<DialOutcome, DialError> {
        let start = |state: &mut State| {
            if state.is_shutdown {
                return Err(DialError::Shutdown);
            }
            let id = start(&mut state.node)?;
            let (sender, receiver) = oneshot::channel();
            state.waiters.dials.insert(id, sender);
            Ok((id, receiver))
        };
        // A stream on a live session is there at once; its header goes with its first bytes.
        let is_over = |state: &State, started: &Result<(DialId, _), DialError>| {
            let id = started.as_ref().map(|(id, _)| id);
            id.is_ok_and(|id| !state.waiters.dials.contains_key(id))
        };
        let (_, receiver) = self.shared.begin(start, is_over)?;
        match receiver.await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(DialError::Shutdown),
        }
    }

    /// Takes a port. Ports below 1000 that belong to the protocol itself (0–2, 444) cannot be taken.
    ///
    /// # Errors
    /// [`ListenError`].
    pub async fn listen(&self, port: Port) -> Result<Listener, ListenError> {
        if [Port::LIVENESS, Port::CONTROL, Port::REGISTRY, Port::TRUST].contains(&port) {
            return Err(ListenError::Reserved(port));
        }
        let incoming = self
            .shared
            .with(|state| state.listen(port))
            .ok_or(ListenError::InUse(port))?;
        Ok(Listener::new(
            Arc::clone(&self.shared),
            Some(port),
            incoming,
        ))
    }

    /// Takes streams to every port that no other listener has, as far as their openers' grants name it.
    ///
    /// # Errors
    /// [`ListenError::AnyInUse`] if there is such a listener already.
    pub async fn listen_any(&self) -> Result<Listener, ListenError> {
        let incoming = self.shared.with(State::listen_any);
        let incoming = incoming.ok_or(ListenError::AnyInUse)?;
        Ok(Listener::new(Arc::clone(&self.shared), None, incoming))
    }

    /// Asks the rendezvous for an agent's entry and checks it with the agent's own key.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn lookup(&self, target: Target) -> Result<Found, LookupError> {
        let target = self
            .node_target(target)
            .map_err(|error| LookupError::Invalid(error.to_string()))?;
        match self
            .run_query(|node| node.lookup(clock::now(), target))
            .await?
        {
            Answer::Entry(entry) => Ok(Found::from(*entry)),
            Answer::Page(_) | Answer::Done | Answer::Group(_) | Answer::Deposited(_) => {
                Err(LookupError::NotFound)
            }
        }
    }

    pub(crate) async fn run_query(
        &self,
        start: impl FnOnce(&mut pilot_node::Node) -> QueryId,
    ) -> Result<Answer, LookupError> {
        let receiver = self.shared.with(|state| {
            let id = start(&mut state.node);
            let (sender, receiver) = oneshot::channel();
            state.waiters.queries.insert(id, sender);
            receiver
        });
        receiver
            .await
            .map_err(|_| LookupError::Shutdown)?
            .map_err(LookupError::from)
    }

    /// Asks an agent for trust. Whether it exists is not told: trust holding is the answer.
    ///
    /// # Errors
    /// [`TrustError`].
    pub async fn knock(&self, target: Target, justification: &str) -> Result<Knocked, TrustError> {
        let terms = self.default_terms();
        self.knock_with(target, justification, terms).await
    }

    /// As [`Self::knock`], and what is given back once trust is granted is what `terms` say.
    ///
    /// # Errors
    /// As [`Self::knock`].
    pub async fn knock_with(
        &self,
        target: Target,
        justification: &str,
        terms: Terms,
    ) -> Result<Knocked, TrustError> {
        let target = self.knock_target(target)?;
        let started = self.shared.with(|state| {
            let node = &mut state.node;
            let knocked = node.knock_with(clock::now(), target, justification, terms)?;
            Ok::<_, pilot_trust::KnockError>(match knocked {
                pilot_node::Knocked::Trusted(agent) => Err(agent),
                pilot_node::Knocked::Sent(query) => {
                    let (sender, receiver) = oneshot::channel();
                    state.waiters.queries.insert(query, sender);
                    Ok(Waiter::Query(receiver))
                }
                pilot_node::Knocked::Direct(dial) => {
                    let (sender, receiver) = oneshot::channel();
                    state.waiters.dials.insert(dial, sender);
                    Ok(Waiter::Dial(receiver))
                }
            })
        });
        let waiter = match started.map_err(|error| TrustError::Invalid(error.to_string()))? {
            Err(agent) => {
                self.synced().await?;
                return Ok(Knocked::Trusted(agent));
            }
            Ok(waiter) => waiter,
        };
        self.synced().await?;
        waiter.wait().await.map(|()| Knocked::Sent)
    }

    /// Resolves once trust with `target` holds in both directions.
    ///
    /// # Errors
    /// [`TrustError::Shutdown`] if the node ends first.
    pub async fn trusted_with(&self, target: &Target) -> Result<AgentId, TrustError> {
        let target = self
            .node_target(target.clone())
            .map_err(|error| TrustError::Ticket(error.to_string()))?;
        let mut changes = self.shared.changes.subscribe();
        loop {
            {
                let state = self.shared.lock();
                if state.is_shutdown {
                    return Err(TrustError::Shutdown);
                }
                let agent = state.node.resolve(&target);
                if let Some(agent) =
                    agent.filter(|agent| state.node.trust().is_mutual(clock::unix(), agent))
                {
                    return Ok(agent);
                }
            }
            if let Err(broadcast::error::RecvError::Closed) = changes.recv().await {
                return Err(TrustError::Shutdown);
            }
        }
    }

    /// What an approval gives unless told otherwise: ports 7 and 1000–1002, without an end, in both directions.
    #[must_use]
    pub fn default_terms(&self) -> Terms {
        self.shared.lock().node.trust().default_terms(clock::unix())
    }

    /// Grants a knocker, or an agent that is trusted already, what `terms` say; durable when it returns.
    ///
    /// # Errors
    /// [`TrustError`].
    pub async fn approve(&self, target: &Target, terms: Terms) -> Result<AgentId, TrustError> {
        let agent = self.known_agent(target)?;
        let result = self
            .shared
            .with(|state| state.node.approve(clock::now(), &agent, terms));
        result.map_err(|_| TrustError::NotFound)?;
        self.synced().await?;
        Ok(agent)
    }

    /// Forgets a knock; durable when it returns.
    ///
    /// # Errors
    /// [`TrustError`].
    pub async fn reject(&self, target: &Target, reason: &str) -> Result<AgentId, TrustError> {
        let agent = self.known_agent(target)?;
        let result = self
            .shared
            .with(|state| state.node.reject(clock::now(), &agent, reason));
        result.map_err(|_| TrustError::NotFound)?;
        self.synced().await?;
        Ok(agent)
    }

    /// Revokes trust and closes the session; durable when it returns.
    ///
    /// # Errors
    /// [`TrustError`].
    pub async fn untrust(&self, target: &Target) -> Result<AgentId, TrustError> {
        let agent = self.known_agent(target)?;
        let result = self
            .shared
            .with(|state| state.node.untrust(clock::now(), &agent));
        result.map_err(|_| TrustError::NotFound)?;
        self.synced().await?;
        Ok(agent)
    }

    /// An agent that knocked or is trusted, by any of its names.
    fn known_agent(&self, target: &Target) -> Result<AgentId, TrustError> {
        let target = self
            .node_target(target.clone())
            .map_err(|error| TrustError::Ticket(error.to_string()))?;
        let state = self.shared.lock();
        if let NodeTarget::Key(key) = &target {
            let by_sign_key = |log: &pilot_trust::VerifiedLog| {
                log.agent().as_bytes() == key || log.sign_key() == *key
            };
            let pending = state
                .node
                .trust()
                .pending()
                .find(|knock| by_sign_key(&knock.log))
                .map(|knock| knock.agent);
            let trusted = || {
                state
                    .node
                    .trust()
                    .trusted(clock::unix())
                    .find(|peer| by_sign_key(&peer.log))
                    .map(|peer| peer.agent)
            };
            return pending.or_else(trusted).ok_or(TrustError::NotFound);
        }
        state.node.resolve(&target).ok_or(TrustError::NotFound)
    }

    /// Knocks that wait for an answer.
    #[must_use]
    pub fn pending(&self) -> Vec<PendingKnock> {
        self.shared.lock().node.trust().pending().collect()
    }

    /// Agents that are frozen: two entries of their logs contradict each other, so that nothing holds between us until they recover.
    #[must_use]
    pub fn frozen(&self) -> Vec<TrustedPeer> {
        let state = self.shared.lock();
        state.node.trust().frozen(clock::unix()).collect()
    }

    /// Agents that trust was granted to or by.
    #[must_use]
    pub fn trusted(&self) -> Vec<TrustedPeer> {
        self.shared
            .lock()
            .node
            .trust()
            .trusted(clock::unix())
            .collect()
    }

    /// An agent as [`Self::trusted`] gives it, if trust was granted to it.
    #[must_use]
    pub fn trusted_peer(&self, agent: &AgentId) -> Option<TrustedPeer> {
        let state = self.shared.lock();
        state.node.trust().trusted_peer(clock::unix(), agent)
    }

    /// Whether an agent may dial our `port`.
    #[must_use]
    pub fn admits(&self, agent: &AgentId, port: Port) -> bool {
        self.shared
            .lock()
            .node
            .trust()
            .admits(clock::unix(), agent, port)
    }

    /// What an agent's grant lets us do there, as far as it has told us; `None` if none holds.
    #[must_use]
    pub fn granted_by(&self, agent: &AgentId) -> Option<Scope> {
        let state = self.shared.lock();
        let scope = state.node.trust().received_scope(clock::unix(), agent);
        scope.cloned()
    }

    /// The name that an agent is known by here.
    #[must_use]
    pub fn hostname_of(&self, agent: &AgentId) -> Option<Hostname> {
        self.shared.lock().node.hostname_of(agent)
    }

    /// What happens at this node from now on.
    #[must_use]
    pub fn notices(&self) -> Notices {
        self.shared.lock().notices()
    }

    /// Live sessions.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        let peers = self.shared.lock().node.peers();
        let status = |peer: pilot_node::PeerStatus| PeerStatus {
            agent: peer.agent,
            hostname: peer.hostname,
            path: PathKind::from(&peer.path),
            relay: crate::explain::relay_of(peer.path).map(|addr| addr.to_string()),
            rtt: peer.rtt,
            remote: peer.path.remote(),
        };
        peers.into_iter().map(status).collect()
    }

    /// Open streams.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionStatus> {
        let connections = self.shared.lock().node.connections();
        let status = |connection: pilot_node::ConnectionStatus| ConnectionStatus {
            id: connection.stream.to_u64(),
            agent: connection.agent,
            local_port: connection.local_port,
            remote_port: connection.remote_port,
            state: connection.state,
            cong_win: connection.cong_win,
            in_flight: connection.in_flight,
            srtt: connection.srtt,
            bytes_sent: connection.bytes_sent,
            bytes_recv: connection.bytes_recv,
            retransmits: connection.retransmits,
        };
        connections.into_iter().map(status).collect()
    }

    /// The node as a whole.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let state = self.shared.lock();
        let (status, profile) = (state.node.status(), state.node.profile().clone());
        let (mapping, filtering) = state.node.nat();
        let (keep_alive_secs, relay) = (state.node.keep_alive_secs(), state.node.relay_stats());
        let (endpoints, port_mapping) = (state.node.outer_addresses(), state.port_mapping);
        drop(state);
        let link = |url: &str, state| RendezvousStatus {
            url: url.to_owned(),
            state: link_word(state),
        };
        NodeStatus {
            uptime: self.shared.started.elapsed(),
            rendezvous: status
                .rendezvous
                .iter()
                .map(|(url, state, _)| link(url, *state))
                .collect(),
            relays: status.relays.into_iter().map(relay_link).collect(),
            keep_alive_secs,
            relay,
            nat: NatStatus::new(mapping, filtering),
            endpoints,
            port_mapping,
            peers: status.peers,
            connections: status.connections,
            ports: status.ports,
            bytes_sent: status.bytes_sent,
            bytes_recv: status.bytes_received,
            sessions: status.sessions,
            packets_sent: status.packets_sent,
            packets_recv: status.packets_received,
            packets_lost: status.packets_lost,
            handshakes_started: status.handshakes.started,
            handshakes_completed: status.handshakes.completed,
            handshakes_opened: status.handshakes.opened,
            handshakes_accepted: status.handshakes.accepted,
            cookies_sent: status.handshakes.cookies_sent,
            drops: status.drops,
            public: profile.is_public,
            tags: profile.tags,
            capabilities: profile.capabilities,
            auto_approve: profile.auto_approve.is_some(),
        }
    }

    /// Changes what the registry says of us. If it refuses, everything is as before.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub async fn set_profile(&self, change: ProfileChange) -> Result<(), ProfileError> {
        let mut profile = self.shared.lock().node.profile().clone();
        if let Some(tags) = change.tags {
            if tags.len() > limits::MAX_TAGS {
                return Err(ProfileError::TooManyTags(limits::MAX_TAGS));
            }
            profile.tags = tags;
        }
        if let Some(capabilities) = change.capabilities {
            check_capabilities(&capabilities)?;
            profile.capabilities = capabilities;
        }
        if let Some(hostname) = change.hostname {
            if let Some(name) = hostname.as_ref().filter(|name| name.is_reserved()) {
                return Err(ProfileError::HostnameReserved(name.clone()));
            }
            profile.hostname = hostname;
        }
        profile.is_public = change.public.unwrap_or(profile.is_public);
        if let Some(auto_approve) = change.auto_approve {
            profile.auto_approve = auto_approve.then(pilot_node::Node::default_scope);
        }
        let name = profile.hostname.clone();
        let receiver = self.shared.with(|state| {
            let (sender, receiver) = oneshot::channel();
            state.waiters.profile.push(sender);
            state.node.set_profile(clock::now(), profile);
            receiver
        });
        match tokio::time::timeout(PROFILE_TIMEOUT, receiver).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(profile_error(error, name)),
            Ok(Err(_)) => Err(ProfileError::Shutdown),
            Err(_) => Err(ProfileError::NoRendezvous),
        }
    }

    /// Takes record, name and address out of the registry, until the profile changes or the node starts again. Trusted
    /// agents still reach this one by what they know of it.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub async fn deregister(&self) -> Result<(), ProfileError> {
        let asked = self.run_query(|node| node.deregister(clock::now()));
        match asked.await {
            Ok(_) => Ok(()),
            Err(LookupError::NoRendezvous) => Err(ProfileError::NoRendezvous),
            Err(LookupError::Shutdown) => Err(ProfileError::Shutdown),
            Err(error) => Err(ProfileError::Refused(error.to_string())),
        }
    }

    /// Gives up the stream that [`ConnectionStatus::id`] names, in both directions; gives the other end, or `None` if
    /// there is no such stream.
    #[must_use]
    pub fn disconnect(&self, id: u64) -> Option<AgentId> {
        self.shared
            .with(|state| state.node.disconnect(clock::now(), id))
    }

    /// A ticket with which another agent can knock at us without a rendezvous, once; a day by default.
    ///
    /// # Errors
    /// [`TicketError`] if too many are out or it could not be stored.
    pub async fn ticket(&self, lifetime: Option<Duration>) -> Result<String, TicketError> {
        let lifetime = lifetime.unwrap_or(TICKET_LIFETIME);
        self.observed().await;
        let ticket = self.shared.with(|state| {
            let rendezvous = state
                .node
                .status()
                .rendezvous
                .first()
                .map(|(url, ..)| url.clone());
            state.node.issue_ticket(clock::now(), lifetime, rendezvous)
        });
        let ticket = ticket.map_err(|error| TicketError(error.to_string()))?;
        self.synced()
            .await
            .map_err(|error| TicketError(error.to_string()))?;
        Ok(ticket.to_string())
    }

    /// Waits a little until a rendezvous told us where we are seen: a ticket without addresses helps nobody.
    async fn observed(&self) {
        let mut changes = self.shared.changes.subscribe();
        let known = async {
            while self.status().endpoints.is_empty() {
                if let Err(broadcast::error::RecvError::Closed) = changes.recv().await {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(OBSERVED_TIMEOUT, known).await;
    }

    /// Waits until the peers have what was written to streams that are finished, whoever holds them, or until `limit`; gives
    /// how many bytes they do not have. Peers that do not answer are not waited for.
    pub async fn drain(&self, limit: Duration) -> u64 {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let left = self.shared.lock().node.undelivered();
            let is_over = left.streams == left.silent || tokio::time::Instant::now() >= deadline;
            if is_over {
                return left.bytes;
            }
            // Nobody is told of streams that were let go.
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }

    /// [`Self::shutdown_within`] five seconds.
    pub async fn shutdown(&self) -> u64 {
        self.shutdown_within(DRAIN_LIMIT).await
    }

    /// Delivers what is finished, for `limit` at most, closes all sessions, writes what is to be written, and ends the event
    /// loop. Gives the bytes that peers did not acknowledge.
    pub async fn shutdown_within(&self, limit: Duration) -> u64 {
        let _ = self.synced().await;
        let undelivered = self.drain(limit).await;
        self.shared.with(|state| {
            state
                .registration
                .send_replace(Registration::Failed(RegisterError::Shutdown));
            state.shutdown();
        });
        let _ = self.shared.changes.send(());
        self.shared.wait_ended().await;
        undelivered
    }

    /// Resolves when everything that was decided so far is durable.
    pub(crate) async fn synced(&self) -> Result<(), TrustError> {
        let Some(persister) = &self.shared.persister else {
            return Ok(());
        };
        // The loop hands the node's changes to the writer; do it now, so that the barrier stands behind them.
        self.shared.pump();
        let result = persister.barrier().await;
        result
            .map_err(|_| TrustError::Shutdown)?
            .map_err(TrustError::Store)
    }

    /// For the node; a ticket introduces its agent.
    pub(crate) fn node_target(&self, target: Target) -> Result<NodeTarget, DialError> {
        Ok(match target {
            Target::Hostname(name) => NodeTarget::Hostname(name),
            Target::Node(node) => NodeTarget::Node(node),
            Target::Agent(agent) => NodeTarget::Agent(agent),
            Target::Key(key) => NodeTarget::Key(key),
            Target::Ticket(ticket) => NodeTarget::Agent(self.introduce(&ticket)?),
        })
    }

    fn introduce(&self, ticket: &Ticket) -> Result<AgentId, DialError> {
        let log = ticket.log.log().verify(self.facts.min_work_bits);
        log.map_err(|error| DialError::Ticket(error.to_string()))?;
        if ticket.not_after < clock::unix() {
            return Err(DialError::Ticket(format!(
                "it ended at {}",
                ticket.not_after
            )));
        }
        Ok(self.shared.with(|state| state.node.introduce(ticket)))
    }

    fn knock_target(&self, target: Target) -> Result<KnockTarget, TrustError> {
        Ok(
            match self
                .node_target(target)
                .map_err(|error| TrustError::Ticket(error.to_string()))?
            {
                NodeTarget::Hostname(name) => KnockTarget::Hostname(name),
                NodeTarget::Node(node) => KnockTarget::Node(node),
                NodeTarget::Agent(agent) => KnockTarget::Agent(agent),
                NodeTarget::Key(key) => KnockTarget::Agent(AgentId::new(key)),
            },
        )
    }
}

/// What a knock waits for.
enum Waiter {
    Query(oneshot::Receiver<Result<Answer, pilot_node::QueryError>>),
    Dial(oneshot::Receiver<Result<DialOutcome, pilot_node::DialError>>),
}

impl Waiter {
    async fn wait(self) -> Result<(), TrustError> {
        match self {
            Self::Query(receiver) => match receiver.await.map_err(|_| TrustError::Shutdown)? {
                Ok(_) => Ok(()),
                Err(pilot_node::QueryError::Refused { message, .. }) => {
                    Err(TrustError::Busy(message))
                }
                Err(_) => Err(TrustError::NoRendezvous),
            },
            Self::Dial(receiver) => match receiver.await.map_err(|_| TrustError::Shutdown)? {
                Ok(_) => Ok(()),
                Err(error) => Err(TrustError::Ticket(error.to_string())),
            },
        }
    }
}

fn profile_error(error: pilot_node::QueryError, name: Option<Hostname>) -> ProfileError {
    use pilot_registry::RefusalCode;
    match (error, name) {
        (
            pilot_node::QueryError::Refused {
                code: RefusalCode::AlreadyExists,
                ..
            },
            Some(name),
        ) => ProfileError::HostnameTaken(name),
        (
            pilot_node::QueryError::Refused {
                code: RefusalCode::Reserved,
                ..
            },
            Some(name),
        ) => ProfileError::HostnameReserved(name),
        (pilot_node::QueryError::Refused { message, .. }, _) => ProfileError::Refused(message),
        (error, _) => ProfileError::Refused(error.to_string()),
    }
}

fn relay_link((url, state, rtt): (String, LinkState, Option<Duration>)) -> RelayLink {
    let state = link_word(state);
    RelayLink { url, state, rtt }
}
