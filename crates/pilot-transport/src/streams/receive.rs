//! Frames of the peer that name streams, and fates of frames of ours.

use std::ops::Range;

use pilot_types::StreamId;
use pilot_wire::{ErrorCode, StreamFrame};

use super::ids::Standing;
use super::{Stream, Streams};
use crate::error::PeerError;
use crate::event::{Event, Events};

impl Streams {
    /// The stream that a frame names, opened if it is the peer's; `None` if it is over and forgotten.
    fn named(
        &mut self,
        id: StreamId,
        events: &mut Events,
    ) -> Result<Option<&mut Stream>, PeerError> {
        if self.ids.standing(id)? == Standing::Opens {
            while let Some(opened) = self.ids.open_remote(id) {
                self.insert(opened);
                events.push(Event::StreamOpened(opened));
            }
        }
        Ok(self.open.get_mut(&id).map(Box::as_mut))
    }

    /// Bytes of a stream; `false` if they cannot be kept now, and the packet must not be acknowledged.
    pub(crate) fn on_stream(
        &mut self,
        frame: &StreamFrame<'_>,
        events: &mut Events,
    ) -> Result<bool, PeerError> {
        let end = frame.offset + frame.data.len() as u64;
        let Some(stream) = self.named(frame.id, events)? else {
            return Ok(true);
        };
        let grown = stream.recv.check(end, frame.is_fin)?;
        if !stream.recv.has_room(frame) {
            return Ok(false);
        }
        self.flow.on_received(grown)?;
        let stream = self.open.get_mut(&frame.id).expect("it was just found");
        let unread = stream.recv.on_data(frame);
        stream.tell_readable(frame.id, events);
        self.flow.on_consumed(unread);
        self.forget_if_done(frame.id);
        Ok(true)
    }

    pub(crate) fn on_reset(
        &mut self,
        id: StreamId,
        code: ErrorCode,
        final_size: u64,
        events: &mut Events,
    ) -> Result<(), PeerError> {
        let Some(stream) = self.named(id, events)? else {
            return Ok(());
        };
        let grown = stream.recv.check(final_size, true)?;
        self.flow.on_received(grown)?;
        let stream = self.open.get_mut(&id).expect("it was just found");
        let (unread, is_news) = stream.recv.on_reset(code, final_size);
        if is_news {
            events.push(Event::StreamReset { id, code });
        }
        self.flow.on_consumed(unread);
        self.forget_if_done(id);
        Ok(())
    }

    pub(crate) fn on_stop(
        &mut self,
        id: StreamId,
        code: ErrorCode,
        events: &mut Events,
    ) -> Result<(), PeerError> {
        let Some(stream) = self.named(id, events)? else {
            return Ok(());
        };
        if stream.send.on_stop(code) {
            let stream = self.open.get_mut(&id).expect("it was just found");
            stream.queue_control(id, &mut self.schedule);
            events.push(Event::StreamStopped { id, code });
        }
        Ok(())
    }

    pub(crate) fn on_max_data(&mut self, max: u64) {
        if self.flow.on_max_data(max) {
            for id in std::mem::take(&mut self.schedule.blocked) {
                if let Some(stream) = self.open.get_mut(&id) {
                    stream.queue_data(id, &mut self.schedule);
                }
            }
        }
    }

    pub(crate) fn on_max_stream_data(
        &mut self,
        id: StreamId,
        max: u64,
        events: &mut Events,
    ) -> Result<(), PeerError> {
        let Some(stream) = self.named(id, events)? else {
            return Ok(());
        };
        if stream.send.on_max(max) {
            let stream = self.open.get_mut(&id).expect("it was just found");
            stream.queue_data(id, &mut self.schedule);
        }
        Ok(())
    }

    pub(crate) fn on_max_streams(
        &mut self,
        max: u64,
        events: &mut Events,
    ) -> Result<(), PeerError> {
        if self.ids.on_max_streams(max)? {
            events.push(Event::StreamsAvailable);
        }
        Ok(())
    }

    /// The peer would send more on a stream: nothing to do but to know it, its limit moves as it is read.
    pub(crate) fn on_stream_data_blocked(
        &mut self,
        id: StreamId,
        events: &mut Events,
    ) -> Result<(), PeerError> {
        self.named(id, events).map(|_| ())
    }

    pub(crate) const fn on_streams_blocked(&mut self) {
        self.ids.on_streams_blocked();
    }

    pub(crate) fn on_acked(
        &mut self,
        id: StreamId,
        range: Range<u64>,
        is_fin: bool,
        events: &mut Events,
    ) {
        let capacity = self.capacity.of(self.open.len());
        let Some(stream) = self.open.get_mut(&id) else {
            return;
        };
        if stream.send.on_acked(range, is_fin) {
            events.push(Event::StreamFinished(id));
        }
        if stream.send.take_writable(capacity) && !stream.is_writable_told {
            stream.is_writable_told = true;
            events.push(Event::Writable(id));
        }
        self.forget_if_done(id);
    }

    pub(crate) fn on_lost(&mut self, id: StreamId, range: Range<u64>, is_fin: bool) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.send.on_lost(range, is_fin);
            stream.queue_lost(id, &mut self.schedule);
        }
    }

    pub(crate) fn on_reset_acked(&mut self, id: StreamId) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.send.on_reset_acked();
            self.forget_if_done(id);
        }
    }

    pub(crate) fn on_reset_lost(&mut self, id: StreamId) {
        if let Some(stream) = self.open.get_mut(&id)
            && stream.send.on_reset_lost()
        {
            stream.queue_control(id, &mut self.schedule);
        }
    }

    pub(crate) fn on_stop_lost(&mut self, id: StreamId) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.recv.on_stop_lost();
            stream.queue_control(id, &mut self.schedule);
        }
    }

    pub(crate) fn on_max_stream_data_lost(&mut self, id: StreamId) {
        if let Some(stream) = self.open.get_mut(&id) {
            stream.recv.on_max_lost();
            stream.queue_control(id, &mut self.schedule);
        }
    }

    pub(crate) const fn on_max_data_lost(&mut self) {
        self.flow.is_max_due = true;
    }

    pub(crate) const fn on_max_streams_lost(&mut self) {
        self.ids.is_max_due = true;
    }

    pub(crate) const fn on_streams_blocked_lost(&mut self) {
        self.ids.on_blocked_lost();
    }
}
