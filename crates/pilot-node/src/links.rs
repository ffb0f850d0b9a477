//! Our rendezvous: finding out who they are, keeping a session with each, asking them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pilot_nat::NatPatience;
use pilot_registry::{
    Client, ClientConfig, ClientEvent, Permits, Request, RequestError, RequestId, RequestKind,
    Response,
};
use pilot_trust::{IdentityLog, VerifiedLog};
use pilot_types::{AgentId, Deadline, GroupId, PathId, Port, StreamId, encode_hex};
use pilot_wire::{
    ErrorCode, KeyAnswer, KeyQuery, NetworkConfig, StreamHeader, decode_postcard, limits,
};
use rand_core::Rng;

use crate::config::{Pin, RendezvousTarget};
use crate::dialing::names;
use crate::dials::Target;
use crate::directory::{PeerEntry, verify_entry};
use crate::event::{Answer, DialId, Event, LinkState, Persist, QueryError, QueryId, SessionKey};
use crate::exchange::{Exchange, Purpose};
use crate::node::Node;
use crate::now::Now;
use crate::peer_session::{Class, StreamUse};
use crate::port_mapping::with_mapping;
use crate::relaying::Via;
use crate::rendezvous::KeyAnswerBody;

/// Rendezvous of one agent.
const MAX_LINKS: usize = 8;
/// First pause before a rendezvous is tried again; doubles up to [`MAX_REST`].
const MIN_REST: Duration = Duration::from_millis(250);
/// After so many tries in vain, and again after as many, its name is to be resolved anew: 4 s, then every 16 s.
const SILENT_TRIES: u32 = 4;
/// How often a rendezvous is heard from before it is known what our NAT bears; sessions of peers with open streams are never kept
/// alive more seldom.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Longest pause: a daemon is back at most this long after its rendezvous.
const MAX_REST: Duration = Duration::from_secs(4);

/// Who waits for the answer to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum QueryUse {
    /// A dial that needs an address.
    Dial(DialId),
    /// A lost agent that is dialled again.
    Reconnect(AgentId),
    /// A channel to an agent through the rendezvous that is asked.
    Channel {
        /// Which rendezvous.
        link: usize,
        /// To whom.
        agent: AgentId,
    },
    /// The shell asked for an agent's entry.
    Lookup(QueryId, Target),
    /// The shell searches for agents.
    Search(QueryId),
    /// The shell creates a group.
    CreateGroup(QueryId),
    /// A rendezvous that lost a group of ours gets it back.
    RestoreGroup(usize, GroupId),
    /// The shell wants to join a group.
    FindGroup(QueryId),
    /// The shell waits until a group was asked to take us in.
    AskGroup(QueryId, GroupId),
    /// A part of a group.
    GroupState(usize, GroupId),
    /// A part of a group's members.
    GroupMembers(GroupId),
    /// A rendezvous takes what is new of a group.
    PutGroup(GroupId),
    /// The shell leaves a letter for an agent whose prekey is asked for.
    Prekey(QueryId),
    /// The shell waits until its letter is left.
    Deposit(QueryId),
    /// Letters for us, by rendezvous and batch.
    Letters(usize, u64),
    /// A rendezvous deletes letters that we have.
    LettersTaken(usize, u64),
    /// The shell waits until it is done.
    Request(QueryId),
    /// Nobody.
    Nobody,
}

/// One rendezvous.
pub(crate) struct Link {
    target: RendezvousTarget,
    log: Option<VerifiedLog>,
    state: LinkState,
    client: Client,
    query: Option<KeyQuery>,
    next_try: Option<Instant>,
    tries: u32,
    observed: Option<SocketAddr>,
    /// Whether it has our record.
    is_recorded: bool,
    /// Whether it has a locator of this start.
    is_located: bool,
    /// Whether it is still to be told where we are under our newest key.
    is_key_new: bool,
    patience: NatPatience,
}

