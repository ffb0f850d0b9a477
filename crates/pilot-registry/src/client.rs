//! The agent's side: keeps one rendezvous informed and carries the node's own requests.

mod chore;
mod pending;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pilot_types::{Deadline, Hostname, Seed, TimerTable, UnixTime};
use pilot_wire::SignedBytes;
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use thiserror::Error;

use self::chore::{Chore, ChoreKind};
use self::pending::{Pending, Purpose};
use crate::message::{RefusalCode, Request, Response};
use crate::stats::RequestKind;

/// Limits of a [`Client`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientConfig {
    /// A request without an answer for so long has failed.
    pub request_deadline: Duration,
    /// Requests of the caller, waiting or under way.
    pub max_requests: usize,
    /// Requests under way at once.
    pub max_in_flight: usize,
    /// How often a locator is made anew while nothing changes: a third of its longest life.
    pub locate_interval: Duration,
    /// First rest of a chore that failed; each further one is twice as long.
    pub min_rest: Duration,
    /// Longest rest of a chore that failed.
    pub max_rest: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            request_deadline: Duration::from_secs(10),
            max_requests: 256,
            max_in_flight: 32,
            locate_interval: pilot_wire::limits::LOCATOR_LIFETIME / 3,
            min_rest: Duration::from_secs(1),
            max_rest: Duration::from_secs(60),
        }
    }
}

/// Names one request of a client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(u64);

/// Why a request of the caller has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The deadline passed.
    #[error("the rendezvous did not answer in time")]
    Timeout,
    /// The streams that carried it broke.
    #[error("the session with the rendezvous broke off")]
    Failed,
    /// Too many requests wait already.
    #[error("too many requests wait for the rendezvous")]
    Busy,
}

/// What a client tells its caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientEvent {
    /// The rendezvous knows the agent.
    Registered {
        /// The name that the agent holds.
        hostname: Option<Hostname>,
        /// When the record ends.
        not_after: UnixTime,
    },
    /// The record nears its end: sign a new one and give it to [`Client::set_record`].
    RecordDue,
    /// Sign a locator with this address and give it to [`Client::set_locator`].
    NeedsLocator(SocketAddr),
    /// The rendezvous has the locator: others find the agent from now on.
    Located,
    /// The rendezvous refused a record or locator for good; nothing is tried again until a new one is set.
    Refused {
        /// [`RequestKind::Register`] or [`RequestKind::Locate`].
        what: RequestKind,
        /// Why, for programs.
        code: RefusalCode,
        /// Why, for people.
        message: String,
    },
    /// The answer to a [`Client::request`].
    Answered {
        /// Which.
        id: RequestId,
        /// The rendezvous' words, refusals included.
        response: Result<Response, RequestError>,
    },
}

/// Who may reach an agent through its rendezvous as a relay.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Permits {
    /// Whether anybody may.
    pub is_open: bool,
    /// A secret for each agent that may, at most [`crate::limits::MAX_PERMITS`].
    pub secrets: Vec<[u8; 16]>,
}

#[derive(Clone, Copy)]
enum Timer {
    /// Rest of the chore `Register`.
    Register,
    /// Rest of the chore `Observe`.
    Observe,
    /// Rest of the chore `Locate`.
    Locate,
    /// Rest of the chore `Permit`.
    Permit,
    /// The record nears its end.
    Renew,
    /// The locator nears its end.
    Relocate,
}

/// Renewals are never closer together, whatever the rendezvous says.
const MIN_RENEWAL: Duration = Duration::from_secs(60);

