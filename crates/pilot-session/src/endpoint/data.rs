//! Data packets: finding their epoch, and what the first one under a new epoch brings about.

use std::time::Instant;

use pilot_types::AgentId;
use pilot_wire::{Hello, decode_data_header};

use super::Endpoint;
use crate::drop_reason::DropReason;
use crate::epoch::Notice;
use crate::event::{Event, Received};
use crate::index::Owner;
use crate::session::Session;

impl Endpoint {
    pub(super) fn receive_data<'a>(
        &mut self,
        now: Instant,
        packet: &'a mut [u8],
    ) -> Result<Received<'a>, DropReason> {
        let header = decode_data_header(packet).map_err(|_| DropReason::Malformed)?;
        match self.indices.owner(header.receiver) {
            Some(Owner::Epoch(peer, epoch)) => {
                let session = self.sessions.get_mut(&peer);
                let session = session.ok_or(DropReason::UnknownIndex)?;
                let opened = session.open(now, &self.config, epoch, packet)?;
                self.heed(now, peer, opened.notice);
                Ok(Received::Data {
                    peer,
                    number: opened.number,
                    payload: opened.payload,
                    confirmed: None,
                })
            }
            Some(Owner::HalfOpen(id)) => self.confirm(now, id, packet),
            // The responder seals nothing before a packet confirmed the handshake.
            Some(Owner::Initiation(_)) => Err(DropReason::Unexpected),
            None => Err(DropReason::UnknownIndex),
        }
    }

    /// Opens the first packet under an epoch that this end answered: from here on it is usable.
    fn confirm<'a>(
        &mut self,
        now: Instant,
        id: u64,
        packet: &'a mut [u8],
    ) -> Result<Received<'a>, DropReason> {
        let pending = self.half_open.pending_mut(id);
        let pending = pending.ok_or(DropReason::UnknownIndex)?;
        let (peer, hello) = (pending.hello.agent, &pending.hello);
        let session = self.sessions.get(&peer);
        if session.is_some_and(|session| is_stale(session, hello)) {
            return Err(DropReason::Stale);
        }
        if session.is_none() && self.sessions.len() >= self.config.sessions {
            return Err(DropReason::TableFull);
        }
        let same_boot = session.filter(|session| session.boot() == hello.boot);
        let largest = same_boot.and_then(Session::largest);
        let is_new_session = same_boot.is_none();
        let opened = pending.epoch.open(now, &self.config, largest, packet)?;
        let number = opened.number;
        if is_new_session {
            // What it dialled may be answered by an older life of the peer still, which must not come back.
            self.drop_initiation(&peer);
        }
        let hello = self.establish(now, id, number);
        Ok(Received::Data {
            peer,
            number,
            payload: opened.payload,
            confirmed: hello,
        })
    }

    /// Moves a confirmed epoch into its session.
    fn establish(
        &mut self,
        now: Instant,
        id: u64,
        number: pilot_types::PacketNumber,
    ) -> Option<Box<Hello>> {
        let pending = *self.half_open.take_pending(id)?;
        let (epoch, hello) = (pending.epoch, pending.hello);
        let (peer, order, config) = (hello.agent, epoch.order, self.config.clone());
        for index in epoch.local.iter() {
            self.indices.assign(index, Owner::Epoch(peer, epoch.id));
        }
        let session = self.adopt(peer, hello.boot);
        session.set_freshness(hello.freshness);
        let evicted = session.insert(epoch);
        session.note_opened(now, &config, order, number);
        if let Some(evicted) = evicted {
            self.wipe(&evicted);
        }
        self.reschedule_session(peer);
        tracing::debug!(%peer, order = order.number, "handshake confirmed");
        Some(hello)
    }

    /// Does what a packet brought about beside itself.
    pub(super) fn heed(&mut self, now: Instant, peer: AgentId, notice: Notice) {
        if notice.is_rekey_due {
            self.outbox.set_now(now);
            self.outbox.tell(Event::RekeyDue { peer });
        }
        if notice.is_rescheduled {
            self.reschedule_session(peer);
        }
    }
}

/// Whether a hello comes from a life of the peer that ended before the one in session began.
fn is_stale(session: &Session, hello: &Hello) -> bool {
    session.boot() != hello.boot && session.freshness() >= Some(hello.freshness)
}