impl Link {
    /// One that is tried at once.
    fn new(
        now: Instant,
        target: RendezvousTarget,
        log: Option<VerifiedLog>,
        client: Client,
    ) -> Self {
        Self {
            target,
            log,
            state: LinkState::Connecting,
            client,
            query: None,
            next_try: Some(now),
            tries: 0,
            observed: None,
            is_recorded: false,
            is_located: false,
            is_key_new: false,
            patience: NatPatience::default(),
        }
    }

    fn is_at(&self, addr: Option<SocketAddr>) -> bool {
        addr.is_some_and(|addr| self.target.addrs.contains(&addr))
    }

    fn rest(&mut self, now: Instant) {
        self.next_try = Some(now + (MIN_REST * 2_u32.pow(self.tries.min(8))).min(MAX_REST));
        self.tries += 1;
    }
}

/// All rendezvous, and the questions asked of them.
#[derive(Default)]
pub(crate) struct Links {
    links: Vec<Link>,
    /// Bounded by the clients' own bound on requests.
    queries: BTreeMap<(usize, RequestId), QueryUse>,
    last_query: u64,
}

impl Links {
    pub(crate) fn find(&self, agent: &AgentId) -> Option<usize> {
        self.links
            .iter()
            .position(|link| link.log.as_ref().is_some_and(|log| log.agent() == *agent))
    }

    pub(crate) fn has_addr(&self, addr: &SocketAddr) -> bool {
        self.addrs().any(|known| known == *addr)
    }

    /// Whether a rendezvous is on this very machine: then its agents are too.
    pub(crate) fn is_loopback(&self) -> bool {
        self.links
            .iter()
            .flat_map(|link| &link.target.addrs)
            .any(|addr| addr.ip().is_loopback())
    }

    /// Our key is another one: who refused the one before is asked again, and each forgets where we are.
    pub(crate) fn own_key_changed(&mut self, now: Instant) {
        for link in &mut self.links {
            link.is_key_new = true;
            if link.state == LinkState::Refused {
                link.state = LinkState::Connecting;
            }
            if link.state == LinkState::Connecting {
                link.tries = 0;
                link.next_try = Some(now);
            }
        }
    }

    /// A rendezvous refused our key, and is not tried again with it; gives which.
    pub(crate) fn refused_key(&mut self, agent: &AgentId) -> Option<String> {
        let index = self.find(agent)?;
        let link = &mut self.links[index];
        link.state = LinkState::Refused;
        link.next_try = None;
        Some(link.target.url.clone())
    }

    pub(crate) fn retry_later(&mut self, now: Instant, index: usize) {
        self.links[index].rest(now);
    }

    pub(crate) fn next_query(&mut self) -> QueryId {
        self.last_query += 1;
        QueryId(self.last_query)
    }

    /// Asks the best rendezvous there is; `false` if there is none that could answer.
    pub(crate) fn ask(&mut self, now: Instant, request: Request, use_: QueryUse) -> bool {
        let Some(index) = self.best() else {
            return false;
        };
        self.ask_one(now, index, request, use_);
        true
    }

    /// Asks one rendezvous.
    pub(crate) fn ask_one(&mut self, now: Instant, index: usize, request: Request, use_: QueryUse) {
        let id = self.links[index].client.request(now, request);
        self.queries.insert((index, id), use_);
    }

    /// Whether a rendezvous has yet to say where the agent of one of these dials is.
    pub(crate) fn is_asked_for_dials(&self, dials: &[DialId]) -> bool {
        let is_one = |use_: &QueryUse| matches!(use_, QueryUse::Dial(dial) if dials.contains(dial));
        self.queries.values().any(is_one)
    }

    /// The rendezvous with a session.
    pub(crate) fn connected(&self) -> Vec<usize> {
        let is_up = |state| matches!(state, LinkState::Connected | LinkState::Registered);
        let links = self.links.iter().enumerate();
        links
            .filter(|(_, link)| is_up(link.state))
            .map(|(index, _)| index)
            .collect()
    }

