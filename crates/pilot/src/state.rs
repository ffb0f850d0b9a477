//! What the event loop and the callers share, under one lock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use pilot_node::{
    Answer, DialId, Event, LinkState, QueryError, QueryId, ReceivedLetter, StreamHandle,
};
use pilot_registry::RefusalCode;
use pilot_types::{AgentId, PathId, Port, Transmit, TransmitBuf};
use pilot_wire::{ErrorCode, KeyStanding};
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};

use crate::clock;
use crate::datagrams::{self, IncomingDatagram};
use crate::error::{RegisterError, key_words};
use crate::listener::Incoming;
use crate::notice::{self, Notice, Notices};
use crate::persist::Persister;
use crate::port_mapping::PortMappingStatus;
use crate::socket::{Sent, Sockets};

/// Streams that wait for one listener's `accept`.
pub(crate) const MAX_WAITING: usize = 64;
/// Batches sent before the loop looks at the socket again.
const MAX_BATCHES: usize = 64;

/// How the first registration went.
#[derive(Clone, Debug)]
pub(crate) enum Registration {
    Pending,
    Done,
    Failed(RegisterError),
}

/// How a dial ended.
pub(crate) enum DialOutcome {
    Opened {
        stream: StreamHandle,
        agent: AgentId,
    },
    Answered {
        agent: AgentId,
        rtt: std::time::Duration,
        path: PathId,
    },
    Delivered {
        agent: AgentId,
    },
}

/// Tasks that wait for a stream.
#[derive(Default)]
struct Waiting {
    read: Option<Waker>,
    write: Option<Waker>,
}

/// Who waits for what.
#[derive(Default)]
pub(crate) struct Waiters {
    streams: HashMap<StreamHandle, Waiting>,
    pub(crate) dials: HashMap<DialId, oneshot::Sender<Result<DialOutcome, pilot_node::DialError>>>,
    pub(crate) queries: HashMap<QueryId, oneshot::Sender<Result<Answer, QueryError>>>,
    pub(crate) profile: Vec<oneshot::Sender<Result<(), QueryError>>>,
    listeners: HashMap<Port, mpsc::Sender<Incoming>>,
    /// Takes streams to ports that no other listener has.
    any_listener: Option<mpsc::Sender<Incoming>>,
    datagram_listeners: HashMap<Port, mpsc::Sender<IncomingDatagram>>,
}

/// The node and everything around it.
pub(crate) struct State {
    pub(crate) node: pilot_node::Node,
    pub(crate) waiters: Waiters,
    pub(crate) registration: watch::Sender<Registration>,
    pub(crate) is_shutdown: bool,
    pub(crate) port_mapping: PortMappingStatus,
    /// Tells whoever listens what happens; gone once the node is told to end.
    notices: Option<broadcast::Sender<Notice>>,
    persister: Option<Persister>,
    /// Takes names of rendezvous that went silent.
    pub(crate) silent: Option<mpsc::Sender<String>>,
    /// Takes letters; one batch of each rendezvous at a time.
    pub(crate) letters: Option<mpsc::UnboundedSender<ReceivedLetter>>,
    /// When the loop wakes by itself.
    wakes_at: Option<Instant>,
    /// Whether the loop waits, or is about to.
    is_parked: bool,
}

/// What is on its way to the sockets. One at a time sends, so that packets leave in the order of their numbers, and not while
/// the state is locked: others go on meanwhile. It is locked before the state.
struct Outgoing {
    out: TransmitBuf,
    /// A batch that the socket did not take.
    blocked: Option<(Transmit, Vec<u8>)>,
}

/// Shared by the loop and all handles.
pub(crate) struct Shared {
    state: Mutex<State>,
    outgoing: Mutex<Outgoing>,
    pub(crate) sockets: Sockets,
    /// Wakes the loop when a caller gave the node something to send.
    pub(crate) wake: Notify,
    /// Trust changed: whoever waits looks again.
    pub(crate) changes: broadcast::Sender<()>,
    pub(crate) persister: Option<Persister>,
    pub(crate) started: Instant,
    /// Turns `true` when the loop is over and the home is free.
    pub(crate) ended: watch::Sender<bool>,
}

/// What the loop waits for next.
pub(crate) struct Next {
    /// When it wakes by itself: at the node's deadline, or before.
    pub(crate) wakes_at: Option<Instant>,
    /// Where a batch goes that its socket did not take.
    pub(crate) blocked: Option<PathId>,
    pub(crate) has_more: bool,
    pub(crate) is_done: bool,
}

