//! What answers on the agent's ports.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pilot::{AgentId, ErrorCode, GroupId, ListenError, Listener, Node, Peer, Port, Stream};
use pilot_api::ApiError;
use pilot_apps::{
    BenchRequest, Bounds, Broker, DataExchange, Limits, Sender, Terms, WaitingRoom, serve_bench,
    serve_echo, serve_publisher, serve_screened_events,
};
use pilot_store::HomeError;
use pilot_wire::{FILE_STREAM, FILE_STREAM_1, Topic};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::datagrams::Datagrams;
use crate::error;
use crate::files::{Files, refuse_earlier_version};
use crate::filter::{self, Filter};
use crate::group_brokers::GroupBrokers;
use crate::inbox::StoredInbox;
use crate::mail;

/// Streams that one service holds at a time; each is bounded by its own flow-control window.
const MAX_SERVED: usize = 256;
/// Measurements of one agent: one, and the one before it, which its client may have done with before we have.
const MAX_MEASURED: usize = 2;
/// The end of a measurement that does not end by itself.
const LONGEST_BENCH: Duration = Duration::from_secs(3600);
/// How long messages that come straight wait for those that were left for us.
const LETTERS_PATIENCE: Duration = Duration::from_secs(5);
/// Ports of the protocol and of services: nobody takes streams from them by hand.
const SERVICE_PORTS: [Port; 9] = [
    Port::LIVENESS,
    Port::CONTROL,
    Port::REGISTRY,
    Port::ECHO,
    Port::NAMESERVER,
    Port::TRUST,
    Port::DATA_EXCHANGE,
    Port::EVENT_STREAM,
    Port::APPS,
];

/// A stream that a peer opened and nobody took yet.
pub(crate) struct Waiting {
    pub(crate) stream: Stream,
    pub(crate) peer: Peer,
}

/// The services of one node. They end with it.
pub(crate) struct Services {
    node: Node,
    exchange: Arc<DataExchange<StoredInbox>>,
    room: Arc<WaitingRoom<Waiting>>,
    datagrams: Arc<Datagrams>,
    files: Arc<Files>,
    broker: Arc<Broker>,
    group_brokers: Arc<GroupBrokers>,
}

impl Services {
    /// Takes the ports and serves them.
    pub(crate) async fn start(
        node: Node,
        inbox: StoredInbox,
        files: Files,
        filter: Arc<Filter>,
    ) -> Result<Self, ListenError> {
        let services = Self {
            exchange: Arc::new(DataExchange::new(Arc::new(inbox), Limits::default())),
            room: Arc::new(WaitingRoom::new(Bounds::default())),
            datagrams: Arc::new(Datagrams::new(node.clone())),
            files: Arc::new(files),
            broker: Arc::default(),
            group_brokers: Arc::default(),
            node,
        };
        let echo = services.node.listen(Port::ECHO).await?;
        let measured = Arc::new(Measured::default());
        tokio::spawn(serve(echo, move |stream, peer| {
            echo_or_measure(Arc::clone(&measured), stream, peer)
        }));
        let datagrams = Arc::clone(&services.datagrams);
        tokio::spawn(async move { datagrams.run_expiry().await });
        let messages = services.node.listen(Port::DATA_EXCHANGE).await?;
        let exchange = Exchange {
            node: services.node.clone(),
            messages: Arc::clone(&services.exchange),
            files: Arc::clone(&services.files),
        };
        tokio::spawn(serve(messages, move |stream, peer| {
            exchange.clone().receive(stream, peer)
        }));
        let events = services.node.listen(Port::EVENT_STREAM).await?;
        let events_of = Events {
            node: services.node.clone(),
            own: Arc::clone(&services.broker),
            of_groups: Arc::clone(&services.group_brokers),
            filter,
        };
        tokio::spawn(serve(events, move |stream, peer| {
            events_of.clone().pass(stream, peer)
        }));
        services.keep_waiting(services.node.listen(Port::STDIO).await?);
        services.keep_waiting(services.node.listen_any().await?);
        let room = Arc::clone(&services.room);
        tokio::spawn(async move { room.run_expiry(refuse).await });
        Ok(services)
    }