    /// Where all rendezvous are.
    pub(crate) fn addrs(&self) -> impl Iterator<Item = SocketAddr> {
        let addrs = self.links.iter().flat_map(|link| &link.target.addrs);
        addrs.copied()
    }

    /// A rendezvous sees us at another address; gives whether a relay does, which keeps no locator of us.
    pub(crate) fn observed(&mut self, index: usize, addr: SocketAddr) -> bool {
        let link = &mut self.links[index];
        if !link.target.is_relay {
            link.client.observed_changed(addr);
            return false;
        }
        link.observed.replace(addr) != Some(addr)
    }

    /// Has every rendezvous told who may reach us through it.
    pub(crate) fn set_permits(&mut self, permits: &Permits) {
        for link in &mut self.links {
            link.client.set_permits(permits.clone());
        }
    }

    /// The rendezvous that answers soonest, as far as its state tells.
    fn best(&self) -> Option<usize> {
        let usable = |state| {
            let is_usable = |link: &Link| link.state == state && !link.target.is_relay;
            self.links.iter().position(is_usable)
        };
        usable(LinkState::Registered)
            .or_else(|| usable(LinkState::Connected))
            .or_else(|| usable(LinkState::Connecting))
    }

    /// Whether a rendezvous keeps a registry.
    pub(crate) fn is_registry(&self, index: usize) -> bool {
        self.links
            .get(index)
            .is_some_and(|link| !link.target.is_relay)
    }

    /// Those that keep a registry.
    fn registries(&self) -> Vec<usize> {
        let links = self.links.iter().enumerate();
        let registries = links.filter(|(_, link)| !link.target.is_relay);
        registries.map(|(index, _)| index).collect()
    }

    /// Who the best rendezvous is, as far as that is known.
    pub(crate) fn best_agent(&self) -> Option<AgentId> {
        let log = self.links[self.best()?].log.as_ref()?;
        Some(log.agent())
    }

    /// Tells every rendezvous.
    pub(crate) fn tell_all(&mut self, now: Instant, request: &Request) {
        for index in self.registries() {
            self.tell(now, index, request.clone());
        }
    }

    /// Stops telling anybody of us. The best rendezvous is left for the caller to tell.
    pub(crate) fn withdraw(&mut self, now: Instant) {
        let best = self.best();
        for index in self.registries() {
            let link = &mut self.links[index];
            link.client.clear_record();
            (link.is_recorded, link.is_located) = (false, false);
            if link.state == LinkState::Registered {
                link.state = LinkState::Connected;
            }
            if Some(index) != best {
                self.tell(now, index, Request::Deregister);
            }
        }
    }

    /// Tells one rendezvous.
    pub(crate) fn tell(&mut self, now: Instant, index: usize, request: Request) {
        self.ask_one(now, index, request, QueryUse::Nobody);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        let tries = self.links.iter().filter_map(|link| {
            link.next_try.map(|at| Deadline {
                at,
                timer: "rendezvous",
            })
        });
        let clients = self
            .links
            .iter()
            .filter_map(|link| link.client.poll_timeout());
        tries.chain(clients).min_by_key(|deadline| deadline.at)
    }

    /// How long a rendezvous and we may both be silent.
    pub(crate) fn patience_of(&mut self, index: usize) -> &mut NatPatience {
        &mut self.links[index].patience
    }

    /// The same of the rendezvous through which the least is borne.
    pub(crate) fn patience(&self) -> Option<&NatPatience> {
        let patience = self.links.iter().map(|link| &link.patience);
        patience.min_by_key(|patience| patience.seconds())
    }

    /// Begins anew to find out how long silence is borne; gives whose times changed.
    pub(crate) fn forget_patience(&mut self) -> Vec<usize> {
        let links = self.links.iter_mut().enumerate();
        links
            .filter_map(|(index, link)| {
                let before = std::mem::take(&mut link.patience);
                (before.seconds() != link.patience.seconds()).then_some(index)
            })
            .collect()
    }