impl Shared {
    pub(crate) fn new(
        node: pilot_node::Node,
        sockets: Sockets,
        persister: Option<Persister>,
    ) -> Arc<Self> {
        let out = TransmitBuf::new(sockets.max_segments().min(32), 1500);
        let state = State {
            node,
            waiters: Waiters::default(),
            registration: watch::Sender::new(Registration::Pending),
            is_shutdown: false,
            port_mapping: PortMappingStatus::default(),
            notices: Some(broadcast::Sender::new(notice::MAX_WAITING)),
            persister: persister.clone(),
            silent: None,
            letters: None,
            wakes_at: None,
            is_parked: false,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            outgoing: Mutex::new(Outgoing { out, blocked: None }),
            sockets,
            wake: Notify::new(),
            changes: broadcast::Sender::new(16),
            persister,
            started: Instant::now(),
            ended: watch::Sender::new(false),
        })
    }

    /// Resolves when the loop is over and the home is free.
    pub(crate) async fn wait_ended(&self) {
        let mut ended = self.ended.subscribe();
        let _ = ended.wait_for(|ended| *ended).await;
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held is a bug that was reported; the node's own state is consistent between calls.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `call` on the node, then wakes the loop if there is something to send or tell.
    pub(crate) fn with<T>(&self, call: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = call(&mut state);
        if state.has_work() {
            self.send_soon(state);
        }
        result
    }

    /// As [`Self::with`], for a call that begins something which is mostly over at once: what happened is passed on before the loop is woken,
    /// and that only if `is_over` does not say that nothing is waited for. What is to be sent then goes with what follows.
    pub(crate) fn begin<T>(
        &self,
        call: impl FnOnce(&mut State) -> T,
        is_over: impl FnOnce(&State, &T) -> bool,
    ) -> T {
        let mut state = self.lock();
        let result = call(&mut state);
        let has_changes = state.pass_events(&self.sockets);
        let wakes = !is_over(&state, &result) && state.has_work();
        drop(state);
        if has_changes {
            let _ = self.changes.send(());
        }
        if wakes {
            self.wake.notify_one();
        }
        result
    }

    /// Sends what a caller gave the node, or wakes the loop to do so.
    ///
    /// A task of a runtime leaves it to the loop, which runs next on the same thread and so sends with it what else the task writes before it
    /// waits. Anybody else would wake another thread: sending costs less than that, and is sooner.
    pub(crate) fn send_soon(&self, state: MutexGuard<'_, State>) {
        let may_send = state.is_parked && tokio::task::try_id().is_none();
        drop(state);
        if !(may_send && self.is_sent_by_caller()) {
            self.wake.notify_one();
        }
    }

    /// As [`Self::send_soon`], if the node has anything to send.
    pub(crate) fn send_output(&self, state: MutexGuard<'_, State>) {
        if state.node.has_output() {
            self.send_soon(state);
        }
    }

    /// Sends unless somebody does; whether nothing is left that the loop has to see to.
    fn is_sent_by_caller(&self) -> bool {
        let Ok(mut outgoing) = self.outgoing.try_lock() else {
            return false;
        };
        let is_over = outgoing.blocked.is_none() && !self.send_batches(&mut outgoing);
        is_over && outgoing.blocked.is_none() && !self.lock().has_work()
    }

    /// Sends until nothing is left, the socket is full, or others had better get their turn; `true` if more waits.
    fn send_batches(&self, outgoing: &mut Outgoing) -> bool {
        let Outgoing { out, blocked } = outgoing;
        if let Some((transmit, bytes)) = blocked.take()
            && !self.is_sent(&transmit, &bytes)
        {
            *blocked = Some((transmit, bytes));
            return false;
        }
        for _ in 0..MAX_BATCHES {
            let transmit = self.lock().node.poll_transmit(clock::now(), out);
            let Some(transmit) = transmit else {
                return false;
            };
            if !self.is_sent(&transmit, out.as_slice()) {
                *blocked = Some((transmit, out.as_slice().to_vec()));
                return false;
            }
        }
        true
    }

    /// Whether a batch is off our hands; counts one that is lost.
    fn is_sent(&self, transmit: &Transmit, bytes: &[u8]) -> bool {
        match self.sockets.send(transmit, bytes) {
            Sent::Done => {}
            Sent::Blocked => return false,
            Sent::Failed => self.lock().node.count_drop("send_failed"),
            Sent::WrongPath => self.lock().node.count_drop("wrong_path"),
        }
        true
    }

    /// The loop woke by itself.
    pub(crate) fn handle_timeout(&self) {
        let mut state = self.lock();
        state.wakes_at = None;
        state.node.handle_timeout(clock::now());
    }

    /// Passes the node's events on and sends what waits.
    pub(crate) fn pump(&self) -> Next {
        let mut state = self.lock();
        state.is_parked = false;
        let has_changes = state.pass_events(&self.sockets);
        drop(state);
        if has_changes {
            let _ = self.changes.send(());
        }
        let outgoing = self.outgoing.lock();
        let mut outgoing = outgoing.unwrap_or_else(PoisonError::into_inner);
        let has_more = self.send_batches(&mut outgoing);
        let blocked = outgoing.blocked.as_ref().map(|(transmit, _)| transmit.path);
        drop(outgoing);
        let mut state = self.lock();
        let deadline = state.node.poll_timeout().map(|deadline| deadline.at);
        // One that is set already and too early stays: deadlines move with every packet, and setting a timer costs more than to wake in vain.
        state.wakes_at = [state.wakes_at, deadline].into_iter().flatten().min();
        state.is_parked = !has_more;
        Next {
            wakes_at: state.wakes_at,
            blocked,
            has_more,
            is_done: state.is_shutdown && state.node.sessions() == 0,
        }
    }
}