/// One agent's dealings with one rendezvous. No I/O: the caller carries each polled request on a stream of its own.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Instant;
/// use pilot_registry::{Client, ClientConfig, ClientEvent, Request, Response};
/// use pilot_types::Seed;
///
/// let now = Instant::now();
/// let mut client = Client::new(Arc::new(ClientConfig::default()), Seed::new([1; 32]), now);
/// let id = client.request(now, Request::Observe);
/// assert_eq!(client.poll_request(), None, "no session is up");
/// client.connected(now);
/// assert_eq!(client.poll_request(), Some((id, Request::Observe)));
/// client.handle_response(now, id, Response::NotFound);
/// let response = Ok(Response::NotFound);
/// assert_eq!(client.poll_event(), Some(ClientEvent::Answered { id, response }));
/// ```
#[derive(Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    rng: ChaCha12Rng,
    /// Latest `now` of any call.
    latest: Instant,
    is_connected: bool,
    is_registered: bool,
    record: Option<(Vec<Vec<u8>>, SignedBytes)>,
    locator: Option<SignedBytes>,
    permits: Option<Permits>,
    /// The address of the last [`ClientEvent::NeedsLocator`].
    announced: Option<SocketAddr>,
    chores: [Chore; ChoreKind::ALL.len()],
    pending: Pending,
    timers: TimerTable<6>,
    events: VecDeque<ClientEvent>,
}