    /// Each that keeps a registry: which, how far it is, and where it sees us.
    pub(crate) fn states(&self) -> impl Iterator<Item = (&str, LinkState, Option<SocketAddr>)> {
        let links = self.links.iter().filter(|link| !link.target.is_relay);
        links.map(|link| (link.target.url.as_str(), link.state, link.observed))
    }

    /// Each that is a relay alone: its index, which, and how far it is.
    pub(crate) fn relays(&self) -> impl Iterator<Item = (usize, &str, LinkState)> {
        let links = self.links.iter().enumerate();
        links
            .filter(|(_, link)| link.target.is_relay)
            .map(|(index, link)| (index, link.target.url.as_str(), link.state))
    }

    /// Where others see us.
    pub(crate) fn observed_by_all(&self) -> impl Iterator<Item = SocketAddr> {
        self.links.iter().filter_map(|link| link.observed)
    }
}

impl Node {
    /// Adds a rendezvous to register with; a pin that is known from before carries its log.
    pub fn add_rendezvous(
        &mut self,
        now: Now,
        target: RendezvousTarget,
        known: Option<Vec<Vec<u8>>>,
    ) {
        if self.links.links.len() >= MAX_LINKS {
            return;
        }
        let log = known.and_then(|entries| {
            IdentityLog::from_entries(entries)
                .verify(self.config.min_work_bits)
                .ok()
        });
        let log = log.filter(|log| pin_matches(&target.pin, log));
        let client = Client::new(
            Arc::new(ClientConfig::default()),
            self.child_seed(),
            now.instant,
        );
        let link = Link::new(now.instant, target, log, client);
        self.links.links.push(link);
        let index = self.links.links.len() - 1;
        self.announce(now, index);
        self.relaying.changed();
        self.handle_link_timeouts(now);
        self.drain(now);
    }

    /// A rendezvous has other addresses now, as its name was resolved again.
    pub fn set_rendezvous_addrs(&mut self, now: Now, url: &str, addrs: &[SocketAddr]) {
        let named = |link: &&mut Link| link.target.url == url;
        if let Some(link) = self.links.links.iter_mut().find(named)
            && link.target.addrs != addrs
        {
            addrs.clone_into(&mut link.target.addrs);
            if link.state == LinkState::Connecting {
                link.next_try = Some(now.instant);
            }
        }
        self.drain(now);
    }

    /// Where the session with a rendezvous goes.
    pub(crate) fn rendezvous_addr(&self, index: usize) -> Option<SocketAddr> {
        let agent = self.links.links[index].log.as_ref()?.agent();
        self.table.by_agent(&agent)?.transport.path().remote()
    }

    pub(crate) fn handle_link_timeouts(&mut self, now: Now) {
        for index in 0..self.links.links.len() {
            let link = &mut self.links.links[index];
            link.client.handle_timeout(now.instant);
            if link.next_try.is_some_and(|at| at <= now.instant) {
                link.next_try = None;
                self.try_link(now, index);
            }
        }
    }

    /// Asks who is there, or shakes hands with who is known to be there.
    fn try_link(&mut self, now: Now, index: usize) {
        let link = &mut self.links.links[index];
        if link.state != LinkState::Connecting {
            return;
        }
        if link.tries > 0 && link.tries.is_multiple_of(SILENT_TRIES) {
            let url = link.target.url.clone();
            self.output.event(Event::RendezvousSilent { url });
        }
        let addrs = link.target.addrs.iter();
        let reachable = addrs.filter_map(|addr| self.place.path_to(*addr));
        let paths: Vec<PathId> = reachable.take(RendezvousTarget::MAX_ADDRS).collect();
        let known = link.log.clone();
        // Asked of a known one too: it stays silent to our handshake if another took its place.
        let mut token = [0; 16];
        self.rng.fill_bytes(&mut token);
        let query = KeyQuery {
            sender: self.rng.next_u32(),
            token,
        };
        link.query = Some(query);
        for path in &paths {
            self.output.datagram(*path, query.encode());
        }
        match known {
            Some(log) if self.endpoint.is_connecting(&log.agent()) => {
                // It may have moved since that began.
                for path in paths {
                    self.endpoint.add_path(now.instant, &log.agent(), path);
                }
            }
            Some(log) if !paths.is_empty() => {
                self.start_handshake(now, &log, Class::Rendezvous(index), &paths);
            }
            Some(_) | None => link.rest(now.instant),
        }
    }

