//! All streams of a session, the limits that they share, and whose turn it is.

mod fill;
mod ids;
mod receive;
mod recv;
mod send;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pilot_types::StreamId;
use pilot_wire::{ErrorCode, TransportParams};

use crate::config::{Config, Side};
use crate::error::{OpenError, ReadError, WriteError};
use crate::event::{Event, Events};
use crate::flow::{FlowControl, ReceiveWindow};
use crate::stats::{Read, StreamStats};
use ids::StreamIds;
use recv::RecvSide;
use send::SendSide;

/// Streams whose memory is kept for the next ones: at most 4.5 KiB each, until the session's next keep-alive.
const MAX_SPARE: usize = 32;

/// Where a stream stands in the schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    /// It has nothing to send.
    Idle,
    /// It is in the queue.
    Queued,
    /// It waits for the session's flow control.
    Blocked,
}

/// One bidirectional stream.
#[derive(Debug)]
struct Stream {
    send: SendSide,
    recv: RecvSide,
    turn: Turn,
    /// Whether it is in the queue of control frames.
    is_control_queued: bool,
    /// Whether a Readable waits to be polled.
    is_readable_told: bool,
    /// Whether a Writable waits to be polled.
    is_writable_told: bool,
}

/// Queues of streams that have something to send. Entries of streams that are gone are skipped.
#[derive(Debug, Default)]
struct Schedule {
    data: VecDeque<StreamId>,
    blocked: BTreeSet<StreamId>,
    control: VecDeque<StreamId>,
}

/// How much a stream keeps until it is acknowledged.
#[derive(Clone, Copy, Debug)]
struct Capacity {
    each: usize,
    /// That all streams share where more is wanted.
    largest: usize,
    wanted: usize,
}

impl Capacity {
    /// Of each of `streams`: together at most `streams * each`, or `largest` if that is more.
    fn of(&self, streams: usize) -> usize {
        let share = self.largest / streams.max(1);
        self.each.max(self.wanted.min(share))
    }
}

/// The streams of one session.
#[derive(Debug)]
pub(crate) struct Streams {
    /// At most `max_streams` of the peer's and as many of ours as the peer allows.
    open: BTreeMap<StreamId, Box<Stream>>,
    /// Of streams that are over, to be used again while the session is in use.
    #[expect(
        clippy::vec_box,
        reason = "they move between here and `open` without a copy, and keep their memory"
    )]
    spare: Vec<Box<Stream>>,
    ids: StreamIds,
    flow: FlowControl,
    schedule: Schedule,
    /// Of a fresh stream.
    window: ReceiveWindow,
    peer_window: u64,
    capacity: Capacity,
    retransmitted: u64,
}

impl Streams {
    pub(crate) fn new(config: &Config, side: Side, peer: &TransportParams) -> Self {
        let ours = &config.params;
        Self {
            open: BTreeMap::new(),
            spare: vec![],
            ids: StreamIds::new(side, ours.max_streams, peer.max_streams),
            flow: FlowControl::new(
                ReceiveWindow::new(ours.max_data, config.max_window),
                peer.max_data,
            ),
            schedule: Schedule::default(),
            window: ReceiveWindow::new(ours.max_stream_data, config.max_stream_window),
            peer_window: peer.max_stream_data,
            capacity: Capacity {
                each: config.send_buffer,
                largest: config.max_send_buffer,
                wanted: 0,
            },
            retransmitted: 0,
        }
    }

    /// The congestion window is `window` bytes: what is not acknowledged in order is more while losses are
    /// repaired.
    pub(crate) fn on_window(&mut self, window: u64) {
        self.capacity.wanted = usize::try_from(window.saturating_mul(3)).unwrap_or(usize::MAX);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = StreamId> {
        self.open.keys().copied()
    }

    pub(crate) const fn bytes_retransmitted(&self) -> u64 {
        self.retransmitted
    }

    pub(crate) fn stats(&self, id: StreamId) -> Option<StreamStats> {
        let stream = self.open.get(&id)?;
        let buffer = stream.send.buffer();
        Some(StreamStats {
            sent: buffer.next(),
            acked: buffer.base(),
            buffered: buffer.len() as u64,
            retransmitted: buffer.retransmitted(),
            read: stream.recv.position(),
            readable: stream.recv.readable(),
            stopped: stream.send.stopped(),
        })
    }

    /// The unread bytes of the streams that came whole.
    pub(crate) fn take_complete(&mut self) -> Vec<(StreamId, Vec<u8>)> {
        let streams = self.open.iter_mut();
        let complete = streams.filter_map(|(id, it)| Some((*id, it.recv.take_complete()?)));
        complete.collect()
    }

    /// Forgets all streams, when the session ends.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
        self.shrink();
        self.schedule = Schedule::default();
    }

    pub(crate) fn open(&mut self) -> Result<StreamId, OpenError> {
        let id = self.ids.open().ok_or(OpenError::Limit)?;
        self.insert(id);
        Ok(id)
    }

    fn insert(&mut self, id: StreamId) {
        let stream = match self.spare.pop() {
            Some(stream) => stream,
            None => Box::new(Stream::new(self.peer_window, self.window)),
        };
        self.open.insert(id, stream);
    }

    /// Gives memory back that is kept for more streams.
    pub(crate) fn shrink(&mut self) {
        self.spare = vec![];
    }

