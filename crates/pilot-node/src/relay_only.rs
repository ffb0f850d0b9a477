//! A rendezvous without a registry: it forwards, and answers STUN and who it is.

use std::net::SocketAddr;
use std::time::Instant;

use pilot_registry::{OutgoingPush, PushId, RefusalCode, Request, RequestKind, Response, Stats};
use pilot_session::{NameLimit, Rate};
use pilot_types::{AgentId, Seed, UnixTime};

use crate::rendezvous::RegistryHost;

/// What one agent may ask: a channel to each of many peers at once, and changes of its permits.
const REQUESTS_PER_AGENT: Rate = Rate {
    burst: 512,
    per_second: 16,
};
/// Who asks too much tries again after this.
const REST_MS: u64 = 1000;

/// In place of a registry.
pub struct RelayOnly {
    requests: NameLimit,
    since: (Instant, UnixTime),
}

impl RelayOnly {
    /// From a secret that decides which agents share a limit.
    #[must_use]
    pub fn new(seed: &Seed, now: Instant, unix: UnixTime) -> Self {
        Self {
            requests: NameLimit::new(REQUESTS_PER_AGENT, seed.expose(), now),
            since: (now, unix),
        }
    }
}

impl RegistryHost for RelayOnly {
    fn session_opened(&mut self, _: UnixTime, _: AgentId, _: SocketAddr) {}

    fn session_closed(&mut self, _: UnixTime, _: &AgentId) {}

    fn observed_changed(&mut self, _: &AgentId, _: SocketAddr) {}

    fn admit(&mut self, now: UnixTime, from: AgentId, _: RequestKind) -> Result<(), Response> {
        let (start, unix) = self.since;
        let now = start + now.since(unix);
        if self.requests.take(now, from.as_bytes()) {
            return Ok(());
        }
        Err(Response::Refused {
            code: RefusalCode::RateLimited,
            message: "too many requests".to_owned(),
            retry_after_ms: REST_MS,
        })
    }

    fn handle_request(&mut self, _: UnixTime, _: AgentId, _: Request) -> Response {
        Response::Refused {
            code: RefusalCode::Invalid,
            message: "a relay alone: it keeps no registry".to_owned(),
            retry_after_ms: 0,
        }
    }

    fn poll_push(&mut self) -> Option<OutgoingPush> {
        None
    }

    fn push_acked(&mut self, _: UnixTime, _: &AgentId, _: PushId) {}

    fn push_failed(&mut self, _: UnixTime, _: &AgentId, _: PushId) {}

    fn handle_time(&mut self, _: UnixTime) {}

    fn poll_timeout_unix(&self) -> Option<UnixTime> {
        None
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }
}