    /// A rendezvous says who it is; whether it may be believed depends on the pin.
    pub(crate) fn handle_key_answer(&mut self, now: Now, path: PathId, data: &[u8]) {
        let Ok(answer) = KeyAnswer::decode(data) else {
            self.output.drops.count("key_answer_malformed");
            return;
        };
        let asked = |link: &Link| {
            link.query
                .is_some_and(|query| query.sender == answer.receiver && query.token == answer.token)
        };
        let Some(index) = self
            .links
            .links
            .iter()
            .position(|link| asked(link) && link.is_at(path.remote()))
        else {
            self.output.drops.count("key_answer_unasked");
            return;
        };
        match read_key_answer(answer.body, self.config.min_work_bits, now) {
            Ok((log, network)) => self.rendezvous_found(now, index, log, network),
            Err(reason) => self.output.drops.count(reason),
        }
    }

    fn rendezvous_found(
        &mut self,
        now: Now,
        index: usize,
        log: VerifiedLog,
        network: NetworkConfig,
    ) {
        let link = &mut self.links.links[index];
        link.query = None;
        let url = link.target.url.clone();
        if !pin_matches(&link.target.pin, &log) {
            // One that we know may be back yet, and an answer in its name is forged by whoever sees the question: it is
            // told, and tried again.
            if link.log.is_none() {
                link.state = LinkState::Refused;
                link.next_try = None;
            }
            let state = link.state;
            let expected = match &link.target.pin {
                Pin::FirstUse => String::new(),
                Pin::Key(key) => encode_hex(key),
                Pin::Agent(agent) => agent.to_string(),
            };
            self.output.event(Event::KeyMismatch {
                url: url.clone(),
                expected,
                found: log.agent().to_string(),
            });
            self.output.event(Event::Link { url, state });
            return;
        }
        if link.log.is_some() {
            return;
        }
        link.tries = 0;
        let (agent, entries) = (log.agent(), log.log().entries().to_vec());
        link.target.pin = Pin::Agent(agent);
        link.log = Some(log);
        self.output.event(Event::Persist(Persist::Pinned {
            url,
            agent,
            entries,
            work_bits: network.work_bits,
        }));
        self.try_link(now, index);
    }

    pub(crate) fn link_connected(&mut self, now: Now, index: usize) {
        let link = &mut self.links.links[index];
        link.state = LinkState::Connected;
        link.tries = 0;
        link.next_try = None;
        link.client.connected(now.instant);
        let url = link.target.url.clone();
        self.output.event(Event::Link {
            url,
            state: LinkState::Connected,
        });
    }

    pub(crate) fn link_lost(&mut self, now: Now, index: usize) {
        self.letters_lost(index);
        let link = &mut self.links.links[index];
        link.client.disconnected(now.instant);
        link.patience.handle_lost();
        if link.state != LinkState::Refused {
            link.state = LinkState::Connecting;
            link.next_try = Some(now.instant + MIN_REST);
            let url = link.target.url.clone();
            self.output.event(Event::Link {
                url,
                state: LinkState::Connecting,
            });
        }
    }

