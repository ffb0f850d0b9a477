//! A rendezvous as a relay: what its clients ask of it, and the frames that it passes on.

use std::collections::VecDeque;

use pilot_nat::{BindError, RelayStats};
use pilot_registry::{RefusalCode, Request, RequestKind, Response};
use pilot_types::{AgentId, Ecn, PathId, Transmit, TransmitBuf};
use pilot_wire::limits::BASE_DATAGRAM;

use crate::node::Node;
use crate::now::Now;

/// Bytes of frames that wait to be sent on: 20 ms at 3 Gbit/s. More is loss, as in any router.
const MAX_QUEUED: usize = 8 << 20;
/// Buffers that are kept to be used again: as many as fill the queue.
const MAX_SPARE: usize = MAX_QUEUED / BASE_DATAGRAM;
/// Who finds no channel free tries again after this: idle ones are forgotten.
const FULL_REST_MS: u64 = 10_000;

/// Frames on their way through.
#[derive(Default)]
pub(crate) struct Forwarded {
    queue: VecDeque<Frame>,
    bytes: usize,
    spare: Vec<Vec<u8>>,
}

struct Frame {
    path: PathId,
    ecn: Option<Ecn>,
    bytes: Vec<u8>,
}

impl Forwarded {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// `false` if there is no room.
    fn push(&mut self, path: PathId, ecn: Option<Ecn>, frame: &[u8]) -> bool {
        if self.bytes + frame.len() > MAX_QUEUED {
            return false;
        }
        self.bytes += frame.len();
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(frame);
        self.queue.push_back(Frame { path, ecn, bytes });
        true
    }

    /// The next frames that go the same way with the same mark, as one batch.
    pub(crate) fn transmit(&mut self, out: &mut TransmitBuf) -> Option<Transmit> {
        let (path, ecn) = self.queue.front().map(|frame| (frame.path, frame.ecn))?;
        out.bind_path(path);
        while let Some(frame) = self.queue.front()
            && (frame.path, frame.ecn) == (path, ecn)
            && out.begin(frame.bytes.len())
        {
            if out.remaining() < frame.bytes.len() {
                out.abandon();
                break;
            }
            out.put_slice(&frame.bytes);
            out.finish();
            self.recycle();
        }
        let transmit = out.transmit(ecn);
        if transmit.is_none() {
            // Longer than any datagram that we send: it came over an interface with another MTU.
            self.recycle();
        }
        transmit
    }

    fn recycle(&mut self) {
        if let Some(frame) = self.queue.pop_front() {
            self.bytes -= frame.bytes.len();
            if self.spare.len() < MAX_SPARE {
                self.spare.push(frame.bytes);
            }
        }
    }
}

impl Node {
    /// Figures of the relay, if this node is one.
    #[must_use]
    pub fn relay_stats(&self) -> Option<RelayStats> {
        Some(self.role.as_ref()?.relay.as_ref()?.stats())
    }

    /// A frame of a relay: one that we pass on, or one that was passed on to us.
    pub(crate) fn handle_relay(
        &mut self,
        now: Now,
        path: PathId,
        ecn: Option<Ecn>,
        data: &mut [u8],
    ) {
        let PathId::Udp(tuple) = path else {
            self.output.drops.count("relay_payload");
            return;
        };
        let relay = self.role.as_mut().and_then(|role| role.relay.as_mut());
        let Some(relay) = relay else {
            self.handle_relayed(now, tuple, ecn, data);
            return;
        };
        match relay.handle_frame(now.instant, tuple.remote.0, data) {
            Ok(to) => match self.place.path_to(to) {
                Some(path) if self.output.forwarded.push(path, ecn, data) => {}
                Some(_) => self.output.drops.count("relay_queue_full"),
                None => self.output.drops.count("wrong_path"),
            },
            Err(reason) => self.output.drops.count(reason.name()),
        }
    }

    /// Answers what is asked of the relay, and gives back what is for the registry.
    pub(crate) fn serve_relay(
        &mut self,
        now: Now,
        from: &AgentId,
        request: Request,
    ) -> Result<Response, Request> {
        let Some(role) = self.role.as_mut() else {
            return Err(request);
        };
        let Some(relay) = role.relay.as_mut() else {
            return Err(request);
        };
        let asked = match request {
            Request::Permit { is_open, permits } => Asked::Permit(is_open, permits),
            Request::Bind { to, permit } => Asked::Bind(to, permit),
            Request::Register { .. }
            | Request::Locate { .. }
            | Request::Lookup { .. }
            | Request::Knock { .. }
            | Request::PutGrant { .. }
            | Request::Deregister
            | Request::Observe
            | Request::Unknown => return Err(request),
        };
        if let Err(refusal) = role.host.admit(now.unix, *from, asked.kind()) {
            return Ok(refusal);
        }
        Ok(match asked {
            Asked::Bind(to, permit) => bound(relay.bind(now.instant, from, &to, permit)),
            Asked::Permit(is_open, permits) => {
                relay.set_permits(from, is_open, permits);
                Response::Permitted
            }
        })
    }
}

/// What a relay can be asked.
enum Asked {
    Permit(bool, Vec<[u8; 16]>),
    Bind(AgentId, Option<[u8; 16]>),
}

impl Asked {
    const fn kind(&self) -> RequestKind {
        match self {
            Self::Permit(..) => RequestKind::Permit,
            Self::Bind(..) => RequestKind::Bind,
        }
    }
}

fn bound(result: Result<u32, BindError>) -> Response {
    match result {
        Ok(channel) => Response::Bound(channel),
        Err(BindError::Full) => Response::Refused {
            code: RefusalCode::RateLimited,
            message: "too many channels".to_owned(),
            retry_after_ms: FULL_REST_MS,
        },
        Err(BindError::NotFound | _) => Response::NotFound,
    }
}