    pub(crate) fn write(&mut self, id: StreamId, data: &[u8]) -> Result<usize, WriteError> {
        let capacity = self.capacity.of(self.open.len());
        let stream = self.open.get_mut(&id).ok_or(WriteError::Unknown)?;
        let taken = stream.send.write(data, capacity)?;
        stream.queue_data(id, &mut self.schedule);
        Ok(taken)
    }

    pub(crate) fn finish(&mut self, id: StreamId) -> Result<(), WriteError> {
        let stream = self.open.get_mut(&id).ok_or(WriteError::Unknown)?;
        stream.send.finish()?;
        stream.queue_data(id, &mut self.schedule);
        Ok(())
    }

    pub(crate) fn reset(&mut self, id: StreamId, code: ErrorCode) {
        if let Some(stream) = self.open.get_mut(&id)
            && stream.send.reset(code)
        {
            stream.queue_control(id, &mut self.schedule);
        }
    }

    pub(crate) fn read(&mut self, id: StreamId, out: &mut [u8]) -> Result<Read, ReadError> {
        let stream = self.open.get_mut(&id).ok_or(ReadError::Unknown)?;
        let result = stream.recv.read(out);
        if stream.recv.is_control_due() {
            stream.queue_control(id, &mut self.schedule);
        }
        if let Ok(Read::Bytes(len)) = result {
            self.flow.on_consumed(len as u64);
        } else {
            self.forget_if_done(id);
        }
        result
    }

    pub(crate) fn stop(&mut self, id: StreamId, code: ErrorCode) {
        let Some(stream) = self.open.get_mut(&id) else {
            return;
        };
        let unread = stream.recv.stop(code);
        if stream.recv.is_control_due() {
            stream.queue_control(id, &mut self.schedule);
        }
        self.flow.on_consumed(unread);
        self.forget_if_done(id);
    }

    /// A stream event leaves the queue: the next of its kind is news again.
    pub(crate) fn on_polled(&mut self, event: &Event) {
        match event {
            Event::Readable(id) => {
                if let Some(stream) = self.open.get_mut(id) {
                    stream.is_readable_told = false;
                }
            }
            Event::Writable(id) => {
                if let Some(stream) = self.open.get_mut(id) {
                    stream.is_writable_told = false;
                }
            }
            Event::StreamOpened(_)
            | Event::StreamFinished(_)
            | Event::StreamReset { .. }
            | Event::StreamStopped { .. }
            | Event::StreamsAvailable
            | Event::Datagram(_)
            | Event::Extension { .. }
            | Event::NewIndex { .. }
            | Event::RetireIndex { .. }
            | Event::PathValidated(_)
            | Event::PathFailed(_)
            | Event::PathProbed { .. }
            | Event::PeerMoved(_)
            | Event::Silent
            | Event::Closed { .. }
            | Event::Rested(_)
            | Event::Unheard
            | Event::Drained => {}
        }
    }

    /// Streams that are to end, and their bytes that are not acknowledged.
    pub(crate) fn unfinished(&self) -> (u64, u64) {
        let ending = self.open.values().filter_map(|it| it.send.unfinished());
        ending.fold((0, 0), |(streams, bytes), more| (streams + 1, bytes + more))
    }

    /// A stream that is over in both directions leaves nothing behind but its count.
    fn forget_if_done(&mut self, id: StreamId) {
        let is_done = self
            .open
            .get(&id)
            .is_some_and(|stream| stream.send.is_done() && stream.recv.is_done());
        if is_done && let Some(mut stream) = self.open.remove(&id) {
            if self.spare.len() < MAX_SPARE {
                stream.renew(self.peer_window, self.window);
                self.spare.push(stream);
            }
            self.ids.on_closed(id);
        }
    }
}

impl Stream {
    fn new(peer_window: u64, window: ReceiveWindow) -> Self {
        Self {
            send: SendSide::new(peer_window),
            recv: RecvSide::new(window),
            turn: Turn::Idle,
            is_control_queued: false,
            is_readable_told: false,
            is_writable_told: false,
        }
    }

    /// As [`Self::new`], in the same memory.
    fn renew(&mut self, peer_window: u64, window: ReceiveWindow) {
        self.send.renew(peer_window);
        self.recv.renew(window);
        self.turn = Turn::Idle;
        self.is_control_queued = false;
        self.is_readable_told = false;
        self.is_writable_told = false;
    }

    /// Puts the stream at the end of the queue if it has data to send.
    fn queue_data(&mut self, id: StreamId, schedule: &mut Schedule) {
        if self.turn != Turn::Queued && self.send.is_pending() {
            self.turn = Turn::Queued;
            schedule.data.push_back(id);
        }
    }

    /// Puts the stream at the head of the queue: lost bytes hold up the reader.
    fn queue_lost(&mut self, id: StreamId, schedule: &mut Schedule) {
        if self.turn != Turn::Queued && self.send.is_pending() {
            self.turn = Turn::Queued;
            schedule.data.push_front(id);
        }
    }

    fn queue_control(&mut self, id: StreamId, schedule: &mut Schedule) {
        if !self.is_control_queued {
            self.is_control_queued = true;
            schedule.control.push_back(id);
        }
    }

    fn tell_readable(&mut self, id: StreamId, events: &mut Events) {
        if self.recv.is_readable() && !self.is_readable_told {
            self.is_readable_told = true;
            events.push(Event::Readable(id));
        }
    }
}