    /// Signs our record anew and hands it to a rendezvous.
    pub(crate) fn announce(&mut self, now: Now, index: usize) {
        if self.links.links[index].target.is_relay {
            return;
        }
        let not_after = now.unix.plus(limits::RECORD_LIFETIME);
        let serial = self.hellos.own.stamp(now.unix);
        let record = self.record(now);
        let record = self.identity.sign(serial, now.unix, not_after, &record);
        let entries = self.identity.log().entries().to_vec();
        self.links.links[index].client.set_record(entries, record);
    }

    pub(crate) fn announce_all(&mut self, now: Now) {
        for index in 0..self.links.links.len() {
            self.announce(now, index);
        }
    }

    /// Carries requests to the rendezvous, and takes what their clients have to say.
    pub(crate) fn drain_links(&mut self, now: Now) -> bool {
        let mut has_work = false;
        for index in 0..self.links.links.len() {
            while let Some((id, request)) = self.links.links[index].client.poll_request() {
                has_work = true;
                self.call_registry(now, index, id, &request);
            }
            while let Some(event) = self.links.links[index].client.poll_event() {
                has_work = true;
                self.handle_client_event(now, index, event);
            }
        }
        has_work
    }

    fn call_registry(&mut self, now: Now, index: usize, request_id: RequestId, request: &Request) {
        match self.open_registry_stream(now, index) {
            Some((key, stream)) => {
                let purpose = Purpose::RegistryCall {
                    link: index,
                    request: request_id,
                };
                let exchange = Exchange::asking(purpose, request.encode());
                if let Some(session) = self.session_mut(key) {
                    session
                        .streams
                        .insert(stream, StreamUse::Internal(exchange));
                }
                self.advance_stream(now, key, stream);
            }
            None => self.links.links[index].client.handle_failure(request_id),
        }
    }

    /// Our session with a rendezvous.
    pub(crate) fn link_session(&self, index: usize) -> Option<SessionKey> {
        let agent = self.links.links[index].log.as_ref()?.agent();
        self.table.key_of(&agent)
    }

    fn open_registry_stream(&mut self, now: Now, index: usize) -> Option<(SessionKey, StreamId)> {
        let key = self.link_session(index)?;
        let session = self.session_mut(key)?;
        let header = StreamHeader::new(session.ephemeral_port(), Port::REGISTRY);
        Some((key, session.open(now, &header)?))
    }

    pub(crate) fn registry_answered(
        &mut self,
        now: Now,
        index: usize,
        id: RequestId,
        body: Option<Vec<u8>>,
    ) {
        let client = &mut self.links.links[index].client;
        match body.and_then(|body| Response::decode(&body).ok()) {
            Some(response) => client.handle_response(now.instant, id, response),
            None => client.handle_failure(id),
        }
    }

    fn handle_client_event(&mut self, now: Now, index: usize, event: ClientEvent) {
        let url = self.links.links[index].target.url.clone();
        match event {
            ClientEvent::Registered { .. } => {
                self.links.links[index].is_recorded = true;
                self.profile.previous = None;
                self.relocate_new_key(now, index);
                self.reissue_grants(now, index);
                self.sync_groups(now, index);
                self.fetch_letters(now, index);
                self.registered(index);
            }
            ClientEvent::Located => {
                self.links.links[index].is_located = true;
                // Of a record that is on its way, a new place says nothing.
                if self.links.links[index].state != LinkState::Registered {
                    self.registered(index);
                }
            }
            ClientEvent::RecordDue => self.announce(now, index),
            ClientEvent::NeedsLocator(observed) => self.locate(now, index, observed),
            ClientEvent::Refused {
                what: RequestKind::Register,
                code,
                message,
            } => {
                let error = QueryError::Refused {
                    code,
                    message,
                    retry_after_ms: 0,
                };
                self.output.event(Event::Registered {
                    url,
                    result: Err(error),
                });
                if let Some(previous) = self.profile.previous.take() {
                    self.profile.current = previous;
                    self.announce_all(now);
                }
            }
            ClientEvent::Refused {
                what,
                code,
                message,
            } => {
                self.links.links[index].is_located |= what == RequestKind::Locate;
                tracing::warn!(url, ?what, ?code, message, "the rendezvous refused");
            }
            ClientEvent::Answered { id, response } => {
                if let Some(use_) = self.links.queries.remove(&(index, id)) {
                    self.query_answered(now, use_, response);
                }
            }
        }
    }