impl State {
    /// Whether the loop has something to do before it wakes by itself.
    fn has_work(&self) -> bool {
        let is_earlier = |at: Instant| self.wakes_at.is_none_or(|wakes_at| at < wakes_at);
        let deadline = || self.node.poll_timeout().map(|deadline| deadline.at);
        self.is_shutdown
            || self.node.has_output()
            || self.node.has_event()
            || deadline().is_some_and(is_earlier)
    }

    /// Passes the node's events on; gives whether those who wait for changes are to look again.
    fn pass_events(&mut self, sockets: &Sockets) -> bool {
        let mut has_changes = false;
        while let Some(event) = self.node.poll_event() {
            has_changes |= matches!(
                event,
                Event::Trusted(_)
                    | Event::Untrusted(_)
                    | Event::Knocked { .. }
                    | Event::Observed(_)
                    | Event::GroupChanged(_)
                    | Event::KeysChanged(_)
            );
            if let (Some(notices), Some(notice)) = (&self.notices, Notice::of(&event)) {
                // Nobody need listen.
                let _ = notices.send(notice);
            }
            self.handle_event(event, sockets);
        }
        has_changes
    }

    fn handle_event(&mut self, event: Event, sockets: &Sockets) {
        match event {
            Event::SocketsWanted { count } => {
                let opened = sockets.open_extra(count);
                self.node.add_sockets(clock::now(), opened);
            }
            Event::SocketsUnused(unused) => sockets.close_extra(&unused),
            Event::Readable(stream) => self.waiters.wake_read(stream),
            Event::Writable(stream) => self.waiters.wake_write(stream),
            Event::Finished(stream) => self.waiters.wake_write(stream),
            Event::SessionClosed { session, .. } => self.waiters.wake_session(session),
            Event::Dialed {
                dial,
                stream,
                agent,
                ..
            } => self.dialed(dial, stream, agent),
            Event::DialFailed { dial, error } => self.waiters.end_dial(dial, Err(error)),
            Event::Pong {
                dial,
                agent,
                rtt,
                path,
            } => self
                .waiters
                .end_dial(dial, Ok(DialOutcome::Answered { agent, rtt, path })),
            Event::Delivered { dial, agent } => {
                self.waiters
                    .end_dial(dial, Ok(DialOutcome::Delivered { agent }));
            }
            Event::Datagram {
                agent,
                header,
                data,
            } => self.datagram(IncomingDatagram {
                agent,
                header,
                data,
            }),
            Event::Incoming {
                stream,
                agent,
                header,
            } => self.incoming(Incoming {
                stream,
                agent,
                header,
            }),
            Event::Answered { query, result } => {
                if let Some(waiter) = self.waiters.queries.remove(&query) {
                    let _ = waiter.send(result);
                }
            }
            Event::Registered { url, result } => self.registered(&url, result),
            Event::KeyMismatch {
                url,
                expected,
                found,
            } => {
                tracing::error!(url, expected, found, "another key than the pinned one");
                self.failed_to_register(RegisterError::KeyMismatch {
                    url,
                    expected,
                    found,
                });
            }
            Event::Superseded => {
                tracing::error!("superseded: the same identity is in use elsewhere");
                let message = "superseded: the same identity is in use elsewhere".to_owned();
                self.failed_to_register(RegisterError::Refused { message });
            }
            Event::KeyRefused { by, standing } => self.key_refused(by, standing),
            Event::Persist(item) => {
                if let Some(persister) = &self.persister {
                    persister.write(item);
                }
            }
            Event::FreshnessLow => {
                if let Some(persister) = &self.persister {
                    persister
                        .reserve_freshness(clock::unix().as_millis().saturating_mul(1_000_000));
                }
            }
            Event::RendezvousSilent { url } => {
                if let Some(silent) = &self.silent {
                    // One that finds no room is silent again soon.
                    let _ = silent.try_send(url);
                }
            }
            Event::Letter(letter) => self.letter(*letter),
            Event::Link { url, state } => tracing::info!(url, ?state, "rendezvous"),
            Event::Observed(addr) => tracing::info!(%addr, "seen from outside"),
            Event::Trusted(agent) => tracing::info!(agent = %agent.address(), "trusted"),
            Event::Untrusted(agent) => {
                tracing::info!(agent = %agent.address(), "no longer trusted");
            }
            Event::Knocked { agent, .. } => tracing::info!(agent = %agent.address(), "knocked"),
            Event::KeysChanged(agent) => tracing::info!(agent = %agent.address(), "other keys"),
            Event::GroupChanged(group) => tracing::debug!(%group, "group changed"),
            _ => {}
        }
    }