    /// Whose services they are.
    pub(crate) const fn node(&self) -> &Node {
        &self.node
    }

    /// From now on messages may be left for this agent while it is away.
    pub(crate) async fn open_mailbox(&self) -> Result<(), HomeError> {
        let mailbox = self.node.open_mailbox().await?;
        let (node, exchange) = (self.node.clone(), Arc::clone(&self.exchange));
        tokio::spawn(mail::take(node, mailbox, exchange));
        Ok(())
    }

    /// The data exchange.
    pub(crate) const fn exchange(&self) -> &Arc<DataExchange<StoredInbox>> {
        &self.exchange
    }

    /// Where events are published at this agent.
    pub(crate) fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Where events are published for a group; `None` if this agent is not in it.
    pub(crate) fn broker_of(&self, group: GroupId) -> Option<Arc<Broker>> {
        self.group_brokers.of(&self.node, group)
    }

    /// Files that come.
    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// The next stream for a user port. Cancel safe.
    pub(crate) async fn accept(&self, port: Port) -> Result<Waiting, ApiError> {
        check_user_port(port)?;
        Ok(self.room.take(port).await)
    }

    /// The next datagrams for a user port. What was taken when the caller gives up is lost, as datagrams may be.
    pub(crate) async fn receive_datagrams(
        &self,
        port: Port,
        max: usize,
    ) -> Result<Vec<(Vec<u8>, Peer)>, ApiError> {
        check_user_port(port)?;
        self.datagrams.receive(port, max).await
    }

    /// Lets the streams of a listener wait until somebody takes them.
    fn keep_waiting(&self, mut listener: Listener) {
        let room = Arc::clone(&self.room);
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let port = peer.local_port;
                if SERVICE_PORTS.contains(&port) {
                    stream.reset(ErrorCode::REFUSED);
                } else if let Err(waiting) = room.admit(port, Waiting { stream, peer }) {
                    tracing::info!(%port, from = %waiting.peer.agent.address(), "no room for another stream");
                    refuse(waiting);
                }
            }
        });
    }
}

pub(crate) fn check_user_port(port: Port) -> Result<(), ApiError> {
    if SERVICE_PORTS.contains(&port) {
        let words = format!("port {port} belongs to a service: what comes to it cannot be taken");
        return Err(ApiError::invalid(words));
    }
    Ok(())
}

/// Agents that measure with us now, and how many measurements each has.
#[derive(Default)]
struct Measured(Mutex<BTreeMap<AgentId, usize>>);

impl Measured {
    /// `false` if the agent has as many as it may.
    fn begin(&self, agent: AgentId) -> bool {
        let mut agents = self.agents();
        let count = agents.entry(agent).or_default();
        let may_begin = *count < MAX_MEASURED;
        *count += usize::from(may_begin);
        may_begin
    }

    fn end(&self, agent: AgentId) {
        let mut agents = self.agents();
        if let Some(count) = agents.get_mut(&agent) {
            *count -= 1;
            if *count == 0 {
                agents.remove(&agent);
            }
        }
    }

    fn agents(&self) -> MutexGuard<'_, BTreeMap<AgentId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn echo_or_measure(measured: Arc<Measured>, stream: Stream, peer: Peer) {
    let Some(request) = BenchRequest::decode(&peer.metadata) else {
        if let Err(error) = serve_echo(stream).await {
            tracing::debug!(%error, "echo");
        }
        return;
    };
    if !measured.begin(peer.agent) {
        stream.reset(ErrorCode::BUSY);
        return;
    }
    match timeout(LONGEST_BENCH, serve_bench(stream, request)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "bench"),
        Err(_) => tracing::info!(from = %peer.agent.address(), "bench took too long"),
    }
    measured.end(peer.agent);
}

/// What port 1002 needs.
#[derive(Clone)]
struct Events {
    node: Node,
    own: Arc<Broker>,
    of_groups: Arc<GroupBrokers>,
    filter: Arc<Filter>,
}