    /// An agent counts as registered once others can find it: record and locator are with the rendezvous.
    fn registered(&mut self, index: usize) {
        let link = &mut self.links.links[index];
        if !link.is_recorded || !link.is_located {
            return;
        }
        let url = link.target.url.clone();
        if link.state != LinkState::Registered {
            link.state = LinkState::Registered;
            self.output.event(Event::Link {
                url: url.clone(),
                state: LinkState::Registered,
            });
        }
        self.output.event(Event::Registered {
            url,
            result: Ok(()),
        });
    }

    /// A rendezvous sees us somewhere.
    fn locate(&mut self, now: Now, index: usize, observed: SocketAddr) {
        let link = &mut self.links.links[index];
        if link.observed.replace(observed) != Some(observed) {
            self.place.changed();
        }
        self.sign_locator(now, index, observed);
        self.output.event(Event::Observed(observed));
    }

    /// Tells each rendezvous anew where we are reached.
    pub(crate) fn renew_locators(&mut self, now: Now) {
        for index in self.links.registries() {
            if let Some(observed) = self.links.links[index].observed {
                self.sign_locator(now, index, observed);
            }
        }
    }

    /// A rendezvous knows our new key, and has forgotten what the one before signed.
    fn relocate_new_key(&mut self, now: Now, index: usize) {
        let link = &mut self.links.links[index];
        if std::mem::take(&mut link.is_key_new)
            && let Some(observed) = link.observed
        {
            self.sign_locator(now, index, observed);
        }
    }

    /// Signs where we are reached.
    fn sign_locator(&mut self, now: Now, index: usize, observed: SocketAddr) {
        let locator = pilot_wire::Locator {
            boot_counter: self.profile.boot_counter,
            reflexive: with_mapping([observed], self.place.mapped()),
        };
        let serial = self.hellos.own.stamp(now.unix);
        let locator = self.identity.sign(
            serial,
            now.unix,
            now.unix.plus(limits::LOCATOR_LIFETIME),
            &locator,
        );
        self.links.links[index].client.set_locator(locator);
    }

    fn query_answered(
        &mut self,
        now: Now,
        use_: QueryUse,
        response: Result<Response, RequestError>,
    ) {
        match use_ {
            QueryUse::Dial(dial) => {
                let entry = self.read_entry(now, response);
                self.dial_answered(now, dial, entry);
            }
            QueryUse::Reconnect(agent) => {
                let entry = self.read_entry(now, response);
                self.reconnect_answered(now, agent, entry);
            }
            QueryUse::Channel { link, agent } => {
                self.channel_answered(now, (Via::Link(link), agent), &response);
            }
            QueryUse::Lookup(query, target) => {
                let result = self.read_entry(now, response).and_then(|entry| {
                    if names(&target, &entry) {
                        Ok(entry)
                    } else {
                        Err(QueryError::Invalid("another agent's entry".to_owned()))
                    }
                });
                if let Ok(entry) = &result {
                    self.learn(now, entry);
                }
                self.output.event(Event::Answered {
                    query,
                    result: result.map(|entry| Answer::Entry(Box::new(entry))),
                });
            }
            QueryUse::Search(query) => self.search_answered(now, query, response),
            QueryUse::CreateGroup(query) => self.group_created(now, query, response),
            QueryUse::RestoreGroup(link, group) => {
                self.group_restored(now, link, group, &response);
            }
            QueryUse::FindGroup(query) => self.group_found(now, query, response),
            QueryUse::AskGroup(query, group) => {
                let result = read_done(response).map(|()| Answer::Group(group));
                self.output.event(Event::Answered { query, result });
            }
            QueryUse::GroupState(link, group) => self.group_told(now, (link, group), response),
            QueryUse::GroupMembers(group) => self.members_told(now, group, response),
            QueryUse::PutGroup(group) => self.group_put(now, group, &response),
            QueryUse::Prekey(query) => self.prekey_told(now, query, response),
            QueryUse::Deposit(query) => self.deposit_told(query, response),
            QueryUse::Letters(link, batch) => self.letters_told(now, (link, batch), response),
            QueryUse::LettersTaken(link, batch) => {
                self.letters_taken(now, (link, batch), &response);
            }
            QueryUse::Request(query) => {
                let result = read_done(response).map(|()| Answer::Done);
                self.output.event(Event::Answered { query, result });
            }
            QueryUse::Nobody => {}
        }
    }