impl Client {
    /// A client without a session and without a record.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a seed keys one generator and is wiped then"
    )]
    #[must_use]
    pub fn new(config: Arc<ClientConfig>, seed: Seed, now: Instant) -> Self {
        Self {
            config,
            rng: ChaCha12Rng::from_seed(*seed.expose()),
            latest: now,
            is_connected: false,
            is_registered: false,
            record: None,
            locator: None,
            permits: None,
            announced: None,
            chores: [Chore::default(); ChoreKind::ALL.len()],
            pending: Pending::default(),
            timers: TimerTable::new([
                "register", "observe", "locate", "permit", "renew", "relocate",
            ]),
            events: VecDeque::new(),
        }
    }

    /// Sets what the rendezvous shall know; it is told at once, and again after each reconnection.
    pub fn set_record(&mut self, log: Vec<Vec<u8>>, record: SignedBytes) {
        self.record = Some((log, record));
        self.timers.stop(Timer::Renew as usize);
        self.want(ChoreKind::Register);
        if self.is_connected && !self.is_registered {
            // The address went with the record.
            self.want(ChoreKind::Observe);
        }
    }

    /// Stops telling: to be followed by a [`Request::Deregister`] where the rendezvous shall forget.
    pub fn clear_record(&mut self) {
        self.record = None;
        self.locator = None;
        self.permits = None;
        self.announced = None;
        self.is_registered = false;
        self.timers.stop(Timer::Renew as usize);
        self.timers.stop(Timer::Relocate as usize);
        for kind in ChoreKind::ALL {
            self.drop_chore(kind);
        }
    }

    /// Sets where the agent is; the rendezvous is told as soon as it knows the record.
    pub fn set_locator(&mut self, locator: SignedBytes) {
        self.locator = Some(locator);
        self.want(ChoreKind::Locate);
    }

    /// Sets who may reach the agent through the rendezvous as a relay; it is told at once, and again after each reconnection.
    pub fn set_permits(&mut self, permits: Permits) {
        if self.permits.as_ref() != Some(&permits) {
            self.permits = Some(permits);
            self.want(ChoreKind::Permit);
        }
    }

    /// The agent's packets are seen at another address.
    pub fn observed_changed(&mut self, observed: SocketAddr) {
        if self.record.is_some() && self.announced != Some(observed) {
            self.announce(observed);
        }
    }

    /// A session with the rendezvous is up.
    pub fn connected(&mut self, now: Instant) {
        self.advance(now);
        self.lose_session();
        self.is_connected = true;
        if self.record.is_some() {
            self.want(ChoreKind::Register);
            self.want(ChoreKind::Observe);
        }
        if self.permits.is_some() {
            self.want(ChoreKind::Permit);
        }
    }

    /// The session ended. The caller's requests wait for the next one until their deadlines.
    pub fn disconnected(&mut self, now: Instant) {
        self.advance(now);
        self.lose_session();
    }

    /// Whether the rendezvous has confirmed the record in this session.
    #[must_use]
    pub const fn is_registered(&self) -> bool {
        self.is_registered
    }

    /// Queues a request of the caller; its answer is a [`ClientEvent::Answered`], at the latest after the deadline.
    pub fn request(&mut self, now: Instant, request: Request) -> RequestId {
        self.advance(now);
        if self.pending.by_caller() >= self.config.max_requests {
            let id = self.pending.skip_id();
            self.answered(id, Err(RequestError::Busy));
            return id;
        }
        let deadline = now + self.config.request_deadline;
        self.pending
            .insert(Purpose::Caller, request, Some(deadline))
    }

    /// The next request to carry.
    pub fn poll_request(&mut self) -> Option<(RequestId, Request)> {
        if !self.is_connected || self.pending.in_flight() >= self.config.max_in_flight {
            return None;
        }
        for kind in ChoreKind::ALL {
            if self.chores[kind as usize].is_wanted()
                && let Some(request) = self.chore_request(kind)
            {
                let purpose = Purpose::Chore(kind);
                let id = self.pending.insert(purpose, request.clone(), None);
                self.pending.send(id);
                self.chores[kind as usize].start();
                return Some((id, request));
            }
        }
        self.pending.next_unsent()
    }

    /// The rendezvous answered.
    pub fn handle_response(&mut self, now: Instant, id: RequestId, response: Response) {
        self.advance(now);
        match self.pending.remove(id) {
            Some(Purpose::Caller) => self.answered(id, Ok(response)),
            Some(Purpose::Chore(kind)) => self.chore_answered(now, kind, response),
            None => {}
        }
    }

    /// The stream that carried a request broke, or its answer did not decode.
    pub fn handle_failure(&mut self, id: RequestId) {
        match self.pending.fail(id) {
            Some(Purpose::Caller) => self.answered(id, Err(RequestError::Failed)),
            Some(Purpose::Chore(kind)) => self.rest(kind, Duration::ZERO),
            None => {}
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Does what is due; early and repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.pending.arm(now + self.config.request_deadline);
        for (id, purpose) in self.pending.expire(now) {
            match purpose {
                Purpose::Caller => self.answered(id, Err(RequestError::Timeout)),
                Purpose::Chore(kind) => self.rest(kind, Duration::ZERO),
            }
        }
        for kind in ChoreKind::ALL {
            if self.timers.take_if_due(kind.timer() as usize, now) {
                self.chores[kind as usize].want();
            }
        }
        if self.timers.take_if_due(Timer::Renew as usize, now) {
            self.events.push_back(ClientEvent::RecordDue);
        }
        if self.timers.take_if_due(Timer::Relocate as usize, now) {
            self.want(ChoreKind::Observe);
        }
    }

    /// When [`Self::handle_timeout`] has work.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let request = if self.pending.has_unarmed() {
            Some(self.latest)
        } else {
            self.pending.earliest()
        };
        let request = request.map(|at| Deadline {
            at,
            timer: "request",
        });
        Deadline::earliest(request, self.timers.next())
    }

    fn chore_request(&self, kind: ChoreKind) -> Option<Request> {
        match kind {
            ChoreKind::Register => self
                .record
                .clone()
                .map(|(log, record)| Request::Register { log, record }),
            ChoreKind::Observe => self.is_registered.then_some(Request::Observe),
            ChoreKind::Locate => {
                let locator = self.locator.clone().filter(|_| self.is_registered)?;
                Some(Request::Locate { locator })
            }
            ChoreKind::Permit => {
                let Permits { is_open, secrets } = self.permits.clone()?;
                Some(Request::Permit {
                    is_open,
                    permits: secrets,
                })
            }
        }
    }

    fn chore_answered(&mut self, now: Instant, kind: ChoreKind, response: Response) {
        match (kind, response) {
            (
                ChoreKind::Register,
                Response::Registered {
                    hostname,
                    not_after,
                    renew_after_ms,
                },
            ) => {
                self.finish(kind);
                self.is_registered = true;
                let renewal = Duration::from_millis(renew_after_ms).max(MIN_RENEWAL);
                if let Some(at) = now.checked_add(renewal) {
                    self.timers.set(Timer::Renew as usize, at);
                }
                self.events.push_back(ClientEvent::Registered {
                    hostname,
                    not_after,
                });
            }
            (ChoreKind::Observe, Response::Observed(observed)) => {
                self.finish(kind);
                self.announce(observed);
            }
            (ChoreKind::Locate, Response::Located) => {
                self.finish(kind);
                self.events.push_back(ClientEvent::Located);
                let at = now + self.config.locate_interval;
                self.timers.set(Timer::Relocate as usize, at);
            }
            (ChoreKind::Permit, Response::Permitted) => self.finish(kind),
            (
                _,
                Response::Refused {
                    code,
                    message,
                    retry_after_ms,
                },
            ) => self.chore_refused(kind, code, message, Duration::from_millis(retry_after_ms)),
            // An answer to something else: as if none had come.
            (_, _) => self.rest(kind, Duration::ZERO),
        }
    }

    fn chore_refused(
        &mut self,
        kind: ChoreKind,
        code: RefusalCode,
        message: String,
        retry_after: Duration,
    ) {
        match code {
            RefusalCode::RateLimited | RefusalCode::Unavailable => self.rest(kind, retry_after),
            RefusalCode::NotRegistered => {
                self.rest(kind, retry_after);
                self.is_registered = false;
                if kind != ChoreKind::Register && self.record.is_some() {
                    self.want(ChoreKind::Register);
                }
            }
            RefusalCode::AlreadyExists
            | RefusalCode::AddressTaken
            | RefusalCode::Invalid
            | RefusalCode::Stale
            | RefusalCode::Reserved
            | RefusalCode::NobodyOnline
            | RefusalCode::MailboxFull
            | RefusalCode::Unknown => {
                self.finish(kind);
                self.is_registered &= kind != ChoreKind::Register;
                self.events.push_back(ClientEvent::Refused {
                    what: kind.request(),
                    code,
                    message,
                });
            }
        }
    }

    fn announce(&mut self, observed: SocketAddr) {
        self.announced = Some(observed);
        self.events.push_back(ClientEvent::NeedsLocator(observed));
    }

    fn answered(&mut self, id: RequestId, response: Result<Response, RequestError>) {
        self.events
            .push_back(ClientEvent::Answered { id, response });
    }

    fn want(&mut self, kind: ChoreKind) {
        self.drop_chore(kind);
        self.chores[kind as usize].want();
    }

    fn drop_chore(&mut self, kind: ChoreKind) {
        self.pending.drop_chore(kind);
        self.timers.stop(kind.timer() as usize);
        self.chores[kind as usize] = Chore::default();
    }

    fn finish(&mut self, kind: ChoreKind) {
        self.chores[kind as usize] = Chore::default();
    }

    fn rest(&mut self, kind: ChoreKind, at_least: Duration) {
        let spread = f64::from(self.rng.next_u32()) / f64::from(u32::MAX);
        let rest = self.chores[kind as usize].rest(&self.config, spread);
        // A rest as long as the longest is enough, whatever the rendezvous says.
        let rest = rest.max(at_least.min(self.config.max_rest));
        self.timers.set(kind.timer() as usize, self.latest + rest);
    }

    fn lose_session(&mut self) {
        self.is_connected = false;
        self.is_registered = false;
        for kind in ChoreKind::ALL {
            self.drop_chore(kind);
        }
        self.pending.unsend_all();
    }

    fn advance(&mut self, now: Instant) {
        self.latest = self.latest.max(now);
    }
}