impl Events {
    /// To and from the broker that the stream is meant for. What is said to all of a group goes to the group's, and from there to this agent
    /// alone: members subscribe at their own.
    async fn pass(self, stream: Stream, peer: Peer) {
        let screened = |topic, body| self.screened(&peer, topic, body);
        let served = match peer.group {
            None => serve_screened_events(stream, &self.own, peer.agent, screened).await,
            Some(group) => match self.of_groups.of(&self.node, group) {
                Some(broker) => serve_publisher(stream, &broker, peer.agent, screened).await,
                // It was left between the stream's admission and now.
                None => return stream.reset(ErrorCode::NOT_TRUSTED),
            },
        };
        if let Err(error) = served {
            tracing::debug!(from = %peer.agent.address(), error = error::describe(&error), "events");
        }
    }

    /// An event that a peer publishes, unless the owner's filter blocks it: then the peer is told so.
    async fn screened(
        &self,
        peer: &Peer,
        topic: Topic,
        body: Vec<u8>,
    ) -> Result<(Topic, Vec<u8>), String> {
        let event = (peer.agent, &topic, &body[..]);
        match filter::look_at_event(&self.filter, &self.node, event).await {
            Some(filtered) if filtered.is_blocked() => {
                Err("the event did not pass the receiver's filter".to_owned())
            }
            Some(_) | None => Ok((topic, body)),
        }
    }
}

fn refuse(waiting: Waiting) {
    waiting.stream.reset(ErrorCode::REFUSED);
}

/// Serves each stream of a port in a task of its own, at most [`MAX_SERVED`] at a time.
pub(crate) async fn serve<F, S>(mut listener: Listener, service: F)
where
    F: Fn(Stream, Peer) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(MAX_SERVED));
    while let Ok((stream, peer)) = listener.accept().await {
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            stream.reset(ErrorCode::BUSY);
            continue;
        };
        let served = service(stream, peer);
        tokio::spawn(async move {
            served.await;
            drop(place);
        });
    }
}

/// What port 1001 needs.
#[derive(Clone)]
struct Exchange {
    node: Node,
    messages: Arc<DataExchange<StoredInbox>>,
    files: Arc<Files>,
}

impl Exchange {
    /// A message or a file, as the stream's metadata say.
    async fn receive(self, stream: Stream, peer: Peer) {
        let terms = match peer.group {
            Some(group) => group_terms(&self.node, &group, &peer.agent),
            None => terms_of(&self.node, &peer.agent),
        };
        let Some(terms) = terms else {
            // Trust ended between the stream's admission and now.
            stream.reset(ErrorCode::NOT_TRUSTED);
            return;
        };
        if peer.metadata == FILE_STREAM {
            self.files.serve(stream, &peer, terms).await;
            return;
        }
        if peer.metadata == FILE_STREAM_1 {
            refuse_earlier_version(stream).await;
            return;
        }
        // What its sender left before it sends straight comes first.
        self.node.letters_fetched(LETTERS_PATIENCE).await;
        let from = peer.agent.address();
        let sender = Sender {
            agent: peer.agent,
            hostname: peer.hostname,
        };
        match self.messages.serve(stream, sender, terms).await {
            Ok(outcome) => tracing::debug!(%from, ?outcome, "message"),
            Err(error) => tracing::info!(%from, error = error::describe(&error), "message refused"),
        }
    }
}

pub(crate) fn terms_of(node: &Node, agent: &AgentId) -> Option<Terms> {
    match node.trusted_peer(agent) {
        Some(peer) => Some(Terms::from(&peer.scope)),
        // A group has its members trust each other.
        None => node.has_granted(agent).then(Terms::default),
    }
}

/// What an agent may that speaks to all members of a group.
pub(crate) fn group_terms(node: &Node, group: &GroupId, agent: &AgentId) -> Option<Terms> {
    if !node.may_broadcast(group, agent) {
        return None;
    }
    let groups = node.groups();
    let info = groups.iter().find(|info| info.group == *group)?;
    Some(Terms {
        network: Some(info.network),
        ..Terms::default()
    })
}