    /// One that nobody takes stays where it is.
    fn letter(&self, letter: ReceivedLetter) {
        if let Some(letters) = &self.letters {
            let _ = letters.send(letter);
        }
    }

    fn dialed(&mut self, dial: DialId, stream: StreamHandle, agent: AgentId) {
        let outcome = Ok(DialOutcome::Opened { stream, agent });
        match self.waiters.dials.remove(&dial) {
            // The caller gave up in the meantime.
            Some(waiter) if waiter.is_closed() => {
                self.node
                    .release_stream(clock::now(), stream, false, ErrorCode::CANCELLED);
            }
            Some(waiter) => drop(waiter.send(outcome)),
            None => self
                .node
                .release_stream(clock::now(), stream, false, ErrorCode::CANCELLED),
        }
    }

    fn incoming(&mut self, incoming: Incoming) {
        let stream = incoming.stream;
        let named = self.waiters.listeners.get(&incoming.header.destination);
        let code = match named.or(self.waiters.any_listener.as_ref()) {
            Some(listener) => match listener.try_send(incoming) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(_)) => ErrorCode::BUSY,
                Err(mpsc::error::TrySendError::Closed(_)) => ErrorCode::REFUSED,
            },
            None => ErrorCode::REFUSED,
        };
        self.node.release_stream(clock::now(), stream, false, code);
    }

    /// What a listener has no room for is dropped, as a full socket does.
    fn datagram(&mut self, incoming: IncomingDatagram) {
        let port = incoming.header.destination;
        let listener = self.waiters.datagram_listeners.get(&port);
        if listener.is_none_or(|listener| listener.try_send(incoming).is_err()) {
            self.node.count_drop("datagram_queue_full");
        }
    }

    fn registered(&mut self, url: &str, result: Result<(), QueryError>) {
        for waiter in self.waiters.profile.drain(..) {
            let _ = waiter.send(result.clone());
        }
        let is_done = self.is_registered();
        match result {
            Ok(()) => {
                self.registration.send_replace(Registration::Done);
            }
            Err(error) => {
                tracing::warn!(url, %error, "registration refused");
                if !is_done {
                    self.failed_to_register(self.register_error(&error));
                }
            }
        }
    }

    fn key_refused(&self, by: AgentId, standing: KeyStanding) {
        tracing::error!(%by, "{}", key_words(standing));
        if self.node.is_rendezvous(&by) && !self.is_registered() {
            self.failed_to_register(RegisterError::KeyRefused { standing });
        }
    }

    fn is_registered(&self) -> bool {
        matches!(*self.registration.borrow(), Registration::Done)
    }

    fn failed_to_register(&self, error: RegisterError) {
        self.registration.send_replace(Registration::Failed(error));
    }

    fn register_error(&self, error: &QueryError) -> RegisterError {
        let words = RegisterError::Refused {
            message: error.to_string(),
        };
        let QueryError::Refused { code, .. } = error else {
            return words;
        };
        match (code, &self.node.profile().hostname) {
            (RefusalCode::AlreadyExists, Some(name)) => RegisterError::HostnameTaken {
                name: name.to_string(),
            },
            (RefusalCode::AddressTaken, _) => RegisterError::AddressTaken,
            _ => words,
        }
    }

    /// What happens from now on; nothing more once the node is told to end.
    pub(crate) fn notices(&self) -> Notices {
        let receiver = match &self.notices {
            Some(notices) => notices.subscribe(),
            None => broadcast::channel(1).1,
        };
        Notices(receiver)
    }

    /// Takes a port for a listener; `None` if it is taken.
    pub(crate) fn listen(&mut self, port: Port) -> Option<mpsc::Receiver<Incoming>> {
        if !self.node.listen(port) {
            return None;
        }
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        self.waiters.listeners.insert(port, sender);
        Some(receiver)
    }

    /// Takes a port for datagrams; `None` if it is taken.
    pub(crate) fn listen_datagrams(
        &mut self,
        port: Port,
    ) -> Option<mpsc::Receiver<IncomingDatagram>> {
        if !self.node.listen_datagrams(port) {
            return None;
        }
        let (sender, receiver) = mpsc::channel(datagrams::MAX_WAITING);
        self.waiters.datagram_listeners.insert(port, sender);
        Some(receiver)
    }

    /// Gives a port for datagrams back.
    pub(crate) fn unlisten_datagrams(&mut self, port: Port) {
        self.node.unlisten_datagrams(port);
        self.waiters.datagram_listeners.remove(&port);
    }

    /// Takes all ports that nobody has; `None` if somebody does so already.
    pub(crate) fn listen_any(&mut self) -> Option<mpsc::Receiver<Incoming>> {
        if !self.node.listen_any() {
            return None;
        }
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        self.waiters.any_listener = Some(sender);
        Some(receiver)
    }

    /// Gives a port, or all that nobody else has, back; streams that wait for it are refused.
    pub(crate) fn unlisten(&mut self, port: Option<Port>, waiting: &mut mpsc::Receiver<Incoming>) {
        if let Some(port) = port {
            self.node.unlisten(port);
            self.waiters.listeners.remove(&port);
        } else {
            self.node.unlisten_any();
            self.waiters.any_listener = None;
        }
        while let Ok(incoming) = waiting.try_recv() {
            self.node
                .release_stream(clock::now(), incoming.stream, false, ErrorCode::REFUSED);
        }
    }

    /// Ends all that waits: the node stops.
    pub(crate) fn shutdown(&mut self) {
        // Whoever takes letters ends, and lets go of where it stores them.
        self.letters = None;
        self.is_shutdown = true;
        self.notices = None;
        self.node.shutdown(clock::now());
        self.waiters.dials.clear();
        self.waiters.queries.clear();
        self.waiters.profile.clear();
        self.waiters.listeners.clear();
        self.waiters.any_listener = None;
        self.waiters.datagram_listeners.clear();
        self.waiters.wake_all();
    }
}

