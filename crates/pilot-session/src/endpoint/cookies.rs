//! Cookies in both directions: asked of others under load, shown to others on demand.

use std::time::Instant;

use pilot_types::{AgentId, PathId};
use pilot_wire::{HandshakeHeader, VERSION, decode_handshake_header};

use super::Endpoint;
use crate::drop_reason::DropReason;
use crate::event::Received;
use crate::gate::Admission;
use crate::index::Owner;
use crate::mac::MAC;
use crate::schedule::Timer;

impl Endpoint {
    /// Whether a message 1 may be opened; under load, one without a cookie is answered by one.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        path: PathId,
        header: &HandshakeHeader,
        (packet, mac1): (&[u8], &[u8; MAC]),
    ) -> Result<(), DropReason> {
        let half_open = self.half_open.len();
        let admission = self
            .gate
            .admit(now, (&path, packet), half_open, &self.config);
        match admission {
            Admission::Open => Ok(()),
            Admission::Refuse => Err(DropReason::HandshakeLimited),
            Admission::Challenge(cookie) => {
                let mut reply =
                    self.reply_key
                        .seal(header.sender, mac1, &cookie, self.gate.entropy());
                // As of a version list: the initiator's key is hidden in what is not opened.
                self.mac.append(&mut reply);
                // The shortest message 1 is longer, but only opening it would tell.
                if reply.len() <= packet.len() {
                    self.outbox.send(path, reply.into());
                    self.stats.cookies_sent += 1;
                }
                let until = self.gate.expire(now);
                self.schedule.set(Timer::Secrets, until);
                Err(DropReason::CookieAsked)
            }
        }
    }

    /// A cookie counts if it answers a message 1 that this node sent there; that goes out again with it, at once the first
    /// time, else when its timer says.
    pub(super) fn receive_cookie(
        &mut self,
        now: Instant,
        path: PathId,
        packet: &[u8],
    ) -> Result<Received<'static>, DropReason> {
        let (header, body) = decode_handshake_header(packet).map_err(|_| DropReason::Malformed)?;
        if header.version != VERSION {
            return Err(DropReason::Version);
        }
        let Some(Owner::Initiation(peer)) = self.indices.owner(header.receiver) else {
            return Err(DropReason::UnknownIndex);
        };
        let initiation = self.initiations.get_mut(&peer);
        let initiation = initiation.ok_or(DropReason::UnknownIndex)?;
        if !initiation.is_by_peer(packet) {
            return Err(DropReason::BadMac);
        }
        let taken = initiation.take_cookie(&path, body);
        let (cookie, is_first) = taken.ok_or(DropReason::BadHandshake)?;
        self.cookies.put(now, peer, path, cookie);
        self.expire_cookies(now);
        if is_first {
            self.send_message_1(now, &peer, path);
        }
        Ok(Received::Handled)
    }

    /// Message 1 of the handshake under way, with the cookie of that path if there is one.
    pub(super) fn send_message_1(&mut self, now: Instant, peer: &AgentId, path: PathId) {
        let cookie = self.cookies.of(now, peer, &path);
        if let Some(initiation) = self.initiations.get(peer) {
            self.outbox.send(path, initiation.copy(cookie));
        }
    }

    pub(super) fn expire_secrets(&mut self, now: Instant) {
        let next = self.gate.expire(now);
        self.schedule.set(Timer::Secrets, next);
    }

    pub(super) fn expire_cookies(&mut self, now: Instant) {
        let next = self.cookies.expire(now);
        self.schedule.set(Timer::Cookies, next);
    }
}