    pub(crate) fn read_entry(
        &self,
        now: Now,
        response: Result<Response, RequestError>,
    ) -> Result<PeerEntry, QueryError> {
        match response {
            Ok(Response::Found(entry)) => verify_entry(&entry, self.config.min_work_bits, now.unix)
                .map_err(|error| QueryError::Invalid(error.to_string())),
            Ok(Response::NotFound) => Err(QueryError::NotFound),
            other => Err(read_done(other).err().unwrap_or(QueryError::Unreachable)),
        }
    }

    /// Asks the registry for an agent's entry; [`Event::Answered`] follows.
    pub fn lookup(&mut self, now: Now, target: Target) -> QueryId {
        let query = self.links.next_query();
        let request = Request::Lookup {
            target: crate::dialing::lookup_target(&target),
        };
        self.ask_for(now, query, request, QueryUse::Lookup(query, target));
        query
    }

    pub(crate) fn ask_for(&mut self, now: Now, query: QueryId, request: Request, use_: QueryUse) {
        if !self.links.ask(now.instant, request, use_) {
            self.output.event(Event::Answered {
                query,
                result: Err(QueryError::Unreachable),
            });
        }
        self.drain(now);
    }

    /// Closes the session with a rendezvous that said that our identity is in use elsewhere.
    pub(crate) fn superseded(&mut self, now: Now) {
        for link in &mut self.links.links {
            link.state = LinkState::Refused;
            link.next_try = None;
        }
        for key in self.table.keys() {
            self.close_session(
                now,
                key,
                ErrorCode::SUPERSEDED,
                "the identity is in use elsewhere",
            );
        }
        self.output.event(Event::Superseded);
    }
}

fn pin_matches(pin: &Pin, log: &VerifiedLog) -> bool {
    match pin {
        Pin::FirstUse => true,
        Pin::Key(key) => log.agent().as_bytes() == key || log.sign_key() == *key,
        Pin::Agent(agent) => log.agent() == *agent,
    }
}

fn read_key_answer(
    body: &[u8],
    min_work_bits: u8,
    now: Now,
) -> Result<(VerifiedLog, NetworkConfig), &'static str> {
    let body: KeyAnswerBody =
        decode_postcard(body, "key answer").map_err(|_| "key_answer_malformed")?;
    let log = IdentityLog::from_entries(body.entries)
        .verify(min_work_bits)
        .map_err(|_| "key_answer_log")?;
    let network = log
        .verify::<NetworkConfig>(&body.network, now.unix)
        .map_err(|_| "key_answer_network")?;
    if network.statement.work_bits < min_work_bits {
        return Err("key_answer_work");
    }
    Ok((log, network.statement))
}

pub(crate) fn read_done(response: Result<Response, RequestError>) -> Result<(), QueryError> {
    match response {
        Ok(Response::Refused {
            code,
            message,
            retry_after_ms,
        }) => Err(QueryError::Refused {
            code,
            message,
            retry_after_ms,
        }),
        Ok(Response::NotFound) => Err(QueryError::NotFound),
        Ok(_) => Ok(()),
        Err(_) => Err(QueryError::Unreachable),
    }
}
