//! A rendezvous without a registry: it forwards, and answers STUN and who it is.

use std::net::SocketAddr;

use pilot_registry::{OutgoingPush, PushId, Request, RequestKind, Response, Stats};
use pilot_types::{AgentId, UnixTime};

use crate::rendezvous::{RegistryHost, refused};

/// In place of a registry.
#[derive(Clone, Copy, Debug)]
pub struct RelayOnly;

impl RegistryHost for RelayOnly {
    fn session_opened(&mut self, _: UnixTime, _: AgentId, _: SocketAddr) {}

    fn session_closed(&mut self, _: UnixTime, _: &AgentId) {}

    fn observed_changed(&mut self, _: &AgentId, _: SocketAddr) {}

    fn counts_requests(&self) -> bool {
        false
    }

    fn admit(&mut self, _: UnixTime, _: AgentId, _: RequestKind) -> Result<(), Response> {
        Ok(())
    }

    fn handle_request(&mut self, _: UnixTime, _: AgentId, _: Request) -> Response {
        refused("a relay alone: it keeps no registry")
    }

    fn log(&mut self, _: &AgentId) -> Option<Vec<Vec<u8>>> {
        None
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
