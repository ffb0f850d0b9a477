//! What waits for the caller to take it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use pilot_types::{Deadline, PathId, Transmit, TransmitBuf};

use crate::event::Event;

/// Handshake packets that wait to be sent. The caller drains them after each call; one that does not loses the oldest, as
/// on a full link: a message 1 on 16 paths for each of 64 peers.
const MAX_PACKETS: usize = 1024;

/// Handshake packets and events.
pub(crate) struct Outbox {
    packets: VecDeque<(PathId, Arc<[u8]>)>,
    events: VecDeque<Event>,
    /// The time of the latest call: output is due from then on.
    now: Instant,
    /// Packets that were not taken in time, or did not fit.
    lost: u64,
}

impl Outbox {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            packets: VecDeque::new(),
            events: VecDeque::new(),
            now,
            lost: 0,
        }
    }

    pub(crate) fn set_now(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    pub(crate) fn send(&mut self, path: PathId, packet: Arc<[u8]>) {
        if self.packets.len() >= MAX_PACKETS {
            self.packets.pop_front();
            self.lost += 1;
        }
        self.packets.push_back((path, packet));
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// One packet into `out`; one that does not fit is dropped.
    pub(crate) fn poll_transmit(&mut self, out: &mut TransmitBuf) -> Option<Transmit> {
        while let Some((path, packet)) = self.packets.pop_front() {
            if !out.bind_path(path) || !out.begin(packet.len()) {
                self.lost += 1;
                continue;
            }
            if out.remaining() < packet.len() {
                tracing::warn!(%path, len = packet.len(), "handshake packet exceeds the transmit buffer");
                out.abandon();
                self.lost += 1;
                continue;
            }
            out.put_slice(&packet);
            out.finish();
            return out.transmit(None);
        }
        None
    }

    pub(crate) const fn lost(&self) -> u64 {
        self.lost
    }

    pub(crate) fn deadline(&self) -> Option<Deadline> {
        let is_empty = self.packets.is_empty() && self.events.is_empty();
        (!is_empty).then_some(Deadline {
            at: self.now,
            timer: "output",
        })
    }
}