impl Waiters {
    pub(crate) fn wait_read(&mut self, stream: StreamHandle, waker: &Waker) {
        self.streams.entry(stream).or_default().read = Some(waker.clone());
    }

    pub(crate) fn wait_write(&mut self, stream: StreamHandle, waker: &Waker) {
        self.streams.entry(stream).or_default().write = Some(waker.clone());
    }

    pub(crate) fn forget(&mut self, stream: StreamHandle) {
        self.streams.remove(&stream);
    }

    fn wake_read(&mut self, stream: StreamHandle) {
        if let Some(waker) = self
            .streams
            .get_mut(&stream)
            .and_then(|waiting| waiting.read.take())
        {
            waker.wake();
        }
    }

    fn wake_write(&mut self, stream: StreamHandle) {
        if let Some(waker) = self
            .streams
            .get_mut(&stream)
            .and_then(|waiting| waiting.write.take())
        {
            waker.wake();
        }
    }

    fn wake_session(&mut self, session: pilot_node::SessionKey) {
        let streams: Vec<StreamHandle> = self
            .streams
            .keys()
            .filter(|stream| stream.session == session)
            .copied()
            .collect();
        for stream in streams {
            self.wake_read(stream);
            self.wake_write(stream);
        }
    }

    fn wake_all(&mut self) {
        for (_, waiting) in self.streams.drain() {
            waiting
                .read
                .into_iter()
                .chain(waiting.write)
                .for_each(Waker::wake);
        }
    }

    fn end_dial(&mut self, dial: DialId, outcome: Result<DialOutcome, pilot_node::DialError>) {
        if let Some(waiter) = self.dials.remove(&dial) {
            let _ = waiter.send(outcome);
        }
    }
}

/// Whether a link counts as connected for people.
pub(crate) const fn link_word(state: LinkState) -> &'static str {
    match state {
        LinkState::Connecting => "connecting",
        LinkState::Connected => "connected",
        LinkState::Registered => "registered",
        LinkState::Refused => "refused",
    }
}
